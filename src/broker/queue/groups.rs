//! Groups of messages that agree in a header: those of one group are out with one consumer at a
//! time, those of different groups with any.
//!
//! A group belongs to the consumer that has a message of it out. Messages of a group whose consumer
//! can take no more are set aside, so that the others behind them go on; when too many are, the
//! queue waits. They stand aside in the order of the queue, so that a consumer gets what it is owed
//! in that order, of whichever group. Owned by the queue, under its lock.
//!
//! ```text
//!   free ──first message goes out──▶ held by a consumer ──nothing out, nothing aside──▶ free
//!                                          └─ nothing out, the consumer is gone ─▶ aside go back
//! ```

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;

use super::{Entry, Place};
use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;
use crate::store::record::Seq;

/// Messages that are set aside at most. Beyond it the next message waits at the head.
const ASIDE_MAX: usize = 4096;

/// And bytes of their bodies: they stay in memory.
const ASIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A group, by a hash of its value: two that collide are only one where there could be two.
pub(super) type GroupKey = u64;

/// Where a message stands in its queue's order: higher levels first.
type Rank = (Reverse<u8>, Seq);

fn rank_of(entry: &Entry) -> Rank {
    (Reverse(entry.level), entry.seq)
}

#[derive(Debug)]
struct Group {
    consumer: u64,
    /// Messages that are out.
    out: usize,
    /// Messages that stand aside.
    aside: BTreeSet<Rank>,
}

#[derive(Debug)]
pub(super) struct Groups {
    header: ShortStr,
    hasher: RandomState,
    held: HashMap<GroupKey, Group>,
    /// What stands aside for each consumer.
    waiting: HashMap<u64, BTreeMap<Rank, (GroupKey, Entry)>>,
    aside: usize,
    aside_bytes: u64,
}

