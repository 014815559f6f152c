//! One queue's memory: which messages are ready, which are out with a consumer, in what order.
//!
//! Pure: no tasks, no locks, no disk, no clock. Effects go out as values. Owned by the queue
//! (`queue/mod.rs`), which is the only caller.
//!
//! ```text
//!            enqueue            take               settle
//!   (new) ───────────▶ ready ──────────▶ unacked ──────────▶ (gone)
//!                        ▲                  │
//!                        └──── requeue ─────┘
//! ```
//!
//! Invariants: a sequence number is in exactly one of `returned`, `fresh` and `unacked`; every
//! number in `returned` is smaller than every number in `fresh`, because only what was taken can
//! come back and what is taken is always the smallest.
//!
//! The delivery mark: a stored message may only be taken once the log says that it may have been
//! delivered (or says so in the batch that brings the message itself), so that after a crash no
//! delivered message comes back without the redelivered flag.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::broker::outstanding::Outstanding;
use crate::protocol::message::Message;
use crate::store::Epoch;
use crate::store::record::{Ranges, Seq, SeqRange};

/// Most messages that one delivery mark covers beyond what can be delivered now.
const MARK_AHEAD_MAX: u64 = 16_384;

/// So many marks in a row cover nothing but what is delivered: only a queue that is really being
/// drained pays for its speed with flags on messages that nobody has seen.
const MARKS_EXACT: u32 = 8;

/// A message in a queue.
#[derive(Debug, Clone)]
pub struct Entry {
    pub seq: Seq,
    pub message: Arc<Message>,
    pub redelivered: bool,
    /// Whether the log holds it in this queue, so that its end must be noted there.
    pub stored: bool,
}

/// A message that is out, and the consumer that has it (0 for basic.get, which has none).
#[derive(Debug)]
struct Unacked {
    entry: Entry,
    consumer: u64,
}

/// What [`State::peek`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// [`State::take`] will hand out a message.
    Ready,
    Empty,
    /// The next message waits for a delivery mark.
    Unmarked,
}

/// A queue's messages.
#[derive(Debug)]
pub struct State {
    fresh: VecDeque<Entry>,
    returned: BTreeMap<Seq, Entry>,
    unacked: Outstanding<Unacked>,
    next_seq: Seq,
    ready_bytes: u64,
    /// Stored messages up to here may be delivered.
    marked: Seq,
    /// The mark that was asked for and is not yet on disk.
    mark_asked: Option<Seq>,
    /// Marks asked for since the queue was empty last.
    marks_in_a_row: u32,
}

