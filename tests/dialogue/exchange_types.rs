//! The exchange types beside direct, fanout, topic and headers: whom a message reaches, and what is
//! refused.

use std::collections::BTreeMap;

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

fn declare(name: &str, kind: &str, arguments: FieldTable) -> ExchangeDeclare {
    let (exchange, kind) = (short(name), short(kind));
    ExchangeDeclare { exchange, kind, durable: true, arguments, ..ExchangeDeclare::default() }
}

fn declared(peer: &mut Peer, name: &str, kind: &str, arguments: FieldTable) {
    assert_eq!(peer.call(1, declare(name, kind, arguments)), Method::from(ExchangeDeclareOk));
}

fn durable_queue(peer: &mut Peer, name: &str) {
    peer.declare(1, QueueDeclare { queue: short(name), durable: true, ..QueueDeclare::default() });
}

fn bind(queue: &str, exchange: &str, key: &str) -> QueueBind {
    let (queue, exchange, routing_key) = (short(queue), short(exchange), short(key));
    QueueBind { queue, exchange, routing_key, ..QueueBind::default() }
}

fn bodies(peer: &mut Peer, queue: &str) -> Vec<String> {
    std::iter::from_fn(|| peer.get(1, queue, true))
        .map(|content| String::from_utf8(content.body).expect("text"))
        .collect()
}

/// Publishes a message for each key, with the key in it; answers by key the queues that it reached.
fn reached(
    peer: &mut Peer,
    exchange: &str,
    queues: &[&str],
    count: u32,
) -> BTreeMap<String, Vec<String>> {
    for key in 0..count {
        peer.publish(1, exchange, &key.to_string(), &key.to_string());
    }
    peer.sync(1);
    let mut reached: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for queue in queues {
        for key in bodies(peer, queue) {
            reached.entry(key).or_default().push((*queue).to_owned());
        }
    }
    reached
}

fn count_of(reached: &BTreeMap<String, Vec<String>>, queue: &str) -> usize {
    reached.values().filter(|queues| *queues == &[queue.to_owned()]).count()
}

fn headers(headers: FieldTable) -> Properties {
    Properties::from(&BasicProperties { headers: Some(headers), ..BasicProperties::default() })
}

#[test]
fn a_consistent_hash_exchange_gives_each_key_to_one_queue_by_weight() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-consistent-hash", FieldTable::default());
    let queues = ["q1", "q2", "q3", "q4"];
    for (queue, weight) in queues.iter().zip(["1", "1", "8", "8"]) {
        peer.declare_queue(1, queue);
        peer.bind(1, queue, "x", weight);
    }
    let first = reached(&mut peer, "x", &queues, 900);
    assert_eq!(first.len(), 900);
    assert!(first.values().all(|queues| queues.len() == 1));
    let counts = queues.map(|queue| count_of(&first, queue));
    assert!(counts[..2].iter().all(|count| (10..120).contains(count)), "{counts:?}");
    assert!(counts[2..].iter().all(|count| (300..500).contains(count)), "{counts:?}");
    assert_eq!(reached(&mut peer, "x", &queues, 900), first);
}

#[test]
fn only_the_share_of_a_queue_that_goes_moves_and_a_restart_moves_nothing() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-consistent-hash", FieldTable::default());
    let queues = ["q1", "q2", "q3"];
    for queue in queues {
        durable_queue(&mut peer, queue);
        peer.bind(1, queue, "x", "10");
    }
    let before = reached(&mut peer, "x", &queues, 300);
    let delete = QueueDelete { queue: short("q2"), ..QueueDelete::default() };
    assert!(matches!(peer.call(1, delete), Method::QueueDeleteOk(_)));
    let after = reached(&mut peer, "x", &["q1", "q3"], 300);
    assert_eq!(after.len(), 300);
    for (key, queues) in &before {
        assert!(*queues == ["q2"] || after[key] == *queues, "{key} moved without need");
    }
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(reached(&mut peer, "x", &["q1", "q3"], 300), after);
}

#[test]
fn a_header_is_hashed_where_the_exchange_names_one() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-consistent-hash", table([("hash-header", long("customer"))]));
    for queue in ["q1", "q2"] {
        peer.declare_queue(1, queue);
        peer.bind(1, queue, "x", "1");
    }
    for number in 0..50 {
        let customer = headers(table([("customer", long(&format!("c{}", number % 10)))]));
        peer.publish_with(1, "x", &number.to_string(), b"with", &customer);
    }
    for number in 0..20 {
        peer.publish(1, "x", &number.to_string(), "without");
    }
    peer.sync(1);
    let got = ["q1", "q2"].map(|queue| bodies(&mut peer, queue));
    let counts = got.map(|bodies| {
        let with = bodies.iter().filter(|body| *body == "with").count();
        (with, bodies.len() - with)
    });
    // Five of each customer stay together, and so do all that have none.
    assert!(counts.iter().all(|(with, _)| *with > 0 && with % 5 == 0), "{counts:?}");
    assert!(counts.iter().any(|(_, without)| *without == 20), "{counts:?}");
}

