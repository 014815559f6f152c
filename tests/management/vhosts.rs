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
fn a_vhost_is_deleted_unless_it_is_protected() {
    let mut broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/vhosts/v", &json!({"tags": ["a", "b"]})).expect(201);
    client
        .put("/api/policies/v/p", &json!({"pattern": "", "definition": {"expires": 9}}))
        .expect(201);
    client.post("/api/vhosts/v/deletion/protection", &json!({})).expect(204);
    assert_eq!(client.get("/api/vhosts/v").expect(200)["protected_from_deletion"], json!(true));
    client.delete("/api/vhosts/v").expect_refused(412, "protected from deletion");
    client.delete("/api/vhosts/v/deletion/protection").expect(204);
    client.delete("/api/vhosts/v").expect(204);
    client.delete("/api/vhosts/v").expect_refused(404, "there is no vhost 'v'");
    client.get("/api/vhosts/v").expect(404);
    broker.restart();
    let client = broker.client();
    client.get("/api/vhosts/v").expect(404);
    client.put("/api/vhosts/v", &json!({"protected_from_deletion": true})).expect(201);
    let anew = client.get("/api/vhosts/v").expect(200);
    assert_eq!((&anew["tags"], &anew["protected_from_deletion"]), (&json!([]), &json!(true)));
    assert_eq!(client.get("/api/policies/v").expect(200), json!([]));
    client.post("/api/vhosts/no/deletion/protection", &json!({})).expect(404);
}

#[test]
fn a_vhost_shows_its_messages_unless_that_is_not_wanted() {
    let broker = TestBroker::start();
    let client = broker.client();
    let shown = client.get("/api/vhosts/%2f").expect(200);
    assert_eq!((&shown["messages"], &shown["messages_ready"]), (&json!(0), &json!(0)));
    for path in ["/api/vhosts?disable_stats=true", "/api/vhosts?columns=name"] {
        let listed = client.get(path).expect(200);
        assert_eq!((&listed[0]["name"], &listed[0]["messages"]), (&json!("/"), &json!(null)));
    }
    client.get("/api/vhosts/%2f?lengths_age=x&lengths_incr=5").expect(400);
}

#[test]
fn a_vhost_is_traced_and_started_on_request() {
    let broker = TestBroker::start();
    let client = broker.client();
    let is_tracing = || client.get("/api/vhosts/%2f").expect(200)["tracing"].clone();
    client.put("/api/vhosts/%2f", &json!({"tracing": true})).expect(204);
    assert_eq!(is_tracing(), json!(true));
    client.put("/api/vhosts/%2f", &json!({"description": "root"})).expect(204);
    assert_eq!(is_tracing(), json!(true));
    client.put("/api/vhosts/%2f", &json!({"tracing": false})).expect(204);
    assert_eq!(is_tracing(), json!(false));
    client.post("/api/vhosts/%2f/start/ferrymq@localhost", &json!({})).expect(204);
    client.post("/api/vhosts/no/start/ferrymq@localhost", &json!({})).expect(404);
    client.post("/api/vhosts/%2f/start/other", &json!({})).expect_refused(404, "no node 'other'");
}

#[test]
fn who_is_no_administrator_sees_its_vhosts_and_changes_none() {
    let broker = TestBroker::start();
    broker.client().put("/api/vhosts/v", &json!({})).expect(201);
    let ann = broker.user_in("v", "ann", "management");
    assert_eq!(names(&ann.get("/api/vhosts").expect(200)), ["v"]);
    ann.get("/api/vhosts/%2f").expect_refused(401, "no permissions in vhost '/'");
    for refused in [
        ann.put("/api/vhosts/w", &json!({})),
        ann.delete("/api/vhosts/v"),
        ann.post("/api/vhosts/v/deletion/protection", &json!({})),
        ann.delete("/api/vhosts/v/deletion/protection"),
        ann.post("/api/vhosts/v/start/ferrymq@localhost", &json!({})),
    ] {
        refused.expect_refused(401, "needs the tag administrator");
    }
}

#[test]
fn whoever_adds_a_vhost_may_do_everything_in_it() {
    let broker = TestBroker::start();
    broker.client().put("/api/vhosts/v", &json!({})).expect(201);
    broker.client().put("/api/queues/v/q", &json!({"durable": true})).expect(201);
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
