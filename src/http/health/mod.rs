//! Health checks, with the paths and bodies that RabbitMQ's have: the answers, and the asking.
//!
//! The server owns the [`Health`] and knows who listens; here it is only read.
//!
//! ```text
//! Starting ──▶ Serving ──▶ Stopping
//!                 └──▶ Failed ──▶ Stopping
//! ```
//!
//! Probes don't log in, and so nobody is asked who for most of the checks (`checks.rs`); those that
//! name what belongs to users want a user (`for_users.rs`).

mod checks;
mod for_users;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::http::routes::Routes;

const READY_PATH: &str = "/api/health/checks/ready-to-serve-clients";

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

impl Health {
    /// Why clients are not served; `None` when they are.
    fn trouble(&self) -> Option<String> {
        match self {
            Self::Serving => None,
            Self::Starting => Some("the broker is starting".to_owned()),
            Self::Stopping => Some("the broker is stopping".to_owned()),
            Self::Failed(reason) => Some(reason.clone()),
        }
    }
}

/// An address that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// RabbitMQ's word: `amqp`, `http` or `http/prometheus`.
    pub protocol: &'static str,
    pub address: SocketAddr,
}

/// What the checks look at, beside the broker.
#[derive(Debug, Clone)]
pub struct Checked {
    pub health: watch::Receiver<Health>,
    /// Empty until clients are let in.
    pub listening: watch::Receiver<Vec<Listening>>,
    /// Most AMQP connections at a time.
    pub connections_max: usize,
    pub data_dir: PathBuf,
    /// Publishers rest while there is less; 0 is no limit.
    pub disk_free_limit_bytes: u64,
    /// All settings by section, to be shown.
    pub settings: Value,
}

/// The routes of all checks.
pub(super) fn router() -> Routes {
    checks::router().merge(for_users::router())
}

type Answer = (StatusCode, Json<Value>);

fn passed() -> Answer {
    passed_with(json!({}))
}

/// 200; `more` is an object that is said, too.
fn passed_with(more: Value) -> Answer {
    (StatusCode::OK, Json(with(json!({ "status": "ok" }), more)))
}

/// 503, as RabbitMQ's checks fail.
fn failed(reason: impl Into<String>, more: Value) -> Answer {
    let body = json!({ "status": "failed", "reason": reason.into() });
    (StatusCode::SERVICE_UNAVAILABLE, Json(with(body, more)))
}

fn with(mut body: Value, more: Value) -> Value {
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

/// Passed, or failed for this reason.
fn unless(trouble: Option<String>) -> Answer {
    trouble.map_or_else(passed, |reason| failed(reason, json!({})))
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
