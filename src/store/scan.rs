//! Reading a segment from its head on: its batches, what is damaged in it, and where it ends.
//!
//! A segment that is being written ends nowhere in particular: zeros that were reserved follow, or
//! what another segment left that was here before, or a window that a crash tore. What is certain
//! is told by the batches: one says of what stands before its window that it was synced. So where
//! no batch holds and none of a later window follows, the log ends; else something is damaged.

use std::io;

use bytes::Bytes;

use super::decoding::{BatchHead, Met};
use super::encoding::{BATCH_HEAD_LEN, LogRecord};
use super::files::{FileReader, Files};
use super::ledger::SegmentNumber;
use super::record::QueueId;
use super::segment::{HEAD_LEN, SegmentError, file_name, parse_head};

/// A segment is read in parts of this length, or of the length of a batch that is longer.
const READ_LEN: usize = 1024 * 1024;

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

/// What a segment file holds.
#[derive(Debug)]
pub(super) struct SegmentContent {
    pub(super) damages: Vec<Damage>,
    /// Where the last whole batch ends.
    pub(super) good_len: u64,
    /// Where the log ends in it: behind the good part when the end is torn or damaged.
    pub(super) len: u64,
    /// What follows there and never was of this segment.
    pub(super) unused: u64,
    /// The highest of its batches, 0 without any.
    pub(super) last_position: u64,
}

