//! What a run left, taken up again.
//!
//! ```text
//!   heads ──▶ checkpoint and what was written behind it ──▶ done
//!                     └── doesn't fit the files ──▶ the whole log ──▶ done
//! ```
//!
//! The short way trusts sled's checkpoint and scans the segments behind it. The long way folds the
//! whole log and trusts sled in nothing but that what is settled stays settled. A torn tail is cut
//! off at the last good batch; damage elsewhere is reported with file and offset, and what stands
//! behind it is still read.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::catalog::{Kept, KeptLedger};
use super::encoding::LogRecord;
use super::files::Files;
use super::index::SegmentIndex;
use super::index_file::IndexFile;
use super::ledger::SegmentNumber;
use super::reader::locate;
use super::record::{QueueId, Record, Seq};
use super::scan::{ReadBatch, SegmentContent, scan};
use super::segment::{self, Head, SegmentError};
use super::state::{Index, LogState, SegmentFacts};
use super::{OpenError, upkeep};

/// Messages that are looked up at a time to be counted.
const COUNT_AT_ONCE: usize = 100_000;

/// What was found.
pub(super) struct Recovered {
    pub(super) state: LogState,
    pub(super) last_segment: SegmentNumber,
    pub(super) last_position: u64,
    pub(super) last_epoch: u32,
}

/// Why the short way can't be gone.
pub(super) struct NoFit(pub(super) String);

impl From<SegmentError> for NoFit {
    fn from(error: SegmentError) -> Self {
        Self(format!("{error:?}"))
    }
}

impl From<io::Error> for NoFit {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The segments in a directory and their heads, those without one apart.
pub(super) struct Found {
    pub(super) heads: BTreeMap<SegmentNumber, Head>,
    pub(super) unreadable: Vec<(SegmentNumber, SegmentError)>,
    pub(super) last_segment: SegmentNumber,
    /// The highest epoch that may have been used.
    pub(super) last_epoch: u32,
}

impl Found {
    /// Looks at what is there. Refuses nothing, changes nothing.
    pub(super) fn in_log(files: &dyn Files) -> io::Result<Self> {
        let numbers = segment::list(files)?;
        let last_segment = numbers.last().copied().unwrap_or(0);
        let (heads, unreadable) = (BTreeMap::new(), Vec::new());
        let mut found = Self { heads, unreadable, last_segment, last_epoch: 0 };
        for number in numbers {
            match segment::read_head(files, number) {
                Ok(head) => {
                    found.last_epoch = found.last_epoch.max(head.epoch);
                    found.heads.insert(number, head);
                }
                Err(error) => {
                    if matches!(error, SegmentError::DamagedHead) {
                        // It may have begun an epoch, and none may be used again.
                        found.last_epoch = found.last_epoch.saturating_add(1);
                    }
                    found.unreadable.push((number, error));
                }
            }
        }
        Ok(found)
    }

    /// A head is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.unreadable.iter().any(|(_, error)| matches!(error, SegmentError::DamagedHead))
    }
}

/// Looks at what is there, before anything is changed. Refuses what another version wrote.
pub(super) fn look(files: &dyn Files) -> Result<Found, OpenError> {
    let cannot = |what: &str, error: io::Error| {
        OpenError::new(format!("cannot {what} {}: {error}", files.described("").display()))
    };
    let found = Found::in_log(files).map_err(|error| cannot("list", error))?;
    for (number, error) in &found.unreadable {
        let path = files.described(&segment::file_name(*number));
        match error {
            SegmentError::OtherFormat(version) => {
                return Err(OpenError::new(SegmentError::other_format(&path, *version)));
            }
            SegmentError::Io(error) => {
                return Err(OpenError::new(format!("cannot read {}: {error}", path.display())));
            }
            SegmentError::Unfinished => {}
            SegmentError::DamagedHead => tracing::error!(
                file = %path.display(),
                offset = 0,
                "the head of a segment is damaged: its messages can't be read; the file is left \
                 alone"
            ),
        }
    }
    Ok(found)
}

