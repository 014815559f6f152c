//! The index of a full segment in its file, which is read in small parts.
//!
//! ```text
//! log/00000000000000000007.idx
//!   magic "FERRYIDX" | format version u32 | salt u64 | segment length u64 | queues u32 | CRC u32
//!   for each queue, by id:     queue u64 | offset of its blocks' heads u64 | blocks u32 | CRC u32
//!   for each of its blocks:    last sequence number u64 | offset u64 | length u32 | CRC u32
//!   blocks of up to 256 entries, by number: entry* | CRC u32
//! entry, all of it variable-length integers:
//!   sequence number, less the one before | twice the gap, and one more if entries like it follow |
//!   length of the message | how much of that is not its body | how many like it follow
//! ```
//!
//! The gap is what is between a message and the one before. An entry that is like the one before it
//! has the next number, the same gap and the same lengths: those of a batch are, if its messages
//! have one length. Integers are big-endian; every CRC begins with the segment's salt.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use integer_encoding::VarInt;

use super::encoding::crc;
use super::files::FileReader;
use super::index::{BLOCK_ENTRIES, Entry, Place, SegmentIndex};
use super::record::{QueueId, Seq};

const MAGIC: &[u8; 8] = b"FERRYIDX";
const FORMAT_VERSION: u32 = 3;

/// The oldest that is read: format 2 says the gap once, and all of each entry.
const FORMAT_VERSION_MIN: u32 = 2;

const HEAD_LEN: usize = 36;
/// What is said of a queue, and of a block.
const RECORD_LEN: usize = 24;

/// The longest integer.
const VARINT_LEN_MAX: usize = 10;

/// The bytes of the file for a segment with this salt and length; the entries are in order.
pub(super) fn encode(index: &SegmentIndex, salt: u64, segment_len: u64) -> BytesMut {
    let queues = index.blocks();
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_u64(salt);
    out.put_u64(segment_len);
    out.put_u32(u32::try_from(queues.len()).unwrap_or(u32::MAX));
    seal(&mut out, salt, 0);
    let mut heads_at = HEAD_LEN.saturating_add(queues.len().saturating_mul(RECORD_LEN));
    for (queue, blocks) in &queues {
        put_record(&mut out, salt, queue.0, heads_at, blocks.len());
        heads_at = heads_at.saturating_add(blocks.len().saturating_mul(RECORD_LEN));
    }
    let (mut block_at, mut bodies) = (heads_at, BytesMut::new());
    for block in queues.values().copied().flatten() {
        let start = bodies.len();
        put_entries(&mut bodies, block);
        seal(&mut bodies, salt, start);
        let (last, len) = (block.last().map_or(0, |entry| entry.seq().0), bodies.len());
        let len = len.saturating_sub(start);
        put_record(&mut out, salt, last, block_at, len);
        block_at = block_at.saturating_add(len);
    }
    out.unsplit(bodies);
    out
}

fn put_record(out: &mut BytesMut, salt: u64, key: u64, offset: usize, count: usize) {
    let start = out.len();
    out.put_u64(key);
    out.put_u64(offset as u64);
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    seal(out, salt, start);
}

/// What an entry says beside the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    ahead: u64,
    gap: i64,
    len: u32,
    around: u32,
}

impl Step {
    fn between(before: Option<&Entry>, entry: &Entry) -> Self {
        let (seq, end) = before.map_or((0, 0), |before| (before.seq().0, before.place.end()));
        let Place { offset, len, body_len } = entry.place;
        let (ahead, gap) = (entry.seq().0.wrapping_sub(seq), i64::from(offset).saturating_sub(end));
        Self { ahead, gap, len, around: len.saturating_sub(body_len) }
    }

    /// The entry that comes so far behind another one.
    fn from(self, before: Option<&Entry>) -> Result<Entry, BadIndex> {
        let (seq, end) = before.map_or((0, 0), |before| (before.seq().0, before.place.end()));
        let offset = end.checked_add(self.gap).and_then(|offset| u32::try_from(offset).ok());
        let (offset, len) = (offset.ok_or(BadIndex)?, self.len);
        let body_len = len.checked_sub(self.around).ok_or(BadIndex)?;
        Ok(Entry::new(Seq(seq.wrapping_add(self.ahead)), Place { offset, len, body_len }))
    }

    /// Of the entries that are like it, the first isn't so far ahead of another one.
    fn following(self) -> Self {
        Self { ahead: 1, ..self }
    }
}

fn put_entries(out: &mut BytesMut, block: &[Entry]) {
    let (mut before, mut rest) = (None, block);
    while let Some((entry, others)) = rest.split_first() {
        let step = Step::between(before, entry);
        let is_like =
            |[before, entry]: &[Entry; 2]| Step::between(Some(before), entry) == step.following();
        let count = rest.array_windows().take_while(|pair| is_like(pair)).count();
        put(out, step.ahead);
        put(out, step.gap.saturating_mul(2).saturating_add(i64::from(count > 0)));
        put(out, step.len);
        put(out, step.around);
        if count > 0 {
            put(out, count as u64);
        }
        let last = others.get(..count).and_then(<[Entry]>::last);
        before = Some(last.unwrap_or(entry));
        rest = others.get(count..).unwrap_or_default();
    }
}

fn put(out: &mut BytesMut, value: impl VarInt) {
    let mut buffer = [0; VARINT_LEN_MAX];
    let len = value.encode_var(&mut buffer);
    out.put_slice(buffer.get(..len).unwrap_or_default());
}

