//! A broker in this process, with a data directory of its own: started, stopped and started again.
//!
//! What a test does with it stands beside the tests: clients of AMQP in `dialogue/support.rs`, of
//! the management API in `management/support.rs`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ferrymq::broker::Broker;
use ferrymq::config::Config;
use ferrymq::server::Server;
use ferrymq::store::StoreSettings;
use ferrymq::store::simulated::SimulatedDisk;
use tokio::runtime::Runtime;

/// Stops when it is dropped.
pub struct TestBroker {
    runtime: Runtime,
    server: Option<Server>,
    directory: tempfile::TempDir,
    /// Instead of the directory.
    disk: Option<SimulatedDisk>,
    pub config: Config,
}

impl TestBroker {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut broker = Self::before_start(change);
        broker.start_again();
        broker
    }

    /// A broker on a simulated disk.
    pub fn on(disk: &SimulatedDisk) -> Self {
        let mut broker = Self::before_start(|_| {});
        broker.disk = Some(disk.clone());
        broker.start_again();
        broker
    }

    /// Why a broker with such settings doesn't start.
    pub fn refused(change: impl FnOnce(&mut Config)) -> String {
        let broker = Self::before_start(change);
        let started = broker.runtime.block_on(Server::start(&broker.config));
        started.err().expect("it doesn't start").to_string()
    }

    fn before_start(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.amqp.listen = vec!["127.0.0.1:0".to_owned()];
        config.http.listen = "127.0.0.1:0".to_owned();
        config.metrics.listen = "127.0.0.1:0".to_owned();
        config.store.data_dir = directory.path().to_owned();
        change(&mut config);
        let runtime = Runtime::new().expect("a runtime");
        Self { runtime, server: None, directory, disk: None, config }
    }

    fn start_again(&mut self) {
        let server = match self.disk.clone() {
            None => self.runtime.block_on(Server::start(&self.config)),
            Some(disk) => {
                let open = move || disk.open_store(&StoreSettings::default());
                self.runtime.block_on(Server::start_on(&self.config, open))
            }
        };
        self.server = Some(server.expect("it starts"));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub fn broker(&self) -> &Arc<Broker> {
        self.server().broker()
    }

    pub fn amqp_address(&self) -> SocketAddr {
        self.server().amqp_addresses()[0]
    }

    pub fn http_address(&self) -> SocketAddr {
        self.server().http_address()
    }

    pub fn metrics_address(&self) -> SocketAddr {
        self.server().metrics_address().expect("it is listened on")
    }

    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Stops in order.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// Stops in order and starts again on the same directory.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}
