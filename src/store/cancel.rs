//! Messages that came and went within one window are never written.
//!
//! A message that was enqueued and settled before its window is on its way to the disk needs no
//! place there, nor does what was noted of it meanwhile: whoever waits for its confirm is told at
//! once. Only settles count; a message that was moved is in another queue. A note that reached an
//! earlier window than its message stays, until a settle says that all up to it are gone. A mark of
//! deliveries is for messages up to its number: it goes when a settle says that those are gone.

use std::collections::BTreeMap;

use super::encoding::LogRecord;
use super::inbox::Pending;
use super::ranges::RangeSet;
use super::record::{QueueMap, Ranges, Record, Seq, SeqRange, Settled};

/// Of one queue in one window: the numbers that are settled, the number up to which none is left,
/// and what of them need not be written, with the bytes of their bodies.
#[derive(Default)]
struct Coming {
    settled: RangeSet,
    through: Seq,
    cancelled: BTreeMap<u64, u64>,
}

/// Takes out of a window what need not be written. Batches that are empty then are done.
pub(super) fn cancel_pairs(window: &mut [Pending]) {
    let mut queues = settled_in(window);
    if queues.is_empty() {
        return;
    }
    for pending in &mut *window {
        pending.batch.retain_mut(|record| !is_cancelled(record, &mut queues));
    }
    for pending in window {
        pending.batch.retain_mut(|record| is_left(record, &queues));
    }
}

fn settled_in(window: &[Pending]) -> QueueMap<Coming> {
    let mut queues: QueueMap<Coming> = QueueMap::default();
    for record in window.iter().flat_map(|pending| &pending.batch) {
        if let LogRecord::Broker(Record::Settle { queue, settled }) = record {
            let coming = queues.entry(*queue).or_default();
            for range in &settled.seqs {
                coming.settled.insert(range.first.0, range.last.0);
            }
            coming.through = coming.through.max(settled.through);
        }
    }
    queues
}

/// Whether all that a record brings is settled. What is settled of it is taken out of it.
fn is_cancelled(record: &mut LogRecord, coming: &mut QueueMap<Coming>) -> bool {
    let LogRecord::Broker(Record::Enqueue { message, queues }) = record else { return false };
    queues.retain(|(queue, Seq(seq))| {
        let Some(coming) = coming.get_mut(queue) else { return true };
        let is_settled = coming.settled.contains(*seq);
        if is_settled {
            coming.cancelled.insert(*seq, message.body_len());
        }
        !is_settled
    });
    queues.is_empty()
}

/// Whether something of a record is to be written once the messages that went are taken out of it.
fn is_left(record: &mut LogRecord, queues: &QueueMap<Coming>) -> bool {
    let LogRecord::Broker(record) = record else { return true };
    match record {
        Record::Settle { queue, settled } => {
            let Some(coming) = queues.get(queue) else { return true };
            leave_out(settled, coming);
            !settled.seqs.is_empty()
        }
        Record::Return { queue, notes } => {
            let Some(coming) = queues.get(queue) else { return true };
            notes.retain(|(seq, _)| !coming.cancelled.contains_key(&seq.0));
            !notes.is_empty()
        }
        Record::DeliverMark { queue, upto } => {
            queues.get(queue).is_none_or(|coming| coming.through < *upto)
        }
        _ => true,
    }
}

/// Takes messages that will never be written out of a settle.
fn leave_out(settled: &mut Settled, coming: &Coming) {
    let mut left = Ranges::new();
    for range in &settled.seqs {
        let mut next = Some(range.first.0);
        for (seq, bytes) in coming.cancelled.range(range.first.0..=range.last.0) {
            settled.bytes = settled.bytes.saturating_sub(*bytes);
            push(&mut left, next, seq.checked_sub(1));
            next = seq.checked_add(1);
        }
        push(&mut left, next, Some(range.last.0));
    }
    settled.seqs = left;
}

