//! What has happened in a vhost so far, and what is in its queues.

use std::sync::Arc;

use super::Vhost;
use crate::broker::Broker;
use crate::broker::counters::{ByType, Count, Counts, one_more};
use crate::broker::queue::{Queue, QueueDetails};
use crate::broker::timings::Timings;

/// Sums over a vhost, or over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VhostTotals {
    /// What publishers sent and were told, and what went out of all queues.
    pub counts: Counts,
    /// What queues saw, by their type; those that are gone, too.
    pub of_queues: ByType<Counts>,
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
        self.of_queues += other.of_queues;
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
        let (mut totals, vhosts) = self.gone_and_vhosts();
        vhosts.iter().for_each(|vhost| totals.add(&vhost.totals()));
        totals
    }

    /// What was counted in vhosts that are gone, and those that are there: so that none goes in
    /// between, and a sum over both never falls.
    pub fn gone_and_vhosts(&self) -> (VhostTotals, Vec<Arc<Vhost>>) {
        let gone = self.factory.around.gone.lock();
        (*gone, self.vhosts())
    }
}

impl Vhost {
    /// Asks each of its queues.
    pub fn totals(&self) -> VhostTotals {
        self.totals_and(|_, _| {})
    }

    /// The same, and shows what each of the queues says of itself.
    pub fn totals_and(&self, mut each: impl FnMut(&Queue, QueueDetails)) -> VhostTotals {
        let (queues, counts, of_queues) = {
            // So that no queue goes in between, and is counted twice or not at all.
            let _topology = self.topology.lock();
            (self.queues(), self.counts.read(), *self.gone_queues.lock())
        };
        let mut totals =
            VhostTotals { of_queues, queues: queues.len() as u64, ..VhostTotals::default() };
        for queue in queues {
            let details = queue.details();
            totals.of_queues.add(queue.queue_type(), details.counts);
            totals.ready += details.status.ready as u64;
            totals.unacked += details.status.unacked as u64;
            totals.delayed += details.status.delayed as u64;
            totals.consumers += details.status.consumers as u64;
            each(&queue, details);
        }
        // A message that comes into a vhost is counted when it is published, whatever the queues
        // that it comes into.
        totals.counts = counts.and(&totals.of_queues.sum().only(&Count::OF_CONSUMER));
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
        self.gone_queues.lock().add(queue.queue_type(), queue.counts());
        one_more(&self.factory.around.churn.queues_deleted);
    }
}
