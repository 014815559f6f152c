//! How many of something there may be: the limits of vhosts and users.
//!
//! A limit and what it counts stand together in the vhost or user, and cost a few instructions
//! where something comes or goes. What is above a limit that is lowered stays.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value as Json};

use super::Broker;
use super::auth::{Actor, User};
use super::durable::Durable;
use super::error::Error;
use super::event::Event;
use super::vhost::Vhost;
use crate::store::definition::{CatalogChange, Definition, DefinitionKey, LimitDefinition};
use crate::store::record::Record;

/// The limits' names, RabbitMQ's.
pub const MAX_CONNECTIONS: &str = "max-connections";
pub const MAX_QUEUES: &str = "max-queues";
pub const MAX_CHANNELS: &str = "max-channels";

const VHOST_LIMITS: [&str; 2] = [MAX_CONNECTIONS, MAX_QUEUES];
const USER_LIMITS: [&str; 2] = [MAX_CONNECTIONS, MAX_CHANNELS];

/// The most of something.
#[derive(Debug)]
pub struct Limit(AtomicU64);

/// More than there can be of anything.
const NO_LIMIT: u64 = u64::MAX;

impl Default for Limit {
    fn default() -> Self {
        Self(AtomicU64::new(NO_LIMIT))
    }
}

impl Limit {
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|most| *most != NO_LIMIT)
    }

    /// Answers what it was.
    fn set(&self, most: Option<u64>) -> Option<u64> {
        let before = self.0.swap(most.unwrap_or(NO_LIMIT), Ordering::Relaxed);
        Some(before).filter(|before| *before != NO_LIMIT)
    }
}

/// Things that come and go, and the most that there may be of them.
#[derive(Debug, Default)]
pub struct Counted {
    pub limit: Limit,
    count: AtomicU64,
}

/// One of the things that are counted, as long as it is there.
#[derive(Debug)]
#[must_use = "it is counted as long as this is held"]
pub struct Place(Arc<Counted>);

impl Counted {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// One more; refuses with the limit where that is reached.
    pub fn enter(self: &Arc<Self>) -> Result<Place, u64> {
        let most = self.limit.get().unwrap_or(NO_LIMIT);
        let more = |count| if count < most { Some(count + 1) } else { None };
        let entered = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.map(|_| Place(Arc::clone(self))).map_err(|_| most)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection among those of its vhost and of its user.
#[derive(Debug)]
#[must_use = "it is counted as long as this is held"]
pub struct Admission {
    _of_vhost: Place,
    _of_user: Place,
}

impl Admission {
    /// Refuses with 530 where the vhost or the user has as many connections as it may.
    pub fn enter(vhost: &Vhost, user: &User) -> Result<Self, Error> {
        let of_vhost = vhost.connections.enter().map_err(|most| {
            Error::not_allowed(format!(
                "access to vhost '{}' refused for user '{}': connection limit ({most}) is reached",
                vhost.name, user.name
            ))
        })?;
        let of_user = user.connections.enter().map_err(|most| {
            Error::not_allowed(format!(
                "connection refused for user '{}': user connection limit ({most}) is reached",
                user.name
            ))
        })?;
        Ok(Self { _of_vhost: of_vhost, _of_user: of_user })
    }
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy)]
pub enum LimitOf<'a> {
    Vhost(&'a str),
    User(&'a str),
}

impl fmt::Display for LimitOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vhost(name) => write!(f, "the limits of vhost '{name}'"),
            Self::User(name) => write!(f, "the limits of user '{name}'"),
        }
    }
}

impl LimitOf<'_> {
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Vhost(_) => VHOST_LIMITS,
            Self::User(_) => USER_LIMITS,
        }
    }

    fn definition(self, name: &str, most: u64) -> Definition {
        let name = name.to_owned();
        match self {
            Self::Vhost(owner) => {
                Definition::VhostLimit(LimitDefinition { owner: owner.to_owned(), name, most })
            }
            Self::User(owner) => {
                Definition::UserLimit(LimitDefinition { owner: owner.to_owned(), name, most })
            }
        }
    }

    /// What is told of a limit that was set, or (`most` is none) cleared.
    fn event(self, name: &str, before: Option<u64>, most: Option<u64>) -> Event {
        let (owner, set, cleared) = match self {
            Self::Vhost(vhost) => (vhost, "vhost.limits.set", "vhost.limits.cleared"),
            Self::User(user) => (user, "user.limits.set", "user.limits.cleared"),
        };
        let key = if most.is_some() { set } else { cleared };
        let event = Event::new(key).text("name", owner).text("limit", name);
        let event = match most {
            Some(most) => event.number("value", most),
            None => event,
        };
        event.changed(before.map(Json::from), most.map(Json::from))
    }

    /// The keys that its limits have in the catalog, whether they are set or not.
    pub(super) fn keys(self) -> [DefinitionKey; 2] {
        self.names().map(|name| self.key(name))
    }

    fn key(self, name: &str) -> DefinitionKey {
        let name = name.to_owned();
        match self {
            Self::Vhost(vhost) => DefinitionKey::VhostLimit { vhost: vhost.to_owned(), name },
            Self::User(user) => DefinitionKey::UserLimit { user: user.to_owned(), name },
        }
    }
}

