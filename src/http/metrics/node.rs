//! Metrics of the whole broker: what it is, what it uses, what has happened, how long it took.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::exposition::{Exposition, Family, Kind, Labels, Row};
use crate::broker::counters::{Count, Counts, Deaths};
use crate::broker::dead_letter::Reason;
use crate::broker::queue::arguments::QueueType;
use crate::broker::timers::now_ms;
use crate::broker::vhost::VhostTotals;
use crate::broker::{BEHAVES_AS_VERSION, Broker, NODE_NAME};
use crate::host;
use crate::http::api::Api;
use crate::store;

/// The global parameter that names the cluster for good.
const CLUSTER_ID: &str = "internal_cluster_id";

/// What dashboards join everything else with.
pub(super) fn put_identity(out: &mut Exposition, broker: &Broker, endpoint: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let build = Labels::default()
        // As in the management API: what clients may take this broker for.
        .with("rabbitmq_version", BEHAVES_AS_VERSION)
        .with("product_name", "FerryMQ")
        .with("product_version", version)
        .with("prometheus_plugin_version", version)
        .with("erlang_version", "");
    out.one("rabbitmq_build_info", Kind::Gauge, "The version of the broker.", &build, 1.0);
    let id = broker.global_parameter(CLUSTER_ID);
    let id = id.as_ref().and_then(Value::as_str).unwrap_or_default();
    let identity = Labels::default()
        .with("rabbitmq_node", NODE_NAME)
        .with("rabbitmq_cluster", &broker.cluster_name())
        .with("rabbitmq_cluster_permanent_id", id)
        .with("rabbitmq_endpoint", endpoint);
    out.one("rabbitmq_identity_info", Kind::Gauge, "The broker's name.", &identity, 1.0);
}

/// RabbitMQ's `connection_churn_metrics`.
pub(super) fn put_churn(out: &mut Exposition, prefix: &str, broker: &Broker) {
    let churn = broker.churn();
    let mut counter = |name: &str, help: &str, count: &AtomicU64| {
        let count = count.load(Ordering::Relaxed) as f64;
        out.one(&format!("{prefix}{name}"), Kind::Counter, help, &Labels::default(), count);
    };
    counter("connections_opened_total", "Connections opened.", &churn.connections_created);
    counter("connections_closed_total", "Connections closed.", &churn.connections_closed);
    counter("channels_opened_total", "Channels opened.", &churn.channels_created);
    counter("channels_closed_total", "Channels closed.", &churn.channels_closed);
    counter("queues_declared_total", "Queues declared, again too.", &churn.queues_declared);
    counter("queues_created_total", "Queues created.", &churn.queues_created);
    counter("queues_deleted_total", "Queues deleted.", &churn.queues_deleted);
}

/// How many of each there are.
pub(super) struct Totals {
    pub(super) connections: usize,
    pub(super) channels: usize,
    pub(super) consumers: u64,
    pub(super) queues: u64,
}

pub(super) fn put_totals(out: &mut Exposition, totals: &Totals) {
    let mut gauge = |name: &str, help: &str, count: f64| {
        out.one(&format!("rabbitmq_{name}"), Kind::Gauge, help, &Labels::default(), count);
    };
    gauge("connections", "Connections open now.", totals.connections as f64);
    gauge("channels", "Channels open now.", totals.channels as f64);
    gauge("consumers", "Consumers now.", totals.consumers as f64);
    gauge("queues", "Queues there are.", totals.queues as f64);
}

/// RabbitMQ's `node_coarse_metrics` and `node_metrics`: the process and what it may use. What can't
/// be found out is left out.
pub(super) fn put_process(out: &mut Exposition, prefix: &str, broker: &Broker, api: &Api) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            out.one(&format!("{prefix}{name}"), Kind::Gauge, help, &Labels::default(), value);
        }
    };
    let open = host::open_descriptors().ok();
    gauge("process_open_fds", "Descriptors open.", open.map(|n| n as f64));
    let most = host::descriptors_max();
    gauge("process_max_fds", "Descriptors that may be open.", most.map(|n| n as f64));
    let connections = broker.registry.len() as f64;
    gauge("process_open_tcp_sockets", "AMQP connections open.", Some(connections));
    let most = api.checked().connections_max as f64;
    gauge("process_max_tcp_sockets", "AMQP connections that may be open.", Some(most));
    let used = host::resident_bytes().ok();
    let help = "Memory in use, in bytes.";
    gauge("process_resident_memory_bytes", help, used.map(|n| n as f64));
    let limit = match broker.memory.limit_bytes() {
        // No limit of ours: all there is.
        0 => host::memory_bytes().ok(),
        limit => Some(limit),
    };
    let help = "Memory in use at which publishers are held back, in bytes.";
    gauge("resident_memory_limit_bytes", help, limit.map(|n| n as f64));
    let free = store::free_bytes(&api.checked().data_dir).ok();
    let help = "Room on the data directory's disk, in bytes.";
    gauge("disk_space_available_bytes", help, free.map(|n| n as f64));
    let help = "Room at which publishers are held back, in bytes.";
    let limit = api.checked().disk_free_limit_bytes as f64;
    gauge("disk_space_available_limit_bytes", help, Some(limit));
    let up = now_ms().saturating_sub(api.started_ms()) as f64 / 1000.0;
    gauge("erlang_uptime_seconds", "Seconds since the start.", Some(up));
}

