//! One operator: the management API, the health checks and the metrics. Never imports `connection`.
//!
//! ```text
//! request ──▶ serve ──▶ router ──▶ visitor (who, may it?) ──▶ objects/ ──▶ broker
//!                          └─────▶ health/ (mostly, nobody is asked who)
//! ```
//!
//! Paths, JSON and words are RabbitMQ's, so that its clients work. The API describes itself at
//! `/api/openapi.json`, made from the handlers.

mod answer;
pub mod api;
mod body;
pub mod health;
mod lenient;
mod listing;
pub mod metrics;
mod names;
mod objects;
mod refusal;
mod routes;
pub mod stats;
mod time;
mod visitor;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use utoipa::OpenApi;

use self::api::Api;
use self::refusal::Refusal;
use self::routes::{Describe, Routes};

/// How long a client may take for the head of a request, the first as well as the next.
const HEAD_WAIT: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(info(title = "FerryMQ management API"))]
struct Description;

/// Everything that is answered, by path.
pub fn router(api: Api) -> Router {
    let (router, describe) = Routes::new().merge(objects::router()).merge(health::router()).split();
    let describe: Arc<[Describe]> = describe.into();
    router
        .route("/api/openapi.json", get(async move || describe_all(&describe)))
        .merge(metrics::router(&api))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn(body::read_short))
        .with_state(api)
}

fn describe_all(describe: &[Describe]) -> Json<utoipa::openapi::OpenApi> {
    let mut all = Description::openapi();
    for describe in describe {
        all.merge(describe());
    }
    Json(all)
}

/// What is answered to Prometheus at a listener of its own.
pub fn metrics_router(api: Api) -> Router {
    metrics::open_router()
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(api)
}

/// Serves one client until it is gone; when `stop` becomes true, until its present request is
/// answered.
pub async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        for meant in [without_last_slash, names::with_default_exchange] {
            if let Some(uri) = meant(request.uri()) {
                *request.uri_mut() = uri;
            }
        }
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(socket), service);
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

/// Rule (RabbitMQ): a slash at the end of a path says nothing. `None` where there is none.
fn without_last_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

async fn not_found(uri: Uri) -> Refusal {
    Refusal::not_found(format!("there is nothing at {}", uri.path()))
}

async fn not_allowed(method: Method, uri: Uri) -> Refusal {
    Refusal::method_not_allowed(format!("{method} can't be done at {}", uri.path()))
}