impl Broker {
    /// Sets a limit; -1 is none. Refuses, with 406, a name or number that can't be, and with 404 a
    /// vhost or user that isn't there.
    pub fn set_limit(
        &self,
        of: LimitOf<'_>,
        name: &str,
        most: i64,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let most = checked(name, most)?;
        let before;
        let stored = {
            let _changing = self.changing.lock();
            before = self.with_limit(of, name, |limit| limit.set(most))?;
            self.store_change(match most {
                Some(most) => CatalogChange::Put(of.definition(name, most)),
                None => CatalogChange::Delete(of.key(name)),
            })
        };
        self.events.tell(actor, || of.event(name, before, most));
        Ok(stored)
    }

    /// Sets all limits at once; those that aren't named are none from now on. Refuses as
    /// [`Self::set_limit`] does, and then nothing is changed.
    pub fn replace_limits(
        &self,
        of: LimitOf<'_>,
        limits: &Map<String, Json>,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let mut wanted = of.names().map(|name| (name, None));
        for (name, value) in limits {
            self.with_limit(of, name, |_| ())?;
            let most = value.as_i64().ok_or_else(|| {
                Error::precondition_failed(format!("the limit '{name}' must be a whole number"))
            })?;
            let most = checked(name, most)?;
            wanted.iter_mut().filter(|(known, _)| known == name).for_each(|(_, set)| *set = most);
        }
        let mut changed = Vec::new();
        let stored = {
            let _changing = self.changing.lock();
            let mut records = Vec::new();
            for (name, most) in wanted {
                let before = self.with_limit(of, name, |limit| limit.set(most))?;
                if before != most {
                    changed.push((name, before, most));
                }
                records.push(Record::catalog(match most {
                    Some(most) => CatalogChange::Put(of.definition(name, most)),
                    None => CatalogChange::Delete(of.key(name)),
                }));
            }
            Durable::append(&*self.store, records.into())
        };
        for (name, before, most) in changed {
            self.events.tell(actor, || of.event(name, before, most));
        }
        Ok(stored)
    }

    /// The limits that are set: their names, and the most.
    pub fn limits(&self, of: LimitOf<'_>) -> Result<Vec<(&'static str, u64)>, Error> {
        let mut found = Vec::new();
        for name in of.names() {
            let most = self.with_limit(of, name, Limit::get)?;
            found.extend(most.map(|most| (name, most)));
        }
        Ok(found)
    }

    pub(super) fn restore_limit(
        &self,
        of: LimitOf<'_>,
        stored: &LimitDefinition,
    ) -> Result<(), Error> {
        self.with_limit(of, &stored.name, |limit| limit.set(Some(stored.most))).map(drop)
    }

    fn with_limit<T>(
        &self,
        of: LimitOf<'_>,
        name: &str,
        then: impl FnOnce(&Limit) -> T,
    ) -> Result<T, Error> {
        let found = match of {
            LimitOf::Vhost(vhost) => {
                let missing = || Error::not_found(format!("no vhost '{vhost}'"));
                let vhost = self.vhost(vhost).ok_or_else(missing)?;
                match name {
                    MAX_CONNECTIONS => Some(then(&vhost.connections.limit)),
                    MAX_QUEUES => Some(then(&vhost.queues_max)),
                    _ => None,
                }
            }
            LimitOf::User(user) => {
                let missing = || Error::not_found(format!("no user '{user}'"));
                let user = self.user(user).ok_or_else(missing)?;
                match name {
                    MAX_CONNECTIONS => Some(then(&user.connections.limit)),
                    MAX_CHANNELS => Some(then(&user.channels.limit)),
                    _ => None,
                }
            }
        };
        found.ok_or_else(|| {
            let known = of.names().join(", ");
            Error::precondition_failed(format!("there is no limit '{name}', only {known}"))
        })
    }
}

/// The most that a number stands for; -1 is no limit.
fn checked(name: &str, most: i64) -> Result<Option<u64>, Error> {
    match u64::try_from(most) {
        Ok(most) => Ok(Some(most)),
        Err(_) if most == -1 => Ok(None),
        Err(_) => Err(Error::precondition_failed(format!(
            "the limit '{name}' can't be {most}: a number from 0 on is needed, or -1 for none"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_come_in_as_may_and_another_one_when_one_has_gone() {
        let counted = Arc::new(Counted::default());
        let first = counted.enter().expect("no limit");
        counted.limit.set(Some(2));
        let second = counted.enter().expect("the second of two");
        assert_eq!(counted.enter().map(|_| ()), Err(2));
        drop(first);
        let third = counted.enter().expect("there is room again");
        // What is above a lowered limit stays.
        counted.limit.set(Some(0));
        assert_eq!((counted.count(), counted.enter().map(|_| ())), (2, Err(0)));
        drop((second, third));
        assert_eq!(counted.count(), 0);
    }
}