/// Takes up what the log and the checkpoint hold.
pub(super) fn recover(
    files: &dyn Files,
    found: &Found,
    kept: Kept,
) -> Result<Recovered, OpenError> {
    let cannot = |what: &str, error: io::Error| {
        OpenError::new(format!("cannot {what} {}: {error}", files.described("").display()))
    };
    remove_leftovers(files, found).map_err(|error| cannot("tidy up", error))?;
    let last_epoch = found.last_epoch.max(kept.epoch);
    let (kept, others) = match foreign(found, &kept) {
        None => (kept, Kept::default()),
        Some(segment) => {
            tracing::error!(
                log = %files.described("").display(),
                segment,
                "the catalog is that of another log, as where a backup was put back in part: it is not \
                 used, and the whole log is read"
            );
            (Kept::default(), kept)
        }
    };
    let (state, last_position, queues) = match from_checkpoint(files, found, &kept) {
        Ok((state, last_position)) => {
            let queues = state.miscounted();
            (state, last_position, queues)
        }
        Err(NoFit(why)) => {
            if !found.heads.is_empty() {
                tracing::warn!(
                    log = %files.described("").display(),
                    why,
                    "the catalog doesn't fit the log: the whole log is read"
                );
            }
            let whole = from_whole_log(files, found, kept);
            let (state, last_position) = whole.map_err(|error| cannot("read", error))?;
            let queues = state.ledgers.keys().copied().collect();
            (state, last_position, queues)
        }
    };
    let mut state = count_bytes(files, state, queues).map_err(|error| cannot("read", error))?;
    state.outdate(&others);
    Ok(Recovered { state, last_segment: found.last_segment, last_position, last_epoch })
}

/// A segment that is not the one that the catalog knows under its number.
pub(super) fn foreign(found: &Found, kept: &Kept) -> Option<SegmentNumber> {
    let other = |(number, facts): &&(SegmentNumber, SegmentFacts)| {
        found.heads.get(number).is_some_and(|head| head.salt != facts.salt)
    };
    kept.segments.iter().find(other).map(|(number, _)| *number)
}

/// Removes segments that were never begun, and indexes of segments that are gone.
fn remove_leftovers(files: &dyn Files, found: &Found) -> io::Result<()> {
    for number in segment::list(files)? {
        let name = segment::file_name(number);
        if matches!(segment::read_head(files, number), Err(SegmentError::Unfinished)) {
            let file = files.described(&name);
            tracing::warn!(file = %file.display(), "an unfinished segment is removed");
            files.remove(&name)?;
        }
    }
    for name in files.list()? {
        let number = name.strip_suffix(".idx").and_then(|stem| stem.parse().ok());
        if number.is_some_and(|number| !found.heads.contains_key(&number)) {
            files.remove(&name)?;
        }
    }
    Ok(())
}

/// The short way.
pub(super) fn from_checkpoint(
    files: &dyn Files,
    found: &Found,
    kept: &Kept,
) -> Result<(LogState, u64), NoFit> {
    if kept.position == 0 || found.is_damaged() {
        return Err(NoFit("there is no checkpoint, or a segment is damaged".to_owned()));
    }
    let known: BTreeMap<SegmentNumber, SegmentFacts> = kept.segments.iter().copied().collect();
    let mut state = LogState::default();
    for definition in &kept.definitions {
        state.put_definition(definition.clone());
    }
    for (number, head) in &found.heads {
        let facts = known.get(number).copied().unwrap_or_default();
        state.add_segment(*number, SegmentFacts { salt: head.salt, ..facts }, Index::InFile);
    }
    for ledger in &kept.ledgers {
        state.restore_ledger(ledger).map_err(|segment| {
            NoFit(format!("segment {segment}, in which messages live, is missing"))
        })?;
    }
    state.forget_changes();
    let mut last_position = kept.position;
    for (number, head) in &found.heads {
        let facts = known.get(number).copied().unwrap_or_default();
        let len = files.len(&segment::file_name(*number))?;
        if len < facts.len {
            return Err(NoFit(format!("segment {number} is shorter than it was")));
        }
        let is_covered = facts.len == len && facts.last_position <= kept.position;
        if is_covered && has_index(files, *number, head.salt, len) {
            continue;
        }
        let is_last = *number == found.last_segment;
        let trusted_len = if is_last { facts.len } else { u64::MAX };
        let tail = scan_tail(files, *number, trusted_len, last_position, &mut state)?;
        if !tail.damages.is_empty() || (tail.good_len < tail.len && !is_last) {
            return Err(NoFit(format!("segment {number} is damaged")));
        }
        cut_tail(files, *number, &tail)?;
        if facts.is_damaged {
            state.mark_damaged(*number);
        }
        last_position = last_position.max(tail.last_position);
        state.wrote(*number, tail.good_len, tail.last_position);
    }
    Ok((state, last_position))
}

