//! The fold over the log: definitions, each queue's ledger, and how many messages live in each
//! segment.
//!
//! Pure. Owned by the committer, which applies what it has written, and by recovery, which applies
//! what it reads.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::definition::{CatalogChange, Definition};
use super::encoding::LogRecord;
use super::ledger::{QueueLedger, SegmentNumber};
use super::record::{QueueId, Record, Seq, SeqRange};

/// A definition's key in the catalog.
pub(super) type CatalogKey = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct LogState {
    pub(super) catalog: HashMap<CatalogKey, Definition>,
    pub(super) ledgers: HashMap<QueueId, QueueLedger>,
    live_in: BTreeMap<SegmentNumber, u64>,
    /// While the log is read, queues are taken up as they are met: which of them are left is known
    /// at its end.
    recovering: bool,
    /// What changed since the last checkpoint.
    changed_definitions: HashSet<CatalogKey>,
    changed_queues: HashSet<QueueId>,
}

/// What a checkpoint has to write: nothing where the thing is gone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) definitions: Vec<(CatalogKey, Option<Definition>)>,
    pub(super) ledgers: Vec<(QueueId, Option<QueueLedger>)>,
}

impl LogState {
    /// For a log that is about to be read.
    pub(super) fn recovering() -> Self {
        Self { recovering: true, ..Self::default() }
    }

    /// Applies a record that stands in `segment`. `arrived` hears of messages that it brought and
    /// that live.
    pub(super) fn apply(
        &mut self,
        record: &LogRecord,
        segment: SegmentNumber,
        mut arrived: impl FnMut(QueueId, Seq),
    ) {
        match record {
            LogRecord::Snapshot => {
                self.changed_definitions.extend(self.catalog.drain().map(|(key, _)| key));
            }
            LogRecord::QueueState { queue, settled, delivered_upto } => {
                settled.iter().for_each(|range| self.settle(*queue, *range));
                self.mark_delivered(*queue, *delivered_upto);
            }
            LogRecord::Broker(record) => match record {
                Record::Enqueue { queues, .. } => {
                    self.enqueue(queues, segment, &mut arrived);
                }
                Record::Move { from: (queue, seq), to, .. } => {
                    self.settle(*queue, SeqRange { first: *seq, last: *seq });
                    self.enqueue(to, segment, &mut arrived);
                }
                Record::Settle { queue, ranges } => {
                    ranges.iter().for_each(|range| self.settle(*queue, *range));
                }
                Record::Purge { queue, upto } => {
                    self.settle(*queue, SeqRange { first: Seq(0), last: *upto });
                }
                Record::DeliverMark { queue, upto } => self.mark_delivered(*queue, *upto),
                Record::DeleteQueue { queue } => self.delete_queue(*queue),
                Record::Catalog(change) => self.change_catalog(change),
            },
        }
    }

    fn ledger(
        ledgers: &mut HashMap<QueueId, QueueLedger>,
        recovering: bool,
        queue: QueueId,
    ) -> Option<&mut QueueLedger> {
        match recovering {
            true => Some(ledgers.entry(queue).or_default()),
            // A queue without a ledger is gone: what comes late for it is gone, too.
            false => ledgers.get_mut(&queue),
        }
    }

    fn mark_delivered(&mut self, queue: QueueId, upto: Seq) {
        if let Some(ledger) = Self::ledger(&mut self.ledgers, self.recovering, queue) {
            ledger.mark_delivered(upto);
            self.changed_queues.insert(queue);
        }
    }

    /// Ends recovery: only queues that are still defined stay.
    pub(super) fn end_recovery(&mut self) {
        self.recovering = false;
        let defined: HashSet<QueueId> = self
            .catalog
            .values()
            .filter_map(|definition| match definition {
                Definition::Queue(queue) => Some(queue.id),
                _ => None,
            })
            .collect();
        let gone: Vec<QueueId> =
            self.ledgers.keys().filter(|queue| !defined.contains(queue)).copied().collect();
        gone.into_iter().for_each(|queue| self.delete_queue(queue));
    }

