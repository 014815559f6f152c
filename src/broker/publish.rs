//! Messages on their way from one client's read to the queues and the log.
//!
//! Consecutive messages with the same queues are a run: each queue is entered once for all of them,
//! and everything that one read brought goes to the log as one batch.

use std::sync::Arc;

use smallvec::SmallVec;

use super::changes::Changes;
use super::queue::Queue;
use crate::protocol::message::Message;
use crate::store::record::{QueueId, Record, Seq};

/// The queues a message goes to, each once.
pub type Route = SmallVec<[Arc<Queue>; 1]>;

/// Most messages in a run, so that a queue is not held for long.
const RUN_MAX: usize = 1024;

/// What one read of a client, or one transaction, does to queues.
#[derive(Default)]
pub struct PublishBatch {
    run: Vec<Arc<Message>>,
    route: Route,
    records: Changes,
}

impl PublishBatch {
    /// Adds a message. It may stay in the run until [`PublishBatch::enqueue_run`].
    pub fn publish(&mut self, message: Arc<Message>, route: &Route) {
        if self.run.len() >= RUN_MAX || !same_queues(route, &self.route) {
            self.enqueue_run();
            self.route.clone_from(route);
        }
        self.run.push(message);
    }

    /// Brings the run into its queues. To be called before anything else is asked of a queue.
    pub fn enqueue_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let first_seqs: SmallVec<[(&Arc<Queue>, Option<Seq>); 1]> = self
            .route
            .iter()
            .map(|queue| (queue, queue.enqueue(&self.run, &mut self.records)))
            .collect();
        for (offset, message) in (0..).zip(self.run.drain(..)) {
            let queues: SmallVec<[(QueueId, Seq); 1]> = first_seqs
                .iter()
                .filter(|(queue, _)| queue.stores(&message))
                .filter_map(|(queue, first)| Some((queue.properties.id, Seq((*first)?.0 + offset))))
                .collect();
            if !queues.is_empty() {
                self.records.push(Record::Enqueue { message, queues });
            }
        }
    }

    /// What the log has to know; other operations of the same read add theirs.
    pub fn records(&mut self) -> &mut Changes {
        self.enqueue_run();
        &mut self.records
    }

    /// Ends the batch and answers what has to be appended.
    pub fn take(&mut self) -> Changes {
        self.enqueue_run();
        self.route.clear();
        std::mem::take(&mut self.records)
    }
}

fn same_queues(a: &Route, b: &Route) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
