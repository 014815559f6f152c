//! One level of a queue: which messages are ready, which are out with a consumer, in what order.
//!
//! A queue without priorities has one, a queue with priorities one for each. The log knows each
//! level as a queue of its own. Pure; owned by the queue's state.
//!
//! Ready messages stand in three places, from the next to be taken to the newest:
//!
//! ```text
//!   returned │ head: in memory │ beyond: what the head has no room for (beyond.rs)
//! ```
//!
//! Invariants: a sequence number is in exactly one of these and `unacked`, or its message waits in
//! the state's schedule; every number in `head` is smaller than every number beyond it, and what
//! came back was in `head` once, unless it waited for its time since the last run or was picked
//! (`pick.rs`): so the next is the smallest of them. As long as there is room in the head, there is
//! nothing beyond it that is in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::beyond::Beyond;
use super::entry::Entry;
use super::few::Few;
use super::mark::Mark;
use super::since::Since;
use super::tally::Tally;
use crate::broker::outstanding::Outstanding;
use crate::protocol::message::Message;
use crate::store::record::{Ranges, Seq, SeqRange};
use crate::store::{Epoch, RecoveredQueue};

/// So many messages may cost four times what the head may otherwise: large ones that a consumer's
/// prefetch will take in a moment aren't worth the way to the disk and back.
const HEAD_COUNT: usize = 256;

/// A message that is out, and the consumer that has it (0 for basic.get, which has none).
#[derive(Debug)]
struct Unacked {
    entry: Entry,
    consumer: u64,
}

/// What [`Lane::peek`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// [`Lane::take`] will hand out this message.
    Ready(&'a Entry),
    Empty,
    /// The next message waits for a delivery mark.
    Unmarked,
    /// The next message waits for what was written of it ([`Lane::hold`]).
    Unwritten,
    /// The next message is on disk only.
    Paged,
    /// And it can't be read from there.
    Unreadable,
}

#[derive(Debug)]
#[repr(C)]
pub struct Lane {
    pub(super) next_seq: Seq,
    /// Messages from here on came just now: the batch that brings them says that they may be
    /// delivered.
    fresh_from: Seq,
    pub(super) head: VecDeque<Entry>,
    /// What the stored messages in `head` cost.
    pub(super) head_cost: u64,
    /// Where `head` ends when there is more, by what it costs.
    pub(super) head_max: u64,
    /// Nothing where there is nothing in it.
    pub(super) beyond: Option<Box<Beyond>>,
    pub(super) returned: BTreeMap<Seq, Entry>,
    unacked: Outstanding<Unacked>,
    /// Of these messages something is on its way to the log that has to be there before they are
    /// delivered.
    pub(super) unwritten: Few,
    pub(super) since: Since,
    mark: Mark,
    level: u8,
    /// Messages up to here were there when the broker started, and may have been delivered before.
    redelivered_upto: Seq,
    /// Tells what is read back for nobody, after a purge.
    pub(super) read_round: u64,
}

impl Lane {
    /// A level without messages. Sequence numbers start at the epoch's first.
    pub fn new(level: u8, epoch: Epoch) -> Self {
        Self {
            level,
            returned: BTreeMap::new(),
            head: VecDeque::new(),
            beyond: None,
            unacked: Outstanding::default(),
            next_seq: Seq(u64::from(epoch.0) << 40 | 1),
            fresh_from: Seq(u64::MAX),
            head_cost: 0,
            head_max: u64::MAX,
            redelivered_upto: Seq(0),
            mark: Mark::default(),
            unwritten: Few::default(),
            read_round: 0,
            since: Since::default(),
        }
    }

    /// Puts in what the last run left.
    pub fn restore(&mut self, left: &RecoveredQueue) {
        self.mark.reach(left.delivered_upto);
        self.redelivered_upto = left.delivered_upto;
        if left.count > 0 {
            let RecoveredQueue { first, last, count, bytes, .. } = *left;
            self.beyond.get_or_insert_default().restore(first, last, Tally { count, bytes });
        }
    }

    pub fn level(&self) -> u8 {
        self.level
    }

    pub fn ready_count(&self) -> usize {
        let beyond = self.beyond.as_ref().map_or(0, |beyond| beyond.count());
        self.returned.len() + self.head.len() + beyond
    }

    /// Ready messages that are on disk only.
    pub fn paged_out(&self) -> Tally {
        self.beyond.as_ref().map_or_else(Tally::default, |beyond| beyond.paged_out)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.beyond.is_none() && self.returned.is_empty()
    }

