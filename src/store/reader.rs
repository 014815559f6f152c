//! Messages read back from the log: the paged-out middle of long queues, in batches.
//!
//! One thread. Where messages are is looked up under the fold's lock or in the files of indexes;
//! the reading itself holds no lock. A segment may go meanwhile, when its messages were settled or
//! carried elsewhere, and its file may be written over: then it is looked up again.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;

use super::decoding::decode_message;
use super::encoding::crc;
use super::files::{FileReader, Files};
use super::index::{Entry, SegmentIndex};
use super::index_file::IndexFile;
use super::ledger::{QueueLedger, Run, SegmentNumber};
use super::record::{QueueId, Seq};
use super::scan::scan;
use super::segment;
use super::state::{Index, LogState, SegmentFacts};
use super::{OnRead, Page, ReadLimit, Vitals};
use crate::protocol::message::Message;
use crate::protocol::wire::Fields;

/// Messages with no more than this between them are read in one go.
const GAP_MAX: u32 = 4 * 1024;

/// Bytes that are read in one go; a message that is longer is read alone.
const READ_MAX: u32 = 256 * 1024;

/// Runs with no more settled messages than this between them are looked up together.
const LOOK_UP_GAP_MAX: u64 = 256;

/// A segment that goes again and again while it is looked up would be a defect of ours.
const ATTEMPTS_MAX: usize = 8;

/// Which messages of a queue are to be read.
pub(super) enum Wanted {
    /// Those that live from a number on.
    From(Seq, ReadLimit),
    /// These, if they live, in ascending order.
    Each(Vec<Seq>),
}

struct Request {
    queue: QueueId,
    wanted: Wanted,
    on_read: OnRead,
}

/// The way to the reading thread.
pub(super) struct ReadRequests(Mutex<Sender<Request>>);

impl ReadRequests {
    /// Asks for messages. A queue asks for one batch at a time, which bounds what waits here.
    pub(super) fn ask(&self, queue: QueueId, wanted: Wanted, on_read: OnRead) {
        let request = Request { queue, wanted, on_read };
        if self.0.lock().send(request).is_err() {
            // Not answered here: whoever asks may hold what the answer needs.
            tracing::error!(?queue, "the thread that reads messages back is gone; restart");
        }
    }
}

/// The reading thread's end.
pub(super) struct LogReader {
    pub(super) files: Arc<dyn Files>,
    pub(super) state: Arc<Mutex<LogState>>,
    vitals: Arc<Vitals>,
    requests: Receiver<Request>,
}

impl LogReader {
    pub(super) fn new(
        files: Arc<dyn Files>,
        state: Arc<Mutex<LogState>>,
        vitals: Arc<Vitals>,
    ) -> (ReadRequests, Self) {
        let (sender, requests) = channel();
        (ReadRequests(Mutex::new(sender)), Self { files, state, vitals, requests })
    }

    /// Runs until nobody is left who could ask.
    pub(super) fn run(self) {
        for Request { queue, wanted, on_read } in &self.requests {
            let read = AssertUnwindSafe(|| on_read(self.read(queue, &wanted)));
            if catch_unwind(read).is_err() {
                tracing::error!(?queue, "reading messages back panicked; the store goes on");
            }
        }
    }

