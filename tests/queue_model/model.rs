//! The rules of a queue's state in the plainest form: sorted maps of everything, and what the disk
//! would answer.

use std::collections::BTreeMap;

use ferrymq::broker::queue::{Entry, Place, Tally, Wanted};
use ferrymq::store::{Note, Page, QueueId, RecoveredQueue, Seq};

use crate::operation::{LEVELS, Left, LeftLevel, Start};
use crate::support::message;

/// Numbers of this run are above, those of the last one below.
pub const FIRST: u64 = 3 << 40;

/// No later time can be told apart.
const TIME_MAX: u64 = u64::MAX >> 8;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    pub len: u64,
    pub stored: bool,
    pub redelivered: bool,
    pub failed: u16,
    pub returned: u16,
    /// The store was told that it is on disk, and told so.
    pub on_disk: bool,
    /// It was left by the last run, nobody has read it yet, and it waits until then.
    pub unread_until: Option<u64>,
    /// It can't be read from the disk.
    pub lost: bool,
    /// Where it should have been was read: nobody waits for it any more, but it is still counted.
    pub passed: bool,
}

impl Expected {
    fn of_last_run(left: &Left, is_delivered: bool, delays: bool) -> Self {
        let is_noted = is_delivered && !delays;
        let count = |count| if is_noted { u16::try_from(count).expect("small") } else { 0 };
        let waits = delays || (is_noted && left.due_ms > 0);
        Self {
            len: left.len,
            stored: true,
            redelivered: is_delivered,
            failed: count(left.failed),
            returned: count(left.returned),
            on_disk: true,
            unread_until: waits.then_some(left.due_ms),
            lost: left.lost,
            passed: false,
        }
    }

    /// Whether this is the message.
    pub fn is(&self, entry: &Entry) -> bool {
        let (redelivered, stored) = (entry.redelivered, entry.stored);
        let counts = (entry.failed, entry.returned) == (self.failed, self.returned);
        let flags = (redelivered, stored) == (self.redelivered, self.stored);
        counts && flags && entry.message.body_len() == self.len
    }

    fn stored_len(&self) -> u64 {
        if self.stored { self.len } else { 0 }
    }
}

/// What is known of a level beside its messages.
#[derive(Debug, Default)]
pub struct Level {
    pub last: u64,
    pub marked: u64,
    pub asked: Option<u64>,
    /// Up to here the store has told that they are on disk.
    pub told: u64,
    pub reading: Option<(Wanted, Page)>,
    pub fresh_from: Option<u64>,
    /// Bytes of messages that were due and could not be read: the log still has them.
    lost_bytes: u64,
}

/// A message that was due and is being read.
#[derive(Debug)]
pub struct DueReading {
    pub round: u32,
    pub place: Place,
    pub message: Expected,
}

pub type Messages = BTreeMap<Place, Expected>;

#[derive(Debug, Default)]
pub struct Model {
    pub delays: bool,
    pub now_ms: u64,
    pub levels: BTreeMap<u8, Level>,
    /// But for those that are aside.
    pub ready: Messages,
    pub aside: Messages,
    pub unacked: Messages,
    /// By time, and then by place.
    pub delayed: BTreeMap<(u64, Place), Expected>,
    pub due_reading: Vec<DueReading>,
}

impl Model {
    /// A queue as the last run left it, and what a store would say of that.
    pub fn of(start: &Start) -> (Self, Vec<RecoveredQueue>) {
        let mut model = Self { delays: start.delays, ..Self::default() };
        let mut left = Vec::new();
        for (level, content) in LEVELS.into_iter().zip(&start.levels) {
            left.push(model.take_up(level, content));
        }
        (model, left)
    }

