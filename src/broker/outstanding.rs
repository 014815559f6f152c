//! Things that are out and expected back, by a number that mostly grows: a queue's unacked messages
//! by sequence number, a channel's deliveries by tag.
//!
//! A sorted deque whose returned entries leave holes; holes go from both ends at once and from the
//! middle when they are the majority. So insertion at the end, removal from the front and look-up
//! of a dense run cost the same however many are out, and memory follows what is out.

use std::collections::VecDeque;

/// Holes that are kept without thought, so that small sets never compact.
const HOLES_MAX_SMALL: usize = 64;

#[derive(Debug)]
pub struct Outstanding<T> {
    slots: VecDeque<(u64, Option<T>)>,
    len: usize,
}

impl<T> Default for Outstanding<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), len: 0 }
    }
}

impl<T> Outstanding<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `key`; one that is there already is replaced.
    pub fn insert(&mut self, key: u64, value: T) {
        match self.slots.back() {
            Some((last, _)) if *last >= key => match self.position(key) {
                Ok(index) => {
                    if self.slots[index].1.replace(value).is_none() {
                        self.len += 1;
                    }
                    return;
                }
                Err(index) => self.slots.insert(index, (key, Some(value))),
            },
            _ => self.slots.push_back((key, Some(value))),
        }
        self.len += 1;
    }

    /// Takes `key` back.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let index = self.position(key).ok()?;
        let value = self.slots[index].1.take()?;
        self.len -= 1;
        self.close_holes();
        Some(value)
    }

    /// Takes back everything up to and including `key`, in order.
    pub fn remove_through(&mut self, key: u64) -> Vec<(u64, T)> {
        let mut removed = Vec::new();
        while let Some((first, _)) = self.slots.front() {
            if *first > key {
                break;
            }
            if let Some((first, Some(value))) = self.slots.pop_front() {
                self.len -= 1;
                removed.push((first, value));
            }
        }
        self.close_holes();
        removed
    }

    pub fn contains(&self, key: u64) -> bool {
        self.position(key).is_ok_and(|index| self.slots[index].1.is_some())
    }

    /// What is out, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().filter_map(|(key, value)| value.as_ref().map(|value| (*key, value)))
    }

    /// Takes back everything, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, T)> + use<T> {
        self.len = 0;
        std::mem::take(&mut self.slots)
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)))
    }

    /// Where `key` is, or where it would have to be inserted. A dense run needs no search.
    fn position(&self, key: u64) -> Result<usize, usize> {
        if let Some((first, _)) = self.slots.front()
            && let Some(distance) = key.checked_sub(*first)
            && let Ok(index) = usize::try_from(distance)
            && self.slots.get(index).is_some_and(|(found, _)| *found == key)
        {
            return Ok(index);
        }
        self.slots.binary_search_by_key(&key, |(found, _)| *found)
    }

    fn close_holes(&mut self) {
        while matches!(self.slots.front(), Some((_, None))) {
            self.slots.pop_front();
        }
        while matches!(self.slots.back(), Some((_, None))) {
            self.slots.pop_back();
        }
        if self.slots.len() > 2 * self.len + HOLES_MAX_SMALL {
            self.slots.retain(|(_, value)| value.is_some());
        }
        if self.slots.capacity() > 4 * self.slots.len() + HOLES_MAX_SMALL {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Remove(u64),
        RemoveThrough(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..200u64;
        let step = prop_oneof![
            5 => key.clone().prop_map(Step::Insert),
            4 => key.clone().prop_map(Step::Remove),
            1 => key.prop_map(Step::RemoveThrough),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_map(steps in steps()) {
            let mut subject = Outstanding::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(key) => {
                        subject.insert(key, key * 2);
                        model.insert(key, key * 2);
                    }
                    Step::Remove(key) => prop_assert_eq!(subject.remove(key), model.remove(&key)),
                    Step::RemoveThrough(key) => {
                        let rest = model.split_off(&(key + 1));
                        let removed = std::mem::replace(&mut model, rest);
                        let expected: Vec<_> = removed.into_iter().collect();
                        prop_assert_eq!(subject.remove_through(key), expected);
                    }
                }
                prop_assert_eq!(subject.len(), model.len());
            }
            let left: Vec<_> = subject.iter().map(|(key, value)| (key, *value)).collect();
            prop_assert_eq!(left, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stuck_first_entry_does_not_keep_the_holes_behind_it() {
        let mut subject = Outstanding::default();
        subject.insert(0, ());
        for key in 1..100_000 {
            subject.insert(key, ());
            subject.remove(key);
        }
        assert!(subject.slots.len() <= HOLES_MAX_SMALL + 2);
    }
}
