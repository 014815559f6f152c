//! The numbers that a thing has at this moment, by RabbitMQ's names.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::process::Use;
use crate::broker::counters::{Churn, Count, Counts};
use crate::broker::exchange::Exchange;
use crate::broker::link::LinkStatus;
use crate::broker::queue::QueueDetails;
use crate::broker::vhost::VhostTotals;
use crate::store::Vitals;

/// What a number says, and so where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// How many messages there are.
    Lengths,
    /// What has happened to messages.
    Messages,
    /// Bytes from and to clients.
    Data,
    /// What has come and gone.
    Churn,
    /// What the process uses, and what comes and goes in it.
    Process,
}

/// A number by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) group: Group,
    pub(super) name: &'static str,
    pub(super) value: u64,
}

/// The numbers of one thing, for every thing of its kind the same ones in the same order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading(SmallVec<[Number; 16]>);

impl Reading {
    fn with(mut self, group: Group, name: &'static str, value: u64) -> Self {
        self.0.push(Number { group, name, value });
        self
    }

    fn with_counts(mut self, counts: &Counts, shown: &[Count]) -> Self {
        for count in shown {
            self = self.with(Group::Messages, count.name(), counts.get(*count));
        }
        match shown.contains(&Count::Deliver) {
            true => self.with(Group::Messages, "deliver_get", counts.deliver_get()),
            false => self,
        }
    }

    fn with_lengths(self, ready: u64, unacked: u64) -> Self {
        self.with(Group::Lengths, "messages", ready + unacked)
            .with(Group::Lengths, "messages_ready", ready)
            .with(Group::Lengths, "messages_unacknowledged", unacked)
    }

    pub(super) fn of_queue(QueueDetails { status, counts, .. }: &QueueDetails) -> Self {
        Self::default()
            .with_lengths(status.ready as u64, status.unacked as u64)
            .with_counts(counts, &[Count::Publish])
            .with_counts(counts, &Count::OF_CONSUMER)
    }

    pub(super) fn of_exchange(exchange: &Exchange) -> Self {
        Self::default().with_counts(&exchange.counts(), &Count::OF_EXCHANGE)
    }

    pub(super) fn of_totals(totals: &VhostTotals) -> Self {
        Self::default()
            .with_lengths(totals.ready, totals.unacked)
            .with_counts(&totals.counts, &Count::OF_PUBLISHER)
            .with_counts(&totals.counts, &Count::OF_CONSUMER)
    }

    pub(super) fn with_churn(self, group: Group, churn: &Churn) -> Self {
        let numbers: [(&'static str, &AtomicU64); 7] = [
            ("connection_created", &churn.connections_created),
            ("connection_closed", &churn.connections_closed),
            ("channel_created", &churn.channels_created),
            ("channel_closed", &churn.channels_closed),
            ("queue_declared", &churn.queues_declared),
            ("queue_created", &churn.queues_created),
            ("queue_deleted", &churn.queues_deleted),
        ];
        numbers.into_iter().fold(self, |reading, (name, value)| {
            reading.with(group, name, value.load(Ordering::Relaxed))
        })
    }

    pub(super) fn of_connection(status: &LinkStatus) -> Self {
        Self::default().with(Group::Data, "recv_oct", status.traffic.received_bytes).with(
            Group::Data,
            "send_oct",
            status.traffic.sent_bytes,
        )
    }

    pub(super) fn of_node(use_of: &Use, vitals: &Vitals, churn: &Churn) -> Self {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Self::default()
            .with(Group::Process, "mem_used", use_of.memory_bytes)
            .with(Group::Process, "fd_used", use_of.descriptors)
            .with(Group::Process, "sockets_used", use_of.connections)
            .with(Group::Process, "proc_used", use_of.tasks)
            .with(Group::Process, "disk_free", use_of.disk_free_bytes)
            .with(Group::Process, "io_read_count", count(&vitals.reads))
            .with(Group::Process, "io_read_bytes", count(&vitals.read_bytes))
            .with(Group::Process, "io_write_count", count(&vitals.writes))
            .with(Group::Process, "io_write_bytes", count(&vitals.written_bytes))
            .with(Group::Process, "io_sync_count", vitals.sync.read().count)
            .with_churn(Group::Process, churn)
    }

    pub(super) fn of_counts(counts: &Counts) -> Self {
        Self::default()
            .with_counts(counts, &Count::OF_PUBLISHER)
            .with_counts(counts, &Count::OF_CONSUMER)
    }

    pub(super) fn numbers(&self) -> &[Number] {
        &self.0
    }

    pub(super) fn values(&self) -> Box<[u64]> {
        self.0.iter().map(|number| number.value).collect()
    }

    /// Whether there is nothing to say.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|number| number.value == 0)
    }

    pub(super) fn has_any(&self, group: Group) -> bool {
        self.0.iter().any(|number| number.group == group && number.value > 0)
    }
}
