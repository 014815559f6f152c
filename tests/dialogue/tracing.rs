//! The firehose: copies of what is published and delivered in a vhost that is traced.

use std::sync::Arc;

use ferrymq::broker::vhost::Vhost;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

const TRACE: &str = "amq.rabbitmq.trace";

fn vhost(broker: &TestBroker) -> Arc<Vhost> {
    broker.broker().vhost("/").expect("it is there from the start")
}

/// A broker whose vhost is traced into the queue `traces`, and a client of it.
fn traced(binding_key: &str) -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "traces");
    peer.bind(1, "traces", TRACE, binding_key);
    peer.declare_queue(1, "q");
    vhost(&broker).set_tracing(true, None);
    (broker, peer)
}

struct Copy {
    key: String,
    headers: FieldTable,
    body: Vec<u8>,
}

/// The oldest copy in `traces`, of which so many are left.
fn next(peer: &mut Peer, left: u32) -> Copy {
    let content = peer.get(1, "traces", true).expect("a copy");
    let Method::BasicGetOk(got) = content.method else { panic!("{:?}", content.method) };
    assert_eq!((got.exchange.as_str(), got.message_count), (TRACE, left));
    let headers = content.properties.headers().expect("all copies have some");
    Copy { key: got.routing_key.to_string(), headers, body: content.body }
}

impl Copy {
    fn text(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(FieldValue::as_str);
        value.unwrap_or_else(|| panic!("{name}: {:?}", self.headers))
    }
}

fn texts(list: &[&str]) -> FieldValue {
    FieldValue::Array(list.iter().map(|text| long(text)).collect())
}

#[test]
fn what_is_published_is_copied_with_where_it_goes() {
    let (broker, mut peer) = traced("publish.#");
    peer.bind(1, "q", "amq.topic", "a.#");
    let cc = FieldValue::Array(vec![long("c")]);
    let headers = table([("h", FieldValue::I32(1)), ("CC", cc)]);
    let properties = Properties::from(&BasicProperties {
        content_type: Some(short("text/plain")),
        headers: Some(headers.clone()),
        priority: Some(3),
        ..BasicProperties::default()
    });
    peer.publish_with(1, "amq.topic", "a.b", b"body", &properties);
    peer.sync(1);
    let copy = next(&mut peer, 0);
    assert_eq!(
        (copy.key.as_str(), copy.body.as_slice()),
        ("publish.amq.topic", b"body".as_slice())
    );
    assert_eq!(copy.text("exchange_name"), "amq.topic");
    assert_eq!(copy.headers.get("routing_keys"), Some(&texts(&["a.b", "c"])));
    assert_eq!(copy.headers.get("routed_queues"), Some(&texts(&["q"])));
    assert_eq!((copy.text("vhost"), copy.text("user")), ("/", "guest"));
    assert_eq!(copy.headers.get("channel"), Some(&FieldValue::I32(1)));
    assert!(copy.text("connection").ends_with(&format!(" -> {}", broker.amqp_address())));
    let expected = table([
        ("content_type", long("text/plain")),
        ("headers", FieldValue::Table(headers)),
        ("priority", FieldValue::I32(3)),
    ]);
    assert_eq!(copy.headers.get("properties"), Some(&FieldValue::Table(expected)));
}

#[test]
fn what_goes_nowhere_is_copied_too() {
    let (_broker, mut peer) = traced("publish.#");
    peer.publish(1, "", "nowhere", "lost");
    peer.sync(1);
    let copy = next(&mut peer, 0);
    assert_eq!((copy.key.as_str(), copy.body.as_slice()), ("publish.", b"lost".as_slice()));
    assert_eq!(copy.headers.get("routed_queues"), Some(&texts(&[])));
}

