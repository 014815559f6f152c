//! The fold over the log: definitions, each queue's ledger, and what is in each segment.
//!
//! Pure. The committer applies what it has written, recovery what it reads; readers and the upkeep
//! look at it, all under one lock that is never held over a read or a write of a file.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::catalog::{Kept, KeptLedger, LedgerChange};
use super::definition::{CatalogChange, Definition};
use super::encoding::LogRecord;
use super::index::{Place, SegmentIndex};
use super::ledger::{Put, QueueLedger, SegmentNumber};
use super::record::{Note, QueueId, QueueMap, QueueSet, Record, Seq, SeqRange, Settled};
use super::seen::SeenDigest;

/// A definition's key in the catalog.
pub(super) type CatalogKey = [u8; 32];

/// A sealed segment with fewer of its messages alive than one in so many is rewritten.
const PINNED_BELOW: u64 = 4;

/// Where the index of a segment is.
#[derive(Debug)]
pub(super) enum Index {
    /// It grows with the segment.
    Active(SegmentIndex),
    /// On its way to its file.
    Sealed(Arc<SegmentIndex>),
    InFile,
}

/// What is known of a segment's file, and kept in sled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SegmentFacts {
    pub(super) salt: u64,
    pub(super) len: u64,
    /// Messages that it held when they came, one for each queue they stand in.
    pub(super) total: u64,
    /// The highest position in it.
    pub(super) last_position: u64,
    /// A part of it can't be read: it stays, for whoever can make something of it.
    pub(super) is_damaged: bool,
}

#[derive(Debug)]
pub(super) struct SegmentState {
    pub(super) facts: SegmentFacts,
    /// Of `total`, those that live.
    pub(super) live: u64,
    pub(super) index: Index,
    /// What `live` was when [`LogState::pinned`] looked last.
    live_seen: u64,
}

#[derive(Debug, Default)]
pub(super) struct LogState {
    pub(super) catalog: HashMap<CatalogKey, Definition>,
    pub(super) ledgers: QueueMap<QueueLedger>,
    pub(super) segments: BTreeMap<SegmentNumber, SegmentState>,
    /// While the whole log is read, queues are taken up as they are met: which of them are left is
    /// known at its end.
    recovering: bool,
    /// There may be a segment in which nothing lives.
    emptied: bool,
    /// What changed since the last checkpoint.
    changed_definitions: HashSet<CatalogKey>,
    /// Those whose ledger says so, and some that have none.
    changed_queues: Vec<QueueId>,
    changed_segments: HashSet<SegmentNumber>,
}

/// What a checkpoint has to write: nothing where the thing is gone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) definitions: Vec<(CatalogKey, Option<Definition>)>,
    pub(super) ledgers: Vec<(QueueId, Option<LedgerChange>)>,
    pub(super) segments: Vec<(SegmentNumber, Option<SegmentFacts>)>,
}

impl LogState {
    /// For a log that is about to be read as a whole.
    pub(super) fn recovering() -> Self {
        Self { recovering: true, ..Self::default() }
    }

    /// Applies a record that stands in `segment`; its message, if it has one, is at `place`.
    pub(super) fn apply<M>(
        &mut self,
        record: &LogRecord<M>,
        segment: SegmentNumber,
        place: Option<Place>,
    ) {
        match record {
            LogRecord::Snapshot => {
                self.changed_definitions.extend(self.catalog.drain().map(|(key, _)| key));
            }
            LogRecord::QueueState { queue, settled, delivered_upto } => {
                self.with_ledger(*queue, |ledger, freed| {
                    settled.iter().for_each(|range| _ = ledger.settle(*range, &mut *freed));
                    ledger.mark_delivered(*delivered_upto);
                });
            }
            LogRecord::SeenState { queue, digests, keep } => self.see(*queue, digests, *keep),
            LogRecord::Carry { queues, .. } => {
                self.put(queues, segment, place, false);
            }
            LogRecord::Broker(record) => match record {
                Record::Enqueue { queues, .. } => self.put(queues, segment, place, true),
                Record::Move { from: (queue, seq), to, .. } => {
                    let range = SeqRange { first: *seq, last: *seq };
                    let bytes = place.map_or(0, |place| u64::from(place.body_len));
                    self.with_ledger(*queue, |ledger, freed| {
                        ledger.take_bytes(bytes);
                        ledger.settle_named(range, freed);
                    });
                    self.put(to, segment, place, true);
                }
                Record::Settle { queue, settled: Settled { seqs, bytes, through } } => {
                    self.with_ledger(*queue, |ledger, freed| {
                        ledger.take_bytes(*bytes);
                        seqs.iter().for_each(|range| ledger.settle_named(*range, &mut *freed));
                        ledger.settle(SeqRange { first: Seq(0), last: *through }, freed);
                    });
                }
                Record::Purge { queue, ranges, bytes } => {
                    self.with_ledger(*queue, |ledger, freed| {
                        ledger.take_bytes(*bytes);
                        ranges.iter().for_each(|range| _ = ledger.settle(*range, &mut *freed));
                    });
                }
                Record::DeliverMark { queue, upto } => self.mark_delivered(*queue, *upto),
                Record::Return { queue, notes } => self.note(*queue, notes),
                Record::Seen { queue, digest, until_ms, keep } => {
                    self.see(*queue, &[(*digest, *until_ms)], *keep);
                }
                Record::DeleteQueue { queue } => self.delete_queue(*queue),
                Record::Catalog(change) => self.change_catalog(change),
            },
        }
    }

