//! Accepts AMQP connections, as many at a time as the settings allow.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// How long accepting rests when the system has no more descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Why an address can't be listened on, and what to do.
#[derive(Debug)]
pub struct BindError {
    address: String,
    setting: &'static str,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, setting, error } = self;
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has it; stop that one or choose another port"
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not; choose a port from 1024 on or give the right to"
            }
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has it",
            _ => "it has to be HOST:PORT, such as 0.0.0.0:5672",
        };
        write!(f, "cannot listen on {address}: {error}; {remedy} (setting: {setting})")
    }
}

impl std::error::Error for BindError {}

/// Listens on an address. `setting` is named in the error.
pub async fn bind(address: &str, setting: &'static str) -> Result<TcpListener, BindError> {
    let failed = |error| BindError { address: address.to_owned(), setting, error };
    TcpListener::bind(address).await.map_err(failed)
}

/// Accepts until `stop` becomes true; `serve` gets each socket and begins its task.
pub async fn accept<F>(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit),
{
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((socket, peer)) => {
                // A reply must not wait for the next one.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "the client went away at once");
                    continue;
                }
                serve(socket, peer, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}
