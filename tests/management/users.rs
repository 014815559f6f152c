//! Users, their tags and passwords.

use serde_json::json;

use crate::support::*;

const USER: &str = "/api/users/ann";

#[test]
fn a_user_is_added_changed_and_deleted_and_survives_a_restart() {
    let mut broker = TestBroker::start();
    let client = broker.client();
    client.put(USER, &json!({"password": "one", "tags": "management, monitoring"})).expect(201);
    broker.client_as("ann", "one").get("/api/whoami").expect(200);
    client.put(USER, &json!({"password": "two", "tags": ["policymaker"]})).expect(204);
    broker.client_as("ann", "one").get("/api/whoami").expect_refused(401, "is wrong");
    broker.restart();
    let client = broker.client();
    let found = client.get(USER).expect(200);
    assert_eq!(found["name"], "ann");
    assert_eq!(found["tags"], json!(["policymaker"]));
    assert_eq!(found["hashing_algorithm"], "rabbit_password_hashing_sha256");
    assert_eq!(found["limits"], json!({}));
    let who = broker.client_as("ann", "two").get("/api/whoami").expect(200);
    assert_eq!(who, json!({"name": "ann", "tags": ["policymaker"]}));
    client.delete(USER).expect(204);
    client.delete(USER).expect_refused(404, "there is no user 'ann'");
    client.get(USER).expect_refused(404, "there is no user 'ann'");
    broker.restart();
    broker.client().get(USER).expect(404);
}

#[test]
fn a_password_can_come_as_a_hash_and_an_empty_one_lets_nobody_in() {
    let broker = TestBroker::start();
    let client = broker.client();
    let hash = client.put("/api/auth/hash_password", &json!({"password": "s"})).expect(200);
    let hash = hash["password_hash"].as_str().expect("a hash").to_owned();
    client.put(USER, &json!({"password_hash": hash, "tags": "management"})).expect(201);
    broker.client_as("ann", "s").get("/api/whoami").expect(200);
    assert_eq!(client.get(USER).expect(200)["password_hash"], json!(hash));
    for body in [
        json!({"password_hash": "", "tags": "management"}),
        json!({"password": "", "tags": "management"}),
        json!({"tags": "management"}),
    ] {
        client.put(USER, &json!({"password": "s", "tags": "management"})).expect(204);
        client.put(USER, &body).expect(204);
        for password in ["s", ""] {
            broker.client_as("ann", password).get("/api/whoami").expect(401);
        }
    }
}

#[test]
fn a_user_keeps_its_tags_when_none_are_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put(USER, &json!({"password": "s", "tags": "management"})).expect(201);
    client.put(USER, &json!({"password": "t"})).expect(204);
    assert_eq!(client.get(USER).expect(200)["tags"], json!(["management"]));
    client.put(USER, &json!({"password": "t", "tags": []})).expect(204);
    assert_eq!(client.get(USER).expect(200)["tags"], json!([]));
}

#[test]
fn a_user_that_cannot_be_is_refused_with_the_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    let both = json!({"password": "a", "password_hash": "b", "tags": ""});
    client.put(USER, &both).expect_refused(400, "not both");
    let body = json!({"password_hash": "?", "tags": ""});
    client.put(USER, &body).expect_refused(400, "not base64");
    let body = json!({"password_hash": "", "hashing_algorithm": "rot13", "tags": ""});
    client.put(USER, &body).expect_refused(400, "hashing_algorithm 'rot13'");
    client.put(USER, &json!({"tags": 1})).expect_refused(400, "expected a string");
    client.put(USER, &json!({"password": 1})).expect_refused(400, "expected a string");
    let tags = vec!["t"; 101];
    client.put(USER, &json!({"tags": tags})).expect_refused(400, "100 tags");
    client.send("PUT", USER, b"[").expect_refused(400, "not the JSON");
    let long = format!("/api/users/{}", "u".repeat(300));
    client.put(&long, &json!({"tags": ""})).expect_refused(400, "1 to 255 bytes");
    client.get(&long).expect(404);
    client.get(USER).expect(404);
}

#[test]
fn only_an_administrator_sees_and_changes_users() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put(USER, &json!({"password": "s", "tags": "monitoring policymaker"})).expect(201);
    broker.client_as("ann", "s").get("/api/whoami").expect_refused(401, "needs the tag");
    client.put(USER, &json!({"password": "s", "tags": "monitoring,policymaker"})).expect(204);
    let ann = broker.client_as("ann", "s");
    for path in ["/api/users", USER, "/api/users/without-permissions", "/api/permissions"] {
        ann.get(path).expect_refused(401, "needs the tag administrator");
    }
    let body = json!({"password": "s", "tags": "administrator"});
    ann.put(USER, &body).expect_refused(401, "needs the tag administrator");
    ann.delete("/api/users/guest").expect_refused(401, "needs the tag administrator");
    ann.post("/api/users/bulk-delete", &json!({"users": ["guest"]})).expect(401);
    broker.client().get("/api/users/guest").expect(200);
}

#[test]
fn users_are_listed_by_name_and_deleted_together() {
    let broker = TestBroker::start();
    let client = broker.client();
    for name in ["bob", "ann"] {
        client.put(&format!("/api/users/{name}"), &json!({"tags": ""})).expect(201);
    }
    assert_eq!(names(&client.get("/api/users").expect(200)), ["ann", "bob", "guest"]);
    let page = client.get("/api/users?page=2&page_size=2&columns=name").expect(200);
    assert_eq!(page["items"], json!([{"name": "guest"}]));
    let without = client.get("/api/users/without-permissions").expect(200);
    assert_eq!(names(&without), ["ann", "bob"]);
    let body = json!({"users": ["ann", "bob", "nobody"]});
    client.post("/api/users/bulk-delete", &body).expect(204);
    assert_eq!(names(&client.get("/api/users").expect(200)), ["guest"]);
    client.post("/api/users/bulk-delete", &json!({})).expect_refused(400, "missing field `users`");
}
