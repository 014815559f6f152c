//! Replays: the messages of a dead-letter queue go back to where they came from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::messages::{parse_id, queue_name};
use crate::broker::header_filter::HeaderFilter;
use crate::broker::queue::Place;
use crate::broker::replay::{Replay, ReplayRequest, ReplayState, Selection};
use crate::http::body::JsonBody;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::reply::ReplyCode;
use crate::protocol::wire::ShortStr;

/// Messages that one replay may name.
const IDS_MAX: usize = 10_000;

const RATE_MAX: u32 = 1_000_000;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(get_replay, start_replay, cancel_replay))
}

/// What is replayed, and how. Without `ids` and `headers` all that is ready.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ReplayBody {
    /// Ids of messages, as peeking shows them; at most 10000.
    ids: Option<Vec<String>>,
    /// Only messages with these headers: texts, numbers, true or false.
    headers: Option<Map<String, Value>>,
    /// Most messages that are moved.
    count: Option<u64>,
    /// Messages per second, at most.
    rate: Option<u32>,
    /// Instead of the exchange that each message came from.
    exchange: Option<String>,
    /// Instead of the routing keys that each message came with.
    routing_key: Option<String>,
}

impl ReplayBody {
    fn parse(self) -> Result<ReplayRequest, Refusal> {
        let selection = match (self.ids, self.headers) {
            (Some(_), Some(_)) => {
                return Err(Refusal::bad_request("either ids or headers choose, not both"));
            }
            (Some(ids), None) => Selection::Places(parse_ids(&ids)?),
            (None, headers) => Selection::Ready(parse_headers(headers.unwrap_or_default())?),
        };
        if let Some(rate) = self.rate
            && !(1..=RATE_MAX).contains(&rate)
        {
            return Err(Refusal::bad_request(format!(
                "the rate is 1 to {RATE_MAX} messages per second, not {rate}"
            )));
        }
        if self.count == Some(0) {
            return Err(Refusal::bad_request("a count of 0 moves nothing"));
        }
        Ok(ReplayRequest {
            selection,
            count_max: self.count,
            rate_max: self.rate,
            exchange: short("exchange", self.exchange)?,
            routing_key: short("routing_key", self.routing_key)?,
        })
    }
}

fn parse_ids(ids: &[String]) -> Result<Vec<Place>, Refusal> {
    if ids.is_empty() || ids.len() > IDS_MAX {
        let count = ids.len();
        return Err(Refusal::bad_request(format!(
            "a replay names 1 to {IDS_MAX} ids, not {count}"
        )));
    }
    let mut places = ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable_by(|a, b| b.level.cmp(&a.level).then(a.seq.cmp(&b.seq)));
    places.dedup();
    Ok(places)
}

fn parse_headers(headers: Map<String, Value>) -> Result<HeaderFilter, Refusal> {
    let pair = |(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        _ => Err(Refusal::bad_request(format!(
            "the header '{name}' is compared with a text, a number, true or false"
        ))),
    };
    headers.into_iter().map(pair).collect::<Result<_, _>>().map(HeaderFilter)
}

fn short(what: &str, text: Option<String>) -> Result<Option<ShortStr>, Refusal> {
    let short = text.map(|text| ShortStr::try_from(text.as_str())).transpose();
    short.map_err(|_| Refusal::bad_request(format!("{what} is longer than 255 bytes")))
}

fn show(replay: &Replay) -> Value {
    let progress = replay.progress();
    let reason = match &progress.state {
        ReplayState::Failed(reason) => Some(reason),
        _ => None,
    };
    let skipped: BTreeMap<&str, u64> =
        progress.skipped.iter().map(|(why, count)| (why.name(), *count)).collect();
    json!({
        "vhost": replay.vhost.as_str(),
        "queue": replay.queue.as_str(),
        "state": progress.state.name(),
        "reason": reason,
        "total": replay.total,
        "examined": progress.examined,
        "moved": progress.moved,
        "skipped": skipped,
        "rate": replay.rate(&progress),
        "rate_limit": replay.request.rate_max,
        "exchange": replay.request.exchange.as_ref().map(ShortStr::as_str),
        "routing_key": replay.request.routing_key.as_ref().map(ShortStr::as_str),
        "started_by": replay.started_by,
        "started_at": replay.started_ms,
        "ended_at": progress.ended_ms,
    })
}

/// Begins a replay, which goes on by itself.
#[utoipa::path(post, path = "/api/queues/{vhost}/{queue}/replay", tag = "queues",
    request_body = ReplayBody,
    responses((status = 202, description = "Begun; its progress"),
        (status = 409, description = "Another one is running")))]
async fn start_replay(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
    JsonBody(body): JsonBody<ReplayBody>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let request = body.parse()?;
    let (vhost, queue) = (visitor.own_vhost(&vhost)?, queue_name(&queue)?);
    let started = vhost.start_replay(&queue, request, &visitor.actor);
    let replay = started.map_err(|error| match error.code {
        ReplyCode::ResourceLocked => Refusal::conflict(error.text),
        _ => error.into(),
    })?;
    Ok((StatusCode::ACCEPTED, Json(show(&replay))))
}

/// How far the last replay of a queue is, or how it ended.
#[utoipa::path(get, path = "/api/queues/{vhost}/{queue}/replay", tag = "queues",
    responses((status = 200, description = "Its progress"),
        (status = 404, description = "The queue has not been replayed since the start")))]
async fn get_replay(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let (vhost, queue) = (visitor.own_vhost(&vhost)?, queue_name(&queue)?);
    Ok(Json(show(&*vhost.replay(&queue, &visitor.actor)?)))
}

/// Has a running replay end; what it has moved has moved.
#[utoipa::path(delete, path = "/api/queues/{vhost}/{queue}/replay", tag = "queues",
    responses((status = 204, description = "It ends"), (status = 404, description = "None runs")))]
async fn cancel_replay(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let (vhost, queue) = (visitor.own_vhost(&vhost)?, queue_name(&queue)?);
    vhost.cancel_replay(&queue, &visitor.actor)?;
    Ok(StatusCode::NO_CONTENT)
}
