//! All that can be read of a data directory, written into a new one.
//!
//! The new log grows under a name that no broker looks at; it gets its own when it is whole. Then
//! the store opens it once, which makes sled's checkpoint and proves that it can be opened.

use std::io;
use std::path::{Path, PathBuf};

use super::DataDirectory;
use super::check::{Held, report};
use super::fold::{Fold, Watch};
use super::report::Report;
use crate::protocol::gather::Gather;
use crate::store::carry::each_batch;
use crate::store::definition::Definition;
use crate::store::disk::begin_segment;
use crate::store::encoding::{Encoder, LogRecord};
use crate::store::files::{Directory, sync_directory};
use crate::store::ledger::SegmentNumber;
use crate::store::record::Seq;
use crate::store::segment::Segment;
use crate::store::state::LogState;
use crate::store::{Epoch, OpenError, StoreSettings};

/// The log while it is being written.
const UNFINISHED: &str = "log.unfinished";

/// Where the epoch stands in a sequence number and in a queue's id.
const SEQ_EPOCH_SHIFT: u32 = 40;
const QUEUE_EPOCH_SHIFT: u32 = 32;

/// What was saved.
#[derive(Debug)]
pub struct Repaired {
    /// Of the original.
    pub report: Report,
    pub definitions: usize,
    pub messages: u64,
    /// No user was left who could connect.
    pub has_no_users: bool,
}

/// Writes all that can be read of `directory` into `to`, which must not exist or be empty.
pub fn repair(directory: &Path, to: &Path, watch: &mut Watch<'_>) -> Result<Repaired, OpenError> {
    refuse_target(directory, to)?;
    let (directory, kept) = DataDirectory::open(directory)?;
    directory.refuse_other_formats()?;
    let held = Held::of(&directory, &kept);
    let kept_epoch = kept.epoch;
    let fold = Fold::of(&directory, kept, watch)?;
    let report = report(&directory, &fold, &held);
    let epoch = epoch(&fold, directory.found.last_epoch.max(kept_epoch));
    write(&directory, &fold, epoch, to).map_err(|error| {
        OpenError::new(format!(
            "cannot write the new data directory {}: {error}; make room or choose another one, and \
             remove what is there of it",
            to.display()
        ))
    })?;
    let (definitions, messages) = prove(&fold, to)?;
    let state = fold.state.lock();
    let has_no_users = !state.catalog.values().any(|found| matches!(found, Definition::User(_)));
    drop(state);
    Ok(Repaired { report, definitions, messages, has_no_users })
}

/// The target must be no place where something is, and not in the directory that stays untouched.
fn refuse_target(directory: &Path, to: &Path) -> Result<(), OpenError> {
    let refused = |why: String| {
        Err(OpenError::new(format!(
            "cannot write to {}: {why}; name a directory that does not exist or is empty",
            to.display()
        )))
    };
    match std::fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return refused("it is not empty".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return refused(error.to_string()),
    }
    let from = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    match existing_ancestor(to).starts_with(&from) {
        true => refused(format!("it is in {}, which stays as it is", directory.display())),
        false => Ok(()),
    }
}

/// The deepest directory on the way to a path that is there.
fn existing_ancestor(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    found.unwrap_or(absolute)
}

/// The highest that was used: sequence numbers and queue ids must never be used twice, whatever is
/// lost of what counts them.
fn epoch(fold: &Fold, found: u32) -> Epoch {
    let queues = fold.state.lock().queues();
    let used = queues.iter().flat_map(|queue| {
        let noted = queue.notes.last().map_or(Seq(0), |(seq, _)| *seq);
        let marked = queue.last.max(queue.delivered_upto).max(noted);
        [marked.0 >> SEQ_EPOCH_SHIFT, queue.id.0 >> QUEUE_EPOCH_SHIFT]
    });
    let used = used.filter_map(|epoch| u32::try_from(epoch).ok()).max().unwrap_or(0);
    Epoch(found.max(used))
}

fn write(directory: &DataDirectory, fold: &Fold, epoch: Epoch, to: &Path) -> io::Result<()> {
    let unfinished = to.join(UNFINISHED);
    std::fs::create_dir_all(&unfinished)?;
    let mut state = LogState::default();
    let numbers: Vec<SegmentNumber> = {
        let from = fold.state.lock();
        for definition in from.catalog.values() {
            state.put_definition(definition.clone());
        }
        for (queue, ledger) in &from.ledgers {
            state.ledgers.insert(*queue, ledger.without_messages());
        }
        from.segments.keys().copied().collect()
    };
    let files = Directory(unfinished.clone());
    let mut log = NewLog::begin(files, epoch, state)?;
    for number in numbers {
        each_batch(&*directory.files, &fold.state, number, |records| log.append(&records))?;
    }
    log.segment.sync()?;
    sync_directory(&unfinished)?;
    std::fs::rename(&unfinished, to.join("log"))?;
    sync_directory(to)
}

/// The log that is being written.
struct NewLog {
    files: Directory,
    epoch: Epoch,
    /// All but the messages: every segment begins with it.
    state: LogState,
    position: u64,
    segment: Segment,
    encoder: Encoder,
}

impl NewLog {
    fn begin(files: Directory, epoch: Epoch, mut state: LogState) -> io::Result<Self> {
        let (segment, encoder) = begin_segment(&files, 0, epoch, 1, &mut state)?;
        Ok(Self { files, epoch, state, position: 1, segment, encoder })
    }

    fn append(&mut self, records: &[LogRecord]) -> io::Result<()> {
        if self.segment.len >= StoreSettings::default().segment_size_bytes {
            self.segment.sync()?;
            self.position = self.position.saturating_add(1);
            let (last, position) = (self.segment.number, self.position);
            (self.segment, self.encoder) =
                begin_segment(&self.files, last, self.epoch, position, &mut self.state)?;
        }
        self.position = self.position.saturating_add(1);
        let (base, mut out) = (self.segment.len, Gather::default());
        self.encoder.put_batch(&mut out, base, self.position, records, &mut Vec::new())?;
        self.segment.append(&mut out)
    }
}

/// Opens what was written as a broker does, and compares. Answers how many definitions and messages
/// that are.
fn prove(fold: &Fold, to: &Path) -> Result<(usize, u64), OpenError> {
    let opened = crate::store::open(to, &StoreSettings::default())?;
    let state = fold.state.lock();
    let sums = |queues: Vec<crate::store::RecoveredQueue>| {
        let mut sums: Vec<_> = queues
            .into_iter()
            .map(|queue| (queue.id, queue.count, queue.bytes, queue.notes, queue.seen))
            .collect();
        sums.sort_unstable_by_key(|(id, ..)| *id);
        sums
    };
    let (expected, found) = (sums(state.queues()), sums(opened.queues));
    opened.store.close();
    if expected != found || state.catalog.len() != opened.catalog.len() {
        return Err(OpenError::new(format!(
            "what was written to {} is not what was read: the disk or the program has a defect; do \
             not use it, and try again with a directory on another disk",
            to.display()
        )));
    }
    let messages = found.iter().map(|(_, count, ..)| *count).fold(0, u64::saturating_add);
    Ok((opened.catalog.len(), messages))
}