    fn take_up(&mut self, level: u8, content: &LeftLevel) -> RecoveredQueue {
        // What delays its messages has one level, and has delivered none.
        let is_empty = self.delays && level > 0;
        let messages = if is_empty { &[][..] } else { &content.messages };
        let delivered = if self.delays { 0 } else { content.delivered };
        let mut notes = Vec::new();
        for (index, left) in messages.iter().enumerate() {
            let expected = Expected::of_last_run(left, index < delivered, self.delays);
            let place = Place { level, seq: Seq(index as u64 + 1) };
            if index < delivered {
                let Left { failed, returned, due_ms, .. } = *left;
                notes.push((place.seq, Note { failed, returned, due_ms }));
            }
            self.ready.insert(place, expected);
        }
        let marked = delivered as u64;
        self.levels.insert(level, Level { last: FIRST, told: FIRST, marked, ..Level::default() });
        let count = messages.len() as u64;
        RecoveredQueue {
            id: QueueId(u64::from(level)),
            first: Seq(1),
            last: Seq(count),
            count,
            bytes: messages.iter().map(|left| left.len).sum(),
            delivered_upto: Seq(marked),
            notes,
            seen: Vec::new(),
        }
    }

    pub fn level(&mut self, level: u8) -> &mut Level {
        self.levels.get_mut(&level).expect("a level that is used")
    }

    pub fn in_level(messages: &Messages, level: u8) -> impl Iterator<Item = (&Place, &Expected)> {
        messages.range(Place { level, seq: Seq(0) }..=Place { level, seq: Seq(u64::MAX) })
    }

    /// The oldest ready message of a level.
    pub fn front(&self, level: u8) -> Option<(&Place, &Expected)> {
        Self::in_level(&self.ready, level).find(|(_, message)| !message.passed)
    }

    pub fn highest(&self) -> Option<u8> {
        self.ready.last_key_value().map(|(place, _)| place.level)
    }

    pub fn lowest(&self) -> Option<u8> {
        self.ready.first_key_value().map(|(place, _)| place.level)
    }

    pub fn is_fresh(&self, place: Place) -> bool {
        self.levels[&place.level].fresh_from.is_some_and(|from| place.seq.0 >= from)
    }

    pub fn is_marked(&self, place: Place, message: &Expected) -> bool {
        let mark = self.levels[&place.level].marked;
        !message.stored || message.redelivered || place.seq.0 <= mark || self.is_fresh(place)
    }

    pub fn ready_count(&self) -> usize {
        self.ready.len() + self.aside.len()
    }

    pub fn ready_bytes(&self) -> u64 {
        self.ready.values().chain(self.aside.values()).map(|message| message.len).sum()
    }

    /// What the log holds of all that is ready or out.
    pub fn stored(&self) -> Tally {
        let all = self.ready.values().chain(self.aside.values()).chain(self.unacked.values());
        all.filter(|message| message.stored)
            .fold(Tally::default(), |sum, message| sum.and(Tally { count: 1, bytes: message.len }))
    }

    /// Whether there are messages that don't stand in their places.
    fn some_are_elsewhere(&self) -> bool {
        !self.delayed.is_empty() || !self.due_reading.is_empty() || !self.aside.is_empty()
    }

    /// The number up to which everything of a level is gone.
    pub fn settled_through(&self, level: u8) -> u64 {
        if self.some_are_elsewhere() {
            return 0;
        }
        let ready = self.front(level);
        let out = Self::in_level(&self.unacked, level);
        let lowest = ready.into_iter().chain(out).map(|(place, _)| *place).min();
        lowest.map_or(self.levels[&level].last, |place| place.seq.0 - 1)
    }

    /// A new message's number.
    pub fn number(&mut self, level: u8) -> Place {
        let state = self.level(level);
        state.last += 1;
        state.fresh_from = state.fresh_from.or(Some(state.last));
        Place { level, seq: Seq(state.last) }
    }

    pub fn delay(&mut self, place: Place, due_ms: u64, message: Expected) {
        self.delayed.insert((due_ms.min(TIME_MAX), place), message);
    }

    /// A message whose time has come goes to its old place, or out of the queue.
    pub fn is_due(&mut self, place: Place, message: Expected) {
        if !self.delays {
            self.ready.insert(place, message);
        }
    }

