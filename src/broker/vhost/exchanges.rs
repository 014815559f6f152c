//! exchange.declare and exchange.delete.

use std::sync::Arc;

use super::{Topology, Vhost, clean_name};
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::equivalence::{same_arguments, same_property};
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::exchange::{Exchange, ExchangeKind, ExchangeProperties};
use crate::broker::policy::matching::Matching;
use crate::broker::policy::options::{Subject, compared};
use crate::broker::policy::settings::Settings;
use crate::broker::queue::arguments::{QueueType, check_values};
use crate::broker::queue::{Queue, QueueProperties};
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::RecoveredQueue;
use crate::store::definition::{
    CatalogChange, Definition, DefinitionKey, DestinationKind, ExchangeDefinition,
};
use crate::store::record::{QueueId, Record};

/// What a client declares.
#[derive(Debug, Clone)]
pub struct ExchangeDeclare {
    pub name: ShortStr,
    pub kind: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

/// Rule: nothing is declared, deleted or bound on the default exchange.
pub(super) fn refuse_default(name: &ShortStr) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::access_refused("operation not permitted on the default exchange"));
    }
    Ok(())
}

impl Vhost {
    /// Declares an exchange, or checks that the one that is there is what the client means.
    pub fn declare_exchange(
        &self,
        request: ExchangeDeclare,
        actor: &Actor,
    ) -> Result<Durable, Error> {
        let name = clean_name(&request.name);
        refuse_default(&name)?;
        actor.check(Access::Configure, &self.name, Resource::Exchange(&name))?;
        let kind = ExchangeKind::parse(&request.kind)?;
        let mut topology = self.growing_topology(Some(actor))?;
        if let Some(current) = self.exchange(&name) {
            return self.check_same_exchange(&current, kind, &request).map(|()| Durable::already());
        }
        if name.starts_with("amq.") {
            return Err(Error::access_refused(format!(
                "exchange name '{name}' contains reserved prefix 'amq.*'"
            )));
        }
        let described = Exchange::described(&name, &self.name);
        check_values(&request.arguments, Subject::Exchange, &described)?;
        let own = self.own_queue(&name, kind, request.durable, &request.arguments, None);
        let exchange = Exchange::new(ExchangeProperties {
            name: name.clone(),
            kind,
            own,
            durable: request.durable,
            auto_delete: request.auto_delete,
            internal: request.internal,
            arguments: request.arguments,
        })?;
        if let Some(alternate) = exchange.alternate() {
            actor.check(Access::Read, &self.name, Resource::Exchange(&name))?;
            actor.check(Access::Write, &self.name, Resource::Exchange(&alternate))?;
        }
        exchange.set_alternate(self.alternate(&name, &exchange.arguments));
        let mut batch = Changes::default();
        if exchange.durable {
            let definition = Definition::Exchange(exchange.definition(&self.name));
            batch.push(Record::catalog(CatalogChange::Put(definition)));
        }
        let created = || Event::exchange("exchange.created", &exchange, &self.name);
        self.note_event(&mut topology, created);
        self.exchanges.insert(name, exchange);
        Ok(Durable::append(&*self.store, batch))
    }

    /// Puts in an exchange that the last run left. Only while nobody is connected.
    pub(in crate::broker) fn restore_exchange(
        &self,
        stored: ExchangeDefinition,
        content: Option<RecoveredQueue>,
    ) -> Result<(), Error> {
        let name = ShortStr::try_from(stored.name.as_str()).unwrap_or_default();
        let kind = ExchangeKind::parse(&stored.kind)?;
        let own = self.own_queue(&name, kind, true, &stored.arguments, stored.queue);
        if let (Some(own), Some(content)) = (&own, content) {
            own.restore(0, &content);
        }
        let exchange = Exchange::new(ExchangeProperties {
            name: name.clone(),
            kind,
            own,
            durable: true,
            auto_delete: stored.auto_delete,
            internal: stored.internal,
            arguments: stored.arguments,
        })?;
        exchange.set_alternate(self.alternate(&name, &exchange.arguments));
        self.exchanges.insert(name, exchange);
        Ok(())
    }

