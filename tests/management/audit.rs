//! The audit log.

use serde_json::{Value, json};

use crate::support::*;
use crate::{replay, scheduled};

fn audit(broker: &TestBroker, query: &str) -> Value {
    broker.client().get(&format!("/api/audit?{query}")).expect(200)
}

fn kinds(audit: &Value) -> Vec<&str> {
    let items = audit["items"].as_array().expect("a list");
    items.iter().map(|item| item["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn changes_are_kept_with_who_made_them_and_how_it_was_before() {
    let mut broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/users/ann", &json!({"password": "secret", "tags": "monitoring"})).expect(201);
    let changed = json!({"password": "other", "tags": "administrator"});
    client.put("/api/users/ann", &changed).expect(204);
    let inside = broker.inside();
    inside.declare("q", &json!({"x-max-length": 3}));
    client.put("/api/queues/%2f/q/pause", &json!({})).expect(204);
    drop(inside);
    broker.restart();
    let all = audit(&broker, "kind=user");
    assert_eq!(kinds(&all)[..3], ["user.tags.set", "user.password.changed", "user.created"]);
    let tags = &all["items"][0];
    assert_eq!((&tags["user"], &tags["via"]), (&json!("guest"), &json!("http")));
    assert!(tags["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{tags}");
    assert_eq!(
        (&tags["before"], &tags["after"]),
        (&json!(["monitoring"]), &json!(["administrator"]))
    );
    assert!(!all.to_string().contains("secret") && !all.to_string().contains("hash"), "{all}");
    let queues = audit(&broker, "kind=queue&vhost=/&user=guest");
    assert_eq!(kinds(&queues), ["queue.paused", "queue.created"]);
    assert_eq!(queues["items"][1]["after"]["arguments"], json!({"x-max-length": 3}));
    assert_eq!(queues["items"][1]["via"], "amqp");
}

#[test]
fn refused_logins_are_kept_but_not_so_many_that_all_else_goes() {
    let broker = TestBroker::start();
    for _ in 0..30 {
        broker.client_as("guest", "wrong").get("/api/whoami").expect(401);
    }
    let refused = audit(&broker, "kind=user.authentication.failure");
    let count = refused["filtered_count"].as_u64().expect("a number");
    // Ten a minute, of two minutes at most.
    assert!((10..=20).contains(&count), "{count}");
    let first = &refused["items"][0];
    assert_eq!(first["object"]["name"], "guest");
    assert!(first["peer"].is_string() && first["user"].is_null(), "{first}");
}

#[test]
fn entries_come_in_pages_and_by_time() {
    let broker = TestBroker::start();
    for number in 0..5 {
        broker.client().put(&format!("/api/vhosts/v{number}"), &json!({})).expect(201);
    }
    let page = audit(&broker, "kind=vhost.created&page=2&page_size=2");
    let names: Vec<&Value> = page["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| &item["object"]["name"])
        .collect();
    assert_eq!(names, ["v2", "v1"]);
    assert_eq!(page["page_size"], 2);
    let time = page["items"][0]["time"].as_u64().expect("a time");
    let none = audit(&broker, &format!("until={}&since={time}", time - 1));
    assert_eq!((&none["items"], &none["filtered_count"]), (&json!([]), &json!(0)));
}

#[test]
fn what_cannot_be_asked_of_the_audit_log_is_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.get("/api/audit?page=0").expect_refused(400, "pages begin with 1");
    client.get("/api/audit?page_size=501").expect_refused(400, "1 to 500 entries");
    client.get("/api/audit?since=yesterday").expect_refused(400, "since");
    client.get("/api/audit?sinc=1").expect_refused(400, "unknown field");
    client.put("/api/users/ann", &json!({"password": "a", "tags": "monitoring"})).expect(201);
    broker.client_as("ann", "a").get("/api/audit").expect_refused(401, "the tag administrator");
    let silent = TestBroker::with(|config| config.store.audit_bytes_max = 0);
    silent.client().get("/api/audit").expect_refused(404, "store.audit_bytes_max is 0");
}

/// A change over HTTP, the kind of its entry, and what that says of before and after, in part.
type Change<'a> = (&'a str, &'a str, Value, &'a str, Value, Value);

/// Whether a value has everything that a part of it says.
fn has(value: &Value, part: &Value) -> bool {
    match part {
        Value::Object(part) => part.iter().all(|(name, part)| has(&value[name], part)),
        part => value == part,
    }
}

/// Makes each change, and looks at its entry.
#[track_caller]
fn check_all(broker: &TestBroker, changes: &[Change<'_>]) {
    for (method, path, body, kind, before, after) in changes {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = broker.client().send(method, path, body.as_bytes());
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        let entries = audit(broker, &format!("kind={kind}&page_size=1"));
        let entry = &entries["items"][0];
        assert_eq!((&entry["kind"], &entry["user"]), (&json!(kind), &json!("guest")), "{path}");
        assert_eq!(entry["via"], "http", "{entry}");
        assert!(entry["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")));
        let object = entry["object"].as_object().expect("an object");
        assert!(!object.is_empty(), "{entry}");
        assert!(has(&entry["before"], before) && has(&entry["after"], after), "{entry}");
        assert!(!entry["before"].is_null() || !entry["after"].is_null(), "{entry}");
    }
}

#[test]
fn changes_of_who_may_do_what_say_how_it_was_before_and_is_after() {
    let broker = TestBroker::start();
    let user = |tag: &str| json!({"name": "ann", "tags": [tag], "has_password": true});
    let permissions = |read: &str| json!({"configure": "", "write": "", "read": read});
    let topic = |read: &str| json!({"exchange": "amq.topic", "write": "", "read": read});
    let (ann, of_ann) = ("/api/users/ann", "/api/permissions/%2f/ann");
    let (topics, limit) = ("/api/topic-permissions/%2f/ann", "/api/user-limits/ann/max-channels");
    let body = |password: &str, tags: &str| json!({"password": password, "tags": tags});
    let none = || Value::Null;
    check_all(
        &broker,
        &[
            ("PUT", ann, body("pw-1", "management"), "user.created", none(), user("management")),
            (
                "PUT",
                ann,
                body("pw-2", "management"),
                "user.password.changed",
                user("management"),
                user("management"),
            ),
            (
                "PUT",
                ann,
                body("pw-2", "monitoring"),
                "user.tags.set",
                json!(["management"]),
                json!(["monitoring"]),
            ),
            ("PUT", of_ann, permissions("a"), "permission.created", none(), permissions("a")),
            (
                "PUT",
                of_ann,
                permissions("b"),
                "permission.created",
                permissions("a"),
                permissions("b"),
            ),
            ("DELETE", of_ann, none(), "permission.deleted", permissions("b"), none()),
            ("PUT", topics, topic("a"), "topic.permission.created", none(), topic("a")),
            ("PUT", topics, topic("b"), "topic.permission.created", topic("a"), topic("b")),
            ("DELETE", topics, none(), "topic.permission.deleted", topic("b"), none()),
            ("PUT", limit, json!({"value": 5}), "user.limits.set", none(), json!(5)),
            ("PUT", limit, json!({"value": 6}), "user.limits.set", json!(5), json!(6)),
            ("DELETE", limit, none(), "user.limits.cleared", json!(6), none()),
            ("DELETE", ann, none(), "user.deleted", user("monitoring"), none()),
        ],
    );
    let all = audit(&broker, "page_size=500").to_string();
    assert!(!all.contains("pw-1") && !all.contains("hash"), "{all}");
}

#[test]
fn changes_of_vhosts_policies_and_parameters_say_how_it_was_before_and_is_after() {
    let broker = TestBroker::start();
    let vhost = |text: &str| json!({"name": "v", "description": text, "tags": []});
    let policy = |most: u32| json!({"pattern": "^q", "definition": {"max-length": most}});
    let value = |number: u32| json!({"value": {"number": number}});
    let number = |number: u32| json!({"number": number});
    let limits = |most: u32| json!({"value": {"max-queues": most}});
    let (v, none) = ("/api/vhosts/v", || Value::Null);
    let mut changes: Vec<Change<'_>> = vec![
        ("PUT", v, json!({}), "vhost.created", none(), vhost("")),
        ("PUT", v, json!({"description": "d"}), "vhost.metadata.set", vhost(""), vhost("d")),
        ("PUT", v, json!({"tracing": true}), "vhost.tracing.set", json!(false), json!(true)),
    ];
    for path in ["/api/policies/v/p", "/api/operator-policies/v/p"] {
        changes.extend([
            ("PUT", path, policy(1), "policy.set", none(), policy(1)),
            ("PUT", path, policy(2), "policy.set", policy(1), policy(2)),
            ("DELETE", path, none(), "policy.cleared", policy(2), none()),
        ]);
    }
    for path in ["/api/parameters/shovel/v/s", "/api/global-parameters/s"] {
        changes.extend([
            ("PUT", path, value(1), "parameter.set", none(), number(1)),
            ("PUT", path, value(2), "parameter.set", number(1), number(2)),
            ("DELETE", path, none(), "parameter.cleared", number(2), none()),
        ]);
    }
    let limit = "/api/parameters/vhost-limits/v/limits";
    changes.extend([
        ("PUT", limit, limits(5), "vhost.limits.set", none(), json!(5)),
        ("PUT", limit, limits(6), "vhost.limits.set", json!(5), json!(6)),
        ("DELETE", limit, none(), "vhost.limits.cleared", json!(6), none()),
        ("DELETE", v, none(), "vhost.deleted", vhost("d"), none()),
    ]);
    check_all(&broker, &changes);
    let name = json!({"name": "harbour"});
    let named = ("PUT", "/api/cluster-name", name, "parameter.set", none(), json!("harbour"));
    check_all(&broker, &[named]);
}

#[test]
fn changes_of_what_is_in_a_vhost_say_how_it_was_before_and_is_after() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (x, q) = ("/api/exchanges/%2f/x", "/api/queues/%2f/q");
    let (bindings, binding) = ("/api/bindings/%2f/e/x/q/q", "/api/bindings/%2f/e/x/q/q/k");
    let [exchange, queue] = ["x", "q"].map(|name| json!({"name": name, "vhost": "/"}));
    let bound = json!({"source_name": "x", "destination_name": "q", "routing_key": "k"});
    let paused = |paused: bool| json!({"paused": paused});
    let ready = |count: u32| json!({"messages_ready": count});
    let (none, direct, key) =
        (|| Value::Null, json!({"type": "direct"}), json!({"routing_key": "k"}));
    check_all(
        &broker,
        &[
            ("PUT", x, direct, "exchange.created", none(), exchange.clone()),
            ("PUT", q, json!({}), "queue.created", none(), queue.clone()),
            ("POST", bindings, key, "binding.created", none(), bound.clone()),
            ("DELETE", binding, none(), "binding.deleted", bound, none()),
        ],
    );
    amqp.publish("", "q", "m");
    check_all(
        &broker,
        &[
            ("PUT", &format!("{q}/pause"), none(), "queue.paused", paused(false), paused(true)),
            ("PUT", &format!("{q}/resume"), none(), "queue.resumed", paused(true), paused(false)),
            ("DELETE", &format!("{q}/contents"), none(), "queue.purged", ready(1), ready(0)),
            ("DELETE", q, none(), "queue.deleted", queue, none()),
            ("DELETE", x, none(), "exchange.deleted", exchange, none()),
        ],
    );
    scheduled::schedule(&amqp);
    let waiting = broker.client().get(scheduled::PATH).expect(200);
    let path = format!("{}/{}", scheduled::PATH, waiting["items"][0]["id"].as_str().expect("it"));
    let waited = json!({"due_in_ms": waiting["items"][0]["due_at"], "routing_key": "q"});
    let cancelled = "exchange.scheduled.cancelled";
    check_all(&broker, &[("DELETE", &path, none(), cancelled, waited, none())]);
    broker.client().delete(q).expect(204);
    let (queue, dead) = replay::orders(&amqp);
    (0..20).for_each(|_| amqp.publish("orders", "order.new", "m"));
    (0..20).for_each(|_| amqp.reject(&queue));
    wait_until("all are dead", || dead.status().ready == 20);
    let (begun, slow) = (json!({"state": "running", "rate_limit": 1}), json!({"rate": 1}));
    let kinds = ["queue.replay.started", "queue.replay.cancelled"];
    check_all(
        &broker,
        &[
            ("POST", replay::PATH, slow, kinds[0], none(), begun.clone()),
            ("DELETE", replay::PATH, none(), kinds[1], begun, none()),
        ],
    );
}

