//! Batches as bytes of a segment.
//!
//! ```text
//! batch:   payload length u64 | position u64 | payload CRC u32 | head CRC u32 | payload
//! payload: record | record | ...
//! record:  tag u8 | fields, by tag
//! message: flags u8 | exchange | routing key | properties u32 + bytes | body u32 + bytes
//! ```
//!
//! Integers are big-endian. Both CRCs begin with the salt of the segment, which no client knows:
//! bytes in a message's body can't pass for a batch. Reading arbitrary bytes never panics and never
//! yields a record whose CRC doesn't hold.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::definition::CatalogChange;
use super::record::{QueueId, Ranges, Record, Seq, SeqRange};
use crate::protocol::error::DecodeError;
use crate::protocol::gather::Gather;
use crate::protocol::message::{Body, Message};
use crate::protocol::properties::Properties;
use crate::protocol::wire::{Fields, put_longstr, put_shortstr};

pub(super) const BATCH_HEAD_LEN: usize = 24;

const TAG_ENQUEUE: u8 = 1;
const TAG_SETTLE: u8 = 2;
const TAG_MOVE: u8 = 3;
const TAG_DELIVER_MARK: u8 = 4;
const TAG_PURGE: u8 = 5;
const TAG_DELETE_QUEUE: u8 = 6;
const TAG_CATALOG: u8 = 7;
const TAG_SNAPSHOT: u8 = 8;
const TAG_QUEUE_STATE: u8 = 9;

const FLAG_DEAD_LETTERED: u8 = 1;

/// A record as the log has it: the broker's, or one of its own.
#[derive(Debug, Clone)]
pub(super) enum LogRecord {
    Broker(Record),
    /// The records after this one in the batch are all definitions and queue states there are.
    Snapshot,
    /// Where a queue stands: what is settled, and what may have been delivered.
    QueueState {
        queue: QueueId,
        settled: Ranges,
        delivered_upto: Seq,
    },
}

/// Starts a CRC with a segment's salt.
fn crc(salt: u64) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_be_bytes());
    crc
}

/// Appends a batch. `payload` is scratch space, empty before and after.
pub(super) fn put_batch<'a>(
    out: &mut Gather,
    payload: &mut Gather,
    salt: u64,
    position: u64,
    records: impl IntoIterator<Item = &'a LogRecord>,
) {
    for record in records {
        put_record(payload, record);
    }
    payload.seal();
    let mut payload_crc = crc(salt);
    payload.pieces().for_each(|piece| payload_crc.update(piece));
    let mut head = [0; BATCH_HEAD_LEN];
    let mut place = head.as_mut_slice();
    place.put_u64(payload.len() as u64);
    place.put_u64(position);
    place.put_u32(payload_crc.finalize());
    let (checked, head_crc) = head.split_at_mut(BATCH_HEAD_LEN.saturating_sub(4));
    let mut crc = crc(salt);
    crc.update(checked);
    head_crc.copy_from_slice(&crc.finalize().to_be_bytes());
    out.buffer().extend_from_slice(&head);
    out.append(payload);
}

fn put_record(out: &mut Gather, record: &LogRecord) {
    match record {
        LogRecord::Broker(record) => put_broker_record(out, record),
        LogRecord::Snapshot => out.buffer().put_u8(TAG_SNAPSHOT),
        LogRecord::QueueState { queue, settled, delivered_upto } => {
            let out = out.buffer();
            out.put_u8(TAG_QUEUE_STATE);
            out.put_u64(queue.0);
            out.put_u64(delivered_upto.0);
            put_ranges(out, settled);
        }
    }
}