/// RabbitMQ's `node_persister_metrics`: the log.
pub(super) fn put_io(out: &mut Exposition, prefix: &str, broker: &Broker) {
    let vitals = broker.store().vitals();
    let sync = vitals.sync.read();
    let mut counter = |name: &str, help: &str, value: f64| {
        out.one(&format!("{prefix}{name}"), Kind::Counter, help, &Labels::default(), value);
    };
    let writes = vitals.writes.load(Ordering::Relaxed) as f64;
    counter("io_write_ops_total", "Writes to the log.", writes);
    let bytes = vitals.written_bytes.load(Ordering::Relaxed) as f64;
    counter("io_write_bytes_total", "Bytes written to the log.", bytes);
    let reads = vitals.reads.load(Ordering::Relaxed) as f64;
    counter("io_read_ops_total", "Batches of messages read back from the log.", reads);
    let bytes = vitals.read_bytes.load(Ordering::Relaxed) as f64;
    counter("io_read_bytes_total", "Bytes of these.", bytes);
    counter("io_sync_ops_total", "Fsyncs of the log.", sync.count as f64);
    counter("io_sync_time_seconds_total", "Time that those took.", sync.sum_seconds);
}

/// The types of queues that there can be.
const QUEUE_TYPES: [QueueType; 2] = [QueueType::Classic, QueueType::Quorum];

/// RabbitMQ's global counters.
pub(super) fn put_global(
    out: &mut Exposition,
    broker: &Broker,
    totals: &VhostTotals,
    publishers: usize,
) {
    let protocol = Labels::default().with("protocol", "amqp091");
    let count = |count| totals.counts.get(count);
    let (published, returned, dropped) =
        (count(Count::Publish), count(Count::ReturnUnroutable), count(Count::DropUnroutable));
    let wanted = broker.timings().confirms_wanted.load(Ordering::Relaxed);
    let all: [(&str, &str, u64); 6] = [
        ("received_total", "Messages published.", published),
        ("received_confirm_total", "Of them, those to be confirmed.", wanted),
        ("confirmed_total", "Messages confirmed.", count(Count::Confirm)),
        ("routed_total", "Found a queue.", published.saturating_sub(returned + dropped)),
        ("unroutable_returned_total", "Found none, and went back.", returned),
        ("unroutable_dropped_total", "Found none, and were dropped.", dropped),
    ];
    for (name, help, value) in all {
        let name = format!("rabbitmq_global_messages_{name}");
        out.one(&name, Kind::Counter, help, &protocol, value as f64);
    }
    put_by_type(out, broker, totals, &protocol);
    let help = "Channels that have published.";
    out.one("rabbitmq_global_publishers", Kind::Gauge, help, &protocol, publishers as f64);
    let consumers = totals.consumers as f64;
    out.one("rabbitmq_global_consumers", Kind::Gauge, "Consumers.", &protocol, consumers);
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Family<T> {
    Family { name, kind: Kind::Counter, help, value }
}

const GLOBAL: &str = "rabbitmq_global_messages_";

/// What went out of queues of a type.
const WENT_OUT: &[Family<Counts>] = &[
    counter("delivered_total", "Messages delivered to consumers.", |counts| {
        Some((counts.get(Count::Deliver) + counts.get(Count::DeliverNoAck)) as f64)
    }),
    counter("delivered_consume_manual_ack_total", "To be acked.", |counts| {
        Some(counts.get(Count::Deliver) as f64)
    }),
    counter("delivered_consume_auto_ack_total", "No acks.", |counts| {
        Some(counts.get(Count::DeliverNoAck) as f64)
    }),
    counter("delivered_get_manual_ack_total", "By basic.get, to be acked.", |counts| {
        Some(counts.get(Count::Get) as f64)
    }),
    counter("delivered_get_auto_ack_total", "By basic.get.", |counts| {
        Some(counts.get(Count::GetNoAck) as f64)
    }),
    counter("get_empty_total", "By basic.get: nothing.", |counts| {
        Some(counts.get(Count::GetEmpty) as f64)
    }),
    counter("redelivered_total", "Delivered again.", |counts| {
        Some(counts.get(Count::Redeliver) as f64)
    }),
    counter("acknowledged_total", "Acked by consumers.", |counts| {
        Some(counts.get(Count::Ack) as f64)
    }),
];

/// What died in queues of a type.
fn died<'a>() -> [Family<&'a Deaths>; 4] {
    [
        counter("dead_lettered_rejected_total", DIED_HELP, |deaths| {
            Some(deaths.get(Reason::Rejected) as f64)
        }),
        counter("dead_lettered_expired_total", DIED_HELP, |deaths| {
            Some(deaths.get(Reason::Expired) as f64)
        }),
        counter("dead_lettered_maxlen_total", DIED_HELP, |deaths| {
            Some(deaths.get(Reason::MaxLen) as f64)
        }),
        counter("dead_lettered_delivery_limit_total", DIED_HELP, |deaths| {
            Some(deaths.get(Reason::DeliveryLimit) as f64)
        }),
    ]
}

