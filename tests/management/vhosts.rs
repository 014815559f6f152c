//! Vhosts.

use serde_json::json;

use crate::support::*;

#[test]
fn a_vhost_is_added_and_changed_and_survives_a_restart() {
    let mut broker = TestBroker::start();
    let body = json!({"description": "orders", "tags": "a, b"});
    broker.client().put("/api/vhosts/the%2fshop", &body).expect(201);
    broker.client().put("/api/vhosts/the%2fshop", &json!({"description": "all"})).expect(204);
    broker.restart();
    let found = broker.client().get("/api/vhosts/the%2fshop").expect(200);
    assert_eq!((&found["name"], &found["description"]), (&json!("the/shop"), &json!("all")));
    assert_eq!(found["tags"], json!(["a", "b"]));
    broker.client().get("/api/vhosts/nowhere").expect_refused(404, "no vhost 'nowhere'");
}

#[test]
fn a_body_that_is_no_json_or_too_long_changes_nothing() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.send("PUT", "/api/vhosts/v", b"{\"tags\": 1}").expect_refused(400, "expected a string");
    client.send("PUT", "/api/vhosts/v", b"{").expect_refused(400, "not the JSON");
    client.get("/api/vhosts/v").expect(404);
    let name = "v".repeat(300);
    client.put(&format!("/api/vhosts/{name}"), &json!({})).expect_refused(400, "255 bytes");
}
