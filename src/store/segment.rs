//! One segment file of the log: its name, its head, appending to it and scanning it.
//!
//! ```text
//! log/00000000000000000007.seg
//!   magic "FERRYLOG" | format version u32 | epoch u32 | salt u64 | CRC u32 of all that | batches
//! ```
//!
//! Every later format keeps this head, so that an older program can tell what it can't read.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::decoding::{BatchHead, Met};
use super::encoding::{BATCH_HEAD_LEN, LogRecord};
use super::files::{FileReader, FileWriter, Files, RESERVE_MAX};
use super::ledger::SegmentNumber;
use super::record::QueueId;
use crate::protocol::gather::Gather;
use crate::protocol::wire::Fields;

const MAGIC: [u8; 8] = *b"FERRYLOG";

/// The format that this program writes.
const FORMAT_VERSION: u32 = 3;

/// The oldest that it reads: format 2 is this one without notes and digests.
const FORMAT_VERSION_MIN: u32 = 2;

pub(super) const HEAD_LEN: usize = 28;

const EXTENSION: &str = ".seg";

/// Longer writes don't reserve: where that much comes at a time, zeros would be written for each of
/// its bytes, and a sync more or less costs little.
const RESERVING_WRITE_MAX: u64 = 16 * 1024;

/// A segment is read in parts of this length, or of the length of a batch that is longer.
const READ_LEN: usize = 1024 * 1024;

/// A segment's file.
pub(super) fn file_name(number: SegmentNumber) -> String {
    format!("{number:020}{EXTENSION}")
}

/// The file of a segment's index.
pub(super) fn index_file_name(number: SegmentNumber) -> String {
    format!("{number:020}.idx")
}

/// The numbers of the segments in a directory, in order.
pub(super) fn list(files: &dyn Files) -> io::Result<Vec<SegmentNumber>> {
    let names = files.list()?;
    let number = |name: &String| name.strip_suffix(EXTENSION)?.parse().ok();
    let mut numbers: Vec<SegmentNumber> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment that is being written.
pub(super) struct Segment {
    pub(super) number: SegmentNumber,
    pub(super) salt: u64,
    pub(super) len: u64,
    /// Where its head and its snapshot end.
    snapshot_end: u64,
    /// Up to here the file has its length already.
    reserved_end: u64,
    file: Box<dyn FileWriter>,
}

impl Segment {
    /// Creates a segment, durable with its name.
    pub(super) fn create(files: &dyn Files, number: SegmentNumber, epoch: u32) -> io::Result<Self> {
        let mut file = files.create(&file_name(number))?;
        let salt = rand::random();
        let mut head = Gather::default();
        put_head(head.buffer(), epoch, salt);
        let len = head.len() as u64;
        file.append(&mut head)?;
        file.sync()?;
        files.sync_names()?;
        Ok(Self { number, salt, len, snapshot_end: len, reserved_end: len, file })
    }

    /// Writes what all segments before it say but for messages, durably.
    pub(super) fn begin(&mut self, snapshot: &mut Gather) -> io::Result<()> {
        self.append(snapshot)?;
        self.snapshot_end = self.len;
        self.sync()
    }

    /// What came behind its snapshot: a segment has room for its full length of that, or the
    /// snapshot of many queues would leave none.
    pub(super) fn written(&self) -> u64 {
        self.len.saturating_sub(self.snapshot_end)
    }

    /// Writes bytes at the end; they are durable after [`Segment::sync`].
    pub(super) fn append(&mut self, bytes: &mut Gather) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.file.append(bytes)?;
        self.len = self.len.saturating_add(len);
        if len <= RESERVING_WRITE_MAX && self.len > self.reserved_end {
            self.reserve();
        }
        Ok(())
    }

    /// Reserves as much as there is already, within limits. It may fail: it was a favour.
    fn reserve(&mut self) {
        let len = usize::try_from(self.len).map_or(RESERVE_MAX, |len| len.min(RESERVE_MAX));
        if self.file.reserve(len).is_ok() {
            self.reserved_end = self.len.saturating_add(len as u64);
        }
    }

    /// Ends the segment where what was written ends. It is synced.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.reserved_end > self.len {
            true => self.file.trim(),
            false => Ok(()),
        }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

/// The bytes of a head.
pub(super) fn put_head(head: &mut BytesMut, epoch: u32, salt: u64) {
    head.put_slice(&MAGIC);
    head.put_u32(FORMAT_VERSION);
    head.put_u32(epoch);
    head.put_u64(salt);
    head.put_u32(crc32fast::hash(head));
}