    fn enqueue(
        &mut self,
        places: &[(QueueId, Seq)],
        segment: SegmentNumber,
        arrived: &mut impl FnMut(QueueId, Seq),
    ) {
        for (queue, seq) in places {
            let Some(ledger) = Self::ledger(&mut self.ledgers, self.recovering, *queue) else {
                continue;
            };
            if ledger.enqueue(*seq, segment) {
                let live = self.live_in.entry(segment).or_default();
                *live = live.saturating_add(1);
                arrived(*queue, *seq);
            }
        }
    }

    fn settle(&mut self, queue: QueueId, range: SeqRange) {
        let Some(ledger) = Self::ledger(&mut self.ledgers, self.recovering, queue) else { return };
        let live_in = &mut self.live_in;
        ledger.settle(range, |segment, count| free(live_in, segment, count));
        self.changed_queues.insert(queue);
    }

    fn delete_queue(&mut self, queue: QueueId) {
        if let Some(ledger) = self.ledgers.remove(&queue) {
            let live_in = &mut self.live_in;
            ledger.delete(|segment, count| free(live_in, segment, count));
            self.changed_queues.insert(queue);
        }
    }

    fn change_catalog(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Put(definition) => self.put_definition(definition.clone()),
            CatalogChange::Delete(key) => {
                let key = key.digest();
                self.catalog.remove(&key);
                self.changed_definitions.insert(key);
            }
        }
    }

    /// Adds a definition; a queue's begins its ledger.
    pub(super) fn put_definition(&mut self, definition: Definition) {
        if let Definition::Queue(queue) = &definition {
            self.ledgers.entry(queue.id).or_default();
            self.changed_queues.insert(queue.id);
        }
        let key = definition.key().digest();
        self.catalog.insert(key, definition);
        self.changed_definitions.insert(key);
    }

    /// Takes up a queue's ledger from a snapshot or a checkpoint.
    pub(super) fn restore_ledger(&mut self, queue: QueueId, ledger: QueueLedger) {
        self.ledgers.insert(queue, ledger);
    }

    /// The records that say all of this again, for the head of a segment.
    pub(super) fn snapshot(&self) -> Vec<LogRecord> {
        let definitions = self.catalog.values().map(|definition| {
            LogRecord::Broker(Record::Catalog(CatalogChange::Put(definition.clone())))
        });
        let ledgers = self.ledgers.iter().map(|(queue, ledger)| LogRecord::QueueState {
            queue: *queue,
            settled: ledger.settled(),
            delivered_upto: ledger.delivered_upto(),
        });
        [LogRecord::Snapshot].into_iter().chain(definitions).chain(ledgers).collect()
    }

    /// Takes what changed since it was taken last.
    pub(super) fn take_changes(&mut self) -> Changes {
        let definitions = std::mem::take(&mut self.changed_definitions);
        let queues = std::mem::take(&mut self.changed_queues);
        Changes {
            definitions: definitions
                .into_iter()
                .map(|key| (key, self.catalog.get(&key).cloned()))
                .collect(),
            ledgers: queues
                .into_iter()
                .map(|queue| (queue, self.ledgers.get(&queue).cloned()))
                .collect(),
        }
    }

    pub(super) fn has_changed_definitions(&self) -> bool {
        !self.changed_definitions.is_empty()
    }

    /// Whether a message in the segment lives.
    pub(super) fn lives_in(&self, segment: SegmentNumber) -> bool {
        self.live_in.get(&segment).is_some_and(|live| *live > 0)
    }
}

fn free(live_in: &mut BTreeMap<SegmentNumber, u64>, segment: SegmentNumber, count: u64) {
    if let Some(live) = live_in.get_mut(&segment) {
        *live = live.saturating_sub(count);
        if *live == 0 {
            live_in.remove(&segment);
        }
    }
}
