//! A broker in this process and a client of its management API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ferrymq::broker::Broker;
use ferrymq::config::Config;
use ferrymq::server::Server;
use ferrymq::store::StoreSettings;
use ferrymq::store::simulated::SimulatedDisk;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use ureq::http::Request;

pub use crate::amqp::Peer;

/// Longer than any answer takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A broker with a data directory of its own.
pub struct TestBroker {
    runtime: Runtime,
    server: Option<Server>,
    _directory: tempfile::TempDir,
    /// Instead of the directory.
    disk: Option<SimulatedDisk>,
    config: Config,
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
        config.store.data_dir = directory.path().to_owned();
        change(&mut config);
        let runtime = Runtime::new().expect("a runtime");
        Self { runtime, server: None, _directory: directory, disk: None, config }
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

    pub fn http_address(&self) -> SocketAddr {
        self.server().http_address()
    }

    pub fn amqp_address(&self) -> SocketAddr {
        self.server().amqp_addresses()[0]
    }

    /// Stops in order and starts again on the same directory.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// A client that is `guest`.
    pub fn client(&self) -> Client {
        self.client_as("guest", "guest")
    }

    pub fn client_as(&self, user: &str, password: &str) -> Client {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Client {
            base: format!("http://{}", self.http_address()),
            authorization: Some(authorization),
        }
    }

    /// A client that is a new user with the tag `management` and these permissions in `/`: what may
    /// be configured, written and read.
    pub fn client_with(&self, user: &str, [configure, write, read]: [&str; 3]) -> Client {
        let client = self.user_in("%2f", user, "management");
        let permissions = json!({"configure": configure, "write": write, "read": read});
        self.client().put(&format!("/api/permissions/%2f/{user}"), &permissions).expect(204);
        client
    }

    /// A client that speaks AMQP, with channel 1 open.
    pub fn channel(&self) -> Peer {
        let mut peer = Peer::connect(self.amqp_address());
        peer.open("guest");
        peer.open_channel(1);
        peer
    }

    /// A client that is a new user with such tags, and everything is permitted to it in a vhost
    /// (as it stands in a path).
    pub fn user_in(&self, vhost: &str, name: &str, tags: &str) -> Client {
        let body = json!({"password": "secret", "tags": tags});
        self.client().put(&format!("/api/users/{name}"), &body).expect(201);
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.client().put(&format!("/api/permissions/{vhost}/{name}"), &all).expect(201);
        self.client_as(name, "secret")
    }

    /// A client that doesn't say who it is.
    pub fn nobody(&self) -> Client {
        Client { base: format!("http://{}", self.http_address()), authorization: None }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends requests to one broker as one user.
pub struct Client {
    base: String,
    authorization: Option<String>,
}

/// What came back: the status, and the JSON or, where there is none, null.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Value,
}

impl Answer {
    /// The body of an answer that has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Refused with this status, with a reason that contains this.
    #[track_caller]
    pub fn expect_refused(self, status: u16, reason: &str) {
        let body = self.expect(status);
        let given = body["reason"].as_str().unwrap_or_default();
        assert!(given.contains(reason), "{body}");
    }
}

impl Client {
    /// A request with these bytes as its body.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.send_with(method, path, &[], body)
    }

    /// The same with headers.
    pub fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let answer = if body.is_empty() {
            agent.run(request.body(()).expect("a request"))
        } else {
            agent.run(request.body(body).expect("a request"))
        };
        let mut answer = answer.expect("an answer");
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let text = answer.body_mut().read_to_string().expect("text");
        Answer {
            status: answer.status().as_u16(),
            location,
            body: serde_json::from_str(&text).unwrap_or_default(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, b"")
    }
}

/// The names of the things in a list.
pub fn names(list: &Value) -> Vec<&str> {
    let things = list.as_array().expect("a list");
    things.iter().map(|thing| thing["name"].as_str().expect("a name")).collect()
}

/// Asks until the answer is what is waited for.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