fn put_broker_record(gather: &mut Gather, record: &Record) {
    let out = gather.buffer();
    match record {
        Record::Enqueue { message, queues } => {
            out.put_u8(TAG_ENQUEUE);
            put_places(out, queues);
            put_message(gather, message);
        }
        Record::Settle { queue, ranges } => {
            out.put_u8(TAG_SETTLE);
            out.put_u64(queue.0);
            put_ranges(out, ranges);
        }
        Record::Move { from, message, to } => {
            out.put_u8(TAG_MOVE);
            put_places(out, &[*from]);
            put_places(out, to);
            put_message(gather, message);
        }
        Record::DeliverMark { queue, upto } => {
            out.put_u8(TAG_DELIVER_MARK);
            out.put_u64(queue.0);
            out.put_u64(upto.0);
        }
        Record::Purge { queue, upto } => {
            out.put_u8(TAG_PURGE);
            out.put_u64(queue.0);
            out.put_u64(upto.0);
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

fn put_message(gather: &mut Gather, message: &Message) {
    let out = gather.buffer();
    out.put_u8(if message.dead_lettered { FLAG_DEAD_LETTERED } else { 0 });
    put_shortstr(out, &message.exchange);
    put_shortstr(out, &message.routing_key);
    put_longstr(out, message.properties.as_bytes());
    // Bodies are bounded far below 4 GiB where they come in.
    out.put_u32(u32::try_from(message.body.len()).unwrap_or(u32::MAX));
    message.body.chunks().iter().for_each(|chunk| gather.push(chunk));
}

/// A batch's head, when its CRC holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) payload_len: usize,
    pub(super) position: u64,
    payload_crc: u32,
}

impl BatchHead {
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<BATCH_HEAD_LEN>()?;
        let (checked, head_crc) = head.split_last_chunk::<4>()?;
        let mut crc = crc(salt);
        crc.update(checked);
        if crc.finalize().to_be_bytes() != *head_crc {
            return None;
        }
        let owner = Bytes::copy_from_slice(checked);
        let mut fields = Fields::new(&owner);
        let (len, position) = (fields.longlong().ok()?, fields.longlong().ok()?);
        let payload_crc = fields.long().ok()?;
        Some(Self { payload_len: usize::try_from(len).ok()?, position, payload_crc })
    }

    pub(super) fn fits(&self, payload: &[u8], salt: u64) -> bool {
        let mut crc = crc(salt);
        crc.update(payload);
        crc.finalize() == self.payload_crc
    }
}

/// Reads the records of a batch's payload.
pub(super) fn decode_payload(payload: &Bytes) -> Result<Vec<LogRecord>, DecodeError> {
    let mut fields = Fields::new(payload);
    let mut records = Vec::new();
    while !fields.is_empty() {
        records.push(decode_record(&mut fields)?);
    }
    Ok(records)
}

fn decode_record(fields: &mut Fields<'_>) -> Result<LogRecord, DecodeError> {
    let record = match fields.octet()? {
        TAG_ENQUEUE => {
            let queues = places(fields)?;
            Record::Enqueue { queues, message: message(fields)? }
        }
        TAG_SETTLE => Record::Settle { queue: queue(fields)?, ranges: ranges(fields)? },
        TAG_MOVE => {
            let from = places(fields)?;
            let to = places(fields)?;
            let from = from.first().copied();
            let from = from.ok_or_else(|| DecodeError::syntax("a move from nowhere"))?;
            Record::Move { from, to, message: message(fields)? }
        }
        TAG_DELIVER_MARK => Record::DeliverMark { queue: queue(fields)?, upto: seq(fields)? },
        TAG_PURGE => Record::Purge { queue: queue(fields)?, upto: seq(fields)? },
        TAG_DELETE_QUEUE => Record::DeleteQueue { queue: queue(fields)? },
        TAG_CATALOG => {
            let change: CatalogChange = serde_json::from_slice(&fields.longstr()?)
                .map_err(|error| DecodeError::syntax(error.to_string()))?;
            Record::Catalog(change)
        }
        TAG_SNAPSHOT => return Ok(LogRecord::Snapshot),
        TAG_QUEUE_STATE => {
            let (queue, delivered_upto) = (queue(fields)?, seq(fields)?);
            return Ok(LogRecord::QueueState { queue, delivered_upto, settled: ranges(fields)? });
        }
        tag => return Err(DecodeError::syntax(format!("unknown record tag {tag}"))),
    };
    Ok(LogRecord::Broker(record))
}

fn queue(fields: &mut Fields<'_>) -> Result<QueueId, DecodeError> {
    fields.longlong().map(QueueId)
}

fn seq(fields: &mut Fields<'_>) -> Result<Seq, DecodeError> {
    fields.longlong().map(Seq)
}

/// A list grows with what is read, not with what its length claims.
fn places(fields: &mut Fields<'_>) -> Result<SmallVec<[(QueueId, Seq); 1]>, DecodeError> {
    let count = fields.long()?;
    (0..count).map(|_| Ok((queue(fields)?, seq(fields)?))).collect()
}

pub(super) fn ranges(fields: &mut Fields<'_>) -> Result<Ranges, DecodeError> {
    let count = fields.long()?;
    (0..count).map(|_| Ok(SeqRange { first: seq(fields)?, last: seq(fields)? })).collect()
}

/// Everything is copied, so that no message pins the segment it was read from.
fn message(fields: &mut Fields<'_>) -> Result<Arc<Message>, DecodeError> {
    let flags = fields.octet()?;
    let exchange = fields.shortstr()?.detached();
    let routing_key = fields.shortstr()?.detached();
    let properties = Properties::parse(fields.longstr()?)?.detached();
    let body = Body::from(Bytes::copy_from_slice(&fields.longstr()?));
    let dead_lettered = flags & FLAG_DEAD_LETTERED != 0;
    Ok(Arc::new(Message { exchange, routing_key, properties, body, dead_lettered }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enqueue(body: Vec<u8>) -> LogRecord {
        let message = Message {
            exchange: crate::protocol::wire::ShortStr::from_static("x"),
            routing_key: crate::protocol::wire::ShortStr::from_static("k"),
            properties: Properties::default(),
            body: Body::from(Bytes::from(body)),
            dead_lettered: true,
        };
        let queues = SmallVec::from_slice(&[(QueueId(1), Seq(2)), (QueueId(3), Seq(4))]);
        LogRecord::Broker(Record::Enqueue { message: Arc::new(message), queues })
    }

    fn encoded(salt: u64, records: &[LogRecord]) -> Bytes {
        let mut out = Gather::default();
        put_batch(&mut out, &mut Gather::default(), salt, 9, records);
        let mut bytes = Vec::new();
        out.write_to(&mut bytes).expect("a Vec takes everything");
        bytes.into()
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(body in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let mark = Record::DeliverMark { queue: QueueId(1), upto: Seq(5) };
            let records = [enqueue(body), LogRecord::Broker(mark), LogRecord::Snapshot];
            let bytes = encoded(77, &records);
            let head = BatchHead::decode(&bytes, 77).expect("own bytes");
            let payload = bytes.slice(BATCH_HEAD_LEN..);
            prop_assert_eq!((head.payload_len, head.position), (payload.len(), 9));
            prop_assert!(head.fits(&payload, 77));
            let decoded = decode_payload(&payload).expect("own bytes");
            prop_assert_eq!(format!("{decoded:?}"), format!("{records:?}"));
        }

        #[test]
        fn arbitrary_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_payload(&Bytes::from(bytes));
        }
    }

    /// One record of each kind.
    fn one_of_each() -> Vec<LogRecord> {
        let range = SeqRange { first: Seq(1), last: Seq(2) };
        let LogRecord::Broker(Record::Enqueue { message, queues }) = enqueue(vec![7; 20]) else {
            panic!("an enqueue");
        };
        let change = serde_json::from_str(r#"{"put":{"vhost":{"name":"/"}}}"#).expect("a vhost");
        let queue = QueueId(1);
        let records = [
            Record::Enqueue { message: Arc::clone(&message), queues: queues.clone() },
            Record::Settle { queue, ranges: Ranges::from_slice(&[range, range]) },
            Record::Move { from: (queue, Seq(1)), message, to: queues },
            Record::DeliverMark { queue, upto: Seq(3) },
            Record::Purge { queue, upto: Seq(4) },
            Record::DeleteQueue { queue },
            Record::Catalog(change),
        ];
        let settled = Ranges::from_slice(&[range]);
        let state = LogRecord::QueueState { queue, settled, delivered_upto: Seq(5) };
        let records = records.into_iter().map(LogRecord::Broker);
        records.chain([LogRecord::Snapshot, state]).collect()
    }

    proptest! {
        #[test]
        fn payloads_that_are_nearly_right_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encoded(77, &one_of_each());
            let mut payload = bytes.slice(BATCH_HEAD_LEN..).to_vec();
            for (index, byte) in changes {
                let place = index.index(payload.len());
                payload[place] = byte;
            }
            payload.truncate(cut.index(payload.len()) + 1);
            let _ = decode_payload(&Bytes::from(payload));
        }
    }

    #[test]
    fn every_kind_of_record_comes_back_as_it_was() {
        let records = one_of_each();
        let bytes = encoded(77, &records);
        let decoded = decode_payload(&bytes.slice(BATCH_HEAD_LEN..)).expect("own bytes");
        assert_eq!(format!("{decoded:?}"), format!("{records:?}"));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = encoded(77, &[enqueue(vec![1, 2, 3])]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let head = BatchHead::decode(&flipped, 77);
            assert!(
                !head.is_some_and(|head| head.fits(&flipped[BATCH_HEAD_LEN..], 77)),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_batch_of_another_segment_is_not_taken_for_one_of_this() {
        assert_eq!(BatchHead::decode(&encoded(77, &[LogRecord::Snapshot]), 78), None);
    }
}
