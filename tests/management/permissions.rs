//! What users may do in vhosts, and which routing keys they may use.

use serde_json::{Value, json};

use crate::support::*;

const ANN: &str = "/api/permissions/%2f/ann";
const TOPICS: &str = "/api/topic-permissions/%2f/ann";

fn with_ann() -> TestBroker {
    let broker = TestBroker::start();
    broker.client().put("/api/users/ann", &json!({"password": "s", "tags": ""})).expect(201);
    broker
}

fn all() -> Value {
    json!({"configure": "^a", "write": ".*", "read": ""})
}

#[test]
fn permissions_are_set_changed_shown_and_taken_away() {
    let mut broker = with_ann();
    broker.client().put(ANN, &all()).expect(201);
    let body = json!({"configure": "^$", "write": ".*", "read": "", "user": "x", "vhost": "y"});
    broker.client().put(ANN, &body).expect(204);
    broker.restart();
    let client = broker.client();
    let ann = json!({"user": "ann", "vhost": "/", "configure": "^$", "write": ".*", "read": ""});
    assert_eq!(client.get(ANN).expect(200), ann);
    let guest =
        json!({"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"});
    assert_eq!(client.get("/api/permissions").expect(200), json!([ann, guest]));
    assert_eq!(client.get("/api/vhosts/%2f/permissions").expect(200), json!([ann, guest]));
    assert_eq!(client.get("/api/users/ann/permissions").expect(200), json!([ann]));
    client.delete(ANN).expect(204);
    client.delete(ANN).expect_refused(404, "user 'ann' has no permissions in vhost '/'");
    client.get(ANN).expect(404);
    assert_eq!(client.get("/api/users/ann/permissions").expect(200), json!([]));
}

#[test]
fn permissions_that_cannot_be_are_refused_with_the_reason() {
    let broker = with_ann();
    let client = broker.client();
    client.put("/api/permissions/%2f/bob", &all()).expect_refused(400, "no user 'bob'");
    client.put("/api/permissions/no/ann", &all()).expect_refused(400, "no vhost 'no'");
    let body = json!({"configure": "(", "write": "", "read": ""});
    client.put(ANN, &body).expect_refused(400, "not a regular expression");
    let huge = json!({"configure": "(a{1000}){1000}", "write": "", "read": ""});
    client.put(ANN, &huge).expect_refused(400, "not a regular expression");
    client.put(ANN, &json!({"configure": ""})).expect_refused(400, "missing field `write`");
    let body = json!({"configure": 1, "write": "", "read": ""});
    client.put(ANN, &body).expect_refused(400, "expected a string");
    client.get("/api/users/bob/permissions").expect_refused(404, "no user 'bob'");
    client.get("/api/vhosts/no/permissions").expect_refused(404, "no vhost 'no'");
    client.get(ANN).expect(404);
}

#[test]
fn topic_permissions_are_set_changed_shown_and_taken_away() {
    let mut broker = with_ann();
    let body = |exchange: &str| json!({"exchange": exchange, "write": "^a", "read": ".*"});
    broker.client().put(TOPICS, &body("amq.topic")).expect(201);
    broker.client().put(TOPICS, &body("amq.topic")).expect(204);
    broker.client().put(TOPICS, &body("news")).expect(201);
    broker.restart();
    let client = broker.client();
    let shown = |exchange: &str| json!({"user": "ann", "vhost": "/", "exchange": exchange, "write": "^a", "read": ".*"});
    let both = json!([shown("amq.topic"), shown("news")]);
    for path in [
        TOPICS,
        "/api/topic-permissions",
        "/api/vhosts/%2f/topic-permissions",
        "/api/users/ann/topic-permissions",
    ] {
        assert_eq!(client.get(path).expect(200), both, "{path}");
    }
    client.delete(&format!("{TOPICS}/news")).expect(204);
    client.delete(&format!("{TOPICS}/news")).expect(404);
    assert_eq!(client.get(TOPICS).expect(200), json!([shown("amq.topic")]));
    client.delete(TOPICS).expect(204);
    client.delete(TOPICS).expect_refused(404, "no such topic permissions");
    client.get(TOPICS).expect(404);
}

#[test]
fn topic_permissions_that_cannot_be_are_refused_with_the_reason() {
    let broker = with_ann();
    let client = broker.client();
    let body = |write: &str| json!({"exchange": "amq.topic", "write": write, "read": ""});
    client.put("/api/topic-permissions/%2f/bob", &body("")).expect_refused(400, "no user 'bob'");
    client.put("/api/topic-permissions/no/ann", &body("")).expect_refused(400, "no vhost 'no'");
    client.put(TOPICS, &body("(")).expect_refused(400, "not a regular expression");
    client.put(TOPICS, &json!({"write": ""})).expect_refused(400, "missing field `exchange`");
    let long = json!({"exchange": "x".repeat(300), "write": "", "read": ""});
    client.put(TOPICS, &long).expect_refused(400, "longer than 255 bytes");
    client.get("/api/users/bob/topic-permissions").expect_refused(404, "no user 'bob'");
    client.get("/api/vhosts/no/topic-permissions").expect_refused(404, "no vhost 'no'");
    client.put("/api/users/bob", &json!({"password": "s", "tags": "monitoring"})).expect(201);
    broker.client_as("bob", "s").get(TOPICS).expect_refused(401, "needs the tag administrator");
}
