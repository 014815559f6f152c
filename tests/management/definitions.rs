//! Definitions files, out and in.

use serde_json::{Value, json};

use crate::support::*;

/// Something of everything, as RabbitMQ writes it.
fn file() -> Value {
    json!({
        "rabbit_version": "3.10.8", "product_name": "RabbitMQ",
        "users": [{
            // Of the password "secret", with the salt 00000000.
            "name": "bob", "hashing_algorithm": "rabbit_password_hashing_sha256",
            "password_hash": "AAAAAAmpGNWh4Zb1y9OixpZ8JE04dFn6QBxU9IcgRn7sp6Ks",
            "tags": ["monitoring"], "limits": {"max-channels": 10},
        }],
        "vhosts": [{"name": "/"}, {
            "name": "shop", "description": "orders", "tags": ["a"],
            "metadata": {"description": "orders", "tags": ["a"]},
        }],
        "permissions": [
            {"user": "bob", "vhost": "shop", "configure": "", "write": ".*", "read": "^q"},
        ],
        "topic_permissions": [],
        "parameters": [
            {"component": "operator_policy", "name": "op", "vhost": "shop", "value": {
                "pattern": "^q", "apply-to": "queues", "priority": 1,
                "definition": {"expires": 100_000},
            }},
            {"component": "vhost-limits", "name": "limits", "vhost": "shop",
                "value": {"max-queues": 10}},
        ],
        "global_parameters": [{"name": "g", "value": {"a": 1}}],
        "policies": [{
            "vhost": "shop", "name": "p", "pattern": "^q", "apply-to": "queues", "priority": 2,
            "definition": {"max-length": 10},
        }],
        "queues": [
            {"vhost": "shop", "name": "amq.gen-x", "durable": true, "auto_delete": false,
                "arguments": {}},
            {"vhost": "shop", "name": "q", "durable": true, "auto_delete": false,
                "arguments": {"x-max-priority": 5, "x-queue-type": "classic"}},
        ],
        "exchanges": [{
            "vhost": "shop", "name": "e", "type": "topic", "durable": true, "auto_delete": false,
            "internal": false, "arguments": {"alternate-exchange": "amq.fanout"},
        }],
        "bindings": [
            {"vhost": "shop", "source": "amq.topic", "destination": "e",
                "destination_type": "exchange", "routing_key": "b", "arguments": {}},
            {"vhost": "shop", "source": "e", "destination": "q", "destination_type": "queue",
                "routing_key": "a.#", "arguments": {"x": 1}},
        ],
    })
}

/// What is in a file beside what every broker begins with.
fn without_guest(mut exported: Value) -> Value {
    for part in ["users", "permissions"] {
        let things = exported[part].as_array_mut().expect("a list");
        things.retain(|thing| thing["name"] != "guest" && thing["user"] != "guest");
    }
    exported
}

/// The parts of `file` as they are in `exported`.
fn assert_has_all(exported: &Value, file: &Value) {
    for (part, things) in file.as_object().expect("an object") {
        let Some(things) = things.as_array() else { continue };
        for thing in things.iter().filter(|thing| thing["name"] != "/") {
            let all = exported[part].as_array().expect("a list");
            let same = |other: &&Value| thing == *other;
            assert!(all.iter().any(|other| same(&other)), "{part}: {thing} not in {all:?}");
        }
    }
}