    /// What the stored messages at the head cost.
    pub fn head_cost(&self) -> u64 {
        self.head_cost
    }

    /// Sets what the stored messages at the head may cost before more of them are paged out.
    pub fn set_head_max(&mut self, max: u64) {
        self.head_max = max.max(1);
    }

    /// A number for a message that comes now.
    #[inline]
    pub fn number(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        self.fresh_from = self.fresh_from.min(seq);
        seq
    }

    /// What comes from now on comes with another batch.
    pub fn end_run(&mut self) {
        self.fresh_from = Seq(u64::MAX);
    }

    /// Whether a message came with the batch of now.
    #[inline]
    pub fn is_fresh(&self, seq: Seq) -> bool {
        seq >= self.fresh_from
    }

    /// Adds a message that has just got its number at the end. Answers whether it is one of those
    /// that may be paged out when they are on disk ([`Lane::on_disk`]).
    #[inline]
    pub fn enqueue(&mut self, entry: Entry) -> bool {
        let stored = entry.stored;
        if self.beyond.is_none() && (!stored || self.has_room()) {
            self.push_head(entry);
            return false;
        }
        self.beyond.get_or_insert_default().push(entry);
        self.refill();
        stored
    }

    /// Whether the head may grow.
    fn has_room(&self) -> bool {
        let max = if self.head.len() < HEAD_COUNT {
            self.head_max.saturating_mul(4)
        } else {
            self.head_max
        };
        self.head_cost < max
    }

    #[inline]
    pub(super) fn push_head(&mut self, entry: Entry) {
        self.head_cost += entry.cost();
        self.head.push_back(entry);
    }

    /// Moves on to the head what is in memory, as long as there is room.
    pub(super) fn refill(&mut self) {
        while self.has_room()
            && let Some(entry) = self.beyond.as_mut().and_then(|beyond| beyond.pop())
        {
            self.push_head(entry);
        }
        self.beyond.take_if(|beyond| beyond.is_empty());
    }

    /// Messages from `first` to `last` are on disk: those in the tail leave the memory, when all
    /// before them have.
    pub fn on_disk(&mut self, first: Seq, last: Seq) {
        if let Some(beyond) = &mut self.beyond {
            beyond.on_disk(first, last);
        }
    }

    /// A message that was read from the log.
    pub fn entry_of(&self, seq: Seq, message: Arc<Message>) -> Entry {
        let redelivered = seq <= self.redelivered_upto;
        let level = self.level;
        Entry { seq, level, redelivered, stored: true, failed: 0, returned: 0, message }
    }

