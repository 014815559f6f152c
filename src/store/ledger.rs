//! One queue's durable state: which of its sequence numbers are settled, what may have been
//! delivered, in which segments the others are, what is noted of them, and what deduplication has
//! seen.
//!
//! Pure. The fold is commutative: a settle may come before the enqueue it belongs to.

use std::mem;

use super::ascending::Ascending;
use super::catalog::LedgerChange;
use super::notes::Notes;
use super::ranges::{Parts, RangeSet};
use super::record::{Note, Ranges, Seq, SeqRange};
use super::seen::{Seen, SeenDigest};

/// A segment's number.
pub(super) type SegmentNumber = u64;

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
    runs: Ascending<(u64, SegmentNumber)>,
    live: u64,
    /// Body bytes that came in less those that were settled. A settle may come before its enqueue:
    /// so the sum may be negative for a while.
    bytes: i64,
    /// Messages that were settled before they came. What a crash leaves of them never comes: then
    /// the bytes have to be counted anew.
    early: Option<Box<RangeSet>>,
    /// Of messages that aren't settled.
    notes: Notes,
    seen: Option<Box<Seen>>,
    /// A checkpoint has to say something of it.
    is_changed: bool,
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
        (self.bytes, self.early) = (bytes, None);
        for range in early {
            self.early.get_or_insert_default().insert(range.first.0, range.last.0);
        }
    }

    /// Takes up what checkpoints have kept of what deduplication has seen.
    pub(super) fn restore_seen(&mut self, seen: Seen) {
        self.seen = Some(Box::new(seen));
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

    /// All but the messages.
    pub(super) fn without_messages(&self) -> Self {
        let (settled, notes, seen) = (self.settled.clone(), self.notes.clone(), self.seen.clone());
        Self { settled, delivered_upto: self.delivered_upto, notes, seen, ..Self::default() }
    }

    /// Something of it changes. Answers whether it is the first since a checkpoint.
    pub(super) fn changes(&mut self) -> bool {
        !mem::replace(&mut self.is_changed, true)
    }

    /// What a checkpoint has to write.
    pub(super) fn take_change(&mut self) -> LedgerChange {
        self.is_changed = false;
        let mut seen = self.seen.take();
        let (ledger, change) = (self.clone(), seen.as_mut().map(|seen| seen.take_change()));
        self.seen = seen;
        LedgerChange { ledger, seen: change }
    }

    pub(super) fn settled(&self) -> Ranges {
        self.settled.ranges()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().map(|(first, (last, segment))| Run {
            first: Seq(first),
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

    /// Notes something of a message. One that is settled needs none.
    pub(super) fn note(&mut self, seq: Seq, note: Note) {
        if !self.settled.contains(seq.0) {
            self.notes.add(seq, note);
        }
    }

    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Deduplication has seen messages with these digests; the newest `keep` of all stay.
    pub(super) fn see(&mut self, digests: &[SeenDigest], keep: u32) {
        self.seen.get_or_insert_default().see(digests, keep);
    }

    /// What deduplication has seen, if it ever saw anything.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_deref()
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

    /// Messages of so many bytes are gone.
    pub(super) fn take_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub_unsigned(bytes);
    }

    pub(super) fn early(&self) -> Ranges {
        self.early.as_ref().map_or_else(Ranges::new, |early| early.ranges())
    }

    /// Whether the message lives, in this segment.
    pub(super) fn lives_in(&self, seq: Seq, segment: SegmentNumber) -> bool {
        let run = self.runs.at_most(seq.0);
        run.is_some_and(|(_, (last, of))| *last >= seq.0 && *of == segment)
            && !self.settled.contains(seq.0)
    }

    /// A message is in this segment.
    pub(super) fn put(&mut self, seq: Seq, segment: SegmentNumber) -> Put {
        if let Some((_, (last, of))) = self.runs.highest_mut()
            && last.checked_add(1) == Some(seq.0)
            && *of == segment
            && !self.settled.contains(seq.0)
        {
            *last = seq.0;
            self.live = self.live.saturating_add(1);
            return Put::New;
        }
        if self.settled.contains(seq.0) {
            if let Some(early) = &mut self.early {
                early.remove(seq.0);
            }
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
        let (first, (last, segment)) = self.runs.at_most(seq)?;
        let (last, segment) = (*last, *segment);
        if last < seq {
            return None;
        }
        self.runs.remove(first);
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
        if let Some((start, (end, other))) = self.runs.below(seq)
            && end.checked_add(1) == Some(seq)
            && *other == segment
        {
            first = start;
        }
        if let Some(next) = seq.checked_add(1)
            && let Some((end, other)) = self.runs.get(next).copied()
            && other == segment
        {
            self.runs.remove(next);
            last = end;
        }
        self.runs.insert(first, (last, segment));
    }

    /// Messages are gone, all of which the log holds or will hold.
    pub(super) fn settle_named(&mut self, range: SeqRange, freed: impl FnMut(SegmentNumber, u64)) {
        for (first, last) in self.settle(range, freed) {
            self.early.get_or_insert_default().insert(first, last);
        }
    }

    /// Messages are gone. Tells `freed` how many lived in which segment. Answers what was not
    /// settled before and is in none.
    pub(super) fn settle(
        &mut self,
        range: SeqRange,
        mut freed: impl FnMut(SegmentNumber, u64),
    ) -> Parts {
        let mut nowhere = Parts::new();
        for (first, last) in self.settled.insert(range.first.0, range.last.0) {
            self.notes.forget(first, last);
            let before = self.runs.below(first).filter(|(_, (end, _))| *end >= first);
            let mut next = Some(first);
            for (start, (end, segment)) in before.into_iter().chain(self.runs.range(first, last)) {
                let count = (*end).min(last).saturating_sub(start.max(first)).saturating_add(1);
                self.live = self.live.saturating_sub(count);
                freed(*segment, count);
                if let Some(next) = next.filter(|next| *next < start) {
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
        let Some((low, high)) = self.settled.before(range.first.0) else { return };
        let whole = |(first, (last, _)): (u64, &(u64, SegmentNumber))| {
            (first >= low && *last <= high).then_some(first)
        };
        let forgotten: Vec<u64> = self.runs.range(low, high).filter_map(whole).collect();
        for first in forgotten {
            self.runs.remove(first);
        }
    }

    /// Where the messages that live are, from a number on: at least `max` of them if there are so
    /// many.
    pub(super) fn live_runs(&self, from: Seq, max: u64) -> Vec<Run> {
        let start = self.runs.at_most(from.0).map_or(from.0, |(first, _)| first);
        let (mut found, mut count) = (Vec::new(), 0u64);
        for (first, (last, segment)) in self.runs.range(start, u64::MAX) {
            if count >= max {
                break;
            }
            let first = first.max(from.0);
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

    /// Where those of these messages are that live; their numbers ascend.
    pub(super) fn runs_of(&self, seqs: &[Seq]) -> Vec<Run> {
        let mut found: Vec<Run> = Vec::new();
        for seq in seqs {
            let run = self.runs.at_most(seq.0).filter(|(_, (last, _))| *last >= seq.0);
            let Some((_, (_, segment))) = run.filter(|_| !self.settled.contains(seq.0)) else {
                continue;
            };
            match found.last_mut() {
                Some(run) if run.last >= *seq => {}
                Some(run)
                    if run.segment == *segment && run.last.0.checked_add(1) == Some(seq.0) =>
                {
                    run.last = *seq;
                }
                _ => found.push(Run { first: *seq, last: *seq, segment: *segment }),
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

    fn all(first: u64, last: u64) -> SeqRange {
        SeqRange { first: Seq(first), last: Seq(last) }
    }

    fn put_all(ledger: &mut QueueLedger, first: u64, last: u64, segment: SegmentNumber) {
        for seq in first..=last {
            assert_eq!(ledger.put(Seq(seq), segment), Put::New);
        }
    }

    #[test]
    fn a_note_stays_until_its_message_is_settled_and_may_come_before_it() {
        let note = Note { failed: 1, returned: 0, due_ms: 7 };
        let mut ledger = QueueLedger::default();
        (1..=9).for_each(|seq| ledger.note(Seq(seq), note));
        put_all(&mut ledger, 1, 9, 1);
        ledger.settle_named(all(3, 4), |_, _| {});
        ledger.settle(all(0, 6), |_, _| {});
        ledger.note(Seq(5), note);
        let noted: Vec<u64> = ledger.notes().iter().map(|(seq, _)| seq.0).collect();
        assert_eq!(noted, [7, 8, 9]);
    }

    #[test]
    fn messages_that_live_are_found_by_their_numbers() {
        let mut ledger = QueueLedger::default();
        put_all(&mut ledger, 1, 4, 1);
        put_all(&mut ledger, 5, 9, 2);
        ledger.settle(all(3, 3), |_, _| {});
        let found = ledger.runs_of(&[1, 2, 3, 4, 5, 5, 6, 9, 12].map(Seq));
        let run = |first, last, segment| Run { first: Seq(first), last: Seq(last), segment };
        assert_eq!(found, [run(1, 2, 1), run(4, 4, 1), run(5, 6, 2), run(9, 9, 2)]);
    }

    #[test]
    fn a_checkpoint_has_notes_and_what_was_seen_since_the_last_one() {
        let mut ledger = QueueLedger::default();
        ledger.note(Seq(1), Note::default());
        (1..=3).for_each(|digest| ledger.see(&[(digest, 9)], 2));
        let change = ledger.take_change();
        assert_eq!(change.ledger.notes(), ledger.notes());
        assert!(change.ledger.seen().is_none(), "it is told apart");
        let written = change.seen.expect("it has changed").written;
        assert_eq!(written, [(0, vec![(2, 9), (3, 9)])]);
        assert!(ledger.seen().is_some_and(|seen| seen.iter().eq([(2, 9), (3, 9)])), "and stays");
    }
}
