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

mod ascending;
pub mod audit;
mod cancel;
mod carry;
mod catalog;
mod commit_thread;
mod committer;
mod decoding;
pub mod definition;
mod disk;
mod encoding;
mod files;
mod inbox;
mod index;
mod index_file;
mod ledger;
mod notes;
pub mod offline;
mod ranges;
mod reader;
pub mod record;
mod recovery;
mod scan;
mod seen;
mod segment;
pub mod simulated;
mod snapshot;
mod space;
mod spares;
mod state;
mod upkeep;
mod vitals;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use disk::open;
pub use space::free_bytes;

pub use definition::{CatalogChange, Definition, DefinitionKey};
pub use record::{Batch, Note, QueueId, Record, Seq, SeqRange, Settled};
pub use vitals::{Usage, Vitals};

use self::audit::AuditLog;
use crate::protocol::message::Message;

/// Counts the openings of a data directory; +1 at each, durable before anything is served. New
/// queue ids and sequence numbers carry it, so that none is ever used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// Where a batch came to stand. Increasing; gaps are allowed; not a file offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// A batch is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub position: Position,
    /// Nobody else is told of this commit: who is has the thread for itself for a moment, and may
    /// as well do what others would have to be woken for.
    pub alone: bool,
}

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
pub type OnCommit = Box<dyn FnOnce(Result<Committed, AppendError>) + Send>;

/// How many messages [`Store::read`] brings at most: it ends with the one that reaches either. The
/// first one comes however long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    pub count: usize,
    pub bytes: u64,
}

/// How many messages [`Store::read_each`] reads at most.
pub const READ_EACH_MAX: usize = 1024;

/// Messages of a queue, read back.
#[derive(Debug, Default)]
pub struct Page {
    /// By ascending sequence number.
    pub messages: Vec<(Seq, Arc<Message>)>,
    /// Up to here, these are all that can be read. The highest number there is when nothing lives
    /// behind them.
    pub through: Seq,
}

/// Called once, on a thread of the store, with what was read.
pub type OnRead = Box<dyn FnOnce(Page) + Send>;

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

/// Whether the disk has room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Space {
    Enough,
    /// Publishers rest until there is more; settles go on, so that the disk can drain.
    Low {
        free_bytes: u64,
        limit_bytes: u64,
    },
}

/// Sizes of a store on disk.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// A segment of the log is followed by the next one when it has this length, in bytes.
    pub segment_size_bytes: u64,
    /// Bytes of messages that may wait to be written; beyond it publishers rest.
    pub in_flight_bytes_max: u64,
    /// Publishers rest while the file system has less room than this. 0 is no limit.
    pub disk_free_limit_bytes: u64,
    /// A segment that a few messages keep from going is rewritten when so long none of them went.
    pub rewrite_after: Duration,
    /// What the audit log may take. 0 keeps none.
    pub audit_bytes_max: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_size_bytes: 64 * 1024 * 1024,
            in_flight_bytes_max: 64 * 1024 * 1024,
            disk_free_limit_bytes: 0,
            rewrite_after: Duration::from_secs(1),
            audit_bytes_max: 0,
        }
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
    /// it only after the batch is fsynced together with all batches before it; a batch that is
    /// settled by what came with it is never written, and told so at once. An empty one is told
    /// when all before it are fsynced. A batch without `on_commit` may wait a moment for company.
    fn append(&self, batch: Batch, on_commit: Option<OnCommit>);

    /// Reads messages of a queue that live, from a number on. Never blocks. Finds what was told to
    /// be committed; what is on its way it may not find.
    fn read(&self, queue: QueueId, from: Seq, limit: ReadLimit, on_read: OnRead);

    /// Reads exactly these messages of a queue, as far as they live and can be read. Their numbers
    /// ascend; there are no more than [`READ_EACH_MAX`], behind which nothing is read. The page
    /// goes through the last that was asked for. Else as [`Store::read`].
    fn read_each(&self, queue: QueueId, seqs: Vec<Seq>, on_read: OnRead);

    /// The state, and its changes.
    fn state(&self) -> watch::Receiver<StoreState>;

    /// Whether there is room, and its changes.
    fn space(&self) -> watch::Receiver<Space>;

    /// What is counted of it. One that counts nothing has zeros.
    fn vitals(&self) -> Arc<Vitals> {
        Arc::default()
    }

    /// What it takes. Looks at its files, and so blocks. One that has none takes nothing.
    fn usage(&self) -> io::Result<Usage> {
        Ok(Usage::default())
    }

    /// Writes out what was appended, notes a clean end and closes. Blocks until done; appends after
    /// it resolve to [`AppendError::Closed`].
    fn close(&self);
}

/// What the last run left under the id of a queue, of a level of one or of an exchange: messages
/// that are not settled, to be read by [`Store::read`], and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredQueue {
    pub id: QueueId,
    /// The lowest and the highest of their numbers.
    pub first: Seq,
    pub last: Seq,
    pub count: u64,
    /// Of their bodies.
    pub bytes: u64,
    /// Messages up to and including this one may have been delivered before: they are redeliveries.
    pub delivered_upto: Seq,
    /// What is noted of messages that are not settled, by ascending number. Where a crash took the
    /// message away, its note may be there.
    pub notes: Vec<(Seq, Note)>,
    /// What deduplication has seen and until when it holds, in milliseconds since 1970; oldest
    /// first.
    pub seen: Vec<(u128, u64)>,
}

/// An opened data directory.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub audit: AuditLog,
    pub epoch: Epoch,
    /// All definitions, in no order.
    pub catalog: Vec<Definition>,
    /// What is under each id of the catalog's definitions, in no order.
    pub queues: Vec<RecoveredQueue>,
}
