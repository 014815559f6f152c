//! Where in a segment the messages of each queue are.
//!
//! The index of the active segment is in memory; when the segment is full it is written beside it
//! and read from there in small parts, so that a long queue costs no memory. It says nothing that
//! the segment doesn't: one that is missing or damaged is made again.
//!
//! ```text
//! log/00000000000000000007.idx
//!   magic "FERRYIDX" | format version u32 | salt u64 | segment length u64 | queues u32 | CRC u32
//!   a record for each queue, by id:  queue u64 | offset of its entries u64 | entries u32 | CRC u32
//!   entries of each queue, by number, in blocks of up to 256:
//!     (sequence number u64 | offset u32 | length u32 | body length u32)* | CRC u32
//! ```

use std::collections::HashMap;

use bytes::{Buf, BufMut, BytesMut};

use super::encoding::crc;
use super::files::FileReader;
use super::record::{QueueId, Seq};

const MAGIC: &[u8; 8] = b"FERRYIDX";
const FORMAT_VERSION: u32 = 1;

const HEAD_LEN: usize = 36;
const RECORD_LEN: usize = 24;
const ENTRY_LEN: usize = 20;
const BLOCK_ENTRIES: usize = 256;
const BLOCK_LEN: usize = BLOCK_ENTRIES * ENTRY_LEN + 4;

/// A message's bytes in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) body_len: u32,
}

impl Place {
    /// Nothing when it lies beyond what a segment may have.
    pub(super) fn new(offset: u64, len: u64, body_len: u64) -> Option<Self> {
        let [offset, len, body_len] = [offset, len, body_len].map(u32::try_from);
        Some(Self { offset: offset.ok()?, len: len.ok()?, body_len: body_len.ok()? })
    }
}

/// Where the message with a sequence number is. The number is in two halves: a third of the memory
/// of a long index would be padding otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    seq: [u32; 2],
    pub(super) place: Place,
}

impl Entry {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    pub(super) fn new(seq: Seq, place: Place) -> Self {
        Self { seq: [(seq.0 >> 32) as u32, seq.0 as u32], place }
    }

    pub(super) fn seq(&self) -> Seq {
        let [high, low] = self.seq;
        Seq(u64::from(high) << 32 | u64::from(low))
    }
}

/// One queue's entries, in parts of bounded length: a long list never moves.
#[derive(Debug, Default)]
struct Entries {
    blocks: Vec<Vec<Entry>>,
    /// They are by ascending number, as they nearly always come.
    sorted: bool,
}

impl Entries {
    fn last(&self) -> Option<&Entry> {
        self.blocks.last()?.last()
    }

    fn push(&mut self, entry: Entry) {
        match self.last() {
            None => self.sorted = true,
            Some(last) if last.seq() >= entry.seq() => self.sorted = false,
            Some(_) => {}
        }
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES => block.push(entry),
            _ => self.blocks.push(vec![entry]),
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            let mut all: Vec<Entry> = self.blocks.drain(..).flatten().collect();
            all.sort_by_key(Entry::seq);
            // A message that was carried twice is in the log twice: either is as good.
            all.dedup_by_key(|entry| entry.seq());
            self.blocks = all.chunks(BLOCK_ENTRIES).map(<[Entry]>::to_vec).collect();
            self.sorted = true;
        }
    }

    /// Entries with numbers from `first` to `last`, at most `max`.
    fn range(&self, first: Seq, last: Seq, max: usize) -> Vec<Entry> {
        let before = |block: &Vec<Entry>| block.last().is_some_and(|entry| entry.seq() < first);
        let start = self.blocks.partition_point(before);
        let blocks = self.blocks.get(start..).unwrap_or_default().iter().flatten();
        let from_first = blocks.skip_while(|entry| entry.seq() < first);
        from_first.take_while(|entry| entry.seq() <= last).take(max).copied().collect()
    }
}

