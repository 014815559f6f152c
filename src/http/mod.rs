//! One operator: health checks for now. Never imports `connection`.

pub mod health;

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::health::Health;

/// Serves until `stop` becomes true.
pub async fn serve(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    mut stop: watch::Receiver<bool>,
) {
    let ready = "/api/health/checks/ready-to-serve-clients";
    let router = Router::new()
        .route(ready, get(health::ready_to_serve_clients))
        .fallback(not_found)
        .with_state(health);
    let stopped = async move {
        // Nobody left to say stop is a stop, too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

async fn not_found(uri: Uri) -> (StatusCode, Json<Value>) {
    let reason = format!("there is nothing at {}", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({ "error": "Object Not Found", "reason": reason })))
}