#[test]
fn a_weight_is_a_number_from_1_to_10000() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-consistent-hash", FieldTable::default());
    peer.declare_queue(1, "q");
    for (key, text) in [
        ("0", "The binding key must be greater than 0"),
        ("10001", "The binding key must not be greater than 10000"),
        ("much", "The binding key must be an integer: <<\"much\">>"),
    ] {
        let expected = format!("PRECONDITION_FAILED - {text}");
        assert_eq!(peer.refused(bind("q", "x", key)), (406, expected));
    }
    peer.bind(1, "q", "x", "10000");
}

#[test]
fn a_second_weight_of_the_same_queue_changes_nothing_while_the_first_is_there() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-consistent-hash", FieldTable::default());
    let queues = ["q1", "q2"];
    for queue in queues {
        peer.declare_queue(1, queue);
        peer.bind(1, queue, "x", "2");
    }
    let before = reached(&mut peer, "x", &queues, 200);
    peer.bind(1, "q1", "x", "1000");
    assert_eq!(reached(&mut peer, "x", &queues, 200), before);
    let unbind = |key| QueueUnbind {
        queue: short("q1"),
        exchange: short("x"),
        routing_key: short(key),
        ..QueueUnbind::default()
    };
    assert_eq!(peer.call(1, unbind("2")), Method::from(QueueUnbindOk));
    assert!(count_of(&reached(&mut peer, "x", &queues, 200), "q1") > 180);
    assert_eq!(peer.call(1, unbind("1000")), Method::from(QueueUnbindOk));
    assert_eq!(count_of(&reached(&mut peer, "x", &queues, 200), "q2"), 200);
}

#[test]
fn arguments_of_a_consistent_hash_exchange_are_checked_and_compared() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let hash = |arguments| declare("x", "x-consistent-hash", arguments);
    let both = table([("hash-header", long("h")), ("hash-property", long("message_id"))]);
    let text = "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive";
    assert_eq!(peer.refused(hash(both)), (406, text.to_owned()));
    let (code, text) = peer.refused(hash(table([("hash-property", long("app_id"))])));
    assert_eq!(code, 406);
    assert!(text.starts_with("PRECONDITION_FAILED - Unsupported property: app_id"), "{text}");
    let by_id = || hash(table([("hash-property", long("message_id"))]));
    assert_eq!(peer.call(1, by_id()), Method::from(ExchangeDeclareOk));
    assert_eq!(peer.call(1, by_id()), Method::from(ExchangeDeclareOk));
    let (code, text) = peer.refused(hash(table([("hash-property", long("timestamp"))])));
    assert_eq!(code, 406);
    assert!(text.contains("inequivalent arg 'hash-property' for exchange 'x'"), "{text}");
}

#[test]
fn a_modulus_hash_exchange_gives_each_key_to_one_queue_whatever_the_binding_keys_are() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-modulus-hash", FieldTable::default());
    let queues = ["q1", "q2", "q3"];
    for (queue, key) in queues.iter().zip(["", "7", "any"]) {
        durable_queue(&mut peer, queue);
        peer.bind(1, queue, "x", key);
    }
    let first = reached(&mut peer, "x", &queues, 150);
    assert_eq!(first.len(), 150);
    assert!(first.values().all(|queues| queues.len() == 1));
    assert!(queues.iter().all(|queue| count_of(&first, queue) > 0));
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(reached(&mut peer, "x", &queues, 150), first);
}

#[test]
fn a_random_exchange_gives_each_message_to_one_queue_and_each_queue_some() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for kind in ["x-random", "x-local-random"] {
        declared(&mut peer, kind, kind, FieldTable::default());
        let queues = ["q1", "q2"];
        for queue in queues {
            peer.declare_queue(1, queue);
            peer.bind(1, queue, kind, "");
        }
        let reached = reached(&mut peer, kind, &queues, 100);
        assert_eq!(reached.len(), 100);
        let counts = queues.map(|queue| count_of(&reached, queue));
        // Sooner all molecules of this room gather in a corner than one queue gets none.
        assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == 100, "{counts:?}");
    }
}