#[test]
fn connections_that_are_closed_and_definitions_that_are_taken_up_are_kept_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("definitions.json");
    std::fs::write(&file, r#"{"vhosts": [{"name": "from-file"}]}"#).expect("written");
    let broker = TestBroker::with(|config| config.definitions.file = file);
    let first = audit(&broker, "kind=definitions.imported");
    assert_eq!(
        (&first["items"][0]["via"], &first["items"][0]["peer"]),
        (&json!("file"), &json!(null))
    );
    assert_eq!(first["items"][0]["after"]["vhosts"], 1);
    assert_eq!(audit(&broker, "kind=vhost.created")["items"][0]["via"], "file");
    let _peer = broker.channel();
    let connected = json!({"user": "guest", "vhost": "/", "protocol": "AMQP 0-9-1"});
    let connections = "/api/connections/username/guest";
    let document = json!({"vhosts": [{"name": "v"}], "queues": [{"name": "q", "vhost": "v"}]});
    let imported = json!({"vhosts": 1, "queues": 1, "users": 0});
    let none = || Value::Null;
    check_all(
        &broker,
        &[
            ("DELETE", connections, none(), "connection.close.requested", connected, none()),
            ("POST", "/api/definitions", document, "definitions.imported", none(), imported),
        ],
    );
    // Nothing is kept of a file that is not taken up.
    let wrong = json!({"queues": [{"name": "q", "vhost": "nowhere"}]});
    broker.client().post("/api/definitions", &wrong).expect(400);
    assert_eq!(audit(&broker, "kind=definitions.imported")["filtered_count"], 2);
}
