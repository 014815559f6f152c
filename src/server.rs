//! The daemon from start to stop, in order; owns everything that runs.
//!
//! ```text
//! start: claim all ports ▶ answer health checks ▶ open the store ▶ definitions ▶ let clients in
//! stop:  let nobody in, tell clients 320, wait ▶ close the store ▶ end the health checks
//! ```
//!
//! Ports come first because that they are taken shows at once; they are opened last, so that
//! nobody waits for a broker that is still reading its data. No globals: one process may hold
//! many servers.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::alert::{self, Alerts};
use crate::broker::alarm::tell_events;
use crate::broker::definitions::Document;
use crate::broker::{self, Broker, BrokerSettings};
use crate::config::{self, Config, ImportWhen, NOWHERE};
use crate::connection::{self, ConnectionSettings};
use crate::host;
use crate::http;
use crate::http::api::Api;
use crate::http::health::{Checked, Health, Listening};
use crate::http::metrics::measure_lag;
use crate::http::stats;
use crate::listener::{self, BindError, Claimed, Listeners};
use crate::store::{self, Opened, StoreSettings, StoreState};

/// How long AMQP clients may take to go when the broker stops; a connection needs 3 s at most.
const CLIENTS_WAIT: Duration = Duration::from_secs(8);

/// How long an HTTP request in progress may take when the broker stops.
const REQUESTS_WAIT: Duration = Duration::from_secs(1);

/// Most HTTP connections at a time: a few operators, probes and scrapers.
const HTTP_CONNECTIONS_MAX: usize = 1024;

/// Between two looks at the memory.
const MEMORY_LOOK: Duration = Duration::from_secs(1);

/// Why the daemon can't start.
#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Store(store::OpenError),
    Broker(broker::OpenError),
    /// The definitions file can't be read or has mistakes.
    Definitions(String),
    /// Opening the data directory ended without an answer.
    Ended(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Broker(error) => error.fmt(f),
            Self::Definitions(why) => f.write_str(why),
            Self::Ended(why) => write!(f, "opening the data directory failed: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

/// A daemon that serves.
pub struct Server {
    broker: Arc<Broker>,
    health: watch::Sender<Health>,
    amqp: Listeners,
    amqp_addresses: Vec<SocketAddr>,
    http: Listeners,
    http_address: SocketAddr,
    /// Where Prometheus asks, if anywhere.
    metrics: Option<(Listeners, SocketAddr)>,
    /// Ends with the server.
    _watcher: JoinSet<()>,
}

impl Server {
    /// Starts all of it; when it returns, clients are served.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let (directory, settings) = (config.store.data_dir.clone(), store_settings(config));
        Self::start_on(config, move || store::open(&directory, &settings)).await
    }

    /// The same on another store. `open` may block.
    pub async fn start_on(
        config: &Config,
        open: impl FnOnce() -> Result<Opened, store::OpenError> + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut claimed = Vec::new();
        for address in &config.amqp.listen {
            claimed.push(listener::claim(address, "amqp.listen").await?);
        }
        let health = watch::Sender::new(Health::Starting);
        let listening = watch::Sender::new(Vec::new());
        let checked = Checked {
            health: health.subscribe(),
            listening: listening.subscribe(),
            connections_max: config.amqp.connections_max,
            data_dir: config.store.data_dir.clone(),
            disk_free_limit_bytes: config.store.disk_free_limit_bytes,
            settings: serde_json::to_value(config).unwrap_or_default(),
        };
        let alerts = Alerts::new(&config.alert.rule);
        let api = Api::new(checked, alerts.clone());
        let (http, http_address) =
            open_http(&config.http.listen, "http.listen", http::router, &api).await?;
        let metrics = match &*config.metrics.listen {
            NOWHERE => None,
            address => {
                Some(open_http(address, "metrics.listen", http::metrics_router, &api).await?)
            }
        };
        let broker = open_broker(config, open).await?;
        import_definitions(config, &broker).await?;
        api.open(&broker);
        let mut watcher = watch_store(broker.store_state(), &health);
        watcher.spawn(tell_events(Arc::clone(&broker)));
        let data_dir = config.store.data_dir.clone();
        watcher.spawn(stats::run(api.stats().clone(), Arc::clone(&broker), data_dir));
        watch_memory(&broker, config, &mut watcher);
        watcher.spawn(measure_lag(Arc::clone(&broker)));
        watcher.spawn(alert::run(alerts, Arc::clone(&broker)));
        let (amqp, amqp_addresses) = open_amqp(claimed, config, &broker)?;
        let amqp_listening = amqp_addresses.iter().map(|address| ("amqp", *address));
        let metrics_listening = metrics.iter().map(|(_, address)| ("http/prometheus", *address));
        let all = amqp_listening.chain([("http", http_address)]).chain(metrics_listening);
        listening
            .send_replace(all.map(|(protocol, address)| Listening { protocol, address }).collect());
        health.send_if_modified(|health| {
            let is_starting = *health == Health::Starting;
            if is_starting {
                *health = Health::Serving;
            }
            is_starting
        });
        Ok(Self {
            broker,
            health,
            amqp,
            amqp_addresses,
            http,
            http_address,
            metrics,
            _watcher: watcher,
        })
    }

    /// The addresses that AMQP clients find, with the ports that were given for port 0.
    pub fn amqp_addresses(&self) -> &[SocketAddr] {
        &self.amqp_addresses
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where Prometheus asks, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
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
        self.amqp.close(CLIENTS_WAIT).await;
        let broker = Arc::clone(&self.broker);
        let close = move || {
            broker.store().close();
            broker.events.audit.flush();
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("closing the store failed; the next start recovers it");
        }
        self.http.close(REQUESTS_WAIT).await;
        if let Some((metrics, _)) = self.metrics {
            metrics.close(REQUESTS_WAIT).await;
        }
    }
}

/// The router is made for the first who asks: while nobody does, it takes no memory.
async fn open_http(
    address: &str,
    setting: &'static str,
    router: fn(Api) -> Router,
    api: &Api,
) -> Result<(Listeners, SocketAddr), StartError> {
    let claimed = listener::claim(address, setting).await?;
    let mut listeners = Listeners::new("http", HTTP_CONNECTIONS_MAX);
    let stop = listeners.stopping();
    let api = api.clone();
    let router = LazyLock::new(move || router(api));
    let serve = move |socket, peer| http::serve(socket, peer, Router::clone(&router), stop.clone());
    let address = listeners.open(claimed, serve)?;
    Ok((listeners, address))
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        segment_size_bytes: config.store.segment_size_bytes,
        in_flight_bytes_max: config.store.in_flight_bytes_max,
        disk_free_limit_bytes: config.store.disk_free_limit_bytes,
        audit_bytes_max: config.store.audit_bytes_max,
        ..StoreSettings::default()
    }
}

