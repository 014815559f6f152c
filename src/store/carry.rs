//! A segment that a few living messages keep from going is rewritten: they are carried to the end
//! of the log, as records like any other, and the segment goes as one without messages does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;

use super::encoding::LogRecord;
use super::files::Files;
use super::inbox::Inbox;
use super::index::Entry;
use super::index_file::IndexFile;
use super::ledger::SegmentNumber;
use super::reader::{index_again, read_entries};
use super::record::{Places, QueueId, Seq};
use super::state::{LogState, SegmentFacts};
use super::{AppendError, segment};

/// Bytes of messages that are carried in one batch.
const BATCH_BYTES: u64 = 1024 * 1024;

/// A message that lives, with all the places where it does.
struct Living {
    entry: Entry,
    places: Places,
}

/// Carries what lives in a segment to the end of the log. Blocks until it is there.
pub(super) fn carry(
    files: &dyn Files,
    state: &Mutex<LogState>,
    inbox: &Inbox,
    number: SegmentNumber,
) -> io::Result<()> {
    let carried = each_batch(files, state, number, |records| append(inbox, records))?;
    tracing::debug!(segment = number, messages = carried, "rewrote a segment with few messages");
    Ok(())
}

/// What lives in a segment, as the records that carry it, in batches of bounded length. Answers how
/// many messages that were.
pub(super) fn each_batch(
    files: &dyn Files,
    state: &Mutex<LogState>,
    number: SegmentNumber,
    mut each: impl FnMut(Vec<LogRecord>) -> io::Result<()>,
) -> io::Result<usize> {
    let Some(facts) = state.lock().segments.get(&number).map(|segment| segment.facts) else {
        return Ok(0);
    };
    let mut living = living(files, state, number, facts)?.into_iter().peekable();
    let mut carried: usize = 0;
    while living.peek().is_some() {
        let (mut bytes, mut batch) = (0u64, Vec::new());
        while let Some(next) = living.next_if(|_| bytes < BATCH_BYTES) {
            bytes = bytes.saturating_add(u64::from(next.entry.place.len));
            batch.push(next);
        }
        let count = batch.len();
        carried = carried.saturating_add(count);
        let records = read(files, number, facts.salt, batch)?;
        if records.len() < count {
            // What can't be read can't be carried.
            state.lock().mark_damaged(number);
        }
        each(records)?;
    }
    Ok(carried)
}

/// What lives in a segment, by offset.
fn living(
    files: &dyn Files,
    state: &Mutex<LogState>,
    number: SegmentNumber,
    facts: SegmentFacts,
) -> io::Result<Vec<Living>> {
    let mut all: Vec<(QueueId, Seq, Entry)> = Vec::new();
    let mut each = |queue, seq, place| {
        let state = state.lock();
        if state.ledgers.get(&queue).is_some_and(|ledger| ledger.lives_in(seq, number)) {
            all.push((queue, seq, Entry::new(seq, place)));
        }
    };
    let file = files.open(&segment::index_file_name(number));
    let index = file.ok().and_then(|file| IndexFile::open(file, facts.salt, facts.len).ok());
    if index.is_none_or(|index| index.each(&mut each).is_err()) {
        index_again(files, number, facts)?.each(&mut each);
    }
    all.sort_unstable_by_key(|(queue, seq, entry)| (entry.place.offset, *queue, *seq));
    all.dedup_by_key(|(queue, seq, _)| (*queue, *seq));
    let same =
        |a: &(QueueId, Seq, Entry), b: &(QueueId, Seq, Entry)| a.2.place.offset == b.2.place.offset;
    let living = |places: &[(QueueId, Seq, Entry)]| {
        let (_, _, entry) = places.first()?;
        let places = places.iter().map(|(queue, seq, _)| (*queue, *seq)).collect();
        Some(Living { entry: *entry, places })
    };
    Ok(all.chunk_by(same).filter_map(living).collect())
}

/// The records that carry these messages. One that is damaged stays where it is.
fn read(
    files: &dyn Files,
    number: SegmentNumber,
    salt: u64,
    batch: Vec<Living>,
) -> io::Result<Vec<LogRecord>> {
    let entries = batch.iter().map(|living| living.entry).collect();
    let (mut records, mut places) = (Vec::new(), batch.into_iter().map(|living| living.places));
    read_entries(files, number, salt, entries, |_, message| {
        if let (Some(message), Some(queues)) = (message, places.next()) {
            records.push(LogRecord::Carry { message: Arc::new(message), queues });
        }
    })?;
    Ok(records)
}

/// Appends and waits until it is on disk.
fn append(inbox: &Inbox, records: Vec<LogRecord>) -> io::Result<()> {
    let (sender, answer) = sync_channel(1);
    let on_commit = Box::new(move |outcome| drop(sender.send(outcome)));
    inbox.append_own(records, on_commit);
    match answer.recv() {
        Ok(Ok(_)) => Ok(()),
        // The next start goes on with it.
        Ok(Err(AppendError::Closed(_))) => Ok(()),
        Ok(Err(error)) => Err(io::Error::other(error.to_string())),
        Err(_) => Err(io::Error::other("the store ended without an answer")),
    }
}
