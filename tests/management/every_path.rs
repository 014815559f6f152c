//! Every path of the API's own description: who is refused at it, and what wrong input is told.
//!
//! The description is walked over, so that a path that is added is tested from the start: whoever
//! opens one to users without permissions says so here.

use serde_json::{Value, json};

use crate::support::*;

/// One method at one path of the description.
struct Operation {
    method: String,
    /// With names in braces.
    path: String,
}

impl Operation {
    /// As it stands in the tables below.
    fn named(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with what `name` answers for each name in it.
    fn at(&self, name: impl Fn(&str) -> String) -> String {
        let part = |part: &str| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(parameter) => name(parameter),
            None => part.to_owned(),
        };
        self.path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    fn has(&self, parameter: &str) -> bool {
        self.path.contains(&format!("{{{parameter}}}"))
    }

    fn has_body(&self) -> bool {
        self.method == "PUT" || self.method == "POST"
    }

    fn send(&self, client: &Client, path: &str, body: &[u8]) -> Answer {
        client.send(&self.method, path, if self.has_body() { body } else { b"" })
    }
}

fn operations(broker: &TestBroker) -> Vec<Operation> {
    let description = broker.client().get("/api/openapi.json").expect(200);
    let paths = description["paths"].as_object().expect("paths").iter();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").keys();
        let operation =
            |method: &String| Operation { method: method.to_uppercase(), path: path.clone() };
        methods.map(operation).collect::<Vec<_>>()
    };
    let found: Vec<Operation> = paths.flat_map(of_path).collect();
    assert!(found.len() >= 150, "the description has {} operations", found.len());
    found
}

/// An administrator that no path names.
fn root(broker: &TestBroker) -> Client {
    broker.client().put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    broker.user_in("%2f", "root", "administrator")
}

/// Something that is there, as far as there is such a thing from the start.
fn there(parameter: &str) -> String {
    let name = match parameter {
        "vhost" => "%2f",
        "node" => "ferrymq@localhost",
        "user" => "guest",
        "queue" => "q",
        "exchange" | "source" => "amq.topic",
        "destination" => "amq.fanout",
        "port" => "5672",
        "within" => "1",
        "unit" => "days",
        "protocols" => "amqp",
        other => other,
    };
    name.to_owned()
}

/// What every operation needs, and more: what means nothing is passed over.
fn enough(operation: &Operation) -> Vec<u8> {
    if operation.path.ends_with("/replay") {
        // It wants to understand all that it is told.
        return b"{}".to_vec();
    }
    let body = json!({
        "password": "p", "tags": "administrator", "users": ["guest"], "name": "n", "value": 1,
        "configure": ".*", "write": ".*", "read": ".*", "exchange": "amq.topic",
        "pattern": ".*", "definition": {"max-length": 1}, "apply-to": "all", "priority": 1,
        "count": 1, "ackmode": "ack_requeue_false", "encoding": "auto", "action": "sync",
        "routing_key": "q", "properties": {}, "payload": "x", "payload_encoding": "string",
        "arguments": {}, "durable": true,
    });
    body.to_string().into_bytes()
}

/// Where nobody is asked who they are: probes have no name and password.
const OPEN: [&str; 14] = [
    "GET /api/auth",
    "GET /api/health/checks/alarms",
    "GET /api/health/checks/below-node-connection-limit",
    "GET /api/health/checks/certificate-expiration/{within}/{unit}",
    "GET /api/health/checks/is-in-service",
    "GET /api/health/checks/local-alarms",
    "GET /api/health/checks/metadata-store/initialized",
    "GET /api/health/checks/metadata-store/initialized/with-data",
    "GET /api/health/checks/node-is-mirror-sync-critical",
    "GET /api/health/checks/node-is-quorum-critical",
    "GET /api/health/checks/port-listener/{port}",
    "GET /api/health/checks/protocol-listener/{protocols}",
    "GET /api/health/checks/reached-target-cluster-size",
    "GET /api/health/checks/ready-to-serve-clients",
];

/// What a user with the tag `management` may ask that has permissions nowhere: of itself, of the
/// broker as such, and lists, which are empty for it.
const FOR_ANY_TAG: [&str; 27] = [
    "GET /api/auth/hash_password/{password}",
    "GET /api/bindings",
    "GET /api/channels",
    "GET /api/cluster-name",
    "GET /api/connections",
    "GET /api/connections/username/{user}",
    "GET /api/consumers",
    "GET /api/deprecated-features",
    "GET /api/deprecated-features/used",
    "GET /api/exchanges",
    "GET /api/extensions",
    "GET /api/feature-flags",
    "GET /api/health/checks/quorum-queues-without-elected-leaders/all-vhosts",
    "GET /api/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}",
    "GET /api/health/checks/virtual-hosts",
    "GET /api/healthchecks/node",
    "GET /api/healthchecks/node/{node}",
    "GET /api/operator-policies",
    "GET /api/overview",
    "GET /api/policies",
    "GET /api/queues",
    "GET /api/queues/detailed",
    "GET /api/version",
    "GET /api/vhost-limits",
    "GET /api/vhosts",
    "GET /api/whoami",
    "PUT /api/auth/hash_password",
];