    pub fn nth(messages: &Messages, index: usize) -> Option<Place> {
        messages.keys().nth(index.checked_rem(messages.len())?).copied()
    }

    /// More of a level's messages are on disk. Answers the numbers.
    pub fn tell_on_disk(&mut self, level: u8, count: u64) -> Option<(Seq, Seq)> {
        let state = self.level(level);
        let (first, last) = (state.told + 1, state.last.min(state.told + count));
        state.told = last;
        let is_told = |place: &Place| place.level == level && (first..=last).contains(&place.seq.0);
        let lying = self.ready.iter_mut().chain(&mut self.unacked).chain(&mut self.aside);
        let waiting = self.delayed.iter_mut().map(|((_, place), message)| (place, message));
        for (_, message) in lying.chain(waiting).filter(|(place, _)| is_told(place)) {
            message.on_disk = message.stored;
        }
        (first <= last).then_some((Seq(first), Seq(last)))
    }

    /// What a store would read back.
    pub fn page(&self, wanted: Wanted) -> Page {
        let from = Place { level: wanted.level, seq: wanted.from };
        let stored = Self::in_level(&self.ready, wanted.level)
            .filter(|(place, message)| **place >= from && message.on_disk && !message.lost);
        let read = |(place, expected): (&Place, &Expected)| (place.seq, message(expected.len));
        let messages: Vec<_> = stored.take(wanted.limit.count).map(read).collect();
        let is_all = messages.len() < wanted.limit.count;
        let last = messages.last().filter(|_| !is_all).map(|(seq, _)| *seq);
        Page { messages, through: last.unwrap_or(Seq(u64::MAX)) }
    }

    /// A page came: what waits is known to wait now, and what can't be read is passed by.
    pub fn was_read(&mut self, wanted: Wanted, through: Seq) {
        let is_read = |place: &Place| {
            place.level == wanted.level && (wanted.from..=through).contains(&place.seq)
        };
        for (place, message) in self.ready.iter_mut().filter(|(place, _)| is_read(place)) {
            message.passed |= message.lost;
            if let Some(due_ms) = message.unread_until.take_if(|_| !message.lost) {
                self.delayed.insert((due_ms, *place), message.clone());
                message.len = u64::MAX;
            }
        }
        self.ready.retain(|_, message| message.len != u64::MAX);
    }

    /// What was passed by is no longer counted. Answers how many there were.
    pub fn forget_passed(&mut self, level: u8) -> u64 {
        let before = self.ready.len();
        self.ready.retain(|place, message| place.level != level || !message.passed);
        (before - self.ready.len()) as u64
    }

    /// A message that was due can't be read.
    pub fn due_was_lost(&mut self, place: Place, message: &Expected) {
        self.level(place.level).lost_bytes += message.stored_len();
    }

    /// Bytes of a level's messages that are not settled and not out.
    pub fn purged_bytes(&self, level: u8) -> u64 {
        let ready = Self::in_level(&self.ready, level).map(|(_, message)| message);
        let delayed = self.delayed.iter().filter(|((_, place), _)| place.level == level);
        let reading = self.due_reading.iter().filter(|due| due.place.level == level);
        let reading = reading.map(|due| &due.message);
        let all = ready.chain(delayed.map(|(_, message)| message)).chain(reading);
        all.map(Expected::stored_len).sum::<u64>() + self.levels[&level].lost_bytes
    }

    /// Those that are being read are on their way, and nowhere else.
    pub fn delayed_count(&self) -> usize {
        self.delayed.len() + self.due_reading.len()
    }

    /// Answers how many messages are gone now.
    pub fn purge(&mut self) -> usize {
        let count = self.ready.len() + self.delayed_count();
        self.ready.clear();
        self.delayed.clear();
        self.due_reading.clear();
        self.levels.values_mut().for_each(|level| level.lost_bytes = 0);
        count
    }
}
