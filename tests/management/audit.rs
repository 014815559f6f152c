//! The audit log.

use serde_json::{Value, json};

use crate::support::*;

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
