//! Metrics of channels, connections and exchanges.

use std::sync::Arc;

use super::exposition::{Family, Kind, Labels, Row};
use crate::broker::counters::{Count, Counts};
use crate::broker::link::{ChannelStatus, LinkStatus, Traffic};
use crate::broker::registry::ConnectionInfo;

/// What was read of a channel, or of all together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChannelFigures {
    consumers: u64,
    unacked: u64,
    unconfirmed: u64,
    uncommitted_publishes: u64,
    uncommitted_acks: u64,
    prefetch: u64,
    shared_prefetch: u64,
    counts: Counts,
}

impl From<&ChannelStatus> for ChannelFigures {
    fn from(status: &ChannelStatus) -> Self {
        Self {
            consumers: status.consumers as u64,
            unacked: status.unacked as u64,
            unconfirmed: status.unconfirmed,
            uncommitted_publishes: status.uncommitted_publishes,
            uncommitted_acks: status.uncommitted_acks,
            prefetch: u64::from(status.prefetch_count),
            shared_prefetch: u64::from(status.shared_prefetch_count),
            counts: status.counts,
        }
    }
}

impl ChannelFigures {
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.consumers += other.consumers;
        self.unacked += other.unacked;
        self.unconfirmed += other.unconfirmed;
        self.uncommitted_publishes += other.uncommitted_publishes;
        self.uncommitted_acks += other.uncommitted_acks;
        self.prefetch += other.prefetch;
        self.shared_prefetch += other.shared_prefetch;
        self.counts += other.counts;
        self
    }

    /// With these counts instead.
    pub(super) fn with_counts(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// Whether something was published on it.
    pub(super) fn publishes(&self) -> bool {
        self.counts.get(Count::Publish) > 0
    }
}

/// What was read of a connection, or of all together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionFigures {
    traffic: Traffic,
    pending_bytes: u64,
    channels: u64,
}

impl From<&LinkStatus> for ConnectionFigures {
    fn from(status: &LinkStatus) -> Self {
        Self {
            traffic: status.traffic,
            pending_bytes: status.pending_bytes,
            channels: status.channels as u64,
        }
    }
}

impl ConnectionFigures {
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.traffic += other.traffic;
        self.pending_bytes += other.pending_bytes;
        self.channels += other.channels;
        self
    }
}

impl From<Traffic> for ConnectionFigures {
    fn from(traffic: Traffic) -> Self {
        Self { traffic, ..Self::default() }
    }
}

/// All connections, and all channels with the names that the management API gives them.
pub(super) fn read(
    open: &[Arc<ConnectionInfo>],
) -> (Vec<Row<ConnectionFigures>>, Vec<Row<ChannelFigures>>) {
    let (mut connections, mut channels) = (Vec::new(), Vec::new());
    for info in open {
        let name = info.name();
        let labels = Labels::default().with("connection", &name);
        connections.push(Row { labels, of: ConnectionFigures::from(&info.link.status()) });
        for status in info.link.channels() {
            let labels = Labels::default().with("channel", &format!("{name} ({})", status.number));
            channels.push(Row { labels, of: ChannelFigures::from(&status) });
        }
    }
    (connections, channels)
}

fn some(number: u64) -> Option<f64> {
    Some(number as f64)
}

const fn counted(
    name: &'static str,
    help: &'static str,
    value: fn(&ChannelFigures) -> Option<f64>,
) -> Family<ChannelFigures> {
    Family { name, kind: Kind::Counter, help, value }
}

const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Family<T> {
    Family { name, kind: Kind::Gauge, help, value }
}

/// RabbitMQ's `channel_metrics`.
pub(super) const CHANNELS: &[Family<ChannelFigures>] = &[
    gauge("channel_consumers", "Consumers on a channel.", |c| some(c.consumers)),
    gauge("channel_messages_unacked", "Messages delivered and not settled.", |c| some(c.unacked)),
    gauge("channel_messages_unconfirmed", "Messages published and not confirmed.", |c| {
        some(c.unconfirmed)
    }),
    gauge("channel_messages_uncommitted", "Messages of open transactions.", |c| {
        some(c.uncommitted_publishes)
    }),
    gauge("channel_acks_uncommitted", "Acks of open transactions.", |c| some(c.uncommitted_acks)),
    gauge("consumer_prefetch", "Prefetch limit of each consumer that comes.", |c| some(c.prefetch)),
    gauge("channel_prefetch", "Prefetch limit that all consumers share.", |c| {
        some(c.shared_prefetch)
    }),
];

