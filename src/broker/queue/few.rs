//! Numbers of messages that are few, and none in most queues: a pointer as long as there are none,
//! because every empty queue has such sets.
//!
//! Pure; owned by the lane.

use std::collections::BTreeSet;

use crate::store::record::Seq;

#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a pointer is a third of an empty set")]
pub(super) struct Few(Option<Box<BTreeSet<Seq>>>);

impl Few {
    #[inline]
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.0.as_ref().is_some_and(|set| set.contains(&seq))
    }

    /// Answers whether it was not there.
    pub(super) fn insert(&mut self, seq: Seq) -> bool {
        self.0.get_or_insert_default().insert(seq)
    }

    pub(super) fn remove(&mut self, seq: Seq) {
        self.keep(|set| _ = set.remove(&seq));
    }

    /// All up to here are gone.
    pub(super) fn remove_through(&mut self, through: Seq) {
        self.keep(|set| *set = set.split_off(&Seq(through.0.saturating_add(1))));
    }

    fn keep(&mut self, change: impl FnOnce(&mut BTreeSet<Seq>)) {
        if let Some(set) = &mut self.0 {
            change(set);
            if set.is_empty() {
                self.0 = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_until_it_is_taken_out() {
        let mut few = Few::default();
        few.remove(Seq(1));
        assert!(few.insert(Seq(1)) && few.insert(Seq(2)) && few.insert(Seq(3)));
        assert!(!few.insert(Seq(2)));
        few.remove_through(Seq(1));
        few.remove(Seq(3));
        assert_eq!([1, 2, 3].map(|seq| few.contains(Seq(seq))), [false, true, false]);
        few.remove_through(Seq(u64::MAX));
        assert!(few.0.is_none(), "nothing is left to be kept");
    }
}
