//! What happened: the records of the log, as the broker speaks them.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::definition::CatalogChange;
use crate::protocol::message::Message;

/// A queue's identity for ever: a queue declared again under an old name gets a new one.
/// The high 32 bits are the epoch it was declared in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct QueueId(pub u64);

/// By queue. Looked at for every message: and as the broker gives the ids, no client can choose
/// them so that they meet in one place.
pub type QueueMap<T> = FxHashMap<QueueId, T>;
pub type QueueSet = FxHashSet<QueueId>;

/// A message's place in its queue, from low to high. The high 24 bits are the epoch it was enqueued
/// in, so that a number is never used twice, whatever a crash took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Sequence numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    pub first: Seq,
    pub last: Seq,
}

/// Ranges in ascending order, apart from one another.
pub type Ranges = SmallVec<[SeqRange; 1]>;

/// The ranges that hold exactly these numbers, which are in ascending order.
pub fn ranges_of(seqs: &[Seq]) -> Ranges {
    let mut ranges = Ranges::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some(range) if range.last.0.checked_add(1) == Some(seq.0) => range.last = *seq,
            _ => ranges.push(SeqRange { first: *seq, last: *seq }),
        }
    }
    ranges
}

/// Messages that left a queue for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Exactly these: each is named once in its life, here or by a move.
    pub seqs: Ranges,
    /// Of their bodies.
    pub bytes: u64,
    /// All up to here are gone, named or never stored: so the gaps between the named ones need not
    /// be remembered.
    pub through: Seq,
}

/// What the log remembers of a message in a queue beside the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Note {
    /// Deliveries that failed: it was rejected and requeued, or its consumer was lost.
    pub failed: u32,
    /// Deliveries after which its consumer gave it back: a nack with requeue.
    pub returned: u32,
    /// It is not delivered again before, in milliseconds since 1970. 0: at once.
    pub due_ms: u64,
}

/// Where a message stands in its queues.
pub type Places = SmallVec<[(QueueId, Seq); 1]>;

/// One thing that happened. `M` is the message, or what stands for it where it is not read.
#[derive(Debug, Clone)]
pub enum Record<M = Arc<Message>> {
    /// A message entered these queues. It is written once, however many they are.
    Enqueue { message: M, queues: Places },
    /// Messages left a queue for good: acked, or delivered without ack.
    Settle { queue: QueueId, settled: Settled },
    /// All messages in these ranges left the queue for good, with so many bytes of bodies of those
    /// that are not named elsewhere.
    Purge { queue: QueueId, ranges: Ranges, bytes: u64 },
    /// A message left a queue and entered others, in one step (dead-lettering). `message` is what
    /// enters; its body is that of the one that left.
    Move { from: (QueueId, Seq), message: M, to: Places },
    /// Messages of the queue up to and including `upto` may be delivered from now on; after a crash
    /// they are redeliveries.
    DeliverMark { queue: QueueId, upto: Seq },
    /// Messages came back: these are their notes from now on. The counts of a message never go
    /// down; one that is settled has no note.
    Return { queue: QueueId, notes: Vec<(Seq, Note)> },
    /// The deduplication of this queue, or of the exchange with this id, has seen a message with
    /// this digest. It holds until then, in milliseconds since 1970 (`u64::MAX`: for ever). Of the
    /// queue's digests only the newest `keep` stay; one that is seen again is the newest.
    Seen { queue: QueueId, digest: u128, until_ms: u64, keep: u32 },
    /// The queue and all that is kept under its id is gone. Its definition goes by a `Catalog`
    /// record beside it.
    DeleteQueue { queue: QueueId },
    /// A definition changed. Apart: what is said of messages is small beside it, and there is more.
    Catalog(Box<CatalogChange>),
}

impl<M> Record<M> {
    pub fn catalog(change: CatalogChange) -> Self {
        Self::Catalog(Box::new(change))
    }
}

/// Records that are committed together: after a crash all of them hold or none.
pub type Batch = Vec<Record>;
