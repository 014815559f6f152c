//! Bodies of requests: JSON, whatever the content type says, up to a length.
//!
//! Clients of RabbitMQ's API send `"true"` for `true` and `"1"` for `1`: [`flag`], [`whole`] and
//! [`object`] take both, for `deserialize_with`.

use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Longest body, in bytes: a definitions file with tens of thousands of queues.
pub const BODY_LEN_MAX: usize = 32 * 1024 * 1024;

/// So much of a longer one is read, and thrown away.
const READ_LEN_MAX: usize = 4 * BODY_LEN_MAX;

/// A JSON body. One that is empty is `{}`, since clients send none where nothing is to be said.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = read(request).await?;
        let text = if bytes.trim_ascii().is_empty() { b"{}" } else { &*bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Refusal::bad_request(format!("the body is not the JSON that is expected: {error}"))
        })
    }
}

/// Reads a body. One that is too long is read on for a while, or its sender, still writing, would
/// not hear why it was refused; one who asks before sending it is told at once.
async fn read(request: Request) -> Result<BytesMut, Refusal> {
    let too_large = || Refusal::too_large(format!("the body is longer than {BODY_LEN_MAX} bytes"));
    let asks_before = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    if asks_before && body.size_hint().lower() > BODY_LEN_MAX as u64 {
        return Err(too_large());
    }
    let (mut whole, mut len) = (BytesMut::new(), 0_usize);
    while len <= READ_LEN_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| {
            Refusal::bad_request(format!("the body ended before it was whole: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        len = len.saturating_add(data.len());
        if len <= BODY_LEN_MAX {
            whole.extend_from_slice(&data);
        } else {
            whole = BytesMut::new();
        }
    }
    if len > BODY_LEN_MAX { Err(too_large()) } else { Ok(whole) }
}

/// A flag; null is `false`.
pub fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Bool(flag) => Ok(flag),
        Value::Null => Ok(false),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(D::Error::custom(format!("true or false is needed, not {other}"))),
    }
}

/// A number of things.
pub fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    let number = match &value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.ok_or_else(|| D::Error::custom(format!("a number of 0 or more is needed, not {value}")))
}

/// The same where nothing may be said.
pub fn optional_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        value => whole(value).map(Some).map_err(D::Error::custom),
    }
}

/// An object; null and `[]` are an empty one.
pub fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        Value::Array(list) if list.is_empty() => Ok(Map::new()),
        other => Err(D::Error::custom(format!("an object is needed, not {other}"))),
    }
}