/// A batch that was read.
#[derive(Debug)]
pub(super) struct ReadBatch {
    pub(super) position: u64,
    pub(super) records: Vec<LogRecord<Met>>,
}

/// A part of a segment that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// The queues of the message that it is, when it is just one message.
    pub(super) queues: Vec<QueueId>,
}

/// Why a segment can't be read at all.
#[derive(Debug)]
pub(super) enum SegmentError {
    Io(io::Error),
    /// It was created and nothing was written in it: nothing is lost with it.
    Unfinished,
    /// The head is damaged: without its salt nothing in it can be trusted.
    DamagedHead,
    /// It was written by another version of the program.
    OtherFormat(u32),
}

impl SegmentError {
    /// What to say about a version that can't be read.
    pub(super) fn other_format(path: &std::path::Path, version: u32) -> String {
        let (age, remedy) = match version > FORMAT_VERSION {
            true => ("newer", "start the version of FerryMQ that wrote it, or a newer one"),
            false => (
                "older",
                "start the version of FerryMQ that wrote it, drain its queues, and \
                                begin with an empty directory",
            ),
        };
        format!(
            "{} has format version {version}, which is {age} than this program reads \
             ({FORMAT_VERSION}); {remedy}",
            path.display()
        )
    }
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: u32,
    pub(super) salt: u64,
}

/// What a segment file holds.
#[derive(Debug)]
pub(super) struct SegmentContent {
    pub(super) damages: Vec<Damage>,
    /// Where the last whole batch ends.
    pub(super) good_len: u64,
    /// Without what was reserved and not used.
    pub(super) len: u64,
    /// Zeros at the end that were reserved.
    pub(super) reserved: u64,
    /// The highest of its batches, 0 without any.
    pub(super) last_position: u64,
}

/// Reads a segment's head.
pub(super) fn read_head(files: &dyn Files, number: SegmentNumber) -> Result<Head, SegmentError> {
    let name = file_name(number);
    let len = usize::try_from(files.len(&name)?).unwrap_or(usize::MAX);
    let bytes = files.open(&name)?.read_at(0, len.min(HEAD_LEN))?;
    parse_head(&bytes, len)
}

/// Scans a segment; `each` gets its batches in order. A batch that doesn't hold is passed over to
/// the next one that does. What ends within the first `trusted_len` bytes was committed: a message
/// there whose CRC doesn't hold is damaged; in the last batch behind it the batch was never
/// finished, and zeros behind it were reserved for batches that never came.
pub(super) fn scan(
    files: &dyn Files,
    number: SegmentNumber,
    trusted_len: u64,
    mut each: impl FnMut(ReadBatch),
) -> Result<SegmentContent, SegmentError> {
    let name = file_name(number);
    let len = files.len(&name)?;
    let mut window = Window::new(files.open(&name)?, len);
    let head = parse_head(&window.at(0, HEAD_LEN)?, usize::try_from(len).unwrap_or(usize::MAX))?;
    let (mut content, mut bad_from) = (SegmentContent::new(len), None);
    let mut offset = HEAD_LEN as u64;
    while offset < len {
        let Some((batch, end)) = window.finished_batch(offset, head.salt, trusted_len)? else {
            if offset >= trusted_len && offset >= window.zeros_from()? {
                (content.len, content.reserved) = (offset, len.saturating_sub(offset));
                break;
            }
            bad_from.get_or_insert(offset);
            offset = offset.saturating_add(1);
            continue;
        };
        if let Some(start) = bad_from.take() {
            let len = offset.saturating_sub(start);
            content.damages.push(Damage { offset: start, len, queues: Vec::new() });
        }
        content.damages.extend(batch.records.iter().filter_map(damage_in));
        content.last_position = content.last_position.max(batch.position);
        each(batch);
        (offset, content.good_len) = (end, end);
    }
    Ok(content)
}

impl SegmentContent {
    fn new(len: u64) -> Self {
        let good_len = HEAD_LEN as u64;
        Self { damages: Vec::new(), good_len, len, reserved: 0, last_position: 0 }
    }
}

fn is_intact(record: &LogRecord<Met>) -> bool {
    record.message().is_none_or(|message| message.intact)
}

fn damage_in(record: &LogRecord<Met>) -> Option<Damage> {
    let message = record.message().filter(|message| !message.intact)?;
    let queues = record.places().iter().map(|(queue, _)| *queue).collect();
    let (offset, len) = (u64::from(message.place.offset), u64::from(message.place.len));
    Some(Damage { offset, len, queues })
}