#[test]
fn what_a_file_defines_is_there_also_after_a_restart_and_comes_out_again() {
    let mut broker = TestBroker::start();
    broker.client().post("/api/definitions", &file()).expect(204);
    let exported = broker.client().get("/api/definitions").expect(200);
    assert_has_all(&exported, &file());
    broker.client().post("/api/definitions", &exported).expect(204);
    broker.restart();
    assert_eq!(broker.client().get("/api/definitions").expect(200), exported);
    let bob = broker.client_as("bob", "secret").get("/api/whoami").expect(200);
    assert_eq!(bob["name"], "bob", "the password of the hash is good");

    let other = TestBroker::start();
    other.client().post("/api/definitions", &without_guest(exported.clone())).expect(204);
    let again = other.client().get("/api/definitions").expect(200);
    assert_eq!(without_guest(again), without_guest(exported));
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_all_of_them_are_named() {
    let broker = TestBroker::start();
    let before = broker.client().get("/api/definitions").expect(200);
    let mut file = file();
    file["queues"][1]["arguments"] = json!({"x-max-priority": 5, "x-max-length": "ten"});
    file["exchanges"][0]["type"] = json!("x-nothing");
    file["policies"][0]["definition"] = json!({"ha-mode": "all"});
    file["bindings"][0]["vhost"] = json!("nowhere");
    file["users"][0]["hashing_algorithm"] = json!("rot13");
    let refused = broker.client().post("/api/definitions", &file).expect(400);
    let reason = refused["reason"].as_str().expect("a reason");
    for part in [
        "queue 'q'",
        "x-max-length",
        "exchange 'e'",
        "x-nothing",
        "policy 'p'",
        "ha-mode",
        "no vhost 'nowhere'",
        "user 'bob'",
        "rot13",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
    for named in ["queue 'q'", "policy 'p'"] {
        assert_eq!(reason.matches(named).count(), 1, "{named} in {reason}");
    }
    assert_eq!(broker.client().get("/api/definitions").expect(200), before);
}

#[test]
fn what_is_there_and_is_not_the_same_is_a_mistake_of_the_file() {
    let broker = TestBroker::start();
    broker.client().post("/api/definitions", &file()).expect(204);
    let mut other = file();
    other["queues"][1]["arguments"] = json!({"x-max-priority": 6});
    let refused = broker.client().post("/api/definitions", &other);
    refused.expect_refused(400, "inequivalent arg 'x-max-priority'");
}

#[test]
fn a_file_of_one_vhost_goes_into_another() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.post("/api/definitions", &file()).expect(204);
    let of_shop = client.get("/api/definitions/shop?download=shop.json").expect(200);
    assert_eq!(of_shop["queues"][1]["vhost"], Value::Null, "{of_shop}");
    client.put("/api/vhosts/copy", &json!({})).expect(201);
    client.post("/api/definitions/copy", &of_shop).expect(204);
    assert_eq!(client.get("/api/definitions/copy").expect(200), of_shop);
    client.post("/api/definitions/nowhere", &of_shop).expect_refused(404, "'nowhere'");
    client.post("/api/definitions", &json!([])).expect_refused(400, "is a JSON object");
}

#[test]
fn only_administrators_import() {
    let broker = TestBroker::start();
    broker.client().post("/api/definitions", &file()).expect(204);
    let bob = broker.client_as("bob", "secret");
    bob.post("/api/definitions", &file()).expect_refused(401, "administrator");
    bob.get("/api/definitions").expect_refused(401, "administrator");
}

#[test]
fn the_file_of_the_settings_is_taken_up_at_the_start_when_it_is_another_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("definitions.json");
    std::fs::write(&path, file().to_string()).expect("written");
    let mut broker = TestBroker::with(|config| config.definitions.file = path.clone());
    let put = json!({"description": "changed since"});
    broker.client().put("/api/vhosts/shop", &put).expect(204);
    broker.restart();
    let description = |broker: &TestBroker| {
        broker.client().get("/api/vhosts/shop").expect(200)["description"].clone()
    };
    assert_eq!(description(&broker), "changed since");
    let mut other = file();
    other["global_parameters"] = json!([]);
    std::fs::write(&path, other.to_string()).expect("written");
    broker.restart();
    assert_eq!(description(&broker), "orders");
}

#[test]
fn with_a_wrong_file_in_the_settings_the_broker_does_not_start_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("definitions.json");
    std::fs::write(&path, "{\"queues\": [{}]}").expect("written");
    let refused = TestBroker::refused(|config| config.definitions.file = path.clone());
    assert!(refused.contains("number 1 of 'queues'"), "{refused}");
    let refused = TestBroker::refused(|config| config.definitions.file = "/no/such".into());
    assert!(refused.contains("definitions.file"), "{refused}");
}

/// As a browser's form sends it.
#[test]
fn a_file_is_taken_out_of_a_form() {
    let broker = TestBroker::start();
    let client = broker.client();
    let headers = [("content-type", "multipart/form-data; boundary=----b")];
    let part = |name: &str, text: &str| {
        format!(
            "------b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f.json\"\r\n\
             Content-Type: application/json\r\n\r\n{text}\r\n"
        )
    };
    let file = json!({"queues": [{"name": "q", "vhost": "/", "durable": true}]}).to_string();
    let send =
        |form: String| client.send_with("POST", "/api/definitions", &headers, form.as_bytes());
    send(format!("{}{}------b--\r\n", part("redirect", "/"), part("file", &file))).expect(204);
    client.get("/api/queues/%2f/q").expect(200);
    send(format!("{}------b--\r\n", part("other", &file))).expect_refused(400, "no part 'file'");
    send(part("file", &file)).expect_refused(400, "not a whole form");
    send(format!("{}------b--\r\n", part("file", "{"))).expect_refused(400, "not the JSON");
}
