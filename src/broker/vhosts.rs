//! Vhosts as a whole: adding, changing and deleting them.

use std::sync::Arc;

use serde_json::json;

use super::Broker;
use super::auth::Actor;
use super::durable::Durable;
use super::error::Error;
use super::event::Event;
use super::limit::LimitOf;
use super::vhost::{Vhost, VhostMetadata};
use crate::protocol::wire::ShortStr;
use crate::store::definition::{CatalogChange, Definition, DefinitionKey, VhostDefinition};
use crate::store::record::Record;

impl Broker {
    /// Adds a vhost; one that is there stays as it is.
    pub fn put_vhost(&self, name: &str, actor: Option<&Actor>) -> Result<Durable, Error> {
        let _changing = self.changing.lock();
        let vhost = self.add_vhost_told(name, actor)?;
        Ok(self.store_change(CatalogChange::Put(Definition::Vhost(vhost.definition()))))
    }

    /// Adds a vhost, or gives it other metadata.
    pub fn put_vhost_with(
        &self,
        definition: VhostDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let metadata = VhostMetadata::parse(&definition)?;
        let _changing = self.changing.lock();
        let vhost = self.add_vhost_told(&definition.name, actor)?;
        let (before, after) = (vhost.definition(), json!(definition));
        vhost.set_metadata(metadata);
        if json!(before) != after {
            let changed = || Event::new("vhost.metadata.set").text("name", &definition.name);
            self.events.tell(actor, || changed().changed(Some(json!(before)), Some(after)));
        }
        Ok(self.store_change(CatalogChange::Put(Definition::Vhost(definition))))
    }

    fn add_vhost_told(&self, name: &str, actor: Option<&Actor>) -> Result<Arc<Vhost>, Error> {
        let is_new = self.vhost(name).is_none();
        let vhost = self.add_vhost(name)?;
        if is_new {
            let (event, after) = (Event::new("vhost.created"), json!(vhost.definition()));
            self.events.tell(actor, || event.text("name", name).changed(None, Some(after)));
        }
        Ok(vhost)
    }

    pub(super) fn add_vhost(&self, name: &str) -> Result<Arc<Vhost>, Error> {
        let short = ShortStr::try_from(name).map_err(|_| {
            Error::precondition_failed(format!("the vhost name '{name}' is longer than 255 bytes"))
        })?;
        let vhost = self.vhosts.entry(name.to_owned()).or_insert_with(|| {
            let (store, factory) = (Arc::clone(&self.store), Arc::clone(&self.factory));
            Vhost::new(short, store, factory, Arc::clone(&self.events))
        });
        Ok(Arc::clone(&vhost))
    }

    pub(super) fn check_vhost(&self, name: &str) -> Result<(), Error> {
        match self.vhosts.contains_key(name) {
            true => Ok(()),
            false => Err(Error::not_found(format!("no vhost '{name}'"))),
        }
    }

    /// Deletes a vhost with everything in it and everything that is said of it, and closes its
    /// connections. Answers whether there was one. On disk it is one batch: after a crash, all of
    /// it is there or nothing. Refuses, with 406, one that is protected.
    pub fn delete_vhost(
        &self,
        name: &str,
        actor: Option<&Actor>,
    ) -> Result<(bool, Durable), Error> {
        let before;
        let stored = {
            let _changing = self.changing.lock();
            let Some(vhost) = self.vhost(name) else { return Ok((false, Durable::already())) };
            if vhost.metadata().protected_from_deletion {
                return Err(Error::precondition_failed(format!(
                    "vhost '{name}' is protected from deletion: take the protection back first"
                )));
            }
            before = json!(vhost.definition());
            let mut batch = {
                let mut gone = self.factory.around.gone.lock();
                self.vhosts.remove(name);
                let batch = vhost.remove_all(actor);
                gone.add(&vhost.totals());
                batch
            };
            for key in self.forget_vhost(name) {
                batch.push(Record::catalog(CatalogChange::Delete(key)));
            }
            let stored = Durable::append(&*self.store, batch);
            // Before there can be another vhost of that name. Who opens this one now finds that it
            // is gone.
            drop(self.registry.close_all(|info| info.vhost == name, &vhost.gone_text()));
            stored
        };
        let deleted = || Event::new("vhost.deleted").text("name", name);
        self.events.tell(actor, || deleted().changed(Some(before), None));
        Ok((true, stored))
    }

    /// Takes away what is said of a vhost outside of it. Answers the keys of it, and the vhost's.
    fn forget_vhost(&self, name: &str) -> Vec<DefinitionKey> {
        let mut keys = Vec::new();
        for user in self.users() {
            let of_user = || (user.name.clone(), name.to_owned());
            if user.clear_permissions(name) {
                let (user, vhost) = of_user();
                keys.push(DefinitionKey::Permission { user, vhost });
            }
            for exchange in user.clear_topic_permissions(name, None) {
                let (user, vhost) = of_user();
                keys.push(DefinitionKey::TopicPermission { user, vhost, exchange });
            }
        }
        keys.extend(self.parameters.forget_vhost(name));
        keys.extend(LimitOf::Vhost(name).keys());
        keys.push(DefinitionKey::Vhost(name.to_owned()));
        keys
    }
}