/// Scans a segment; `each` gets its batches in order. A batch that doesn't hold is passed over to
/// the next one that does, and a message whose CRC doesn't hold is damaged, where they were
/// committed: within the first `trusted_len` bytes, and before a window that was written later.
/// Behind that, the log ends where a batch or a message doesn't hold.
pub(super) fn scan(
    files: &dyn Files,
    number: SegmentNumber,
    trusted_len: u64,
    mut each: impl FnMut(ReadBatch),
) -> Result<SegmentContent, SegmentError> {
    let name = file_name(number);
    let len = files.len(&name)?;
    let mut part = Part::new(files.open(&name)?, len);
    let head = parse_head(&part.at(0, HEAD_LEN)?, usize::try_from(len).unwrap_or(usize::MAX))?;
    let mut log = Log { part, salt: head.salt, last_position: 0, trusted_len, latest_window: None };
    let (mut damages, mut bad_from) = (Vec::new(), None);
    let (mut offset, mut good_len) = (HEAD_LEN as u64, HEAD_LEN as u64);
    let mut end = len;
    while offset < len {
        let batch = log.batch(offset)?;
        let is_whole = batch.as_ref().is_some_and(|(batch, _)| batch.records.iter().all(is_intact));
        if !is_whole && !log.was_committed(offset)? {
            end = log.torn_end(offset)?;
            break;
        }
        let Some((batch, batch_end)) = batch else {
            bad_from.get_or_insert(offset);
            let Some((next, _)) = log.next_head(offset.saturating_add(1))? else {
                end = len.min(trusted_len);
                break;
            };
            offset = next;
            continue;
        };
        if let Some(start) = bad_from.take() {
            let len = offset.saturating_sub(start);
            damages.push(Damage { offset: start, len, queues: Vec::new() });
        }
        damages.extend(batch.records.iter().filter_map(damage_in));
        log.last_position = log.last_position.max(batch.position);
        each(batch);
        (offset, good_len) = (batch_end, batch_end);
    }
    let (unused, last_position) = (len.saturating_sub(end), log.last_position);
    Ok(SegmentContent { damages, good_len, len: end, unused, last_position })
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

/// The bytes of a segment as batches.
struct Log {
    part: Part,
    salt: u64,
    /// Of the last batch that held, 0 before it.
    last_position: u64,
    trusted_len: u64,
    /// See [`Log::latest_window`].
    latest_window: Option<u64>,
}

impl Log {
    /// Whether what stands there was synced once.
    fn was_committed(&mut self, offset: u64) -> io::Result<bool> {
        Ok(offset < self.trusted_len || offset < self.latest_window(offset)?)
    }

    /// Where the last window begins of which a batch's head stands behind an offset. Looked for
    /// once: where it isn't behind a later offset either, nothing is.
    fn latest_window(&mut self, offset: u64) -> io::Result<u64> {
        if let Some(begin) = self.latest_window {
            return Ok(begin);
        }
        let (mut latest, mut from) = (0, offset.saturating_add(1));
        while let Some((found, head)) = self.next_head(from)? {
            latest = latest.max(found.saturating_sub(head.in_window));
            from = found.saturating_add(1);
        }
        self.latest_window = Some(latest);
        Ok(latest)
    }

    /// Where the batch ends that was not finished there.
    fn torn_end(&mut self, offset: u64) -> io::Result<u64> {
        let head = self.part.at(offset, BATCH_HEAD_LEN)?;
        let head = BatchHead::decode(&head, self.salt);
        Ok(head.map_or(offset, |head| batch_end(offset, &head).min(self.part.len)))
    }

    /// The batch that begins there, when it holds, and where it ends.
    fn batch(&mut self, offset: u64) -> io::Result<Option<(ReadBatch, u64)>> {
        let head = self.part.at(offset, BATCH_HEAD_LEN)?;
        let Some(head) = BatchHead::decode(&head, self.salt) else { return Ok(None) };
        let (start, end) = (payload_start(offset), batch_end(offset, &head));
        let Ok(base) = usize::try_from(start) else { return Ok(None) };
        // What was here before is older, should its salt ever have the same CRC.
        if end > self.part.len || head.position <= self.last_position {
            return Ok(None);
        }
        let payload = self.part.at(start, head.payload_len)?;
        let records = head.records(&payload, base, self.salt);
        Ok(records.map(|records| (ReadBatch { position: head.position, records }, end)))
    }

    /// The first head of a batch from an offset on.
    fn next_head(&mut self, mut offset: u64) -> io::Result<Option<(u64, BatchHead)>> {
        // Each batch has the next position, and takes room: this alone rules out nearly all of what
        // there is to be looked through, the bodies and batches of another segment.
        let first = self.last_position.saturating_add(1);
        let count = if self.last_position == 0 { u64::MAX } else { self.part.len };
        loop {
            let bytes = self.part.ahead(offset)?;
            let candidates = bytes.array_windows().zip(offset..);
            let candidates = candidates
                .filter(|(candidate, _)| position_in(candidate).wrapping_sub(first) < count);
            for (candidate, offset) in candidates {
                if let Some(head) = self.plausible_head(candidate, offset) {
                    return Ok(Some((offset, head)));
                }
            }
            if bytes.len() < BATCH_HEAD_LEN {
                return Ok(None);
            }
            let passed = bytes.len().saturating_sub(BATCH_HEAD_LEN).saturating_add(1);
            offset = offset.saturating_add(passed as u64);
        }
    }

    /// A head whose batch can be where it says; that is looked at before its CRC is computed.
    fn plausible_head(&self, bytes: &[u8; BATCH_HEAD_LEN], offset: u64) -> Option<BatchHead> {
        let [a, b, c, d, e, f, g, h, ..] = *bytes;
        let in_window = u64::from(u32::from_be_bytes([a, b, c, d]));
        let payload_len = u64::from(u32::from_be_bytes([e, f, g, h]));
        let end = payload_start(offset).saturating_add(payload_len);
        let is_plausible = payload_len > 0 && end <= self.part.len && in_window <= offset;
        is_plausible.then(|| BatchHead::decode(bytes, self.salt)).flatten()
    }
}

/// Where a batch's head has its position.
fn position_in(head: &[u8; BATCH_HEAD_LEN]) -> u64 {
    let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] = *head;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The part of a file that is in memory.
struct Part {
    file: Box<dyn FileReader>,
    len: u64,
    start: u64,
    bytes: Bytes,
}

impl Part {
    fn new(file: Box<dyn FileReader>, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Bytes::new() }
    }

    /// So many bytes from there on, or as many as there are.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.held_from(offset);
        if held.len() >= len {
            return Ok(held.slice(..len));
        }
        self.bytes = Bytes::new();
        self.bytes = self.file.read_at(offset, len.max(READ_LEN).min(left))?;
        self.start = offset;
        Ok(self.bytes.slice(..len))
    }

    /// What is in memory from there on: a head at least, or as much as there is.
    fn ahead(&mut self, offset: u64) -> io::Result<Bytes> {
        self.at(offset, BATCH_HEAD_LEN)?;
        Ok(self.held_from(offset))
    }

    fn held_from(&self, offset: u64) -> Bytes {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let from = from.filter(|from| *from <= self.bytes.len());
        from.map_or_else(Bytes::new, |from| self.bytes.slice(from..))
    }
}

