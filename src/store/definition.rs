//! What is: the durable definitions, as the broker speaks them and as the catalog keeps them.
//!
//! Serialised as JSON, so that a field added later has a default when an older file is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::record::QueueId;
use crate::protocol::table::FieldTable;

/// A vhost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VhostDefinition {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: Vec<String>,
    /// The type of queues whose declaration names none.
    #[serde(default)]
    pub default_queue_type: Option<String>,
    /// It can't be deleted until this is taken back.
    #[serde(default)]
    pub protected_from_deletion: bool,
}

/// A user. `password_hash` and `hashing_algorithm` are as RabbitMQ's definitions carry them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserDefinition {
    pub name: String,
    pub password_hash: String,
    pub hashing_algorithm: String,
    pub tags: Vec<String>,
}

/// What a user may do in a vhost: three regular expressions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PermissionDefinition {
    pub user: String,
    pub vhost: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// Which routing keys a user may use at a topic exchange: two regular expressions, in which
/// `{username}` and `{vhost}` stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPermissionDefinition {
    pub user: String,
    pub vhost: String,
    pub exchange: String,
    pub write: String,
    pub read: String,
}

/// A durable exchange. The predeclared ones are not stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangeDefinition {
    pub vhost: String,
    pub name: String,
    pub kind: String,
    pub auto_delete: bool,
    pub internal: bool,
    #[serde(with = "table_as_wire_bytes")]
    pub arguments: FieldTable,
    /// Under which the log keeps what belongs to the exchange itself, if anything does: messages
    /// that it holds back, and what its deduplication has seen. It goes as a queue's id does.
    #[serde(default)]
    pub queue: Option<QueueId>,
}

/// A durable queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueDefinition {
    pub vhost: String,
    pub name: String,
    pub id: QueueId,
    pub auto_delete: bool,
    #[serde(with = "table_as_wire_bytes")]
    pub arguments: FieldTable,
    /// The highest priority. Each level from 0 on is a queue of its own in the log, with the ids
    /// from `id` on.
    #[serde(default)]
    pub levels: u8,
    /// An operator has stopped its deliveries.
    #[serde(default)]
    pub paused: bool,
}

impl QueueDefinition {
    /// The ids under which the log keeps the queue, from level 0 on.
    pub fn ids(&self) -> impl Iterator<Item = QueueId> + use<> {
        let last = self.id.0.saturating_add(u64::from(self.levels));
        (self.id.0..=last).map(QueueId)
    }
}

/// What a binding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    Queue,
    Exchange,
}

/// A binding between durable things. Its identity is all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindingDefinition {
    pub vhost: String,
    pub source: String,
    pub destination_kind: DestinationKind,
    pub destination: String,
    pub binding_key: String,
    #[serde(with = "table_as_wire_bytes")]
    pub arguments: FieldTable,
}

/// A policy, or an operator policy: options of the queues and exchanges that it matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyDefinition {
    pub vhost: String,
    pub name: String,
    /// A regular expression over names, unanchored.
    pub pattern: String,
    /// What kinds of thing, in RabbitMQ's words, such as `queues`.
    pub apply_to: String,
    /// Of the policies that match, the one with the highest holds.
    pub priority: i64,
    pub definition: Map<String, Json>,
}

/// A setting of something beside the broker's own rules, such as a federation upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterDefinition {
    pub vhost: String,
    /// What it is a setting of.
    pub component: String,
    pub name: String,
    pub value: Json,
}

/// A setting of the whole broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameterDefinition {
    pub name: String,
    pub value: Json,
}

/// The most that a vhost or a user may have of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitDefinition {
    /// The vhost or user.
    pub owner: String,
    /// Of what, in RabbitMQ's words, such as `max-connections`.
    pub name: String,
    pub most: u64,
}

/// A definition of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    Vhost(VhostDefinition),
    User(UserDefinition),
    Permission(PermissionDefinition),
    TopicPermission(TopicPermissionDefinition),
    Exchange(ExchangeDefinition),
    Queue(QueueDefinition),
    Binding(BindingDefinition),
    Policy(PolicyDefinition),
    OperatorPolicy(PolicyDefinition),
    Parameter(ParameterDefinition),
    GlobalParameter(GlobalParameterDefinition),
    VhostLimit(LimitDefinition),
    UserLimit(LimitDefinition),
}

