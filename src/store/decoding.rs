//! Batches read from the bytes of a segment, and single messages. The layout is in `encoding.rs`.
//!
//! Reading arbitrary bytes never panics and never yields a record whose CRC doesn't hold.

use bytes::{Buf, Bytes};

use super::definition::CatalogChange;
use super::encoding::{
    BATCH_HEAD_LEN, LogRecord, SHORT_LEN, TAG_CARRY, TAG_CATALOG, TAG_DELETE_QUEUE,
    TAG_DELIVER_MARK, TAG_ENQUEUE, TAG_ENQUEUE_NEXT, TAG_MOVE, TAG_PURGE, TAG_QUEUE_STATE,
    TAG_RETURN, TAG_SEEN, TAG_SEEN_STATE, TAG_SETTLE, TAG_SNAPSHOT, crc, next_places,
};
use super::index::Place;
use super::record::{Note, Places, QueueId, Ranges, Record, Seq, SeqRange, Settled};
use super::seen::SeenDigest;
use crate::protocol::error::DecodeError;
use crate::protocol::message::Message;
use crate::protocol::wire::Fields;

/// A message that was met in a segment and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) place: Place,
    /// Its CRC holds.
    pub(super) intact: bool,
}

/// A batch's head, when its CRC holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    /// How far behind the first batch of its window it begins. What stands before that one was
    /// synced before this was written.
    pub(super) in_window: u64,
    pub(super) payload_len: usize,
    pub(super) position: u64,
    payload_crc: u32,
}

impl BatchHead {
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<BATCH_HEAD_LEN>()?;
        let (mut checked, head_crc) = head.split_last_chunk::<4>()?;
        let mut crc = crc(salt);
        crc.update(checked);
        if crc.finalize().to_be_bytes() != *head_crc {
            return None;
        }
        let in_window = u64::from(checked.try_get_u32().ok()?);
        let payload_len = usize::try_from(checked.try_get_u32().ok()?).ok()?;
        let position = checked.try_get_u64().ok()?;
        let payload_crc = checked.try_get_u32().ok()?;
        Some(Self { in_window, payload_len, position, payload_crc })
    }

    /// The records of the payload that this is the head of and that begins at `base` of the
    /// segment; nothing when its CRC doesn't hold.
    pub(super) fn records(
        &self,
        payload: &Bytes,
        base: usize,
        salt: u64,
    ) -> Option<Vec<LogRecord<Met>>> {
        let mut reader = PayloadReader { payload, base, salt, crc: crc(salt), checked: 0 };
        let records = reader.records().ok()?;
        reader.check_upto(payload.len());
        (reader.crc.finalize() == self.payload_crc).then_some(records)
    }
}

struct PayloadReader<'a> {
    payload: &'a Bytes,
    base: usize,
    salt: u64,
    crc: crc32fast::Hasher,
    /// Up to here the payload is in the CRC, or in a message's.
    checked: usize,
}