    /// The queue that an exchange keeps things in, if it has anything to keep: under a known id
    /// what the last run left.
    fn own_queue(
        &self,
        name: &ShortStr,
        kind: ExchangeKind,
        durable: bool,
        arguments: &FieldTable,
        id: Option<QueueId>,
    ) -> Option<Arc<Queue>> {
        let settings = Settings::of_arguments(arguments, Subject::Exchange);
        let options = settings.in_force(&Settings::default(), QueueType::default());
        if kind != ExchangeKind::Delayed && options.deduplication.is_none() {
            return None;
        }
        let properties = QueueProperties {
            id: id.unwrap_or_else(|| self.factory.next_id(0)),
            name: name.clone(),
            vhost: self.name.clone(),
            durable,
            auto_delete: false,
            exclusive_to: None,
            arguments: FieldTable::default(),
            levels: 0,
            own_of: Some(Box::new(name.clone())),
        };
        Some(self.factory.make(properties, (options, Matching::default()), &self.me))
    }

    fn check_same_exchange(
        &self,
        current: &Exchange,
        kind: ExchangeKind,
        request: &ExchangeDeclare,
    ) -> Result<(), Error> {
        let described = Exchange::described(&current.name, &self.name);
        same_property("type", &described, &kind.name(), &current.kind.name())?;
        same_property("durable", &described, &request.durable, &current.durable)?;
        same_property("auto_delete", &described, &request.auto_delete, &current.auto_delete)?;
        same_property("internal", &described, &request.internal, &current.internal)?;
        let compared = compared(Subject::Exchange).chain(kind.compared_arguments().iter().copied());
        same_arguments(compared, &described, &request.arguments, &current.arguments)
    }

    /// The exchange of that name, or 404.
    pub fn existing_exchange(&self, name: &ShortStr) -> Result<Arc<Exchange>, Error> {
        self.exchange(name).ok_or_else(|| {
            Error::not_found(format!("no {}", Exchange::described(name, &self.name)))
        })
    }

    /// exchange.declare with passive: is it there?
    pub fn check_exchange_exists(&self, name: &ShortStr) -> Result<(), Error> {
        let name = clean_name(name);
        refuse_default(&name)?;
        self.existing_exchange(&name).map(|_| ())
    }

    /// Deletes an exchange with its bindings. One that isn't there is deleted already.
    pub fn delete_exchange(
        &self,
        name: &ShortStr,
        if_unused: bool,
        actor: &Actor,
    ) -> Result<Durable, Error> {
        let name = clean_name(name);
        refuse_default(&name)?;
        let described = Exchange::described(&name, &self.name);
        if name.starts_with("amq.") {
            return Err(Error::access_refused(format!(
                "deletion of system {described} not allowed"
            )));
        }
        actor.check(Access::Configure, &self.name, Resource::Exchange(&name))?;
        let mut topology = self.topology(Some(actor));
        let Some(exchange) = self.exchange(&name) else { return Ok(Durable::already()) };
        if if_unused && exchange.binding_count() > 0 {
            return Err(Error::precondition_failed(format!("{described} in use")));
        }
        let mut batch = Changes::default();
        self.remove_exchange(&mut topology, &exchange, &mut batch);
        Ok(Durable::append(&*self.store, batch))
    }

    /// Takes an exchange out, and with it the bindings from and to it.
    pub(super) fn remove_exchange(
        &self,
        topology: &mut Topology,
        exchange: &Arc<Exchange>,
        batch: &mut Changes,
    ) {
        exchange.mark_deleted();
        self.exchanges.remove(&exchange.name);
        for binding in exchange.bindings() {
            self.remove_binding(topology, exchange, &binding, batch);
        }
        let key = (DestinationKind::Exchange, exchange.name.clone());
        self.remove_bindings_to(topology, &key, batch);
        let deleted = || Event::exchange("exchange.deleted", exchange, &self.name);
        self.note_event(topology, deleted);
        if exchange.durable {
            let key = DefinitionKey::Exchange {
                vhost: self.name.to_string(),
                name: exchange.name.to_string(),
            };
            batch.push(Record::catalog(CatalogChange::Delete(key)));
        }
        if let Some(own) = &exchange.own {
            // It has no consumers, and nobody asks how many messages go with it.
            drop(own.delete(false, false));
            if own.properties.durable {
                batch.push(Record::DeleteQueue { queue: own.properties.id });
            }
        }
    }
}