/// Opens the store and takes up what it holds, which blocks.
async fn open_broker(
    config: &Config,
    open: impl FnOnce() -> Result<Opened, store::OpenError> + Send + 'static,
) -> Result<Arc<Broker>, StartError> {
    let broker_settings = BrokerSettings {
        loopback_users: config.auth.loopback_users.clone(),
        queue_memory_bytes_max: config.store.queue_memory_bytes_max,
        message_size_max_bytes: config.amqp.message_size_max_bytes,
    };
    let opened = tokio::task::spawn_blocking(move || {
        let opened = open().map_err(StartError::Store)?;
        Broker::open(opened, broker_settings).map_err(StartError::Broker)
    });
    opened.await.unwrap_or_else(|error| Err(StartError::Ended(error.to_string())))
}

/// Takes up the definitions file of the settings. With mistakes in it the broker doesn't start: who
/// waits for what is in it must not meet a broker that lacks it.
async fn import_definitions(config: &Config, broker: &Arc<Broker>) -> Result<(), StartError> {
    let (settings, broker) = (config.definitions.clone(), Arc::clone(broker));
    let imported = tokio::task::spawn_blocking(move || import_file(&settings, &broker));
    let ended = |error: JoinError| Err(StartError::Ended(error.to_string()));
    imported.await.unwrap_or_else(ended)
}

fn import_file(settings: &config::Definitions, broker: &Broker) -> Result<(), StartError> {
    let refuse = |error: &dyn fmt::Display| StartError::Definitions(error.to_string());
    let Some(bytes) = settings.read().map_err(|error| refuse(&error))? else { return Ok(()) };
    let path = settings.file.display();
    let wrong = |error: &dyn fmt::Display| {
        refuse(&format!("the definitions file {path} is not taken up: {error}"))
    };
    let json = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
    let document = Document::read(json, None).map_err(|error| wrong(&error))?;
    let only_if_changed = settings.import == ImportWhen::IfChanged;
    match broker.import_file(&document, &bytes, only_if_changed).map_err(|error| wrong(&error))? {
        true => tracing::info!(file = %path, "took up the definitions file"),
        false => tracing::info!(file = %path, "the definitions file is the one of the last start"),
    }
    Ok(())
}