    /// Whether a message can be taken. Those that came with the batch of now need no mark: the
    /// caller writes the mark with the messages themselves.
    #[inline]
    pub fn peek(&self) -> Next<'_> {
        let (next, came_back) = match (self.next_returned(), self.head.front(), &self.beyond) {
            (Some(next), ..) => (next, true),
            (None, Some(next), _) => (next, false),
            (None, None, None) => return Next::Empty,
            (None, None, Some(beyond)) if beyond.unreadable => return Next::Unreadable,
            (None, None, Some(_)) => return Next::Paged,
        };
        if self.unwritten.contains(next.seq) {
            return Next::Unwritten;
        }
        if came_back || self.is_marked(next) || self.is_fresh(next.seq) {
            Next::Ready(next)
        } else {
            Next::Unmarked
        }
    }

    /// The message is not delivered before [`Lane::release`].
    pub fn hold(&mut self, seq: Seq) {
        self.unwritten.insert(seq);
    }

    /// What was written of these messages is on disk.
    pub fn release(&mut self, seqs: &[Seq]) {
        seqs.iter().for_each(|seq| self.unwritten.remove(*seq));
    }

    /// The first of those that came back, if it is the next.
    #[inline]
    fn next_returned(&self) -> Option<&Entry> {
        let (_, first) = self.returned.first_key_value()?;
        let beyond = || self.beyond.as_ref()?.cold_first();
        let in_line = self.head.front().map(|head| head.seq).or_else(beyond);
        in_line.is_none_or(|other| first.seq < other).then_some(first)
    }

    #[inline]
    fn is_marked(&self, entry: &Entry) -> bool {
        !entry.stored || self.mark.covers(entry.seq)
    }

    /// The oldest ready message, if it is in memory.
    #[inline]
    pub fn next(&self) -> Option<&Entry> {
        self.next_returned().or_else(|| self.head.front())
    }

    /// Takes the oldest ready message out of the ready ones.
    #[inline]
    pub fn take(&mut self) -> Option<Entry> {
        match self.next_returned() {
            Some(_) => self.returned.pop_first().map(|(_, entry)| entry),
            None => self.take_head(),
        }
    }

    #[inline]
    fn take_head(&mut self) -> Option<Entry> {
        let entry = self.head.pop_front()?;
        self.head_cost -= entry.cost();
        shrink(&mut self.head);
        if self.beyond.is_some() {
            self.refill();
        }
        Some(entry)
    }

    /// The message is out with `consumer`.
    #[inline]
    pub fn hand_out(&mut self, entry: Entry, consumer: u64) {
        self.unacked.insert(entry.seq.0, Unacked { entry, consumer });
    }

    /// A message came back. Answers it and the consumer that had it.
    pub fn settle(&mut self, seq: Seq) -> Option<(Entry, u64)> {
        self.unacked.remove(seq.0).map(|unacked| (unacked.entry, unacked.consumer))
    }

    /// A message that was taken before goes to its old place.
    pub fn put_back(&mut self, entry: Entry) {
        self.returned.insert(entry.seq, entry);
    }

    /// Drops all ready messages. Answers the numbers that are gone now, and the bytes of those that
    /// the log holds.
    pub fn purge(&mut self) -> (Ranges, u64) {
        let bytes = self.stored_bytes();
        (self.returned, self.head, self.beyond) = Default::default();
        self.head_cost = 0;
        self.read_round += 1;
        (self.all_but_unacked(), bytes)
    }

    /// Bytes of the bodies of ready messages that the log holds.
    fn stored_bytes(&self) -> u64 {
        let beyond = self.beyond.iter().flat_map(|beyond| beyond.in_memory());
        let entries = self.returned.values().chain(&self.head).chain(beyond);
        let in_memory = entries.filter(|entry| entry.stored).map(|entry| entry.message.body_len());
        in_memory.sum::<u64>() + self.paged_out().bytes
    }

    /// All numbers that were given, but for those that are out.
    fn all_but_unacked(&self) -> Ranges {
        let last = self.next_seq.0 - 1;
        let mut ranges = Ranges::new();
        let mut first = 0;
        for stays in self.unacked.iter().map(|(seq, _)| seq).chain([last + 1]) {
            if stays > first {
                ranges.push(SeqRange { first: Seq(first), last: Seq(stays - 1) });
            }
            first = stays + 1;
        }
        ranges
    }

    /// Up to here every message is gone for good.
    pub fn settled_through(&self) -> Seq {
        let unacked = self.unacked.iter().next().map(|(seq, _)| Seq(seq));
        let lowest = self.oldest().into_iter().chain(unacked).min().unwrap_or(self.next_seq);
        Seq(lowest.0 - 1)
    }

    /// The batch that brings messages up to `upto` also says that they were delivered.
    pub fn mark_with_batch(&mut self, upto: Seq) {
        self.mark.reach(upto);
    }

    /// The mark to write so that `wanted` more messages can be delivered.
    pub fn ask_mark(&mut self, wanted: u64) -> Option<Seq> {
        let Self { head, beyond, mark, .. } = self;
        mark.ask(wanted, |count| reach(head, beyond.as_deref(), count))
    }

    /// The mark that was asked for is on disk (or, when the write failed, will never be).
    pub fn mark_answered(&mut self, written: bool) {
        self.mark.answered(written, self.head.is_empty() && self.beyond.is_none());
    }
}

/// The number of the last of so many messages from the front of the head on; of fewer where there
/// are not so many, or where numbers behind the head are no longer there.
fn reach(head: &VecDeque<Entry>, beyond: Option<&Beyond>, count: usize) -> Option<Seq> {
    let missing = count.checked_sub(head.len()).filter(|missing| *missing > 0);
    match (missing, beyond.and_then(Beyond::first_paged)) {
        (Some(missing), Some(paged)) => {
            Some(Seq(paged.first.0 + missing as u64 - 1).min(paged.last))
        }
        _ => Some(head.get(count.min(head.len()).checked_sub(1)?)?.seq),
    }
}

/// Gives memory back that a long run has left.
pub(super) fn shrink<T>(deque: &mut VecDeque<T>) {
    if deque.capacity() > 4 * deque.len() + 64 {
        deque.shrink_to(2 * deque.len());
    }
}