fn has_index(files: &dyn Files, number: SegmentNumber, salt: u64, len: u64) -> bool {
    let file = files.open(&segment::index_file_name(number));
    file.is_ok_and(|file| IndexFile::open(file, salt, len).is_ok())
}

/// Reads a segment: what is behind the checkpoint is applied, what is before it is indexed.
fn scan_tail(
    files: &dyn Files,
    number: SegmentNumber,
    trusted_len: u64,
    known: u64,
    state: &mut LogState,
) -> Result<SegmentContent, NoFit> {
    let salt = segment::read_head(files, number)?.salt;
    let begun = SegmentFacts { salt, ..SegmentFacts::default() };
    state.add_segment(number, begun, Index::Active(SegmentIndex::default()));
    let (mut last, mut has_gap) = (known, false);
    let content = scan(files, number, trusted_len, |batch| {
        let is_new = batch.position > known;
        if is_new {
            has_gap |= last.checked_add(1) != Some(batch.position);
            last = batch.position;
        }
        for record in &batch.records {
            let place = record.message().map(|message| message.place);
            if is_new {
                state.apply(record, number, place);
            } else {
                state.index(record, number, place);
            }
        }
    })?;
    // A segment that went after a later checkpoint: this one is older than the log.
    match has_gap {
        true => Err(NoFit(format!("batches before segment {number} are missing"))),
        false => Ok(content),
    }
}

fn cut_tail(files: &dyn Files, number: SegmentNumber, content: &SegmentContent) -> io::Result<()> {
    let torn = content.len.saturating_sub(content.good_len);
    if torn == 0 && content.unused == 0 {
        return Ok(());
    }
    let name = segment::file_name(number);
    let (file, offset) = (files.described(&name), content.good_len);
    if torn > 0 {
        let file = file.display();
        tracing::warn!(%file, offset, bytes = torn, "the unfinished end of the log is cut off");
    }
    files.cut(&name, offset)
}

/// Who looks on while the whole log is read.
pub(super) trait Witness {
    /// What ends within so many bytes of a segment was certainly committed.
    fn trusted_len(&self, segment: SegmentNumber) -> u64;

    fn batch(&mut self, segment: SegmentNumber, batch: &ReadBatch);

    /// A segment was read. It can still be added to what was found in it.
    fn segment(&mut self, segment: SegmentNumber, content: &SegmentContent, state: &mut LogState);
}

/// The start of a broker: it tells its log what is damaged.
struct Starting<'a> {
    files: &'a dyn Files,
    last_segment: SegmentNumber,
    /// So much of the last segment was certainly finished.
    last_known_len: u64,
}

impl Witness for Starting<'_> {
    /// Only the last segment can have an end that was never finished.
    fn trusted_len(&self, segment: SegmentNumber) -> u64 {
        if segment == self.last_segment { self.last_known_len } else { u64::MAX }
    }

    fn batch(&mut self, _: SegmentNumber, _: &ReadBatch) {}

    fn segment(&mut self, segment: SegmentNumber, content: &SegmentContent, state: &mut LogState) {
        let is_last = segment == self.last_segment;
        report(self.files, segment, content, is_last);
        if !content.damages.is_empty() || (content.good_len < content.len && !is_last) {
            state.mark_damaged(segment);
        }
    }
}

/// The long way.
fn from_whole_log(files: &dyn Files, found: &Found, kept: Kept) -> io::Result<(LogState, u64)> {
    let known = kept.position;
    let last_segment = found.last_segment;
    let last_known = kept.segments.iter().find(|(number, _)| *number == last_segment);
    let by_catalog = last_known.map_or(0, |(_, facts)| facts.len);
    let last_known_len = by_catalog.max(indexed_len(files, found));
    let mut starting = Starting { files, last_segment, last_known_len };
    let (mut state, read_position) = fold_whole_log(files, found, kept, &mut starting)?;
    if read_position < known {
        tracing::error!(
            log = %files.described("").display(),
            found = read_position,
            committed = known,
            "the log ends before what was committed: confirmed messages are missing"
        );
    }
    state.end_recovery();
    Ok((state, read_position.max(known)))
}

/// The length that the last segment had when its index was written, at the end of a run.
fn indexed_len(files: &dyn Files, found: &Found) -> u64 {
    let number = found.last_segment;
    let Some(head) = found.heads.get(&number) else { return 0 };
    let index = files.open(&segment::index_file_name(number)).ok().and_then(IndexFile::segment);
    index.filter(|(salt, _)| *salt == head.salt).map_or(0, |(_, len)| len)
}

