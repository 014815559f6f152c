//! Batches as bytes of a segment.
//!
//! ```text
//! batch:   in window u32 | payload length u32 | position u64 | payload CRC u32 | head CRC u32
//!          | payload
//! payload: record | record | ...
//! record:  tag u8 | fields, by tag | message, in some
//! message: length u16 or u32 | CRC u32 | packed form (`protocol/message.rs`), all of the body
//! ```
//!
//! The length of a message below 32 KiB has two bytes, with the highest bit set.
//!
//! Integers are big-endian. What is written together, up to a sync, is a window; "in window" is how
//! much of it stands before the batch. So a batch says that what stands before its window was whole
//! once, and nothing of what is in its window. A message has a CRC of its own, so that it can be
//! read alone and damage in it costs no other; the payload's CRC is of all that is not in a
//! message's CRC. Every CRC begins with the salt of the segment, which no client knows: bytes in a
//! message's body, or left by a segment that was here before, can't pass for a batch. Reading them
//! is in `decoding.rs`.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::index::Place;
use super::record::{Note, Places, QueueId, Ranges, Record, Seq, SeqRange};
use super::seen::SeenDigest;
use crate::protocol::gather::Gather;
use crate::protocol::message::Message;
use crate::protocol::wire::put_longstr;

pub(super) const BATCH_HEAD_LEN: usize = 24;

/// Set in a message's length that has two bytes. Longer ones are far below 2 GiB.
pub(super) const SHORT_LEN: u16 = 1 << 15;

/// What most records are beside their message.
const RECORD_ROOM: usize = 32;

pub(super) const TAG_ENQUEUE: u8 = 1;
pub(super) const TAG_SETTLE: u8 = 2;
pub(super) const TAG_MOVE: u8 = 3;
pub(super) const TAG_DELIVER_MARK: u8 = 4;
pub(super) const TAG_CARRY: u8 = 5;
pub(super) const TAG_DELETE_QUEUE: u8 = 6;
pub(super) const TAG_CATALOG: u8 = 7;
pub(super) const TAG_SNAPSHOT: u8 = 8;
pub(super) const TAG_QUEUE_STATE: u8 = 9;
pub(super) const TAG_PURGE: u8 = 10;
/// An enqueue to the queues of the one right before it in the batch, with the next number in each.
pub(super) const TAG_ENQUEUE_NEXT: u8 = 11;
pub(super) const TAG_RETURN: u8 = 12;
pub(super) const TAG_SEEN: u8 = 13;
pub(super) const TAG_SEEN_STATE: u8 = 14;

/// A record as the log has it: the broker's, or one of its own.
#[derive(Debug, Clone)]
pub(super) enum LogRecord<M = Arc<Message>> {
    Broker(Record<M>),
    /// A message that lives in an older segment is here from now on, so that the older one can go.
    Carry {
        message: M,
        queues: Places,
    },
    /// The records after this one in the batch are all definitions and queue states there are.
    Snapshot,
    /// Where a queue stands: what is settled, and what may have been delivered.
    QueueState {
        queue: QueueId,
        settled: Ranges,
        delivered_upto: Seq,
    },
    /// A part of what the deduplication of a queue has seen, oldest first; so many of the digests
    /// stay.
    SeenState {
        queue: QueueId,
        digests: Vec<SeenDigest>,
        keep: u32,
    },
}

// Those of messages pass through the processor's caches by the thousand: one line each.
const _: () = assert!(size_of::<LogRecord>() <= 64);

impl<M> LogRecord<M> {
    /// The message that the record brings.
    pub(super) fn message(&self) -> Option<&M> {
        match self {
            Self::Carry { message, .. }
            | Self::Broker(Record::Enqueue { message, .. } | Record::Move { message, .. }) => {
                Some(message)
            }
            _ => None,
        }
    }

    /// Where that message stands.
    pub(super) fn places(&self) -> &[(QueueId, Seq)] {
        match self {
            Self::Carry { queues, .. } | Self::Broker(Record::Enqueue { queues, .. }) => queues,
            Self::Broker(Record::Move { to, .. }) => to,
            _ => &[],
        }
    }
}

impl LogRecord {
    /// About how many bytes it is, but for a large body, which is not copied.
    fn room(&self) -> usize {
        self.message().map_or(0, |message| message.packed().len()).saturating_add(RECORD_ROOM)
    }
}