    /// A ledger that is about to change.
    fn ledger(&mut self, queue: QueueId) -> Option<&mut QueueLedger> {
        self.ledger_and_segments(queue).map(|(ledger, ..)| ledger)
    }

    /// A ledger that is about to change, the segments, and whether there may be an empty one.
    fn ledger_and_segments(
        &mut self,
        queue: QueueId,
    ) -> Option<(&mut QueueLedger, &mut BTreeMap<SegmentNumber, SegmentState>, &mut bool)> {
        let Self { ledgers, changed_queues, segments, emptied, .. } = self;
        let ledger = match self.recovering {
            true => ledgers.entry(queue).or_default(),
            // A queue without a ledger is gone: what comes late for it is gone, too.
            false => ledgers.get_mut(&queue)?,
        };
        if ledger.changes() {
            changed_queues.push(queue);
        }
        Some((ledger, segments, emptied))
    }

    /// Changes a ledger; what it frees is taken from the segments.
    fn with_ledger(
        &mut self,
        queue: QueueId,
        change: impl FnOnce(&mut QueueLedger, &mut dyn FnMut(SegmentNumber, u64)),
    ) {
        if let Some((ledger, segments, emptied)) = self.ledger_and_segments(queue) {
            change(ledger, &mut |segment, count| *emptied |= free(segments, segment, count));
        }
    }

    fn mark_delivered(&mut self, queue: QueueId, upto: Seq) {
        if let Some(ledger) = self.ledger(queue) {
            ledger.mark_delivered(upto);
        }
    }

    fn note(&mut self, queue: QueueId, notes: &[(Seq, Note)]) {
        if let Some(ledger) = self.ledger(queue) {
            notes.iter().for_each(|(seq, note)| ledger.note(*seq, *note));
        }
    }

    fn see(&mut self, queue: QueueId, digests: &[SeenDigest], keep: u32) {
        if let Some(ledger) = self.ledger(queue) {
            ledger.see(digests, keep);
        }
    }

    pub(super) fn defined_queues(&self) -> QueueSet {
        self.catalog.values().flat_map(Definition::queue_ids).collect()
    }

    /// Ends the reading of the whole log: only queues that are still defined stay.
    pub(super) fn end_recovery(&mut self) {
        self.recovering = false;
        let defined = self.defined_queues();
        let gone: Vec<QueueId> =
            self.ledgers.keys().filter(|queue| !defined.contains(queue)).copied().collect();
        gone.into_iter().for_each(|queue| self.delete_queue(queue));
    }

    /// After a crash: the queues in which what was settled before it came never will. Their bytes
    /// have to be counted anew.
    pub(super) fn miscounted(&self) -> Vec<QueueId> {
        let is_wrong = |ledger: &QueueLedger| {
            !ledger.early().is_empty() || (ledger.live() == 0 && ledger.bytes() != 0)
        };
        let wrong = self.ledgers.iter().filter(|(_, ledger)| is_wrong(ledger));
        wrong.map(|(queue, _)| *queue).collect()
    }

    /// Sets the bytes that live in a queue.
    pub(super) fn set_bytes(&mut self, queue: QueueId, bytes: u64) {
        if let Some(ledger) = self.ledger(queue) {
            ledger.restore_sums(i64::try_from(bytes).unwrap_or(i64::MAX), &[]);
        }
    }

    /// Messages are in this segment; `arrived` when they were in none before.
    fn put(
        &mut self,
        places: &[(QueueId, Seq)],
        segment: SegmentNumber,
        place: Option<Place>,
        arrived: bool,
    ) {
        let Some(place) = place else { return };
        for (queue, seq) in places {
            let Some(ledger) = self.ledger(*queue) else { continue };
            if arrived {
                ledger.add_bytes(i64::from(place.body_len));
            }
            let put = ledger.put(*seq, segment);
            if put == Put::Settled {
                continue;
            }
            if let Put::From(other) = put {
                self.emptied |= free(&mut self.segments, other, 1);
            }
            self.add_entry(*queue, *seq, segment, place);
        }
    }

