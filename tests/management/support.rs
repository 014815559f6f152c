//! A client of the management API of the broker in this process.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::http::Request;

pub use crate::test_broker::TestBroker;

/// Longer than any answer takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

impl TestBroker {
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
