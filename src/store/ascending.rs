//! A map by numbers that mostly ascend, of which few are there at a time.
//!
//! The entry with the highest number stands here itself: it is the one that most changes are made
//! to, and where it is the only one there is nothing else to be looked for. The others are in a
//! tree. Pure; where a queue's messages are is one, and what is settled of them.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "a pointer is a third of an empty tree")]
pub(super) struct Ascending<T> {
    highest: Option<(u64, T)>,
    /// Nothing where there are none.
    others: Option<Box<BTreeMap<u64, T>>>,
}

impl<T> Default for Ascending<T> {
    fn default() -> Self {
        Self { highest: None, others: None }
    }
}

impl<T> Ascending<T> {
    pub(super) fn clear(&mut self) {
        (self.highest, self.others) = (None, None);
    }

    pub(super) fn highest(&self) -> Option<(u64, &T)> {
        self.highest.as_ref().map(|(number, value)| (*number, value))
    }

    pub(super) fn highest_mut(&mut self) -> Option<&mut (u64, T)> {
        self.highest.as_mut()
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.at_most(number).filter(|(found, _)| *found == number).map(|(_, value)| value)
    }

    /// The entry with this number, or the next lower one.
    pub(super) fn at_most(&self, number: u64) -> Option<(u64, &T)> {
        let in_others = || {
            let (at, value) = self.others.as_ref()?.range(..=number).next_back()?;
            Some((*at, value))
        };
        self.highest().filter(|(highest, _)| *highest <= number).or_else(in_others)
    }

    /// The entry with the next lower number.
    pub(super) fn below(&self, number: u64) -> Option<(u64, &T)> {
        self.at_most(number.checked_sub(1)?)
    }

    /// Entries with numbers from `first` to `last`, in order.
    pub(super) fn range(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, &T)> {
        let others = self.others.as_ref().filter(|_| first <= last);
        let others = others.into_iter().flat_map(move |others| others.range(first..=last));
        let highest = self.highest().filter(|(highest, _)| (first..=last).contains(highest));
        others.map(|(number, value)| (*number, value)).chain(highest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let others = self.others.iter().flat_map(|others| others.iter());
        others.map(|(number, value)| (*number, value)).chain(self.highest())
    }

    /// Adds an entry, or replaces it.
    pub(super) fn insert(&mut self, number: u64, value: T) {
        match &mut self.highest {
            Some((highest, _)) if *highest > number => {
                self.others.get_or_insert_default().insert(number, value);
            }
            Some((highest, before)) if *highest == number => *before = value,
            highest => {
                if let Some((number, value)) = highest.replace((number, value)) {
                    self.others.get_or_insert_default().insert(number, value);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let is_highest = self.highest.take_if(|(highest, _)| *highest == number).is_some();
        let Some(others) = &mut self.others else { return };
        match is_highest {
            true => self.highest = others.pop_last(),
            false => _ = others.remove(&number),
        }
        self.others.take_if(|others| others.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_a_map_holds(
            steps in prop::collection::vec((any::<bool>(), 0..12u64, 0..3u8), 0..60)
        ) {
            let (mut map, mut model) = (Ascending::default(), BTreeMap::new());
            for (is_insert, number, value) in steps {
                if is_insert {
                    map.insert(number, value);
                    model.insert(number, value);
                } else {
                    map.remove(number);
                    model.remove(&number);
                }
                prop_assert!(map.iter().eq(model.iter().map(|(at, value)| (*at, value))));
                let last = model.last_key_value();
                prop_assert_eq!(map.highest(), last.map(|(at, value)| (*at, value)));
                for first in 0..12 {
                    let below = model.range(..first).next_back();
                    prop_assert_eq!(map.below(first), below.map(|(at, value)| (*at, value)));
                    prop_assert_eq!(map.get(first), model.get(&first));
                    for last in first..12 {
                        let range = model.range(first..=last).map(|(at, value)| (*at, value));
                        prop_assert!(map.range(first, last).eq(range));
                    }
                }
            }
        }
    }
}
