//! Scheduled messages: those that an exchange of type x-delayed-message holds back.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::messages::{Shown, number, parse_encoding, show_message};
use crate::broker::queue::Scheduled;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::wire::ShortStr;
use crate::store::record::Seq;

/// Messages that are answered, if nothing is said, and at most.
const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: usize = 500;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(list_scheduled)).add(routes!(cancel_scheduled))
}

fn exchange_name(name: &str) -> Result<ShortStr, Refusal> {
    ShortStr::try_from(name).map_err(|_| {
        Refusal::bad_request(format!("the exchange name '{name}' is longer than 255 bytes"))
    })
}

/// The time at which a message is due, and its number.
fn id_of(scheduled: &Scheduled) -> String {
    format!("{}:{}", scheduled.due_ms, scheduled.place.seq.0)
}

fn parse_id(id: &str) -> Result<(u64, Seq), Refusal> {
    let parse = || {
        let (due_ms, seq) = id.split_once(':')?;
        Some((due_ms.parse().ok()?, Seq(seq.parse().ok()?)))
    };
    parse().ok_or_else(|| {
        Refusal::bad_request(format!(
            "'{id}' is no id of a scheduled message: two numbers are needed, as in \
             1764100000000:1099511627777"
        ))
    })
}

/// The messages that an exchange delays, in the order in which they are due.
#[utoipa::path(get, path = "/api/exchanges/{vhost}/{exchange}/scheduled", tag = "exchanges",
    params(
        ("count" = Option<usize>, Query, description = "Messages to answer, 10, at most 500"),
        ("from" = Option<String>, Query, description = "Begin at this id, as `next` has it"),
        ("truncate" = Option<usize>, Query, description = "Bytes of each payload"),
        ("encoding" = Option<String>, Query, description = "auto or base64"),
    ),
    responses((status = 200, description = "The messages, and where to go on")))]
async fn list_scheduled(
    visitor: Visitor,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let (mut from, mut count) = ((0, Seq(0)), COUNT_DEFAULT);
    let mut shown = Shown { base64: false, truncate: usize::MAX };
    for (name, value) in pairs {
        match name.as_str() {
            "from" => from = parse_id(&value)?,
            "count" => count = number(&name, &value, 1, COUNT_MAX)?,
            "truncate" => shown.truncate = number(&name, &value, 0, usize::MAX)?,
            "encoding" => shown.base64 = parse_encoding(&value)?,
            _ => {}
        }
    }
    let (vhost, exchange) = (visitor.own_vhost(&vhost)?, exchange_name(&exchange)?);
    // One more tells where to go on.
    let mut found = vhost.scheduled(&exchange, from, count + 1, &visitor.actor).await?;
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

/// Takes away a message before it is due.
#[utoipa::path(delete, path = "/api/exchanges/{vhost}/{exchange}/scheduled/{id}",
    tag = "exchanges",
    responses((status = 204, description = "It will not be delivered"),
        (status = 404, description = "It doesn't wait any more")))]
async fn cancel_scheduled(
    visitor: Visitor,
    Path((vhost, exchange, id)): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    let (vhost, exchange) = (visitor.own_vhost(&vhost)?, exchange_name(&exchange)?);
    let (due_ms, seq) = parse_id(&id)?;
    let cancelled = vhost.cancel_scheduled(&exchange, due_ms, seq, &visitor.actor).await?;
    cancelled.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}
