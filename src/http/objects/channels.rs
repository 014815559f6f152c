//! Channels of open connections: what they have out and what has happened on them.
//!
//! Who sees a connection sees its channels.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Map, Value, json};

use super::connections::{Named, find, visible, visible_in};
use super::consumers::{deliveries_of_channel, numbers, show_consumers_of};
use crate::broker::NODE_NAME;
use crate::broker::counters::{Count, Counts};
use crate::broker::link::{ChannelStatus, LinkState};
use crate::broker::registry::ConnectionInfo;
use crate::http::answer::listed;
use crate::http::api::Api;
use crate::http::listing::{ListQuery, Listed};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Rates};
use crate::http::visitor::Visitor;
use crate::protocol::wire::ShortStr;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_channels))
        .add(routes!(get_channel))
        .add(routes!(list_channels_of_connection))
        .add(routes!(list_channels_in_vhost))
}

/// A channel, its connection, and its name.
struct Open {
    name: String,
    info: Arc<ConnectionInfo>,
    status: ChannelStatus,
}

/// `127.0.0.1:40000 -> 127.0.0.1:5672 (1)`
pub(super) fn name_of(connection: &str, number: u16) -> String {
    format!("{connection} ({number})")
}

fn channels_of(connections: Vec<Named>) -> Vec<Open> {
    let mut open = Vec::new();
    for (connection, info) in connections {
        open.extend(info.link.channels().into_iter().map(|status| {
            let name = name_of(&connection, status.number);
            Open { name, info: Arc::clone(&info), status }
        }));
    }
    open
}

fn show(open: &Open, rates: Option<&Rates<'_>>) -> Map<String, Value> {
    let Open { name, info, status } = open;
    let mut shown = Map::new();
    if let Some(rates) = rates {
        shown = rates.channel(info.id, status);
    }
    // A channel is held back with its connection.
    let state = match info.link.status().state {
        LinkState::Flow | LinkState::Blocked => "flow",
        LinkState::Running => "running",
        LinkState::Closing => "closing",
    };
    let all = json!({
        "name": name, "node": NODE_NAME, "number": status.number, "state": state,
        "user": info.user, "user_who_performed_action": info.user, "vhost": info.vhost,
        "connection_details": {
            "name": info.name(), "peer_host": info.peer.ip().to_canonical(),
            "peer_port": info.peer.port(),
        },
        "confirm": status.confirm, "transactional": status.transactional,
        "consumer_count": status.consumers, "prefetch_count": status.prefetch_count,
        "global_prefetch_count": status.shared_prefetch_count,
        "messages_unacknowledged": status.unacked, "messages_unconfirmed": status.unconfirmed,
        "messages_uncommitted": status.uncommitted_publishes,
        "acks_uncommitted": status.uncommitted_acks,
    });
    if let Value::Object(all) = all {
        shown.extend(all);
    }
    shown
}

/// What a channel has published to each exchange.
fn show_publishes(info: &ConnectionInfo, channel: u16) -> Value {
    const SHOWN: [Count; 3] = [Count::Publish, Count::ReturnUnroutable, Count::DropUnroutable];
    let show = |(exchange, counts): &(ShortStr, Counts)| {
        let exchange = json!({ "name": exchange.as_str(), "vhost": info.vhost });
        json!({ "exchange": exchange, "stats": numbers(counts, &SHOWN) })
    };
    info.link.publishes(channel).iter().map(show).collect()
}

/// Answers the channels of connections.
async fn answer(
    api: Api,
    query: (ListQuery, AgesQuery),
    gather: impl FnOnce() -> Result<Vec<Named>, Refusal> + Send + 'static,
) -> Result<Listed, Refusal> {
    let gather = move || gather().map(channels_of);
    listed(api, query, gather, |open| &open.name, |open, rates, _| show(open, rates).into()).await
}

/// The open channels that the user sees.
#[utoipa::path(get, path = "/api/channels", tag = "channels", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of channels, or a page of it")))]
async fn list_channels(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    answer(api, (query, ages), move || Ok(visible(&visitor))).await
}

/// The open channels of a connection.
#[utoipa::path(get, path = "/api/connections/{connection}/channels", tag = "channels",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of channels, or a page of it"),
        (status = 404, description = "No such connection")))]
async fn list_channels_of_connection(
    visitor: Visitor,
    State(api): State<Api>,
    Path(connection): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let info = find(&visitor, &connection)?;
    answer(api, (query, ages), move || Ok(vec![(connection, info)])).await
}

/// The open channels in a vhost that the user sees.
#[utoipa::path(get, path = "/api/vhosts/{vhost}/channels", tag = "channels",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of channels, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_channels_in_vhost(
    visitor: Visitor,
    State(api): State<Api>,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    answer(api, (query, ages), move || visible_in(&visitor, &vhost)).await
}

/// One channel, by its connection's name and its number: `CONNECTION (NUMBER)`.
#[utoipa::path(get, path = "/api/channels/{channel}", tag = "channels",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "The channel"), (status = 404, description = "None")))]
async fn get_channel(
    visitor: Visitor,
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    let none = || {
        Refusal::not_found(format!(
            "there is no open channel '{name}'; a channel's name is CONNECTION (NUMBER)"
        ))
    };
    let parts = name.strip_suffix(')').and_then(|name| name.rsplit_once(" ("));
    let (connection, number) = parts.ok_or_else(none)?;
    let info = find(&visitor, connection)?;
    let channels = channels_of(vec![(connection.to_owned(), info)]);
    let is_it = |open: &Open| open.status.number.to_string() == number;
    let open = channels.into_iter().find(is_it).ok_or_else(none)?;
    let mut shown = show(&open, Some(&api.stats().now(&ages)?));
    let (info, number) = (&open.info, open.status.number);
    for (name, more) in [
        ("consumer_details", show_consumers_of(&visitor.broker, info, number)),
        ("publishes", show_publishes(info, number)),
        ("deliveries", deliveries_of_channel(info, number)),
    ] {
        shown.insert(name.to_owned(), more);
    }
    Ok(Json(query.cut(shown.into())))
}
