//! Publishing one message to an exchange.

use axum::Json;
use axum::extract::Path;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::exchanges;
use crate::broker::vhost::{Publish, Published};
use crate::http::body::JsonBody;
use crate::http::lenient;
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::json;
use crate::protocol::properties::Properties;
use crate::store::Space;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(publish))
}

/// How a payload is written in JSON.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PayloadEncoding {
    String,
    Base64,
}

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
struct PublishBody {
    routing_key: String,
    /// As AMQP calls them; `{}` for none.
    #[serde(deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    properties: Map<String, Value>,
    payload: String,
    payload_encoding: PayloadEncoding,
}

/// Publishes a message, and waits until it is confirmed. The answer says whether a queue got it.
#[utoipa::path(post, path = "/api/exchanges/{vhost}/{exchange}/publish", tag = "exchanges",
    request_body = PublishBody,
    responses((status = 200, description = "`routed`: whether it is in any queue"),
        (status = 400, description = "It can't be published, or a queue is full"),
        (status = 503, description = "The disk is nearly full")))]
async fn publish(
    visitor: Visitor,
    Path((vhost, exchange)): Path<(String, String)>,
    JsonBody(body): JsonBody<PublishBody>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let exchange = exchanges::existing(&vhost, &exchange)?;
    let properties = json::to_properties(&body.properties).map_err(Refusal::bad_request)?;
    let publish = Publish {
        exchange: exchange.name.clone(),
        routing_key: names::short("routing key", &body.routing_key)?,
        properties: Properties::from(&properties),
        body: payload(body.payload, body.payload_encoding)?,
    };
    visitor.broker.check_message_size(publish.body.len())?;
    check_space(&visitor)?;
    match vhost.publish(publish, &visitor.actor)? {
        Published::Taken { is_routed, durable } => {
            durable.wait().await?;
            Ok(Json(json!({ "routed": is_routed })))
        }
        Published::Refused => Err(Refusal::bad_request(
            "the message was refused: a queue that it was to go to is full, or another one that it \
             may repeat is on its way; try again",
        )),
    }
}

fn payload(text: String, encoding: PayloadEncoding) -> Result<Bytes, Refusal> {
    match encoding {
        PayloadEncoding::String => Ok(text.into()),
        PayloadEncoding::Base64 => {
            let decoded = STANDARD.decode(text.as_bytes());
            decoded.map(Bytes::from).map_err(|error| {
                Refusal::bad_request(format!("the payload is not base64: {error}"))
            })
        }
    }
}

/// Rule: while the disk is nearly full no publish begins. A connection would wait; a request is
/// told to come again.
fn check_space(visitor: &Visitor) -> Result<(), Refusal> {
    match *visitor.broker.store().space().borrow() {
        Space::Enough => Ok(()),
        Space::Low { free_bytes, limit_bytes } => Err(Refusal::unavailable(format!(
            "the disk is nearly full, nothing is published: {free_bytes} bytes are free, \
             {limit_bytes} are needed"
        ))),
    }
}
