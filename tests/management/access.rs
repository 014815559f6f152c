//! Who may come in, and what is said to those who may not.

use serde_json::json;

use crate::support::*;

#[test]
fn who_says_nothing_is_asked_for_a_name_and_password() {
    let broker = TestBroker::start();
    broker.nobody().get("/api/whoami").expect_refused(401, "a name and a password are needed");
    broker.client_as("guest", "wrong").get("/api/whoami").expect_refused(401, "is wrong");
    let guest = broker.client().get("/api/whoami").expect(200);
    assert_eq!(guest, json!({"name": "guest", "tags": ["administrator"]}));
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_are_said() {
    let broker = TestBroker::start();
    broker.client().get("/api/no-such-thing").expect_refused(404, "/api/no-such-thing");
    broker.client().delete("/api/whoami").expect_refused(405, "DELETE can't be done");
}

#[test]
fn the_api_describes_itself() {
    let broker = TestBroker::start();
    let description = broker.client().get("/api/openapi.json").expect(200);
    assert!(description["paths"]["/api/vhosts/{vhost}"]["put"].is_object(), "{description}");
}

#[test]
fn a_slash_at_the_end_of_a_path_says_nothing() {
    let broker = TestBroker::start();
    let names = broker.client().get("/api/vhosts/?columns=name").expect(200);
    assert_eq!(names, json!([{"name": "/"}]));
}
