//! Ready messages that operators look at, or take, wherever they stand.
//!
//! Pure; a part of the queue's state, which consumers know from its head only. A message that was
//! picked is unacked until it has left or is put back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::beyond::{Beyond, Cold};
use super::delivery::NO_CONSUMER;
use super::lane::Lane;
use super::schedule::Due;
use super::state::State;
use super::tally::Tally;
use super::{Entry, Place};
use crate::protocol::message::Message;
use crate::store::record::{Note, Seq};

/// What stands behind a place, as far as it is known without the disk.
#[derive(Debug)]
pub struct View {
    pub entries: Vec<Entry>,
    pub rest: Rest,
}

/// Where a [`View`] ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    Nothing,
    From(Place),
    /// The next ones are on disk only; all from `first` to `last` that can be read there.
    OnDisk {
        level: u8,
        first: Seq,
        last: Seq,
    },
}

/// What stands next in a lane.
enum Seen<'a> {
    Here(&'a Entry),
    OnDisk { first: Seq, last: Seq },
}

/// A message that waits for its time.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Milliseconds since 1970.
    pub due_ms: u64,
    pub place: Place,
    /// Nothing as long as it is on disk only.
    pub message: Option<Arc<Message>>,
}

/// Where a message is looked for.
#[derive(Debug)]
pub enum Found {
    Here(Entry),
    OnDisk,
    Nowhere,
}

impl Lane {
    /// Ready messages from a number on that have never been out, in their order.
    fn line(&self, from: Seq) -> impl Iterator<Item = Seen<'_>> {
        let in_head = self.head.partition_point(|entry| entry.seq < from);
        let beyond = self.beyond.iter().flat_map(move |beyond| beyond.line(from));
        self.head.range(in_head..).map(Seen::Here).chain(beyond)
    }

    /// The same with those that came back, and those that stand `aside`, until `each` has enough or
    /// something is on disk.
    fn view<'a>(
        &'a self,
        from: Seq,
        aside: impl Iterator<Item = &'a Entry>,
        mut each: impl FnMut(Seen<'a>) -> bool,
    ) {
        let mut returned = self.returned.range(from..).map(|(_, entry)| entry).peekable();
        let mut aside = aside.peekable();
        let mut other_before = |seq: Seq| {
            let one = returned.peek().map_or(Seq(u64::MAX), |entry| entry.seq);
            let two = aside.peek().map_or(Seq(u64::MAX), |entry| entry.seq);
            let before = |entry: &&Entry| entry.seq < seq;
            if one < two { returned.next_if(before) } else { aside.next_if(before) }
        };
        for seen in self.line(from) {
            let (mut first, last) = match seen {
                Seen::Here(entry) => (entry.seq, entry.seq),
                Seen::OnDisk { first, last } => (first, last),
            };
            while let Some(entry) = other_before(first) {
                if !each(Seen::Here(entry)) {
                    return;
                }
            }
            if let Seen::Here(_) = seen {
                if !each(seen) {
                    return;
                }
                continue;
            }
            // What was picked and put back stands in the middle of what is on disk.
            while let Some(entry) = other_before(Seq(last.0 + 1)) {
                if entry.seq > first {
                    each(Seen::OnDisk { first, last: Seq(entry.seq.0 - 1) });
                    return;
                }
                if !each(Seen::Here(entry)) {
                    return;
                }
                first = Seq(entry.seq.0 + 1);
            }
            if first <= last {
                each(Seen::OnDisk { first, last });
                return;
            }
        }
        while let Some(entry) = other_before(Seq(u64::MAX)) {
            if !each(Seen::Here(entry)) {
                return;
            }
        }
    }

    fn find(&self, seq: Seq) -> Found {
        if let Some(entry) = self.returned.get(&seq) {
            return Found::Here(entry.clone());
        }
        if self.beyond.as_ref().is_some_and(|beyond| beyond.picked.contains(seq)) {
            return Found::Nowhere;
        }
        match self.line(seq).next() {
            Some(Seen::Here(entry)) if entry.seq == seq => Found::Here(entry.clone()),
            Some(Seen::OnDisk { first, .. }) if first == seq => Found::OnDisk,
            _ => Found::Nowhere,
        }
    }

    /// Takes a ready message out of wherever it stands. `message` is what was read of it, if it is
    /// on disk only.
    fn pick(&mut self, seq: Seq, message: &Arc<Message>) -> Option<Entry> {
        if self.unwritten.contains(seq) {
            return None;
        }
        if let Some(entry) = self.returned.remove(&seq) {
            return Some(entry);
        }
        if let Some(entry) = remove(&mut self.head, seq, |entry| entry.seq) {
            self.head_cost -= entry.cost();
            self.refill();
            return Some(entry);
        }
        let beyond = self.beyond.as_mut()?;
        let entry = match beyond.pick(seq, Tally::one(message))? {
            Picked::Here(entry) => entry,
            Picked::OnDisk => self.entry_of(seq, Arc::clone(message)),
        };
        if self.beyond.as_mut().is_some_and(|beyond| beyond.end_first()) {
            self.read_round += 1;
        }
        self.refill();
        Some(entry)
    }
}

