//! Numbers as ranges apart from one another.
//!
//! Pure; what is settled of a queue is one.

use smallvec::SmallVec;

use super::ascending::Ascending;
use super::record::{Ranges, Seq, SeqRange};

/// First to last of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet(Ascending<u64>);

/// Ranges from first to last.
pub(super) type Parts = SmallVec<[(u64, u64); 1]>;

impl RangeSet {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.before(number).is_some_and(|(_, last)| last >= number)
    }

    /// The last range that begins at this number or before.
    pub(super) fn before(&self, number: u64) -> Option<(u64, u64)> {
        self.0.at_most(number).map(|(first, last)| (first, *last))
    }

    /// Adds a range; answers the parts of it that were not in.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> Parts {
        let mut added = Parts::new();
        if first > last {
            return added;
        }
        if let Some((low, high)) = self.0.highest_mut()
            && (*low..=high.saturating_add(1)).contains(&first)
        {
            if last > *high {
                added.push((high.saturating_add(1), last));
                *high = last;
            }
            return added;
        }
        self.join(first, last, &mut added);
        added
    }

    /// The same where several ranges may become one.
    fn join(&mut self, first: u64, last: u64, added: &mut Parts) {
        let (mut low, mut high, mut next) = (first, last, first);
        // Ranges that touch the new one, the one before it included.
        let before = self.0.below(first).filter(|(_, end)| end.saturating_add(1) >= first);
        let within = self.0.range(first, last.saturating_add(1));
        let touching: Parts = before.into_iter().chain(within).map(|(a, b)| (a, *b)).collect();
        for (start, end) in touching {
            if start > next {
                added.push((next, start.saturating_sub(1).min(last)));
            }
            next = next.max(end.saturating_add(1));
            (low, high) = (low.min(start), high.max(end));
            self.0.remove(start);
        }
        if next <= last {
            added.push((next, last));
        }
        self.0.insert(low, high);
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, number: u64) {
        let Some((first, last)) = self.before(number) else { return };
        if last < number {
            return;
        }
        self.0.remove(first);
        if first < number {
            self.0.insert(first, number.saturating_sub(1));
        }
        if number < last {
            self.0.insert(number.saturating_add(1), last);
        }
    }

    /// The parts of a range that are not in.
    pub(super) fn gaps(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
        let before = self.0.below(first).filter(|(_, end)| **end >= first);
        let mut covered = before.into_iter().chain(self.0.range(first, last));
        let mut next = Some(first);
        std::iter::from_fn(move || {
            loop {
                let start = next.filter(|start| *start <= last)?;
                let Some((low, high)) = covered.next() else {
                    next = None;
                    return Some((start, last));
                };
                next = high.checked_add(1);
                if low > start {
                    return Some((start, low.saturating_sub(1)));
                }
            }
        })
    }

    pub(super) fn ranges(&self) -> Ranges {
        let range = |(first, last): (u64, &u64)| SeqRange { first: Seq(first), last: Seq(*last) };
        self.0.iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_inserted_and_say_what_was_new(
            inserts in prop::collection::vec((0..60u64, 0..12u64), 0..40)
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (first, len) in inserts {
                let last = first + len;
                let added: Vec<u64> =
                    set.insert(first, last).into_iter().flat_map(|(a, b)| a..=b).collect();
                let expected: Vec<u64> = (first..=last).filter(|n| model.insert(*n)).collect();
                prop_assert_eq!(added, expected);
            }
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            let mut pairs = set.0.iter().zip(set.0.iter().skip(1));
            prop_assert!(pairs.all(|((_, end), (start, _))| end + 1 < start));
        }
    }
}
