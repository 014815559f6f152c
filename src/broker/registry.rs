//! What is connected now: for displays, and to close a connection by force.

use std::net::SocketAddr;
use std::sync::Arc;

use dashmap::DashMap;

use super::ConnectionId;
use crate::protocol::table::FieldTable;

/// A connection that has been opened.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    pub user: String,
    pub vhost: String,
    /// What the client says of itself.
    pub client_properties: FieldTable,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat_seconds: u16,
}

/// The open connections. Each one adds itself and takes itself out.
#[derive(Debug, Default)]
pub struct Registry {
    connections: DashMap<ConnectionId, Arc<ConnectionInfo>>,
}

impl Registry {
    pub fn add(&self, info: ConnectionInfo) {
        self.connections.insert(info.id, Arc::new(info));
    }

    pub fn remove(&self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The connections of the moment, in no order.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        self.connections.iter().map(|entry| Arc::clone(&entry)).collect()
    }
}
