//! What a level asks the log for of its messages that are on disk only, and what comes of it.

use super::tally::Tally;
use crate::store::ReadLimit;
use crate::store::record::Seq;

/// What is read to know the next message, where nobody consumes: ten thousand queues do so at
/// once when the broker starts.
pub(super) const NEXT_BYTES: u64 = 8 * 1024;

/// How much to read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// So much that consumers don't wait for the disk.
    Batch,
    /// So much that it is known how old the next one is.
    Next,
}

/// A batch of messages to be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub level: u8,
    pub from: Seq,
    pub limit: ReadLimit,
    /// Tells an answer that came too late, after a purge.
    pub round: u64,
}

/// What a batch that was read back has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Messages that were counted and can't be read.
    pub lost: Tally,
}
