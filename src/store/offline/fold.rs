//! The whole log of a directory folded as recovery folds it, and besides: what is damaged, what is
//! lost with it, and what can still be had.
//!
//! Two things can be had that a start of the broker doesn't take. A message in a damaged batch has
//! a CRC of its own, and the index of its segment says where it is. A queue whose definition is
//! lost is taken up under a name of its own, unless the log says that it was deleted.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::overlay::Overlay;
use super::{DataDirectory, cannot_read};
use crate::protocol::table::FieldTable;
use crate::store::OpenError;
use crate::store::catalog::{Kept, KeptLedger};
use crate::store::decoding::Met;
use crate::store::definition::{Definition, QueueDefinition, VhostDefinition};
use crate::store::encoding::LogRecord;
use crate::store::files::Files;
use crate::store::index::Entry;
use crate::store::index_file::IndexFile;
use crate::store::ledger::{Run, SegmentNumber};
use crate::store::ranges::RangeSet;
use crate::store::reader::read_entries;
use crate::store::record::{QueueId, QueueSet, Record, Seq};
use crate::store::recovery::{Witness, count_bytes, fold_whole_log};
use crate::store::scan::{Damage, ReadBatch, SegmentContent};
use crate::store::segment::{self, SegmentError};
use crate::store::state::{LogState, SegmentFacts};

/// The vhost of queues whose definition is lost.
const RECOVERED_VHOST: &str = "/";

/// What is known of a segment after it was read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) batches: u64,
    pub(super) messages: u64,
    pub(super) damages: Vec<Damage>,
    pub(super) good_len: u64,
    pub(super) len: u64,
    /// The catalog knows of more than the good part.
    pub(super) was_longer: bool,
    /// Messages in damaged batches that were found by the index.
    pub(super) salvaged: u64,
    /// Its index is whole, and so names every message that the segment had.
    pub(super) has_index: bool,
}

/// Is told how many bytes of the log have been read, and of how many.
pub type Watch<'a> = dyn FnMut(u64, u64) + 'a;

/// A log that was read as a whole.
pub(super) struct Fold {
    pub(super) state: Arc<Mutex<LogState>>,
    pub(super) segments: BTreeMap<SegmentNumber, Seen>,
    pub(super) last_position: u64,
    /// Queues without a definition that messages were found for.
    pub(super) recovered: Vec<QueueId>,
    /// Messages that should live and don't, by segment and queue.
    pub(super) lost: BTreeMap<(SegmentNumber, QueueId), u64>,
}

impl Fold {
    pub(super) fn of(
        directory: &DataDirectory,
        kept: Kept,
        watch: &mut Watch<'_>,
    ) -> Result<Self, OpenError> {
        Self::read(directory, kept, watch)
            .map_err(|error| cannot_read(&directory.files.described(""), &error))
    }

    fn read(directory: &DataDirectory, kept: Kept, watch: &mut Watch<'_>) -> io::Result<Self> {
        let mut looking = Looking::new(directory, &kept, watch);
        let files = &*directory.files;
        let (mut state, last_position) =
            fold_whole_log(files, &directory.found, kept, &mut looking)?;
        let recovered = looking.without_definition(&state);
        define(&mut state, &recovered);
        state.end_recovery();
        let lost = looking.lost(&state);
        let queues = state.ledgers.keys().copied().collect();
        let state = Arc::new(Mutex::new(count_bytes(files, state, queues)?));
        Ok(Self { state, segments: looking.segments, last_position, recovered, lost })
    }
}

/// Gives queues whose definition is lost one of their own.
fn define(state: &mut LogState, recovered: &[QueueId]) {
    if !recovered.is_empty() {
        let name = RECOVERED_VHOST.to_owned();
        let vhost = VhostDefinition { name, ..VhostDefinition::default() };
        state.put_definition(Definition::Vhost(vhost));
    }
    for id in recovered {
        state.put_definition(Definition::Queue(QueueDefinition {
            vhost: RECOVERED_VHOST.to_owned(),
            name: format!("recovered.{}", id.0),
            id: *id,
            auto_delete: false,
            arguments: FieldTable::new(),
            levels: 0,
            paused: false,
        }));
    }
}

