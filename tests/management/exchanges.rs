//! Exchanges.

use serde_json::json;

use crate::support::*;

#[test]
fn an_exchange_is_declared_once_and_is_there_after_a_restart() {
    let mut broker = TestBroker::start();
    let body = json!({
        "type": "topic", "durable": true, "arguments": {"alternate-exchange": "amq.fanout"},
    });
    broker.client().put("/api/exchanges/%2f/orders%2fnew", &body).expect(201);
    broker.client().put("/api/exchanges/%2f/orders%2fnew", &body).expect(204);
    broker.restart();
    let found = broker.client().get("/api/exchanges/%2f/orders%2fnew").expect(200);
    let expected = json!({
        "name": "orders/new", "vhost": "/", "type": "topic", "durable": true,
        "auto_delete": false, "internal": false,
        "arguments": {"alternate-exchange": "amq.fanout"},
        "policy": null, "operator_policy": null, "effective_policy_definition": {},
    });
    assert_eq!(found, expected);
}

/// As the clients of Python do.
#[test]
fn flags_may_be_texts_and_no_type_is_direct() {
    let broker = TestBroker::start();
    let body = json!({"durable": "true", "auto_delete": "false", "arguments": []});
    broker.client().put("/api/exchanges/%2f/x", &body).expect(201);
    let found = broker.client().get("/api/exchanges/%2f/x").expect(200);
    assert_eq!((&found["type"], &found["durable"]), (&json!("direct"), &json!(true)));
}

#[test]
fn lists_stand_by_vhost_and_name_and_can_be_filtered() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/vhosts/shop", &json!({})).expect(201);
    let all = client.get("/api/exchanges?columns=vhost,name").expect(200);
    let all = all.as_array().expect("a list");
    assert_eq!(all.first(), Some(&json!({"vhost": "/", "name": ""})));
    assert!(all.contains(&json!({"vhost": "shop", "name": "amq.topic"})), "{all:?}");
    let some = client.get("/api/exchanges/shop?name=^amq.[dt]&use_regex=true&page=1").expect(200);
    let names: Vec<_> = some["items"].as_array().expect("a page").iter().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    client.get("/api/exchanges/nowhere").expect_refused(404, "no vhost 'nowhere'");
}

#[test]
fn the_default_exchange_has_a_name_in_paths() {
    let broker = TestBroker::start();
    let found = broker.client().get("/api/exchanges/%2f/amq.default").expect(200);
    assert_eq!((&found["name"], &found["type"]), (&json!(""), &json!("direct")));
    broker.client().delete("/api/exchanges/%2f/amq.default").expect_refused(401, "not permitted");
    let declared = broker.client().put("/api/exchanges/%2f/amq.default", &json!({}));
    declared.expect_refused(401, "not permitted");
}

#[test]
fn an_exchange_in_use_is_deleted_only_if_that_is_meant() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/exchanges/%2f/x", &json!({})).expect(201);
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    client.post("/api/bindings/%2f/e/x/q/q", &json!({})).expect(201);
    let refused = client.delete("/api/exchanges/%2f/x?if-unused=true");
    refused.expect_refused(400, "exchange 'x' in vhost '/' in use");
    client.delete("/api/exchanges/%2f/x").expect(204);
    client.delete("/api/exchanges/%2f/x").expect_refused(404, "no exchange 'x' in vhost '/'");
    client.get("/api/exchanges/%2f/x").expect_refused(404, "no exchange 'x' in vhost '/'");
}

#[test]
fn what_cannot_be_declared_is_named_with_its_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/exchanges/%2f/x", &json!({"type": "fanout"})).expect(201);
    for (path, body, status, reason) in [
        ("%2f/x", json!({"type": "topic"}), 400, "received 'topic' but current is 'fanout'"),
        ("%2f/y", json!({"type": "sideways"}), 400, "sideways"),
        ("%2f/y", json!({"durable": 7}), 400, "true or false is needed, not 7"),
        ("%2f/y", json!({"arguments": 7}), 400, "an object is needed, not 7"),
        ("%2f/y", json!({"type": 7}), 400, "expected a string"),
        ("%2f/amq.mine", json!({}), 401, "reserved prefix 'amq.*'"),
        ("nowhere/y", json!({}), 404, "no vhost 'nowhere'"),
    ] {
        client.put(&format!("/api/exchanges/{path}"), &body).expect_refused(status, reason);
    }
    let long = format!("/api/exchanges/%2f/{}", "x".repeat(300));
    client.put(&long, &json!({})).expect_refused(400, "longer than 255 bytes");
    client.get(&long).expect_refused(400, "longer than 255 bytes");
    client.send("PUT", "/api/exchanges/%2f/y", b"{").expect_refused(400, "not the JSON");
    client.get("/api/exchanges/%2f/y").expect(404);
}

#[test]
fn permissions_of_the_vhost_hold() {
    let broker = TestBroker::start();
    let client = broker.client_with("carol", ["^mine", ".*", ".*"]);
    client.put("/api/exchanges/%2f/mine", &json!({})).expect(201);
    let refused = "configure access to exchange 'x' in vhost '/' refused for user 'carol'";
    client.put("/api/exchanges/%2f/x", &json!({})).expect_refused(401, refused);
    broker.client().put("/api/exchanges/%2f/x", &json!({})).expect(201);
    client.delete("/api/exchanges/%2f/x").expect_refused(401, refused);
    broker.client().put("/api/vhosts/shop", &json!({})).expect(201);
    client.get("/api/exchanges/shop").expect_refused(401, "has no permissions in vhost 'shop'");
    let seen = client.get("/api/exchanges?columns=vhost").expect(200);
    assert!(seen.as_array().expect("a list").iter().all(|seen| seen["vhost"] == "/"));
}
