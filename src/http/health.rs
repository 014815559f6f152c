//! Health checks, with the paths and bodies that RabbitMQ's have: the answer, and the asking.
//!
//! The server owns the [`Health`] and the [`DiskAlarm`]; here they are only read.
//!
//! ```text
//! Starting ──▶ Serving ──▶ Stopping
//!                 └──▶ Failed ──▶ Stopping
//! ```

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::api::Api;
use crate::broker::NODE_NAME;

pub(super) const READY_PATH: &str = "/api/health/checks/ready-to-serve-clients";

pub(super) const LOCAL_ALARMS_PATH: &str = "/api/health/checks/local-alarms";

/// How long the broker may take to answer when it is asked.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Whether the broker serves, told by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Starting,
    Serving,
    /// It can't do its work, for this reason.
    Failed(String),
    Stopping,
}

/// The disk is nearly full: publishers are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskAlarm {
    pub free_bytes: u64,
    pub limit_bytes: u64,
}

/// What the checks look at.
#[derive(Debug, Clone)]
pub struct Checked {
    pub health: watch::Receiver<Health>,
    pub disk_alarm: watch::Receiver<Option<DiskAlarm>>,
}

/// 200 when nothing holds publishers back, 503 otherwise.
pub(super) async fn local_alarms(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let Some(DiskAlarm { free_bytes, limit_bytes }) = *api.checked().disk_alarm.borrow() else {
        return (StatusCode::OK, Json(json!({ "status": "ok" })));
    };
    let reason = format!(
        "publishers are held back: the disk had {free_bytes} bytes left, the limit is {limit_bytes}"
    );
    let body = json!({ "status": "failed", "reason": reason, "alarms": [{ "node": NODE_NAME, "resource": "disk" }] });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

/// 200 when clients are served and what they publish can be stored, 503 otherwise.
pub(super) async fn ready_to_serve_clients(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let reason = match &*api.checked().health.borrow() {
        Health::Serving => return (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Health::Starting => "the broker is starting".to_owned(),
        Health::Stopping => "the broker is stopping".to_owned(),
        Health::Failed(reason) => reason.clone(),
    };
    let body = json!({ "status": "failed", "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

/// Asks the broker of this machine that listens on `address`; the error says why it isn't ready.
pub async fn ask(address: &str) -> Result<(), String> {
    let address = address.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
    match tokio::time::timeout(ANSWER_WAIT, status_of(&address)).await {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(format!("the broker at {address} is not ready: it answers {status}")),
        Ok(Err(error)) => Err(format!("no broker answers at {address}: {error}")),
        Err(_) => Err(format!("the broker at {address} does not answer in {ANSWER_WAIT:?}")),
    }
}

async fn status_of(address: &str) -> io::Result<StatusCode> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let request = Request::get(READY_PATH)
        .header(header::HOST, address)
        .body(Body::empty())
        .map_err(io::Error::other)?;
    // The connection moves the bytes, and stays open after the answer.
    tokio::select! {
        biased;
        answer = sender.send_request(request) => Ok(answer.map_err(io::Error::other)?.status()),
        ended = connection => Err(ended.err().map_or_else(
            || io::ErrorKind::UnexpectedEof.into(),
            io::Error::other,
        )),
    }
}