    fn read(&self, queue: QueueId, wanted: &Wanted) -> Page {
        for _ in 0..ATTEMPTS_MAX {
            let read = match wanted {
                Wanted::From(from, limit) => self.read_from(queue, *from, *limit),
                Wanted::Each(seqs) => self.read_each(queue, seqs),
            };
            match read {
                Ok(page) => return page,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(?queue, %error, "messages can't be read back");
                    break;
                }
            }
        }
        match wanted {
            Wanted::From(..) => Page::default(),
            Wanted::Each(seqs) => Page { through: last_of(seqs), ..Page::default() },
        }
    }

    fn damaged(&self, queue: QueueId, number: SegmentNumber, entry: &Entry) {
        tracing::error!(
            file = %self.files.described(&segment::file_name(number)).display(),
            offset = entry.place.offset,
            bytes = entry.place.len,
            ?queue,
            "a message is damaged: it can't be delivered"
        );
        self.state.lock().mark_damaged(number);
    }

    fn read_from(&self, queue: QueueId, from: Seq, limit: ReadLimit) -> io::Result<Page> {
        let (mut located, complete) = locate(&*self.files, &self.state, queue, from, limit.count)?;
        let mut through = Seq(u64::MAX);
        let (mut bytes, mut taken) = (0u64, 0usize);
        for Located { entry, .. } in &located {
            if taken > 0 && bytes >= limit.bytes {
                break;
            }
            bytes = bytes.saturating_add(u64::from(entry.place.len));
            taken = taken.saturating_add(1);
        }
        if taken < located.len() || !complete {
            located.truncate(taken);
            through = located.last().map_or(from, |last| last.entry.seq());
        }
        Ok(Page { messages: self.read_located(queue, located)?, through })
    }

    fn read_each(&self, queue: QueueId, seqs: &[Seq]) -> io::Result<Page> {
        let runs = |ledger: &QueueLedger| ledger.runs_of(seqs);
        let located = locate_runs(&*self.files, &self.state, queue, seqs.len(), runs)?;
        Ok(Page { messages: self.read_located(queue, located)?, through: last_of(seqs) })
    }

    fn read_located(
        &self,
        queue: QueueId,
        located: Vec<Located>,
    ) -> io::Result<Vec<(Seq, Arc<Message>)>> {
        let mut by_segment: BTreeMap<SegmentNumber, (u64, Vec<Entry>)> = BTreeMap::new();
        for Located { entry, segment, salt } in located {
            by_segment.entry(segment).or_insert_with(|| (salt, Vec::new())).1.push(entry);
        }
        let mut messages = Vec::new();
        for (number, (salt, entries)) in by_segment {
            let bytes = entries.iter().map(|entry| u64::from(entry.place.len)).sum();
            self.vitals.reads.fetch_add(1, Ordering::Relaxed);
            self.vitals.read_bytes.fetch_add(bytes, Ordering::Relaxed);
            let mut bad = Vec::new();
            read_entries(&*self.files, number, salt, entries, |entry, message| match message {
                Some(message) => messages.push((entry.seq(), Arc::new(message))),
                None => bad.push(*entry),
            })?;
            if !bad.is_empty() {
                still_there(&self.state, number)?;
            }
            bad.iter().for_each(|entry| self.damaged(queue, number, entry));
        }
        messages.sort_unstable_by_key(|(seq, _)| *seq);
        Ok(messages)
    }
}

