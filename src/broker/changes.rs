//! What an operation on queues and definitions has changed, on its way to the log.
//!
//! Gathers the records of one read of a client, remembers which long queues wait to hear that their
//! new messages are on disk, so that these can leave the memory, and which messages have to leave
//! their queue for others, which can only be done when no queue is held.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::{Entry, LeavingMark, Place, Queue};
use super::timers::now_ms;
use super::transfer::{Why, transfer};
use super::turn::{Turn, Turns};
use crate::store::record::{Batch, Record, Seq};
use crate::store::{OnCommit, Store};

/// Records that become durable together.
#[derive(Default)]
pub struct Changes {
    records: Batch,
    arrivals: Vec<Arrival>,
    held: Vec<Held>,
    leaving: VecDeque<Leaving>,
    /// Of messages that leave their queue, until the log is told.
    left: Vec<LeavingMark>,
    /// Queues in which messages died by themselves, and how many.
    dying: Vec<(Arc<Queue>, usize)>,
    /// Its turn at the log, if it says what deduplication has seen.
    turn: Option<Box<Turn>>,
}

/// Messages that a queue doesn't deliver before the batch is on disk.
struct Held {
    queue: Arc<Queue>,
    level: u8,
    seqs: Vec<Seq>,
    /// The batch has their delivery mark, too.
    marked: bool,
}

/// Messages that a queue can page out when they are on disk.
pub(super) struct Arrival {
    pub(super) queue: Arc<Queue>,
    pub(super) level: u8,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

/// A message that its queue has given up, and the log has not been told.
pub(super) struct Leaving {
    pub(super) queue: Arc<Queue>,
    pub(super) entry: Entry,
    pub(super) why: Why,
}

impl Changes {
    /// Makes room for so many.
    pub(super) fn reserve(&mut self, records: usize) {
        self.records.reserve(records);
    }

    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Whether there is nothing to write or to wait for; after [`Changes::move_leaving`].
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.turn.is_none()
    }

    /// Whether others wait until the log has got it.
    pub(super) fn is_wanted(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.is_wanted())
    }

    pub(super) fn turn(&mut self, turns: &Arc<Turns>) -> &mut Turn {
        self.turn.get_or_insert_with(|| Box::new(Turn::new(turns)))
    }

    pub(super) fn arrived(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
    }

    /// The queue hears when the batch is on disk: until then it doesn't deliver this message.
    pub(super) fn holds(&mut self, queue: &Arc<Queue>, place: Place, marked: bool) {
        let Place { level, seq } = place;
        match self.held.last_mut() {
            Some(last)
                if Arc::ptr_eq(&last.queue, queue)
                    && (last.level, last.marked) == (level, marked) =>
            {
                last.seqs.push(seq);
            }
            _ => {
                let (queue, seqs) = (Arc::clone(queue), vec![seq]);
                self.held.push(Held { queue, level, seqs, marked });
            }
        }
    }

    pub(super) fn leaves(&mut self, leaving: Leaving) {
        self.left.push(LeavingMark::new(&leaving.queue));
        self.leaving.push_back(leaving);
    }

    /// A message of the queue died by itself: it leaves when it is its turn ([`Queue::move_dead`]).
    pub(super) fn dies_in(&mut self, queue: &Arc<Queue>) {
        self.left.push(LeavingMark::new(queue));
        match self.dying.last_mut() {
            Some((last, count)) if Arc::ptr_eq(last, queue) => *count += 1,
            _ => self.dying.push((Arc::clone(queue), 1)),
        }
    }

    /// Has messages that leave their queues enter others, until none is left. That ends: a message
    /// that wasn't rejected doesn't come again where it died. Not to be called while a queue is
    /// held.
    pub(super) fn move_leaving(&mut self) {
        if self.leaving.is_empty() && self.dying.is_empty() {
            return;
        }
        let now_ms = now_ms();
        loop {
            if let Some(leaving) = self.leaving.pop_front() {
                transfer(leaving, now_ms, self);
            } else if let Some((queue, count)) = self.dying.pop() {
                queue.move_dead(count, |leaving| transfer(leaving, now_ms, self));
            } else {
                return;
            }
        }
    }

    /// Appends them to the log. `on_commit` is told of it; without one they may wait a moment for
    /// company. What is empty needs no writing, and nobody is told.
    pub fn append(mut self, store: &dyn Store, on_commit: Option<OnCommit>) {
        self.move_leaving();
        match self.turn.take() {
            Some(turn) => turn.append(self, on_commit),
            None if self.records.is_empty() => {}
            None => self.write(store, on_commit),
        }
    }

    /// Takes up another one, whose turn has come, too.
    pub(super) fn join(&mut self, other: Self) {
        self.records.extend(other.records);
        self.arrivals.extend(other.arrivals);
        self.held.extend(other.held);
        self.left.extend(other.left);
    }

    /// Appends them now. Without records, who waits hears that those before them are on disk.
    pub(super) fn write(self, store: &dyn Store, on_commit: Option<OnCommit>) {
        // The marks go when the log has got the records.
        let Self { records, arrivals, held, left: _left, .. } = self;
        if records.is_empty() && on_commit.is_none() {
            return;
        }
        if arrivals.is_empty() && held.is_empty() {
            return store.append(records, on_commit);
        }
        let told = move |outcome: Result<_, _>| {
            let is_stored = outcome.is_ok();
            if let Some(on_commit) = on_commit {
                on_commit(outcome);
            }
            for Held { queue, level, seqs, marked } in held {
                queue.on_written(level, &seqs, marked, is_stored);
            }
            for Arrival { queue, level, first, last } in arrivals {
                if is_stored {
                    queue.on_disk(level, first, last);
                }
            }
        };
        store.append(records, Some(Box::new(told)));
    }
}

impl From<Record> for Changes {
    fn from(record: Record) -> Self {
        Self { records: vec![record], ..Self::default() }
    }
}

impl From<Batch> for Changes {
    fn from(records: Batch) -> Self {
        Self { records, ..Self::default() }
    }
}
