//! The fold over the log said as a whole: for the head of a segment, and for who opens the store.

use super::RecoveredQueue;
use super::definition::CatalogChange;
use super::encoding::LogRecord;
use super::ledger::QueueLedger;
use super::record::{Note, QueueId, Record, Seq};
use super::seen::{Seen, SeenDigest};
use super::state::LogState;

/// Notes, or digests, in one record.
const AT_ONCE: usize = 4096;

impl LogState {
    /// The records that say all of this again but for the messages, for the head of a segment.
    pub(super) fn snapshot(&self) -> Vec<LogRecord> {
        let definitions = self.catalog.values().map(|definition| {
            LogRecord::Broker(Record::catalog(CatalogChange::Put(definition.clone())))
        });
        let mut records: Vec<LogRecord> =
            [LogRecord::Snapshot].into_iter().chain(definitions).collect();
        self.ledgers.iter().for_each(|(queue, ledger)| put_ledger(&mut records, *queue, ledger));
        records
    }

    /// What the queues hold.
    pub(super) fn queues(&self) -> Vec<RecoveredQueue> {
        let queue = |(id, ledger): (&QueueId, &QueueLedger)| RecoveredQueue {
            id: *id,
            first: ledger.live_runs(Seq(0), 1).first().map_or(Seq(0), |run| run.first),
            last: ledger.runs().map(|run| run.last).max().unwrap_or_default(),
            count: ledger.live(),
            bytes: u64::try_from(ledger.bytes()).unwrap_or(0),
            delivered_upto: ledger.delivered_upto(),
            notes: ledger.notes().iter().collect(),
            seen: ledger.seen().into_iter().flat_map(Seen::iter).collect(),
        };
        self.ledgers.iter().map(queue).collect()
    }
}

fn put_ledger(records: &mut Vec<LogRecord>, queue: QueueId, ledger: &QueueLedger) {
    let (settled, delivered_upto) = (ledger.settled(), ledger.delivered_upto());
    records.push(LogRecord::QueueState { queue, settled, delivered_upto });
    let notes: Vec<(Seq, Note)> = ledger.notes().iter().collect();
    for notes in notes.chunks(AT_ONCE) {
        records.push(LogRecord::Broker(Record::Return { queue, notes: notes.to_vec() }));
    }
    let Some(seen) = ledger.seen() else { return };
    let seen: Vec<SeenDigest> = seen.iter().collect();
    // These and no others are left where they are read, even if these are none: an older segment
    // may have some that a newer one, which is gone, let go.
    let keep = u32::try_from(seen.len()).unwrap_or(u32::MAX);
    let mut put = |digests: &[SeenDigest]| {
        records.push(LogRecord::SeenState { queue, digests: digests.to_vec(), keep });
    };
    match seen.is_empty() {
        true => put(&[]),
        false => seen.chunks(AT_ONCE).for_each(put),
    }
}
