//! Scheduled messages: those that an exchange of type x-delayed-message holds back, and those that
//! a queue delays because a consumer gave them back.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::messages::{Shown, number, parse_encoding, show_message};
use crate::broker::queue::{Place, Scheduled};
use crate::broker::vhost::Delaying;
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::store::record::Seq;

/// Messages that are answered, if nothing is said, and at most.
const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: usize = 500;

const FIRST: (u64, Place) = (0, Place { level: 0, seq: Seq(0) });

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_of_exchange))
        .add(routes!(cancel_of_exchange))
        .add(routes!(list_of_queue))
        .add(routes!(cancel_of_queue))
}

/// The time at which a message is due, its number and, if it has one, its priority.
fn id_of(scheduled: &Scheduled) -> String {
    let Scheduled { due_ms, place: Place { level, seq }, .. } = scheduled;
    match level {
        0 => format!("{due_ms}:{}", seq.0),
        level => format!("{due_ms}:{}:{level}", seq.0),
    }
}

fn parse_id(id: &str) -> Result<(u64, Place), Refusal> {
    let parse = || {
        let mut parts = id.split(':');
        let (due_ms, seq) = (parts.next()?.parse().ok()?, Seq(parts.next()?.parse().ok()?));
        let level = parts.next().map_or(Ok(0), str::parse).ok()?;
        parts.next().is_none().then_some((due_ms, Place { level, seq }))
    };
    parse().ok_or_else(|| {
        Refusal::bad_request(format!(
            "'{id}' is no id of a scheduled message: two numbers are needed, or three where there \
             are priorities, as in 1764100000000:1099511627777"
        ))
    })
}

/// How scheduled messages are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct ScheduledQuery {
    /// Messages to answer, 10, at most 500.
    count: Option<String>,
    /// Begin at this id, as `next` has it.
    from: Option<String>,
    /// Bytes of each payload.
    truncate: Option<String>,
    /// `auto` or `base64`.
    encoding: Option<String>,
}

async fn list(
    visitor: &Visitor,
    vhost: &str,
    delaying: &Delaying,
    query: ScheduledQuery,
) -> Result<Json<Value>, Refusal> {
    let ScheduledQuery { count, from, truncate, encoding } = query;
    let count = count.map_or(Ok(COUNT_DEFAULT), |count| number("count", &count, 1, COUNT_MAX))?;
    let from = from.map_or(Ok(FIRST), |from| parse_id(&from))?;
    let shown = Shown {
        base64: encoding.map_or(Ok(false), |encoding| parse_encoding(&encoding))?,
        truncate: truncate.map_or(Ok(usize::MAX), |len| number("truncate", &len, 0, usize::MAX))?,
    };
    let vhost = visitor.own_vhost(vhost)?;
    // One more tells where to go on.
    let mut found = vhost.scheduled(delaying, from, count + 1, &visitor.actor).await?;
    let next = found.get(count).map(id_of);
    found.truncate(count);
    let show = |scheduled: &Scheduled| {
        let mut item = show_message(scheduled.message.as_ref()?, &shown);
        item["id"] = id_of(scheduled).into();
        item["due_at"] = scheduled.due_ms.into();
        Some(item)
    };
    let items: Vec<Value> = found.iter().filter_map(show).collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

async fn cancel(
    visitor: &Visitor,
    vhost: &str,
    delaying: &Delaying,
    id: &str,
) -> Result<StatusCode, Refusal> {
    let (vhost, wanted) = (visitor.own_vhost(vhost)?, parse_id(id)?);
    vhost.cancel_scheduled(delaying, wanted, &visitor.actor).await?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn exchange(name: &str) -> Result<Delaying, Refusal> {
    names::exchange(name).map(Delaying::Exchange)
}

fn queue(name: &str) -> Result<Delaying, Refusal> {
    names::short("queue name", name).map(Delaying::Queue)
}

/// The messages that an exchange delays, in the order in which they are due.
#[utoipa::path(get, path = "/api/exchanges/{vhost}/{exchange}/scheduled", tag = "exchanges",
    params(ScheduledQuery),
    responses((status = 200, description = "The messages, and where to go on")))]
async fn list_of_exchange(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<ScheduledQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&visitor, &vhost, &exchange(&name)?, query).await
}

/// Takes away a message before it is due.
#[utoipa::path(delete, path = "/api/exchanges/{vhost}/{exchange}/scheduled/{id}",
    tag = "exchanges",
    responses((status = 204, description = "It will not be delivered"),
        (status = 404, description = "It doesn't wait any more")))]
async fn cancel_of_exchange(
    visitor: Visitor,
    Path((vhost, name, id)): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    cancel(&visitor, &vhost, &exchange(&name)?, &id).await
}

/// The messages that came back to a queue and wait before they are delivered again, in the order in
/// which they are due.
#[utoipa::path(get, path = "/api/queues/{vhost}/{queue}/scheduled", tag = "queues",
    params(ScheduledQuery),
    responses((status = 200, description = "The messages, and where to go on")))]
async fn list_of_queue(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<ScheduledQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&visitor, &vhost, &queue(&name)?, query).await
}

/// Takes such a message away for good.
#[utoipa::path(delete, path = "/api/queues/{vhost}/{queue}/scheduled/{id}", tag = "queues",
    responses((status = 204, description = "It will not be delivered again"),
        (status = 404, description = "It doesn't wait any more")))]
async fn cancel_of_queue(
    visitor: Visitor,
    Path((vhost, name, id)): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    cancel(&visitor, &vhost, &queue(&name)?, &id).await
}
