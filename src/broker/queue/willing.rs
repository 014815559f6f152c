//! The consumers that can take a message, in rings by their priority: whose turn it is, and who
//! comes next.
//!
//! Most queues have one consumer: it stands here itself, so that a message finds it where the queue
//! is. Pure; owned by the queue's consumers.

use std::collections::VecDeque;
use std::mem;

use smallvec::SmallVec;

#[derive(Debug, Default)]
pub(super) struct Willing {
    /// From the lowest priority to the highest, which is served.
    rings: SmallVec<[Ring; 1]>,
}

/// Consumers with the same priority.
#[derive(Debug)]
struct Ring {
    priority: i64,
    /// Its turn is next.
    first: u64,
    others: Others,
}

/// Nothing where there is one consumer.
type Others = Option<Box<VecDeque<u64>>>;

impl Ring {
    fn push(&mut self, id: u64) {
        self.others.get_or_insert_default().push_back(id);
    }

    /// Takes out the first; answers whether there is another one.
    fn pop(&mut self) -> bool {
        let next = self.others.as_mut().and_then(|others| others.pop_front());
        next.inspect(|next| self.first = *next).is_some()
    }

    fn ids(&self) -> impl Iterator<Item = u64> {
        [self.first].into_iter().chain(self.others.iter().flat_map(|others| others.iter().copied()))
    }
}

impl Willing {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Whose turn it is.
    #[inline]
    pub(super) fn first(&self) -> Option<u64> {
        self.rings.last().map(|ring| ring.first)
    }

    /// All of them, the first first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.rings.iter().rev().flat_map(Ring::ids)
    }

    /// One comes; it is in no ring.
    pub(super) fn push(&mut self, priority: i64, id: u64) {
        match self.rings.binary_search_by_key(&priority, |ring| ring.priority) {
            Ok(index) => self.rings[index].push(id),
            Err(index) => self.rings.insert(index, Ring { priority, first: id, others: None }),
        }
    }

    /// The first goes.
    pub(super) fn pop(&mut self) {
        if self.rings.last_mut().is_some_and(|ring| !ring.pop()) {
            self.rings.pop();
        }
    }

    /// The first becomes the last of its priority.
    #[inline]
    pub(super) fn turn(&mut self) {
        if let Some(Ring { first, others: Some(others), .. }) = self.rings.last_mut()
            && let Some(next) = others.pop_front()
        {
            others.push_back(mem::replace(first, next));
        }
    }

    /// One goes, wherever it stands.
    pub(super) fn remove(&mut self, priority: i64, id: u64) {
        let found = self.rings.binary_search_by_key(&priority, |ring| ring.priority);
        let Ok(index) = found else { return };
        let ring = &mut self.rings[index];
        if ring.first != id {
            if let Some(others) = &mut ring.others {
                others.retain(|other| *other != id);
            }
        } else if !ring.pop() {
            self.rings.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(i64),
        Pop,
        Turn,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (-1..=1i64).prop_map(Step::Push),
            1 => Just(Step::Pop),
            2 => Just(Step::Turn),
            1 => any::<prop::sample::Index>().prop_map(|index| Step::Remove(index.index(8))),
        ]
    }

    proptest! {
        #[test]
        fn the_highest_are_served_in_turn(steps in prop::collection::vec(step(), 0..80)) {
            let mut willing = Willing::default();
            let mut model: BTreeMap<Reverse<i64>, Vec<u64>> = BTreeMap::new();
            for (id, step) in (1u64..).zip(steps) {
                match step {
                    Step::Push(priority) => {
                        willing.push(priority, id);
                        model.entry(Reverse(priority)).or_default().push(id);
                    }
                    Step::Pop => {
                        willing.pop();
                        if let Some(mut ring) = model.first_entry() {
                            ring.get_mut().remove(0);
                        }
                    }
                    Step::Turn => {
                        willing.turn();
                        if let Some(mut ring) = model.first_entry() {
                            ring.get_mut().rotate_left(1);
                        }
                    }
                    Step::Remove(nth) => {
                        let mut ids = model.iter().flat_map(|(Reverse(priority), ids)| {
                            ids.iter().map(|id| (*priority, *id))
                        });
                        if let Some((priority, id)) = ids.nth(nth) {
                            willing.remove(priority, id);
                            model.entry(Reverse(priority)).or_default().retain(|one| *one != id);
                        }
                    }
                }
                model.retain(|_, ids| !ids.is_empty());
                prop_assert!(willing.iter().eq(model.values().flatten().copied()));
                prop_assert_eq!(willing.first(), model.values().flatten().next().copied());
                prop_assert_eq!(willing.is_empty(), model.is_empty());
            }
        }
    }
}
