//! Messages come back to a queue: for good, to be moved elsewhere, or to be delivered again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::arguments::{Retry, RetryKind};
use super::state::State;
use super::{Entry, Inner, Place, Queue};
use crate::broker::changes::{Changes, Leaving};
use crate::broker::dead_letter::Reason;
use crate::broker::timers::now_ms;
use crate::broker::transfer::Why;
use crate::store::record::{Note, Record, Seq, Settled, ranges_of};

/// Why a message is to be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// It was never sent to its consumer.
    Unsent,
    /// The consumer gave it back.
    Returned,
    /// The consumer failed with it, or is gone.
    Failed,
}

impl Return {
    fn waits(self, kind: RetryKind) -> bool {
        match kind {
            RetryKind::All => self != Self::Unsent,
            RetryKind::Failed => self == Self::Failed,
            RetryKind::Returned => self == Self::Returned,
        }
    }
}

/// Stored messages that left the queue for good.
#[derive(Default)]
pub(super) struct Gone(SmallVec<[(Place, u64); 8]>);

impl Gone {
    pub(super) fn add(&mut self, entry: &Entry) {
        if entry.stored {
            self.0.push((entry.place(), entry.message.body_len()));
        }
    }
}

/// A message has left its queue, and the log doesn't know where to: as long as this is there, the
/// queue says of no number but those it names that it is gone.
pub(in crate::broker) struct LeavingMark(Arc<Queue>);

impl LeavingMark {
    /// To be made while the queue is held.
    pub(in crate::broker) fn new(queue: &Arc<Queue>) -> Self {
        queue.leaving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(queue))
    }
}

impl Drop for LeavingMark {
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::Release);
    }
}

/// What is written of messages that came back, by level.
type Notes = SmallVec<[(u8, Vec<(Seq, Note)>); 1]>;

impl Queue {
    /// Messages came back for good (basic.ack). Answers how many were out.
    pub fn ack(self: &Arc<Self>, places: &[Place], batch: &mut Changes) -> usize {
        let mut inner = self.inner.lock();
        let count = self.settle(&mut inner, places, batch);
        inner.counts.ack += count as u64;
        count
    }

    /// Messages are gone for good. Answers how many were out.
    fn settle(self: &Arc<Self>, inner: &mut Inner, places: &[Place], batch: &mut Changes) -> usize {
        let mut count = 0;
        let mut gone = Gone::default();
        for place in places {
            let Some((entry, consumer)) = inner.state.settle(*place) else { continue };
            count += 1;
            came_back(inner, &entry, consumer);
            gone.add(&entry);
        }
        self.note_settled(&inner.state, gone, batch);
        self.deliver_ready(inner, batch);
        count
    }

    /// Messages came back that a consumer refused for good: to the dead-letter exchange, if there
    /// is one.
    pub fn reject(self: &Arc<Self>, places: &[Place], batch: &mut Changes) {
        let mut inner = self.inner.lock();
        if inner.options.dead_letter_exchange.is_none() {
            self.settle(&mut inner, places, batch);
            return;
        }
        for place in places {
            let Some((entry, consumer)) = inner.state.settle(*place) else { continue };
            came_back(&mut inner, &entry, consumer);
            let why = Why::Died(Reason::Rejected);
            batch.leaves(Leaving { queue: Arc::clone(self), entry, why });
        }
        self.deliver_ready(&mut inner, batch);
    }

    /// Messages came back to be delivered again, each to its old place, or after a while.
    pub fn requeue(
        self: &Arc<Self>,
        places: impl IntoIterator<Item = Place>,
        why: Return,
        batch: &mut Changes,
    ) {
        let mut inner = self.inner.lock();
        let (mut notes, mut gone) = (Notes::new(), Gone::default());
        for place in places {
            let Some((mut entry, consumer)) = inner.state.settle(place) else { continue };
            came_back(&mut inner, &entry, consumer);
            entry.redelivered = true;
            match why {
                Return::Unsent => {}
                Return::Returned => entry.returned = entry.returned.saturating_add(1),
                Return::Failed => entry.failed = entry.failed.saturating_add(1),
            }
            let limit = inner.options.delivery_limit;
            if limit.is_some_and(|limit| u32::from(entry.failed) > limit) {
                self.dies(&mut inner, entry, Reason::DeliveryLimit, &mut gone, batch);
                continue;
            }
            let wait_ms = inner.options.retry.filter(|retry| why.waits(retry.kind));
            let due_ms = wait_ms.map(|retry| now_ms().saturating_add(wait_of(&retry, &entry)));
            if entry.stored && why != Return::Unsent {
                note(&mut notes, &entry, due_ms.unwrap_or(0));
                // Rule: a count that somebody was told never goes down.
                inner.state.hold(place);
                batch.holds(self, place, false);
            }
            match due_ms {
                Some(due_ms) => inner.state.delay(entry, due_ms),
                None => put_back(&mut inner, entry),
            }
        }
        for (level, notes) in notes {
            batch.push(Record::Return { queue: self.id_of(level), notes });
        }
        self.note_settled(&inner.state, gone, batch);
        self.deliver_ready(&mut inner, batch);
    }

    /// A message leaves the queue because it died: to the dead-letter exchange, if there is one.
    pub(super) fn dies(
        self: &Arc<Self>,
        inner: &mut Inner,
        entry: Entry,
        reason: Reason,
        gone: &mut Gone,
        batch: &mut Changes,
    ) {
        if inner.options.dead_letter_exchange.is_none() {
            return gone.add(&entry);
        }
        match reason {
            // Somebody's word, which has to be on disk with the rest of what he says.
            Reason::Rejected | Reason::DeliveryLimit => {
                batch.leaves(Leaving { queue: Arc::clone(self), entry, why: Why::Died(reason) });
            }
            Reason::Expired | Reason::MaxLen => {
                inner.dead.get_or_insert_default().push_back((entry, reason));
                batch.dies_in(self);
            }
        }
    }

