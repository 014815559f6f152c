//! Peeking at a queue's messages.

use ferrymq::protocol::properties::BasicProperties;
use serde_json::{Value, json};

use crate::inside::*;
use crate::support::*;

fn payloads(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().expect("a list");
    items.iter().map(|item| item["payload"].as_str().expect("a text")).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

#[test]
fn a_queue_is_looked_at_in_order_and_stays_as_it_is() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let queue = amqp.declare("q", &json!({}));
    amqp.publish_all("", "q", numbers(0..5).into_iter());
    let seen = broker.client().get("/api/queues/%2f/q/messages?offset=1&count=2").expect(200);
    assert_eq!(payloads(&seen), ["m1", "m2"]);
    assert_eq!((&seen["messages_ready"], &seen["looked_at"]), (&json!(5), &json!(3)));
    let first = &seen["items"][0];
    let expected = json!({
        "id": first["id"], "position": 1, "payload_bytes": 2, "redelivered": false,
        "exchange": "", "routing_key": "q", "message_count": 3,
        "properties": {"delivery_mode": 2}, "payload": "m1", "payload_encoding": "string",
    });
    assert_eq!(first, &expected);
    let next = seen["next"].as_str().expect("there is more");
    let rest = broker.client().get(&format!("/api/queues/%2f/q/messages?from={next}")).expect(200);
    assert_eq!((payloads(&rest), &rest["next"]), (vec!["m3", "m4"], &json!(null)));
    let got = amqp.get(&queue, true).expect("there");
    assert_eq!((body_of(&got.entry.message), got.entry.redelivered), ("m0".to_owned(), false));
    assert_eq!(queue.status().unacked, 0);
}

/// What is behind the head is on disk only, and what a restart left is all there.
#[test]
fn a_long_queue_is_looked_at_on_disk() {
    let mut broker = TestBroker::with(|config| config.store.queue_memory_bytes_max = 0);
    let amqp = broker.inside();
    amqp.declare("q", &json!({}));
    amqp.publish_all("", "q", numbers(0..1500).into_iter());
    for _ in 0..2 {
        let path = "/api/queues/%2f/q/messages?offset=700&count=500";
        let seen = broker.client().get(path).expect(200);
        assert_eq!(payloads(&seen), numbers(700..1200));
        assert_eq!(seen["messages_ready"], 1500);
        broker.restart();
    }
    let amqp = broker.inside();
    let queue = amqp.vhost.queue("q").expect("durable");
    assert_eq!(amqp.drain(&queue), numbers(0..1500));
}

#[test]
fn messages_are_chosen_by_their_headers_and_cut() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    amqp.declare("q", &json!({}));
    for (body, customer) in [("apples", "acme"), ("pears", "other"), ("plums", "acme")] {
        let properties = with_headers(&json!({"customer": customer, "attempt": 3}));
        amqp.publish_with("", "q", body, &properties);
    }
    let path = "/api/queues/%2f/q/messages?header.customer=acme&header.attempt=3&truncate=3";
    let seen = broker.client().get(path).expect(200);
    assert_eq!(payloads(&seen), ["app", "plu"]);
    assert_eq!(
        (&seen["items"][1]["position"], &seen["items"][1]["payload_bytes"]),
        (&json!(2), &json!(5))
    );
    let seen = broker.client().get(&format!("{path}&offset=1&encoding=base64")).expect(200);
    assert_eq!(payloads(&seen), ["cGx1"]);
    let none = broker.client().get("/api/queues/%2f/q/messages?header.customer=x").expect(200);
    assert_eq!((&none["items"], &none["looked_at"]), (&json!([]), &json!(3)));
}

#[test]
fn higher_priorities_come_first_and_what_is_out_is_not_seen() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let queue = amqp.declare("q", &json!({"x-max-priority": 5}));
    for (body, priority) in [("low", 0), ("high", 5), ("middle", 3), ("highest", 9)] {
        let properties = BasicProperties { priority: Some(priority), ..Default::default() };
        amqp.publish_with("", "q", body, &properties);
    }
    let peek = || broker.client().get("/api/queues/%2f/q/messages").expect(200);
    assert_eq!(payloads(&peek()), ["high", "highest", "middle", "low"]);
    amqp.get(&queue, false).expect("there");
    assert_eq!(payloads(&peek()), ["highest", "middle", "low"]);
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    broker.inside().declare("q", &json!({}));
    let refused = [
        ("count=0", "count has to be a number from 1 to 500"),
        ("count=501", "count has to be"),
        ("count=many", "not 'many'"),
        ("offset=10001", "offset has to be a number from 0 to 10000"),
        ("truncate=-1", "truncate has to be"),
        ("from=12", "'12' is no id"),
        ("encoding=hex", "the encoding can't be 'hex'"),
    ];
    for (query, why) in refused {
        client.get(&format!("/api/queues/%2f/q/messages?{query}")).expect_refused(400, why);
    }
    client.get("/api/queues/%2f/none/messages").expect_refused(404, "no queue 'none'");
    client.get("/api/queues/none/q/messages").expect_refused(404, "no vhost 'none'");
    let long = "q".repeat(300);
    client.get(&format!("/api/queues/%2f/{long}/messages")).expect_refused(400, "255 bytes");
    broker.nobody().get("/api/queues/%2f/q/messages").expect(401);
}