/// RabbitMQ's `channel_exchange_metrics`.
pub(super) const PUBLISHES: &[Family<ChannelFigures>] = &[
    counted("channel_messages_published_total", "Messages published.", |c| {
        some(c.counts.get(Count::Publish))
    }),
    counted("channel_messages_confirmed_total", "Messages confirmed to publishers.", |c| {
        some(c.counts.get(Count::Confirm))
    }),
    counted("channel_messages_unroutable_returned_total", "Unroutable, and returned.", |c| {
        some(c.counts.get(Count::ReturnUnroutable))
    }),
    counted("channel_messages_unroutable_dropped_total", "Unroutable, and dropped.", |c| {
        some(c.counts.get(Count::DropUnroutable))
    }),
];

/// RabbitMQ's `channel_queue_metrics`.
pub(super) const DELIVERIES: &[Family<ChannelFigures>] = &[
    counted("channel_get_ack_total", "Messages fetched by basic.get, to be acked.", |c| {
        some(c.counts.get(Count::Get))
    }),
    counted("channel_get_total", "Messages fetched by basic.get without acks.", |c| {
        some(c.counts.get(Count::GetNoAck))
    }),
    counted("channel_messages_delivered_ack_total", "Messages delivered to be acked.", |c| {
        some(c.counts.get(Count::Deliver))
    }),
    counted("channel_messages_delivered_total", "Messages delivered without acks.", |c| {
        some(c.counts.get(Count::DeliverNoAck))
    }),
    counted("channel_messages_redelivered_total", "Messages delivered again.", |c| {
        some(c.counts.get(Count::Redeliver))
    }),
    counted("channel_messages_acked_total", "Messages that consumers acked.", |c| {
        some(c.counts.get(Count::Ack))
    }),
    counted("channel_get_empty_total", "Calls of basic.get that found nothing.", |c| {
        some(c.counts.get(Count::GetEmpty))
    }),
];

const fn moved(
    name: &'static str,
    help: &'static str,
    value: fn(&ConnectionFigures) -> Option<f64>,
) -> Family<ConnectionFigures> {
    Family { name, kind: Kind::Counter, help, value }
}

/// RabbitMQ's `connection_coarse_metrics`.
pub(super) const BYTES: &[Family<ConnectionFigures>] = &[
    moved("connection_incoming_bytes_total", "Bytes received.", |c| some(c.traffic.received_bytes)),
    moved("connection_outgoing_bytes_total", "Bytes sent.", |c| some(c.traffic.sent_bytes)),
];

/// RabbitMQ's `connection_metrics`.
pub(super) const CONNECTIONS: &[Family<ConnectionFigures>] = &[
    moved("connection_incoming_packets_total", "Reads that brought something.", |c| {
        some(c.traffic.received_count)
    }),
    moved("connection_outgoing_packets_total", "Writes.", |c| some(c.traffic.sent_count)),
    gauge("connection_channels", "Channels on a connection.", |c| some(c.channels)),
];

/// What RabbitMQ doesn't have.
pub(super) const PENDING: &[Family<ConnectionFigures>] =
    &[gauge("connection_pending_bytes", "Bytes of deliveries that wait to be written.", |c| {
        some(c.pending_bytes)
    })];

/// RabbitMQ's `exchange_metrics`.
pub(super) const EXCHANGES: &[Family<Counts>] = &[
    Family {
        name: "exchange_messages_published_total",
        kind: Kind::Counter,
        help: "Messages published to an exchange.",
        value: |counts| some(counts.get(Count::PublishIn)),
    },
    Family {
        name: "exchange_messages_routed_total",
        kind: Kind::Counter,
        help: "Messages that an exchange put into queues, each once for every queue.",
        value: |counts| some(counts.get(Count::PublishOut)),
    },
];

/// RabbitMQ's `exchange_bindings`.
pub(super) const BINDINGS: &[Family<u64>] =
    &[gauge("exchange_bindings", "Bindings of an exchange.", |count| some(*count))];

/// Things that are there: `exchange_names`, `vhost_status`, `queue_info`.
pub(super) const fn presence(name: &'static str, help: &'static str) -> [Family<()>; 1] {
    [gauge(name, help, |()| Some(1.0))]
}