impl PayloadReader<'_> {
    fn records(&mut self) -> Result<Vec<LogRecord<Met>>, DecodeError> {
        let mut fields = Fields::new(self.payload);
        let mut records = Vec::new();
        while !fields.is_empty() {
            let record = self.record(&mut fields, records.last())?;
            records.push(record);
        }
        Ok(records)
    }

    fn check_upto(&mut self, end: usize) {
        self.crc.update(self.payload.get(self.checked..end).unwrap_or_default());
        self.checked = end;
    }

    fn record(
        &mut self,
        fields: &mut Fields<'_>,
        before: Option<&LogRecord<Met>>,
    ) -> Result<LogRecord<Met>, DecodeError> {
        Ok(LogRecord::Broker(match fields.octet()? {
            TAG_ENQUEUE_NEXT => {
                let Some(LogRecord::Broker(Record::Enqueue { queues, .. })) = before else {
                    return Err(DecodeError::syntax("the enqueue after none"));
                };
                let queues = next_places(queues).collect();
                Record::Enqueue { queues, message: self.message(fields)? }
            }
            TAG_ENQUEUE => {
                Record::Enqueue { queues: places(fields)?, message: self.message(fields)? }
            }
            TAG_CARRY => {
                let queues = places(fields)?;
                return Ok(LogRecord::Carry { queues, message: self.message(fields)? });
            }
            TAG_SETTLE => {
                let (queue, bytes, through) = (queue(fields)?, fields.longlong()?, seq(fields)?);
                Record::Settle { queue, settled: Settled { seqs: ranges(fields)?, bytes, through } }
            }
            TAG_PURGE => {
                let (queue, bytes) = (queue(fields)?, fields.longlong()?);
                Record::Purge { queue, ranges: ranges(fields)?, bytes }
            }
            TAG_MOVE => {
                let (from, to) = (places(fields)?, places(fields)?);
                let from = from.first().copied();
                let from = from.ok_or_else(|| DecodeError::syntax("a move from nowhere"))?;
                Record::Move { from, to, message: self.message(fields)? }
            }
            TAG_DELIVER_MARK => Record::DeliverMark { queue: queue(fields)?, upto: seq(fields)? },
            TAG_DELETE_QUEUE => Record::DeleteQueue { queue: queue(fields)? },
            TAG_CATALOG => {
                let change: CatalogChange = serde_json::from_slice(&fields.longstr()?)
                    .map_err(|error| DecodeError::syntax(error.to_string()))?;
                Record::catalog(change)
            }
            TAG_SNAPSHOT => return Ok(LogRecord::Snapshot),
            TAG_QUEUE_STATE => {
                let (queue, delivered_upto) = (queue(fields)?, seq(fields)?);
                let settled = ranges(fields)?;
                return Ok(LogRecord::QueueState { queue, settled, delivered_upto });
            }
            TAG_RETURN => Record::Return { queue: queue(fields)?, notes: notes(fields)? },
            TAG_SEEN => {
                let (queue, keep) = (queue(fields)?, fields.long()?);
                let (digest, until_ms) = seen_digest(fields)?;
                Record::Seen { queue, digest, until_ms, keep }
            }
            TAG_SEEN_STATE => {
                let (queue, keep, count) = (queue(fields)?, fields.long()?, fields.long()?);
                let digests = (0..count).map(|_| seen_digest(fields)).collect::<Result<_, _>>()?;
                return Ok(LogRecord::SeenState { queue, digests, keep });
            }
            tag => return Err(DecodeError::syntax(format!("unknown record tag {tag}"))),
        }))
    }

    fn message(&mut self, fields: &mut Fields<'_>) -> Result<Met, DecodeError> {
        let too_long = || DecodeError::syntax("a message that is longer than a segment");
        let offset = self.payload.len().saturating_sub(fields.rest().len());
        let (len, expected) = (message_len(fields)?, fields.long()?);
        let start = self.payload.len().saturating_sub(fields.rest().len());
        self.check_upto(start);
        let rest = fields.rest();
        fields.skip(len)?;
        let bytes = rest.slice(..rest.len().saturating_sub(fields.rest().len()));
        self.checked = self.checked.saturating_add(bytes.len());
        let mut crc = crc(self.salt);
        crc.update(&bytes);
        let intact = crc.finalize() == expected;
        let body_len = Message::body_len_in(Fields::new(&bytes)).unwrap_or(0);
        let len = start.saturating_sub(offset).saturating_add(bytes.len()) as u64;
        let offset = self.base.saturating_add(offset) as u64;
        let place = Place::new(offset, len, body_len).ok_or_else(too_long)?;
        Ok(Met { place, intact })
    }
}

fn message_len(fields: &mut Fields<'_>) -> Result<u32, DecodeError> {
    let first = fields.short()?;
    if first & SHORT_LEN != 0 {
        return Ok(u32::from(first & !SHORT_LEN));
    }
    Ok(u32::from(first) << 16 | u32::from(fields.short()?))
}