impl Groups {
    pub(super) fn new(header: ShortStr) -> Self {
        Self {
            header,
            hasher: RandomState::new(),
            held: HashMap::new(),
            waiting: HashMap::new(),
            aside: 0,
            aside_bytes: 0,
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

    /// The group of a message, if others of it stand aside: it has to stand with them.
    pub(super) fn with_aside(&self, entry: &Entry) -> Option<GroupKey> {
        self.key_of(&entry.message).filter(|key| self.has_aside(*key))
    }

    /// A message of the group goes out to a consumer, which has the group from now on.
    pub(super) fn goes_out(&mut self, key: GroupKey, consumer: u64) {
        let free = || Group { consumer, out: 0, aside: BTreeSet::new() };
        self.held.entry(key).or_insert_with(free).out += 1;
    }

    pub(super) fn may_set_aside(&self) -> bool {
        self.aside < ASIDE_MAX && self.aside_bytes < ASIDE_BYTES_MAX
    }

    /// Sets a message of a group that somebody has aside, until that one can take it.
    pub(super) fn set_aside(&mut self, key: GroupKey, entry: Entry) {
        let Some(group) = self.held.get_mut(&key) else { return };
        let rank = rank_of(&entry);
        group.aside.insert(rank);
        self.aside += 1;
        self.aside_bytes += entry.message.body_len();
        self.waiting.entry(group.consumer).or_default().insert(rank, (key, entry));
    }

    /// The consumers for which messages stand aside.
    pub(super) fn waited_for(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    /// The first message that stands aside for a consumer.
    pub(super) fn next_aside(&self, consumer: u64) -> Option<&Entry> {
        let (_, (_, entry)) = self.waiting.get(&consumer)?.first_key_value()?;
        Some(entry)
    }

    /// All that stand aside from a place on, in the order of the queue.
    pub(super) fn aside_from(&self, from: Place) -> Vec<&Entry> {
        let from = (Reverse(from.level), from.seq);
        let waiting = self.waiting.values().flat_map(|waiting| waiting.range(from..));
        let mut aside: Vec<_> = waiting.map(|(_, (_, entry))| entry).collect();
        aside.sort_unstable_by_key(|entry| rank_of(entry));
        aside
    }

    /// Takes that message. Its group goes on to belong to the consumer if the message goes out.
    pub(super) fn take_aside(&mut self, consumer: u64) -> Option<(GroupKey, Entry)> {
        let (rank, (key, _)) = self.waiting.get(&consumer)?.first_key_value()?;
        let (rank, key) = (*rank, *key);
        let entry = self.remove_aside(consumer, rank)?;
        if let Some(group) = self.held.get_mut(&key) {
            group.aside.remove(&rank);
            if group.out == 0 && group.aside.is_empty() {
                self.held.remove(&key);
            }
        }
        Some((key, entry))
    }

    fn remove_aside(&mut self, consumer: u64, rank: Rank) -> Option<Entry> {
        let waiting = self.waiting.get_mut(&consumer)?;
        let (_, entry) = waiting.remove(&rank)?;
        if waiting.is_empty() {
            self.waiting.remove(&consumer);
        }
        self.aside -= 1;
        self.aside_bytes -= entry.message.body_len();
        Some(entry)
    }

    /// A message of the group came back from a consumer, which may be gone. Answers what stood
    /// aside for one that is, and can go to another now.
    pub(super) fn came_back(&mut self, key: GroupKey, consumer: u64, is_there: bool) -> Vec<Entry> {
        // One that went out when there were other groups, or none, is not counted.
        let group = self.held.get_mut(&key).filter(|group| group.consumer == consumer);
        let Some(group) = group else { return Vec::new() };
        group.out = group.out.saturating_sub(1);
        if group.out > 0 || (is_there && !group.aside.is_empty()) {
            return Vec::new();
        }
        self.free(key)
    }

    fn free(&mut self, key: GroupKey) -> Vec<Entry> {
        let Some(Group { consumer, aside, .. }) = self.held.remove(&key) else {
            return Vec::new();
        };
        aside.into_iter().filter_map(|rank| self.remove_aside(consumer, rank)).collect()
    }

    /// A consumer is gone. Answers what stood aside for it in groups of which it has nothing out.
    pub(super) fn consumer_left(&mut self, consumer: u64) -> Vec<Entry> {
        let keys: BTreeSet<GroupKey> = match self.waiting.get(&consumer) {
            Some(waiting) => waiting.values().map(|(key, _)| *key).collect(),
            None => return Vec::new(),
        };
        let idle = |key: &GroupKey| self.held.get(key).is_some_and(|group| group.out == 0);
        let idle: Vec<GroupKey> = keys.into_iter().filter(idle).collect();
        idle.into_iter().flat_map(|key| self.free(key)).collect()
    }

    /// Takes all that stand aside, for a purge or when the queue has no groups any more.
    pub(super) fn drain_aside(&mut self) -> Vec<Entry> {
        (self.aside, self.aside_bytes) = (0, 0);
        self.held.values_mut().for_each(|group| group.aside.clear());
        self.held.retain(|_, group| group.out > 0);
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.flat_map(BTreeMap::into_values).map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::generated::BasicProperties;
    use crate::protocol::properties::Properties;
    use crate::protocol::table::{FieldTable, FieldValue};

    const HEADER: ShortStr = ShortStr::from_static("g");

    fn entry(seq: u64, group: u8, level: u8) -> Entry {
        let headers = FieldTable::from_iter([(HEADER, FieldValue::U8(group))]);
        let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
        let name = ShortStr::default();
        let message = Message::small(&name, &name, &Properties::from(&properties), b"m", false);
        Entry::new(Place { level, seq: Seq(seq) }, Arc::new(message), false)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Come {
            group: u8,
            level: u8,
        },
        /// The next message goes out, or aside; `is_full` says that its holder can't take it.
        Give {
            to: u64,
            is_full: bool,
        },
        GiveAside(u64),
        Settle {
            index: usize,
            again: bool,
        },
        Leave(u64),
        Drain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let consumer = 1..4u64;
        let step = prop_oneof![
            4 => (0..3u8, 0..2u8).prop_map(|(group, level)| Step::Come { group, level }),
            6 => (consumer.clone(), any::<bool>())
                .prop_map(|(to, is_full)| Step::Give { to, is_full }),
            3 => consumer.clone().prop_map(Step::GiveAside),
            4 => (any::<usize>(), any::<bool>())
                .prop_map(|(index, again)| Step::Settle { index, again }),
            1 => consumer.prop_map(Step::Leave),
            1 => Just(Step::Drain),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// A queue that has nothing but these groups; what is aside is told from `not_out`.
    struct Model {
        groups: Groups,
        ready: BTreeMap<Rank, Entry>,
        /// The consumer of each message that is out.
        out: BTreeMap<Rank, (u64, Entry)>,
        /// Every message that has come, isn't settled, and isn't out.
        not_out: BTreeMap<Rank, GroupKey>,
        gone: BTreeSet<u64>,
        count: u64,
    }

    impl Model {
        fn key_of(&self, entry: &Entry) -> GroupKey {
            self.groups.key_of(&entry.message).expect("every message has one")
        }

        fn make_ready(&mut self, entries: Vec<Entry>) {
            self.ready.extend(entries.into_iter().map(|entry| (rank_of(&entry), entry)));
        }

        /// It is the first of its group and its level, and nobody else has any of the group.
        fn goes_out(&mut self, entry: Entry, consumer: u64) {
            let (key, rank) = (self.key_of(&entry), rank_of(&entry));
            let is_like = |(of, other): &(&Rank, &GroupKey)| of.0 == rank.0 && **other == key;
            let first = self.not_out.iter().find(is_like);
            assert_eq!(first.map(|(rank, _)| *rank), Some(rank));
            let of_group = self.out.values().filter(|(_, other)| self.key_of(other) == key);
            assert!(of_group.map(|(holder, _)| *holder).all(|holder| holder == consumer));
            self.groups.goes_out(key, consumer);
            self.not_out.remove(&rank);
            self.out.insert(rank, (consumer, entry));
        }

        fn give(&mut self, to: u64, is_full: bool) {
            let Some((_, entry)) = self.ready.pop_first() else { return };
            let key = self.key_of(&entry);
            match self.groups.holder(key) {
                None => self.goes_out(entry, to),
                Some(holder) if !is_full && !self.groups.has_aside(key) => {
                    match self.gone.contains(&holder) {
                        true => self.groups.set_aside(key, entry),
                        false => self.goes_out(entry, holder),
                    }
                }
                Some(_) => self.groups.set_aside(key, entry),
            }
        }

        fn settle(&mut self, index: usize, again: bool) {
            let Some(rank) = self.out.keys().nth(index % self.out.len().max(1)).copied() else {
                return;
            };
            let (consumer, entry) = self.out.remove(&rank).expect("it is out");
            let (key, is_there) = (self.key_of(&entry), !self.gone.contains(&consumer));
            let free = self.groups.came_back(key, consumer, is_there);
            self.make_ready(free);
            if !again {
                return;
            }
            self.not_out.insert(rank, key);
            match self.groups.with_aside(&entry) {
                Some(key) => self.groups.set_aside(key, entry),
                None => self.make_ready(vec![entry]),
            }
        }

        fn run(&mut self, step: Step) {
            match step {
                Step::Come { group, level } => {
                    self.count += 1;
                    let entry = entry(self.count, group, level);
                    self.not_out.insert(rank_of(&entry), self.key_of(&entry));
                    self.make_ready(vec![entry]);
                }
                Step::Give { to, .. } | Step::GiveAside(to) if self.gone.contains(&to) => {}
                Step::Give { to, is_full } => self.give(to, is_full),
                Step::GiveAside(consumer) => {
                    if let Some((_, entry)) = self.groups.take_aside(consumer) {
                        self.goes_out(entry, consumer);
                    }
                }
                Step::Settle { index, again } => self.settle(index, again),
                Step::Leave(consumer) => {
                    self.gone.insert(consumer);
                    let free = self.groups.consumer_left(consumer);
                    self.make_ready(free);
                }
                Step::Drain => {
                    let aside = self.groups.drain_aside();
                    self.make_ready(aside);
                }
            }
            assert_eq!(self.ready.len() + self.groups.aside, self.not_out.len());
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_a_group_goes_out_in_order_to_one_consumer(steps in steps()) {
            let mut model = Model {
                groups: Groups::new(HEADER),
                ready: BTreeMap::new(),
                out: BTreeMap::new(),
                not_out: BTreeMap::new(),
                gone: BTreeSet::new(),
                count: 0,
            };
            steps.into_iter().for_each(|step| model.run(step));
            // When all have come back and all consumers are gone, nobody has anything.
            (1..4).for_each(|consumer| model.run(Step::Leave(consumer)));
            while !model.out.is_empty() {
                model.run(Step::Settle { index: 0, again: true });
            }
            prop_assert!(model.groups.held.is_empty() && model.groups.waiting.is_empty());
            prop_assert_eq!(model.groups.aside_bytes, 0);
            prop_assert!(model.ready.keys().eq(model.not_out.keys()));
        }
    }
}
