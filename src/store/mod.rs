//! Bytes that survive: what the broker may ask of durable storage, and nothing of how it is done.
//!
//! Everything durable goes through one door, [`Store::append`]: a batch of [`Record`]s is appended
//! in call order, all or nothing, and resolves to a commit or to an error. Queue state is a fold
//! over records with no clock in it, and the fold is commutative: a settle that reaches the log
//! before the enqueue it belongs to still wins, because sequence numbers are never used twice.
//!
//! This folder is the only user of `std::fs` (beside the configuration file) and of sled.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod catalog;
mod commit_thread;
mod committer;
pub mod definition;
mod disk;
mod encoding;
mod inbox;
mod ledger;
pub mod memory;
pub mod record;
mod recovery;
mod segment;
mod state;
mod upkeep;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

pub use disk::open;

pub use definition::{CatalogChange, Definition, DefinitionKey};
pub use record::{Batch, QueueId, Record, Seq, SeqRange};

use crate::protocol::message::Message;

/// Counts the openings of a data directory; +1 at each, durable before anything is served. New
/// queue ids and sequence numbers carry it, so that none is ever used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// Where a batch came to stand. Increasing; gaps are allowed; not a file offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// Why a batch was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendError {
    /// A write or an fsync failed while the batch was on its way: it may or may not be there after
    /// a restart. The store is closed from here on.
    Unknown(Arc<str>),
    /// The store had failed or was closed before: the batch was certainly not written.
    Closed(Arc<str>),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "the write failed, its outcome is unknown: {why}"),
            Self::Closed(why) => write!(f, "the store is closed: {why}"),
        }
    }
}

/// Called once, on a thread of the store, when the batch is on disk or never will be. It must not
/// block and is never called on the stack of the `append` it belongs to.
pub type OnCommit = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

/// What the store tells those who are about to give it more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// Appends are welcome.
    Open,
    /// More is waiting to be written than the limit allows: publishers rest until `Open` again.
    Congested,
    /// A write or fsync failed, for this reason. Final.
    Failed(Arc<str>),
    /// Closed in order. Final.
    Closed,
}

/// Sizes of a store on disk.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// A segment of the log is followed by the next one when it has this length, in bytes.
    pub segment_size_bytes: u64,
    /// Bytes of messages that may wait to be written; beyond it publishers rest.
    pub in_flight_bytes_max: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { segment_size_bytes: 64 * 1024 * 1024, in_flight_bytes_max: 64 * 1024 * 1024 }
    }
}

/// Why a data directory can't be opened: what, why, and what to do.
#[derive(Debug)]
pub struct OpenError(String);

impl OpenError {
    fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// Durable storage of one node.
pub trait Store: Send + Sync + 'static {
    /// Appends a batch. Never blocks; call order is log order; all or nothing. `on_commit` hears of
    /// it only after the batch is fsynced together with all batches before it.
    fn append(&self, batch: Batch, on_commit: OnCommit);

    /// The state, and its changes.
    fn state(&self) -> watch::Receiver<StoreState>;

    /// Writes out what was appended, notes a clean end and closes. Blocks until done; appends after
    /// it resolve to [`AppendError::Closed`].
    fn close(&self);
}

/// A queue's durable content as the last run left it.
#[derive(Debug)]
pub struct RecoveredQueue {
    pub id: QueueId,
    /// The messages not settled, by ascending sequence number.
    pub messages: Vec<(Seq, Arc<Message>)>,
    /// Messages up to and including this one may have been delivered before: they are redeliveries.
    pub delivered_upto: Seq,
}

/// An opened data directory.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub epoch: Epoch,
    /// All definitions, in no order.
    pub catalog: Vec<Definition>,
    /// The queues in the catalog that hold messages or a delivery mark, in no order.
    pub queues: Vec<RecoveredQueue>,
}
