//! CC and BCC: headers that add routing keys.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

fn keys(keys: &[&str]) -> FieldValue {
    FieldValue::Array(keys.iter().map(|key| long(key)).collect())
}

fn with(headers: FieldTable) -> Properties {
    Properties::from(&BasicProperties { headers: Some(headers), ..BasicProperties::default() })
}

fn cc(names: &[&str]) -> Properties {
    with(table([("CC", keys(names))]))
}

fn bodies(peer: &mut Peer, queue: &str) -> Vec<String> {
    std::iter::from_fn(|| peer.get(1, queue, true))
        .map(|content| String::from_utf8(content.body).expect("text"))
        .collect()
}

fn queues<const N: usize>(peer: &mut Peer, names: [&str; N]) {
    for name in names {
        peer.declare_queue(1, name);
    }
}

/// How many messages are ready in each.
fn counts<const N: usize>(peer: &mut Peer, names: [&str; N]) -> [u32; N] {
    peer.sync(1);
    names.map(|name| peer.ready(1, name))
}

#[test]
fn the_default_exchange_gives_one_copy_to_each_queue_that_is_named() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a", "b", "c", "d"]);
    let headers = table([("CC", keys(&["b", "a", "missing", "b"])), ("BCC", keys(&["c", "a"]))]);
    peer.publish_with(1, "", "a", b"m", &with(headers));
    assert_eq!(counts(&mut peer, ["a", "b", "c", "d"]), [1, 1, 1, 0]);
}

#[test]
fn every_type_of_exchange_sees_all_keys() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (exchange, first, second) in
        [("amq.direct", "k1", "k2"), ("amq.topic", "k1", "*"), ("amq.fanout", "", "")]
    {
        queues(&mut peer, ["first", "second", "both"]);
        peer.bind(1, "first", exchange, first);
        peer.bind(1, "second", exchange, second);
        peer.bind(1, "both", exchange, first);
        peer.bind(1, "both", exchange, second);
        peer.publish_with(1, exchange, "k1", b"m", &cc(&["k2"]));
        assert_eq!(counts(&mut peer, ["first", "second", "both"]), [1, 1, 1], "{exchange}");
        for queue in ["first", "second", "both"] {
            let delete = QueueDelete { queue: short(queue), ..QueueDelete::default() };
            assert!(matches!(peer.call(1, delete), Method::QueueDeleteOk(_)));
        }
    }
}

#[test]
fn the_keys_go_with_the_message_from_exchange_to_exchange() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["q"]);
    let (destination, source) = (short("amq.direct"), short("amq.fanout"));
    let bind = ExchangeBind { destination, source, ..ExchangeBind::default() };
    assert_eq!(peer.call(1, bind), Method::from(ExchangeBindOk));
    peer.bind(1, "q", "amq.direct", "blind");
    peer.publish_with(1, "amq.fanout", "k", b"m", &with(table([("BCC", keys(&["blind"]))])));
    assert_eq!(counts(&mut peer, ["q"]), [1]);
}

#[test]
fn bcc_is_gone_from_what_is_delivered_and_all_else_is_there() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a", "blind"]);
    let properties = |headers| BasicProperties {
        headers: Some(headers),
        correlation_id: Some(short("c")),
        priority: Some(3),
        ..BasicProperties::default()
    };
    let before = table([("n", FieldValue::I16(1)), ("CC", keys(&["x"]))]);
    let came = table([
        ("n", FieldValue::I16(1)),
        ("BCC", keys(&["blind"])),
        ("CC", keys(&["x"])),
        ("BCC", keys(&["again"])),
    ]);
    // Twice: the second time the properties are known.
    for _ in 0..2 {
        peer.publish_with(1, "", "a", b"m", &Properties::from(&properties(came.clone())));
    }
    for queue in ["a", "blind", "a", "blind"] {
        let got = peer.get(1, queue, true).expect("a copy").properties;
        assert_eq!(got, Properties::from(&properties(before.clone())), "{queue}");
    }
}

#[test]
fn bcc_is_not_in_what_is_stored() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let durable = QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() };
    peer.declare(1, durable);
    assert_eq!(peer.call(1, ConfirmSelect::default()), Method::from(ConfirmSelectOk));
    let properties = BasicProperties {
        headers: Some(table([("BCC", keys(&["q"]))])),
        delivery_mode: Some(2),
        ..BasicProperties::default()
    };
    peer.publish_with(1, "", "nowhere", b"m", &Properties::from(&properties));
    assert!(matches!(peer.receive(1), Method::BasicAck(_)));
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    let got = peer.get(1, "q", true).expect("it was confirmed");
    assert_eq!(got.properties.headers(), Some(FieldTable::default()));
}

