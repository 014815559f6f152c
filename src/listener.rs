//! Lets connections in: one set of [`Listeners`] for each protocol, which owns its sockets, counts
//! who is in and sees everybody out.
//!
//! ```text
//! claim ──▶ Claimed ──▶ open ──▶ accept loop ──▶ serve (a task each) ──▶ close
//! port is ours, but     clients connect          at most connections_max  told to go, waited for,
//! clients are refused                                                     then cut off
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long accepting rests when the system has no more descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Connections that the system keeps for us between two calls of accept.
const BACKLOG: u32 = 1024;

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
            io::ErrorKind::AddrInUse => "another process has it; stop that one or choose another",
            io::ErrorKind::PermissionDenied => {
                "this user may not; choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has it; 0.0.0.0 stands for all of them"
            }
            _ => "check the host name; 0.0.0.0 stands for all interfaces of this machine",
        };
        write!(f, "cannot listen on {address}: {error}: {remedy} (setting {setting})")
    }
}

impl std::error::Error for BindError {}

/// An address that is ours and not open yet.
pub struct Claimed {
    socket: TcpSocket,
    address: String,
    setting: &'static str,
}

/// Claims an address, HOST:PORT. `setting` is named in the error.
pub async fn claim(address: &str, setting: &'static str) -> Result<Claimed, BindError> {
    let failed = |error| BindError { address: address.to_owned(), setting, error };
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for candidate in lookup_host(address).await.map_err(failed)? {
        match bind(candidate) {
            Ok(socket) => return Ok(Claimed { socket, address: address.to_owned(), setting }),
            Err(error) => refused = error,
        }
    }
    Err(failed(refused))
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of the last run that the system has not forgotten yet don't keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The open listeners of one protocol and everybody they let in. Dropped, it cuts everybody off.
pub struct Listeners {
    protocol: &'static str,
    permits: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl Listeners {
    /// `connections_max` is for all addresses together.
    pub fn new(protocol: &'static str, connections_max: usize) -> Self {
        Self {
            protocol,
            permits: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            stop: watch::Sender::new(false),
            accepting: JoinSet::new(),
        }
    }

    /// Becomes true when those who were let in shall go.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Lets clients in from now on; each is served in a task of its own. Returns the address with
    /// the port that was given for port 0.
    pub fn open<F, S>(&mut self, claimed: Claimed, serve: F) -> Result<SocketAddr, BindError>
    where
        F: Fn(TcpStream, SocketAddr) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let Claimed { socket, address, setting } = claimed;
        let opened = socket.listen(BACKLOG).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, local_address) =
            opened.map_err(|error| BindError { address, setting, error })?;
        self.accepting.spawn(
            Door {
                protocol: self.protocol,
                permits: Arc::clone(&self.permits),
                stop: self.stop.subscribe(),
                served: JoinSet::new(),
                is_full: false,
                is_resting: false,
            }
            .run(listener, serve),
        );
        Ok(local_address)
    }

    /// Lets nobody in, tells those who are in to go and waits for them; who is still there after
    /// `wait` is cut off.
    pub async fn close(mut self, wait: Duration) {
        self.stop.send_replace(true);
        let all_gone = async { while self.accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(wait, all_gone).await.is_err() {
            tracing::warn!(protocol = self.protocol, "some clients did not go in time: cut off");
            self.accepting.shutdown().await;
        }
    }
}

/// One address: the loop that accepts, and those who came in by it.
struct Door {
    protocol: &'static str,
    permits: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    served: JoinSet<()>,
    is_full: bool,
    is_resting: bool,
}

impl Door {
    async fn run<F, S>(mut self, listener: TcpListener, serve: F)
    where
        F: Fn(TcpStream, SocketAddr) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = self.served.join_next() => continue,
                () = async { drop(self.stop.wait_for(|stop| *stop).await) } => break,
            };
            match accepted {
                Ok((socket, peer)) => self.let_in(socket, peer, &serve),
                Err(error) => self.rest(&error).await,
            }
        }
        drop(listener);
        while self.served.join_next().await.is_some() {}
    }

    /// Serves the client, or hangs up at once when the limit is reached: a client that is refused
    /// can try elsewhere, one that is left in the backlog waits for nothing.
    fn let_in<F, S>(&mut self, socket: TcpStream, peer: SocketAddr, serve: &F)
    where
        F: Fn(TcpStream, SocketAddr) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        self.is_resting = false;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if !self.is_full {
                let protocol = self.protocol;
                tracing::warn!(protocol, %peer, "connection limit reached: clients are refused");
            }
            self.is_full = true;
            return;
        };
        self.is_full = false;
        // A reply must not wait for the next one.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the client went away at once");
            return;
        }
        let served = serve(socket, peer);
        self.served.spawn(async move {
            served.await;
            drop(permit);
        });
    }

    /// Nothing gets better by asking again at once when descriptors or memory have run out.
    async fn rest(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
            return;
        }
        if !self.is_resting {
            tracing::warn!(protocol = self.protocol, %error, "cannot accept connections for now");
        }
        self.is_resting = true;
        tokio::time::sleep(ACCEPT_REST).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    /// Listeners at a free port whose clients are greeted with one byte, and stay until they leave.
    async fn greeting(connections_max: usize) -> (Listeners, SocketAddr) {
        let mut listeners = Listeners::new("test", connections_max);
        let claimed = claim("127.0.0.1:0", "test.listen").await.expect("a free port");
        let greet = |mut socket: TcpStream, _| async move {
            let _ = socket.write_all(b"!").await;
            let _ = socket.read_u8().await;
        };
        let address = listeners.open(claimed, greet).expect("opened");
        (listeners, address)
    }

    /// A connection, once it is greeted; `None` when it is refused.
    async fn connect(address: SocketAddr) -> Option<TcpStream> {
        let mut socket = TcpStream::connect(address).await.ok()?;
        let greeted = tokio::time::timeout(WAIT, socket.read_u8()).await.expect("in time");
        greeted.is_ok().then_some(socket)
    }

    #[tokio::test]
    async fn a_claimed_port_is_nobody_elses_and_refuses_clients_until_it_is_opened() {
        let mut listeners = Listeners::new("test", 1);
        let claimed = claim("127.0.0.1:0", "test.listen").await.expect("a free port");
        let address = claimed.socket.local_addr().expect("bound");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens yet");
        listeners.open(claimed, |_, _| async {}).expect("opened");
        assert!(TcpStream::connect(address).await.is_ok());
        let error = claim(&address.to_string(), "test.listen").await.err().expect("in use");
        assert!(error.to_string().contains("another process has it"), "{error}");
    }

    #[tokio::test]
    async fn beyond_the_limit_clients_are_refused_until_one_leaves() {
        let (_listeners, address) = greeting(1).await;
        let first = connect(address).await.expect("the first has a place");
        assert!(connect(address).await.is_none(), "the second has none");
        drop(first);
        let deadline = tokio::time::Instant::now() + WAIT;
        while connect(address).await.is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the place was not given back");
        }
    }

    #[tokio::test]
    async fn close_cuts_off_who_does_not_go() {
        let (listeners, address) = greeting(1).await;
        let mut client = connect(address).await.expect("greeted");
        listeners.close(Duration::from_millis(1)).await;
        let ended = tokio::time::timeout(WAIT, client.read_u8()).await.expect("in time");
        assert!(ended.is_err(), "the connection is closed");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_an_error_that_says_what_to_do() {
        let error = claim("host.invalid:1", "test.listen").await.err().expect("no such host");
        assert!(error.to_string().contains("check the host name"), "{error}");
        let error = claim("240.0.0.1:1", "test.listen").await.err().expect("not ours");
        assert!(error.to_string().contains("no interface of this machine"), "{error}");
    }
}