/// Starts a CRC with a segment's salt.
pub(super) fn crc(salt: u64) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_be_bytes());
    crc
}

/// A message's length does not fit into a segment.
pub(super) fn too_large() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, "a batch is too large for a segment")
}

/// Encodes batches of a segment.
pub(super) struct Encoder {
    /// Begun with the salt: each CRC goes on from a copy.
    begun: crc32fast::Hasher,
    payload: Gather,
    /// Of the batch that is being encoded: where its messages are in the payload.
    met: Vec<(usize, usize, u64)>,
}

impl Encoder {
    pub(super) fn new(salt: u64) -> Self {
        Self { begun: crc(salt), payload: Gather::default(), met: Vec::new() }
    }

    /// Appends a batch to `out`, which is the window so far and whose first byte will be at `base`
    /// of the segment. The places of its messages are added to `places`, in their order.
    pub(super) fn put_batch(
        &mut self,
        out: &mut Gather,
        base: u64,
        position: u64,
        records: &[LogRecord],
        places: &mut Vec<Place>,
    ) -> std::io::Result<()> {
        self.payload.buffer().reserve(records.iter().map(LogRecord::room).sum());
        let mut payload_crc = self.begun.clone();
        let mut before = None;
        for record in records {
            self.put_record(&mut payload_crc, before, record);
            before = Some(record);
        }
        let in_window = u32::try_from(out.len()).map_err(|_| too_large())?;
        let payload_len = u32::try_from(self.payload.len()).map_err(|_| too_large())?;
        let start = base.saturating_add(u64::from(in_window)).saturating_add(BATCH_HEAD_LEN as u64);
        for (offset, len, body_len) in self.met.drain(..) {
            let offset = start.saturating_add(offset as u64);
            places.push(Place::new(offset, len as u64, body_len).ok_or_else(too_large)?);
        }
        let mut head = [0; BATCH_HEAD_LEN];
        let mut place = head.as_mut_slice();
        place.put_u32(in_window);
        place.put_u32(payload_len);
        place.put_u64(position);
        place.put_u32(payload_crc.finalize());
        let (checked, head_crc) = head.split_at_mut(BATCH_HEAD_LEN.saturating_sub(4));
        let mut crc = self.begun.clone();
        crc.update(checked);
        head_crc.copy_from_slice(&crc.finalize().to_be_bytes());
        out.buffer().extend_from_slice(&head);
        out.append(&mut self.payload);
        Ok(())
    }

    fn put_record(
        &mut self,
        crc: &mut crc32fast::Hasher,
        before: Option<&LogRecord>,
        record: &LogRecord,
    ) {
        let out = self.payload.buffer();
        let start = out.len();
        if before.is_some_and(|before| is_next(before, record)) {
            out.put_u8(TAG_ENQUEUE_NEXT);
        } else {
            put_fields(out, record);
        }
        let message = record.message();
        if let Some(message) = message {
            self.put_message_head(message);
        }
        let out = self.payload.buffer();
        crc.update(out.get(start..).unwrap_or_default());
        if let Some(message) = message {
            out.extend_from_slice(message.packed());
            message.chunks().iter().for_each(|chunk| self.payload.push(chunk));
        }
    }

    fn put_message_head(&mut self, message: &Message) {
        let (packed, chunks) = (message.packed(), message.chunks());
        let mut crc = self.begun.clone();
        crc.update(packed);
        chunks.iter().for_each(|chunk| crc.update(chunk));
        let len = chunks.iter().fold(packed.len(), |len, chunk| len.saturating_add(chunk.len()));
        let offset = self.payload.len();
        let out = self.payload.buffer();
        match u16::try_from(len) {
            Ok(len) if len < SHORT_LEN => out.put_u16(len | SHORT_LEN),
            // Bodies are bounded far below where they come in.
            _ => out.put_u32(u32::try_from(len).unwrap_or(u32::MAX)),
        }
        out.put_u32(crc.finalize());
        let head_len = self.payload.len().saturating_sub(offset);
        self.met.push((offset, len.saturating_add(head_len), message.body_len()));
    }
}

/// Where a message stands that was enqueued right after one that stands here.
pub(super) fn next_places(places: &[(QueueId, Seq)]) -> impl Iterator<Item = (QueueId, Seq)> {
    places.iter().map(|(queue, seq)| (*queue, Seq(seq.0.saturating_add(1))))
}

