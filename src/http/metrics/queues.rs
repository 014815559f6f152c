//! Metrics of queues: read once from each, told of each or summed up.

use super::exposition::{Family, Kind, Labels, Row};
use crate::broker::counters::{Count, Counts};
use crate::broker::queue::{Queue, QueueDetails, QueueStatus, Tally};
use crate::broker::vhost::Vhost;

/// What was read of a queue, or of all together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueFigures {
    ready: Tally,
    unacked: Tally,
    stored: Tally,
    paged_out: Tally,
    memory_bytes: u64,
    consumers: u64,
    /// 1 for each that has consumers which could take more at once.
    keep_up: u64,
    delayed: u64,
    /// Of the oldest ready message; `None` where there is none.
    oldest_age_ms: Option<u64>,
    counts: Counts,
}

impl QueueFigures {
    pub(super) fn of(details: &QueueDetails, now_ms: u64) -> Self {
        let QueueStatus { ready, unacked, ready_bytes, consumers, delayed, oldest_ms, .. } =
            details.status;
        Self {
            ready: Tally { count: ready as u64, bytes: ready_bytes },
            unacked: Tally { count: unacked as u64, bytes: details.unacked_bytes },
            stored: details.stored,
            paged_out: details.paged_out,
            memory_bytes: details.memory_bytes,
            consumers: consumers as u64,
            keep_up: u64::from(details.keeps_up),
            delayed: delayed as u64,
            oldest_age_ms: oldest_ms.map(|came_ms| now_ms.saturating_sub(came_ms)),
            counts: details.counts,
        }
    }

    fn all(&self) -> Tally {
        self.ready.and(self.unacked)
    }

    /// With another one's: the sums, and the greatest age.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.ready = self.ready.and(other.ready);
        self.unacked = self.unacked.and(other.unacked);
        self.stored = self.stored.and(other.stored);
        self.paged_out = self.paged_out.and(other.paged_out);
        self.memory_bytes += other.memory_bytes;
        self.consumers += other.consumers;
        self.keep_up += other.keep_up;
        self.delayed += other.delayed;
        self.oldest_age_ms = self.oldest_age_ms.max(other.oldest_age_ms);
        self.counts += other.counts;
        self
    }

    /// With these counts instead.
    pub(super) fn with_counts(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }
}

/// `vhost` and `queue`.
pub(super) fn labels(vhost: &Vhost, queue: &Queue) -> Labels {
    Labels::default().with("vhost", &vhost.name).with("queue", queue.name())
}

pub(super) type QueueRow = Row<QueueFigures>;

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&QueueFigures) -> Option<f64>,
) -> Family<QueueFigures> {
    Family { name, kind: Kind::Gauge, help, value }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&QueueFigures) -> Option<f64>,
) -> Family<QueueFigures> {
    Family { name, kind: Kind::Counter, help, value }
}

fn some(number: u64) -> Option<f64> {
    Some(number as f64)
}

/// RabbitMQ's `queue_coarse_metrics`.
pub(super) const COARSE: &[Family<QueueFigures>] = &[
    gauge("queue_messages_ready", "Messages that wait for a consumer.", |q| some(q.ready.count)),
    gauge("queue_messages_unacked", "Messages that consumers have and have not settled.", |q| {
        some(q.unacked.count)
    }),
    gauge("queue_messages", "Messages, ready and unacked.", |q| some(q.all().count)),
];

/// RabbitMQ's `queue_consumer_count`, which `queue_metrics` begins with.
pub(super) const CONSUMERS: &[Family<QueueFigures>] =
    &[gauge("queue_consumers", "Consumers.", |q| some(q.consumers))];

/// The rest of RabbitMQ's `queue_metrics`.
pub(super) const MORE: &[Family<QueueFigures>] = &[
    gauge("queue_messages_bytes", "Bytes of the bodies of messages.", |q| some(q.all().bytes)),
    gauge("queue_messages_ready_bytes", "Bytes of the bodies of ready messages.", |q| {
        some(q.ready.bytes)
    }),
    gauge("queue_messages_unacked_bytes", "Bytes of the bodies of unacked messages.", |q| {
        some(q.unacked.bytes)
    }),
    gauge("queue_messages_ram", "Messages in memory.", |q| {
        some(q.all().without(q.paged_out).count)
    }),
    gauge("queue_messages_ram_bytes", "Bytes of the bodies of messages in memory.", |q| {
        some(q.all().without(q.paged_out).bytes)
    }),
    gauge("queue_messages_ready_ram", "Ready messages in memory.", |q| {
        some(q.ready.without(q.paged_out).count)
    }),
    gauge("queue_messages_unacked_ram", "Unacked messages: all are in memory.", |q| {
        some(q.unacked.count)
    }),
    gauge("queue_messages_persistent", "Messages that the log holds.", |q| some(q.stored.count)),
    gauge("queue_messages_persistent_bytes", "Bytes of the bodies of those.", |q| {
        some(q.stored.bytes)
    }),
    gauge("queue_messages_paged_out", "Messages on disk only.", |q| some(q.paged_out.count)),
    gauge("queue_messages_paged_out_bytes", "Bytes of the bodies of those.", |q| {
        some(q.paged_out.bytes)
    }),
    gauge("queue_process_memory_bytes", "What queues take in memory, not to the byte.", |q| {
        some(q.memory_bytes)
    }),
    gauge("queue_consumer_utilisation", "1 where consumers could take more at once.", |q| {
        some(q.keep_up)
    }),
    gauge("queue_consumer_capacity", "The same.", |q| some(q.keep_up)),
    counter("queue_messages_published_total", "Messages that came into the queue.", |q| {
        some(q.counts.get(Count::Publish))
    }),
];

/// RabbitMQ's `queue_delivery_metrics`.
pub(super) const DELIVERY: &[Family<QueueFigures>] = &[
    counter("queue_get_ack_total", "Messages fetched by basic.get, to be acked.", |q| {
        some(q.counts.get(Count::Get))
    }),
    counter("queue_get_total", "Messages fetched by basic.get without acks.", |q| {
        some(q.counts.get(Count::GetNoAck))
    }),
    counter("queue_messages_delivered_ack_total", "Messages delivered to be acked.", |q| {
        some(q.counts.get(Count::Deliver))
    }),
    counter("queue_messages_delivered_total", "Messages delivered without acks.", |q| {
        some(q.counts.get(Count::DeliverNoAck))
    }),
    counter("queue_messages_redelivered_total", "Messages delivered again.", |q| {
        some(q.counts.get(Count::Redeliver))
    }),
    counter("queue_messages_acked_total", "Messages that consumers acked.", |q| {
        some(q.counts.get(Count::Ack))
    }),
    counter("queue_get_empty_total", "Calls of basic.get that found nothing.", |q| {
        some(q.counts.get(Count::GetEmpty))
    }),
];

/// What RabbitMQ doesn't have.
pub(super) const OWN: &[Family<QueueFigures>] = &[
    gauge(
        "queue_oldest_message_age_seconds",
        "How long the oldest ready message has been in the queue, right to an eighth.",
        |q| Some(q.oldest_age_ms.unwrap_or(0) as f64 / 1000.0),
    ),
    gauge("queue_messages_delayed", "Messages that wait for their time.", |q| some(q.delayed)),
];