/// The operations that answer this client anything but a refusal.
fn not_refused(broker: &TestBroker, client: &Client) -> Vec<String> {
    let mut passed = Vec::new();
    for operation in operations(broker) {
        let answer = operation.send(client, &operation.at(there), &enough(&operation));
        match answer.status {
            401 | 404 => {}
            // A check that fails is an answer, too.
            200..300 | 503 => passed.push(operation.named()),
            status => panic!("{}: {status}, {}", operation.named(), answer.body),
        }
    }
    passed.sort();
    passed
}

#[test]
fn nobody_passes_but_where_nobody_is_asked() {
    let broker = TestBroker::start();
    assert_eq!(not_refused(&broker, &broker.nobody()), OPEN);
    let body = json!({"password": "secret", "tags": ""});
    broker.client().put("/api/users/bob", &body).expect(201);
    assert_eq!(not_refused(&broker, &broker.client_as("bob", "secret")), OPEN);
}

#[test]
fn who_has_no_permissions_sees_and_changes_nothing() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    let body = json!({"password": "secret", "tags": "management"});
    client.put("/api/users/eve", &body).expect(201);
    let before = client.get("/api/definitions").expect(200);
    let passed = not_refused(&broker, &broker.client_as("eve", "secret"));
    let more: Vec<&String> =
        passed.iter().filter(|named| !OPEN.contains(&named.as_str())).collect();
    assert_eq!(more, FOR_ANY_TAG);
    for list in ["bindings", "channels", "consumers", "exchanges", "policies", "queues", "vhosts"] {
        let listed = broker.client_as("eve", "secret").get(&format!("/api/{list}")).expect(200);
        assert_eq!(listed, json!([]), "{list}");
    }
    assert_eq!(client.get("/api/definitions").expect(200), before);
}

/// The status and a sentence, whatever it is.
#[track_caller]
fn is_refused(answer: &Answer, operation: &Operation, statuses: &[u16]) {
    let named = operation.named();
    assert!(statuses.contains(&answer.status), "{named}: {} {}", answer.status, answer.body);
    let reason = answer.body["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(' '), "{named}: no sentence in {}", answer.body);
}

#[test]
fn a_vhost_that_is_not_there_is_named() {
    let broker = TestBroker::start();
    let root = root(&broker);
    for operation in operations(&broker).iter().filter(|operation| operation.has("vhost")) {
        if ["PUT /api/vhosts/{vhost}"].contains(&operation.named().as_str()) {
            continue;
        }
        let nowhere = operation.at(|name| match name {
            "vhost" => "nowhere".to_owned(),
            other => there(other),
        });
        let answer = operation.send(&root, &nowhere, &enough(operation));
        is_refused(&answer, operation, &[400, 404]);
        let reason = answer.body["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("'nowhere'"), "{}: {reason}", operation.named());
    }
}

#[test]
fn a_body_that_is_no_json_or_another_thing_is_refused() {
    let broker = TestBroker::start();
    let root = root(&broker);
    let description = broker.client().get("/api/openapi.json").expect(200);
    for operation in operations(&broker) {
        let method = operation.method.to_lowercase();
        if description["paths"][&operation.path][&method].get("requestBody").is_none() {
            continue;
        }
        for body in [&b"{"[..], b"7", b"\"text\"", b"{\"name\": \"\xff\"}"] {
            let answer = operation.send(&root, &operation.at(there), body);
            is_refused(&answer, &operation, &[400, 404]);
        }
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_and_never_an_error_of_the_broker() {
    let broker = TestBroker::start();
    let (root, long) = (root(&broker), "x".repeat(300));
    for parameter in ["vhost", "queue", "exchange", "user", "name", "node", "channel"] {
        for operation in operations(&broker).iter().filter(|operation| operation.has(parameter)) {
            let path = operation.at(|name| match name == parameter {
                true => long.clone(),
                false => there(name),
            });
            let answer = operation.send(&root, &path, &enough(operation));
            if answer.status >= 300 {
                is_refused(&answer, operation, &[400, 401, 404, 405]);
            }
        }
    }
    let definitions = root.get("/api/definitions").expect(200);
    assert!(!definitions.to_string().contains(&long), "there is something of that name");
}

#[test]
fn a_body_of_100_mb_is_refused_with_its_limit() {
    let broker = TestBroker::start();
    let body = vec![b' '; 100_000_000];
    for path in ["/api/definitions", "/api/queues/%2f/q", "/api/users/ann"] {
        broker.client().send("PUT", path, &body).expect_refused(413, "longer than 33554432 bytes");
    }
}
