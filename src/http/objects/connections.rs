//! Connections of clients: what they do, and ending them.
//!
//! Rule: who isn't a monitor sees its own; who isn't an administrator ends its own.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::broker::NODE_NAME;
use crate::broker::registry::ConnectionInfo;
use crate::http::answer::listed;
use crate::http::api::Api;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Rates};
use crate::http::visitor::Visitor;
use crate::protocol::json;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_connections))
        .add(routes!(get_connection, close_connection))
        .add(routes!(list_connections_of_user, close_connections_of_user))
        .add(routes!(list_connections_in_vhost))
}

/// Where a client says why its connection, or another's, is to be closed.
const REASON: &str = "x-reason";

/// What a client is told when nothing is said.
const REASON_DEFAULT: &str = "Closed via management plugin";

/// A connection and its name.
pub(super) type Named = (String, Arc<ConnectionInfo>);

/// The connections that the user sees, by name.
pub(super) fn visible(visitor: &Visitor) -> Vec<Named> {
    let all = visitor.broker.registry.connections();
    let seen = all.into_iter().filter(|info| is_visible(visitor, info));
    let mut named: Vec<Named> = seen.map(|info| (info.name(), info)).collect();
    named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    named
}

fn is_visible(visitor: &Visitor, info: &ConnectionInfo) -> bool {
    visitor.sees_all() || info.user == visitor.user().name
}

/// 404 where there is none, 401 where it is another's.
pub(super) fn find(visitor: &Visitor, name: &str) -> Result<Arc<ConnectionInfo>, Refusal> {
    let all = visitor.broker.registry.connections();
    let found = all.into_iter().find(|info| info.name() == name);
    let info =
        found.ok_or_else(|| Refusal::not_found(format!("there is no open connection '{name}'")))?;
    is_visible(visitor, &info).then_some(info).ok_or_else(|| {
        let user = &visitor.user().name;
        Refusal::not_authorized(format!(
            "the connection is another user's: '{user}' needs the tag monitoring to see it"
        ))
    })
}

fn show(info: &ConnectionInfo, rates: Option<&Rates<'_>>) -> Value {
    let status = info.link.status();
    let mut shown = Map::new();
    if let Some(rates) = rates {
        shown = rates.connection(info.id, &status);
    }
    let user_provided = info.client_properties.get("connection_name").map(json::value);
    let all = json!({
        "name": info.name(), "node": NODE_NAME, "type": "network", "protocol": "AMQP 0-9-1",
        "state": status.state.name(), "user": info.user, "vhost": info.vhost,
        "user_who_performed_action": info.user, "user_provided_name": user_provided,
        "auth_mechanism": info.mechanism, "connected_at": info.connected_at_ms,
        "peer_host": info.peer.ip().to_canonical(), "peer_port": info.peer.port(),
        "host": info.local.ip().to_canonical(), "port": info.local.port(),
        "channels": status.channels, "channel_max": info.channel_max,
        "frame_max": info.frame_max, "timeout": info.heartbeat_seconds,
        "client_properties": json::table(&info.client_properties),
        "recv_cnt": status.traffic.received_count, "send_cnt": status.traffic.sent_count,
        "recv_oct": status.traffic.received_bytes, "send_oct": status.traffic.sent_bytes,
        "send_pend": status.pending_bytes,
        "ssl": false, "ssl_protocol": null, "ssl_key_exchange": null, "ssl_cipher": null,
        "ssl_hash": null, "peer_cert_subject": null, "peer_cert_issuer": null,
        "peer_cert_validity": null,
    });
    if let Value::Object(all) = all {
        shown.extend(all);
    }
    if shown.get("user_provided_name").is_some_and(Value::is_null) {
        shown.remove("user_provided_name");
    }
    Value::Object(shown)
}