/// Folds the whole log, and makes all indexes again. Answers the fold, in which queues are that
/// are not defined, and the last position.
pub(super) fn fold_whole_log(
    files: &dyn Files,
    found: &Found,
    kept: Kept,
    witness: &mut dyn Witness,
) -> io::Result<(LogState, u64)> {
    let mut replay = Replay::new(kept);
    for (number, head) in &found.heads {
        replay.state.begin_segment(*number, head.salt);
        let scanned = scan(files, *number, witness.trusted_len(*number), |batch| {
            replay.batch(*number, &batch);
            witness.batch(*number, &batch);
        });
        let content = match scanned {
            Ok(content) => content,
            Err(SegmentError::Io(error)) => return Err(error),
            Err(other) => return Err(io::Error::other(format!("{other:?}"))),
        };
        witness.segment(*number, &content, &mut replay.state);
        let mut len = content.len;
        if *number == found.last_segment {
            cut_tail(files, *number, &content)?;
            len = content.good_len;
        }
        replay.state.wrote(*number, len, content.last_position);
        if let Some(index) = replay.state.seal(*number) {
            upkeep::write_index(files, *number, &index, head.salt, len)?;
            replay.state.index_written(*number);
        }
    }
    Ok((replay.state, replay.read_position))
}

/// Sums up the bodies that live in these queues, from the indexes.
pub(super) fn count_bytes(
    files: &dyn Files,
    state: LogState,
    queues: Vec<QueueId>,
) -> io::Result<LogState> {
    let state = Mutex::new(state);
    for queue in queues {
        let (mut bytes, mut from) = (0u64, Some(Seq(0)));
        while let Some(next) = from {
            let (located, complete) = locate(files, &state, queue, next, COUNT_AT_ONCE)?;
            for located in &located {
                bytes = bytes.saturating_add(u64::from(located.entry.place.body_len));
            }
            let last = located.last().filter(|_| !complete).map(|last| last.entry.seq());
            from = last.and_then(|last| last.0.checked_add(1)).map(Seq);
        }
        state.lock().set_bytes(queue, bytes);
    }
    Ok(state.into_inner())
}

/// The fold over all that is read.
struct Replay {
    state: LogState,
    /// Up to here batches were committed, and their definitions are in the state already.
    known_position: u64,
    /// The highest that was read.
    read_position: u64,
}

impl Replay {
    /// Begins with what sled has kept.
    fn new(kept: Kept) -> Self {
        let mut state = LogState::recovering();
        for definition in kept.definitions {
            state.put_definition(definition);
        }
        for KeptLedger { queue, ledger, .. } in kept.ledgers {
            state.ledgers.insert(queue, ledger);
        }
        Self { state, known_position: kept.position, read_position: 0 }
    }

    /// Applies a batch of a segment. A record whose message is damaged did not happen: where a
    /// message was moved, the one that it was moved from is still there.
    fn batch(&mut self, segment: SegmentNumber, batch: &ReadBatch) {
        let known = batch.position <= self.known_position;
        self.read_position = self.read_position.max(batch.position);
        for record in &batch.records {
            let is_definition =
                matches!(record, LogRecord::Snapshot | LogRecord::Broker(Record::Catalog(_)));
            let is_damaged = record.message().is_some_and(|message| !message.intact);
            if (known && is_definition) || is_damaged {
                continue;
            }
            let place = record.message().map(|message| message.place);
            self.state.apply(record, segment, place);
        }
    }
}

fn report(files: &dyn Files, number: SegmentNumber, content: &SegmentContent, is_last: bool) {
    let file = files.described(&segment::file_name(number));
    let file = file.display();
    for damage in &content.damages {
        let (offset, bytes, queues) = (damage.offset, damage.len, &damage.queues);
        if queues.is_empty() {
            tracing::error!(%file, offset, bytes, "a part of the log is damaged and passed over");
        } else {
            tracing::error!(%file, offset, bytes, ?queues, "a message is damaged and lost");
        }
    }
    let torn = content.len.saturating_sub(content.good_len);
    if torn > 0 && !is_last {
        let offset = content.good_len;
        tracing::error!(%file, offset, bytes = torn, "the end of a segment is damaged");
    }
}