const DIED_HELP: &str = "Messages that died in a queue with a dead-letter exchange.";

/// What went out of queues and what died in them, by their type.
fn put_by_type(out: &mut Exposition, broker: &Broker, totals: &VhostTotals, protocol: &Labels) {
    let of_type = |queue_type: QueueType| Row {
        labels: protocol.clone().with("queue_type", &queue_type.module()),
        of: *totals.of_queues.of(queue_type),
    };
    out.families(GLOBAL, WENT_OUT, &QUEUE_TYPES.map(of_type));
    let of_type = |queue_type: QueueType| Row {
        labels: Labels::default()
            .with("queue_type", &queue_type.module())
            .with("dead_letter_strategy", "at_least_once"),
        of: broker.deaths().of(queue_type),
    };
    out.families(GLOBAL, &died(), &QUEUE_TYPES.map(of_type));
}

/// Alarms: 1 while there is one.
pub(super) fn put_alarms(out: &mut Exposition, broker: &Broker) {
    let alarms = broker.alarms().now();
    let is_on = |resource: &str| f64::from(alarms.iter().any(|one| one.resource() == resource));
    let (memory, disk) = (is_on("memory"), is_on("disk"));
    let mut gauge = |name: &str, help: &str, value| {
        out.one(&format!("rabbitmq_alarms_{name}"), Kind::Gauge, help, &Labels::default(), value);
    };
    gauge("memory_used_watermark", "Too much memory is used: publishers wait.", memory);
    gauge("free_disk_space_watermark", "The disk is nearly full: publishers wait.", disk);
}

/// What RabbitMQ doesn't have: how long things take, and what the store takes.
pub(super) fn put_own(out: &mut Exposition, broker: &Broker) {
    let timings = broker.timings();
    let help = "From the read of a publish until its confirm is on its way to the client.";
    out.histogram("ferrymq_confirm_latency_seconds", help, &timings.confirm.read());
    let help = "Fsyncs of the log.";
    out.histogram("ferrymq_fsync_seconds", help, &broker.store().vitals().sync.read());
    let help = "How long messages were in a queue before they went out; one in 64 of each queue.";
    out.histogram("ferrymq_time_in_queue_seconds", help, &timings.in_queue.read());
    let help = "By how much tasks come later than they should; measured four times a second.";
    out.histogram("ferrymq_event_loop_lag_seconds", help, &timings.event_loop.read());
    if let Ok(usage) = broker.store().usage() {
        let mut gauge = |name: &str, help: &str, bytes: u64| {
            out.one(name, Kind::Gauge, help, &Labels::default(), bytes as f64);
        };
        let help = "What the data directory takes, in bytes.";
        gauge("ferrymq_store_size_bytes", help, usage.size_bytes);
        let help = "What waits to be written to the log, in bytes.";
        gauge("ferrymq_store_in_flight_bytes", help, usage.in_flight_bytes);
    }
}

/// What the memory is used for, as far as it is known.
pub(super) fn put_memory(out: &mut Exposition, broker: &Broker) {
    let resident = host::resident_bytes().unwrap_or(0);
    let queues = broker.queue_memory_bytes();
    let in_flight = broker.store().usage().map_or(0, |usage| usage.in_flight_bytes);
    let other = resident.saturating_sub(queues.saturating_add(in_flight));
    let mut gauge = |name: &str, help: &str, bytes: u64| {
        out.one(
            &format!("ferrymq_memory_{name}"),
            Kind::Gauge,
            help,
            &Labels::default(),
            bytes as f64,
        );
    };
    gauge("resident_bytes", "All memory in use.", resident);
    let help = "Stored messages at the heads of queues, which are kept in memory, too.";
    gauge("queue_heads_bytes", help, queues);
    gauge("store_in_flight_bytes", "What waits to be written to the log.", in_flight);
    let help = "All else: connections, definitions, messages that aren't stored.";
    gauge("other_bytes", help, other);
}