/// Looks on while the log is read.
struct Looking<'a, 'b> {
    watch: &'a mut Watch<'b>,
    log_len: u64,
    files: Arc<Overlay>,
    last_segment: SegmentNumber,
    known_position: u64,
    known_queues: QueueSet,
    known_facts: BTreeMap<SegmentNumber, SegmentFacts>,
    salts: BTreeMap<SegmentNumber, u64>,
    segments: BTreeMap<SegmentNumber, Seen>,
    /// Messages that were in a segment and perhaps can't be read there.
    missing: Vec<(QueueId, Run)>,
    /// Queues with messages, and those of them that were deleted.
    met: QueueSet,
    gone: QueueSet,
}

impl<'a, 'b> Looking<'a, 'b> {
    fn new(directory: &DataDirectory, kept: &Kept, watch: &'a mut Watch<'b>) -> Self {
        let runs_of = |kept: &KeptLedger| {
            let queue = kept.queue;
            kept.runs.clone().into_iter().map(move |run| (queue, run))
        };
        // What another version wrote is not lost, only not for us to read.
        let unreadable = &directory.found.unreadable;
        let is_others = |run: &Run| {
            let is_it = |(number, error): &(SegmentNumber, SegmentError)| {
                *number == run.segment && matches!(error, SegmentError::OtherFormat(_))
            };
            unreadable.iter().any(is_it)
        };
        let missing = kept.ledgers.iter().flat_map(runs_of);
        let heads = &directory.found.heads;
        let len =
            |number: &SegmentNumber| directory.files.len(&segment::file_name(*number)).unwrap_or(0);
        let log_len = heads.keys().map(len).fold(0, u64::saturating_add);
        watch(0, log_len);
        Self {
            watch,
            log_len,
            files: Arc::clone(&directory.files),
            last_segment: directory.found.last_segment,
            known_position: kept.position,
            known_queues: kept.ledgers.iter().map(|kept| kept.queue).collect(),
            known_facts: kept.segments.iter().copied().collect(),
            salts: heads.iter().map(|(number, head)| (*number, head.salt)).collect(),
            segments: BTreeMap::new(),
            missing: missing.filter(|(_, run)| !is_others(run)).collect(),
            met: QueueSet::default(),
            gone: QueueSet::default(),
        }
    }

    /// Queues that have messages and no definition, and that nothing says the end of. Numbers of
    /// queues are never used twice: what is gone once is gone.
    fn without_definition(&self, state: &LogState) -> Vec<QueueId> {
        let defined = state.defined_queues();
        let is_lost = |queue: &QueueId| !defined.contains(queue) && !self.gone.contains(queue);
        let with_messages = state.ledgers.iter().filter(|(_, ledger)| ledger.live() > 0);
        let mut lost: Vec<QueueId> =
            with_messages.map(|(queue, _)| *queue).filter(is_lost).collect();
        lost.sort_unstable();
        lost
    }

    /// Counts what should live and was not found anywhere.
    fn lost(&self, state: &LogState) -> BTreeMap<(SegmentNumber, QueueId), u64> {
        let mut accounted: BTreeMap<QueueId, RangeSet> = BTreeMap::new();
        let mut lost = BTreeMap::new();
        for (queue, Run { first, last, segment }) in &self.missing {
            let Some(ledger) = state.ledgers.get(queue) else { continue };
            let accounted = accounted.entry(*queue).or_insert_with(|| {
                let mut set = RangeSet::default();
                for range in ledger.settled() {
                    set.insert(range.first.0, range.last.0);
                }
                for run in ledger.runs() {
                    set.insert(run.first.0, run.last.0);
                }
                set
            });
            for (first, last) in accounted.insert(first.0, last.0) {
                let count: &mut u64 = lost.entry((*segment, *queue)).or_default();
                *count = count.saturating_add(last.saturating_sub(first)).saturating_add(1);
            }
        }
        lost
    }

    fn note_queues(&mut self, batch: &ReadBatch) {
        let is_known = batch.position <= self.known_position;
        for record in &batch.records {
            for (queue, _) in record.places() {
                self.met.insert(*queue);
                if is_known && !self.known_queues.contains(queue) {
                    self.gone.insert(*queue);
                }
            }
            if let LogRecord::Broker(Record::DeleteQueue { queue }) = record {
                self.gone.insert(*queue);
            }
        }
        if let Some(LogRecord::Snapshot) = batch.records.first() {
            let listed = batch.records.iter().filter_map(|record| match record {
                LogRecord::QueueState { queue, .. } => Some(*queue),
                _ => None,
            });
            let listed: QueueSet = listed.collect();
            self.gone.extend(self.met.difference(&listed));
        }
    }

