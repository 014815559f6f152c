//! What a queue says of itself to displays: gathered in one look under its lock.

use std::sync::Arc;

use super::state::State;
use super::{Activity, Consumer, Inner, Queue, QueueOptions, Tally};
use crate::broker::counters::Counts;
use crate::broker::policy::matching::Matching;
use crate::protocol::wire::ShortStr;

/// What a queue without messages takes in memory, in bytes. Measured.
const EMPTY_COST: u64 = 4 * 1024;

/// Counts of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    pub ready: usize,
    pub unacked: usize,
    pub ready_bytes: u64,
    pub consumers: usize,
    /// Messages that wait for their time, or are being read from the disk because it has come.
    pub delayed: usize,
    /// When the next of them is due, in milliseconds since 1970; of those whose time is known
    /// already, a moment after a start.
    pub next_due_ms: Option<u64>,
    /// An operator has stopped its deliveries.
    pub paused: bool,
    /// When the oldest ready message came, in milliseconds since 1970; right to an eighth of its
    /// age. What was there when the broker started counts from then.
    pub oldest_ms: Option<u64>,
}

/// All of one moment.
pub struct QueueDetails {
    pub status: QueueStatus,
    /// What has happened in it so far.
    pub counts: Counts,
    /// What is in force of its arguments and policies.
    pub options: Arc<QueueOptions>,
    /// The policies that hold for it.
    pub policies: Matching,
    /// Bytes of the bodies of messages that are out with consumers.
    pub unacked_bytes: u64,
    /// Messages that the log holds, ready or out.
    pub stored: Tally,
    /// Ready messages that are on disk only.
    pub paged_out: Tally,
    /// What the queue takes in memory, in bytes, not to the byte.
    pub memory_bytes: u64,
    /// The timestamp property of the next message, if it has one and is in memory.
    pub head_timestamp: Option<u64>,
    /// When somebody last declared, consumed or got something, in milliseconds since 1970.
    pub used_ms: u64,
    /// There are consumers, and one of them could take a message at once, or none is ready.
    pub keeps_up: bool,
    /// The only one that gets messages, where the queue has one at a time.
    pub single_active: Option<Arc<Consumer>>,
    /// The only one that there may be, because it asked for that.
    pub exclusive: Option<Arc<Consumer>>,
}

/// A consumer, and what it does.
pub type Active = (Arc<Consumer>, Activity);

/// Who brings messages to a queue, and who gets them.
#[derive(Default)]
pub struct Parties {
    pub consumers: Vec<Active>,
    /// The exchanges by which messages have come, and how many by each.
    pub exchanges: Vec<(ShortStr, u64)>,
}

impl Queue {
    pub fn status(&self) -> QueueStatus {
        self.status_of(&self.inner.lock())
    }

    pub fn details(&self) -> QueueDetails {
        self.details_of(&self.inner.lock())
    }

    /// The same, and who brings its messages and gets them.
    pub fn details_and_parties(&self) -> (QueueDetails, Parties) {
        let inner = self.inner.lock();
        let parties = Parties { consumers: actives(&inner), exchanges: inner.incoming.list() };
        (self.details_of(&inner), parties)
    }

    /// The consumers of the moment, and what they do.
    pub fn consumers(&self) -> Vec<Active> {
        actives(&self.inner.lock())
    }

    fn status_of(&self, inner: &Inner) -> QueueStatus {
        let (ready, delayed) = (inner.state.ready_count(), inner.state.delayed_count());
        // What an exchange's own queue has not read since a start waits, too.
        let (ready, delayed) = match self.properties.own_of {
            Some(_) => (0, ready + delayed),
            None => (ready, delayed),
        };
        QueueStatus {
            ready,
            unacked: inner.state.unacked_count(),
            ready_bytes: inner.state.ready_bytes(),
            consumers: inner.consumers.len(),
            delayed,
            next_due_ms: inner.state.next_due_ms(),
            paused: inner.paused,
            oldest_ms: inner.state.oldest_ms().filter(|_| ready > 0),
        }
    }

    fn details_of(&self, inner: &Inner) -> QueueDetails {
        let (state, consumers) = (&inner.state, &inner.consumers);
        let is_free = state.ready_count() == 0 || consumers.has_willing();
        QueueDetails {
            status: self.status_of(inner),
            counts: inner.counts.read(),
            options: Arc::clone(&inner.options),
            policies: inner.policies.clone(),
            unacked_bytes: state.unacked_bytes(),
            stored: state.stored(),
            paged_out: state.paged_out(),
            memory_bytes: EMPTY_COST + state.head_cost() + state.unacked_bytes(),
            head_timestamp: timestamp_of_head(state),
            used_ms: inner.used_ms,
            keeps_up: !consumers.is_empty() && is_free,
            single_active: consumers.active().cloned(),
            exclusive: consumers.iter().next().filter(|_| consumers.is_exclusive()).cloned(),
        }
    }
}

fn actives(inner: &Inner) -> Vec<Active> {
    let activities = inner.consumers.activities();
    activities.map(|(consumer, activity)| (Arc::clone(consumer), activity)).collect()
}

fn timestamp_of_head(state: &State) -> Option<u64> {
    state.next()?.message.properties().timestamp()
}