#[test]
fn a_local_random_exchange_takes_classic_queues_without_a_key_and_nothing_else() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-local-random", FieldTable::default());
    declared(&mut peer, "other", "fanout", FieldTable::default());
    peer.declare_queue(1, "q");
    let arguments = table([("x-queue-type", long("quorum"))]);
    let quorum = QueueDeclare { queue: short("quorum"), durable: true, ..QueueDeclare::default() };
    peer.declare(1, QueueDeclare { arguments, ..quorum });
    let refused = |text: &str| (406, format!("PRECONDITION_FAILED - {text}"));
    let with_key = peer.refused(bind("q", "x", "k"));
    assert_eq!(with_key, refused("Non empty binding 'k' key not permitted"));
    let of_quorum = peer.refused(bind("quorum", "x", ""));
    let text = "Queue type rabbit_quorum_queue not valid for this exchange type";
    assert_eq!(of_quorum, refused(text));
    let (destination, source) = (short("other"), short("x"));
    let to_exchange = ExchangeBind { destination, source, ..ExchangeBind::default() };
    assert_eq!(peer.refused(to_exchange), refused("Destination not found"));
}

#[test]
fn a_queue_that_is_bound_to_a_recent_history_exchange_gets_the_last_messages_first() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-recent-history-length", FieldValue::I32(3))]);
    declared(&mut peer, "x", "x-recent-history", arguments);
    for body in ["1", "2", "3"] {
        peer.publish(1, "x", "any", body);
    }
    let no_store = headers(table([("x-recent-history-no-store", FieldValue::Bool(true))]));
    peer.publish_with(1, "x", "any", b"not for later", &no_store);
    peer.publish(1, "x", "any", "4");
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "x", "");
    peer.publish(1, "x", "other", "5");
    peer.publish_with(1, "x", "other", b"only now", &no_store);
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "q"), ["2", "3", "4", "5", "only now"]);
    // Binding once more in the same words is no new binding; in others it is one.
    peer.bind(1, "q", "x", "");
    assert_eq!(peer.ready(1, "q"), 0);
    peer.bind(1, "q", "x", "again");
    assert_eq!(bodies(&mut peer, "q"), ["3", "4", "5"]);
}

#[test]
fn without_an_argument_twenty_messages_are_remembered() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-recent-history", FieldTable::default());
    for number in 0..30 {
        peer.publish(1, "x", "", &number.to_string());
    }
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "x", "");
    let expected: Vec<String> = (10..30).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&mut peer, "q"), expected);
}

#[test]
fn an_exchange_that_is_bound_to_a_recent_history_exchange_routes_the_last_messages() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-recent-history", FieldTable::default());
    peer.declare_queue(1, "a");
    peer.declare_queue(1, "b");
    peer.bind(1, "a", "amq.direct", "a");
    peer.bind(1, "b", "amq.direct", "b");
    let copied = headers(table([("CC", FieldValue::Array(vec![long("b")]))]));
    for (key, properties) in [("a", Properties::default()), ("b", Properties::default())] {
        peer.publish_with(1, "x", key, key.as_bytes(), &properties);
    }
    peer.publish_with(1, "x", "none", b"copied", &copied);
    let (destination, source) = (short("amq.direct"), short("x"));
    let bound = ExchangeBind { destination, source, ..ExchangeBind::default() };
    assert_eq!(peer.call(1, bound), Method::from(ExchangeBindOk));
    assert_eq!(bodies(&mut peer, "a"), ["a"]);
    assert_eq!(bodies(&mut peer, "b"), ["b", "copied"]);
}

#[test]
fn what_a_bound_queue_got_of_the_history_survives_a_restart_and_the_history_does_not() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, "x", "x-recent-history", FieldTable::default());
    peer.publish_with(1, "x", "", b"kept", &persistent());
    durable_queue(&mut peer, "q");
    peer.bind(1, "q", "x", "");
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(bodies(&mut peer, "q"), ["kept"]);
    peer.bind(1, "q", "x", "again");
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn what_is_published_while_a_queue_is_being_bound_reaches_it_once() {
    const MESSAGES: u32 = 1000;
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-recent-history-length", FieldValue::I32(10_000))]);
    declared(&mut peer, "x", "x-recent-history", arguments);
    let mut publisher = broker.channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                publisher.publish(1, "x", "", &number.to_string());
            }
            publisher.sync(1);
        });
        for number in 0..3 {
            peer.declare_queue(1, &format!("q{number}"));
            peer.bind(1, &format!("q{number}"), "x", "");
        }
    });
    for number in 0..3 {
        let mut got: Vec<u32> = bodies(&mut peer, &format!("q{number}"))
            .iter()
            .map(|body| body.parse().expect("a number"))
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..MESSAGES).collect::<Vec<_>>(), "q{number}");
    }
}

#[test]
fn the_length_of_a_history_is_a_positive_integer() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (value, said) in [(FieldValue::I32(0), "0"), (long("many"), "many")] {
        let arguments = table([("x-recent-history-length", value)]);
        let expected = format!(
            "PRECONDITION_FAILED - Invalid argument {said}, 'x-recent-history-length' must be a \
             positive integer"
        );
        assert_eq!(peer.refused(declare("x", "x-recent-history", arguments)), (406, expected));
    }
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
