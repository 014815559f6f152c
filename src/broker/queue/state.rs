//! One queue's memory: which messages are ready, which are out with a consumer, which wait for
//! their time, in what order.
//!
//! Pure: no tasks, no locks, no disk, no clock. Effects go out as values, times come in as numbers.
//! Owned by the queue (`queue/mod.rs`), which is the only caller.
//!
//! ```text
//!            enqueue            take                settle
//!   (new) ──────┬────▶ ready ──────────▶ unacked ──────────▶ (gone)
//!               │        ▲  ▲               │
//!   enqueue_    │        │  └── put_back ───┤
//!   delayed     ▼        │                  │ delay
//!            delayed ────┴── take_due ◀─────┘
//! ```
//!
//! Ready messages stand in lanes, one for each priority (`lane.rs`), and the highest lane that has
//! any is served. Delayed ones stand in the schedule (`schedule.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::entry::{Entry, Place};
use super::lane::{Lane, Next};
use super::levels::Levels;
use super::reading::{Ahead, Wanted};
use super::schedule::{Due, Schedule};
use super::tally::{Holding, Tally};
use crate::protocol::message::Message;
use crate::store::record::{Note, Ranges, Seq};
use crate::store::{Epoch, Page, RecoveredQueue};

/// What was done with a message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub place: Place,
    /// The message can leave the memory when it is on disk ([`State::on_disk`]).
    pub waits: bool,
}

/// What a purge has done to one level.
#[derive(Debug, PartialEq, Eq)]
pub struct Purged {
    pub level: u8,
    /// The numbers that are gone now.
    pub ranges: Ranges,
    /// Bytes of the bodies of those that the log holds.
    pub bytes: u64,
}

/// A queue's messages.
#[derive(Debug)]
#[repr(C)]
pub struct State {
    pub(super) ready: Holding,
    unacked: Holding,
    /// Nothing in most queues.
    pub(super) delayed: Option<Box<Delayed>>,
    /// The lanes that have ready messages.
    filled: Levels,
    /// By level; those that never had a message are not made. Most queues have one level, which
    /// stands here itself.
    pub(super) lanes: SmallVec<[Lane; 1]>,
    /// Ready messages that somebody keeps for a consumer ([`State::set_aside`]).
    aside: usize,
    epoch: Epoch,
    /// Tells an answer that came too late, after a purge.
    due_round: u32,
    head_max: u64,
}

#[derive(Debug, Default)]
pub(super) struct Delayed {
    pub(super) schedule: Schedule,
    /// Messages that were due and are being read from the disk.
    pub(super) reading: usize,
    /// What the log remembers of messages that are on disk only.
    pub(super) notes: BTreeMap<Place, Note>,
}