impl State {
    /// A queue without messages. Sequence numbers start at the epoch's first.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            fresh: VecDeque::new(),
            returned: BTreeMap::new(),
            unacked: Outstanding::default(),
            next_seq: Seq(u64::from(epoch.0) << 40 | 1),
            ready_bytes: 0,
            marked: Seq(0),
            mark_asked: None,
            marks_in_a_row: 0,
        }
    }

    /// Puts in what the last run left, by ascending sequence number.
    pub fn restore(&mut self, messages: Vec<(Seq, Arc<Message>)>, delivered_upto: Seq) {
        self.marked = self.marked.max(delivered_upto);
        for (seq, message) in messages {
            self.ready_bytes += message.body.len();
            let redelivered = seq <= delivered_upto;
            self.fresh.push_back(Entry { seq, message, redelivered, stored: true });
        }
    }

    pub fn ready_count(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// Body bytes of the ready messages.
    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// The number the next enqueued message will get.
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Adds a message at the end.
    pub fn enqueue(&mut self, message: Arc<Message>, stored: bool) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        self.ready_bytes += message.body.len();
        self.fresh.push_back(Entry { seq, message, redelivered: false, stored });
        seq
    }

    /// Whether a message can be taken. Those from `fresh_from` on need no mark: the caller writes
    /// the mark with the messages themselves.
    pub fn peek(&self, fresh_from: Seq) -> Next {
        if !self.returned.is_empty() {
            return Next::Ready;
        }
        match self.fresh.front() {
            None => Next::Empty,
            Some(entry) if self.is_marked(entry) || entry.seq >= fresh_from => Next::Ready,
            Some(_) => Next::Unmarked,
        }
    }

    fn is_marked(&self, entry: &Entry) -> bool {
        !entry.stored || entry.seq <= self.marked
    }

    /// Takes the next message out to `consumer`; with `settled` it is gone at once (no_ack).
    pub fn take(&mut self, consumer: u64, settled: bool) -> Option<Entry> {
        let entry = match self.returned.pop_first() {
            Some((_, entry)) => entry,
            None => self.fresh.pop_front()?,
        };
        self.ready_bytes -= entry.message.body.len();
        if self.fresh.capacity() > 4 * self.fresh.len() + 64 {
            self.fresh.shrink_to(2 * self.fresh.len());
        }
        if !settled {
            self.unacked.insert(entry.seq.0, Unacked { entry: entry.clone(), consumer });
        }
        Some(entry)
    }

    /// Body length of the message that [`State::take`] would hand out.
    pub fn next_len(&self) -> u64 {
        let next = self.returned.first_key_value().map(|(_, entry)| entry);
        next.or_else(|| self.fresh.front()).map_or(0, |entry| entry.message.body.len())
    }

    /// A message came back for good. Answers it and the consumer that had it.
    pub fn settle(&mut self, seq: Seq) -> Option<(Entry, u64)> {
        self.unacked.remove(seq.0).map(|unacked| (unacked.entry, unacked.consumer))
    }

    /// A message that is out, without taking it back.
    pub fn is_unacked(&self, seq: Seq) -> bool {
        self.unacked.contains(seq.0)
    }

    /// A message came back to be delivered again, to its old place. Answers the consumer that had
    /// it.
    pub fn requeue(&mut self, seq: Seq) -> Option<u64> {
        let Unacked { mut entry, consumer } = self.unacked.remove(seq.0)?;
        entry.redelivered = true;
        self.ready_bytes += entry.message.body.len();
        self.returned.insert(seq, entry);
        Some(consumer)
    }

    /// Drops all ready messages. Answers how many, the number up to which every message is now
    /// gone, and the ranges that are gone above it, between what is unacked.
    pub fn purge(&mut self) -> (usize, Seq, Ranges) {
        let count = self.ready_count();
        self.returned.clear();
        self.fresh = VecDeque::new();
        self.ready_bytes = 0;
        let last = self.next_seq.0 - 1;
        let mut unacked = self.unacked.iter().map(|(seq, _)| seq);
        let Some(mut stays) = unacked.next() else { return (count, Seq(last), Ranges::new()) };
        let upto = Seq(stays - 1);
        let mut others = Ranges::new();
        for next in unacked.chain([last + 1]) {
            if next > stays + 1 {
                others.push(SeqRange { first: Seq(stays + 1), last: Seq(next - 1) });
            }
            stays = next;
        }
        (count, upto, others)
    }

    /// Up to here every message is gone for good.
    pub fn settled_through(&self) -> Seq {
        let ready = self.returned.first_key_value().map(|(seq, _)| *seq);
        let ready = ready.or_else(|| self.fresh.front().map(|entry| entry.seq));
        let unacked = self.unacked.iter().next().map(|(seq, _)| Seq(seq));
        let lowest = ready.into_iter().chain(unacked).min().unwrap_or(self.next_seq);
        Seq(lowest.0 - 1)
    }

    /// The batch that brings messages up to `upto` also says that they were delivered.
    pub fn mark_with_batch(&mut self, upto: Seq) {
        self.marked = self.marked.max(upto);
    }

    /// The mark to write so that `wanted` more messages can be delivered; none while one is on its
    /// way. While a queue is being drained, marks reach further and further ahead, so that a long
    /// drain does not wait for the disk each time.
    pub fn ask_mark(&mut self, wanted: u64) -> Option<Seq> {
        if self.mark_asked.is_some() {
            return None;
        }
        let doublings = self.marks_in_a_row.saturating_sub(MARKS_EXACT).min(MARK_AHEAD_MAX.ilog2());
        let ahead = (1 << doublings) - 1;
        let reach = wanted.clamp(1, MARK_AHEAD_MAX) + ahead;
        let index = usize::try_from(reach).unwrap_or(usize::MAX).min(self.fresh.len());
        let upto = self.fresh.get(index.checked_sub(1)?)?.seq;
        self.marks_in_a_row = self.marks_in_a_row.saturating_add(1);
        self.mark_asked = Some(upto);
        Some(upto)
    }

    /// The mark that was asked for is on disk (or, when the write failed, will never be).
    pub fn mark_answered(&mut self, written: bool) {
        if let Some(upto) = self.mark_asked.take()
            && written
        {
            self.marked = self.marked.max(upto);
        }
        if self.fresh.is_empty() {
            self.marks_in_a_row = 0;
        }
    }
}