/// A segment's index in memory.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    queues: HashMap<QueueId, Entries>,
}

impl SegmentIndex {
    pub(super) fn add(&mut self, queue: QueueId, seq: Seq, place: Place) {
        self.queues.entry(queue).or_default().push(Entry::new(seq, place));
    }

    /// Brings a queue's entries into order, as [`SegmentIndex::range`] needs them.
    pub(super) fn sort_queue(&mut self, queue: QueueId) {
        if let Some(entries) = self.queues.get_mut(&queue) {
            entries.sort();
        }
    }

    /// Brings all entries into order.
    pub(super) fn sort(&mut self) {
        self.queues.values_mut().for_each(Entries::sort);
    }

    /// Entries of a queue with numbers from `first` to `last`, at most `max`.
    pub(super) fn range(&self, queue: QueueId, first: Seq, last: Seq, max: usize) -> Vec<Entry> {
        self.queues.get(&queue).map_or_else(Vec::new, |entries| entries.range(first, last, max))
    }

    /// All entries, in no order of the queues.
    pub(super) fn each(&self, mut each: impl FnMut(QueueId, Seq, Place)) {
        for (queue, entries) in &self.queues {
            entries
                .blocks
                .iter()
                .flatten()
                .for_each(|entry| each(*queue, entry.seq(), entry.place));
        }
    }

    /// The bytes of the file for a segment with this salt and length; the entries are in order.
    pub(super) fn encode(&self, salt: u64, segment_len: u64) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32(FORMAT_VERSION);
        out.put_u64(salt);
        out.put_u64(segment_len);
        out.put_u32(u32::try_from(self.queues.len()).unwrap_or(u32::MAX));
        seal(&mut out, salt, 0);
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_unstable_by_key(|(queue, _)| **queue);
        let mut offset = HEAD_LEN.saturating_add(queues.len().saturating_mul(RECORD_LEN));
        for (queue, entries) in &queues {
            let count: usize = entries.blocks.iter().map(Vec::len).sum();
            let start = out.len();
            out.put_u64(queue.0);
            out.put_u64(offset as u64);
            out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
            seal(&mut out, salt, start);
            offset = offset.saturating_add(entries_len(count));
        }
        for block in queues.iter().flat_map(|(_, entries)| &entries.blocks) {
            let start = out.len();
            for Entry { seq, place } in block {
                seq.iter().for_each(|half| out.put_u32(*half));
                out.put_u32(place.offset);
                out.put_u32(place.len);
                out.put_u32(place.body_len);
            }
            seal(&mut out, salt, start);
        }
        out
    }
}

/// Bytes of so many entries with the CRCs of their blocks.
fn entries_len(count: usize) -> usize {
    let blocks = count.div_ceil(BLOCK_ENTRIES);
    count.saturating_mul(ENTRY_LEN).saturating_add(blocks.saturating_mul(4))
}

/// Appends the CRC of what was written since `start`.
fn seal(out: &mut BytesMut, salt: u64, start: usize) {
    let mut crc = crc(salt);
    crc.update(out.get(start..).unwrap_or_default());
    out.put_u32(crc.finalize());
}

/// The index of a segment in its file.
pub(super) struct IndexFile {
    file: Box<dyn FileReader>,
    salt: u64,
    queues: usize,
}

/// A part of an index can't be read: it has to be made again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadIndex;

impl IndexFile {
    /// Takes a file as the index of the segment with this salt and length, if it is.
    pub(super) fn open(
        file: Box<dyn FileReader>,
        salt: u64,
        segment_len: u64,
    ) -> Result<Self, BadIndex> {
        let mut index = Self { file, salt, queues: 0 };
        let mut head = index.sealed(0, HEAD_LEN)?;
        let head = &mut head;
        let magic = head.try_get_u64().map_err(|_| BadIndex)?;
        let version = head.try_get_u32().map_err(|_| BadIndex)?;
        let is_of =
            (head.try_get_u64().map_err(|_| BadIndex)?, head.try_get_u64().map_err(|_| BadIndex)?);
        let fits = magic == u64::from_be_bytes(*MAGIC) && version == FORMAT_VERSION;
        if !fits || is_of != (salt, segment_len) {
            return Err(BadIndex);
        }
        index.queues = head.try_get_u32().map_err(|_| BadIndex)? as usize;
        Ok(index)
    }