#[test]
fn a_header_of_another_type_is_refused_and_other_elements_are_passed_over() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a", "b"]);
    for (name, value, kind) in
        [("CC", long("b"), "longstr"), ("BCC", FieldValue::Table(FieldTable::default()), "table")]
    {
        peer.publish_with(1, "", "a", b"m", &with(table([(name, value)])));
        let text = format!(
            "PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"
        );
        assert_eq!(peer.expect_channel_close(1), (406, text));
        peer.open_channel(1);
    }
    let elements = FieldValue::Array(vec![FieldValue::I32(1), long("b"), FieldValue::Void]);
    peer.publish_with(1, "", "a", b"m", &with(table([("CC", elements)])));
    assert_eq!(counts(&mut peer, ["a", "b"]), [1, 1]);
}

/// The way of a key is remembered between messages; keys that one of them adds must not be.
#[test]
fn a_message_without_extra_keys_goes_its_own_way_before_and_after_one_with_them() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a", "b"]);
    for _ in 0..3 {
        peer.publish(1, "", "a", "m");
        peer.publish(1, "", "a", "m");
        peer.publish_with(1, "", "a", b"m", &cc(&["b"]));
    }
    assert_eq!(counts(&mut peer, ["a", "b"]), [9, 3]);
}

#[test]
fn extra_keys_hold_in_transactions() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a", "b", "c"]);
    assert_eq!(peer.call(1, TxSelect), Method::from(TxSelectOk));
    let headers = table([("CC", keys(&["b"])), ("BCC", keys(&["c"]))]);
    peer.publish_with(1, "", "a", b"m", &with(headers));
    assert_eq!(counts(&mut peer, ["a", "b", "c"]), [0, 0, 0]);
    assert_eq!(peer.call(1, TxCommit), Method::from(TxCommitOk));
    assert_eq!(counts(&mut peer, ["a", "b", "c"]), [1, 1, 1]);
    let got = peer.get(1, "c", true).expect("a copy").properties;
    assert_eq!(got, cc(&["b"]));
}

#[test]
fn a_mandatory_message_is_returned_when_none_of_its_keys_leads_anywhere() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queues(&mut peer, ["a"]);
    let mut publish = |key: &str| {
        let publish =
            BasicPublish { routing_key: short("none"), mandatory: true, ..BasicPublish::default() };
        peer.send(1, publish);
        let headers = table([("CC", keys(&["neither"])), ("BCC", keys(&[key]))]);
        peer.send_header(1, 0, &with(headers));
    };
    publish("a");
    publish("nobody");
    let returned = peer.receive_content(1);
    let Method::BasicReturn(method) = returned.method else { panic!("{:?}", returned.method) };
    assert_eq!((method.reply_code, method.routing_key.as_str()), (312, "none"));
    assert_eq!(returned.properties, cc(&["neither"]));
    assert_eq!(bodies(&mut peer, "a").len(), 1);
}

fn dead_lettering(name: &str, key: Option<&str>) -> QueueDeclare {
    let mut arguments = table([("x-dead-letter-exchange", long("amq.direct"))]);
    if let Some(key) = key {
        arguments.insert(short("x-dead-letter-routing-key"), long(key));
    }
    QueueDeclare { queue: short(name), arguments, ..QueueDeclare::default() }
}

fn reject_one(peer: &mut Peer, queue: &str) {
    let got = peer.get(1, queue, false).expect("a message");
    let Method::BasicGetOk(got) = got.method else { panic!("{:?}", got.method) };
    let delivery_tag = got.delivery_tag;
    peer.send(1, BasicReject { delivery_tag, requeue: false });
}

#[test]
fn a_dead_letter_takes_all_its_keys_but_bcc() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, dead_lettering("source", None));
    for name in ["source", "extra", "blind"] {
        peer.declare_queue(1, &format!("dead-{name}"));
        peer.bind(1, &format!("dead-{name}"), "amq.direct", name);
    }
    let headers = table([("CC", keys(&["extra"])), ("BCC", keys(&["blind"]))]);
    peer.publish_with(1, "", "source", b"m", &with(headers));
    reject_one(&mut peer, "source");
    assert_eq!(counts(&mut peer, ["dead-source", "dead-extra", "dead-blind"]), [1, 1, 0]);
    let headers = peer.get(1, "dead-extra", true).expect("a copy").properties.headers();
    let headers = headers.expect("at least x-death");
    let deaths = headers.get("x-death").and_then(FieldValue::as_array).expect("an array");
    let death = deaths[0].as_table().expect("a table");
    assert_eq!(death.get("routing-keys"), Some(&keys(&["source", "extra"])));
    assert_eq!(headers.get("CC"), Some(&keys(&["extra"])));
}

#[test]
fn a_dead_letter_routing_key_takes_the_place_of_all_keys() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, dead_lettering("source", Some("new")));
    for name in ["source", "extra", "new"] {
        peer.declare_queue(1, &format!("dead-{name}"));
        peer.bind(1, &format!("dead-{name}"), "amq.direct", name);
    }
    peer.publish_with(1, "", "source", b"m", &cc(&["extra"]));
    reject_one(&mut peer, "source");
    assert_eq!(counts(&mut peer, ["dead-source", "dead-extra", "dead-new"]), [0, 0, 1]);
    let headers = peer.get(1, "dead-new", true).expect("a copy").properties.headers();
    assert_eq!(headers.expect("at least x-death").get("CC"), None);
}
