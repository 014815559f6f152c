//! Scheduled messages: listed, and cancelled.

use ferrymq::broker::timers::now_ms;
use ferrymq::protocol::generated::BasicReject;
use ferrymq::protocol::properties::BasicProperties;
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

/// What a consumer gave back and its queue delays, in a queue with priorities, before and after a
/// restart.
#[test]
fn delayed_retries_are_listed_and_cancelled_too() {
    const PATH: &str = "/api/queues/%2f/q/scheduled";
    let mut broker = TestBroker::start();
    let arguments = json!({
        "x-delayed-retry-type": "all", "x-delayed-retry-min": 300_000, "x-max-priority": 5,
    });
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({"durable": true, "arguments": arguments})).expect(201);
    let mut peer = broker.channel();
    for (body, priority) in [("low", 0), ("high", 4)] {
        let (priority, delivery_mode) = (Some(priority), Some(2));
        let properties = BasicProperties { priority, delivery_mode, ..BasicProperties::default() };
        peer.publish_with(1, "", "q", body.as_bytes(), &(&properties).into());
    }
    for delivery_tag in [1, 2] {
        peer.get(1, "q", false).expect("a message");
        peer.send(1, BasicReject { delivery_tag, requeue: true });
    }
    let listed = |client: &Client| client.get(PATH).expect(200);
    wait_until("both wait", || payloads(&listed(&client)).len() == 2);
    assert_eq!(payloads(&listed(&client)), ["high", "low"]);
    broker.restart();
    let client = broker.client();
    wait_until("what waits is known again", || payloads(&listed(&client)).len() == 2);
    let high = listed(&client)["items"][0].clone();
    let id = high["id"].as_str().expect("an id");
    assert!(high["payload"] == "high" && id.ends_with(":4"), "{high}");
    client.delete(&format!("{PATH}/{id}")).expect(204);
    client.delete(&format!("{PATH}/{id}")).expect_refused(404, "waits in queue 'q'");
    assert_eq!(payloads(&listed(&client)), ["low"]);
    client.get("/api/queues/%2f/none/scheduled").expect_refused(404, "no queue 'none'");
    let reader = broker.client_with("reader", ["", "", "other"]);
    reader.get(PATH).expect_refused(401, "access to queue 'q'");
    reader.delete(&format!("{PATH}/{id}")).expect_refused(401, "access to queue 'q'");
}
