//! The whole broker at a glance.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Map, Value, json};

use super::connections::visible;
use crate::broker::exchange::ExchangeKind;
use crate::broker::parameter::CLUSTER_TAGS;
use crate::broker::vhost::{Vhost, VhostTotals};
use crate::broker::{BEHAVES_AS_VERSION, Broker, NODE_NAME};
use crate::http::answer::aside;
use crate::http::api::Api;
use crate::http::health::Listening;
use crate::http::listing::ListQuery;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::AgesQuery;
use crate::http::visitor::Visitor;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(overview)).add(routes!(version))
}

/// Clients ask for the version of Erlang. There is none here.
const ERLANG_VERSION: &str = "none";

const PRODUCT: &str = "FerryMQ";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The whole broker: what it is, what it has, and what happens in it. Who isn't a monitor sees what
/// belongs to its vhosts.
#[utoipa::path(get, path = "/api/overview", tag = "overview", params(ListQuery, AgesQuery),
    responses((status = 200, description = "The broker at a glance")))]
async fn overview(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    // Every queue is asked for its numbers.
    let columns = query.clone();
    let shown = aside(move || show(&visitor, &api, &query, &ages)).await?;
    Ok(Json(columns.cut(shown)))
}

fn show(
    visitor: &Visitor,
    api: &Api,
    query: &ListQuery,
    ages: &AgesQuery,
) -> Result<Value, Refusal> {
    let mut shown = about(visitor, query);
    let vhosts = visitor.visible_vhosts();
    let (totals, mut numbers) = numbers(visitor, api, &vhosts, ages)?;
    let lengths = LENGTHS.iter().filter_map(|name| numbers.remove_entry(*name));
    shown.insert("queue_totals".to_owned(), lengths.collect::<Map<_, _>>().into());
    shown.insert("object_totals".to_owned(), object_totals(visitor, &vhosts, &totals));
    shown.insert("message_stats".to_owned(), json!({}));
    shown.extend(numbers);
    if visitor.sees_all() {
        let listening = api.checked().listening.borrow();
        shown.insert("node".to_owned(), NODE_NAME.into());
        shown.insert("listeners".to_owned(), listening.iter().map(listener).collect());
        shown.insert("contexts".to_owned(), contexts(&listening));
    }
    Ok(shown.into())
}

/// The columns of messages in queues.
const LENGTHS: [&str; 6] = [
    "messages",
    "messages_details",
    "messages_ready",
    "messages_ready_details",
    "messages_unacknowledged",
    "messages_unacknowledged_details",
];

fn about(visitor: &Visitor, query: &ListQuery) -> Map<String, Value> {
    let about = json!({
        "management_version": VERSION, "rates_mode": "basic",
        "sample_retention_policies": {
            "global": [605, 3660, 29400, 86400], "basic": [605], "detailed": [605],
        },
        "exchange_types": exchange_types(),
        "product_name": PRODUCT, "product_version": VERSION,
        // Clients choose by it what they ask for.
        "rabbitmq_version": BEHAVES_AS_VERSION,
        "cluster_name": visitor.broker.cluster_name(),
        "cluster_tags": cluster_tags(&visitor.broker), "node_tags": {},
        "erlang_version": ERLANG_VERSION, "erlang_full_version": ERLANG_VERSION,
        "release_series_support_status": "supported",
        "disable_stats": !query.wants_stats(), "enable_queue_totals": query.wants_totals(),
        "is_op_policy_updating_enabled": true, "default_queue_type": "classic",
        "statistics_db_event_queue": 0,
    });
    match about {
        Value::Object(about) => about,
        _ => Map::new(),
    }
}

/// Another sort of value than an object would break clients that expect one.
fn cluster_tags(broker: &Broker) -> Value {
    let tags = broker.global_parameter(CLUSTER_TAGS);
    tags.filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// What happens in all that the user sees, and the sums over it.
fn numbers(
    visitor: &Visitor,
    api: &Api,
    vhosts: &[Arc<Vhost>],
    ages: &AgesQuery,
) -> Result<(VhostTotals, Map<String, Value>), Refusal> {
    let broker = &visitor.broker;
    if visitor.sees_all() {
        let totals = broker.totals();
        let shown = api.stats().now(ages)?.broker(&totals, broker.churn());
        return Ok((totals, shown));
    }
    let mut totals = VhostTotals::default();
    vhosts.iter().for_each(|vhost| totals.add(&vhost.totals()));
    let shown = api.stats().now(ages)?.vhosts(vhosts, &totals);
    Ok((totals, shown))
}

fn object_totals(visitor: &Visitor, vhosts: &[Arc<Vhost>], totals: &VhostTotals) -> Value {
    let connections = visible(visitor);
    let channels: usize = connections.iter().map(|(_, info)| info.link.status().channels).sum();
    let exchanges: usize = vhosts.iter().map(|vhost| vhost.exchange_count()).sum();
    json!({
        "connections": connections.len(), "channels": channels, "exchanges": exchanges,
        "queues": totals.queues, "consumers": totals.consumers,
    })
}

/// The types of exchange that can be declared.
pub(super) fn exchange_types() -> Value {
    let show =
        |kind: ExchangeKind| json!({ "name": kind.name(), "description": "", "enabled": true });
    ExchangeKind::ALL.into_iter().map(show).collect()
}

pub(super) fn listener(listening: &Listening) -> Value {
    let Listening { protocol, address } = listening;
    json!({
        "node": NODE_NAME, "protocol": protocol, "ip_address": address.ip(),
        "port": address.port(), "socket_opts": { "nodelay": true },
    })
}

/// What speaks HTTP.
pub(super) fn contexts(listening: &[Listening]) -> Value {
    let http = listening.iter().filter(|listening| listening.protocol.starts_with("http"));
    let show = |Listening { protocol, address }: &Listening| {
        let description = match *protocol {
            "http" => "FerryMQ management API",
            _ => "FerryMQ metrics",
        };
        json!({
            "node": NODE_NAME, "description": description, "path": "/",
            "ip": address.ip(), "port": address.port().to_string(), "ssl_opts": [],
        })
    };
    http.map(show).collect()
}

/// The version of RabbitMQ whose API this is.
#[utoipa::path(get, path = "/api/version", tag = "overview",
    responses((status = 200, description = "The version")))]
async fn version(_: Visitor) -> Json<Value> {
    Json(BEHAVES_AS_VERSION.into())
}
