//! Peeking: the ready messages of a queue, without delivering, marking or keeping them.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, Query};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::broker::header_filter::HeaderFilter;
use crate::broker::queue::{Entry, Place, Queue};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::json;
use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;
use crate::store::ReadLimit;
use crate::store::record::Seq;

/// Messages that are answered, if nothing is said, and at most.
const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: usize = 500;

/// Messages that may be passed over by number.
const OFFSET_MAX: usize = 10_000;

/// Messages, and bytes of their bodies, that are looked at for one request; behind them the answer
/// says where to go on.
const LOOKED_AT_MAX: usize = OFFSET_MAX + COUNT_MAX;
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Of these, what is looked at in one step.
const STEP: ReadLimit = ReadLimit { count: 256, bytes: 1024 * 1024 };

const FIRST: Place = Place { level: u8::MAX, seq: Seq(0) };

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(peek))
}

pub(super) fn queue_name(name: &str) -> Result<ShortStr, Refusal> {
    ShortStr::try_from(name).map_err(|_| {
        Refusal::bad_request(format!("the queue name '{name}' is longer than 255 bytes"))
    })
}

/// What a message is called as long as it is in its queue: its priority and its number there.
pub(super) fn id_of(place: Place) -> String {
    format!("{}:{}", place.level, place.seq.0)
}

pub(super) fn parse_id(id: &str) -> Result<Place, Refusal> {
    let parse = || {
        let (level, seq) = id.split_once(':')?;
        Some(Place { level: level.parse().ok()?, seq: Seq(seq.parse().ok()?) })
    };
    parse().ok_or_else(|| {
        Refusal::bad_request(format!(
            "'{id}' is no id of a message: two numbers are needed, as in 0:1099511627777"
        ))
    })
}

/// How a queue is looked at.
struct Peek {
    from: Place,
    offset: usize,
    count: usize,
    filter: HeaderFilter,
    shown: Shown,
}

/// How payloads are answered.
pub(super) struct Shown {
    pub(super) base64: bool,
    /// Bytes of each.
    pub(super) truncate: usize,
}

impl Peek {
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut peek = Self {
            from: FIRST,
            offset: 0,
            count: COUNT_DEFAULT,
            filter: HeaderFilter::default(),
            shown: Shown { base64: false, truncate: usize::MAX },
        };
        for (name, value) in pairs {
            match name.as_str() {
                "from" => peek.from = parse_id(&value)?,
                "offset" => peek.offset = number(&name, &value, 0, OFFSET_MAX)?,
                "count" => peek.count = number(&name, &value, 1, COUNT_MAX)?,
                "truncate" => peek.shown.truncate = number(&name, &value, 0, usize::MAX)?,
                "encoding" => peek.shown.base64 = parse_encoding(&value)?,
                _ => {
                    if let Some(header) = name.strip_prefix("header.") {
                        peek.filter.0.push((header.to_owned(), value));
                    }
                }
            }
        }
        Ok(peek)
    }
}

pub(super) fn number<N>(name: &str, value: &str, min: N, max: N) -> Result<N, Refusal>
where
    N: FromStr + PartialOrd + Display,
{
    let parsed = value.parse().ok().filter(|number| (&min..=&max).contains(&number));
    parsed.ok_or_else(|| {
        Refusal::bad_request(format!(
            "{name} has to be a number from {min} to {max}, not '{value}'"
        ))
    })
}

pub(super) fn parse_encoding(encoding: &str) -> Result<bool, Refusal> {
    match encoding {
        "auto" => Ok(false),
        "base64" => Ok(true),
        other => Err(Refusal::bad_request(format!(
            "the encoding can't be '{other}': auto and base64 are there"
        ))),
    }
}

/// The next ready messages of a queue. Nothing is delivered or marked.
#[utoipa::path(get, path = "/api/queues/{vhost}/{queue}/messages", tag = "queues",
    params(
        ("offset" = Option<usize>, Query, description = "Messages to pass over, at most 10000"),
        ("count" = Option<usize>, Query, description = "Messages to answer, 10, at most 500"),
        ("from" = Option<String>, Query, description = "Begin at this id, as `next` has it"),
        ("header.NAME" = Option<String>, Query, description = "Only with this header"),
        ("truncate" = Option<usize>, Query, description = "Bytes of each payload"),
        ("encoding" = Option<String>, Query, description = "auto or base64"),
    ),
    responses((status = 200, description = "The messages, and where to go on")))]
async fn peek(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let peek = Peek::parse(pairs)?;
    let (vhost, queue) = (visitor.own_vhost(&vhost)?, queue_name(&queue)?);
    let queue = vhost.readable_queue(&queue, &visitor.actor)?;
    Ok(Json(look(&queue, &peek).await?))
}

async fn look(queue: &Queue, peek: &Peek) -> Result<Value, Refusal> {
    let (mut items, mut next, mut to_pass) = (Vec::new(), Some(peek.from), peek.offset);
    let (mut looked_at, mut bytes) = (0, 0u64);
    let ready = queue.status().ready;
    while items.len() < peek.count
        && looked_at < LOOKED_AT_MAX
        && bytes < BYTES_MAX
        && let Some(from) = next
    {
        let missing = peek.count.saturating_sub(items.len()).saturating_add(to_pass);
        let count = if peek.filter.0.is_empty() { missing } else { STEP.count };
        let limit = ReadLimit { count: count.min(STEP.count), ..STEP };
        let browsed = queue.browse(from, limit).await?;
        next = browsed.next;
        for entry in browsed.entries {
            if items.len() == peek.count {
                next = Some(entry.place());
                break;
            }
            let position = looked_at;
            looked_at += 1;
            bytes = bytes.saturating_add(entry.message.body_len());
            if !peek.filter.fits(&entry.message) {
                continue;
            }
            if to_pass > 0 {
                to_pass -= 1;
                continue;
            }
            items.push(show(&entry, position, ready, &peek.shown));
        }
    }
    Ok(json!({
        "items": items, "next": next.map(id_of), "looked_at": looked_at, "messages_ready": ready,
    }))
}

fn show(entry: &Entry, position: usize, ready: usize, shown: &Shown) -> Value {
    let mut item = show_message(&entry.message, shown);
    item["id"] = id_of(entry.place()).into();
    item["position"] = position.into();
    item["redelivered"] = entry.redelivered.into();
    item["message_count"] = ready.saturating_sub(position).saturating_sub(1).into();
    item
}

/// What is said of a message wherever it is.
pub(super) fn show_message(message: &Message, shown: &Shown) -> Value {
    let body = message.to_body().to_bytes();
    let cut = body.slice(..body.len().min(shown.truncate));
    let (payload, encoding) = match std::str::from_utf8(&cut) {
        Ok(text) if !shown.base64 => (text.to_owned(), "string"),
        _ => (STANDARD.encode(&cut), "base64"),
    };
    json!({
        "payload_bytes": message.body_len(),
        "exchange": message.exchange(),
        "routing_key": message.routing_key(),
        "properties": json::properties(&message.properties()),
        "payload": payload,
        "payload_encoding": encoding,
    })
}