fn queue(fields: &mut Fields<'_>) -> Result<QueueId, DecodeError> {
    fields.longlong().map(QueueId)
}

fn seq(fields: &mut Fields<'_>) -> Result<Seq, DecodeError> {
    fields.longlong().map(Seq)
}

/// A list grows with what is read, not with what its length claims.
fn places(fields: &mut Fields<'_>) -> Result<Places, DecodeError> {
    let count = fields.long()?;
    (0..count).map(|_| Ok((queue(fields)?, seq(fields)?))).collect()
}

pub(super) fn ranges(fields: &mut Fields<'_>) -> Result<Ranges, DecodeError> {
    let count = fields.long()?;
    (0..count).map(|_| Ok(SeqRange { first: seq(fields)?, last: seq(fields)? })).collect()
}

pub(super) fn notes(fields: &mut Fields<'_>) -> Result<Vec<(Seq, Note)>, DecodeError> {
    let count = fields.long()?;
    let mut note = || {
        let (seq, failed, returned) = (seq(fields)?, fields.long()?, fields.long()?);
        Ok((seq, Note { failed, returned, due_ms: fields.longlong()? }))
    };
    (0..count).map(|_| note()).collect()
}

pub(super) fn seen_digest(fields: &mut Fields<'_>) -> Result<SeenDigest, DecodeError> {
    let (high, low) = (fields.longlong()?, fields.longlong()?);
    Ok((u128::from(high) << 64 | u128::from(low), fields.longlong()?))
}

