//! A queue in JSON, with RabbitMQ's names.
//!
//! What only has a meaning in RabbitMQ's own implementation is left out: garbage collection,
//! reductions, the status of a backing queue.

use serde_json::{Value, json};

use super::consumers;
use super::exchanges::POLICIES;
use crate::broker::queue::arguments::QueueType;
use crate::broker::queue::{
    Active, Consumer, Parties, Queue, QueueDetails, QueueProperties, QueueStatus, Tally,
};
use crate::broker::{Broker, NODE_NAME};
use crate::http::listing::{Columns, Shown};
use crate::http::stats::Rates;
use crate::http::time::utc;
use crate::protocol::json;
use crate::protocol::wire::ShortStr;

/// The version of the message store that RabbitMQ's classic queues have since 4.0.
const STORAGE_VERSION: u64 = 2;

/// How much is said of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// As it was declared.
    Declared,
    /// And how many messages are in it.
    Totals,
    /// And what is known of it at the moment.
    Stats,
    /// And its consumers, each.
    All,
}

pub fn show(
    broker: &Broker,
    queue: &Queue,
    depth: Depth,
    rates: Option<&Rates<'_>>,
    columns: &Columns,
) -> Value {
    let (details, parties) = match depth == Depth::All && columns.has_any(&OF_PARTIES) {
        true => queue.details_and_parties(),
        false => (queue.details(), Parties::default()),
    };
    let mut out = Shown::new(columns);
    put_declared(&mut out, broker, queue, &details);
    if depth != Depth::Declared {
        put_totals(&mut out, &details);
    }
    if depth == Depth::Stats || depth == Depth::All {
        put_details(&mut out, &details);
    }
    if depth == Depth::All {
        let Parties { consumers, exchanges } = &parties;
        out.put_with("consumer_details", || show_consumers(broker, consumers));
        out.put_with("deliveries", || consumers::deliveries_of_queue(broker, consumers));
        out.put_with("incoming", || show_incoming(queue, exchanges));
    }
    if let Some(rates) = rates.filter(|_| columns.has_any(&OF_RATES)) {
        out.extend(rates.queue(queue, &details));
    }
    POLICIES.iter().for_each(|(name, of)| out.put_with(name, || of(&details.policies)));
    out.into_value()
}

/// The columns of those who bring messages and get them.
const OF_PARTIES: [&str; 3] = ["consumer_details", "deliveries", "incoming"];

/// The columns that rates bring.
const OF_RATES: [&str; 4] = [
    "message_stats",
    "messages_details",
    "messages_ready_details",
    "messages_unacknowledged_details",
];

fn show_consumers(broker: &Broker, consumers: &[Active]) -> Value {
    consumers.iter().map(|consumer| consumers::show(broker, consumer)).collect()
}

fn show_incoming(queue: &Queue, exchanges: &[(ShortStr, u64)]) -> Value {
    let vhost = queue.properties.vhost.as_str();
    let show = |(exchange, count): &(ShortStr, u64)| {
        let exchange = json!({ "name": exchange.as_str(), "vhost": vhost });
        json!({ "exchange": exchange, "stats": { "publish": count } })
    };
    exchanges.iter().map(show).collect()
}

fn put_declared(out: &mut Shown<'_>, broker: &Broker, queue: &Queue, details: &QueueDetails) {
    let QueueProperties { name, vhost, durable, auto_delete, exclusive_to, arguments, .. } =
        &queue.properties;
    let queue_type = queue.queue_type();
    out.put("name", name.as_str());
    out.put("vhost", vhost.as_str());
    out.put("type", queue_type.name());
    out.put("durable", *durable);
    out.put("auto_delete", *auto_delete);
    out.put("exclusive", exclusive_to.is_some());
    out.put_with("arguments", || json::table(arguments));
    out.put("node", NODE_NAME);
    out.put("state", if details.status.paused { "paused" } else { "running" });
    match queue_type {
        QueueType::Classic => out.put("storage_version", STORAGE_VERSION),
        QueueType::Quorum | QueueType::Stream => {
            out.put("leader", NODE_NAME);
            out.put_with("members", || json!([NODE_NAME]));
            out.put_with("online", || json!([NODE_NAME]));
        }
    }
    if let Some(owner) = exclusive_to.and_then(|owner| broker.registry.get(owner)) {
        let (host, port) = (owner.peer.ip().to_string(), owner.peer.port());
        let details = json!({ "name": owner.name(), "peer_host": host, "peer_port": port });
        out.put("owner_pid_details", details);
    }
}

fn put_totals(out: &mut Shown<'_>, details: &QueueDetails) {
    let QueueStatus { ready, unacked, ready_bytes, consumers, delayed, next_due_ms, .. } =
        details.status;
    out.put("messages", ready + unacked);
    out.put("messages_ready", ready);
    out.put("messages_unacknowledged", unacked);
    out.put("messages_delayed", delayed);
    out.put("next_delayed_due_ms", next_due_ms);
    out.put("message_bytes_ready", ready_bytes);
    out.put("consumers", consumers);
}

/// Rule: what is out with consumers is in memory, and so is what is ready but for the tail of a
/// long queue. A message that is persistent is on disk whether it is in memory or not.
fn put_details(out: &mut Shown<'_>, details: &QueueDetails) {
    let ready = Tally { count: details.status.ready as u64, bytes: details.status.ready_bytes };
    let unacked = Tally { count: details.status.unacked as u64, bytes: details.unacked_bytes };
    let (in_memory, stored) = (ready.without(details.paged_out), details.stored);
    out.put("message_bytes", ready.bytes + unacked.bytes);
    out.put("message_bytes_unacknowledged", unacked.bytes);
    out.put("messages_persistent", stored.count);
    out.put("message_bytes_persistent", stored.bytes);
    out.put("messages_ram", in_memory.and(unacked).count);
    out.put("message_bytes_ram", in_memory.and(unacked).bytes);
    out.put("messages_ready_ram", in_memory.count);
    out.put("messages_unacknowledged_ram", unacked.count);
    out.put("messages_paged_out", details.paged_out.count);
    out.put("message_bytes_paged_out", details.paged_out.bytes);
    out.put("memory", details.memory_bytes);
    out.put("head_message_timestamp", details.head_timestamp);
    let keeps_up = u8::from(details.keeps_up);
    out.put("consumer_utilisation", keeps_up);
    out.put("consumer_capacity", keeps_up);
    let tag = |consumer: Option<&_>| consumer.map(|consumer: &Consumer| consumer.tag.to_string());
    out.put_with("single_active_consumer_tag", || tag(details.single_active.as_deref()));
    out.put_with("exclusive_consumer_tag", || tag(details.exclusive.as_deref()));
    out.put("delivery_limit", details.options.delivery_limit);
    if details.status.consumers == 0
        && let Some(since) = utc(details.used_ms)
    {
        out.put("idle_since", since);
    }
}