    /// Finds messages in the damaged parts of a segment by its index.
    fn salvage(
        &mut self,
        number: SegmentNumber,
        content: &SegmentContent,
        state: &mut LogState,
    ) -> io::Result<()> {
        let Some(salt) = self.salts.get(&number).copied() else { return Ok(()) };
        let parts = content.damages.iter().filter(|damage| damage.queues.is_empty());
        let tail = (content.good_len, content.len);
        let parts: Vec<(u64, u64)> = parts
            .map(|part| (part.offset, part.offset.saturating_add(part.len)))
            .chain((tail.0 < tail.1).then_some(tail))
            .collect();
        let known_len = self.known_facts.get(&number).map_or(0, |facts| facts.len);
        let Some(index) = self.index(number, salt, &[content.len, known_len]) else {
            return Ok(());
        };
        let mut found = Vec::new();
        let is_within = |offset: u64| parts.iter().any(|(from, to)| (*from..*to).contains(&offset));
        let whole = index.each(|queue, seq, place| {
            if is_within(u64::from(place.offset)) || u64::from(place.offset) >= content.len {
                found.push((queue, seq, place));
            }
        });
        if let Some(seen) = self.segments.get_mut(&number) {
            seen.has_index = whole.is_ok();
        }
        for (queue, seq, place) in found {
            let entry = vec![Entry::new(seq, place)];
            let mut intact = false;
            read_entries(&*self.files, number, salt, entry, |_, found| intact = found.is_some())?;
            if intact {
                self.take_up(number, (queue, seq), Met { place, intact }, state);
            } else {
                self.missing.push((queue, Run { first: seq, last: seq, segment: number }));
            }
        }
        Ok(())
    }

    fn index(&self, number: SegmentNumber, salt: u64, lens: &[u64]) -> Option<IndexFile> {
        let open = |len: &u64| {
            let file = self.files.original(&segment::index_file_name(number)).ok()?;
            IndexFile::open(file, salt, *len).ok()
        };
        lens.iter().find_map(open)
    }

    /// A message was found whose batch is damaged. What said that it was delivered may have been in
    /// the same batch.
    fn take_up(
        &mut self,
        segment: SegmentNumber,
        (queue, seq): (QueueId, Seq),
        message: Met,
        state: &mut LogState,
    ) {
        let queues = [(queue, seq)].into_iter().collect();
        state.apply(&LogRecord::Carry { message, queues }, segment, Some(message.place));
        if !state.ledgers.get(&queue).is_some_and(|ledger| ledger.lives_in(seq, segment)) {
            return;
        }
        let mark: Record<Met> = Record::DeliverMark { queue, upto: seq };
        state.apply(&LogRecord::Broker(mark), segment, None);
        self.met.insert(queue);
        if let Some(seen) = self.segments.get_mut(&segment) {
            seen.salvaged = seen.salvaged.saturating_add(1);
        }
    }
}

impl Witness for Looking<'_, '_> {
    fn trusted_len(&self, segment: SegmentNumber) -> u64 {
        // The next segment was begun after this one was whole.
        match segment == self.last_segment {
            true => self.known_facts.get(&segment).map_or(0, |facts| facts.len),
            false => u64::MAX,
        }
    }

    fn batch(&mut self, number: SegmentNumber, batch: &ReadBatch) {
        let seen = self.segments.entry(number).or_default();
        seen.batches = seen.batches.saturating_add(1);
        for record in &batch.records {
            let Some(message) = record.message() else { continue };
            seen.messages = seen.messages.saturating_add(1);
            if !message.intact {
                let run = |seq| Run { first: seq, last: seq, segment: number };
                let missing = record.places().iter().map(|(queue, seq)| (*queue, run(*seq)));
                self.missing.extend(missing);
            }
        }
        self.note_queues(batch);
    }

    fn segment(&mut self, number: SegmentNumber, content: &SegmentContent, state: &mut LogState) {
        let seen = self.segments.entry(number).or_default();
        seen.damages.clone_from(&content.damages);
        (seen.good_len, seen.len) = (content.good_len, content.len);
        let known_len = self.known_facts.get(&number).map_or(0, |facts| facts.len);
        seen.was_longer = known_len > content.good_len;
        if !content.damages.is_empty() || content.good_len < content.len || seen.was_longer {
            // What can't be read this way stays missing.
            let _ = self.salvage(number, content, state);
        }
        let read = self.segments.values().map(|seen| seen.len).fold(0, u64::saturating_add);
        (self.watch)(read, self.log_len);
    }
}