/// What was taken out from behind a head.
enum Picked {
    Here(Entry),
    OnDisk,
}

impl Beyond {
    fn line(&self, from: Seq) -> impl Iterator<Item = Seen<'_>> {
        let in_cold = self.cold.partition_point(|cold| cold.last() < from);
        let in_tail = self.tail.partition_point(|newest| newest.entry.seq < from);
        let cold = self.cold.range(in_cold..).map(move |cold| match cold {
            Cold::Entry(entry) => Seen::Here(entry),
            Cold::Paged(paged) => Seen::OnDisk { first: paged.first.max(from), last: paged.last },
        });
        cold.chain(self.tail.range(in_tail..).map(|newest| Seen::Here(&newest.entry)))
    }

    /// Takes out a message, which counts as `one`. Ranges on disk around it, or before it, may come
    /// to reach beyond it: so it is noted.
    fn pick(&mut self, seq: Seq, one: Tally) -> Option<Picked> {
        if let Some(newest) = remove(&mut self.tail, seq, |newest| newest.entry.seq) {
            self.picked.insert(seq);
            return Some(Picked::Here(newest.entry));
        }
        let index = self.cold.partition_point(|cold| cold.last() < seq);
        match self.cold.get_mut(index)? {
            cold if cold.first() > seq => return None,
            Cold::Entry(_) => {}
            Cold::Paged(paged) => {
                if !self.picked.insert(seq) {
                    return None;
                }
                paged.tally.remove(one);
                self.paged_out.remove(one);
                self.cold_count -= 1;
                if paged.tally.count == 0 && index > 0 {
                    self.cold.remove(index);
                }
                return Some(Picked::OnDisk);
            }
        }
        let Some(Cold::Entry(entry)) = self.cold.remove(index) else { return None };
        self.cold_count -= 1;
        self.picked.insert(seq);
        Some(Picked::Here(entry))
    }

    /// Takes out the first range, if nothing is left of it. Answers whether: then what is being
    /// read of it is no longer wanted.
    fn end_first(&mut self) -> bool {
        if self.first_paged().is_none_or(|paged| paged.tally.count > 0) {
            return false;
        }
        self.cold.pop_front();
        (self.reading, self.unreadable) = (None, false);
        true
    }
}

fn remove<T>(sorted: &mut VecDeque<T>, seq: Seq, seq_of: impl Fn(&T) -> Seq) -> Option<T> {
    let index = sorted.binary_search_by_key(&seq, seq_of).ok()?;
    sorted.remove(index)
}

impl State {
    /// The next ready messages from a place on, in the order in which they would go out, at most so
    /// many. `aside` are those that somebody keeps, in the same order.
    pub fn view(&self, from: Place, count_max: usize, aside: &[&Entry]) -> View {
        let (mut entries, mut rest) = (Vec::new(), Rest::Nothing);
        for level in (0..=from.level).rev() {
            let Some(lane) = self.lanes.get(usize::from(level)) else { continue };
            let from = if level == from.level { from.seq } else { Seq(0) };
            let of_level = |entry: &&Entry| entry.level == level && entry.seq >= from;
            lane.view(from, aside.iter().copied().filter(of_level), |seen| {
                match seen {
                    Seen::Here(entry) if entries.len() < count_max => {
                        entries.push(entry.clone());
                        return true;
                    }
                    Seen::Here(entry) => rest = Rest::From(entry.place()),
                    Seen::OnDisk { first, last } => rest = Rest::OnDisk { level, first, last },
                }
                false
            });
            if rest != Rest::Nothing {
                break;
            }
        }
        View { entries, rest }
    }