/// The part of a file that is in memory.
struct Window {
    file: Box<dyn FileReader>,
    len: u64,
    start: u64,
    bytes: Bytes,
    zeros_from: Option<u64>,
}

impl Window {
    fn new(file: Box<dyn FileReader>, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Bytes::new(), zeros_from: None }
    }

    /// So many bytes from there on, or as many as there are.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let within = |window: &Self| {
            let from = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            let end = from.checked_add(len)?;
            (end <= window.bytes.len()).then(|| window.bytes.slice(from..end))
        };
        if let Some(bytes) = within(self) {
            return Ok(bytes);
        }
        self.bytes = Bytes::new();
        self.bytes = self.file.read_at(offset, len.max(READ_LEN).min(left))?;
        self.start = offset;
        Ok(self.bytes.slice(..len))
    }

    /// Where the zeros at the end of the file begin, if there are any. Looked for once.
    fn zeros_from(&mut self) -> io::Result<u64> {
        if let Some(from) = self.zeros_from {
            return Ok(from);
        }
        let mut from = self.len;
        while from > 0 {
            let start = from.saturating_sub(READ_LEN as u64);
            let bytes = self.at(start, usize::try_from(from.saturating_sub(start)).unwrap_or(0))?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                from = start.saturating_add(last as u64).saturating_add(1);
                break;
            }
            from = start;
        }
        self.zeros_from = Some(from);
        Ok(from)
    }

    /// The batch that begins there, when it holds and was finished, and where it ends.
    fn finished_batch(
        &mut self,
        offset: u64,
        salt: u64,
        trusted_len: u64,
    ) -> io::Result<Option<(ReadBatch, u64)>> {
        let Some((batch, end)) = self.batch(offset, salt)? else { return Ok(None) };
        let is_finished = end <= trusted_len
            || batch.records.iter().all(is_intact)
            // Something came behind it.
            || end < self.zeros_from()?;
        Ok(is_finished.then_some((batch, end)))
    }

    /// The batch that begins there, when it holds, and where it ends.
    fn batch(&mut self, offset: u64, salt: u64) -> io::Result<Option<(ReadBatch, u64)>> {
        let head = self.at(offset, BATCH_HEAD_LEN)?;
        let Some(head) = BatchHead::decode(&head, salt) else { return Ok(None) };
        let start = offset.saturating_add(BATCH_HEAD_LEN as u64);
        let end = start.saturating_add(head.payload_len as u64);
        let Ok(base) = usize::try_from(start) else { return Ok(None) };
        if end > self.len {
            return Ok(None);
        }
        let payload = self.at(start, head.payload_len)?;
        let records = head.records(&payload, base, salt);
        Ok(records.map(|records| (ReadBatch { position: head.position, records }, end)))
    }
}

