//! What a channel's client holds: its deliveries by tag, until they are settled.
//!
//! Tags are given in the order in which deliveries are written. Shared by the writer, who records,
//! and the reader, who settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ages::Ages;
use crate::broker::counters::{Count, Counts};
use crate::broker::outstanding::Outstanding;
use crate::broker::queue::{Consumer, Place, Queue};

/// Who a delivery went to.
#[derive(Clone)]
pub(crate) enum Recipient {
    /// Counted by the channel's prefetch limit, and to be settled in the consumer's time.
    Consumer(Arc<Consumer>),
    /// basic.get, from this queue.
    Get(Arc<Queue>),
}

impl Recipient {
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        match self {
            Self::Consumer(consumer) => &consumer.queue,
            Self::Get(queue) => queue,
        }
    }

    /// What a delivery to it counts as.
    pub(super) fn count(&self, no_ack: bool) -> Count {
        match (self, no_ack) {
            (Self::Consumer(_), false) => Count::Deliver,
            (Self::Consumer(_), true) => Count::DeliverNoAck,
            (Self::Get(_), false) => Count::Get,
            (Self::Get(_), true) => Count::GetNoAck,
        }
    }

    pub(super) fn consumer(&self) -> Option<&Arc<Consumer>> {
        match self {
            Self::Consumer(consumer) => Some(consumer),
            Self::Get(_) => None,
        }
    }
}

/// One delivery that the client has to settle.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) recipient: Recipient,
    pub(crate) place: Place,
}

#[derive(Default)]
pub(super) struct Ledger {
    last_tag: u64,
    /// What went out so far.
    pub(super) counts: Counts,
    held: Outstanding<Held>,
    ages: Ages,
    /// Up to here the client may settle what it doesn't hold any more: it was taken back.
    excused_through: u64,
    /// The channel is gone: nothing is recorded any more.
    closed: bool,
}

impl Ledger {
    /// Gives the next tag to a delivery that needs no settling; none when the channel is gone.
    pub(super) fn pass(&mut self) -> Option<u64> {
        if self.closed {
            return None;
        }
        self.last_tag = self.last_tag.saturating_add(1);
        Some(self.last_tag)
    }

    /// Gives the next tag to a delivery and remembers it. When channel or consumer have ended,
    /// gives it back.
    pub(super) fn record(&mut self, held: Held) -> Result<u64, Held> {
        let has_ended = |consumer: &Arc<Consumer>| consumer.is_ended.load(Ordering::Relaxed);
        if held.recipient.consumer().is_some_and(has_ended) {
            return Err(held);
        }
        match self.pass() {
            Some(tag) => {
                self.held.insert(tag, held);
                Ok(tag)
            }
            None => Err(held),
        }
    }

    /// Takes out what an ack, nack or reject means. Rule: tag 0 with `multiple` is all; otherwise
    /// the tag must be outstanding itself, or have been taken back.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) -> Option<Vec<(u64, Held)>> {
        let is_excused = (1..=self.excused_through).contains(&tag);
        match (tag, multiple) {
            (0, true) => Some(self.held.drain().collect()),
            (tag, true) if is_excused || self.held.contains(tag) => {
                Some(self.held.remove_through(tag))
            }
            (_, true) => None,
            (tag, false) => match self.held.remove(tag) {
                Some(held) => Some(vec![(tag, held)]),
                None => is_excused.then(Vec::new),
            },
        }
    }

    /// Puts back what a rolled-back transaction had settled.
    pub(super) fn restore(&mut self, settled: Vec<(u64, Held)>) {
        for (tag, held) in settled {
            self.held.insert(tag, held);
        }
    }

    /// Deliveries that are not settled.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes out everything, and records nothing more.
    pub(super) fn close(&mut self) -> Vec<(u64, Held)> {
        self.closed = true;
        self.held.drain().collect()
    }

    /// The consumers that have had something for longer than their timeout, each once. To be asked
    /// now and then: what came since the last time counts from `now`.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Arc<Consumer>> {
        let oldest = self.held.iter().next().map_or(u64::MAX, |(tag, _)| tag);
        self.ages.note(oldest, self.last_tag, now);
        let mut overdue: Vec<Arc<Consumer>> = Vec::new();
        for (tag, held) in self.held.iter() {
            let Some(age) = self.ages.age(tag, now).filter(|age| !age.is_zero()) else { break };
            if let Some(consumer) = held.recipient.consumer()
                && consumer.timeout.is_some_and(|timeout| age >= timeout)
                && !overdue.iter().any(|other| other.id == consumer.id)
            {
                overdue.push(Arc::clone(consumer));
            }
        }
        overdue
    }

    /// Takes out all that a consumer has. What the client says about it later means nothing.
    pub(super) fn take_back(&mut self, consumer: u64) -> Vec<(u64, Held)> {
        let is_its = |held: &Held| held.recipient.consumer().is_some_and(|its| its.id == consumer);
        let its = self.held.iter().filter(|(_, held)| is_its(held));
        let tags: Vec<u64> = its.map(|(tag, _)| tag).collect();
        self.excused_through = self.excused_through.max(tags.last().copied().unwrap_or(0));
        tags.into_iter().filter_map(|tag| Some((tag, self.held.remove(tag)?))).collect()
    }
}
