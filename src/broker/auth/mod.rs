//! Who may do what: users, their passwords, tags and permissions.
//!
//! The broker owns the table of users; a user is shared by its connections and changed in place, so
//! that a change holds from the next operation on.

pub mod attempts;
pub mod password;
pub mod permission;
pub mod topic;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

pub use password::{HashingAlgorithm, PasswordHash};
pub use permission::{Access, Permissions};
pub use topic::TopicPermission;

use super::ConnectionId;
use super::error::Error;
use super::exchange::{Exchange, ExchangeKind};
use super::limit::{Counted, Place};
use crate::protocol::properties::Properties;
use crate::store::definition::{
    DefinitionKey, PermissionDefinition, TopicPermissionDefinition, UserDefinition,
};

/// Users with this tag may publish in the name of others.
const IMPERSONATOR: &str = "impersonator";

/// A user as connections see it.
#[derive(Debug)]
pub struct User {
    pub name: String,
    state: RwLock<UserState>,
    /// Grows with every change of what the user may do.
    version: AtomicU64,
    /// The open connections.
    pub connections: Arc<Counted>,
    /// The open channels of all of them.
    pub channels: Arc<Counted>,
}

#[derive(Debug)]
struct UserState {
    password: PasswordHash,
    tags: Vec<String>,
    /// By vhost.
    permissions: HashMap<String, Permissions>,
    /// By vhost and exchange.
    topics: HashMap<String, BTreeMap<String, Arc<TopicPermission>>>,
    /// Whoever still holds a deleted user may do nothing more.
    deleted: bool,
}

impl User {
    pub fn new(name: String, password: PasswordHash, tags: Vec<String>) -> Arc<Self> {
        let state = UserState {
            password,
            tags,
            permissions: HashMap::new(),
            topics: HashMap::new(),
            deleted: false,
        };
        Arc::new(Self {
            name,
            state: RwLock::new(state),
            version: AtomicU64::new(0),
            connections: Arc::default(),
            channels: Arc::default(),
        })
    }

    /// Reads a stored definition. An unknown digest or a broken hash lets nobody in.
    pub fn from_definition(definition: &UserDefinition) -> Option<Arc<Self>> {
        let algorithm = HashingAlgorithm::from_name(&definition.hashing_algorithm)?;
        let password = PasswordHash::parse(&definition.password_hash, algorithm)?;
        Some(Self::new(definition.name.clone(), password, definition.tags.clone()))
    }

    pub fn definition(&self) -> UserDefinition {
        let state = self.state.read();
        UserDefinition {
            name: self.name.clone(),
            password_hash: state.password.encoded(),
            hashing_algorithm: state.password.algorithm().name().to_owned(),
            tags: state.tags.clone(),
        }
    }

    pub fn accepts(&self, password: &str) -> bool {
        let state = self.state.read();
        !state.deleted && state.password.accepts(password)
    }

    /// Gives the user another password, other tags, or both.
    pub(super) fn change(&self, password: Option<PasswordHash>, tags: Option<Vec<String>>) {
        let mut state = self.state.write();
        if let Some(password) = password {
            state.password = password;
        }
        if let Some(tags) = tags {
            state.tags = tags;
        }
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.state.read().tags.iter().any(|own| own == tag)
    }

    /// Gives the user permissions in a vhost, effective at once.
    pub fn set_permissions(&self, definition: &PermissionDefinition) -> Result<(), regex::Error> {
        let PermissionDefinition { configure, write, read, .. } = definition;
        let permissions = Permissions::parse(configure, write, read)?;
        self.state.write().permissions.insert(definition.vhost.clone(), permissions);
        self.changed();
        Ok(())
    }

    /// Takes the user's permissions in a vhost away, effective at once.
    pub fn clear_permissions(&self, vhost: &str) -> bool {
        let removed = self.state.write().permissions.remove(vhost);
        self.changed();
        removed.is_some()
    }

    /// The user's permissions, by vhost.
    pub fn permissions(&self) -> Vec<PermissionDefinition> {
        let state = self.state.read();
        let of = |(vhost, permissions): (&String, &Permissions)| {
            permissions.definition(&self.name, vhost)
        };
        let mut found: Vec<_> = state.permissions.iter().map(of).collect();
        found.sort_unstable_by(|a, b| a.vhost.cmp(&b.vhost));
        found
    }

    /// Gives the user a topic permission, effective at once.
    pub(super) fn set_topic_permission(&self, permission: TopicPermission) {
        let (vhost, exchange) =
            (permission.stored.vhost.clone(), permission.stored.exchange.clone());
        let mut state = self.state.write();
        state.topics.entry(vhost).or_default().insert(exchange, Arc::new(permission));
        drop(state);
        self.changed();
    }

