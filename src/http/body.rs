//! Bodies of requests: JSON, whatever the content type says, up to a length.

use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyDataStream, BodyExt, Full};
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::refusal::Refusal;

/// Longest body, in bytes: a definitions file with tens of thousands of queues.
pub const BODY_LEN_MAX: usize = 32 * 1024 * 1024;

/// So much of a longer one is read, and thrown away.
const READ_LEN_MAX: usize = 4 * BODY_LEN_MAX;

/// A body up to this length, in bytes, is read before it is known who asks, in at most so long.
const SHORT_LEN_MAX: u64 = 64 * 1024;
const SHORT_WAIT: Duration = Duration::from_secs(30);

/// A short body is there before the handler is. Of one that nobody reads the connection would end
/// with the answer, and a client that keeps it would lose its next request.
pub async fn read_short(request: Request, next: Next) -> Response {
    let asks_before = request.headers().contains_key(header::EXPECT);
    let len = request.body().size_hint().exact();
    if asks_before || !len.is_some_and(|len| (1..=SHORT_LEN_MAX).contains(&len)) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match timeout(SHORT_WAIT, body.collect()).await {
        Ok(Ok(whole)) => next.run(Request::from_parts(parts, whole.to_bytes().into())).await,
        Ok(Err(error)) => not_whole(&error).into_response(),
        Err(_) => {
            Refusal::bad_request(format!("the body did not come in {SHORT_WAIT:?}")).into_response()
        }
    }
}

fn not_whole(error: &axum::Error) -> Refusal {
    Refusal::bad_request(format!("the body ended before it was whole: {error}"))
}

/// A JSON body. One that is empty is `{}`, since clients send none where nothing is to be said.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        parse(&read(request).await?).map(Self)
    }
}

/// A JSON body; or a form as browsers send it, with JSON in its part `file`.
pub struct JsonFile<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonFile<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(|value| multer::parse_boundary(value).ok());
        let body = read(request).await?.freeze();
        match boundary {
            Some(boundary) => parse(&file_in(body, boundary).await?).map(Self),
            None => parse(&body).map(Self),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // What nobody asks for is passed over unread: JSON is looked at as a whole before.
    let text = std::str::from_utf8(body).map_err(|error| {
        Refusal::bad_request(format!("the body is not JSON: it is not UTF-8, {error}"))
    })?;
    let text = if text.trim_ascii().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| {
        Refusal::bad_request(format!("the body is not the JSON that is expected: {error}"))
    })
}

/// The part of a form in which clients of RabbitMQ send a file.
const FILE: &str = "file";

async fn file_in(form: Bytes, boundary: String) -> Result<Bytes, Refusal> {
    let not_a_form = |error| Refusal::bad_request(format!("the body is not a whole form: {error}"));
    let mut form = multer::Multipart::new(BodyDataStream::new(Full::new(form)), boundary);
    while let Some(part) = form.next_field().await.map_err(not_a_form)? {
        if part.name() == Some(FILE) {
            return part.bytes().await.map_err(not_a_form);
        }
    }
    Err(Refusal::bad_request(format!("the form has no part '{FILE}'")))
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
        let frame = frame.map_err(|error| not_whole(&error))?;
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

/// Words such as tags, which clients write as a list, or as one text with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of words with commas between them, or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
        Ok(cleaned(text.split(',')))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element::<String>()? {
            words.push(word);
        }
        Ok(cleaned(words.iter().map(String::as_str)))
    }
}

fn cleaned<'a>(words: impl Iterator<Item = &'a str>) -> Words {
    let words = words.map(str::trim).filter(|word| !word.is_empty());
    Words(words.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_list_or_a_text_with_commas() {
        let words = |json: &str| serde_json::from_str::<Words>(json).map(|Words(words)| words);
        assert_eq!(words(r#""management, monitoring,""#).unwrap(), ["management", "monitoring"]);
        assert_eq!(words(r#"["a,b", " c ", ""]"#).unwrap(), ["a,b", "c"]);
        assert!(words("[]").unwrap().is_empty());
        let refused = words("[1]").unwrap_err().to_string();
        assert!(refused.contains("expected a string"), "{refused}");
    }
}
