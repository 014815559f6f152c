//! One segment file of the log: its name, its head, appending to it and reading it.
//!
//! ```text
//! log/00000000000000000007.seg
//!   magic "FERRYLOG" | format version u32 | epoch u32 | salt u64 | CRC u32 of all that | batches
//! ```
//!
//! Every later format keeps this head, so that an older program can tell what it can't read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes};

use super::encoding::{BATCH_HEAD_LEN, BatchHead, LogRecord, decode_payload};
use super::ledger::SegmentNumber;
use crate::protocol::gather::Gather;
use crate::protocol::wire::Fields;

const MAGIC: [u8; 8] = *b"FERRYLOG";

/// The format that this program writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

const HEAD_LEN: usize = 28;

const EXTENSION: &str = "seg";

/// Where a segment's file is.
pub(super) fn path_of(directory: &Path, number: SegmentNumber) -> PathBuf {
    directory.join(format!("{number:020}.{EXTENSION}"))
}

/// The numbers of the segments in a directory, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<SegmentNumber>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: SegmentNumber,
    pub(super) salt: u64,
    pub(super) len: u64,
    file: File,
}

impl Segment {
    /// Creates a segment, durable with its name.
    pub(super) fn create(directory: &Path, number: SegmentNumber, epoch: u32) -> io::Result<Self> {
        let path = path_of(directory, number);
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let salt = rand::random();
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.put_slice(&MAGIC);
        head.put_u32(FORMAT_VERSION);
        head.put_u32(epoch);
        head.put_u64(salt);
        head.put_u32(crc32fast::hash(&head));
        file.write_all(&head)?;
        file.sync_all()?;
        sync_directory(directory)?;
        Ok(Self { number, salt, len: head.len() as u64, file })
    }