/// What identifies a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKey {
    Vhost(String),
    User(String),
    Permission { user: String, vhost: String },
    TopicPermission { user: String, vhost: String, exchange: String },
    Exchange { vhost: String, name: String },
    Queue { vhost: String, name: String },
    Binding(BindingDefinition),
    Policy { vhost: String, name: String },
    OperatorPolicy { vhost: String, name: String },
    Parameter { vhost: String, component: String, name: String },
    GlobalParameter(String),
    VhostLimit { vhost: String, name: String },
    UserLimit { user: String, name: String },
}

impl Definition {
    /// The ids under which the log keeps what is in it.
    pub fn queue_ids(&self) -> impl Iterator<Item = QueueId> + use<> {
        let (of_queue, of_exchange) = match self {
            Self::Queue(queue) => (Some(queue.ids()), None),
            Self::Exchange(exchange) => (None, exchange.queue),
            _ => (None, None),
        };
        of_queue.into_iter().flatten().chain(of_exchange)
    }

    pub fn key(&self) -> DefinitionKey {
        match self {
            Self::Vhost(vhost) => DefinitionKey::Vhost(vhost.name.clone()),
            Self::User(user) => DefinitionKey::User(user.name.clone()),
            Self::Permission(PermissionDefinition { user, vhost, .. }) => {
                DefinitionKey::Permission { user: user.clone(), vhost: vhost.clone() }
            }
            Self::TopicPermission(TopicPermissionDefinition { user, vhost, exchange, .. }) => {
                let (user, vhost) = (user.clone(), vhost.clone());
                DefinitionKey::TopicPermission { user, vhost, exchange: exchange.clone() }
            }
            Self::Exchange(ExchangeDefinition { vhost, name, .. }) => {
                DefinitionKey::Exchange { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Queue(QueueDefinition { vhost, name, .. }) => {
                DefinitionKey::Queue { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Binding(binding) => DefinitionKey::Binding(binding.clone()),
            Self::Policy(PolicyDefinition { vhost, name, .. }) => {
                DefinitionKey::Policy { vhost: vhost.clone(), name: name.clone() }
            }
            Self::OperatorPolicy(PolicyDefinition { vhost, name, .. }) => {
                DefinitionKey::OperatorPolicy { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Parameter(ParameterDefinition { vhost, component, name, .. }) => {
                let (vhost, component) = (vhost.clone(), component.clone());
                DefinitionKey::Parameter { vhost, component, name: name.clone() }
            }
            Self::GlobalParameter(parameter) => {
                DefinitionKey::GlobalParameter(parameter.name.clone())
            }
            Self::VhostLimit(LimitDefinition { owner, name, .. }) => {
                DefinitionKey::VhostLimit { vhost: owner.clone(), name: name.clone() }
            }
            Self::UserLimit(LimitDefinition { owner, name, .. }) => {
                DefinitionKey::UserLimit { user: owner.clone(), name: name.clone() }
            }
        }
    }
}

impl DefinitionKey {
    /// The key in a fixed, short form: keys themselves may be as long as a frame.
    pub fn digest(&self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let text = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(text).into()
    }
}

/// A change of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogChange {
    /// Adds the definition or replaces the one with its key.
    Put(Definition),
    Delete(DefinitionKey),
}

/// Field tables are stored as the bytes they have on the wire, the one form that keeps every type.
mod table_as_wire_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::{Bytes, BytesMut};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::protocol::table::FieldTable;
    use crate::protocol::wire::Fields;

    pub(super) fn serialize<S: Serializer>(
        table: &FieldTable,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut out = BytesMut::new();
        table.encode(&mut out);
        serializer.serialize_str(&STANDARD.encode(&out))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<FieldTable, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Bytes::from(STANDARD.decode(text).map_err(D::Error::custom)?);
        FieldTable::decode(&mut Fields::new(&bytes)).map_err(|error| D::Error::custom(error.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vhost_of_an_older_file_has_no_metadata() {
        let read: Definition = serde_json::from_str(r#"{"vhost":{"name":"/"}}"#).expect("valid");
        let name = "/".to_owned();
        assert_eq!(read, Definition::Vhost(VhostDefinition { name, ..VhostDefinition::default() }));
    }
}