fn is_next(before: &LogRecord, record: &LogRecord) -> bool {
    match (before, record) {
        (
            LogRecord::Broker(Record::Enqueue { queues: before, .. }),
            LogRecord::Broker(Record::Enqueue { queues, .. }),
        ) => next_places(before).eq(queues.iter().copied()),
        _ => false,
    }
}

/// All of a record but its message.
pub(super) fn put_fields(out: &mut BytesMut, record: &LogRecord) {
    let record = match record {
        LogRecord::Broker(record) => record,
        LogRecord::Carry { queues, .. } => {
            out.put_u8(TAG_CARRY);
            return put_places(out, queues);
        }
        LogRecord::Snapshot => return out.put_u8(TAG_SNAPSHOT),
        LogRecord::QueueState { queue, settled, delivered_upto } => {
            out.put_u8(TAG_QUEUE_STATE);
            out.put_u64(queue.0);
            out.put_u64(delivered_upto.0);
            return put_ranges(out, settled);
        }
        LogRecord::SeenState { queue, digests, keep } => {
            out.put_u8(TAG_SEEN_STATE);
            out.put_u64(queue.0);
            out.put_u32(*keep);
            out.put_u32(u32::try_from(digests.len()).unwrap_or(u32::MAX));
            return digests.iter().for_each(|digest| put_digest(out, *digest));
        }
    };
    match record {
        Record::Enqueue { queues, .. } => {
            out.put_u8(TAG_ENQUEUE);
            put_places(out, queues);
        }
        Record::Settle { queue, settled } => {
            out.put_u8(TAG_SETTLE);
            out.put_u64(queue.0);
            out.put_u64(settled.bytes);
            out.put_u64(settled.through.0);
            put_ranges(out, &settled.seqs);
        }
        Record::Purge { queue, ranges, bytes } => {
            out.put_u8(TAG_PURGE);
            out.put_u64(queue.0);
            out.put_u64(*bytes);
            put_ranges(out, ranges);
        }
        Record::Move { from, to, .. } => {
            out.put_u8(TAG_MOVE);
            put_places(out, &[*from]);
            put_places(out, to);
        }
        Record::DeliverMark { queue, upto } => {
            out.put_u8(TAG_DELIVER_MARK);
            out.put_u64(queue.0);
            out.put_u64(upto.0);
        }
        Record::Return { queue, notes } => {
            out.put_u8(TAG_RETURN);
            out.put_u64(queue.0);
            put_notes(out, notes.iter().copied());
        }
        Record::Seen { queue, digest, until_ms, keep } => {
            out.put_u8(TAG_SEEN);
            out.put_u64(queue.0);
            out.put_u32(*keep);
            put_digest(out, (*digest, *until_ms));
        }
        Record::DeleteQueue { queue } => {
            out.put_u8(TAG_DELETE_QUEUE);
            out.put_u64(queue.0);
        }
        Record::Catalog(change) => {
            out.put_u8(TAG_CATALOG);
            // A definition is plain data: it always has a JSON form.
            put_longstr(out, &serde_json::to_vec(change).unwrap_or_default());
        }
    }
}

fn put_places(out: &mut BytesMut, places: &[(QueueId, Seq)]) {
    out.put_u32(u32::try_from(places.len()).unwrap_or(u32::MAX));
    for (queue, seq) in places {
        out.put_u64(queue.0);
        out.put_u64(seq.0);
    }
}

pub(super) fn put_ranges(out: &mut BytesMut, ranges: &[SeqRange]) {
    out.put_u32(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
    for range in ranges {
        out.put_u64(range.first.0);
        out.put_u64(range.last.0);
    }
}

pub(super) fn put_notes(out: &mut BytesMut, notes: impl ExactSizeIterator<Item = (Seq, Note)>) {
    out.put_u32(u32::try_from(notes.len()).unwrap_or(u32::MAX));
    for (seq, Note { failed, returned, due_ms }) in notes {
        out.put_u64(seq.0);
        out.put_u32(failed);
        out.put_u32(returned);
        out.put_u64(due_ms);
    }
}

pub(super) fn put_digest(out: &mut BytesMut, (digest, until_ms): SeenDigest) {
    out.put_u128(digest);
    out.put_u64(until_ms);
}
