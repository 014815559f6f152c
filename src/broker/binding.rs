//! A binding: from an exchange to a queue or another exchange.

use std::fmt;
use std::sync::Arc;

use super::exchange::Exchange;
use super::queue::Queue;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{BindingDefinition, DestinationKind};

/// Where a binding leads.
#[derive(Clone)]
pub enum Destination {
    Queue(Arc<Queue>),
    Exchange(Arc<Exchange>),
}

/// A destination by kind and name: its identity within a vhost.
pub type DestinationKey = (DestinationKind, ShortStr);

impl Destination {
    pub fn key(&self) -> DestinationKey {
        match self {
            Self::Queue(queue) => (DestinationKind::Queue, queue.name().clone()),
            Self::Exchange(exchange) => (DestinationKind::Exchange, exchange.name.clone()),
        }
    }

    pub fn is_durable(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.properties.durable,
            Self::Exchange(exchange) => exchange.durable,
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

/// One binding. Its identity is all of it.
#[derive(Debug)]
pub struct Binding {
    pub source: ShortStr,
    pub destination: Destination,
    pub key: ShortStr,
    pub arguments: FieldTable,
}

impl Binding {
    pub fn definition(&self, vhost: &str) -> BindingDefinition {
        let (destination_kind, destination) = self.destination.key();
        BindingDefinition {
            vhost: vhost.to_owned(),
            source: self.source.to_string(),
            destination_kind,
            destination: destination.to_string(),
            binding_key: self.key.to_string(),
            arguments: self.arguments.clone(),
        }
    }
}