/// What was read in a segment that went meanwhile, and doesn't hold, may be another's.
fn still_there(state: &Mutex<LogState>, number: SegmentNumber) -> io::Result<()> {
    match state.lock().segments.contains_key(&number) {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn last_of(seqs: &[Seq]) -> Seq {
    seqs.last().copied().unwrap_or_default()
}

/// A message's place in the log.
pub(super) struct Located {
    pub(super) entry: Entry,
    segment: SegmentNumber,
    salt: u64,
}

/// Where the next messages of a queue are, in order, with the salts of their segments, and
/// whether these are all.
pub(super) fn locate(
    files: &dyn Files,
    state: &Mutex<LogState>,
    queue: QueueId,
    from: Seq,
    max: usize,
) -> io::Result<(Vec<Located>, bool)> {
    let mut count = 0;
    let found = locate_runs(files, state, queue, max, |ledger| {
        let runs = ledger.live_runs(from, (max as u64).saturating_add(1));
        count = runs.iter().map(Run::len).fold(0, u64::saturating_add);
        runs
    })?;
    Ok((found, count <= max as u64))
}

/// Where the messages of some runs of a queue are, in order, and no more than so many.
fn locate_runs(
    files: &dyn Files,
    state: &Mutex<LogState>,
    queue: QueueId,
    max: usize,
    runs_in: impl FnOnce(&QueueLedger) -> Vec<Run>,
) -> io::Result<Vec<Located>> {
    let mut found = Vec::new();
    let mut in_files: BTreeMap<SegmentNumber, (SegmentFacts, Vec<Run>)> = BTreeMap::new();
    {
        let mut state = state.lock();
        let Some(ledger) = state.ledgers.get(&queue) else { return Ok(found) };
        for run in runs_in(ledger) {
            let Some(segment) = state.segments.get_mut(&run.segment) else { continue };
            if let Index::Active(index) = &mut segment.index {
                index.sort_queue(queue);
            }
            match &segment.index {
                Index::Active(index) => add(&mut found, index, queue, run, segment.facts, max),
                Index::Sealed(index) => add(&mut found, index, queue, run, segment.facts, max),
                Index::InFile => {
                    let runs = in_files.entry(run.segment);
                    runs.or_insert_with(|| (segment.facts, Vec::new())).1.push(run);
                }
            }
        }
    }
    for (number, (facts, runs)) in in_files {
        let entries = look_up(files, number, facts, queue, &runs, max);
        still_there(state, number)?;
        let entries = entries?;
        let located = |entry| Located { entry, segment: number, salt: facts.salt };
        found.extend(entries.into_iter().map(located));
    }
    found.sort_unstable_by_key(|located: &Located| located.entry.seq());
    found.truncate(max);
    Ok(found)
}

fn add(
    found: &mut Vec<Located>,
    index: &SegmentIndex,
    queue: QueueId,
    run: Run,
    facts: SegmentFacts,
    max: usize,
) {
    let entries = index.range(queue, run.first, run.last, max);
    let located = |entry| Located { entry, segment: run.segment, salt: facts.salt };
    found.extend(entries.into_iter().map(located));
}

/// Looks runs up in the index of a segment, which is made again when it doesn't hold.
fn look_up(
    files: &dyn Files,
    number: SegmentNumber,
    facts: SegmentFacts,
    queue: QueueId,
    runs: &[Run],
    max: usize,
) -> io::Result<Vec<Entry>> {
    let file = files.open(&segment::index_file_name(number));
    let index = file.ok().and_then(|file| IndexFile::open(file, facts.salt, facts.len).ok());
    let found = index.and_then(|index| {
        look_up_runs(runs, max, |first, last| index.range(queue, first, last, max)).ok()
    });
    match found {
        Some(found) => Ok(found),
        None => {
            let index = index_again(files, number, facts)?;
            let range = |first, last| Ok::<_, io::Error>(index.range(queue, first, last, max));
            look_up_runs(runs, max, range)
        }
    }
}

/// Looks runs up that are near to one another together.
fn look_up_runs<E>(
    runs: &[Run],
    max: usize,
    mut range: impl FnMut(Seq, Seq) -> Result<Vec<Entry>, E>,
) -> Result<Vec<Entry>, E> {
    let mut found = Vec::new();
    let near = |a: &Run, b: &Run| b.first.0.saturating_sub(a.last.0) <= LOOK_UP_GAP_MAX;
    for together in runs.chunk_by(near) {
        let [first, .., last] = together else {
            let [run] = together else { continue };
            found.extend(range(run.first, run.last)?);
            continue;
        };
        let lives = |entry: &Entry| {
            let after = together.partition_point(|run| run.first <= entry.seq());
            let run = after.checked_sub(1).and_then(|index| together.get(index));
            run.is_some_and(|run| run.last >= entry.seq())
        };
        let mut next = first.first;
        // What is settled in between takes places in what is found at a time.
        while next <= last.last && found.len() < max {
            let entries = range(next, last.last)?;
            let Some(end) = entries.last().map(|entry| entry.seq()) else { break };
            found.extend(entries.into_iter().filter(&lives));
            next = Seq(end.0.saturating_add(1));
        }
    }
    Ok(found)
}

/// Makes the index of a segment from its records.
pub(super) fn index_again(
    files: &dyn Files,
    number: SegmentNumber,
    facts: SegmentFacts,
) -> io::Result<SegmentIndex> {
    let mut index = SegmentIndex::default();
    let scanned = scan(files, number, facts.len, |batch| {
        for record in &batch.records {
            let Some(message) = record.message() else { continue };
            for (queue, seq) in record.places() {
                index.add(*queue, *seq, message.place);
            }
        }
    });
    scanned.map_err(|error| match error {
        segment::SegmentError::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })?;
    index.sort();
    tracing::warn!(
        file = %files.described(&segment::index_file_name(number)).display(),
        "an index is missing or damaged and was made again from its segment"
    );
    Ok(index)
}

/// Reads the messages at these entries of a segment, neighbours in one go. `each` gets them in the
/// order of the file; nothing for one whose CRC doesn't hold.
pub(super) fn read_entries(
    files: &dyn Files,
    number: SegmentNumber,
    salt: u64,
    mut entries: Vec<Entry>,
    mut each: impl FnMut(&Entry, Option<Message>),
) -> io::Result<()> {
    entries.sort_unstable_by_key(|entry| entry.place.offset);
    let file = files.open(&segment::file_name(number))?;
    let begun = crc(salt);
    let mut rest = entries.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let start = first.place.offset;
        let (mut end, mut count) = (start.saturating_add(first.place.len), 1usize);
        for next in others {
            let next_end = next.place.offset.saturating_add(next.place.len);
            let gap = next.place.offset.saturating_sub(end);
            if gap > GAP_MAX || next_end.saturating_sub(start) > READ_MAX {
                break;
            }
            (end, count) = (end.max(next_end), count.saturating_add(1));
        }
        let (together, behind) = rest.split_at(count);
        let head_len = first.place.len.saturating_sub(first.place.body_len);
        let pieces = read_pieces(&*file, start, end, head_len)?;
        for entry in together {
            each(entry, message_of(&pieces, start, entry, &begun));
        }
        rest = behind;
    }
    Ok(())
}

/// Reads what is between two offsets. What is longer than a read comes in pieces, of which only the
/// last is shorter: a large message needs no memory in one part. The first has all of its head.
fn read_pieces(
    file: &dyn FileReader,
    start: u32,
    end: u32,
    head_len: u32,
) -> io::Result<Vec<Bytes>> {
    let (mut pieces, mut offset) = (Vec::new(), start);
    while offset < end {
        let len = if pieces.is_empty() { READ_MAX.max(head_len) } else { READ_MAX };
        let len = end.saturating_sub(offset).min(len);
        pieces.push(read_fully(file, u64::from(offset), len as usize)?);
        offset = offset.saturating_add(len);
    }
    Ok(pieces)
}

/// The message of an entry: in a part of the one piece that was read, or in all of them.
fn message_of(
    pieces: &[Bytes],
    start: u32,
    entry: &Entry,
    begun: &crc32fast::Hasher,
) -> Option<Message> {
    let (first, others) = pieces.split_first()?;
    if !others.is_empty() {
        return decode_message(Fields::new(first), others, begun);
    }
    let from = entry.place.offset.saturating_sub(start) as usize;
    let to = from.saturating_add(entry.place.len as usize);
    decode_message(Fields::within(first, from..to), &[], begun)
}

/// Reads what there is: a segment that was cut is damaged, not gone.
fn read_fully(file: &dyn FileReader, offset: u64, len: usize) -> io::Result<Bytes> {
    match file.read_at(offset, len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Bytes::new()),
        Ok(bytes) if bytes.remaining() < len => Ok(Bytes::new()),
        read => read,
    }
}
