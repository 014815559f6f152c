//! Scheduled messages: listed, and cancelled.

use ferrymq::broker::timers::now_ms;
use serde_json::{Value, json};

use crate::inside::*;
use crate::support::*;

pub const PATH: &str = "/api/exchanges/%2f/later/scheduled";

pub fn schedule(inside: &Inside) {
    inside.declare_exchange("later", "x-delayed-message", &json!({"x-delayed-type": "direct"}));
    inside.declare("q", &json!({}));
    inside.bind("later", "q", "q");
    for (body, delay) in [("third", 300_000), ("first", 100_000), ("second", 200_000)] {
        inside.publish_with("later", "q", body, &with_headers(&json!({"x-delay": delay})));
    }
}

fn payloads(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().expect("a list");
    items.iter().map(|item| item["payload"].as_str().expect("a text")).collect()
}

/// They are on disk only, and after the restart nothing of them has been in memory.
#[test]
fn scheduled_messages_are_listed_by_their_times_and_cancelled_for_good() {
    let mut broker = TestBroker::start();
    schedule(&broker.inside());
    let client = broker.client();
    let two = client.get(&format!("{PATH}?count=2")).expect(200);
    assert_eq!(payloads(&two), ["first", "second"]);
    let due = two["items"][0]["due_at"].as_u64().expect("a time");
    assert!(due > now_ms() && due < now_ms() + 100_001, "{two}");
    let next = two["next"].as_str().expect("there is more");
    let rest = client.get(&format!("{PATH}?from={next}&truncate=2")).expect(200);
    assert_eq!((payloads(&rest), &rest["next"]), (vec!["th"], &json!(null)));
    let id = two["items"][1]["id"].as_str().expect("an id");
    client.delete(&format!("{PATH}/{id}")).expect(204);
    client.delete(&format!("{PATH}/{id}")).expect_refused(404, "no message");
    assert_eq!(payloads(&client.get(PATH).expect(200)), ["first", "third"]);
    broker.restart();
    wait_until("what waits is known again", || {
        payloads(&broker.client().get(PATH).expect(200)) == ["first", "third"]
    });
}

#[test]
fn what_is_not_scheduled_is_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    schedule(&broker.inside());
    client.get("/api/exchanges/%2f/none/scheduled").expect_refused(404, "no exchange 'none'");
    let direct = "/api/exchanges/%2f/amq.direct/scheduled";
    client.get(direct).expect_refused(400, "delays nothing");
    client.get(&format!("{PATH}?count=0")).expect_refused(400, "count has to be");
    client.get(&format!("{PATH}?from=x")).expect_refused(400, "'x' is no id");
    client.delete(&format!("{PATH}/x")).expect_refused(400, "'x' is no id");
    client.delete(&format!("{PATH}/1:1")).expect_refused(404, "no message 1:1 waits");
    broker.nobody().get(PATH).expect(401);
}
