//! Getting messages over HTTP.

use ferrymq::protocol::generated::*;
use serde_json::{Value, json};

use crate::amqp::{Peer, long, persistent, short, table};
use crate::support::*;

const PATH: &str = "/api/queues/%2f/q/get";

fn asked(count: u64, ackmode: &str) -> Value {
    json!({"count": count, "ackmode": ackmode, "encoding": "auto"})
}

/// A column of the messages.
fn column(messages: &Value, name: &str) -> Vec<Value> {
    messages.as_array().expect("a list").iter().map(|message| message[name].clone()).collect()
}

/// A broker with a queue of these messages, whose dead ones go to the queue `dead`.
fn with_messages(bodies: &[&str]) -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let arguments = table([
        ("x-dead-letter-exchange", long("")),
        ("x-dead-letter-routing-key", long("dead")),
        ("x-delivery-limit", ferrymq::protocol::table::FieldValue::I32(2)),
    ]);
    let queue = short("q");
    peer.declare(1, QueueDeclare { queue, arguments, durable: true, ..QueueDeclare::default() });
    bodies.iter().for_each(|body| peer.publish_with(1, "", "q", body.as_bytes(), &persistent()));
    peer.sync(1);
    (broker, peer)
}

#[test]
fn a_message_is_answered_with_all_that_is_known_of_it() {
    let (broker, mut peer) = with_messages(&[]);
    let properties = BasicProperties {
        content_type: Some(short("text/plain")),
        headers: Some(table([("n", long("1"))])),
        ..BasicProperties::default()
    };
    peer.publish_with(1, "amq.direct", "nowhere", b"lost", &(&properties).into());
    peer.bind(1, "q", "amq.direct", "key");
    peer.publish_with(1, "amq.direct", "key", "grüße".as_bytes(), &(&properties).into());
    peer.sync(1);
    let expected = json!([{
        "payload_bytes": 7, "redelivered": false, "exchange": "amq.direct", "routing_key": "key",
        "message_count": 0, "payload": "grüße", "payload_encoding": "string",
        "properties": {"content_type": "text/plain", "headers": {"n": "1"}},
    }]);
    assert_eq!(broker.client().post(PATH, &asked(5, "ack_requeue_true")).expect(200), expected);
}

#[test]
fn messages_that_were_only_looked_at_stay_in_their_order() {
    let (broker, _peer) = with_messages(&["a", "b", "c"]);
    let client = broker.client();
    for (round, redelivered) in [(0, false), (1, true), (2, true), (3, true)] {
        let got = client.post(PATH, &asked(2, "ack_requeue_true")).expect(200);
        assert_eq!(column(&got, "payload"), ["a", "b"], "round {round}");
        assert_eq!(column(&got, "message_count"), [2, 1]);
        assert_eq!(column(&got, "redelivered"), [redelivered, redelivered]);
        assert_eq!(got[0]["properties"].get("headers"), None, "nothing was counted");
    }
    assert_eq!(client.get("/api/queues/%2f/q").expect(200)["messages_ready"], 3);
}

#[test]
fn messages_that_were_acked_are_gone_for_good() {
    let (mut broker, _peer) = with_messages(&["a", "b", "c"]);
    let got = broker.client().post(PATH, &asked(2, "ack_requeue_false")).expect(200);
    assert_eq!(column(&got, "payload"), ["a", "b"]);
    broker.restart();
    let left = broker.client().post(PATH, &asked(9, "ack_requeue_true")).expect(200);
    assert_eq!(column(&left, "payload"), ["c"]);
}

#[test]
fn messages_that_were_rejected_with_requeue_are_counted_and_die_in_the_end() {
    let (broker, _peer) = with_messages(&["a"]);
    let client = broker.client();
    for count in [None, Some(1), Some(2)] {
        let got = client.post(PATH, &asked(1, "reject_requeue_true")).expect(200);
        let headers = &got[0]["properties"]["headers"];
        assert_eq!(headers["x-delivery-count"].as_u64(), count, "{got}");
    }
    assert_eq!(client.post(PATH, &asked(1, "ack_requeue_true")).expect(200), json!([]));
    let dead = client.post("/api/queues/%2f/dead/get", &asked(1, "ack_requeue_true")).expect(200);
    assert_eq!(dead[0]["properties"]["headers"]["x-first-death-reason"], "delivery_limit");
}