    fn add_entry(&mut self, queue: QueueId, seq: Seq, segment: SegmentNumber, place: Place) {
        if let Some(state) = self.segments.get_mut(&segment) {
            state.live = state.live.saturating_add(1);
            state.facts.total = state.facts.total.saturating_add(1);
            if let Index::Active(index) = &mut state.index {
                index.add(queue, seq, place);
            }
        }
    }

    /// Notes where a message is that a checkpoint knows of already.
    pub(super) fn index<M>(
        &mut self,
        record: &LogRecord<M>,
        segment: SegmentNumber,
        place: Option<Place>,
    ) {
        let Some(place) = place else { return };
        let Some(SegmentState { index: Index::Active(index), facts, .. }) =
            self.segments.get_mut(&segment)
        else {
            return;
        };
        for (queue, seq) in record.places() {
            if self.ledgers.get(queue).is_some_and(|ledger| ledger.lives_in(*seq, segment)) {
                index.add(*queue, *seq, place);
            }
            facts.total = facts.total.saturating_add(1);
        }
    }

    fn delete_queue(&mut self, queue: QueueId) {
        if let Some(ledger) = self.ledgers.remove(&queue) {
            let (segments, emptied) = (&mut self.segments, &mut self.emptied);
            ledger.delete(|segment, count| *emptied |= free(segments, segment, count));
            self.changed_queues.push(queue);
        }
    }

