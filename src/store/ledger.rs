//! One queue's durable state: which of its sequence numbers are settled, what may have been
//! delivered, and in which segments the others are.
//!
//! Pure. The fold is commutative: a settle may come before the enqueue it belongs to.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::catalog::KeptLedger;
use super::record::{QueueId, Ranges, Seq, SeqRange};

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

    /// Takes a number out.
    pub(super) fn remove(&mut self, number: u64) {
        let Some((first, last)) = self.0.range(..=number).next_back() else { return };
        let (first, last) = (*first, *last);
        if last < number {
            return;
        }
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number.saturating_sub(1));
        }
        if number < last {
            self.0.insert(number.saturating_add(1), last);
        }
    }

    /// The parts of a range that are not in.
    pub(super) fn gaps(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
        let before = self.0.range(..first).next_back().filter(|(_, end)| **end >= first);
        let within = (first <= last).then(|| self.0.range(first..=last));
        let mut covered = before.into_iter().chain(within.into_iter().flatten());
        let mut next = Some(first);
        std::iter::from_fn(move || {
            loop {
                let start = next.filter(|start| *start <= last)?;
                let Some((low, high)) = covered.next() else {
                    next = None;
                    return Some((start, last));
                };
                next = high.checked_add(1);
                if *low > start {
                    return Some((start, low.saturating_sub(1)));
                }
            }
        })
    }

    pub(super) fn ranges(&self) -> Ranges {
        let range = |(first, last): (&u64, &u64)| SeqRange { first: Seq(*first), last: Seq(*last) };
        self.0.iter().map(range).collect()
    }
}

/// Numbers that follow one another in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) segment: SegmentNumber,
}

impl Run {
    pub(super) fn len(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }
}

/// What [`QueueLedger::put`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was settled already.
    Settled,
    New,
    /// It was in this segment, and is in the other one now.
    From(SegmentNumber),
}

/// A queue's state in the log.
#[derive(Debug, Clone, Default)]
pub(super) struct QueueLedger {
    settled: RangeSet,
    delivered_upto: Seq,
    /// Runs of numbers in one segment, by their first: last, segment.
    runs: BTreeMap<u64, (u64, SegmentNumber)>,
    live: u64,
    /// Body bytes that came in less those that were settled. A settle may come before its enqueue:
    /// so the sum may be negative for a while.
    bytes: i64,
    /// Messages that were settled before they came. What a crash leaves of them never comes: then
    /// the bytes have to be counted anew.
    early: RangeSet,
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

    /// Takes up the sums of a checkpoint.
    pub(super) fn restore_sums(&mut self, bytes: i64, early: &[SeqRange]) {
        (self.bytes, self.early) = (bytes, RangeSet::default());
        for range in early {
            self.early.insert(range.first.0, range.last.0);
        }
    }

    /// Takes up where the messages are. Tells `lives` how many of them live in which segment.
    pub(super) fn restore_runs(&mut self, runs: &[Run], mut lives: impl FnMut(SegmentNumber, u64)) {
        for Run { first, last, segment } in runs {
            self.runs.insert(first.0, (last.0, *segment));
            let gaps = self.settled.gaps(first.0, last.0);
            let lengths = gaps.map(|(first, last)| last.saturating_sub(first).saturating_add(1));
            let count = lengths.fold(0, u64::saturating_add);
            self.live = self.live.saturating_add(count);
            lives(*segment, count);
        }
    }

    /// The parts that a checkpoint keeps.
    pub(super) fn kept(&self, queue: QueueId) -> KeptLedger {
        let ledger = Self::restore(&self.settled(), self.delivered_upto);
        let (bytes, early) = (self.bytes, self.early());
        KeptLedger { queue, ledger, bytes, early, runs: self.runs().collect() }
    }

    pub(super) fn settled(&self) -> Ranges {
        self.settled.ranges()
    }

    pub(super) fn runs(&self) -> impl ExactSizeIterator<Item = Run> {
        self.runs.iter().map(|(first, (last, segment))| Run {
            first: Seq(*first),
            last: Seq(*last),
            segment: *segment,
        })
    }

    pub(super) fn delivered_upto(&self) -> Seq {
        self.delivered_upto
    }

    pub(super) fn mark_delivered(&mut self, upto: Seq) {
        self.delivered_upto = self.delivered_upto.max(upto);
    }

