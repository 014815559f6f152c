//! Users and what they may do: adding, changing and deleting them, and letting them in.
//!
//! A change holds at once, and goes to the log in the order in which it was made.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Broker;
use super::auth::attempts::{Attempts, LoginProtocol};
use super::auth::{Actor, PasswordHash, TopicPermission, User};
use super::durable::Durable;
use super::error::Error;
use super::event::Event;
use super::limit::LimitOf;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{
    CatalogChange, Definition, DefinitionKey, PermissionDefinition, TopicPermissionDefinition,
    UserDefinition,
};
use crate::store::record::Record;

/// Most users.
const USERS_MAX: usize = 100_000;

/// Most tags of a user.
const TAGS_MAX: usize = 100;

/// Why somebody may not come in. For the log: the client only hears that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefused {
    UnknownUser,
    WrongPassword,
    NotFromLoopback,
}

impl fmt::Display for LoginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownUser => "there is no such user",
            Self::WrongPassword => "the password is wrong",
            Self::NotFromLoopback => "this user may connect from this machine only",
        })
    }
}

/// What is to become of a user: what is none stays, and a new user has nothing of it.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    pub password: Option<PasswordHash>,
    pub tags: Option<Vec<String>>,
}

impl Broker {
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.users.get(name).map(|found| Arc::clone(&found))
    }

    /// The users of the moment, in no order.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.users.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// Checks a name and password from a client at this address.
    pub fn authenticate(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        protocol: LoginProtocol,
    ) -> Result<Arc<User>, LoginRefused> {
        let user = self.check_login(name, password, address.to_canonical().is_loopback());
        self.attempts(protocol).count(address, name, user.is_ok());
        user
    }

    fn check_login(
        &self,
        name: &str,
        password: &str,
        from_loopback: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let user = self.user(name).ok_or(LoginRefused::UnknownUser)?;
        if !user.accepts(password) {
            return Err(LoginRefused::WrongPassword);
        }
        if !from_loopback && self.settings.loopback_users.iter().any(|local| local == name) {
            return Err(LoginRefused::NotFromLoopback);
        }
        Ok(user)
    }

    /// The logins by a protocol since the broker started, or since they were counted anew.
    pub fn attempts(&self, protocol: LoginProtocol) -> &Attempts {
        let [amqp, http] = &self.attempts;
        match protocol {
            LoginProtocol::Amqp => amqp,
            LoginProtocol::Http => http,
        }
    }

    /// Adds a user, or changes one. Effective at once. Refuses, with 406, a name or tags that can't
    /// be.
    pub fn put_user(
        &self,
        name: &str,
        change: UserChange,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        check_user(name, &change)?;
        let _changing = self.changing.lock();
        let mut told = Vec::new();
        let user = match self.user(name) {
            Some(user) => {
                let before = user.definition();
                let has_new_password = change.password.is_some();
                user.change(change.password, change.tags);
                let after = user.definition();
                if has_new_password {
                    let event = Event::new("user.password.changed");
                    told.push(event.changed(Some(shown(&before)), Some(shown(&after))));
                }
                if before.tags != after.tags {
                    let event = Event::new("user.tags.set").text("tags", &after.tags.join(","));
                    told.push(event.changed(Some(json!(before.tags)), Some(json!(after.tags))));
                }
                user
            }
            None => {
                let user = self.add_user(name, change)?;
                let after = Some(shown(&user.definition()));
                told.push(Event::new("user.created").changed(None, after));
                user
            }
        };
        let stored = self.store_change(CatalogChange::Put(Definition::User(user.definition())));
        for event in told {
            self.events.tell(actor, || event.text("name", name));
        }
        Ok(stored)
    }

    fn add_user(&self, name: &str, change: UserChange) -> Result<Arc<User>, Error> {
        if self.users.len() >= USERS_MAX {
            return Err(Error::precondition_failed(format!(
                "there are {USERS_MAX} users already: delete one first"
            )));
        }
        let UserChange { password, tags } = change;
        let password = password.unwrap_or_else(PasswordHash::none);
        let user = User::new(name.to_owned(), password, tags.unwrap_or_default());
        self.users.insert(name.to_owned(), Arc::clone(&user));
        Ok(user)
    }

    /// Takes a user away and closes its connections, which may do nothing more. Answers whether
    /// there was one.
    pub fn delete_user(&self, name: &str, actor: Option<&Actor>) -> (bool, Durable) {
        let _changing = self.changing.lock();
        let Some((_, user)) = self.users.remove(name) else { return (false, Durable::already()) };
        let before = shown(&user.definition());
        let keys = user.mark_deleted().into_iter();
        let keys = keys.chain(LimitOf::User(name).keys());
        let keys = keys.chain([DefinitionKey::User(name.to_owned())]);
        let records = keys.map(|key| Record::catalog(CatalogChange::Delete(key)));
        let stored = Durable::append(&*self.store, records.collect::<Vec<_>>().into());
        // By the name: no other user can have come to have it yet.
        let text = format!("user '{name}' is deleted");
        drop(self.registry.close_all(|info| info.user == name, &text));
        let deleted = || Event::new("user.deleted").text("name", name);
        self.events.tell(actor, || deleted().changed(Some(before), None));
        (true, stored)
    }

    /// Sets what a user may do in a vhost. Effective at once. Refuses, with 404, a user or vhost
    /// that isn't there, and with 406 what is no regular expression.
    pub fn set_permissions(
        &self,
        permissions: PermissionDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let _changing = self.changing.lock();
        self.check_vhost(&permissions.vhost)?;
        let before = self.permissions_of(&permissions.user, &permissions.vhost);
        self.grant(&permissions)?;
        let PermissionDefinition { user, vhost, configure, write, read } = &permissions;
        self.events.tell(actor, || {
            let event = Event::new("permission.created").text("user", user).text("vhost", vhost);
            let event = event.text("configure", configure).text("write", write).text("read", read);
            event.changed(before, Some(json!(permissions)))
        });
        Ok(self.store_change(CatalogChange::Put(Definition::Permission(permissions))))
    }

    /// For the audit log.
    fn permissions_of(&self, user: &str, vhost: &str) -> Option<Value> {
        let all = self.user(user)?.permissions();
        all.into_iter().find(|permissions| permissions.vhost == vhost).map(|found| json!(found))
    }

    pub(super) fn grant(&self, permissions: &PermissionDefinition) -> Result<(), Error> {
        let user = self.existing_user(&permissions.user)?;
        user.set_permissions(permissions).map_err(not_a_pattern)
    }

    /// Takes away what a user may do in a vhost. Effective at once. Answers whether it might do
    /// anything.
    pub fn clear_permissions(
        &self,
        user: &str,
        vhost: &str,
        actor: Option<&Actor>,
    ) -> (bool, Durable) {
        let _changing = self.changing.lock();
        let before = self.permissions_of(user, vhost);
        if !self.user(user).is_some_and(|user| user.clear_permissions(vhost)) {
            return (false, Durable::already());
        }
        self.events.tell(actor, || {
            let event = Event::new("permission.deleted").text("user", user).text("vhost", vhost);
            event.changed(before, None)
        });
        let key = DefinitionKey::Permission { user: user.to_owned(), vhost: vhost.to_owned() };
        (true, self.store_change(CatalogChange::Delete(key)))
    }

    /// Sets which routing keys a user may use at an exchange. Else as [`Self::set_permissions`].
    pub fn set_topic_permission(
        &self,
        permission: TopicPermissionDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        if permission.exchange.len() > ShortStr::MAX_LEN {
            return Err(Error::precondition_failed(format!(
                "the exchange name '{}' is longer than {} bytes",
                permission.exchange,
                ShortStr::MAX_LEN
            )));
        }
        let _changing = self.changing.lock();
        self.check_vhost(&permission.vhost)?;
        let TopicPermissionDefinition { user, vhost, exchange, write, read } = &permission;
        let before = self.topic_permissions_of(user, vhost).remove(exchange);
        self.grant_topic(permission.clone())?;
        self.events.tell(actor, || {
            let event = Event::new("topic.permission.created").text("user", user);
            let event = event.text("vhost", vhost).text("exchange", exchange);
            let event = event.text("write", write).text("read", read);
            event.changed(before, Some(json!(permission)))
        });
        Ok(self.store_change(CatalogChange::Put(Definition::TopicPermission(permission))))
    }

    /// For the audit log: those in a vhost, by exchange.
    fn topic_permissions_of(&self, user: &str, vhost: &str) -> HashMap<String, Value> {
        let all = self.user(user).map(|user| user.topic_permissions()).unwrap_or_default();
        let here = all.into_iter().filter(|permission| permission.vhost == vhost);
        here.map(|permission| (permission.exchange.clone(), json!(permission))).collect()
    }

    pub(super) fn grant_topic(&self, stored: TopicPermissionDefinition) -> Result<(), Error> {
        let user = self.existing_user(&stored.user)?;
        user.set_topic_permission(TopicPermission::parse(stored).map_err(not_a_pattern)?);
        Ok(())
    }

    /// Lets a user use every routing key again, at one exchange or at all of a vhost. Answers
    /// whether that changed anything.
    pub fn clear_topic_permissions(
        &self,
        user: &str,
        vhost: &str,
        exchange: Option<&str>,
        actor: Option<&Actor>,
    ) -> (bool, Durable) {
        let _changing = self.changing.lock();
        let Some(found) = self.user(user) else { return (false, Durable::already()) };
        let mut before = self.topic_permissions_of(user, vhost);
        let cleared = found.clear_topic_permissions(vhost, exchange);
        let records = cleared.iter().map(|exchange| {
            let (user, vhost) = (user.to_owned(), vhost.to_owned());
            let key = DefinitionKey::TopicPermission { user, vhost, exchange: exchange.clone() };
            Record::catalog(CatalogChange::Delete(key))
        });
        let stored = Durable::append(&*self.store, records.collect::<Vec<_>>().into());
        for exchange in &cleared {
            self.events.tell(actor, || {
                let event = Event::new("topic.permission.deleted").text("user", user);
                let event = event.text("vhost", vhost).text("exchange", exchange);
                event.changed(before.remove(exchange), None)
            });
        }
        (!cleared.is_empty(), stored)
    }

    fn existing_user(&self, name: &str) -> Result<Arc<User>, Error> {
        self.user(name).ok_or_else(|| Error::not_found(format!("no user '{name}'")))
    }
}

/// A user in the audit log, which has no hashes.
fn shown(user: &UserDefinition) -> Value {
    let has_password = !user.password_hash.is_empty();
    json!({ "name": user.name, "tags": user.tags, "has_password": has_password })
}

fn check_user(name: &str, change: &UserChange) -> Result<(), Error> {
    let most = ShortStr::MAX_LEN;
    if name.is_empty() || name.len() > most {
        return Err(Error::precondition_failed(format!(
            "the name of a user must have 1 to {most} bytes"
        )));
    }
    let tags = change.tags.iter().flatten();
    if tags.clone().count() > TAGS_MAX || tags.clone().any(|tag| tag.len() > most) {
        return Err(Error::precondition_failed(format!(
            "user '{name}': there may be {TAGS_MAX} tags, of {most} bytes each"
        )));
    }
    Ok(())
}

fn not_a_pattern(error: regex::Error) -> Error {
    Error::precondition_failed(format!("a permission is not a regular expression: {error}"))
}
