//! Parameters of vhosts and of the whole broker.

use serde_json::json;

use crate::support::*;

const SHOVEL: &str = "/api/parameters/shovel/%2f/s";

#[test]
fn parameters_are_set_changed_shown_and_cleared() {
    let mut broker = TestBroker::start();
    broker.client().put(SHOVEL, &json!({"value": {"a": 1}})).expect(201);
    broker.client().put(SHOVEL, &json!({"value": {"a": 2}, "name": "s"})).expect(204);
    broker.restart();
    let client = broker.client();
    let shown = json!({"vhost": "/", "component": "shovel", "name": "s", "value": {"a": 2}});
    assert_eq!(client.get(SHOVEL).expect(200), shown);
    for path in ["/api/parameters", "/api/parameters/shovel", "/api/parameters/shovel/%2f"] {
        assert_eq!(client.get(path).expect(200), json!([shown]), "{path}");
    }
    let other = client.get("/api/parameters/federation-upstream").expect(200);
    assert_eq!(other, json!([]));
    client.delete(SHOVEL).expect(204);
    client.delete(SHOVEL).expect_refused(404, "no parameter 's' of component 'shovel'");
    client.get(SHOVEL).expect(404);
    assert_eq!(client.get("/api/parameters").expect(200), json!([]));
}

#[test]
fn the_limits_of_a_vhost_are_a_parameter_too() {
    let broker = TestBroker::start();
    let client = broker.client();
    let path = "/api/parameters/vhost-limits/%2f/limits";
    client.put(path, &json!({"value": {"max-connections": 9, "max-queues": 3}})).expect(201);
    client.put(path, &json!({"value": {"max-connections": 9}})).expect(204);
    assert_eq!(client.get(path).expect(200)["value"], json!({"max-connections": 9}));
    let limits = json!([{"vhost": "/", "value": {"max-connections": 9}}]);
    assert_eq!(client.get("/api/vhost-limits").expect(200), limits);
    let refused = client.put(path, &json!({"value": {"max-queues": 1, "max-exchanges": 1}}));
    refused.expect_refused(400, "there is no limit 'max-exchanges'");
    client.put(path, &json!({"value": {"max-queues": 1.5}})).expect_refused(400, "whole number");
    client.put(path, &json!({"value": 1})).expect_refused(400, "an object");
    assert_eq!(client.get("/api/vhost-limits").expect(200), limits);
    client.delete(path).expect(204);
    client.delete(path).expect(404);
    assert_eq!(client.get("/api/vhost-limits").expect(200), json!([]));
}

#[test]
fn parameters_that_cannot_be_are_refused_with_the_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    let body = json!({"value": {}});
    client.put("/api/parameters/no/%2f/s", &body).expect_refused(400, "no component 'no'");
    client.put("/api/parameters/policy/%2f/s", &body).expect_refused(400, "set as such");
    client.put("/api/parameters/shovel/no/s", &body).expect_refused(404, "no vhost 'no'");
    client.get("/api/parameters/shovel/no").expect_refused(404, "no vhost 'no'");
    client.put(SHOVEL, &json!({})).expect_refused(400, "missing field `value`");
    client.put(SHOVEL, &json!({"value": 1})).expect_refused(400, "must be an object");
    let long = format!("/api/parameters/shovel/%2f/{}", "s".repeat(300));
    client.put(&long, &body).expect_refused(400, "1 to 255 bytes");
    let huge = json!({"value": {"a": "a".repeat(70_000)}});
    client.put(SHOVEL, &huge).expect_refused(400, "longer than 65536 bytes");
    client.put("/api/vhosts/v", &json!({})).expect(201);
    let maker = broker.user_in("v", "maker", "policymaker");
    maker.put("/api/parameters/shovel/v/s", &body).expect(201);
    maker.put(SHOVEL, &body).expect_refused(401, "no permissions in vhost '/'");
    let seen = maker.get("/api/parameters").expect(200);
    assert_eq!(names(&seen), ["s"]);
    let reader = broker.user_in("v", "reader", "management");
    reader.get("/api/parameters").expect_refused(401, "needs the tag policymaker");
}

#[test]
fn parameters_of_the_broker_are_set_changed_shown_and_cleared() {
    let mut broker = TestBroker::start();
    let path = "/api/global-parameters/tags";
    broker.client().put(path, &json!({"value": {"region": "north"}})).expect(201);
    broker.client().put(path, &json!({"value": ["any", 1]})).expect(204);
    broker.restart();
    let client = broker.client();
    let shown = json!({"name": "tags", "value": ["any", 1]});
    assert_eq!(client.get(path).expect(200), shown);
    assert_eq!(client.get("/api/global-parameters").expect(200), json!([shown]));
    client.put(path, &json!({})).expect_refused(400, "missing field `value`");
    client.delete(path).expect(204);
    client.delete(path).expect_refused(404, "no global parameter 'tags'");
    client.get(path).expect_refused(404, "no global parameter 'tags'");
    let maker = broker.user_in("%2f", "maker", "policymaker");
    assert_eq!(maker.get("/api/global-parameters").expect(200), json!([]));
    maker.put(path, &json!({"value": 1})).expect_refused(401, "needs the tag administrator");
    maker.delete(path).expect_refused(401, "needs the tag administrator");
}

#[test]
fn the_broker_has_a_name_that_can_be_changed() {
    let mut broker = TestBroker::start();
    let path = "/api/cluster-name";
    assert_eq!(broker.client().get(path).expect(200), json!({"name": "ferrymq@localhost"}));
    broker.client().put(path, &json!({"name": "harbour"})).expect(204);
    broker.restart();
    let client = broker.client();
    assert_eq!(client.get(path).expect(200), json!({"name": "harbour"}));
    client.put(path, &json!({"name": ""})).expect_refused(400, "can't be empty");
    client.put(path, &json!({"name": 1})).expect_refused(400, "expected a string");
    let reader = broker.user_in("%2f", "reader", "management");
    reader.get(path).expect(200);
    reader.put(path, &json!({"name": "mine"})).expect_refused(401, "needs the tag administrator");
}
