//! The limits of vhosts and users.

use serde_json::json;

use crate::support::*;

#[test]
fn limits_are_set_shown_and_taken_back() {
    let mut broker = TestBroker::start();
    let client = broker.client();
    for (kind, owner, limits) in [
        ("vhost", "%2f", ["max-connections", "max-queues"]),
        ("user", "guest", ["max-connections", "max-channels"]),
    ] {
        for (most, limit) in limits.into_iter().enumerate() {
            let path = format!("/api/{kind}-limits/{owner}/{limit}");
            client.put(&path, &json!({"value": most + 5})).expect(204);
        }
    }
    broker.restart();
    let client = broker.client();
    let vhost = json!([{"vhost": "/", "value": {"max-connections": 5, "max-queues": 6}}]);
    assert_eq!(client.get("/api/vhost-limits").expect(200), vhost);
    assert_eq!(client.get("/api/vhost-limits/%2f").expect(200), vhost);
    let user = json!([{"user": "guest", "value": {"max-channels": 6, "max-connections": 5}}]);
    assert_eq!(client.get("/api/user-limits").expect(200), user);
    assert_eq!(client.get("/api/user-limits/guest").expect(200), user);
    let guest = client.get("/api/users/guest").expect(200);
    assert_eq!(guest["limits"], user[0]["value"]);
    client.delete("/api/vhost-limits/%2f/max-queues").expect(204);
    client.delete("/api/user-limits/guest/max-channels").expect(204);
    client.put("/api/vhost-limits/%2f/max-connections", &json!({"value": -1})).expect(204);
    assert_eq!(client.get("/api/vhost-limits").expect(200), json!([]));
    assert_eq!(client.get("/api/vhost-limits/%2f").expect(200), json!([]));
    let user = json!([{"user": "guest", "value": {"max-connections": 5}}]);
    assert_eq!(client.get("/api/user-limits").expect(200), user);
}

#[test]
fn limits_that_cannot_be_are_refused_with_the_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    let value = json!({"value": 1});
    let path = "/api/vhost-limits/%2f/max-queues";
    client.put(path, &json!({"value": -2})).expect_refused(400, "can't be -2");
    client.put(path, &json!({"value": "many"})).expect_refused(400, "expected i64");
    client.put(path, &json!({})).expect_refused(400, "missing field `value`");
    let refused = client.put("/api/vhost-limits/%2f/max-channels", &value);
    refused.expect_refused(400, "there is no limit 'max-channels', only max-connections");
    client.delete("/api/user-limits/guest/max-queues").expect_refused(400, "no limit");
    client.put("/api/vhost-limits/no/max-queues", &value).expect_refused(404, "no vhost 'no'");
    client.put("/api/user-limits/no/max-channels", &value).expect_refused(404, "no user 'no'");
    client.delete("/api/vhost-limits/no/max-queues").expect_refused(404, "no vhost 'no'");
    client.get("/api/vhost-limits/no").expect_refused(404, "no vhost 'no'");
    client.get("/api/user-limits/no").expect_refused(404, "no user 'no'");
    assert_eq!(client.get("/api/vhost-limits").expect(200), json!([]));
}

#[test]
fn who_is_no_administrator_sees_limits_of_its_vhosts_and_sets_none() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/vhosts/v", &json!({})).expect(201);
    for vhost in ["v", "%2f"] {
        let path = format!("/api/vhost-limits/{vhost}/max-queues");
        client.put(&path, &json!({"value": 7})).expect(204);
    }
    let ann = broker.user_in("v", "ann", "policymaker");
    let seen = json!([{"vhost": "v", "value": {"max-queues": 7}}]);
    assert_eq!(ann.get("/api/vhost-limits").expect(200), seen);
    ann.get("/api/vhost-limits/%2f").expect_refused(401, "no permissions in vhost '/'");
    ann.put("/api/vhost-limits/v/max-queues", &json!({"value": 8})).expect(401);
    ann.delete("/api/vhost-limits/v/max-queues").expect(401);
    ann.get("/api/user-limits").expect(401);
    ann.put("/api/user-limits/ann/max-channels", &json!({"value": 8})).expect(401);
}
