//! Policies and operator policies.

use serde_json::{Value, json};

use crate::support::*;

const KINDS: [&str; 2] = ["policies", "operator-policies"];

fn policy(pattern: &str, definition: Value) -> Value {
    json!({"pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 3})
}

fn path(kind: &str, vhost: &str, name: &str) -> String {
    format!("/api/{kind}/{vhost}/{name}")
}

#[test]
fn policies_are_set_changed_shown_and_deleted() {
    let mut broker = TestBroker::start();
    for kind in KINDS {
        let client = broker.client();
        let limit = |most: u32| policy("^q", json!({"max-length": most}));
        client.put(&path(kind, "%2f", "long"), &limit(5)).expect(201);
        client.put(&path(kind, "%2f", "long"), &limit(6)).expect(204);
        client
            .put(&path(kind, "%2f", "a"), &json!({"pattern": "", "definition": {"expires": 9}}))
            .expect(201);
        broker.restart();
        let client = broker.client();
        let long = json!({
            "vhost": "/", "name": "long", "pattern": "^q", "apply-to": "queues", "priority": 3,
            "definition": {"max-length": 6},
        });
        assert_eq!(client.get(&path(kind, "%2f", "long")).expect(200), long);
        for list in [format!("/api/{kind}"), format!("/api/{kind}/%2f")] {
            let listed = client.get(&list).expect(200);
            assert_eq!(names(&listed), ["a", "long"]);
            assert_eq!((&listed[1], &listed[0]["apply-to"]), (&long, &json!("all")));
        }
        client.delete(&path(kind, "%2f", "long")).expect(204);
        client.delete(&path(kind, "%2f", "long")).expect_refused(404, "no such policy 'long'");
        client.get(&path(kind, "%2f", "long")).expect_refused(404, "no such policy 'long'");
        assert_eq!(names(&client.get(&format!("/api/{kind}")).expect(200)), ["a"]);
        client.delete(&path(kind, "%2f", "a")).expect(204);
    }
}

#[test]
fn policies_that_cannot_be_are_refused_with_the_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    for kind in KINDS {
        let p = path(kind, "%2f", "p");
        let unknown = policy("", json!({"max-lenght": 1}));
        client.put(&p, &unknown).expect_refused(400, "Validation failed");
        client.put(&p, &unknown).expect_refused(400, "max-lenght");
        let wrong = policy("", json!({"max-length": "one"}));
        client.put(&p, &wrong).expect_refused(400, "max-length");
        let body = policy("(", json!({"max-length": 1}));
        client.put(&p, &body).expect_refused(400, "not a regular expression");
        let body = json!({"pattern": "", "definition": {"max-length": 1}, "apply-to": "users"});
        client.put(&p, &body).expect_refused(400, "can't apply to 'users'");
        client.put(&p, &json!({"pattern": ""})).expect_refused(400, "missing field `definition`");
        client.put(&p, &json!({"pattern": "", "definition": []})).expect_refused(400, "a map");
        client.send("PUT", &p, b"nonsense").expect_refused(400, "not the JSON");
        let body = policy("", json!({"max-length": 1}));
        let long = path(kind, "%2f", &"p".repeat(300));
        client.put(&long, &body).expect_refused(400, "1 to 255 bytes");
        client.put(&path(kind, "no", "p"), &body).expect_refused(404, "no vhost 'no'");
        client.get(&path(kind, "no", "p")).expect_refused(404, "no vhost 'no'");
        client.get(&format!("/api/{kind}/no")).expect_refused(404, "no vhost 'no'");
        client.delete(&path(kind, "no", "p")).expect_refused(404, "no vhost 'no'");
        assert_eq!(client.get(&format!("/api/{kind}")).expect(200), json!([]));
    }
    // What an operator may not set.
    let body = policy("", json!({"dead-letter-exchange": "x"}));
    client.put("/api/operator-policies/%2f/p", &body).expect_refused(400, "dead-letter-exchange");
}

#[test]
fn a_policymaker_sets_policies_in_its_vhosts_and_no_operator_policies() {
    let broker = TestBroker::start();
    broker.client().put("/api/vhosts/v", &json!({})).expect(201);
    let body = policy("", json!({"max-length": 1}));
    let maker = broker.user_in("v", "maker", "policymaker");
    maker.put("/api/policies/v/p", &body).expect(201);
    maker.put("/api/policies/%2f/p", &body).expect_refused(401, "no permissions in vhost '/'");
    let refused = maker.put("/api/operator-policies/v/p", &body);
    refused.expect_refused(401, "needs the tag administrator");
    let reader = broker.user_in("v", "reader", "management");
    assert_eq!(names(&reader.get("/api/policies").expect(200)), ["p"]);
    reader.put("/api/policies/v/p", &body).expect_refused(401, "needs the tag policymaker");
    reader.delete("/api/policies/v/p").expect_refused(401, "needs the tag policymaker");
    // An administrator needs no permissions in the vhost.
    broker.client().delete("/api/policies/v/p").expect(204);
}
