//! What clients ask about features, and about logins.

use ferrymq::broker::ConnectionId;
use ferrymq::broker::auth::Actor;
use ferrymq::broker::vhost::QueueDeclare;
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::ShortStr;
use serde_json::json;

use crate::support::*;

#[test]
fn all_feature_flags_are_enabled() {
    let broker = TestBroker::start();
    let client = broker.client();
    let flags = client.get("/api/feature-flags").expect(200);
    let flags = flags.as_array().expect("a list");
    assert!(flags.iter().any(|flag| flag["name"] == "detailed_queues_endpoint"));
    assert!(flags.iter().all(|flag| flag["state"] == "enabled" && flag["stability"] == "stable"));
    let enable = |name: &str| client.put(&format!("/api/feature-flags/{name}/enable"), &json!({}));
    enable("user_limits").expect(204);
    enable("no_such_flag").expect_refused(400, "no feature flag 'no_such_flag'");
}

#[test]
fn what_is_deprecated_elsewhere_is_listed_and_found_where_it_is_used() {
    let broker = TestBroker::start();
    let client = broker.client();
    let all = client.get("/api/deprecated-features").expect(200);
    assert_eq!(names(&all), ["global_qos", "transient_nonexcl_queues"]);
    assert_eq!(all[0]["deprecation_phase"], "permitted_by_default");
    assert_eq!(client.get("/api/deprecated-features/used").expect(200), json!([]));
    let root = broker.broker().vhost("/").expect("there");
    let guest = broker.broker().user("guest").expect("there");
    let peer = broker.amqp_address();
    let actor = Actor { user: guest, connection: ConnectionId::NONE, peer };
    let transient = QueueDeclare {
        name: ShortStr::from_static("q"),
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: FieldTable::default(),
    };
    drop(root.declare_queue(transient, &actor).expect("nothing is wrong with it"));
    let used = client.get("/api/deprecated-features/used").expect(200);
    assert_eq!(names(&used), ["transient_nonexcl_queues"]);
    assert_eq!(client.get("/api/extensions").expect(200), json!([]));
}

#[test]
fn a_password_is_hashed_with_a_new_salt_each_time() {
    let broker = TestBroker::start();
    let client = broker.client();
    let hash = || client.get("/api/auth/hash_password/secret").expect(200)["ok"].clone();
    let (one, other) = (hash(), hash());
    assert!(one != other, "{one}");
    client.put("/api/users/ann", &json!({"password_hash": one, "tags": "management"})).expect(201);
    broker.client_as("ann", "secret").get("/api/whoami").expect(200);
    client.put("/api/auth/hash_password", &json!({})).expect_refused(400, "missing field");
    broker.nobody().get("/api/auth/hash_password/secret").expect(401);
    assert_eq!(broker.nobody().get("/api/auth").expect(200), json!({"oauth_enabled": false}));
}

#[test]
fn logins_are_counted_by_protocol() {
    let broker = TestBroker::start();
    let client = broker.client();
    let path = "/api/auth/attempts/ferrymq@localhost";
    client.delete(path).expect(204);
    broker.client_as("guest", "wrong").get("/api/whoami").expect(401);
    let attempts = client.get(path).expect(200);
    let amqp = json!({"protocol": "amqp091", "auth_attempts": 0, "auth_attempts_failed": 0, "auth_attempts_succeeded": 0});
    let http = json!({"protocol": "http", "auth_attempts": 2, "auth_attempts_failed": 1, "auth_attempts_succeeded": 1});
    assert_eq!(attempts, json!([amqp, http]));
    client.get("/api/auth/attempts/other@host").expect_refused(404, "no node 'other@host'");
    let reader = broker.user_in("%2f", "reader", "management");
    reader.get(path).expect_refused(401, "needs the tag monitoring");
    let watcher = broker.user_in("%2f", "watcher", "monitoring");
    watcher.get(path).expect(200);
    watcher.delete(path).expect_refused(401, "needs the tag administrator");
}