    /// Delayed messages in the order of their times, from a time and a place on.
    pub fn scheduled(&self, from: (u64, Place), max: usize) -> Vec<Scheduled> {
        let one = |(due_ms, place, entry): (u64, Place, Option<&Entry>)| Scheduled {
            due_ms,
            place,
            message: entry.map(|entry| Arc::clone(&entry.message)),
        };
        let waiting = self.delayed.iter().flat_map(|delayed| delayed.schedule.list(from, max));
        waiting.map(one).collect()
    }

    /// Takes a delayed message out for good. `message` is what was read of it, if it is on disk.
    pub fn cancel(&mut self, wanted: &Scheduled, message: Arc<Message>) -> Option<Entry> {
        let delayed = self.delayed.as_mut()?;
        match delayed.schedule.take(wanted.due_ms, wanted.place)? {
            Due::Here(entry) => Some(entry),
            Due::OnDisk(place) => {
                delayed.reading += 1;
                Some(self.due_was_read(place, message))
            }
        }
    }

    /// Where a ready message is that nobody keeps.
    pub fn find(&self, place: Place) -> Found {
        let lane = self.lanes.get(usize::from(place.level));
        lane.map_or(Found::Nowhere, |lane| lane.find(place.seq))
    }

    /// A message that was read from the disk, if it still stands there ready.
    pub fn read_aside(&self, place: Place, message: Arc<Message>, now_ms: u64) -> Option<Entry> {
        let lane = self.lanes.get(usize::from(place.level))?;
        match lane.find(place.seq) {
            Found::Here(entry) => Some(entry),
            Found::Nowhere => None,
            Found::OnDisk => {
                let note = self.note_of(place);
                let mut entry = lane.entry_of(place.seq, message);
                entry.set_note(note);
                // What waits for its time is counted as ready until it is read back.
                (note.due_ms <= now_ms).then_some(entry)
            }
        }
    }

    /// What the log remembers of a message that is on disk only.
    fn note_of(&self, place: Place) -> Note {
        let note = self.delayed.as_ref().and_then(|delayed| delayed.notes.get(&place));
        note.copied().unwrap_or_default()
    }

    /// The same, for the last time.
    fn take_note(&mut self, place: Place) -> Option<Note> {
        self.delayed.as_mut().and_then(|delayed| delayed.notes.remove(&place))
    }

    /// Where the next messages will come to stand.
    pub fn ends(&self) -> Vec<Seq> {
        self.lanes.iter().map(|lane| lane.next_seq).collect()
    }

    /// Whether something of the message is on its way to the log.
    pub fn is_held(&self, place: Place) -> bool {
        let lane = self.lanes.get(usize::from(place.level));
        lane.is_some_and(|lane| lane.unwritten.contains(place.seq))
    }

    /// Takes a ready message out of its place. It is unacked until it is settled or put back.
    pub fn pick(&mut self, wanted: &Entry) -> Option<Entry> {
        let place = wanted.place();
        let lane = self.lanes.get_mut(usize::from(place.level))?;
        let mut entry = lane.pick(place.seq, &wanted.message)?;
        if let Some(note) = self.take_note(place) {
            entry.set_note(note);
        }
        self.ready.remove(&entry);
        self.hand_out(entry.clone(), NO_CONSUMER);
        self.note_filled(place.level);
        Some(entry)
    }

    /// A message that was picked has left, and the log says so.
    pub fn picked_left(&mut self, place: Place) {
        if self.settle(place).is_some()
            && let Some(lane) = self.lanes.get_mut(usize::from(place.level))
            && let Some(beyond) = &mut lane.beyond
        {
            beyond.forget_picked(place.seq);
        }
    }
}
