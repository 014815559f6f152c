//! What is: the durable definitions, as the broker speaks them and as the catalog keeps them.
//!
//! Serialised as JSON, so that a field added later has a default when an older file is read.

use serde::{Deserialize, Serialize};

use super::record::QueueId;
use crate::protocol::table::FieldTable;

/// A vhost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VhostDefinition {
    pub name: String,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionDefinition {
    pub user: String,
    pub vhost: String,
    pub configure: String,
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

/// A definition of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    Vhost(VhostDefinition),
    User(UserDefinition),
    Permission(PermissionDefinition),
    Exchange(ExchangeDefinition),
    Queue(QueueDefinition),
    Binding(BindingDefinition),
}

/// What identifies a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKey {
    Vhost(String),
    User(String),
    Permission { user: String, vhost: String },
    Exchange { vhost: String, name: String },
    Queue { vhost: String, name: String },
    Binding(BindingDefinition),
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
            Self::Exchange(ExchangeDefinition { vhost, name, .. }) => {
                DefinitionKey::Exchange { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Queue(QueueDefinition { vhost, name, .. }) => {
                DefinitionKey::Queue { vhost: vhost.clone(), name: name.clone() }
            }
            Self::Binding(binding) => DefinitionKey::Binding(binding.clone()),
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
