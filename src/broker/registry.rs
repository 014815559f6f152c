//! What is connected now: for displays, and to close a connection by force.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::multiple::RefMulti;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::ConnectionId;
use super::link::{Link, Traffic};
use crate::protocol::table::FieldTable;

/// A connection that has been opened.
#[derive(Clone)]
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub user: String,
    pub vhost: String,
    /// What the client says of itself.
    pub client_properties: FieldTable,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat_seconds: u16,
    /// How the client logged in, by SASL's name.
    pub mechanism: String,
    /// Milliseconds since 1970.
    pub connected_at_ms: u64,
    /// To be asked how it is.
    pub link: Arc<dyn Link>,
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl ConnectionInfo {
    /// `127.0.0.1:40000 -> 127.0.0.1:5672`, which no other open connection has.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.peer, self.local)
    }
}

/// Tells a connection to end: the words for its client, once there are any.
pub type CloseOrder = watch::Receiver<Option<Arc<str>>>;

#[derive(Debug)]
struct Entry {
    info: Arc<ConnectionInfo>,
    close: watch::Sender<Option<Arc<str>>>,
}

/// The open connections. Each one adds itself and takes itself out.
#[derive(Debug, Default)]
pub struct Registry {
    connections: DashMap<ConnectionId, Entry>,
    /// What those moved that have ended.
    ended: Mutex<Traffic>,
}

impl Registry {
    /// Adds a connection, which has to look at what is answered.
    pub fn add(&self, info: ConnectionInfo) -> CloseOrder {
        let (close, order) = watch::channel(None);
        self.connections.insert(info.id, Entry { info: Arc::new(info), close });
        order
    }

    /// Answers it, if it was there.
    pub fn remove(&self, id: ConnectionId) -> Option<Arc<ConnectionInfo>> {
        let mut ended = self.ended.lock();
        let (_, Entry { info, .. }) = self.connections.remove(&id)?;
        *ended += info.link.status().traffic;
        Some(info)
    }

    pub fn get(&self, id: ConnectionId) -> Option<Arc<ConnectionInfo>> {
        self.connections.get(&id).map(|found| Arc::clone(&found.info))
    }

    /// Has connections tell their clients 320 with these words, and end. Answers which.
    pub(super) fn close_all(
        &self,
        is_meant: impl Fn(&ConnectionInfo) -> bool,
        text: &str,
    ) -> Vec<Arc<ConnectionInfo>> {
        let text: Arc<str> = text.into();
        let close = |entry: RefMulti<'_, ConnectionId, Entry>| {
            entry.close.send_replace(Some(Arc::clone(&text)));
            Arc::clone(&entry.info)
        };
        self.connections.iter().filter(|entry| is_meant(&entry.info)).map(close).collect()
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// What connections moved that have ended, and those of the moment: so that none ends in
    /// between, and a sum over both never falls.
    pub fn ended_and_open(&self) -> (Traffic, Vec<Arc<ConnectionInfo>>) {
        let ended = self.ended.lock();
        (*ended, self.connections())
    }

    /// The connections of the moment, in no order.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        self.connections.iter().map(|entry| Arc::clone(&entry.info)).collect()
    }
}