fn push(ranges: &mut Ranges, first: Option<u64>, last: Option<u64>) {
    if let (Some(first), Some(last)) = (first, last)
        && first <= last
    {
        ranges.push(SeqRange { first: Seq(first), last: Seq(last) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::message::Message;
    use crate::protocol::properties::Properties;
    use crate::protocol::wire::ShortStr;
    use crate::store::record::{Note, QueueId};

    fn enqueue(places: &[(u64, u64)]) -> Record {
        let (nowhere, properties) = (ShortStr::default(), Properties::default());
        let message = Message::small(&nowhere, &nowhere, &properties, b"four", false);
        let queues = places.iter().map(|(queue, seq)| (QueueId(*queue), Seq(*seq))).collect();
        Record::Enqueue { message: Arc::new(message), queues }
    }

    fn settle(queue: u64, first: u64, last: u64) -> Record {
        let seqs = [SeqRange { first: Seq(first), last: Seq(last) }].into_iter().collect();
        let settled = Settled { seqs, bytes: (last - first + 1) * 4, through: Seq(last) };
        Record::Settle { queue: QueueId(queue), settled }
    }

    fn mark(upto: u64) -> Record {
        Record::DeliverMark { queue: QueueId(1), upto: Seq(upto) }
    }

    fn came_back(seqs: &[u64]) -> Record {
        let note = Note { failed: 1, returned: 0, due_ms: 0 };
        let notes = seqs.iter().map(|seq| (Seq(*seq), note)).collect();
        Record::Return { queue: QueueId(1), notes }
    }

    fn moved(from: (u64, u64), to: &[(u64, u64)]) -> Record {
        let Record::Enqueue { message, queues: to } = enqueue(to) else { panic!("one") };
        Record::Move { from: (QueueId(from.0), Seq(from.1)), message, to }
    }

    fn seen() -> Record {
        Record::Seen { queue: QueueId(1), digest: 7, until_ms: 9, keep: 3 }
    }

    fn cancelled(window: Vec<Vec<Record>>) -> Vec<String> {
        let pending = |batch: Vec<Record>| Pending {
            batch: batch.into_iter().map(LogRecord::Broker).collect(),
            on_commit: None,
        };
        let mut window: Vec<Pending> = window.into_iter().map(pending).collect();
        cancel_pairs(&mut window);
        window.iter().map(|pending| format!("{:?}", pending.batch)).collect()
    }

    fn shown(window: Vec<Vec<Record>>) -> Vec<String> {
        let show = |batch: Vec<Record>| {
            format!("{:?}", batch.into_iter().map(LogRecord::Broker::<_>).collect::<Vec<_>>())
        };
        window.into_iter().map(show).collect()
    }

    #[test]
    fn what_came_and_went_leaves_nothing_whatever_the_order() {
        let came = vec![enqueue(&[(1, 5)]), enqueue(&[(1, 6)]), mark(6)];
        let went = vec![settle(1, 5, 6)];
        let nothing = shown(vec![vec![], vec![]]);
        assert_eq!(cancelled(vec![came.clone(), went.clone()]), nothing);
        assert_eq!(cancelled(vec![went, came]), nothing);
    }

    #[test]
    fn what_stays_in_one_queue_is_written_for_that_one() {
        let window = vec![vec![enqueue(&[(1, 5), (2, 9)])], vec![settle(1, 5, 5)]];
        assert_eq!(cancelled(window), shown(vec![vec![enqueue(&[(2, 9)])], vec![]]));
    }

    #[test]
    fn settles_of_what_is_on_disk_stay_with_the_sums_of_that() {
        let window = vec![vec![enqueue(&[(1, 5)]), enqueue(&[(1, 7)])], vec![settle(1, 3, 6)]];
        let seqs =
            [(3, 4), (6, 6)].map(|(first, last)| SeqRange { first: Seq(first), last: Seq(last) });
        let settled = Settled { seqs: seqs.into_iter().collect(), bytes: 12, through: Seq(6) };
        let left =
            vec![vec![enqueue(&[(1, 7)])], vec![Record::Settle { queue: QueueId(1), settled }]];
        assert_eq!(cancelled(window), shown(left));
    }

    /// It was counted by the move, and its place in the queue is needed for that.
    #[test]
    fn a_message_that_was_moved_is_not_taken_for_settled_by_those_behind_it() {
        let moved = moved((1, 5), &[(2, 1)]);
        let window = vec![vec![enqueue(&[(1, 5)]), moved], vec![settle(1, 6, 6)]];
        assert_eq!(cancelled(window.clone()), shown(window));
    }

    #[test]
    fn a_mark_stays_until_all_that_it_is_for_are_gone() {
        let window = vec![
            vec![enqueue(&[(1, 5)]), enqueue(&[(1, 6)]), mark(6)],
            vec![mark(3)],
            vec![settle(1, 5, 5)],
        ];
        let left = vec![vec![enqueue(&[(1, 6)]), mark(6)], vec![], vec![]];
        assert_eq!(cancelled(window), shown(left));
    }

    /// It may be for messages of earlier windows.
    #[test]
    fn a_mark_stays_though_the_messages_beside_it_went() {
        let mut settle = settle(1, 5, 5);
        if let Record::Settle { settled, .. } = &mut settle {
            settled.through = Seq(2);
        }
        let other = Record::DeliverMark { queue: QueueId(2), upto: Seq(5) };
        let window = vec![vec![enqueue(&[(1, 5)]), mark(5), other.clone()], vec![settle]];
        assert_eq!(cancelled(window), shown(vec![vec![mark(5), other], vec![]]));
    }

    /// As a delayed message that is due is: from the exchange's own id to the queues.
    #[test]
    fn a_message_that_came_and_was_moved_is_written_and_settled_where_it_went() {
        let window = vec![
            vec![enqueue(&[(9, 5)])],
            vec![moved((9, 5), &[(1, 1), (2, 1)]), mark(1)],
            vec![settle(1, 1, 1), settle(2, 1, 1)],
        ];
        let mut left = window.clone();
        // Nothing is left that the mark was for.
        left[1].pop();
        assert_eq!(cancelled(window), shown(left));
    }

    #[test]
    fn what_was_noted_of_messages_that_went_goes_with_them_and_no_other_note_does() {
        let window = vec![
            vec![enqueue(&[(1, 5)]), enqueue(&[(1, 6)]), mark(6)],
            vec![came_back(&[5])],
            vec![came_back(&[3, 5, 6, 8])],
            vec![settle(1, 3, 3), settle(1, 5, 6)],
        ];
        // What is on disk keeps its note, settled or not: the batches may end in two segments.
        let left = vec![vec![], vec![], vec![came_back(&[3, 8])], vec![settle(1, 3, 3)]];
        assert_eq!(cancelled(window), shown(left));
    }

    #[test]
    fn a_batch_that_has_all_of_a_message_s_life_leaves_nothing() {
        let window = vec![vec![enqueue(&[(1, 5)]), mark(5), came_back(&[5]), settle(1, 5, 5)]];
        assert_eq!(cancelled(window), shown(vec![vec![]]));
    }

    #[test]
    fn what_was_seen_is_written_though_its_message_went() {
        let window = vec![vec![enqueue(&[(1, 5)]), seen()], vec![settle(1, 5, 5)]];
        assert_eq!(cancelled(window), shown(vec![vec![seen()], vec![]]));
    }
}
