//! What has happened in a vhost so far, and what is in its queues.

use super::Vhost;
use crate::broker::Broker;
use crate::broker::counters::{Count, Counts, one_more};
use crate::broker::queue::Queue;
use crate::broker::timings::Timings;

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

impl Broker {
    /// Sums over all that is there and was there.
    pub fn totals(&self) -> VhostTotals {
        let mut totals = self.gone();
        self.vhosts().iter().for_each(|vhost| totals.add(&vhost.totals()));
        totals
    }

    /// What was counted in vhosts that are gone.
    pub fn gone(&self) -> VhostTotals {
        VhostTotals { counts: self.factory.around.gone.read(), ..VhostTotals::default() }
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

    pub fn exchange_count(&self) -> usize {
        self.exchanges.len()
    }

    /// How long things take, in all vhosts.
    pub fn timings(&self) -> &Timings {
        &self.factory.around.timings
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
