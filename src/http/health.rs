//! Health checks, in the form that RabbitMQ's have.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Whether the broker serves, told by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Starting,
    Serving,
    /// It can't do its work, for this reason.
    Failed(String),
    Stopping,
}

/// 200 when clients are served and what they publish can be stored, 503 otherwise.
pub(super) async fn ready_to_serve_clients(
    State(health): State<watch::Receiver<Health>>,
) -> (StatusCode, Json<Value>) {
    let reason = match &*health.borrow() {
        Health::Serving => return (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Health::Starting => "the broker is starting".to_owned(),
        Health::Stopping => "the broker is stopping".to_owned(),
        Health::Failed(reason) => reason.clone(),
    };
    let body = json!({ "status": "failed", "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