    fn change_catalog(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Put(definition) => self.put_definition(definition.clone()),
            CatalogChange::Delete(key) => {
                let key = key.digest();
                self.catalog.remove(&key);
                self.changed_definitions.insert(key);
            }
        }
    }

    /// Adds a definition; one with queues begins their ledgers.
    pub(super) fn put_definition(&mut self, definition: Definition) {
        for queue in definition.queue_ids() {
            if self.ledgers.entry(queue).or_default().changes() {
                self.changed_queues.push(queue);
            }
        }
        let key = definition.key().digest();
        self.catalog.insert(key, definition);
        self.changed_definitions.insert(key);
    }

    /// Takes up a queue's ledger from a checkpoint. A segment that it needs and that isn't there is
    /// an error.
    pub(super) fn restore_ledger(&mut self, kept: &KeptLedger) -> Result<(), SegmentNumber> {
        let mut ledger = kept.ledger.clone();
        let (segments, mut missing) = (&mut self.segments, None);
        ledger.restore_sums(kept.bytes, &kept.early);
        ledger.restore_runs(&kept.runs, |number, live| match segments.get_mut(&number) {
            Some(segment) => segment.live = segment.live.saturating_add(live),
            None if live > 0 => missing = Some(number),
            None => {}
        });
        self.ledgers.insert(kept.queue, ledger);
        missing.map_or(Ok(()), Err)
    }

    /// Adds a segment whose records are about to be applied.
    pub(super) fn begin_segment(&mut self, number: SegmentNumber, salt: u64) {
        let facts = SegmentFacts { salt, ..SegmentFacts::default() };
        self.add_segment(number, facts, Index::Active(SegmentIndex::default()));
    }

    pub(super) fn add_segment(&mut self, number: SegmentNumber, facts: SegmentFacts, index: Index) {
        let live = self.segments.get(&number).map_or(0, |segment| segment.live);
        self.segments.insert(number, SegmentState { facts, live, index, live_seen: u64::MAX });
        self.changed_segments.insert(number);
        self.emptied = true;
    }

    /// A part of a segment can't be read: it neither goes nor is rewritten.
    pub(super) fn mark_damaged(&mut self, number: SegmentNumber) {
        if let Some(state) = self.segments.get_mut(&number) {
            state.facts.is_damaged = true;
            self.changed_segments.insert(number);
        }
    }

    /// A segment has this length now, and this is its last position.
    pub(super) fn wrote(&mut self, number: SegmentNumber, len: u64, position: u64) {
        if let Some(SegmentState { facts, .. }) = self.segments.get_mut(&number) {
            facts.len = len;
            facts.last_position = facts.last_position.max(position);
            self.changed_segments.insert(number);
        }
    }

    /// Nothing more is written to a segment. Answers its index, to be written to its file.
    pub(super) fn seal(&mut self, number: SegmentNumber) -> Option<Arc<SegmentIndex>> {
        let state = self.segments.get_mut(&number)?;
        if let Index::Active(index) = &mut state.index {
            let mut index = std::mem::take(index);
            index.sort();
            state.index = Index::Sealed(Arc::new(index));
        }
        match &state.index {
            Index::Sealed(index) => Some(Arc::clone(index)),
            Index::Active(_) | Index::InFile => None,
        }
    }

    /// Seals what a last run left open. Answers the indexes, to be written to their files.
    pub(super) fn seal_all_but(
        &mut self,
        active: SegmentNumber,
    ) -> Vec<(SegmentNumber, Arc<SegmentIndex>)> {
        let others: Vec<_> =
            self.segments.keys().copied().filter(|number| *number != active).collect();
        others.into_iter().filter_map(|number| Some((number, self.seal(number)?))).collect()
    }

    /// The index of a segment is in its file.
    pub(super) fn index_written(&mut self, number: SegmentNumber) {
        if let Some(state) = self.segments.get_mut(&number) {
            state.index = Index::InFile;
        }
    }

    /// Takes segments out in which nothing lives, but for the one that is written.
    pub(super) fn take_empty(&mut self, active: SegmentNumber) -> Vec<SegmentNumber> {
        self.emptied = false;
        let is_empty = |(number, state): (&SegmentNumber, &SegmentState)| {
            let may_go = state.live == 0 && !state.facts.is_damaged && *number != active;
            may_go.then_some(*number)
        };
        let empty: Vec<SegmentNumber> = self.segments.iter().filter_map(is_empty).collect();
        for number in &empty {
            self.segments.remove(number);
            self.changed_segments.insert(*number);
        }
        empty
    }

    pub(super) fn has_empty(&self) -> bool {
        self.emptied
    }

    /// The sealed segments that a few living messages keep from going, or that are short, and have
    /// lost none of them since this was asked last: one that is being drained goes by itself.
    pub(super) fn pinned(
        &mut self,
        active: SegmentNumber,
        short_len: u64,
    ) -> VecDeque<SegmentNumber> {
        let mut pinned = VecDeque::new();
        for (number, state) in self.segments.range_mut(..active) {
            let rests = std::mem::replace(&mut state.live_seen, state.live) == state.live;
            let is_sparse = state.live.saturating_mul(PINNED_BELOW) < state.facts.total;
            let is_pinned = state.live > 0
                && !state.facts.is_damaged
                && (is_sparse || state.facts.len < short_len)
                && matches!(state.index, Index::InFile);
            if rests && is_pinned {
                pinned.push_back(*number);
            }
        }
        pinned
    }

    /// Takes what changed since it was taken last.
    pub(super) fn take_changes(&mut self) -> Changes {
        let definitions = std::mem::take(&mut self.changed_definitions);
        let mut queues = std::mem::take(&mut self.changed_queues);
        // One that went was there before, and may be there again.
        queues.sort_unstable();
        queues.dedup();
        let segments = std::mem::take(&mut self.changed_segments);
        let facts = |number| self.segments.get(&number).map(|state| state.facts);
        Changes {
            definitions: definitions
                .into_iter()
                .map(|key| (key, self.catalog.get(&key).cloned()))
                .collect(),
            ledgers: queues
                .into_iter()
                .map(|queue| (queue, self.ledgers.get_mut(&queue).map(QueueLedger::take_change)))
                .collect(),
            segments: segments.into_iter().map(|number| (number, facts(number))).collect(),
        }
    }

    /// What was read from a checkpoint need not be written to one.
    pub(super) fn forget_changes(&mut self) {
        drop(self.take_changes());
    }

    /// What sled has of another log is no part of this: the next checkpoint has to say so.
    pub(super) fn outdate(&mut self, kept: &Kept) {
        let keys = kept.definitions.iter().map(|definition| definition.key().digest());
        self.changed_definitions.extend(keys);
        self.changed_queues.extend(kept.ledgers.iter().map(|kept| kept.queue));
        self.changed_segments.extend(kept.segments.iter().map(|(number, _)| *number));
    }

    /// Queues that a checkpoint has to say something of, or a few more.
    pub(super) fn changed_queues(&self) -> usize {
        self.changed_queues.len()
    }

    pub(super) fn has_changed_definitions(&self) -> bool {
        !self.changed_definitions.is_empty()
    }
}

/// Messages in a segment are gone. Answers whether none is left.
fn free(
    segments: &mut BTreeMap<SegmentNumber, SegmentState>,
    segment: SegmentNumber,
    count: u64,
) -> bool {
    segments.get_mut(&segment).is_some_and(|state| {
        state.live = state.live.saturating_sub(count);
        state.live == 0
    })
}
