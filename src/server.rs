//! The daemon from start to stop, in order.
//!
//! Start: listen (nobody is accepted yet), open the store, take up the broker, accept.
//! Stop: accept nobody, tell clients 320, wait for them, close the store.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::broker::{self, Broker, BrokerSettings};
use crate::config::Config;
use crate::connection::{self, ConnectionSettings};
use crate::http::{self, health::Health};
use crate::listener::{self, BindError};
use crate::store::{self, StoreSettings, StoreState};

/// How long clients may take to go when the broker stops.
const GOODBYE_WAIT: Duration = Duration::from_secs(8);

/// Why the daemon can't start.
#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Store(store::OpenError),
    Broker(broker::OpenError),
    Ended(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Broker(error) => error.fmt(f),
            Self::Ended(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// A daemon that serves.
pub struct Server {
    broker: Arc<Broker>,
    amqp_addresses: Vec<SocketAddr>,
    http_address: SocketAddr,
    stop: watch::Sender<bool>,
    health: watch::Sender<Health>,
    connections: TaskTracker,
    services: TaskTracker,
}

impl Server {
    /// Starts all of it; when it returns, clients are served.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let mut amqp = Vec::new();
        for address in &config.amqp.listen {
            let bound = listener::bind(address, "amqp.listen, --amqp-listen").await;
            amqp.push(bound.map_err(StartError::Bind)?);
        }
        let http = listener::bind(&config.http.listen, "http.listen, --http-listen").await;
        let http = http.map_err(StartError::Bind)?;
        let broker = open_broker(config).await?;
        let mut server = Self {
            broker,
            amqp_addresses: Vec::new(),
            http_address: local_address(&http)?,
            stop: watch::Sender::new(false),
            health: watch::Sender::new(Health::Starting),
            connections: TaskTracker::new(),
            services: TaskTracker::new(),
        };
        let served = http::serve(http, server.health.subscribe(), server.stop.subscribe());
        server.services.spawn(served);
        server.watch_store();
        let settings = Arc::new(connection_settings(config));
        let permits = Arc::new(Semaphore::new(config.amqp.connections_max));
        for listener in amqp {
            server.amqp_addresses.push(local_address(&listener)?);
            server.accept(listener, Arc::clone(&settings), Arc::clone(&permits));
        }
        server.health.send_replace(Health::Serving);
        Ok(server)
    }

    /// The addresses that AMQP clients find, with the ports that were given for port 0.
    pub fn amqp_addresses(&self) -> &[SocketAddr] {
        &self.amqp_addresses
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Serves until `signal` comes, then stops in order.
    pub async fn run_until(self, signal: impl Future<Output = ()>) {
        signal.await;
        self.stop().await;
    }

    /// Stops in order; when it returns, everything is on disk.
    pub async fn stop(self) {
        self.health.send_replace(Health::Stopping);
        self.stop.send_replace(true);
        self.connections.close();
        if tokio::time::timeout(GOODBYE_WAIT, self.connections.wait()).await.is_err() {
            tracing::warn!(left = self.connections.len(), "some clients did not go in time");
        }
        self.services.close();
        let store = Arc::clone(self.broker.store());
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("closing the store failed");
        }
        tracing::info!("stopped");
    }

    fn accept(
        &self,
        listener: TcpListener,
        settings: Arc<ConnectionSettings>,
        permits: Arc<Semaphore>,
    ) {
        let (broker, connections) = (Arc::clone(&self.broker), self.connections.clone());
        let stop = self.stop.subscribe();
        let serve = {
            let stop = stop.clone();
            move |socket, peer, permit| {
                let (broker, settings) = (Arc::clone(&broker), Arc::clone(&settings));
                let stop = stop.clone();
                connections.spawn(async move {
                    connection::serve(socket, peer, broker, settings, stop).await;
                    drop(permit);
                });
            }
        };
        self.services.spawn(listener::accept(listener, permits, stop, serve));
    }

    /// A store that fails makes the health check fail.
    fn watch_store(&self) {
        let (mut state, health) = (self.broker.store_state(), self.health.clone());
        self.services.spawn(async move {
            let failed = state.wait_for(|state| matches!(state, StoreState::Failed(_))).await;
            if let Ok(StoreState::Failed(why)) = failed.as_deref() {
                health.send_replace(Health::Failed(why.to_string()));
            }
        });
    }
}

/// Opens the data directory and takes up what it holds, which blocks.
async fn open_broker(config: &Config) -> Result<Arc<Broker>, StartError> {
    let directory = config.store.data_dir.clone();
    let settings = StoreSettings {
        segment_size_bytes: config.store.segment_size_bytes,
        in_flight_bytes_max: config.store.in_flight_bytes_max,
    };
    let broker_settings = BrokerSettings { loopback_users: config.auth.loopback_users.clone() };
    let opened = tokio::task::spawn_blocking(move || {
        let opened = store::open(&directory, &settings).map_err(StartError::Store)?;
        Broker::open(opened, broker_settings).map_err(StartError::Broker)
    });
    opened.await.unwrap_or_else(|error| Err(StartError::Ended(error.to_string())))
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Ended(error.to_string()))
}

fn connection_settings(config: &Config) -> ConnectionSettings {
    let amqp = &config.amqp;
    ConnectionSettings {
        frame_max_bytes: amqp.frame_max_bytes,
        channel_max: amqp.channel_max,
        heartbeat_seconds: amqp.heartbeat_seconds,
        handshake_timeout_seconds: amqp.handshake_timeout_seconds,
        message_size_max_bytes: amqp.message_size_max_bytes,
        consumers_per_channel_max: amqp.consumers_per_channel_max,
    }
}
