//! One segment file of the log: its name, its head and appending to it.
//!
//! ```text
//! log/00000000000000000007.seg
//!   magic "FERRYLOG" | format version u32 | epoch u32 | salt u64 | CRC u32 of all that | batches
//! ```
//!
//! Every later format keeps this head, so that an older program can tell what it can't read. A
//! segment may stand where another one was before: the salt tells whose a batch is.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::files::{FileWriter, Files, RESERVE_MAX};
use super::ledger::SegmentNumber;
use crate::protocol::gather::Gather;
use crate::protocol::wire::Fields;

const MAGIC: [u8; 8] = *b"FERRYLOG";

/// The format that this program writes.
const FORMAT_VERSION: u32 = 4;

/// The oldest that it reads: format 3 doesn't say where windows begin, so that each of its batches
/// is one of its own, and format 2 has neither notes nor digests.
const FORMAT_VERSION_MIN: u32 = 2;

pub(super) const HEAD_LEN: usize = 28;

const EXTENSION: &str = ".seg";

/// Longer writes don't reserve: where that much comes at a time, zeros would be written for each of
/// its bytes, and a sync more or less costs little.
const RESERVING_WRITE_MAX: u64 = 16 * 1024;

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
    /// Creates a segment, durable with its name; over a spare file, if there is one.
    pub(super) fn create(
        files: &dyn Files,
        number: SegmentNumber,
        epoch: u32,
        spare: Option<String>,
    ) -> io::Result<Self> {
        let name = file_name(number);
        let over = spare.and_then(|spare| match files.write_over(&spare, 0) {
            // Somebody has made room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map(|file| (file, spare))),
        });
        let (mut file, spare) = match over.transpose()? {
            Some((file, spare)) => (file, Some(spare)),
            None => (files.create(&name)?, None),
        };
        let salt = rand::random();
        let mut head = Gather::default();
        put_head(head.buffer(), epoch, salt);
        let len = head.len() as u64;
        file.append(&mut head)?;
        file.sync()?;
        let mut reserved_end = len;
        if let Some(spare) = spare {
            // Only now: under the name of a segment there is one at any moment.
            reserved_end = files.len(&spare)?;
            files.rename(&spare, &name)?;
            file = files.write_over(&name, len)?;
        }
        files.sync_names()?;
        Ok(Self { number, salt, len, snapshot_end: len, reserved_end, file })
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

/// Reads a segment's head.
pub(super) fn read_head(files: &dyn Files, number: SegmentNumber) -> Result<Head, SegmentError> {
    let name = file_name(number);
    let len = usize::try_from(files.len(&name)?).unwrap_or(usize::MAX);
    let bytes = files.open(&name)?.read_at(0, len.min(HEAD_LEN))?;
    parse_head(&bytes, len)
}

pub(super) fn parse_head(bytes: &Bytes, file_len: usize) -> Result<Head, SegmentError> {
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