    /// Salt and length of the segment that a file says it is the index of, when its head holds.
    pub(super) fn segment(file: Box<dyn FileReader>) -> Option<(u64, u64)> {
        let mut head = file.read_at(0, HEAD_LEN).ok()?;
        head.advance(MAGIC.len().saturating_add(4));
        let (salt, segment_len) = (head.try_get_u64().ok()?, head.try_get_u64().ok()?);
        Self::open(file, salt, segment_len).is_ok().then_some((salt, segment_len))
    }

    /// Bytes of the file without the CRC at their end, which holds.
    fn sealed(&self, offset: usize, len: usize) -> Result<bytes::Bytes, BadIndex> {
        let mut bytes = self.file.read_at(offset as u64, len).map_err(|_| BadIndex)?;
        let stored = bytes.split_off(bytes.len().saturating_sub(4));
        let mut crc = crc(self.salt);
        crc.update(&bytes);
        if stored.as_ref() != crc.finalize().to_be_bytes() {
            return Err(BadIndex);
        }
        Ok(bytes)
    }

    fn record(&self, number: usize) -> Result<(QueueId, usize, usize), BadIndex> {
        let offset = HEAD_LEN.saturating_add(number.saturating_mul(RECORD_LEN));
        let mut record = self.sealed(offset, RECORD_LEN)?;
        let queue = record.try_get_u64().map_err(|_| BadIndex)?;
        let offset = record.try_get_u64().map_err(|_| BadIndex)?;
        let count = record.try_get_u32().map_err(|_| BadIndex)?;
        let offset = usize::try_from(offset).map_err(|_| BadIndex)?;
        Ok((QueueId(queue), offset, count as usize))
    }

    fn block(&self, offset: usize, count: usize, number: usize) -> Result<Vec<Entry>, BadIndex> {
        let before = number.saturating_mul(BLOCK_ENTRIES);
        let len = count.saturating_sub(before).min(BLOCK_ENTRIES).saturating_mul(ENTRY_LEN);
        let offset = offset.saturating_add(number.saturating_mul(BLOCK_LEN));
        let bytes = self.sealed(offset, len.saturating_add(4))?;
        let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
        for mut entry in bytes.chunks_exact(ENTRY_LEN) {
            let mut next = || entry.try_get_u32().map_err(|_| BadIndex);
            let seq = [next()?, next()?];
            let place = Place { offset: next()?, len: next()?, body_len: next()? };
            entries.push(Entry { seq, place });
        }
        Ok(entries)
    }

