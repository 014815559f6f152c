//! Messages that wait for their time: given back with a delay, or published for later.
//!
//! By time, so that the next one is at hand however many wait. A message that the log holds needs
//! no more here than its time and its place; its body is read back shortly before. Owned by the
//! queue's state.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{Entry, Place};
use crate::store::record::Seq;

/// Time and level in one number, which sorts by time; then the sequence number. Times that don't
/// fit into 56 bits lie two million years ahead.
type Key = (u64, Seq);

const TIME_MAX: u64 = u64::MAX >> 8;

fn key_of(due_ms: u64, place: Place) -> Key {
    (due_ms.min(TIME_MAX) << 8 | u64::from(place.level), place.seq)
}

fn place_of(key: Key) -> Place {
    Place { level: u8::try_from(key.0 & 0xff).unwrap_or(0), seq: key.1 }
}

/// A message whose time has come.
#[derive(Debug)]
pub enum Due {
    Here(Entry),
    /// It is on disk only, and has to be read.
    OnDisk(Place),
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Nothing where the message is on disk only.
    waiting: BTreeMap<Key, Option<Box<Entry>>>,
    /// Of the bodies that the log holds, by level.
    stored_bytes: BTreeMap<u8, u64>,
    /// Those that are on their way to the disk, in the order of their places.
    coming: VecDeque<(Place, u64)>,
}

/// A message that is due so soon stays in memory: it would be read back at once.
const SOON_MS: u64 = 2_000;

impl Schedule {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn insert(&mut self, due_ms: u64, entry: Entry) {
        self.add_bytes(&entry);
        self.waiting.insert(key_of(due_ms, entry.place()), Some(Box::new(entry)));
    }

    fn add_bytes(&mut self, entry: &Entry) {
        if entry.stored {
            *self.stored_bytes.entry(entry.level).or_default() += entry.message.body_len();
        }
    }

    /// Adds a message that will be told of by [`Schedule::on_disk`].
    pub(super) fn insert_coming(&mut self, due_ms: u64, entry: Entry) {
        self.coming.push_back((entry.place(), due_ms));
        self.insert(due_ms, entry);
    }

    /// Adds a message that was read from the disk. Answers whether it stays in memory.
    pub(super) fn insert_read(&mut self, due_ms: u64, entry: Entry, now_ms: u64) -> bool {
        let (key, is_soon) = (key_of(due_ms, entry.place()), due_ms <= now_ms + SOON_MS);
        self.add_bytes(&entry);
        self.waiting.insert(key, is_soon.then(|| Box::new(entry)));
        is_soon
    }

    /// What came with numbers from `first` to `last` is on disk: it can leave the memory, unless it
    /// is due soon. Another batch with lower numbers may still be on its way.
    pub(super) fn on_disk(&mut self, first: Seq, last: Seq, now_ms: u64) {
        let begin = self.coming.partition_point(|(place, _)| place.seq < first);
        let end = self.coming.partition_point(|(place, _)| place.seq <= last);
        for (place, due_ms) in self.coming.drain(begin..end.max(begin)) {
            if due_ms > now_ms + SOON_MS
                && let Some(waiting) = self.waiting.get_mut(&key_of(due_ms, place))
            {
                *waiting = None;
            }
        }
    }

    /// When the next one is due, in milliseconds since 1970.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(key, _)| key.0 >> 8)
    }

    /// Takes out the next one that is due at `now_ms`.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Due> {
        let next = self.waiting.first_entry()?;
        if next.key().0 >> 8 > now_ms {
            return None;
        }
        let (key, entry) = next.remove_entry();
        Some(self.taken(key, entry))
    }

    /// Those that are due next from a time and a place on, at most so many; nothing in the place of
    /// one that is on disk only.
    pub(super) fn list(
        &self,
        from: (u64, Place),
        max: usize,
    ) -> impl Iterator<Item = (u64, Place, Option<&Entry>)> {
        let from = key_of(from.0, from.1);
        let waiting = self.waiting.range(from..).take(max);
        waiting.map(|(key, entry)| (key.0 >> 8, place_of(*key), entry.as_deref()))
    }

    /// Takes out one that waits there.
    pub(super) fn take(&mut self, due_ms: u64, place: Place) -> Option<Due> {
        let key = key_of(due_ms, place);
        let entry = self.waiting.remove(&key)?;
        Some(self.taken(key, entry))
    }

    fn taken(&mut self, key: Key, entry: Option<Box<Entry>>) -> Due {
        let Some(entry) = entry else { return Due::OnDisk(place_of(key)) };
        if entry.stored {
            self.was_read(entry.level, entry.message.body_len());
        }
        Due::Here(*entry)
    }

    /// A message that was taken out has a body of so many bytes. One that can't be read is not
    /// told: the log still has it.
    pub(super) fn was_read(&mut self, level: u8, bytes: u64) {
        if let Some(of_level) = self.stored_bytes.get_mut(&level) {
            *of_level = of_level.saturating_sub(bytes);
        }
    }

    /// Drops all of them; answers by level the bytes of the bodies that the log holds.
    pub(super) fn into_stored_bytes(self) -> BTreeMap<u8, u64> {
        self.stored_bytes
    }
}