    /// Messages that live.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn bytes(&self) -> i64 {
        self.bytes
    }

    pub(super) fn add_bytes(&mut self, bytes: i64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn early(&self) -> Ranges {
        self.early.ranges()
    }

    /// Whether the message lives, in this segment.
    pub(super) fn lives_in(&self, seq: Seq, segment: SegmentNumber) -> bool {
        let run = self.runs.range(..=seq.0).next_back();
        run.is_some_and(|(_, (last, of))| *last >= seq.0 && *of == segment)
            && !self.settled.contains(seq.0)
    }

    /// A message is in this segment.
    pub(super) fn put(&mut self, seq: Seq, segment: SegmentNumber) -> Put {
        if let Some(mut last) = self.runs.last_entry()
            && last.get().0.checked_add(1) == Some(seq.0)
            && last.get().1 == segment
            && !self.settled.contains(seq.0)
        {
            last.get_mut().0 = seq.0;
            self.live = self.live.saturating_add(1);
            return Put::New;
        }
        if self.settled.contains(seq.0) {
            self.early.remove(seq.0);
            return Put::Settled;
        }
        let before = self.take_out(seq.0);
        self.insert_run(seq.0, segment);
        match before {
            Some(before) => Put::From(before),
            None => {
                self.live = self.live.saturating_add(1);
                Put::New
            }
        }
    }

    /// Takes a number out of the run that it is in.
    fn take_out(&mut self, seq: u64) -> Option<SegmentNumber> {
        let (first, (last, segment)) = self.runs.range(..=seq).next_back()?;
        let (first, last, segment) = (*first, *last, *segment);
        if last < seq {
            return None;
        }
        self.runs.remove(&first);
        if first < seq {
            self.runs.insert(first, (seq.saturating_sub(1), segment));
        }
        if seq < last {
            self.runs.insert(seq.saturating_add(1), (last, segment));
        }
        Some(segment)
    }

    /// Adds a number that is in no run, joined with its neighbours in the same segment.
    fn insert_run(&mut self, seq: u64, segment: SegmentNumber) {
        let (mut first, mut last) = (seq, seq);
        if let Some((start, (end, other))) = self.runs.range(..seq).next_back()
            && end.checked_add(1) == Some(seq)
            && *other == segment
        {
            first = *start;
        }
        if let Some(next) = seq.checked_add(1)
            && let Some((end, other)) = self.runs.get(&next).copied()
            && other == segment
        {
            self.runs.remove(&next);
            last = end;
        }
        self.runs.insert(first, (last, segment));
    }

    /// Messages are gone, all of which the log holds or will hold.
    pub(super) fn settle_named(&mut self, range: SeqRange, freed: impl FnMut(SegmentNumber, u64)) {
        for (first, last) in self.settle(range, freed) {
            self.early.insert(first, last);
        }
    }

    /// Messages are gone. Tells `freed` how many lived in which segment. Answers what was not
    /// settled before and is in none.
    pub(super) fn settle(
        &mut self,
        range: SeqRange,
        mut freed: impl FnMut(SegmentNumber, u64),
    ) -> SmallVec<[(u64, u64); 1]> {
        let mut nowhere = SmallVec::new();
        for (first, last) in self.settled.insert(range.first.0, range.last.0) {
            let before = self.runs.range(..first).next_back().filter(|(_, (end, _))| *end >= first);
            let mut next = Some(first);
            for (start, (end, segment)) in before.into_iter().chain(self.runs.range(first..=last)) {
                let count = end.min(&last).saturating_sub(*start.max(&first)).saturating_add(1);
                self.live = self.live.saturating_sub(count);
                freed(*segment, count);
                if let Some(next) = next.filter(|next| next < start) {
                    nowhere.push((next, start.saturating_sub(1)));
                }
                next = end.checked_add(1);
            }
            nowhere.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
        }
        if self.live == 0 {
            self.runs.clear();
        } else {
            self.forget_settled_runs(range);
        }
        nowhere
    }

    /// Runs that are settled as a whole by what `range` was joined to.
    fn forget_settled_runs(&mut self, range: SeqRange) {
        let Some((low, high)) = self.settled.0.range(..=range.first.0).next_back() else { return };
        let (low, high) = (*low, *high);
        let whole = |(first, (last, _)): (&u64, &(u64, SegmentNumber))| {
            (*first >= low && *last <= high).then_some(*first)
        };
        let forgotten: Vec<u64> = self.runs.range(low..=high).filter_map(whole).collect();
        for first in forgotten {
            self.runs.remove(&first);
        }
    }

    /// Where the messages that live are, from a number on: at least `max` of them if there are so
    /// many.
    pub(super) fn live_runs(&self, from: Seq, max: u64) -> Vec<Run> {
        let start = self.runs.range(..=from.0).next_back().map_or(from.0, |(first, _)| *first);
        let (mut found, mut count) = (Vec::new(), 0u64);
        for (first, (last, segment)) in self.runs.range(start..) {
            if count >= max {
                break;
            }
            let first = (*first).max(from.0);
            if first > *last {
                continue;
            }
            for (first, last) in self.settled.gaps(first, *last) {
                if count >= max {
                    break;
                }
                found.push(Run { first: Seq(first), last: Seq(last), segment: *segment });
                count = count.saturating_add(last.saturating_sub(first)).saturating_add(1);
            }
        }
        found
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
                    if is_new && ledger.put(Seq(seq), seq / 10) == Put::New {
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
