//! A queue in JSON, with RabbitMQ's names.
//!
//! What only has a meaning in RabbitMQ's own implementation is left out: garbage collection,
//! reductions, the status of a backing queue.

use serde_json::{Map, Value, json};

use super::consumers;
use super::exchanges::put_policies;
use crate::broker::queue::arguments::QueueType;
use crate::broker::queue::{Consumer, Queue, QueueDetails, QueueProperties};
use crate::broker::vhost::Vhost;
use crate::broker::{Broker, NODE_NAME};
use crate::http::stats::Rates;
use crate::http::time::utc;
use crate::protocol::json;

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
    vhost: &Vhost,
    queue: &Queue,
    depth: Depth,
    rates: Option<&Rates<'_>>,
) -> Value {
    let mut out = Map::new();
    put_declared(&mut out, broker, queue);
    if depth != Depth::Declared {
        put_totals(&mut out, queue);
    }
    if depth == Depth::Stats || depth == Depth::All {
        let details = queue.details();
        put_details(&mut out, queue, &details);
        if depth == Depth::All {
            let consumers = queue.consumers();
            let shown = consumers.iter().map(|consumer| consumers::show(broker, consumer));
            put(&mut out, "consumer_details", shown.collect::<Value>());
        }
    }
    if let Some(rates) = rates {
        out.extend(rates.queue(queue));
    }
    let mut out = Value::Object(out);
    put_policies(&mut out, &vhost.policies_of_queue(queue));
    out
}

fn put(out: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    out.insert(name.to_owned(), value.into());
}

fn put_declared(out: &mut Map<String, Value>, broker: &Broker, queue: &Queue) {
    let QueueProperties { name, vhost, durable, auto_delete, exclusive_to, arguments, .. } =
        &queue.properties;
    let queue_type = QueueType::of(arguments);
    put(out, "name", name.as_str());
    put(out, "vhost", vhost.as_str());
    put(out, "type", queue_type.name());
    put(out, "durable", *durable);
    put(out, "auto_delete", *auto_delete);
    put(out, "exclusive", exclusive_to.is_some());
    put(out, "arguments", json::table(arguments));
    put(out, "node", NODE_NAME);
    put(out, "state", if queue.is_paused() { "paused" } else { "running" });
    match queue_type {
        QueueType::Classic => put(out, "storage_version", STORAGE_VERSION),
        QueueType::Quorum | QueueType::Stream => {
            put(out, "leader", NODE_NAME);
            put(out, "members", json!([NODE_NAME]));
            put(out, "online", json!([NODE_NAME]));
        }
    }
    if let Some(owner) = exclusive_to.and_then(|owner| broker.registry.get(owner)) {
        let (host, port) = (owner.peer.ip().to_string(), owner.peer.port());
        let details = json!({ "name": owner.name(), "peer_host": host, "peer_port": port });
        put(out, "owner_pid_details", details);
    }
}

fn put_totals(out: &mut Map<String, Value>, queue: &Queue) {
    let status = queue.status();
    put(out, "messages", status.ready + status.unacked);
    put(out, "messages_ready", status.ready);
    put(out, "messages_unacknowledged", status.unacked);
    put(out, "messages_delayed", status.delayed);
    put(out, "next_delayed_due_ms", status.next_due_ms);
    put(out, "message_bytes_ready", status.ready_bytes);
    put(out, "consumers", status.consumers);
}

fn put_details(out: &mut Map<String, Value>, queue: &Queue, details: &QueueDetails) {
    let ready_bytes = out.get("message_bytes_ready").and_then(Value::as_u64).unwrap_or_default();
    put(out, "message_bytes", ready_bytes + details.unacked_bytes);
    put(out, "message_bytes_unacknowledged", details.unacked_bytes);
    put(out, "memory", details.memory_bytes);
    put(out, "head_message_timestamp", details.head_timestamp);
    let keeps_up = u8::from(details.keeps_up);
    put(out, "consumer_utilisation", keeps_up);
    put(out, "consumer_capacity", keeps_up);
    let tag = |consumer: Option<&_>| consumer.map(|consumer: &Consumer| consumer.tag.to_string());
    put(out, "single_active_consumer_tag", tag(details.single_active.as_deref()));
    put(out, "exclusive_consumer_tag", tag(details.exclusive.as_deref()));
    let options = queue.options();
    put(out, "delivery_limit", options.delivery_limit);
    if !details.is_used
        && let Some(since) = utc(details.used_ms)
    {
        put(out, "idle_since", since);
    }
}
