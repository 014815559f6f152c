//! What the API refuses, with the status and the JSON that clients of RabbitMQ's API expect.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::broker::error::Error;
use crate::protocol::reply::ReplyCode;

/// Asks a browser, or a client, for a name and password. Some clients give them to this realm only.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");

/// `{"error": ..., "reason": ...}`: a word for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: &'static str,
    pub reason: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<String>) -> Self {
        Self { status, error, reason: reason.into() }
    }

    /// 400: what was sent can't be.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    /// 401: nobody, or somebody who may not.
    pub fn not_authorized(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorized", reason)
    }

    /// 404.
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found", reason)
    }

    /// 405: there is something at the path, and this can't be done with it.
    pub fn method_not_allowed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", reason)
    }

    /// 409: not while something else goes on.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", reason)
    }

    /// 412: not as long as something else is so.
    pub fn precondition_failed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", reason)
    }

    /// 413.
    pub fn too_large(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", reason)
    }

    /// 500: not the client's fault.
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", reason)
    }

    /// 503: not now.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error, "reason": self.reason }));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                (self.status, [(header::WWW_AUTHENTICATE, CHALLENGE)], body).into_response()
            }
            status => (status, body).into_response(),
        }
    }
}

/// Rule: what AMQP refuses is the client's mistake, with what is missing and what is forbidden told
/// apart.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.code {
            ReplyCode::NotFound => Self::not_found(error.text),
            ReplyCode::AccessRefused => Self::not_authorized(error.text),
            ReplyCode::InternalError => Self::internal(error.text),
            _ => Self::bad_request(error.text),
        }
    }
}