/// Reads a message from the bytes at its place: `first`, which holds all but a large body, and what
/// follows in other pieces. Nothing when its CRC doesn't hold. A small one is copied, so that it
/// pins nothing; a large one shares the pieces. `begun` is a CRC with the salt.
pub(super) fn decode_message(
    mut first: Fields<'_>,
    others: &[Bytes],
    begun: &crc32fast::Hasher,
) -> Option<Message> {
    let (len, expected) = (message_len(&mut first).ok()?, first.long().ok()?);
    let (mut crc, mut found) = (begun.clone(), 0usize);
    for piece in std::iter::once(first.as_slice()).chain(others.iter().map(|piece| &piece[..])) {
        crc.update(piece);
        found = found.saturating_add(piece.len());
    }
    if found as u64 != u64::from(len) || crc.finalize() != expected {
        return None;
    }
    Message::unpack(first, others)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use proptest::prelude::*;

    use smallvec::SmallVec;

    use super::*;
    use crate::protocol::gather::Gather;
    use crate::protocol::message::Body;
    use crate::protocol::properties::Properties;
    use crate::protocol::wire::ShortStr;
    use crate::store::encoding::{Encoder, put_fields};

    const SALT: u64 = 77;

    fn message(body: Vec<u8>) -> Arc<Message> {
        let (exchange, key) = (ShortStr::from_static("x"), ShortStr::from_static("k"));
        let body = Body::from(Bytes::from(body));
        Arc::new(Message::new(&exchange, &key, &Properties::default(), body, true))
    }

    fn places_of_two() -> Places {
        SmallVec::from_slice(&[(QueueId(1), Seq(2)), (QueueId(3), Seq(4))])
    }

    /// One record of each kind, those with a message first.
    fn one_of_each(body: Vec<u8>) -> Vec<LogRecord> {
        let range = SeqRange { first: Seq(1), last: Seq(2) };
        let change = serde_json::from_str(r#"{"put":{"vhost":{"name":"/"}}}"#).expect("a vhost");
        let (queue, message, queues) = (QueueId(1), message(body), places_of_two());
        let ranges = Ranges::from_slice(&[range, range]);
        let settled = Settled { seqs: ranges.clone(), bytes: 9, through: Seq(8) };
        let own = [
            LogRecord::Carry { message: Arc::clone(&message), queues: queues.clone() },
            LogRecord::Snapshot,
            LogRecord::QueueState { queue, settled: ranges.clone(), delivered_upto: Seq(5) },
            LogRecord::SeenState { queue, digests: vec![(1 << 100, 2), (3, u64::MAX)], keep: 2 },
        ];
        let note = Note { failed: 1, returned: u32::MAX, due_ms: 1 << 40 };
        let brokers = [
            Record::Enqueue { message: Arc::clone(&message), queues: queues.clone() },
            Record::Enqueue {
                message: Arc::clone(&message),
                queues: next_places(&queues).collect(),
            },
            Record::Move { from: (queue, Seq(1)), message, to: queues },
            Record::Settle { queue, settled },
            Record::Purge { queue, ranges, bytes: 4 },
            Record::DeliverMark { queue, upto: Seq(3) },
            Record::Return { queue, notes: vec![(Seq(3), note), (Seq(9), Note::default())] },
            Record::Seen { queue, digest: u128::MAX - 5, until_ms: 7, keep: 3 },
            Record::DeleteQueue { queue },
            Record::catalog(change),
        ];
        brokers.into_iter().map(LogRecord::Broker).chain(own).collect()
    }

    fn encoded(salt: u64, records: &[LogRecord]) -> (Bytes, Vec<Place>) {
        let (mut out, mut places) = (Gather::default(), Vec::new());
        let put = Encoder::new(salt).put_batch(&mut out, 0, 9, records, &mut places);
        put.expect("it is short");
        let mut bytes = Vec::new();
        out.write_to(&mut bytes).expect("a Vec takes everything");
        (bytes.into(), places)
    }

    fn head(payload_len: usize) -> BatchHead {
        BatchHead { in_window: 0, payload_len, position: 1, payload_crc: 0 }
    }

    fn decoded(bytes: &Bytes, salt: u64) -> Option<Vec<LogRecord<Met>>> {
        let head = BatchHead::decode(bytes, salt)?;
        let payload = bytes.slice(BATCH_HEAD_LEN..);
        (payload.len() == head.payload_len && head.position == 9).then_some(())?;
        head.records(&payload, BATCH_HEAD_LEN, salt)
    }

    #[test]
    fn a_run_of_enqueues_says_once_where_it_stands() {
        let enqueue = |seq| {
            let queues =
                SmallVec::from_slice(&[(QueueId(1), Seq(seq)), (QueueId(2), Seq(seq + 9))]);
            LogRecord::Broker(Record::Enqueue { message: message(vec![1]), queues })
        };
        let len = |seqs: &[u64]| {
            let records: Vec<LogRecord> = seqs.iter().copied().map(enqueue).collect();
            let (bytes, _) = encoded(SALT, &records);
            let places = |records: Vec<LogRecord<Met>>| -> Vec<u64> {
                records.iter().filter_map(|record| Some(record.places().first()?.1.0)).collect()
            };
            assert_eq!(decoded(&bytes, SALT).map(places).as_deref(), Some(seqs));
            bytes.len()
        };
        let (one, two) = (len(&[5]), len(&[5, 6]));
        assert_eq!(len(&[5, 6, 7]) - two, two - one);
        let places = 4 + 2 * 16;
        assert_eq!(len(&[5, 7]) - two, places, "a gap ends the run");
    }

    /// A record without its message, to be compared.
    fn fields_of<M>(record: LogRecord<M>) -> String {
        let mut out = BytesMut::new();
        let nothing = message(Vec::new());
        let record = match record {
            LogRecord::Broker(Record::Enqueue { queues, .. }) => {
                LogRecord::Broker(Record::Enqueue { message: nothing, queues })
            }
            LogRecord::Broker(Record::Move { from, to, .. }) => {
                LogRecord::Broker(Record::Move { from, message: nothing, to })
            }
            LogRecord::Broker(Record::Settle { queue, settled }) => {
                LogRecord::Broker(Record::Settle { queue, settled })
            }
            LogRecord::Broker(Record::Purge { queue, ranges, bytes }) => {
                LogRecord::Broker(Record::Purge { queue, ranges, bytes })
            }
            LogRecord::Broker(Record::DeliverMark { queue, upto }) => {
                LogRecord::Broker(Record::DeliverMark { queue, upto })
            }
            LogRecord::Broker(Record::Return { queue, notes }) => {
                LogRecord::Broker(Record::Return { queue, notes })
            }
            LogRecord::Broker(Record::Seen { queue, digest, until_ms, keep }) => {
                LogRecord::Broker(Record::Seen { queue, digest, until_ms, keep })
            }
            LogRecord::Broker(Record::DeleteQueue { queue }) => {
                LogRecord::Broker(Record::DeleteQueue { queue })
            }
            LogRecord::Broker(Record::Catalog(change)) => {
                LogRecord::Broker(Record::Catalog(change))
            }
            LogRecord::Carry { queues, .. } => LogRecord::Carry { message: nothing, queues },
            LogRecord::Snapshot => LogRecord::Snapshot,
            LogRecord::QueueState { queue, settled, delivered_upto } => {
                LogRecord::QueueState { queue, settled, delivered_upto }
            }
            LogRecord::SeenState { queue, digests, keep } => {
                LogRecord::SeenState { queue, digests, keep }
            }
        };
        put_fields(&mut out, &record);
        format!("{out:?}")
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was(body in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let records = one_of_each(body.clone());
            let (bytes, places) = encoded(SALT, &records);
            let found = decoded(&bytes, SALT).expect("own bytes");
            let met: Vec<Met> =
                found.iter().filter_map(LogRecord::message).copied().collect();
            prop_assert_eq!(met.iter().map(|met| met.place).collect::<Vec<_>>(), places.clone());
            prop_assert!(met.iter().all(|met| met.intact));
            for place in places {
                let (from, len) = (place.offset as usize, place.len as usize);
                let fields = Fields::within(&bytes, from..from + len);
                let read = decode_message(fields, &[], &crc(SALT));
                prop_assert_eq!(read.as_ref(), Some(&*message(body.clone())));
                prop_assert_eq!(place.body_len as usize, body.len());
            }
            let found: Vec<String> = found.into_iter().map(fields_of).collect();
            prop_assert_eq!(found, records.into_iter().map(fields_of).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let head = head(bytes.len());
            let bytes = Bytes::from(bytes);
            let _ = head.records(&bytes, 0, SALT);
            let _ = decode_message(Fields::new(&bytes), &[], &crc(SALT));
        }

        #[test]
        fn payloads_that_are_nearly_right_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let (bytes, _) = encoded(SALT, &one_of_each(vec![7; 20]));
            let mut payload = bytes.slice(BATCH_HEAD_LEN..).to_vec();
            for (index, byte) in changes {
                let place = index.index(payload.len());
                payload[place] = byte;
            }
            payload.truncate(cut.index(payload.len()) + 1);
            let _ = head(payload.len()).records(&Bytes::from(payload), 0, SALT);
        }
    }

    #[test]
    fn every_flipped_bit_is_found_and_one_in_a_message_costs_that_one() {
        let (bytes, places) = encoded(SALT, &one_of_each(vec![1, 2, 3]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = decoded(&Bytes::from(flipped), SALT);
            let offset = bit / 8;
            let hit = |place: &Place| {
                let start = place.offset as usize;
                let head_len = 6;
                (start + head_len..start + place.len as usize).contains(&offset)
            };
            match places.iter().position(hit) {
                None => assert!(found.is_none(), "bit {bit}"),
                Some(damaged) => {
                    let found = found.expect("the others are there");
                    let intact = found.iter().filter_map(LogRecord::message).map(|met| met.intact);
                    let expected = (0..places.len()).map(|number| number != damaged);
                    assert!(intact.eq(expected), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_batch_of_another_segment_is_not_taken_for_one_of_this() {
        let (bytes, _) = encoded(SALT, &[LogRecord::Snapshot]);
        assert_eq!(BatchHead::decode(&bytes, SALT + 1), None);
    }
}