#[test]
fn what_is_delivered_and_got_is_copied() {
    let (_broker, mut peer) = traced("deliver.q");
    peer.publish(1, "", "q", "body");
    peer.consume(1, "q", "c");
    let (delivery_tag, ..) = peer.delivery(1);
    peer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    peer.send(1, BasicReject { delivery_tag, requeue: true });
    peer.get(1, "q", true).expect("it came back");
    for (redelivered, left) in [(0, 1), (1, 0)] {
        let copy = next(&mut peer, left);
        assert_eq!((copy.key.as_str(), copy.body.as_slice()), ("deliver.q", b"body".as_slice()));
        assert_eq!(copy.headers.get("redelivered"), Some(&FieldValue::I32(redelivered)));
        assert_eq!((copy.text("exchange_name"), copy.text("user")), ("", "guest"));
    }
}

#[test]
fn a_transactions_publishes_are_copied_when_it_commits() {
    let (_broker, mut peer) = traced("publish.#");
    peer.call(1, TxSelect);
    peer.publish(1, "", "q", "body");
    assert_eq!(peer.ready(1, "traces"), 0);
    peer.call(1, TxCommit);
    assert_eq!(next(&mut peer, 0).headers.get("routed_queues"), Some(&texts(&["q"])));
}

#[test]
fn reading_the_copies_makes_no_more_of_them() {
    let (_broker, mut peer) = traced("#");
    peer.publish(1, "", "q", "0");
    peer.sync(1);
    assert_eq!(next(&mut peer, 0).key, "publish.");
    assert_eq!(peer.ready(1, "traces"), 0);
    peer.consume(1, "traces", "c");
    peer.publish(1, "", "q", "1");
    assert_eq!(peer.delivery(1).2, "1");
    peer.expect_silence();
}

#[test]
fn a_copy_that_has_died_is_no_news_either() {
    let (_broker, mut peer) = traced("nothing");
    let arguments =
        table([("x-dead-letter-exchange", long("")), ("x-dead-letter-routing-key", long("dead"))]);
    let queue = short("short-lived");
    peer.declare(1, QueueDeclare { queue, arguments, ..QueueDeclare::default() });
    peer.bind(1, "short-lived", TRACE, "publish.#");
    peer.declare_queue(1, "dead");
    peer.bind(1, "traces", TRACE, "deliver.dead");
    peer.publish(1, "", "q", "0");
    peer.sync(1);
    peer.get(1, "short-lived", false).expect("a copy");
    peer.send(1, BasicReject { delivery_tag: 1, requeue: false });
    peer.wait_for_ready(1, "dead", 1);
    peer.get(1, "dead", true).expect("the dead copy");
    assert_eq!(peer.ready(1, "traces"), 0);
}

#[test]
fn nothing_is_copied_while_it_is_off_nor_after_a_restart() {
    let (mut broker, mut peer) = traced("#");
    vhost(&broker).set_tracing(false, None);
    peer.publish(1, "", "q", "0");
    peer.get(1, "q", true).expect("there");
    assert_eq!(peer.ready(1, "traces"), 0);
    vhost(&broker).set_tracing(true, None);
    broker.restart();
    assert!(!vhost(&broker).is_tracing());
}

#[test]
fn clients_can_not_publish_copies() {
    let (_broker, mut peer) = traced("#");
    peer.publish(1, TRACE, "publish.x", "forged");
    assert_eq!(peer.expect_channel_close(1).0, 403);
}

/// Its exchange's own queue was named, which nobody else knows.
#[test]
fn what_is_delayed_is_published_to_no_queue_yet() {
    let (_broker, mut peer) = traced("publish.#");
    let (exchange, kind) = (short("later"), short("x-delayed-message"));
    let arguments = table([("x-delayed-type", long("direct"))]);
    let declare = ExchangeDeclare { exchange, kind, arguments, ..ExchangeDeclare::default() };
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
    peer.bind(1, "q", "later", "q");
    for (delay, queues) in [(3_600_000, texts(&[])), (0, texts(&["q"]))] {
        let headers = Some(table([("x-delay", FieldValue::I32(delay))]));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        peer.publish_with(1, "later", "q", b"m", &Properties::from(&properties));
        peer.wait_for_ready(1, "traces", 1);
        assert_eq!(next(&mut peer, 0).headers.get("routed_queues"), Some(&queues));
    }
}