fn entries(mut bytes: &[u8], version: u32) -> Result<Vec<Entry>, BadIndex> {
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.is_empty() {
        let ahead = next(&mut bytes)?;
        let gap: i64 = next(&mut bytes)?;
        let (len, around) = (next(&mut bytes)?, next(&mut bytes)?);
        let (gap, has_followers) =
            if version == FORMAT_VERSION_MIN { (gap, false) } else { (gap >> 1, gap & 1 == 1) };
        let mut step = Step { ahead, gap, len, around };
        let count = if has_followers { next::<u64>(&mut bytes)? } else { 0 };
        for _ in 0..=count {
            if entries.len() >= BLOCK_ENTRIES {
                return Err(BadIndex);
            }
            entries.push(step.from(entries.last())?);
            step = step.following();
        }
    }
    Ok(entries)
}

fn next<V: VarInt>(bytes: &mut &[u8]) -> Result<V, BadIndex> {
    let (value, len) = V::decode_var(bytes).ok_or(BadIndex)?;
    *bytes = bytes.get(len..).ok_or(BadIndex)?;
    Ok(value)
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
    version: u32,
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
        let mut index = Self { file, salt, version: 0, queues: 0 };
        let mut head = index.sealed(0, HEAD_LEN)?;
        let head = &mut head;
        let magic = head.try_get_u64().map_err(|_| BadIndex)?;
        index.version = head.try_get_u32().map_err(|_| BadIndex)?;
        let is_of =
            (head.try_get_u64().map_err(|_| BadIndex)?, head.try_get_u64().map_err(|_| BadIndex)?);
        let is_known = (FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&index.version);
        let fits = magic == u64::from_be_bytes(*MAGIC) && is_known;
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
    fn sealed(&self, offset: usize, len: usize) -> Result<Bytes, BadIndex> {
        let mut bytes = self.file.read_at(offset as u64, len).map_err(|_| BadIndex)?;
        let stored = bytes.split_off(bytes.len().saturating_sub(4));
        let mut crc = crc(self.salt);
        crc.update(&bytes);
        if stored.as_ref() != crc.finalize().to_be_bytes() {
            return Err(BadIndex);
        }
        Ok(bytes)
    }

    /// What is said of a queue or of a block: id or last number, offset, blocks or bytes.
    fn record(&self, base: usize, number: usize) -> Result<(u64, usize, usize), BadIndex> {
        let offset = base.saturating_add(number.saturating_mul(RECORD_LEN));
        let mut record = self.sealed(offset, RECORD_LEN)?;
        let key = record.try_get_u64().map_err(|_| BadIndex)?;
        let offset = record.try_get_u64().map_err(|_| BadIndex)?;
        let count = record.try_get_u32().map_err(|_| BadIndex)?;
        Ok((key, usize::try_from(offset).map_err(|_| BadIndex)?, count as usize))
    }

    fn block(&self, heads_at: usize, number: usize) -> Result<Vec<Entry>, BadIndex> {
        let (_, offset, len) = self.record(heads_at, number)?;
        entries(&self.sealed(offset, len)?, self.version)
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
        let before = |number| Ok(self.record(HEAD_LEN, number)?.0 < queue.0);
        let number = Self::first_not(self.queues, before)?;
        if number >= self.queues {
            return Ok(Vec::new());
        }
        let (found, heads_at, blocks) = self.record(HEAD_LEN, number)?;
        if found != queue.0 {
            return Ok(Vec::new());
        }
        let before = |number| Ok(self.record(heads_at, number)?.0 < first.0);
        let start = Self::first_not(blocks, before)?;
        let mut entries = Vec::new();
        for number in start..blocks {
            for entry in self.block(heads_at, number)? {
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
            let (queue, heads_at, blocks) = self.record(HEAD_LEN, number)?;
            for block in 0..blocks {
                let entries = self.block(heads_at, block)?;
                entries.iter().for_each(|entry| each(QueueId(queue), entry.seq(), entry.place));
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

    /// Of some that follow one another the lengths are the same, of others not.
    fn place(number: u64) -> Place {
        let len = if number % 100 < 60 { 20 } else { number };
        Place::new(number * 7, len, len / 2).expect("small")
    }

    fn written(index: &SegmentIndex) -> (SimulatedDisk, Vec<u8>) {
        let disk = SimulatedDisk::new();
        let bytes = encode(index, SALT, 99).to_vec();
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
    fn messages_of_one_length_that_follow_one_another_take_no_room() {
        let mut index = SegmentIndex::default();
        let place = |seq| Place::new(seq * 32, 31, 20).expect("small");
        (1..=1000).for_each(|seq| index.add(QueueId(1), Seq(seq), place(seq)));
        index.sort();
        let (disk, bytes) = written(&index);
        let blocks = 1000usize.div_ceil(BLOCK_ENTRIES);
        assert!(
            bytes.len() <= HEAD_LEN + RECORD_LEN + blocks * (RECORD_LEN + 30),
            "{}",
            bytes.len()
        );
        let file = opened(&disk).expect("own bytes");
        let found = file.range(QueueId(1), Seq(500), Seq(519), 99).expect("whole");
        assert!(found.into_iter().eq((500..520).map(|seq| Entry::new(Seq(seq), place(seq)))));
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