/// Answers connections.
async fn answer(
    api: Api,
    query: (ListQuery, AgesQuery),
    gather: impl FnOnce() -> Result<Vec<Named>, Refusal> + Send + 'static,
) -> Result<Listed, Refusal> {
    listed(api, query, gather, |(name, _)| name, |(_, info), rates, _| show(info, rates)).await
}

/// The open connections that the user sees.
#[utoipa::path(get, path = "/api/connections", tag = "connections", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of connections, or a page of it")))]
async fn list_connections(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    answer(api, (query, ages), move || Ok(visible(&visitor))).await
}

/// The open connections in a vhost that the user sees.
#[utoipa::path(get, path = "/api/vhosts/{vhost}/connections", tag = "connections",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of connections, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_connections_in_vhost(
    visitor: Visitor,
    State(api): State<Api>,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    answer(api, (query, ages), move || visible_in(&visitor, &vhost)).await
}

/// Those in a vhost, or 404.
pub(super) fn visible_in(visitor: &Visitor, vhost: &str) -> Result<Vec<Named>, Refusal> {
    visitor.visible_vhost(vhost)?;
    let mut connections = visible(visitor);
    connections.retain(|(_, info)| info.vhost == *vhost);
    Ok(connections)
}

/// One connection.
#[utoipa::path(get, path = "/api/connections/{connection}", tag = "connections",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "The connection"), (status = 404, description = "None")))]
async fn get_connection(
    visitor: Visitor,
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    let info = find(&visitor, &name)?;
    let rates = api.stats().now(&ages)?;
    Ok(Json(query.cut(show(&info, Some(&rates)))))
}

/// Tells a client 320 with the reason in the header `X-Reason`, and ends its connection.
#[utoipa::path(delete, path = "/api/connections/{connection}", tag = "connections",
    responses((status = 204, description = "It is told"), (status = 404, description = "None")))]
async fn close_connection(
    visitor: Visitor,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let info = find(&visitor, &name)?;
    must_end(&visitor, &info.user)?;
    let Visitor { broker, actor } = &visitor;
    broker.close_connections(|other| other.id == info.id, &reason(&headers)?, actor);
    Ok(StatusCode::NO_CONTENT)
}

/// The open connections of a user, in short.
#[utoipa::path(get, path = "/api/connections/username/{user}", tag = "connections",
    params(ListQuery),
    responses((status = 200, description = "A list of connections, or a page of it")))]
async fn list_connections_of_user(
    visitor: Visitor,
    Path(user): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let mut connections = visible(&visitor);
    connections.retain(|(_, info)| info.user == user);
    list(
        &query,
        connections,
        |(name, _)| name,
        |(name, info)| json!({ "name": name, "node": NODE_NAME, "user": info.user, "vhost": info.vhost }),
    )
}

/// Ends all connections of a user, as one is ended.
#[utoipa::path(delete, path = "/api/connections/username/{user}", tag = "connections",
    responses((status = 204, description = "They are told, if there are any")))]
async fn close_connections_of_user(
    visitor: Visitor,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    must_end(&visitor, &user)?;
    let Visitor { broker, actor } = &visitor;
    broker.close_connections(|other| other.user == user, &reason(&headers)?, actor);
    Ok(StatusCode::NO_CONTENT)
}

fn must_end(visitor: &Visitor, owner: &str) -> Result<(), Refusal> {
    let user = &visitor.user().name;
    if visitor.is_administrator() || user == owner {
        return Ok(());
    }
    Err(Refusal::not_authorized(format!(
        "connections of '{owner}' are ended by '{owner}' or by an administrator, not by '{user}'"
    )))
}

fn reason(headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(given) = headers.get(REASON) else { return Ok(REASON_DEFAULT.to_owned()) };
    let text = std::str::from_utf8(given.as_bytes()).map_err(|_| {
        Refusal::bad_request("the reason in X-Reason is not UTF-8: a client could not be told it")
    })?;
    Ok(if text.is_empty() { REASON_DEFAULT } else { text }.to_owned())
}