fn payload_start(offset: u64) -> u64 {
    offset.saturating_add(BATCH_HEAD_LEN as u64)
}

fn batch_end(offset: u64, head: &BatchHead) -> u64 {
    payload_start(offset).saturating_add(head.payload_len as u64)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::gather::Gather;
    use crate::store::encoding::Encoder;
    use crate::store::record::{Record, Seq};
    use crate::store::segment::put_head;
    use crate::store::simulated::SimulatedDisk;

    const SALT: u64 = 0x0123_4567_89AB_CDEF;

    /// A segment with windows of so many batches at positions from 1 on, and where each batch ends.
    fn windows(salt: u64, counts: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut head = BytesMut::new();
        put_head(&mut head, 9, salt);
        bytes.extend_from_slice(&head);
        let (mut encoder, mut ends) = (Encoder::new(salt), vec![bytes.len()]);
        for count in counts {
            let (base, mut out) = (bytes.len(), Gather::default());
            for _ in 0..*count {
                let position = ends.len() as u64;
                let mark = Record::DeliverMark { queue: QueueId(1), upto: Seq(position) };
                let (base, records) = (base as u64, [LogRecord::Broker(mark)]);
                let put = encoder.put_batch(&mut out, base, position, &records, &mut Vec::new());
                put.expect("it is short");
                ends.push(bytes.len() + out.len());
            }
            out.write_to(&mut bytes).expect("a Vec takes everything");
        }
        (bytes, ends)
    }

    /// Batches of windows of their own.
    fn segment(count: usize) -> (Vec<u8>, Vec<usize>) {
        windows(SALT, &vec![1; count])
    }

    fn scanned(
        bytes: &[u8],
        trusted_len: usize,
    ) -> (Vec<u64>, Result<SegmentContent, SegmentError>) {
        let disk = SimulatedDisk::new();
        let mut out = Gather::default();
        out.buffer().extend_from_slice(bytes);
        let mut file = disk.create(&file_name(1)).expect("an empty disk");
        file.append(&mut out).expect("no fault");
        let mut positions = Vec::new();
        let content = scan(&disk, 1, trusted_len as u64, |batch| positions.push(batch.position));
        (positions, content)
    }

    #[test]
    fn a_segment_cut_at_any_byte_has_the_batches_before_the_cut() {
        let (bytes, ends) = segment(3);
        for cut in HEAD_LEN + 1..=bytes.len() {
            let (found, content) = scanned(&bytes[..cut], 0);
            let whole = ends.partition_point(|end| *end <= cut) - 1;
            assert_eq!(found, (1..=whole as u64).collect::<Vec<_>>(), "cut at {cut}");
            let content = content.expect("a whole head");
            let len = content.len + content.unused;
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
            let (found, content) = scanned(&damaged, 0);
            assert_eq!(found, [1, 3], "offset {offset}");
            assert_eq!(content.expect("a whole head").damages, std::slice::from_ref(&expected));
        }
    }

    #[test]
    fn a_head_that_is_cut_is_unfinished_and_one_that_is_changed_is_damaged() {
        let (bytes, _) = segment(1);
        for cut in 0..HEAD_LEN {
            let (_, content) = scanned(&bytes[..cut], 0);
            assert!(matches!(content, Err(SegmentError::Unfinished)), "cut at {cut}");
        }
        for offset in 0..HEAD_LEN {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 1;
            let (_, content) = scanned(&damaged, 0);
            assert!(matches!(content, Err(SegmentError::DamagedHead)), "offset {offset}");
        }
    }

    /// What may stand behind a segment: zeros that were reserved, and another segment's batches.
    fn left_behind() -> [Vec<u8>; 2] {
        let (other, ends) = windows(!SALT, &[2; 500]);
        [vec![0; 3 * READ_LEN], other[ends[3] + 7..].to_vec()]
    }

    #[test]
    fn what_is_left_behind_is_no_damage_unless_it_stands_where_something_was() {
        let (bytes, ends) = segment(3);
        for behind in left_behind() {
            let scanned = |kept: usize, trusted_len: usize| {
                let all = [&bytes[..kept], &behind[..]].concat();
                scanned(&all, trusted_len).1.expect("a whole head")
            };
            let whole = scanned(ends[3], ends[3]);
            assert_eq!((whole.good_len, whole.len), (ends[3] as u64, ends[3] as u64));
            assert_eq!(whole.unused, behind.len() as u64);
            // The end of the last batch never came.
            let torn = scanned(ends[3] - 5, ends[2]);
            assert_eq!((torn.good_len, torn.len), (ends[2] as u64, ends[3] as u64));
            assert_eq!(torn.len + torn.unused, (ends[3] - 5 + behind.len()) as u64);
            let lost = scanned(ends[2], ends[3]);
            assert_eq!((lost.good_len, lost.len), (ends[2] as u64, ends[3] as u64), "committed");
            let sealed = scanned(ends[3], usize::MAX);
            assert!(sealed.good_len < sealed.len, "nothing is reserved behind one that is full");
        }
    }

    #[test]
    fn a_batch_of_a_later_window_tells_that_what_is_before_it_was_there() {
        let (bytes, ends) = windows(SALT, &[2, 2]);
        let without = |batch: usize| {
            let mut damaged = bytes.clone();
            damaged[ends[batch - 1]] ^= 1;
            let (found, content) = scanned(&damaged, 0);
            let content = content.expect("a whole head");
            (found, content.damages.len(), content.good_len)
        };
        let all = ends[4] as u64;
        assert_eq!(without(1), (vec![2, 3, 4], 1, all));
        assert_eq!(without(2), (vec![1, 3, 4], 1, all));
        // The last window may have come in part.
        assert_eq!(without(3), (vec![1, 2], 0, ends[2] as u64));
        assert_eq!(without(4), (vec![1, 2, 3], 0, ends[3] as u64));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_behind_a_head_hold_no_batch(
            bytes in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let mut all = BytesMut::new();
            put_head(&mut all, 9, SALT);
            all.extend_from_slice(&bytes);
            let (found, content) = scanned(&all, 0);
            prop_assert!(found.is_empty());
            prop_assert!(content.is_ok_and(|content| content.damages.is_empty()));
        }

        /// A crash while a window is written over what was there: each sector is new or old.
        #[test]
        fn a_torn_window_costs_nothing_that_was_synced_and_is_no_damage(
            counts in prop::collection::vec(1..5usize, 1..5),
            kept in prop::collection::vec(any::<bool>(), 20),
            behind in 0..2usize,
        ) {
            let (new, ends) = windows(SALT, &counts);
            let synced: usize = counts[..counts.len() - 1].iter().sum();
            let mut bytes = left_behind()[behind][..2000].to_vec();
            for (at, byte) in new.iter().enumerate() {
                if at < ends[synced] || kept[at / 32 % kept.len()] {
                    bytes[at] = *byte;
                }
            }
            let (found, content) = scanned(&bytes, 0);
            let content = content.expect("a whole head");
            prop_assert!(found.iter().copied().eq(1..=found.len() as u64));
            prop_assert!(found.len() >= synced, "{:?}", content);
            prop_assert_eq!(content.damages, vec![]);
            prop_assert_eq!(content.good_len, ends[found.len()] as u64);
        }
    }
}