/// A store that fails makes the health check fail. The broker goes on: what isn't durable still
/// works, and whether to start again is the operator's choice.
fn watch_store(
    mut state: watch::Receiver<StoreState>,
    health: &watch::Sender<Health>,
) -> JoinSet<()> {
    let (health, mut watcher) = (health.clone(), JoinSet::new());
    watcher.spawn(async move {
        let failed = state.wait_for(|state| matches!(state, StoreState::Failed(_))).await;
        if let Ok(StoreState::Failed(why)) = failed.as_deref() {
            tracing::error!(%why, "the store failed: nothing durable is accepted until a restart");
            health.send_replace(Health::Failed(format!("the store failed: {why}")));
        }
    });
    watcher
}

/// Measures the process's memory once in a while, and once before clients come.
fn watch_memory(broker: &Arc<Broker>, config: &Config, watcher: &mut JoinSet<()>) {
    let limit_bytes = match memory_limit(config.memory.high_watermark) {
        Ok(0) => return,
        Ok(limit_bytes) => limit_bytes,
        Err(error) => {
            tracing::warn!(
                %error,
                "the machine's memory can't be found out, and so publishers are never held back for \
                 it: set memory.high_watermark to a number of bytes"
            );
            return;
        }
    };
    broker.memory.set_limit_bytes(limit_bytes);
    let broker = Arc::clone(broker);
    let measure = move || host::resident_bytes().map(|used| broker.memory.measured(used));
    if let Err(error) = measure() {
        tracing::warn!(
            %error,
            "the process's memory can't be found out: publishers are never held back for it"
        );
        return;
    }
    watcher.spawn(async move {
        loop {
            tokio::time::sleep(MEMORY_LOOK).await;
            // What could be read before can be read again.
            let _ = measure();
        }
    });
}

/// The limit in bytes that a watermark stands for.
fn memory_limit(watermark: f64) -> std::io::Result<u64> {
    if watermark <= 1.0 && watermark > 0.0 {
        return Ok((host::memory_bytes()? as f64 * watermark) as u64);
    }
    Ok(watermark as u64)
}

fn open_amqp(
    claimed: Vec<Claimed>,
    config: &Config,
    broker: &Arc<Broker>,
) -> Result<(Listeners, Vec<SocketAddr>), StartError> {
    let settings = Arc::new(connection_settings(config));
    let mut listeners = Listeners::new("amqp", config.amqp.connections_max);
    let mut addresses = Vec::new();
    for claimed in claimed {
        let (broker, settings) = (Arc::clone(broker), Arc::clone(&settings));
        let stop = listeners.stopping();
        let serve = move |socket, peer| {
            let (broker, settings) = (Arc::clone(&broker), Arc::clone(&settings));
            connection::serve(socket, peer, broker, settings, stop.clone())
        };
        addresses.push(listeners.open(claimed, serve)?);
    }
    Ok((listeners, addresses))
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
        consumer_timeout_ms: amqp.consumer_timeout_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    fn config(directory: &tempfile::TempDir) -> Config {
        let mut config = Config::default();
        config.store.data_dir = directory.path().to_owned();
        config.amqp.listen = vec!["127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
        config.http.listen = "127.0.0.1:0".to_owned();
        config.metrics.listen = "127.0.0.1:0".to_owned();
        config
    }

    #[tokio::test]
    async fn many_servers_live_in_one_process_each_with_its_own_directory() {
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let first = Server::start(&config(&directories[0])).await.expect("the first starts");
        let second = Server::start(&config(&directories[1])).await.expect("the second starts");
        assert_eq!(first.amqp_addresses().len(), 2);
        assert_ne!(first.amqp_addresses(), second.amqp_addresses());
        http::health::ask(&first.http_address().to_string()).await.expect("healthy");
        let same = Server::start(&config(&directories[0])).await.err().expect("it is in use");
        assert!(matches!(same, StartError::Store(_)), "{same}");
        first.stop().await;
        Server::start(&config(&directories[0])).await.expect("it is free again").stop().await;
        http::health::ask(&second.http_address().to_string()).await.expect("unharmed");
        second.stop().await;
    }

    #[tokio::test]
    async fn a_store_that_fails_fails_the_health_check() {
        let store = watch::Sender::new(StoreState::Open);
        let health = watch::Sender::new(Health::Serving);
        let _watcher = watch_store(store.subscribe(), &health);
        let mut told = health.subscribe();
        store.send_replace(StoreState::Failed("no space".into()));
        let failed = Health::Failed("the store failed: no space".to_owned());
        let failed = told.wait_for(|health| *health == failed);
        tokio::time::timeout(WAIT, failed).await.expect("in time").expect("the sender lives");
    }
}
