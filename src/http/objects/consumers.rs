//! Consumers, wherever they consume.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query};
use serde_json::{Map, Value, json};

use super::channels::name_of;
use crate::broker::counters::{Count, Counts};
use crate::broker::queue::{Active, Activity, Consumer};
use crate::broker::registry::ConnectionInfo;
use crate::broker::vhost::Vhost;
use crate::broker::{Broker, NODE_NAME};
use crate::http::answer::aside;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::json;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(list_consumers)).add(routes!(list_consumers_in_vhost))
}

/// A consumer as it is shown, with its queue or channel, too. Its client may be gone already: then
/// nothing is said of its channel.
pub(super) fn show(broker: &Broker, (consumer, activity): &Active) -> Value {
    let timeout = consumer.timeout.map_or(0, |timeout| timeout.as_millis());
    json!({
        "consumer_tag": consumer.tag.as_str(),
        "queue": {
            "name": consumer.queue.name().as_str(),
            "vhost": consumer.queue.properties.vhost.as_str(),
        },
        "channel_details": channel_details(broker, consumer),
        "ack_required": !consumer.no_ack, "exclusive": consumer.exclusive,
        "prefetch_count": consumer.prefetch_count(),
        "active": *activity != Activity::Waiting, "activity_status": activity.name(),
        "arguments": json::table(&consumer.arguments),
        // 0 is no limit.
        "consumer_timeout": u64::try_from(timeout).unwrap_or(u64::MAX),
    })
}

fn channel_details(broker: &Broker, consumer: &Consumer) -> Value {
    let details = broker.registry.get(consumer.connection).map(|info| {
        let connection = info.name();
        json!({
            "name": name_of(&connection, consumer.channel), "number": consumer.channel,
            "connection_name": connection, "node": NODE_NAME, "user": info.user,
            "peer_host": info.peer.ip().to_canonical(), "peer_port": info.peer.port(),
        })
    });
    details.unwrap_or_else(|| json!({}))
}

/// What the consumers that have a key in common were delivered and have acked, by this key; each
/// with the first of them.
fn sums<'a, K: Ord>(
    consumers: impl Iterator<Item = &'a Arc<Consumer>>,
    key_of: impl Fn(&Consumer) -> K,
) -> Vec<(&'a Arc<Consumer>, Counts)> {
    let mut sums = BTreeMap::new();
    for consumer in consumers {
        let sum = sums.entry(key_of(consumer)).or_insert((consumer, Counts::default()));
        sum.1 += consumer.counts();
    }
    sums.into_values().collect()
}

/// What was delivered from a queue to the channels that consume from it.
pub(super) fn deliveries_of_queue(broker: &Broker, actives: &[Active]) -> Value {
    let consumers = actives.iter().map(|(consumer, _)| consumer);
    let sums = sums(consumers, |consumer| (consumer.connection.0, consumer.channel));
    let show = |(consumer, counts): &(&Arc<Consumer>, Counts)| {
        let stats = numbers(counts, &Count::OF_CONSUMER);
        json!({ "channel_details": channel_details(broker, consumer), "stats": stats })
    };
    sums.iter().map(show).collect()
}

/// What was delivered on a channel from the queues that it consumes from.
pub(super) fn deliveries_of_channel(info: &ConnectionInfo, channel: u16) -> Value {
    let consumers = info.link.consumers(channel);
    let sums = sums(consumers.iter(), |consumer| consumer.queue.name().clone());
    let show = |(consumer, counts): &(&Arc<Consumer>, Counts)| {
        let queue = &consumer.queue;
        json!({
            "queue": { "name": queue.name().as_str(), "vhost": queue.properties.vhost.as_str() },
            "stats": numbers(counts, &Count::OF_CONSUMER),
        })
    };
    sums.iter().map(show).collect()
}

/// These counts by their names.
pub(super) fn numbers(counts: &Counts, shown: &[Count]) -> Value {
    let number = |count: &Count| (count.name().to_owned(), counts.get(*count).into());
    let mut numbers: Map<String, Value> = shown.iter().map(number).collect();
    if shown.contains(&Count::Deliver) {
        numbers.insert("deliver_get".to_owned(), counts.deliver_get().into());
    }
    numbers.into()
}

/// A channel's consumers, as they are shown with it.
pub(super) fn show_consumers_of(broker: &Broker, info: &ConnectionInfo, channel: u16) -> Value {
    let of_channel = info.link.consumers(channel);
    let actives = of_channel.into_iter().filter_map(|consumer| {
        // One that is gone from its queue by now consumes no more.
        consumer.queue.consumers().into_iter().find(|(other, _)| other.id == consumer.id)
    });
    actives.map(|active| show(broker, &active)).collect()
}

/// The consumers in some vhosts that the user sees, by queue and tag.
fn consumers_in(visitor: &Visitor, vhosts: &[Arc<Vhost>]) -> Vec<Active> {
    let registry = &visitor.broker.registry;
    let is_own = |consumer: &Consumer| {
        registry.get(consumer.connection).is_some_and(|info| info.user == visitor.user().name)
    };
    let queues = vhosts.iter().flat_map(|vhost| vhost.queues());
    let mut found: Vec<Active> = queues.flat_map(|queue| queue.consumers()).collect();
    if !visitor.sees_all() {
        found.retain(|(consumer, _)| is_own(consumer));
    }
    found.sort_by(|(a, _), (b, _)| {
        let key = |consumer: &'_ Consumer| (consumer.queue.name().clone(), consumer.id);
        key(a).cmp(&key(b))
    });
    found
}

/// Answers the consumers in some vhosts; many queues are asked.
async fn listed(
    visitor: Visitor,
    query: ListQuery,
    vhosts: Vec<Arc<Vhost>>,
) -> Result<Listed, Refusal> {
    aside(move || {
        let found = consumers_in(&visitor, &vhosts);
        list(&query, found, |(consumer, _)| &consumer.tag, |active| show(&visitor.broker, active))
    })
    .await
}

/// The consumers that the user sees: all, or its own.
#[utoipa::path(get, path = "/api/consumers", tag = "consumers", params(ListQuery),
    responses((status = 200, description = "A list of consumers, or a page of it")))]
async fn list_consumers(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhosts = visitor.visible_vhosts();
    listed(visitor, query, vhosts).await
}

/// The same in one vhost.
#[utoipa::path(get, path = "/api/consumers/{vhost}", tag = "consumers", params(ListQuery),
    responses((status = 200, description = "A list of consumers, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_consumers_in_vhost(
    visitor: Visitor,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    listed(visitor, query, vec![vhost]).await
}