#[test]
fn messages_that_were_rejected_go_to_the_dead_letter_exchange() {
    let (broker, _peer) = with_messages(&["a", "b"]);
    let client = broker.client();
    client.post(PATH, &asked(2, "reject_requeue_false")).expect(200);
    assert_eq!(client.get("/api/queues/%2f/q").expect(200)["messages"], 0);
    let dead = client.post("/api/queues/%2f/dead/get", &asked(2, "ack_requeue_false")).expect(200);
    assert_eq!(column(&dead, "payload"), ["a", "b"]);
    assert_eq!(dead[0]["properties"]["headers"]["x-death"][0]["reason"], "rejected");
}

#[test]
fn payloads_can_be_cut_and_be_base64() {
    let (broker, _peer) = with_messages(&["grüße"]);
    let client = broker.client();
    let got = |encoding: &str, truncate: Value| {
        let mut body = asked(1, "ack_requeue_true");
        (body["encoding"], body["truncate"]) = (json!(encoding), truncate);
        let got = client.post(PATH, &body).expect(200);
        let message = &got[0];
        assert_eq!(message["payload_bytes"], 7);
        (message["payload"].clone(), message["payload_encoding"].clone())
    };
    let pair = |payload: &str, encoding: &str| (json!(payload), json!(encoding));
    assert_eq!(got("auto", json!(null)), pair("grüße", "string"));
    assert_eq!(got("auto", json!(2)), pair("gr", "string"));
    assert_eq!(got("auto", json!("3")), pair("Z3LD", "base64"));
    assert_eq!(got("base64", json!(2)), pair("Z3I=", "base64"));
    assert_eq!(got("auto", json!(100)), pair("grüße", "string"));
}

/// What is behind the head of a queue is on disk only.
#[test]
fn messages_come_from_the_disk_in_their_order() {
    const COUNT: usize = 3_000;
    let mut broker = TestBroker::with(|config| config.store.queue_memory_bytes_max = 0);
    let mut peer = broker.channel();
    let queue = short("q");
    peer.declare(1, QueueDeclare { queue, durable: true, ..QueueDeclare::default() });
    let expected: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
    let publish = |body: &String| peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
    expected.iter().for_each(publish);
    peer.sync(1);
    broker.restart();
    let client = broker.client();
    for mode in ["ack_requeue_true", "ack_requeue_false"] {
        let got = client.post(PATH, &asked(COUNT as u64 + 1, mode)).expect(200);
        assert_eq!(column(&got, "payload"), expected, "{mode}");
    }
    assert_eq!(client.get("/api/queues/%2f/q").expect(200)["messages"], 0);
}

#[test]
fn what_cannot_be_got_is_named_with_its_reason() {
    let (broker, _peer) = with_messages(&["a"]);
    let client = broker.client();
    for (name, value, reason) in [
        ("count", json!(10_001), "at most 10000 messages"),
        ("count", json!(-1), "a number of 0 or more is needed, not -1"),
        ("count", json!("a"), "a number of 0 or more is needed, not \"a\""),
        ("ackmode", json!("perhaps"), "unknown variant `perhaps`"),
        ("encoding", json!("utf-16"), "unknown variant `utf-16`"),
        ("truncate", json!(true), "a number of 0 or more is needed, not true"),
    ] {
        let mut body = asked(1, "ack_requeue_true");
        body[name] = value;
        client.post(PATH, &body).expect_refused(400, reason);
    }
    client.post(PATH, &json!({"count": 1})).expect_refused(400, "missing field `ackmode`");
    let one = asked(1, "ack_requeue_true");
    client.post("/api/queues/%2f/none/get", &one).expect_refused(404, "no queue 'none'");
    client.post("/api/queues/nowhere/q/get", &one).expect_refused(404, "no vhost 'nowhere'");
    let long = format!("/api/queues/%2f/{}/get", "q".repeat(300));
    client.post(&long, &one).expect_refused(400, "longer than 255 bytes");
    let carol = broker.client_with("carol", [".*", ".*", "^mine"]);
    carol.post(PATH, &one).expect_refused(401, "read access to queue 'q' in vhost '/' refused");
    let none = json!({"count": "0", "ackmode": "ack_requeue_true", "encoding": "auto"});
    assert_eq!(client.post(PATH, &none).expect(200), json!([]));
}
