//! Publishing: confirms, returns, refusals, dead letters.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

fn confirming(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    let selected = peer.call(1, ConfirmSelect::default());
    assert_eq!(selected, Method::from(ConfirmSelectOk));
    peer
}

/// Receives acks until all numbers up to `last` are confirmed; no number twice.
fn expect_confirms(peer: &mut Peer, last: u64) {
    let mut confirmed = 0;
    while confirmed < last {
        match peer.receive(1) {
            Method::BasicAck(BasicAck { delivery_tag, multiple }) => {
                assert!(delivery_tag > confirmed && (multiple || delivery_tag == confirmed + 1));
                confirmed = delivery_tag;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(confirmed, last);
}

#[test]
fn every_publish_is_confirmed_once_in_order() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() });
    (0..200).for_each(|_| peer.publish_with(1, "", "q", b"m", &persistent()));
    expect_confirms(&mut peer, 200);
    assert_eq!(peer.ready(1, "q"), 200);
}

#[test]
fn transient_and_unroutable_publishes_are_confirmed_as_well() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "transient");
    peer.publish(1, "", "nowhere", "lost");
    expect_confirms(&mut peer, 2);
}

#[test]
fn a_mandatory_message_comes_back_before_its_confirm() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    let routing_key = short("nowhere");
    peer.send(1, BasicPublish { routing_key, mandatory: true, ..BasicPublish::default() });
    peer.send_header(1, 4, &persistent());
    peer.send_body(1, b"back");
    let returned = peer.receive_content(1);
    let expected = BasicReturn {
        reply_code: 312,
        reply_text: short("NO_ROUTE"),
        exchange: short(""),
        routing_key: short("nowhere"),
    };
    assert_eq!(returned.method, Method::from(expected));
    assert_eq!((returned.body.as_slice(), returned.properties), (&b"back"[..], persistent()));
    expect_confirms(&mut peer, 1);
}

#[test]
fn confirm_mode_may_be_chosen_twice_but_not_with_tx() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.send(1, ConfirmSelect { nowait: true });
    assert_eq!(peer.call(1, ConfirmSelect::default()), Method::from(ConfirmSelectOk));
    peer.send(1, TxSelect);
    let text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode";
    assert_eq!(peer.expect_channel_close(1), (406, text.to_owned()));
}

#[test]
fn publishing_to_nothing_is_404_and_immediate_540() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.publish(1, "missing", "k", "m");
    let Method::ChannelClose(close) = peer.receive(1) else { panic!("no close") };
    assert_eq!((close.reply_code, close.class_id, close.method_id), (404, 60, 40));
    assert_eq!(close.reply_text, "NOT_FOUND - no exchange 'missing' in vhost '/'");
    peer.send(1, ChannelCloseOk);
    peer.open_channel(1);
    peer.send(1, BasicPublish { immediate: true, ..BasicPublish::default() });
    peer.send_header(1, 0, &Properties::default());
    let expected = (540, "NOT_IMPLEMENTED - immediate=true".to_owned());
    assert_eq!(peer.expect_connection_close(), expected);
}

#[test]
fn each_message_goes_where_its_own_key_leads_at_an_exchange_of_the_moment() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for queue in ["a", "b"] {
        peer.declare_queue(1, queue);
        peer.bind(1, queue, "amq.direct", queue);
    }
    let mut publish = |keys: &[&str]| {
        keys.iter().for_each(|key| peer.publish(1, "amq.direct", key, "m"));
        (peer.ready(1, "a"), peer.ready(1, "b"))
    };
    assert_eq!(publish(&["a", "b", "b", "nowhere", "a", "b"]), (2, 3));
    let mut other = broker.channel();
    other.bind(1, "b", "amq.direct", "a");
    assert_eq!(publish(&["b", "a"]), (3, 5));
    let exchange = short("amq.direct");
    other.call(
        1,
        QueueUnbind { queue: short("a"), exchange, routing_key: short("a"), ..Default::default() },
    );
    assert_eq!(publish(&["b", "a"]), (3, 7));
}

#[test]
fn another_key_at_an_exchange_that_is_gone_is_404() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let exchange = short("mine");
    let declare = ExchangeDeclare { exchange, kind: short("direct"), ..Default::default() };
    peer.call(1, declare);
    peer.publish(1, "mine", "a", "m");
    peer.sync(1);
    broker.channel().call(1, ExchangeDelete { exchange: short("mine"), ..Default::default() });
    peer.publish(1, "mine", "b", "m");
    assert_eq!(peer.expect_channel_close(1).0, 404);
}

