//! What has happened in a vhost so far, and what is in its queues.

use super::Vhost;
use crate::broker::counters::{Count, Counts, one_more};
use crate::broker::queue::Queue;

/// Sums over a vhost, or over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VhostTotals {
    pub counts: Counts,
    pub ready: u64,
    pub unacked: u64,
    pub delayed: u64,
    pub queues: u64,
    pub consumers: u64,
}

impl VhostTotals {
    /// All messages that are there.
    pub fn messages(&self) -> u64 {
        self.ready + self.unacked
    }

    pub fn add(&mut self, other: &Self) {
        self.counts += other.counts;
        self.ready += other.ready;
        self.unacked += other.unacked;
        self.delayed += other.delayed;
        self.queues += other.queues;
        self.consumers += other.consumers;
    }
}

impl Vhost {
    /// Asks each of its queues.
    pub fn totals(&self) -> VhostTotals {
        let (queues, counts) = {
            // So that no queue goes in between, and is counted twice or not at all.
            let _topology = self.topology.lock();
            (self.queues(), self.counts.read())
        };
        let mut totals =
            VhostTotals { counts, queues: queues.len() as u64, ..VhostTotals::default() };
        for queue in queues {
            let (status, counts) = queue.status_and_counts();
            let counts = of_consumers(&counts);
            totals.add(&VhostTotals {
                counts,
                ready: status.ready as u64,
                unacked: status.unacked as u64,
                delayed: status.delayed as u64,
                queues: 0,
                consumers: status.consumers as u64,
            });
        }
        totals
    }

    /// A queue is gone: what it saw stays counted.
    pub(super) fn keep_counts_of(&self, queue: &Queue) {
        self.counts.add_all(&of_consumers(&queue.counts()));
        one_more(&self.factory.around.churn.queues_deleted);
    }
}

/// A message that comes into a vhost is counted when it is published, whatever the queues that it
/// comes into.
fn of_consumers(counts: &Counts) -> Counts {
    let counted = Count::OF_CONSUMER.into_iter();
    counted.fold(Counts::default(), |sum, count| sum.with(count, counts.get(count)))
}