fn parse_head(bytes: &Bytes, file_len: usize) -> Result<Head, SegmentError> {
    let damaged = match file_len <= HEAD_LEN {
        true => SegmentError::Unfinished,
        false => SegmentError::DamagedHead,
    };
    let Some((head, _)) = bytes.split_first_chunk::<HEAD_LEN>() else { return Err(damaged) };
    let Some((checked, crc)) = head.split_last_chunk::<4>() else { return Err(damaged) };
    if !checked.starts_with(&MAGIC) || crc32fast::hash(checked).to_be_bytes() != *crc {
        return Err(damaged);
    }
    let owner = bytes.slice(MAGIC.len()..HEAD_LEN);
    let mut fields = Fields::new(&owner);
    let read = (fields.long(), fields.long(), fields.longlong());
    match read {
        (Ok(FORMAT_VERSION_MIN..=FORMAT_VERSION), Ok(epoch), Ok(salt)) => Ok(Head { epoch, salt }),
        (Ok(version), _, _) => Err(SegmentError::OtherFormat(version)),
        _ => Err(damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::encoding::Encoder;
    use crate::store::record::{Record, Seq};
    use crate::store::simulated::SimulatedDisk;

    const SALT: u64 = 0x0123_4567_89AB_CDEF;

    /// A segment with batches at positions from 1 on, and where each of them ends.
    fn segment(count: u64) -> (Vec<u8>, Vec<usize>) {
        let mut out = Gather::default();
        put_head(out.buffer(), 9, SALT);
        let (mut encoder, mut ends) = (Encoder::new(SALT), vec![out.len()]);
        for position in 1..=count {
            let mark = Record::DeliverMark { queue: QueueId(1), upto: Seq(position) };
            let records = [LogRecord::Broker(mark)];
            let put = encoder.put_batch(&mut out, 0, position, &records, &mut Vec::new());
            put.expect("it is short");
            ends.push(out.len());
        }
        let mut bytes = Vec::new();
        out.write_to(&mut bytes).expect("a Vec takes everything");
        (bytes, ends)
    }

    fn positions(bytes: &[u8]) -> (Vec<u64>, Result<SegmentContent, SegmentError>) {
        let disk = SimulatedDisk::new();
        let mut out = Gather::default();
        out.buffer().extend_from_slice(bytes);
        let mut file = disk.create(&file_name(1)).expect("an empty disk");
        file.append(&mut out).expect("no fault");
        let mut positions = Vec::new();
        let content = scan(&disk, 1, 0, |batch| positions.push(batch.position));
        (positions, content)
    }

    #[test]
    fn a_segment_cut_at_any_byte_has_the_batches_before_the_cut() {
        let (bytes, ends) = segment(3);
        for cut in HEAD_LEN + 1..=bytes.len() {
            let (found, content) = positions(&bytes[..cut]);
            let whole = ends.partition_point(|end| *end <= cut) - 1;
            assert_eq!(found, (1..=whole as u64).collect::<Vec<_>>(), "cut at {cut}");
            let content = content.expect("a whole head");
            let len = content.len + content.reserved;
            assert_eq!((content.good_len, len), (ends[whole] as u64, cut as u64));
            assert_eq!((content.damages, content.last_position), (vec![], whole as u64));
        }
    }

    #[test]
    fn a_batch_with_any_byte_changed_is_passed_over_and_reported() {
        let (bytes, ends) = segment(3);
        let [offset, end] = [ends[1] as u64, ends[2] as u64];
        let expected = Damage { offset, len: end - offset, queues: vec![] };
        for offset in ends[1]..ends[2] {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 0x80;
            let (found, content) = positions(&damaged);
            assert_eq!(found, [1, 3], "offset {offset}");
            assert_eq!(content.expect("a whole head").damages, std::slice::from_ref(&expected));
        }
    }

    #[test]
    fn a_head_that_is_cut_is_unfinished_and_one_that_is_changed_is_damaged() {
        let (bytes, _) = segment(1);
        for cut in 0..HEAD_LEN {
            let (_, content) = positions(&bytes[..cut]);
            assert!(matches!(content, Err(SegmentError::Unfinished)), "cut at {cut}");
        }
        for offset in 0..HEAD_LEN {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 1;
            let (_, content) = positions(&damaged);
            assert!(matches!(content, Err(SegmentError::DamagedHead)), "offset {offset}");
        }
    }

    #[test]
    fn zeros_that_were_reserved_are_no_damage_unless_they_stand_where_something_was() {
        let (bytes, ends) = segment(3);
        let scanned = |kept: usize, trusted_len: usize| {
            let disk = SimulatedDisk::new();
            let mut out = Gather::default();
            out.buffer().extend_from_slice(&bytes[..kept]);
            out.buffer().extend_from_slice(&vec![0; 3 * READ_LEN]);
            let mut file = disk.create(&file_name(1)).expect("an empty disk");
            file.append(&mut out).expect("no fault");
            scan(&disk, 1, trusted_len as u64, |_| {}).expect("a whole head")
        };
        let whole = scanned(ends[3], ends[3]);
        assert_eq!((whole.good_len, whole.len), (ends[3] as u64, ends[3] as u64));
        assert_eq!(whole.reserved, 3 * READ_LEN as u64);
        // The end of the last batch never came.
        let torn = scanned(ends[3] - 5, ends[2]);
        assert_eq!(torn.good_len, ends[2] as u64);
        assert!((ends[2] as u64 + 1..=ends[3] as u64 - 5).contains(&torn.len));
        assert_eq!(torn.len + torn.reserved, (ends[3] - 5 + 3 * READ_LEN) as u64);
        let lost = scanned(ends[2], ends[3]);
        assert!(lost.good_len < lost.len, "it was committed");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_behind_a_head_hold_no_batch(
            bytes in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let mut all = BytesMut::new();
            put_head(&mut all, 9, SALT);
            all.extend_from_slice(&bytes);
            prop_assert!(positions(&all).0.is_empty());
        }
    }
}