    /// Writes bytes at the end; they are durable after [`Segment::sync`].
    pub(super) fn append(&mut self, bytes: &mut Gather) -> io::Result<()> {
        let len = bytes.len() as u64;
        bytes.write_to(&mut self.file)?;
        self.len = self.len.saturating_add(len);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A batch that was read.
#[derive(Debug)]
pub(super) struct ReadBatch {
    pub(super) position: u64,
    pub(super) records: Vec<LogRecord>,
}

/// A part of a segment that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// Why a segment can't be read at all.
#[derive(Debug)]
pub(super) enum SegmentError {
    Io(io::Error),
    /// It was created and nothing was written in it: nothing is lost with it.
    Unfinished,
    /// The head is damaged: without its salt nothing in it can be trusted.
    DamagedHead,
    /// It was written by a newer program.
    NewerFormat(u32),
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a segment file holds.
pub(super) struct SegmentContent {
    pub(super) epoch: u32,
    pub(super) damages: Vec<Damage>,
    /// Where the last whole batch ends.
    pub(super) good_len: usize,
    pub(super) len: usize,
}

/// Reads a segment file; `each` gets its batches in order.
pub(super) fn read(
    path: &Path,
    each: impl FnMut(ReadBatch),
) -> Result<SegmentContent, SegmentError> {
    parse(&Bytes::from(std::fs::read(path)?), each)
}

/// Reads the bytes of a segment. A batch that doesn't hold is passed over to the next one that
/// does.
pub(super) fn parse(
    bytes: &Bytes,
    mut each: impl FnMut(ReadBatch),
) -> Result<SegmentContent, SegmentError> {
    let (epoch, salt) = match parse_head(bytes) {
        Err(SegmentError::DamagedHead) if bytes.len() <= HEAD_LEN => {
            return Err(SegmentError::Unfinished);
        }
        head => head?,
    };
    let mut content =
        SegmentContent { epoch, damages: Vec::new(), good_len: HEAD_LEN, len: bytes.len() };
    let mut offset = HEAD_LEN;
    let mut bad_from = None;
    while offset < bytes.len() {
        let Some((batch, end)) = batch_at(bytes, offset, salt) else {
            bad_from.get_or_insert(offset);
            offset = offset.saturating_add(1);
            continue;
        };
        if let Some(start) = bad_from.take() {
            content.damages.push(Damage { offset: start, len: offset.saturating_sub(start) });
        }
        each(batch);
        offset = end;
        content.good_len = end;
    }
    Ok(content)
}

fn parse_head(bytes: &Bytes) -> Result<(u32, u64), SegmentError> {
    let (head, _) = bytes.split_first_chunk::<HEAD_LEN>().ok_or(SegmentError::DamagedHead)?;
    let (checked, crc) = head.split_last_chunk::<4>().ok_or(SegmentError::DamagedHead)?;
    let magic_holds = checked.starts_with(&MAGIC);
    if !magic_holds || crc32fast::hash(checked).to_be_bytes() != *crc {
        return Err(SegmentError::DamagedHead);
    }
    let owner = bytes.slice(MAGIC.len()..HEAD_LEN);
    let mut fields = Fields::new(&owner);
    let read = (fields.long(), fields.long(), fields.longlong());
    match read {
        (Ok(version), _, _) if version > FORMAT_VERSION => Err(SegmentError::NewerFormat(version)),
        (Ok(_), Ok(epoch), Ok(salt)) => Ok((epoch, salt)),
        _ => Err(SegmentError::DamagedHead),
    }
}

fn batch_at(bytes: &Bytes, offset: usize, salt: u64) -> Option<(ReadBatch, usize)> {
    let head = BatchHead::decode(bytes.get(offset..)?, salt)?;
    let start = offset.checked_add(BATCH_HEAD_LEN)?;
    let end = start.checked_add(head.payload_len)?;
    let payload = bytes.get(start..end).map(|payload| bytes.slice_ref(payload))?;
    if !head.fits(&payload, salt) {
        return None;
    }
    let records = decode_payload(&payload).ok()?;
    Some((ReadBatch { position: head.position, records }, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::encoding::put_batch;
    use crate::store::record::{QueueId, Record, Seq};

    const SALT: u64 = 0x0123_4567_89AB_CDEF;

    fn put_head(bytes: &mut Vec<u8>) {
        bytes.put_slice(&MAGIC);
        bytes.put_u32(FORMAT_VERSION);
        bytes.put_u32(9);
        bytes.put_u64(SALT);
        bytes.put_u32(crc32fast::hash(bytes));
    }

    /// A segment with batches at positions from 1 on, and where each of them ends.
    fn segment(count: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        put_head(&mut bytes);
        let mut ends = vec![bytes.len()];
        for position in 1..=count {
            let mark = Record::DeliverMark { queue: QueueId(1), upto: Seq(position) };
            let mut out = Gather::default();
            put_batch(&mut out, &mut Gather::default(), SALT, position, &[LogRecord::Broker(mark)]);
            out.write_to(&mut bytes).expect("a Vec takes everything");
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn positions(bytes: &[u8]) -> (Vec<u64>, Result<SegmentContent, SegmentError>) {
        let mut positions = Vec::new();
        let content = parse(&Bytes::copy_from_slice(bytes), |batch| positions.push(batch.position));
        (positions, content)
    }

    #[test]
    fn a_segment_cut_at_any_byte_has_the_batches_before_the_cut() {
        let (bytes, ends) = segment(3);
        for cut in HEAD_LEN..=bytes.len() {
            let (found, content) = positions(&bytes[..cut]);
            let whole = ends.partition_point(|end| *end <= cut) - 1;
            assert_eq!(found, (1..=whole as u64).collect::<Vec<_>>(), "cut at {cut}");
            let content = content.expect("a whole head");
            assert_eq!((content.good_len, content.len), (ends[whole], cut));
            assert_eq!((content.damages, content.epoch), (vec![], 9));
        }
    }

    #[test]
    fn a_batch_with_any_byte_changed_is_passed_over_and_reported() {
        let (bytes, ends) = segment(3);
        let expected = Damage { offset: ends[1], len: ends[2] - ends[1] };
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

    proptest! {
        #[test]
        fn arbitrary_bytes_behind_a_head_hold_no_batch(
            bytes in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let mut all = Vec::new();
            put_head(&mut all);
            all.extend_from_slice(&bytes);
            prop_assert!(positions(&all).0.is_empty());
        }
    }
}