    /// The number of the first of `count` that is not `before`: a search by halves.
    fn first_not(
        count: usize,
        mut before: impl FnMut(usize) -> Result<bool, BadIndex>,
    ) -> Result<usize, BadIndex> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if before(middle)? {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Entries of a queue with numbers from `first` to `last`, at most `max`.
    pub(super) fn range(
        &self,
        queue: QueueId,
        first: Seq,
        last: Seq,
        max: usize,
    ) -> Result<Vec<Entry>, BadIndex> {
        let number = Self::first_not(self.queues, |number| Ok(self.record(number)?.0 < queue))?;
        if number >= self.queues {
            return Ok(Vec::new());
        }
        let (found, offset, count) = self.record(number)?;
        if found != queue {
            return Ok(Vec::new());
        }
        let blocks = count.div_ceil(BLOCK_ENTRIES);
        let start = Self::first_not(blocks, |number| {
            let block = self.block(offset, count, number)?;
            Ok(block.last().is_some_and(|entry| entry.seq() < first))
        })?;
        let mut entries = Vec::new();
        for number in start..blocks {
            for entry in self.block(offset, count, number)? {
                if entry.seq() > last || entries.len() >= max {
                    return Ok(entries);
                }
                if entry.seq() >= first {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// All entries, by queue and number.
    pub(super) fn each(&self, mut each: impl FnMut(QueueId, Seq, Place)) -> Result<(), BadIndex> {
        for number in 0..self.queues {
            let (queue, offset, count) = self.record(number)?;
            for block in 0..count.div_ceil(BLOCK_ENTRIES) {
                let entries = self.block(offset, count, block)?;
                entries.iter().for_each(|entry| each(queue, entry.seq(), entry.place));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::gather::Gather;
    use crate::store::files::Files;
    use crate::store::simulated::SimulatedDisk;

    const SALT: u64 = 5;

    fn place(number: u64) -> Place {
        Place::new(number * 7, number, number / 2).expect("small")
    }

    fn written(index: &SegmentIndex) -> (SimulatedDisk, Vec<u8>) {
        let disk = SimulatedDisk::new();
        let bytes = index.encode(SALT, 99).to_vec();
        let mut out = Gather::default();
        out.buffer().extend_from_slice(&bytes);
        disk.create("i").expect("an empty disk").append(&mut out).expect("no fault");
        (disk, bytes)
    }

    fn opened(disk: &SimulatedDisk) -> Result<IndexFile, BadIndex> {
        IndexFile::open(disk.open("i").expect("it was made"), SALT, 99)
    }

    proptest! {
        #[test]
        fn memory_and_file_find_what_was_added(
            added in prop::collection::vec((0..4u64, 0..3000u64), 0..1500),
            asked in prop::collection::vec((0..5u64, 0..3100u64, 0..900u64, 1..700usize), 1..20),
        ) {
            let (mut index, mut model) = (SegmentIndex::default(), BTreeMap::new());
            for (queue, seq) in added {
                index.add(QueueId(queue), Seq(seq), place(seq));
                model.insert((queue, seq), place(seq));
            }
            index.sort();
            let (disk, _) = written(&index);
            let file = opened(&disk).expect("own bytes");
            for (queue, first, len, max) in asked {
                let range = (queue, first)..=(queue, first + len);
                let expected: Vec<Entry> = model
                    .range(range)
                    .take(max)
                    .map(|((_, seq), place)| Entry::new(Seq(*seq), *place))
                    .collect();
                let (queue, first, last) = (QueueId(queue), Seq(first), Seq(first + len));
                prop_assert_eq!(&index.range(queue, first, last, max), &expected);
                prop_assert_eq!(&file.range(queue, first, last, max).expect("whole"), &expected);
            }
            let mut all = BTreeMap::new();
            let each = file.each(|queue, seq, place| {
                all.insert((queue.0, seq.0), place);
            });
            each.expect("whole");
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    fn a_changed_byte_is_found_where_it_is_read() {
        let mut index = SegmentIndex::default();
        (1..600).for_each(|seq| index.add(QueueId(seq % 2), Seq(seq), place(seq)));
        index.sort();
        let (disk, bytes) = written(&index);
        for offset in 0..bytes.len() {
            disk.change_files(|_, file| file[offset] ^= 1);
            let read = opened(&disk).and_then(|file| file.each(|_, _, _| {}));
            assert_eq!(read, Err(BadIndex), "offset {offset}");
            disk.change_files(|_, file| file[offset] ^= 1);
        }
        assert!(opened(&disk).is_ok_and(|file| file.each(|_, _, _| {}).is_ok()));
        assert!(IndexFile::open(disk.open("i").expect("there"), SALT, 98).is_err());
        assert!(IndexFile::open(disk.open("i").expect("there"), SALT + 1, 99).is_err());
    }
}
