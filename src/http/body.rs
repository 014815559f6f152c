//! Bodies of requests: JSON, whatever the content type says, up to a length.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// Longest body, in bytes: a definitions file with tens of thousands of queues.
pub const BODY_LEN_MAX: usize = 32 * 1024 * 1024;

/// A JSON body. One that is empty is `{}`, since clients send none where nothing is to be said.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = to_bytes(request.into_body(), BODY_LEN_MAX).await.map_err(|_| {
            Refusal::too_large(format!(
                "the body could not be read: it may have {BODY_LEN_MAX} bytes, and has to be whole"
            ))
        })?;
        let text = if bytes.trim_ascii().is_empty() { b"{}" } else { &*bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Refusal::bad_request(format!("the body is not the JSON that is expected: {error}"))
        })
    }
}