#[test]
fn what_was_published_before_an_error_has_taken_effect() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "before");
    peer.publish(1, "missing", "q", "error");
    peer.publish(1, "", "q", "after");
    assert_eq!(peer.expect_channel_close(1).0, 404);
    peer.open_channel(1);
    assert_eq!(peer.get(1, "q", true).expect("there").body, b"before");
    assert_eq!(peer.get(1, "q", true), None);
}

/// The deaths in a message's headers.
fn deaths(content: &Content) -> Vec<FieldValue> {
    let headers = content.properties.headers().expect("headers");
    headers.get("x-death").and_then(FieldValue::as_array).expect("x-death").to_vec()
}

#[test]
fn a_rejected_message_goes_to_the_dead_letter_exchange_with_an_account() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let arguments =
        table([("x-dead-letter-exchange", long("")), ("x-dead-letter-routing-key", long("dead"))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    peer.bind(1, "q", "amq.direct", "k");
    let headers = Some(table([("x-death", long("not to be trusted")), ("keep", long("me"))]));
    let expiration = Some(short("60000"));
    let properties = BasicProperties { headers, expiration, ..BasicProperties::default() };
    peer.publish_with(1, "amq.direct", "k", b"m", &(&properties).into());
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicReject { delivery_tag: 1, requeue: false });
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", false).expect("there");
    let Method::BasicGetOk(got) = &dead.method else { panic!("{:?}", dead.method) };
    assert_eq!((&*got.exchange, &*got.routing_key, got.redelivered), ("", "dead", false));
    let entries = deaths(&dead);
    assert_eq!(entries.len(), 1);
    let death = entries[0].as_table().expect("a table");
    assert_eq!(death.get("count"), Some(&FieldValue::I64(1)));
    assert_eq!(death.get("reason"), Some(&long("rejected")));
    assert_eq!(death.get("queue"), Some(&long("q")));
    assert_eq!(death.get("exchange"), Some(&long("amq.direct")));
    assert_eq!(death.get("routing-keys"), Some(&FieldValue::Array(vec![long("k")])));
    assert_eq!(death.get("original-expiration"), Some(&long("60000")));
    assert!(matches!(death.get("time"), Some(FieldValue::Timestamp(_))));
    let properties = dead.properties.decode().expect("valid");
    assert_eq!(properties.expiration, None);
    let headers = properties.headers.expect("headers");
    assert_eq!(headers.get("keep"), Some(&long("me")));
    assert_eq!(headers.get("x-first-death-queue"), Some(&long("q")));
    assert_eq!(headers.get("x-last-death-reason"), Some(&long("rejected")));
}

/// Such properties once ended the publisher's connection, and a dead letter would have lost them.
#[test]
fn a_correlation_id_that_is_no_text_survives_a_dead_letter() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let arguments =
        table([("x-dead-letter-exchange", long("")), ("x-dead-letter-routing-key", long("dead"))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    let bytes = bytes::Bytes::from_static(b"\x04\x00\x04\xff\xfe\x00\x80");
    let properties = Properties::parse(bytes).expect("carried, not read");
    peer.publish_with(1, "", "q", b"m", &properties);
    assert_eq!(peer.get(1, "q", false).expect("there").properties, properties);
    peer.send(1, BasicReject { delivery_tag: 1, requeue: false });
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", false).expect("there");
    assert_eq!(deaths(&dead).len(), 1);
    assert!(dead.properties.as_bytes().ends_with(b"\x04\xff\xfe\x00\x80"));
}

#[test]
fn a_second_death_in_the_same_queue_is_counted() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments =
        table([("x-dead-letter-exchange", long("")), ("x-dead-letter-routing-key", long("q"))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    peer.publish(1, "", "q", "m");
    for tag in 1..=3 {
        peer.wait_for_ready(1, "q", 1);
        peer.get(1, "q", false).expect("there");
        peer.send(1, BasicNack { delivery_tag: tag, ..BasicNack::default() });
    }
    peer.wait_for_ready(1, "q", 1);
    let entries = deaths(&peer.get(1, "q", true).expect("there"));
    assert_eq!(entries.len(), 1);
    assert_eq!(
        entries[0].as_table().and_then(|death| death.get("count")),
        Some(&FieldValue::I64(3))
    );
}

#[test]
fn a_missing_dead_letter_exchange_drops_the_message() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-dead-letter-exchange", long("missing"))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    peer.publish(1, "", "q", "m");
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicReject { delivery_tag: 1, requeue: false });
    peer.sync(1);
    assert_eq!(peer.ready(1, "q"), 0);
}
