//! What the types of exchange have in common with RabbitMQ's in detail: whom a message reaches, and
//! what is refused.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

fn bind(queue: &str, exchange: &str, key: &str) -> QueueBind {
    let (queue, exchange, routing_key) = (short(queue), short(exchange), short(key));
    QueueBind { queue, exchange, routing_key, ..QueueBind::default() }
}

fn bodies(peer: &mut Peer, queue: &str) -> Vec<String> {
    std::iter::from_fn(|| peer.get(1, queue, true))
        .map(|content| String::from_utf8(content.body).expect("text"))
        .collect()
}

fn headers(headers: FieldTable) -> Properties {
    Properties::from(&BasicProperties { headers: Some(headers), ..BasicProperties::default() })
}

/// One queue for each condition, all bound to amq.headers.
#[test]
fn a_headers_binding_says_how_many_of_its_pairs_are_needed() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let conditions = [
        ("all of nothing", table([])),
        ("any of nothing", table([("x-match", long("any"))])),
        ("a is there", table([("a", FieldValue::Void)])),
        ("a is 1", table([("a", FieldValue::I64(1))])),
        ("a is 1.0", table([("a", FieldValue::F64(1.0))])),
        ("a is '1'", table([("a", long("1"))])),
        ("x is passed over", table([("x-b", long("2"))])),
        ("all with x", table([("x-match", long("all-with-x")), ("x-b", long("2"))])),
        ("any with x", table([("x-match", long("any-with-x")), ("x-b", long("2"))])),
    ];
    for (queue, arguments) in conditions.clone() {
        peer.declare_queue(1, queue);
        let request = QueueBind { arguments, ..bind(queue, "amq.headers", "") };
        assert_eq!(peer.call(1, request), Method::from(QueueBindOk));
    }
    let mut got_by = |properties: &Properties| -> Vec<&str> {
        peer.publish_with(1, "amq.headers", "", b"m", properties);
        peer.sync(1);
        let all = conditions.iter().map(|(queue, _)| *queue);
        all.filter(|queue| !bodies(&mut peer, queue).is_empty()).collect()
    };
    let always = ["all of nothing", "x is passed over"];
    assert_eq!(got_by(&Properties::default()), always);
    let number = headers(table([("a", FieldValue::U8(1))]));
    assert_eq!(got_by(&number), ["all of nothing", "a is there", "a is 1", "x is passed over"]);
    let text = headers(table([("a", long("1"))]));
    assert_eq!(got_by(&text), ["all of nothing", "a is there", "a is '1'", "x is passed over"]);
    let with_x = headers(table([("x-b", long("2"))]));
    assert_eq!(got_by(&with_x), [&always[..], &["all with x", "any with x"]].concat());
}

#[test]
fn a_headers_binding_with_an_odd_mode_is_refused_in_the_words_clients_know() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    for (value, text) in [
        (
            long("most"),
            "Invalid x-match field value <<\"most\">>; expected all, any, all-with-x, or any-with-x",
        ),
        (FieldValue::I32(1), "Invalid x-match field type signedint (value 1); expected longstr"),
    ] {
        let arguments = table([("x-match", value)]);
        let request = QueueBind { arguments, ..bind("q", "amq.headers", "") };
        assert_eq!(peer.refused(request), (406, format!("PRECONDITION_FAILED - {text}")));
    }
}

#[test]
fn a_topic_pattern_may_have_many_hashes() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "amq.topic", "#.a.#.b.#.c.#");
    for key in ["a.b.c", "x.a.x.b.x.c.x", "a.c.b"] {
        peer.publish(1, "amq.topic", key, key);
    }
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "q"), ["a.b.c", "x.a.x.b.x.c.x"]);
}
