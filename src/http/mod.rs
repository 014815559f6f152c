//! One operator: health checks for now. Never imports `connection`.

pub mod health;

use std::pin::pin;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use self::health::Checked;

/// How long a client may take for the head of a request, the first as well as the next.
const HEAD_WAIT: Duration = Duration::from_secs(30);

/// Everything that is answered, by path.
pub fn router(checked: Checked) -> Router {
    Router::new()
        .route(health::READY_PATH, get(health::ready_to_serve_clients))
        .route(health::LOCAL_ALARMS_PATH, get(health::local_alarms))
        .fallback(not_found)
        .with_state(checked)
}

/// Serves one client until it is gone; when `stop` becomes true, until its present request is
/// answered.
pub async fn serve(socket: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = async { drop(stop.wait_for(|stop| *stop).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP client went away");
    }
}

async fn not_found(uri: Uri) -> (StatusCode, Json<Value>) {
    let reason = format!("there is nothing at {}", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({ "error": "Object Not Found", "reason": reason })))
}
