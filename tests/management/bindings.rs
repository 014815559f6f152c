//! Bindings.

use serde_json::{Value, json};

use crate::support::*;

/// A broker with a topic exchange, another exchange and a queue.
fn with_ends() -> (TestBroker, Client) {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/exchanges/%2f/x", &json!({"type": "topic", "durable": true})).expect(201);
    client.put("/api/exchanges/%2f/y", &json!({"type": "fanout", "durable": true})).expect(201);
    client.put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    (broker, client)
}

fn bind(client: &Client, kind: &str, destination: &str, body: &Value) -> String {
    let path = format!("/api/bindings/%2f/e/x/{kind}/{destination}");
    let bound = client.post(&path, body);
    let location = bound.location.clone();
    bound.expect(201);
    location.expect("the binding has a place")
}

#[test]
fn a_binding_is_made_found_by_its_key_and_taken_away() {
    let (mut broker, client) = with_ends();
    let location = bind(&client, "q", "q", &json!({"routing_key": "a/b ~c"}));
    assert_eq!(location, "q/a%252Fb%2520%257Ec");
    let same = bind(&client, "q", "q", &json!({"routing_key": "a/b ~c"}));
    assert_eq!(location, same);
    broker.restart();
    let client = broker.client();
    let path = format!("/api/bindings/%2f/e/x/q/{location}");
    let found = client.get(&path).expect(200);
    let expected = json!({
        "source": "x", "vhost": "/", "destination": "q", "destination_type": "queue",
        "routing_key": "a/b ~c", "arguments": {}, "properties_key": "a%2Fb%20%7Ec",
    });
    assert_eq!(found, expected);
    client.delete(&path).expect(204);
    client.get(&path).expect_refused(404, "no binding 'a%2Fb%20%7Ec' from exchange 'x'");
    client.delete(&path).expect_refused(404, "to queue 'q' in vhost '/'");
}

#[test]
fn bindings_that_differ_in_their_arguments_have_their_own_keys() {
    let (_broker, client) = with_ends();
    let keys = [json!({}), json!({"n": 1}), json!({"n": 2})].map(|arguments| {
        let body = json!({"routing_key": "k", "arguments": arguments});
        bind(&client, "q", "q", &body)
    });
    assert_eq!(keys[0], "q/k");
    client.delete(&format!("/api/bindings/%2f/e/x/q/{}", keys[1])).expect(204);
    let left = client.get("/api/bindings/%2f/e/x/q/q").expect(200);
    let left: Vec<_> = left.as_array().expect("a list").iter().map(|b| &b["arguments"]).collect();
    assert_eq!(left, [&json!({}), &json!({"n": 2})]);
}

#[test]
fn a_binding_without_a_key_is_called_by_a_sign() {
    let (_broker, client) = with_ends();
    assert_eq!(bind(&client, "e", "y", &json!({})), "y/~");
    let found = client.get("/api/bindings/%2f/e/x/e/y/~").expect(200);
    assert_eq!(found["destination_type"], "exchange");
    client.delete("/api/bindings/%2f/e/x/e/y/~").expect(204);
    assert_eq!(client.get("/api/bindings/%2f/e/x/e/y").expect(200), json!([]));
}

#[test]
fn bindings_are_listed_from_both_ends() {
    let (_broker, client) = with_ends();
    bind(&client, "q", "q", &json!({"routing_key": "k"}));
    bind(&client, "e", "y", &json!({"routing_key": "k"}));
    let ends = |path: &str| -> Vec<(Value, Value)> {
        let listed = client.get(path).expect(200);
        let listed = listed.as_array().expect("a list");
        let ends = |binding: &Value| (binding["source"].clone(), binding["destination"].clone());
        listed.iter().map(ends).collect()
    };
    let pair = |source: &str, destination: &str| (json!(source), json!(destination));
    let all = [pair("", "q"), pair("x", "y"), pair("x", "q")];
    assert_eq!(ends("/api/bindings"), all);
    assert_eq!(ends("/api/bindings/%2f"), all);
    assert_eq!(ends("/api/queues/%2f/q/bindings"), [pair("", "q"), pair("x", "q")]);
    assert_eq!(ends("/api/exchanges/%2f/x/bindings/source"), [pair("x", "y"), pair("x", "q")]);
    assert_eq!(ends("/api/exchanges/%2f/y/bindings/destination"), [pair("x", "y")]);
    let by_name = "/api/exchanges/%2f/amq.default/bindings/source";
    assert_eq!(ends(by_name), [pair("", "q")]);
    assert_eq!(ends("/api/bindings/%2f/e//q/q"), [pair("", "q")]);
    let found = client.get("/api/bindings/%2f/e/amq.default/q/q/q").expect(200);
    assert_eq!(found["routing_key"], "q");
    // What isn't there has none; clients look before they bind.
    for path in [
        "/api/queues/%2f/none/bindings",
        "/api/exchanges/%2f/none/bindings/source",
        "/api/exchanges/%2f/none/bindings/destination",
    ] {
        assert_eq!(client.get(path).expect(200), json!([]));
    }
    for path in [
        "/api/bindings/nowhere",
        "/api/bindings/nowhere/e/x/q/q",
        "/api/queues/nowhere/q/bindings",
        "/api/exchanges/nowhere/x/bindings/source",
    ] {
        client.get(path).expect_refused(404, "no vhost 'nowhere'");
    }
}

#[test]
fn what_cannot_be_bound_is_named_with_its_reason() {
    let (_broker, client) = with_ends();
    let long = "k".repeat(300);
    for (path, body, status, reason) in [
        ("%2f/e/none/q/q", json!({}), 404, "no exchange 'none'"),
        ("%2f/e/x/q/none", json!({}), 404, "no queue 'none'"),
        ("%2f/e/x/z/q", json!({}), 400, "not to 'z'"),
        ("%2f/e/amq.default/q/q", json!({}), 401, "the default exchange"),
        ("%2f/e/x/q/q", json!({"routing_key": long}), 400, "longer than 255 bytes"),
        ("%2f/e/x/q/q", json!({"routing_key": 1}), 400, "expected a string"),
        ("%2f/e/x/q/q", json!({"arguments": "n=1"}), 400, "an object is needed"),
        ("nowhere/e/x/q/q", json!({}), 404, "no vhost 'nowhere'"),
    ] {
        client.post(&format!("/api/bindings/{path}"), &body).expect_refused(status, reason);
    }
    client.get("/api/bindings/%2f/e/x/z/q").expect_refused(400, "not to 'z'");
    let refused = client.delete("/api/bindings/%2f/e/amq.default/q/q/q");
    refused.expect_refused(401, "the default exchange");
}

#[test]
fn permissions_of_the_vhost_hold() {
    let (broker, client) = with_ends();
    let carol = broker.client_with("carol", [".*", "^q$", "^mine"]);
    let refused = "read access to exchange 'x' in vhost '/' refused for user 'carol'";
    carol.post("/api/bindings/%2f/e/x/q/q", &json!({})).expect_refused(401, refused);
    bind(&client, "q", "q", &json!({}));
    carol.delete("/api/bindings/%2f/e/x/q/q/~").expect_refused(401, refused);
    assert_eq!(carol.get("/api/bindings/%2f/e/x/q/q/~").expect(200)["destination"], "q");
}
