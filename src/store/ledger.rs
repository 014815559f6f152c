//! One queue's durable state: which of its sequence numbers are settled, what may have been
//! delivered, and in which segments the others are.
//!
//! Pure. The fold is commutative: a settle may come before the enqueue it belongs to.

use std::collections::BTreeMap;

use super::record::{Ranges, Seq, SeqRange};

/// A segment's number.
pub(super) type SegmentNumber = u64;

/// Numbers as ranges apart from one another: first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Adds a range; answers the parts of it that were not in.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut added = Vec::new();
        if first > last {
            return added;
        }
        let (mut low, mut high, mut next) = (first, last, first);
        // Ranges that touch the new one, the one before it included.
        let reach = last.saturating_add(1);
        let touching: Vec<(u64, u64)> = self
            .0
            .range(..=reach)
            .rev()
            .take_while(|(_, end)| end.saturating_add(1) >= first)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in touching.into_iter().rev() {
            if start > next {
                added.push((next, start.saturating_sub(1).min(last)));
            }
            next = next.max(end.saturating_add(1));
            (low, high) = (low.min(start), high.max(end));
            self.0.remove(&start);
        }
        if next <= last {
            added.push((next, last));
        }
        self.0.insert(low, high);
        added
    }

    pub(super) fn ranges(&self) -> Ranges {
        let range = |(first, last): (&u64, &u64)| SeqRange { first: Seq(*first), last: Seq(*last) };
        self.0.iter().map(range).collect()
    }
}

/// A queue's state in the log.
#[derive(Debug, Clone, Default)]
pub(super) struct QueueLedger {
    settled: RangeSet,
    delivered_upto: Seq,
    /// Runs of numbers in one segment, by their first: last, segment.
    runs: BTreeMap<u64, (u64, SegmentNumber)>,
    live: u64,
}

impl QueueLedger {
    /// Takes up what a snapshot or a checkpoint says.
    pub(super) fn restore(settled: &[SeqRange], delivered_upto: Seq) -> Self {
        let mut ledger = Self { delivered_upto, ..Self::default() };
        for range in settled {
            ledger.settled.insert(range.first.0, range.last.0);
        }
        ledger
    }

    pub(super) fn settled(&self) -> Ranges {
        self.settled.ranges()
    }

    pub(super) fn delivered_upto(&self) -> Seq {
        self.delivered_upto
    }

    pub(super) fn mark_delivered(&mut self, upto: Seq) {
        self.delivered_upto = self.delivered_upto.max(upto);
    }

    /// A message is in this segment. Answers whether it lives.
    pub(super) fn enqueue(&mut self, seq: Seq, segment: SegmentNumber) -> bool {
        if self.settled.contains(seq.0) {
            return false;
        }
        self.live = self.live.saturating_add(1);
        let before = self.runs.range_mut(..seq.0).next_back();
        if let Some((_, (last, in_segment))) = before
            && last.checked_add(1) == Some(seq.0)
            && *in_segment == segment
        {
            *last = seq.0;
        } else {
            self.runs.insert(seq.0, (seq.0, segment));
        }
        true
    }

    /// Messages are gone. Tells `freed` how many lived in which segment.
    pub(super) fn settle(&mut self, range: SeqRange, mut freed: impl FnMut(SegmentNumber, u64)) {
        for (first, last) in self.settled.insert(range.first.0, range.last.0) {
            let overlapping =
                self.runs.range(..=last).rev().take_while(|(_, (end, _))| *end >= first);
            for (start, (end, segment)) in overlapping {
                let count = end.min(&last).saturating_sub(*start.max(&first)).saturating_add(1);
                self.live = self.live.saturating_sub(count);
                freed(*segment, count);
            }
        }
        if self.live == 0 {
            self.forget_runs();
        } else {
            self.forget_settled_runs();
        }
    }

    /// Runs at the front that are settled as a whole.
    fn forget_settled_runs(&mut self) {
        while let Some(entry) = self.runs.first_entry() {
            let (first, (last, _)) = (*entry.key(), *entry.get());
            let whole = self.settled.0.range(..=first).next_back();
            if whole.is_none_or(|(_, end)| *end < last) {
                return;
            }
            entry.remove();
        }
    }

    fn forget_runs(&mut self) {
        self.runs.clear();
    }

    /// The queue is gone. Tells `freed` how many lived in which segment.
    pub(super) fn delete(mut self, freed: impl FnMut(SegmentNumber, u64)) {
        let all = SeqRange { first: Seq(0), last: Seq(u64::MAX) };
        self.settle(all, freed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

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
            prop_assert!(pairs.all(|((_, end), (start, _))| end + 1 < *start));
        }

        #[test]
        fn segments_lose_what_is_settled_whatever_the_order(
            steps in prop::collection::vec((any::<bool>(), 0..50u64, 0..6u64), 0..120)
        ) {
            let mut ledger = QueueLedger::default();
            let mut live: BTreeMap<u64, i64> = BTreeMap::new();
            let (mut enqueued, mut settled) = (BTreeMap::new(), BTreeSet::new());
            for (is_enqueue, seq, extra) in steps {
                if is_enqueue {
                    // Every number is enqueued once, in the segment of its tens.
                    let is_new = enqueued.insert(seq, seq / 10).is_none();
                    if is_new && ledger.enqueue(Seq(seq), seq / 10) {
                        *live.entry(seq / 10).or_default() += 1;
                    }
                } else {
                    let range = SeqRange { first: Seq(seq), last: Seq(seq + extra) };
                    settled.extend(seq..=seq + extra);
                    ledger.settle(range, |segment, count| {
                        *live.entry(segment).or_default() -= count.cast_signed();
                    });
                }
            }
            for segment in 0..6 {
                let expected = enqueued
                    .iter()
                    .filter(|(seq, place)| **place == segment && !settled.contains(*seq))
                    .count();
                let found = live.get(&segment).copied().unwrap_or(0);
                prop_assert_eq!(usize::try_from(found).expect("never negative"), expected);
            }
        }
    }
}
