//! Groups of messages that agree in a header: those of one group are out with one consumer at a
//! time, those of different groups with any.
//!
//! A group belongs to the consumer that has a message of it out. Messages of a group whose consumer
//! can take no more are set aside, so that the others behind them go on; when too many are, the
//! queue waits. Owned by the queue, under its lock.
//!
//! ```text
//!   free ──first message goes out──▶ held by a consumer ──nothing out, nothing aside──▶ free
//!                                          └─ nothing out, the consumer is gone ─▶ aside go back
//! ```

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;

use super::{Entry, Place};
use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;

/// Messages that are set aside at most. Beyond it the next message waits at the head.
const ASIDE_MAX: usize = 4096;

/// A group, by a hash of its value: two that collide are only one where there could be two.
pub(super) type GroupKey = u64;

#[derive(Debug)]
struct Group {
    consumer: u64,
    /// Messages that are out.
    out: usize,
    aside: BTreeMap<Place, Entry>,
}

#[derive(Debug)]
pub(super) struct Groups {
    header: ShortStr,
    hasher: RandomState,
    held: HashMap<GroupKey, Group>,
    /// The groups of each consumer that have messages set aside.
    waiting: HashMap<u64, BTreeSet<GroupKey>>,
    aside: usize,
}

impl Groups {
    pub(super) fn new(header: ShortStr) -> Self {
        Self {
            header,
            hasher: RandomState::new(),
            held: HashMap::new(),
            waiting: HashMap::new(),
            aside: 0,
        }
    }

    pub(super) fn header(&self) -> &ShortStr {
        &self.header
    }

    /// The group of a message; none without the header.
    pub(super) fn key_of(&self, message: &Message) -> Option<GroupKey> {
        let properties = message.properties();
        let value = properties.raw_headers().get(&self.header)?;
        Some(self.hasher.hash_one(value.identity()))
    }

    /// The consumer that has the group.
    pub(super) fn holder(&self, key: GroupKey) -> Option<u64> {
        self.held.get(&key).map(|group| group.consumer)
    }

    /// Whether messages of the group stand aside, before any other of it.
    pub(super) fn has_aside(&self, key: GroupKey) -> bool {
        self.held.get(&key).is_some_and(|group| !group.aside.is_empty())
    }

    /// A message of the group goes out to a consumer, which has the group from now on.
    pub(super) fn goes_out(&mut self, key: GroupKey, consumer: u64) {
        let free = || Group { consumer, out: 0, aside: BTreeMap::new() };
        self.held.entry(key).or_insert_with(free).out += 1;
    }

    pub(super) fn may_set_aside(&self) -> bool {
        self.aside < ASIDE_MAX
    }

    /// Sets a message aside until the consumer of its group can take it.
    pub(super) fn set_aside(&mut self, key: GroupKey, entry: Entry) {
        let Some(group) = self.held.get_mut(&key) else { return };
        self.waiting.entry(group.consumer).or_default().insert(key);
        self.aside += 1;
        group.aside.insert(entry.place(), entry);
    }

    /// The consumers for which messages stand aside.
    pub(super) fn waited_for(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    /// The length of the body of the first message that stands aside for a consumer.
    pub(super) fn next_len(&self, consumer: u64) -> Option<u64> {
        let key = self.waiting.get(&consumer)?.first()?;
        let (_, entry) = self.held.get(key)?.aside.first_key_value()?;
        Some(entry.message.body_len())
    }

    /// Takes that message.
    pub(super) fn take_aside(&mut self, consumer: u64) -> Option<(GroupKey, Entry)> {
        let keys = self.waiting.get_mut(&consumer)?;
        let key = *keys.first()?;
        let group = self.held.get_mut(&key)?;
        let (_, entry) = group.aside.pop_first()?;
        if group.aside.is_empty() {
            keys.remove(&key);
            if keys.is_empty() {
                self.waiting.remove(&consumer);
            }
        }
        self.aside -= 1;
        Some((key, entry))
    }

    /// A message of the group came back from its consumer, which may be gone. Answers what stood
    /// aside for one that is, and can go to another now.
    pub(super) fn came_back(&mut self, key: GroupKey, is_there: bool) -> Vec<Entry> {
        let Some(group) = self.held.get_mut(&key) else { return Vec::new() };
        group.out = group.out.saturating_sub(1);
        if group.out > 0 || (is_there && !group.aside.is_empty()) {
            return Vec::new();
        }
        self.free(key)
    }

    fn free(&mut self, key: GroupKey) -> Vec<Entry> {
        let Some(group) = self.held.remove(&key) else { return Vec::new() };
        if let Some(keys) = self.waiting.get_mut(&group.consumer) {
            keys.remove(&key);
            if keys.is_empty() {
                self.waiting.remove(&group.consumer);
            }
        }
        let entries: Vec<Entry> = group.aside.into_values().collect();
        self.aside -= entries.len();
        entries
    }

    /// A consumer is gone. Answers what stood aside for it in groups of which it has nothing out.
    pub(super) fn consumer_left(&mut self, consumer: u64) -> Vec<Entry> {
        let keys = self.waiting.get(&consumer).cloned().unwrap_or_default();
        let idle = |key: &GroupKey| self.held.get(key).is_some_and(|group| group.out == 0);
        let idle: Vec<GroupKey> = keys.into_iter().filter(idle).collect();
        idle.into_iter().flat_map(|key| self.free(key)).collect()
    }

    /// Takes all that stand aside, for a purge or when the queue has no groups any more.
    pub(super) fn drain_aside(&mut self) -> Vec<Entry> {
        self.waiting.clear();
        self.aside = 0;
        let groups = self.held.values_mut();
        groups.flat_map(|group| std::mem::take(&mut group.aside).into_values()).collect()
    }
}