    /// Moves so many of the messages that died by themselves, the oldest deaths first. Each caller
    /// moves as many as it has seen die, whosever they are: so they all go, and in their order,
    /// whichever of them is first here.
    pub(in crate::broker) fn move_dead(
        self: &Arc<Self>,
        count: usize,
        mut transfer: impl FnMut(Leaving),
    ) {
        // For all of them: with a turn for each, two callers would do little but wait.
        let _turn = self.exit.lock();
        for _ in 0..count {
            let next = self.inner.lock().next_dead();
            let Some((entry, reason)) = next else { return };
            transfer(Leaving { queue: Arc::clone(self), entry, why: Why::Died(reason) });
        }
    }

    /// Tells the log which stored messages are gone.
    pub(super) fn note_settled(&self, state: &State, gone: Gone, batch: &mut Changes) {
        let Gone(mut places) = gone;
        places.sort_unstable();
        for level in places.chunk_by(|(a, _), (b, _)| a.level == b.level) {
            let seqs: SmallVec<[Seq; 8]> = level.iter().map(|(place, _)| place.seq).collect();
            let bytes = level.iter().map(|(_, bytes)| bytes).sum();
            let Some((Place { level, .. }, _)) = level.first() else { continue };
            let through = match self.leaving.load(Ordering::Acquire) {
                0 => state.settled_through(*level),
                _ => Seq(0),
            };
            let settled = Settled { seqs: ranges_of(&seqs), bytes, through };
            batch.push(Record::Settle { queue: self.id_of(*level), settled });
        }
    }
}

/// The consumer has credit again, and may no longer have the message's group.
fn came_back(inner: &mut Inner, entry: &Entry, consumer: u64) {
    inner.consumers.give_back_credit(consumer);
    if let Some(groups) = &mut inner.groups
        && let Some(key) = groups.key_of(&entry.message)
    {
        let is_there = inner.consumers.contains(consumer);
        for entry in groups.came_back(key, consumer, is_there) {
            inner.state.put_back_aside(entry);
        }
    }
}

/// The message is ready again, before others of its group: if these stand aside, with them.
pub(super) fn put_back(inner: &mut Inner, entry: Entry) {
    if let Some(groups) = &mut inner.groups
        && let Some(key) = groups.with_aside(&entry)
    {
        inner.state.put_aside(&entry);
        return groups.set_aside(key, entry);
    }
    inner.state.put_back(entry);
}

fn note(notes: &mut Notes, entry: &Entry, due_ms: u64) {
    let note = (entry.seq, entry.note(due_ms));
    match notes.iter_mut().find(|(level, _)| *level == entry.level) {
        Some((_, notes)) => notes.push(note),
        None => notes.push((entry.level, vec![note])),
    }
}

/// How long a message waits that came back so often, in milliseconds.
fn wait_of(retry: &Retry, entry: &Entry) -> u64 {
    let times = u32::from(entry.failed) + u32::from(entry.returned);
    let wait = match retry.multiplier_percent {
        None => retry.min_ms.saturating_mul(u64::from(times)),
        Some(percent) => {
            let factor = f64::from(percent) / 100.0;
            let grown = factor.powi(i32::try_from(times.saturating_sub(1)).unwrap_or(i32::MAX));
            // Saturates, and is bounded below.
            (retry.min_ms as f64 * grown) as u64
        }
    };
    let chance = wait.min(retry.max_ms).saturating_mul(u64::from(retry.jitter_percent)) / 100;
    let late = if chance > 0 { rand::random_range(0..=chance) } else { 0 };
    wait.saturating_add(late).clamp(retry.min_ms, retry.max_ms.max(retry.min_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;
    use crate::protocol::properties::Properties;
    use crate::protocol::wire::ShortStr;

    const LINEAR: Retry = Retry {
        kind: RetryKind::All,
        min_ms: 50,
        max_ms: 120,
        multiplier_percent: None,
        jitter_percent: 0,
    };

    fn came_back(failed: u16, returned: u16) -> Entry {
        let name = ShortStr::default();
        let message = Message::small(&name, &name, &Properties::default(), b"", false);
        let entry = Entry::new(Place { level: 0, seq: Seq(1) }, Arc::new(message), false);
        Entry { failed, returned, ..entry }
    }

    #[test]
    fn a_wait_grows_with_all_that_came_back_and_stays_within_its_bounds() {
        let waits = |retry| [1, 2, 3, u16::MAX].map(|times| wait_of(&retry, &came_back(times, 0)));
        assert_eq!(waits(LINEAR), [50, 100, 120, 120]);
        let exponential = Retry { multiplier_percent: Some(150), ..LINEAR };
        assert_eq!(waits(exponential), [50, 75, 112, 120]);
        assert_eq!(wait_of(&LINEAR, &came_back(1, 1)), 100);
        let endless = Retry { max_ms: u64::MAX, multiplier_percent: Some(100_000), ..LINEAR };
        assert_eq!(waits(endless)[3], u64::MAX);
    }

    /// Of waits below 100 ms nothing was left to chance.
    #[test]
    fn a_part_of_a_wait_is_left_to_chance_however_short_it_is() {
        let retry = Retry { jitter_percent: 40, ..LINEAR };
        let waits: Vec<u64> = (0..1_000).map(|_| wait_of(&retry, &came_back(1, 0))).collect();
        assert!(waits.iter().all(|wait| (50..=70).contains(wait)));
        assert!(waits.contains(&50) && waits.contains(&70));
    }
}
