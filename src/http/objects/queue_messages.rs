//! Getting messages out of a queue, for good or only to look at them.
//!
//! They are taken as basic.get takes them, and are out until all that were asked for are there.
//! Whatever ends the request before they are settled puts them back.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::queue::{Got, Place, Queue, Return};
use crate::http::body::JsonBody;
use crate::http::lenient;
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::json;
use crate::store::Store;

/// Most messages of one request.
const COUNT_MAX: u64 = 10_000;

/// Bytes of payload after which no more messages are taken; the last one may be over it.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// So many messages are taken before others have their turn.
const STEP: usize = 64;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(get_messages))
}

/// What becomes of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AckMode {
    /// They stay where they are.
    AckRequeueTrue,
    /// They are gone.
    AckRequeueFalse,
    /// They stay, and their delivery has failed.
    RejectRequeueTrue,
    /// They go to the dead-letter exchange, if there is one.
    RejectRequeueFalse,
}

/// How payloads are answered.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// As a text if it is one, otherwise as base64.
    Auto,
    Base64,
}

/// Which messages, and what becomes of them.
#[derive(Debug, Deserialize, ToSchema)]
struct GetBody {
    /// At most 10,000.
    #[serde(deserialize_with = "lenient::whole")]
    count: u64,
    ackmode: AckMode,
    encoding: Encoding,
    /// Only so many bytes of each payload.
    #[serde(default, deserialize_with = "lenient::optional_whole")]
    truncate: Option<u64>,
}

/// Messages that are out, until they are settled or put back.
struct Held {
    queue: Arc<Queue>,
    places: Vec<Place>,
    /// What the log has to know of them.
    batch: Changes,
}

impl Held {
    fn new(queue: Arc<Queue>) -> Self {
        Self { queue, places: Vec::new(), batch: Changes::default() }
    }

    /// Takes one more message.
    async fn get(&mut self) -> Result<Option<Got>, Error> {
        let got = self.queue.get(false, &mut self.batch).await;
        self.append();
        if let Ok(Some(got)) = &got {
            self.places.push(got.entry.place());
        }
        got
    }

    fn append(&mut self) {
        self.queue.append(std::mem::take(&mut self.batch));
    }

    /// Settles all of them; what has to be on disk is waited for.
    async fn settle(mut self, mode: AckMode, store: &dyn Store) -> Result<(), Error> {
        let (places, mut batch) = (std::mem::take(&mut self.places), Changes::default());
        match mode {
            // Nobody's consumer has had them: nothing is counted, and none has to wait.
            AckMode::AckRequeueTrue => self.queue.requeue(places, Return::Unsent, &mut batch),
            AckMode::RejectRequeueTrue => self.queue.requeue(places, Return::Failed, &mut batch),
            AckMode::RejectRequeueFalse => self.queue.reject(&places, &mut batch),
            AckMode::AckRequeueFalse => drop(self.queue.ack(&places, &mut batch)),
        }
        Durable::append(store, batch).wait().await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let places = std::mem::take(&mut self.places);
        if !places.is_empty() {
            self.queue.requeue(places, Return::Unsent, &mut self.batch);
        }
        self.append();
    }
}

/// Takes messages out of a queue and answers them, the next one first.
#[utoipa::path(post, path = "/api/queues/{vhost}/{queue}/get", tag = "queues",
    request_body = GetBody,
    responses((status = 200, description = "The messages; fewer if there are no more, or if they \
        have more than 32 MiB"), (status = 404, description = "No such vhost or queue")))]
async fn get_messages(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
    JsonBody(asked): JsonBody<GetBody>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    if asked.count > COUNT_MAX {
        return Err(Refusal::bad_request(format!(
            "at most {COUNT_MAX} messages can be got at a time, not {}",
            asked.count
        )));
    }
    let name = names::short("queue name", &queue)?;
    let queue = vhost.readable_queue(&name, &visitor.actor)?;
    let mut held = Held::new(queue);
    let (mut messages, mut bytes) = (Vec::new(), 0_usize);
    while (messages.len() as u64) < asked.count && bytes < BYTES_MAX {
        let Some(got) = held.get().await? else { break };
        let payload = got.entry.message.to_body().to_bytes();
        let kept = asked.truncate.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
        let payload = payload.get(..kept).unwrap_or(&payload);
        bytes = bytes.saturating_add(payload.len());
        messages.push(show(&got, payload, asked.encoding));
        if messages.len().is_multiple_of(STEP) {
            tokio::task::yield_now().await;
        }
    }
    held.settle(asked.ackmode, &**visitor.broker.store()).await?;
    Ok(Json(messages.into()))
}

fn show(got: &Got, payload: &[u8], encoding: Encoding) -> Value {
    let message = &got.entry.message;
    let text = match encoding {
        Encoding::Auto => std::str::from_utf8(payload).ok(),
        Encoding::Base64 => None,
    };
    let (payload, payload_encoding) = match text {
        Some(text) => (text.to_owned(), "string"),
        None => (STANDARD.encode(payload), "base64"),
    };
    let properties = got.entry.counted_properties().unwrap_or_else(|| message.properties());
    json!({
        "payload_bytes": message.body_len(),
        "redelivered": got.entry.redelivered,
        "exchange": message.exchange(),
        "routing_key": message.routing_key(),
        "message_count": got.remaining,
        "properties": json::properties(&properties),
        "payload": payload,
        "payload_encoding": payload_encoding,
    })
}