impl State {
    /// A queue without messages. Sequence numbers start at the epoch's first.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            lanes: smallvec![Lane::new(0, epoch)],
            filled: Levels::default(),
            ready: Holding::default(),
            unacked: Holding::default(),
            aside: 0,
            delayed: None,
            due_round: 0,
            head_max: u64::MAX,
        }
    }

    /// Puts in what the last run left of a level.
    pub fn restore(&mut self, level: u8, left: &RecoveredQueue) {
        self.lane(level).restore(left);
        self.ready.add_stored(Tally { count: left.count, bytes: left.bytes });
        if !left.notes.is_empty() {
            let notes = left.notes.iter().map(|(seq, note)| (Place { level, seq: *seq }, *note));
            self.delayed_mut().notes.extend(notes);
        }
        self.note_filled(level);
    }

    fn delayed_mut(&mut self) -> &mut Delayed {
        self.delayed.get_or_insert_default()
    }

    #[inline]
    fn lane(&mut self, level: u8) -> &mut Lane {
        let index = usize::from(level);
        if self.lanes.len() <= index {
            self.make_lanes(level);
        }
        &mut self.lanes[index]
    }

    fn make_lanes(&mut self, highest: u8) {
        let made = self.lanes.len();
        for level in (0..=highest).skip(made) {
            let mut lane = Lane::new(level, self.epoch);
            lane.set_head_max(self.head_max);
            self.lanes.push(lane);
        }
    }

    pub(super) fn note_filled(&mut self, level: u8) {
        let is_filled = self.lanes.get(usize::from(level)).is_some_and(|lane| !lane.is_empty());
        self.filled.set(level, is_filled);
    }

    pub fn ready_count(&self) -> usize {
        self.ready.count()
    }

    pub fn unacked_count(&self) -> usize {
        self.unacked.count()
    }

    pub fn unacked_bytes(&self) -> u64 {
        self.unacked.all.bytes
    }

    /// Messages that the log holds, ready or out.
    pub fn stored(&self) -> Tally {
        self.ready.stored.and(self.unacked.stored)
    }

    /// Ready messages that are on disk only.
    pub fn paged_out(&self) -> Tally {
        self.lanes.iter().fold(Tally::default(), |sum, lane| sum.and(lane.paged_out()))
    }

    /// Whether there is no message, ready or not.
    pub fn is_empty(&self) -> bool {
        self.ready_count() == 0 && self.unacked_count() == 0 && self.delayed_count() == 0
    }

    /// Messages that wait for their time, or are being read from the disk because it has come.
    pub fn delayed_count(&self) -> usize {
        self.delayed.as_ref().map_or(0, |delayed| delayed.schedule.len() + delayed.reading)
    }

    /// When the next of them is due, in milliseconds since 1970.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.delayed.as_ref()?.schedule.next_due_ms()
    }

    pub fn ready_bytes(&self) -> u64 {
        self.ready.all.bytes
    }

    /// What the stored messages at the heads of the lanes cost.
    pub fn head_cost(&self) -> u64 {
        self.lanes.iter().map(Lane::head_cost).sum()
    }

    /// Sets what the stored messages at the head of a lane may cost before more of them are paged
    /// out.
    pub fn set_head_max(&mut self, max: u64) {
        self.head_max = max;
        self.lanes.iter_mut().for_each(|lane| lane.set_head_max(max));
    }

    /// Adds a message at the end of its level.
    #[inline]
    pub fn enqueue(&mut self, level: u8, message: Arc<Message>, stored: bool) -> Enqueued {
        let place = Place { level, seq: self.lane(level).number() };
        let entry = Entry::new(place, message, stored);
        self.ready.add(&entry);
        let waits = self.lane(level).enqueue(entry);
        self.filled.set(level, true);
        Enqueued { place, waits }
    }

    /// Messages came now, this one first of those of its level.
    #[inline]
    pub fn came(&mut self, place: Place, now_ms: u64) {
        self.lane(place.level).came(place.seq, now_ms);
    }

    /// When the oldest ready message came, in milliseconds since 1970: about then, or later.
    pub fn oldest_ms(&self) -> Option<u64> {
        let lane = |level: u8| self.lanes.get(usize::from(level))?.oldest_ms();
        self.filled.iter().filter_map(lane).min()
    }

    /// Adds a message that waits until `due_ms`.
    pub fn enqueue_delayed(
        &mut self,
        message: Arc<Message>,
        stored: bool,
        due_ms: u64,
    ) -> Enqueued {
        let place = Place { level: 0, seq: self.lane(0).number() };
        let entry = Entry::new(place, message, stored);
        let schedule = &mut self.delayed_mut().schedule;
        match stored {
            true => schedule.insert_coming(due_ms, entry),
            false => schedule.insert(due_ms, entry),
        }
        Enqueued { place, waits: stored }
    }

    /// What was enqueued since this was called last has been told to its batch.
    pub fn end_run(&mut self) {
        self.lanes.iter_mut().for_each(Lane::end_run);
    }

    /// Whether a message came since [`State::end_run`].
    #[inline]
    pub fn is_fresh(&self, place: Place) -> bool {
        let lane = self.lanes.get(usize::from(place.level));
        lane.is_some_and(|lane| lane.is_fresh(place.seq))
    }

    /// Messages of a level from `first` to `last` are on disk: those behind the head leave the
    /// memory, when all before them have.
    pub fn on_disk(&mut self, level: u8, first: Seq, last: Seq, now_ms: u64) {
        self.lane(level).on_disk(first, last);
        if let Some(delayed) = &mut self.delayed
            && level == 0
        {
            delayed.schedule.on_disk(first, last, now_ms);
        }
    }

    /// What to read back now, so that no head runs dry; nothing where a batch is being read.
    pub fn ask_read(&mut self, ahead: Ahead) -> SmallVec<[Wanted; 1]> {
        let lanes = &mut self.lanes;
        let lane = |level: u8| lanes.get_mut(usize::from(level))?.ask_read(ahead);
        self.filled.iter().filter_map(lane).collect()
    }

    /// Takes messages that were read back. Those for which `due_ms` answers a time wait for it.
    /// Answers how many turned out not to be readable.
    pub fn read(
        &mut self,
        wanted: Wanted,
        page: Page,
        now_ms: u64,
        due_ms: impl Fn(&Entry) -> Option<u64>,
    ) -> u64 {
        let Self { lanes, delayed, ready, .. } = self;
        let Some(lane) = lanes.get_mut(usize::from(wanted.level)) else { return 0 };
        let read = lane.read(wanted.round, page, |mut entry| {
            let place = entry.place();
            let note = delayed.as_ref().and_then(|delayed| delayed.notes.get(&place));
            let note = note.copied().unwrap_or_default();
            entry.set_note(note);
            let noted = (note.due_ms > 0).then_some(note.due_ms);
            let Some(due_ms) = due_ms(&entry).or(noted) else {
                delayed.as_mut().and_then(|delayed| delayed.notes.remove(&place));
                return Some(entry);
            };
            ready.remove(&entry);
            let delayed = delayed.get_or_insert_default();
            if delayed.schedule.insert_read(due_ms, entry, now_ms) {
                delayed.notes.remove(&place);
            }
            None
        });
        self.ready.remove_stored(read.lost);
        self.note_filled(wanted.level);
        read.lost.count
    }

    #[inline]
    fn highest(&self) -> Option<&Lane> {
        self.lanes.get(usize::from(self.filled.highest()?))
    }

    /// Whether a message can be taken.
    #[inline]
    pub fn peek(&self) -> Next<'_> {
        self.highest().map_or(Next::Empty, Lane::peek)
    }

    /// The message that [`State::take`] would hand out, if it is in memory.
    #[inline]
    pub fn next(&self) -> Option<&Entry> {
        self.highest()?.next()
    }

    /// The oldest ready message of each level that has any; of those in memory.
    pub fn fronts(&self) -> impl Iterator<Item = &Entry> {
        let lane = |level: u8| self.lanes.get(usize::from(level))?.next();
        self.filled.iter().filter_map(lane)
    }

    /// Takes the next message out to `consumer`; without one it is gone at once.
    #[inline]
    pub fn take(&mut self, consumer: Option<u64>) -> Option<Entry> {
        let entry = self.take_from(self.filled.highest()?)?;
        if let Some(consumer) = consumer {
            self.hand_out(entry.clone(), consumer);
        }
        Some(entry)
    }

    #[inline]
    pub(super) fn hand_out(&mut self, entry: Entry, consumer: u64) {
        self.unacked.add(&entry);
        self.lane(entry.level).hand_out(entry, consumer);
    }

    /// Takes the next message out of its place, for the caller to keep. It is ready nevertheless.
    pub fn set_aside(&mut self) -> Option<Entry> {
        let level = self.filled.highest()?;
        let entry = self.lane(level).take()?;
        self.aside += 1;
        self.note_filled(level);
        Some(entry)
    }

    /// A message that was taken before is ready again, and the caller keeps it.
    pub fn put_aside(&mut self, entry: &Entry) {
        self.aside += 1;
        self.ready.add(entry);
    }

    /// A message that was kept goes out to `consumer`; without one it is gone at once.
    pub fn hand_out_aside(&mut self, entry: &Entry, consumer: Option<u64>) {
        self.aside -= 1;
        self.ready.remove(entry);
        if let Some(consumer) = consumer {
            self.hand_out(entry.clone(), consumer);
        }
    }

    /// A message that was kept goes back to its place.
    pub fn put_back_aside(&mut self, entry: Entry) {
        self.aside -= 1;
        let level = entry.level;
        self.lane(level).put_back(entry);
        self.filled.set(level, true);
    }

    /// Takes the oldest message of a level for good, if it is in memory.
    #[inline]
    pub fn take_from(&mut self, level: u8) -> Option<Entry> {
        let lane = self.lanes.get_mut(usize::from(level))?;
        let entry = lane.take()?;
        self.ready.remove(&entry);
        if lane.is_empty() {
            self.filled.set(level, false);
        }
        Some(entry)
    }

    /// Takes the oldest message of the lowest level for good, if it is in memory.
    pub fn take_lowest(&mut self) -> Option<Entry> {
        self.take_from(self.filled.lowest()?)
    }

    /// A message came back. Answers it and the consumer that had it.
    pub fn settle(&mut self, place: Place) -> Option<(Entry, u64)> {
        let settled = self.lanes.get_mut(usize::from(place.level))?.settle(place.seq)?;
        self.unacked.remove(&settled.0);
        Some(settled)
    }

    /// A message that was taken before is ready again, at its old place.
    pub fn put_back(&mut self, entry: Entry) {
        self.ready.add(&entry);
        let level = entry.level;
        self.lane(level).put_back(entry);
        self.filled.set(level, true);
    }

    /// A message that was taken before waits until `due_ms`.
    pub fn delay(&mut self, entry: Entry, due_ms: u64) {
        self.delayed_mut().schedule.insert(due_ms, entry);
    }

    /// Takes out the next delayed message that is due at `now_ms`. One that is on disk only has to
    /// be read, and come back by [`State::due_was_read`].
    pub fn take_due(&mut self, now_ms: u64) -> Option<Due> {
        let delayed = self.delayed.as_mut()?;
        let due = delayed.schedule.take_due(now_ms)?;
        if matches!(due, Due::OnDisk(_)) {
            delayed.reading += 1;
        }
        Some(due)
    }

    /// Which purge came last: what was due before one isn't wanted after it.
    pub fn due_round(&self) -> u32 {
        self.due_round
    }

    /// A message that was due and on disk has been read.
    pub fn due_was_read(&mut self, place: Place, message: Arc<Message>) -> Entry {
        let delayed = self.delayed_mut();
        delayed.reading -= 1;
        delayed.schedule.was_read(place.level, message.body_len());
        let note = delayed.notes.remove(&place).unwrap_or_default();
        let mut entry = self.lane(place.level).entry_of(place.seq, message);
        entry.set_note(note);
        entry
    }

    /// Messages that were due can't be read.
    pub fn due_were_lost(&mut self, count: usize) {
        self.delayed_mut().reading -= count;
    }

    /// Drops all ready and delayed messages, of which none is kept by somebody. Answers how many,
    /// and what became of each level.
    pub fn purge(&mut self) -> (usize, Vec<Purged>) {
        let count = self.ready_count() + self.delayed_count();
        let delayed = self.delayed.take().unwrap_or_default();
        let delayed_bytes = delayed.schedule.into_stored_bytes();
        self.due_round = self.due_round.wrapping_add(1);
        let purge = |lane: &mut Lane| {
            let (ranges, bytes) = lane.purge();
            let level = lane.level();
            let bytes = bytes + delayed_bytes.get(&level).unwrap_or(&0);
            Purged { level, ranges, bytes }
        };
        let purged = self.lanes.iter_mut().map(purge).collect();
        (self.ready, self.filled) = (Holding::default(), Levels::default());
        (count, purged)
    }

    /// Up to here every message of a level is gone for good.
    pub fn settled_through(&self, level: u8) -> Seq {
        // Those are not looked for by their place.
        let none_elsewhere = self.delayed_count() == 0 && self.aside == 0;
        let lane = self.lanes.get(usize::from(level)).filter(|_| none_elsewhere);
        lane.map_or(Seq(0), Lane::settled_through)
    }

    /// The message is not delivered before [`State::release`].
    pub fn hold(&mut self, place: Place) {
        self.lane(place.level).hold(place.seq);
    }

    /// What was written of these messages of a level is on disk.
    pub fn release(&mut self, level: u8, seqs: &[Seq]) {
        self.lane(level).release(seqs);
    }

    /// The batch that brings messages of a level up to `upto` also says that they were delivered.
    pub fn mark_with_batch(&mut self, level: u8, upto: Seq) {
        self.lane(level).mark_with_batch(upto);
    }

    /// The marks to write so that `wanted` more messages can be delivered, by level, from the
    /// highest: all at once, or a consumer would wait for the disk once for each level.
    pub fn ask_marks(&mut self, mut wanted: u64) -> SmallVec<[(u8, Seq); 1]> {
        let mut marks = SmallVec::new();
        let mut rest = self.filled;
        while wanted > 0
            && let Some(level) = rest.highest()
        {
            rest.set(level, false);
            let lane = self.lane(level);
            if lane.peek() == Next::Unmarked {
                marks.extend(lane.ask_mark(wanted).map(|upto| (level, upto)));
            }
            wanted = wanted.saturating_sub(lane.ready_count() as u64);
        }
        marks
    }

    /// The mark that was asked for is on disk (or, when the write failed, will never be).
    pub fn mark_answered(&mut self, level: u8, written: bool) {
        self.lane(level).mark_answered(written);
    }
}
