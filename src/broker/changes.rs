//! What an operation on queues and definitions has changed, on its way to the log.
//!
//! Gathers the records of one read of a client, and remembers which long queues wait to hear that
//! their new messages are on disk, so that these can leave the memory.

use std::sync::Arc;

use super::queue::Queue;
use crate::store::record::{Batch, Record, Seq};
use crate::store::{OnCommit, Store};

/// Records that become durable together.
#[derive(Default)]
pub struct Changes {
    records: Batch,
    arrivals: Vec<Arrival>,
}

/// Messages that a queue can page out when they are on disk.
struct Arrival {
    queue: Arc<Queue>,
    first: Seq,
    last: Seq,
}

impl Changes {
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn arrived(&mut self, queue: &Arc<Queue>, first: Seq, last: Seq) {
        self.arrivals.push(Arrival { queue: Arc::clone(queue), first, last });
    }

    /// Appends them to the log. `on_commit` is told of it; without one they may wait a moment for
    /// company. What is empty needs no writing, and nobody is told.
    pub fn append(self, store: &dyn Store, on_commit: Option<OnCommit>) {
        let Self { records, arrivals } = self;
        if records.is_empty() {
            return;
        }
        if arrivals.is_empty() {
            return store.append(records, on_commit);
        }
        let told = move |outcome: Result<_, _>| {
            let is_stored = outcome.is_ok();
            if let Some(on_commit) = on_commit {
                on_commit(outcome);
            }
            for Arrival { queue, first, last } in arrivals {
                if is_stored {
                    queue.on_disk(first, last);
                }
            }
        };
        store.append(records, Some(Box::new(told)));
    }
}

impl From<Record> for Changes {
    fn from(record: Record) -> Self {
        Self { records: vec![record], arrivals: Vec::new() }
    }
}

impl From<Batch> for Changes {
    fn from(records: Batch) -> Self {
        Self { records, arrivals: Vec::new() }
    }
}
