//! Who may do what: users, their passwords, tags and permissions.
//!
//! The broker owns the table of users; a user is shared by its connections and changed in place, so
//! that a change holds from the next operation on.

pub mod password;
pub mod permission;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

pub use password::{HashingAlgorithm, PasswordHash};
pub use permission::{Access, Permissions};

use super::ConnectionId;
use super::error::Error;
use super::limit::{Counted, Place};
use crate::protocol::properties::Properties;
use crate::store::definition::{PermissionDefinition, UserDefinition};

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
    /// Deleted users keep their connections but may do nothing more.
    deleted: bool,
}

impl User {
    pub fn new(name: String, password: PasswordHash, tags: Vec<String>) -> Arc<Self> {
        let state = UserState { password, tags, permissions: HashMap::new(), deleted: false };
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

    pub fn set_password(&self, password: PasswordHash) {
        self.state.write().password = password;
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

    /// Ends the user for all who still hold it; answers the vhosts that it had permissions in.
    pub fn mark_deleted(&self) -> Vec<String> {
        let mut state = self.state.write();
        state.deleted = true;
        let permissions = std::mem::take(&mut state.permissions);
        drop(state);
        self.changed();
        permissions.into_keys().collect()
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
    /// [`ConnectionId::NONE`] for what comes by the management API.
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