    /// Takes the user's topic permissions in a vhost away, for one exchange or for all. Effective
    /// at once. Answers the exchanges that they were for.
    pub(super) fn clear_topic_permissions(
        &self,
        vhost: &str,
        exchange: Option<&str>,
    ) -> Vec<String> {
        let mut state = self.state.write();
        let Some(exchange) = exchange else {
            let removed = state.topics.remove(vhost).unwrap_or_default();
            drop(state);
            self.changed();
            return removed.into_keys().collect();
        };
        let Some(of_vhost) = state.topics.get_mut(vhost) else { return Vec::new() };
        let removed = of_vhost.remove_entry(exchange).map(|(exchange, _)| exchange);
        if of_vhost.is_empty() {
            state.topics.remove(vhost);
        }
        drop(state);
        self.changed();
        removed.into_iter().collect()
    }

    /// The user's topic permissions, by vhost and exchange.
    pub fn topic_permissions(&self) -> Vec<TopicPermissionDefinition> {
        let state = self.state.read();
        let all = state.topics.values().flat_map(BTreeMap::values);
        let mut found: Vec<_> = all.map(|permission| permission.stored.clone()).collect();
        found.sort_unstable_by(|a, b| (&a.vhost, &a.exchange).cmp(&(&b.vhost, &b.exchange)));
        found
    }

    fn topic_permission(&self, vhost: &str, exchange: &str) -> Option<Arc<TopicPermission>> {
        self.state.read().topics.get(vhost)?.get(exchange).cloned()
    }

    /// Ends the user for all who still hold it; answers the keys of the permissions that it had.
    pub fn mark_deleted(&self) -> Vec<DefinitionKey> {
        let user = || self.name.clone();
        let mut state = self.state.write();
        state.deleted = true;
        let permissions = std::mem::take(&mut state.permissions).into_keys();
        let mut keys: Vec<_> =
            permissions.map(|vhost| DefinitionKey::Permission { user: user(), vhost }).collect();
        for (vhost, exchanges) in std::mem::take(&mut state.topics) {
            keys.extend(exchanges.into_keys().map(|exchange| DefinitionKey::TopicPermission {
                user: user(),
                vhost: vhost.clone(),
                exchange,
            }));
        }
        drop(state);
        self.changed();
        keys
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What the user was allowed holds as long as this is the same. To be read before asking.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether the user has any permissions in the vhost, which is what opening it takes.
    pub fn may_open(&self, vhost: &str) -> bool {
        let state = self.state.read();
        !state.deleted && state.permissions.contains_key(vhost)
    }

    /// One more channel of the user's. Refuses with 530 where there are as many as may be.
    pub fn open_channel(&self) -> Result<Place, Error> {
        self.channels.enter().map_err(|most| {
            Error::not_allowed(format!(
                "number of channels opened for user '{}' has reached the maximum allowed user limit \
                 of ({most})",
                self.name
            ))
        })
    }

    fn may(&self, access: Access, vhost: &str, name: &str) -> bool {
        let state = self.state.read();
        let permissions = state.permissions.get(vhost);
        !state.deleted && permissions.is_some_and(|permissions| permissions.allow(access, name))
    }
}

/// Who asks: the user, and the connection that speaks for it or none, from where.
#[derive(Debug, Clone)]
pub struct Actor {
    pub user: Arc<User>,
    /// [`ConnectionId::NONE`] for what comes by the management API, [`ConnectionId::FILE`] for what
    /// a file says.
    pub connection: ConnectionId,
    pub peer: SocketAddr,
}

/// What is asked about. The default exchange is checked under the name `amq.default`.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

impl Actor {
    /// Rule: a publisher says who it is, or nothing.
    pub fn check_user_id(&self, properties: &Properties) -> Result<(), Error> {
        let Some(claimed) = properties.user_id() else { return Ok(()) };
        let actual = &self.user.name;
        if claimed == actual.as_str() || self.user.has_tag(IMPERSONATOR) {
            return Ok(());
        }
        Err(Error::precondition_failed(format!(
            "user_id property set to '{claimed}' but authenticated user was '{actual}'"
        )))
    }

    /// What says which routing keys the user may use at an exchange; none is every key. Only
    /// topic exchanges are asked about.
    pub fn topic_permission(
        &self,
        vhost: &str,
        exchange: &Exchange,
    ) -> Option<Arc<TopicPermission>> {
        match exchange.kind {
            ExchangeKind::Topic => self.user.topic_permission(vhost, &exchange.name),
            _ => None,
        }
    }

    /// Refuses with 403 what the user's permissions in the vhost don't allow.
    pub fn check(&self, access: Access, vhost: &str, resource: Resource<'_>) -> Result<(), Error> {
        let (kind, name) = match resource {
            Resource::Queue(name) => ("queue", name),
            Resource::Exchange("") => ("exchange", "amq.default"),
            Resource::Exchange(name) => ("exchange", name),
        };
        if self.user.may(access, vhost, name) {
            return Ok(());
        }
        Err(Error::access_refused(format!(
            "{} access to {kind} '{name}' in vhost '{vhost}' refused for user '{}'",
            access.name(),
            self.user.name
        )))
    }
}
