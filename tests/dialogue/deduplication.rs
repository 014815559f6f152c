//! Deduplication by queues and by exchanges: what is told apart by what, for how long, and that a
//! duplicate is confirmed like the message that it repeats.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::simulated::SimulatedDisk;

use crate::aids::*;
use crate::support::*;

fn deduplicating() -> QueueDeclare {
    queue("q").with("x-message-deduplication", FieldValue::Bool(true))
}

/// An exchange `x` that deduplicates, with a queue `q` that doesn't.
fn declare_exchange(peer: &mut Peer, durable: bool, of_queue: QueueDeclare) {
    let declare = ExchangeDeclare {
        exchange: short("x"),
        kind: short("fanout"),
        durable,
        arguments: table([("x-message-deduplication", FieldValue::Bool(true))]),
        ..ExchangeDeclare::default()
    };
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
    peer.declare(1, of_queue);
    peer.bind(1, "q", "x", "");
}

fn with(header: &str, value: FieldValue, delivery_mode: u8) -> Properties {
    let headers = Some(table([(header, value)]));
    let properties = BasicProperties { headers, ..BasicProperties::default() };
    (&BasicProperties { delivery_mode: Some(delivery_mode), ..properties }).into()
}

fn id(id: &str) -> Properties {
    with("x-deduplication-header", long(id), 2)
}

/// Publishes, and answers whether it was confirmed.
fn publish(peer: &mut Peer, exchange: &str, body: &str, properties: &Properties) -> bool {
    peer.publish_with(1, exchange, "q", body.as_bytes(), properties);
    is_taken(peer)
}

fn started(declare: QueueDeclare) -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, declare);
    (broker, peer)
}

#[test]
fn a_duplicate_is_confirmed_and_not_there_twice() {
    let (_broker, mut peer) = started(deduplicating());
    for (body, of) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "a")] {
        assert!(publish(&mut peer, "", body, &id(of)));
    }
    assert_eq!(drain(&mut peer, "q"), ["1", "3"]);
    // It stays known when the first one is gone.
    assert!(publish(&mut peer, "", "5", &id("b")));
    assert_eq!(drain(&mut peer, "q"), [""; 0]);
}

#[test]
fn messages_without_the_header_are_all_different() {
    let (_broker, mut peer) = started(deduplicating());
    for body in ["1", "2"] {
        assert!(publish(&mut peer, "", body, &with("x-other", long("a"), 2)));
        assert!(publish(&mut peer, "", body, &persistent()));
    }
    assert_eq!(drain(&mut peer, "q"), ["1", "1", "2", "2"]);
}

#[test]
fn the_header_is_the_one_that_the_queue_names_and_its_type_counts() {
    let declare = deduplicating().with("x-deduplication-header", long("order"));
    let (_broker, mut peer) = started(declare);
    let values = [
        FieldValue::I32(1),
        FieldValue::I64(1),
        long("1"),
        FieldValue::Bool(true),
        FieldValue::Array(vec![long("1")]),
        FieldValue::Table(table([("1", long("1"))])),
        FieldValue::Void,
    ];
    for _ in 0..2 {
        for (number, value) in values.iter().enumerate() {
            let properties = with("order", value.clone(), 2);
            assert!(publish(&mut peer, "", &number.to_string(), &properties));
        }
    }
    assert_eq!(drain(&mut peer, "q"), ["0", "1", "2", "3", "4", "5", "6"]);
    for body in ["1", "2"] {
        assert!(publish(&mut peer, "", body, &id("a")));
    }
    assert_eq!(drain(&mut peer, "q"), ["1", "2"]);
}

#[test]
fn only_the_newest_are_known_and_one_that_is_repeated_is_new() {
    let (_broker, mut peer) = started(deduplicating().with_number("x-cache-size", 2));
    for (body, of) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c"), ("a3", "a")] {
        assert!(publish(&mut peer, "", body, &id(of)));
    }
    assert!(publish(&mut peer, "", "b2", &id("b")));
    assert_eq!(drain(&mut peer, "q"), ["a1", "b1", "c1", "b2"]);
}

#[test]
fn a_message_is_known_for_its_time_which_repeating_doesnt_prolong() {
    const TTL_MS: u64 = 300;
    let (_broker, mut peer) = started(deduplicating().with_number("x-cache-ttl", 300));
    let before_ms = now_ms();
    assert!(publish(&mut peer, "", "1", &id("a")));
    let seen_ms = now_ms();
    assert!(publish(&mut peer, "", "2", &id("a")));
    let came = drain(&mut peer, "q");
    assert!(came == ["1"] || now_ms() >= before_ms + TTL_MS);
    wait_for_clock(seen_ms + TTL_MS);
    assert!(publish(&mut peer, "", "3", &id("a")));
    assert_eq!(drain(&mut peer, "q"), ["3"]);
}

#[test]
fn the_arguments_are_checked_and_compared() {
    let (_broker, mut peer) = started(deduplicating());
    peer.declare(1, deduplicating());
    assert_eq!(peer.refused(queue("q")).0, 406);
    assert_eq!(peer.refused(deduplicating().with_number("x-cache-size", 5)).0, 406);
    for (argument, value) in [("x-cache-size", 0), ("x-cache-ttl", 0), ("x-cache-size", 1_000_001)]
    {
        let declare = QueueDeclare { queue: short("other"), ..deduplicating() };
        let (code, text) = peer.refused(declare.with_number(argument, value));
        assert!(code == 406 && text.contains(argument), "{text}");
    }
}

#[test]
fn a_message_that_was_refused_has_not_been_seen() {
    let full = deduplicating().with_number("x-max-length", 1);
    let (_broker, mut peer) = started(full.with("x-overflow", long("reject-publish")));
    assert!(publish(&mut peer, "", "1", &id("a")));
    assert!(!publish(&mut peer, "", "2", &id("b")));
    // What is there already is no matter of room.
    assert!(publish(&mut peer, "", "3", &id("a")));
    assert_eq!(drain(&mut peer, "q"), ["1"]);
    assert!(publish(&mut peer, "", "4", &id("b")));
    assert_eq!(drain(&mut peer, "q"), ["4"]);
}

/// The exchange had seen it: when its publisher tried again, it was confirmed and lost.
#[test]
fn what_an_exchange_could_not_bring_to_its_queues_may_come_again() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    let full = queue("q").with_number("x-max-length", 1);
    declare_exchange(&mut peer, true, full.with("x-overflow", long("reject-publish")));
    assert!(publish(&mut peer, "x", "1", &id("a")));
    assert!(!publish(&mut peer, "x", "2", &id("b")));
    assert_eq!(drain(&mut peer, "q"), ["1"]);
    assert!(publish(&mut peer, "x", "3", &id("b")));
    assert!(publish(&mut peer, "x", "4", &id("a")));
    assert_eq!(drain(&mut peer, "q"), ["3"]);
    // Nor what found no queue.
    let (queue, exchange) = (short("q"), short("x"));
    peer.call(1, QueueUnbind { queue, exchange, ..QueueUnbind::default() });
    assert!(publish(&mut peer, "x", "5", &id("c")));
    peer.bind(1, "q", "x", "");
    assert!(publish(&mut peer, "x", "6", &id("c")));
    assert!(publish(&mut peer, "x", "7", &id("c")));
    assert_eq!(drain(&mut peer, "q"), ["6"]);
}

#[test]
fn an_exchange_deduplicates_for_all_its_queues() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    declare_exchange(&mut peer, false, queue("q"));
    peer.declare_queue(1, "other");
    peer.bind(1, "other", "x", "");
    for body in ["1", "2"] {
        assert!(publish(&mut peer, "x", body, &id("a")));
    }
    // Past the exchange nobody asks.
    assert!(publish(&mut peer, "", "3", &id("a")));
    assert_eq!(drain(&mut peer, "q"), ["1", "3"]);
    assert_eq!(drain(&mut peer, "other"), ["1"]);
}

#[test]
fn of_several_queues_only_the_one_that_has_seen_it_leaves_it_out() {
    let (_broker, mut peer) = started(deduplicating());
    peer.declare_queue(1, "plain");
    ["q", "plain"].iter().for_each(|queue| peer.bind(1, queue, "amq.fanout", ""));
    for body in ["1", "2"] {
        assert!(publish(&mut peer, "amq.fanout", body, &id("a")));
    }
    assert_eq!(drain(&mut peer, "q"), ["1"]);
    assert_eq!(drain(&mut peer, "plain"), ["1", "2"]);
}

#[test]
fn a_transaction_is_deduplicated_when_it_is_committed() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declare_exchange(&mut peer, true, deduplicating());
    peer.call(1, TxSelect);
    for (exchange, of) in [("", "a"), ("x", "b")] {
        peer.publish_with(1, exchange, "q", b"undone", &id(of));
    }
    assert!(matches!(peer.call(1, TxRollback), Method::TxRollbackOk(_)));
    for (exchange, of) in [("", "a"), ("", "a"), ("x", "b"), ("x", "b")] {
        peer.publish_with(1, exchange, "q", of.as_bytes(), &id(of));
    }
    assert_eq!(peer.ready(1, "q"), 0);
    assert!(matches!(peer.call(1, TxCommit), Method::TxCommitOk(_)));
    assert_eq!(drain(&mut peer, "q"), ["a", "b"]);
}

/// By queues and by exchanges; a power cut leaves what was confirmed, and no more can be asked.
#[test]
fn what_has_been_seen_survives_a_restart_and_a_power_cut() {
    let disk = SimulatedDisk::new();
    let mut broker = TestBroker::on(&disk);
    let mut peer = confirming(&broker);
    declare_exchange(&mut peer, true, queue("q").durable());
    peer.declare(1, QueueDeclare { queue: short("own"), ..deduplicating() }.durable());
    let own = |peer: &mut Peer, body: &str, of: &str| {
        peer.publish_with(1, "", "own", body.as_bytes(), &id(of));
        assert!(is_taken(peer));
    };
    assert!(publish(&mut peer, "x", "1", &id("a")));
    own(&mut peer, "1", "a");
    drop(peer);
    broker.restart();
    let mut peer = confirming(&broker);
    for of in ["a", "b"] {
        assert!(publish(&mut peer, "x", "2", &id(of)));
        own(&mut peer, "2", of);
    }
    let cut = disk.power_cut(0);
    drop((peer, broker));
    let broker = TestBroker::on(&cut);
    let mut peer = confirming(&broker);
    for of in ["a", "b"] {
        assert!(publish(&mut peer, "x", "3", &id(of)));
        own(&mut peer, "3", of);
    }
    assert_eq!(drain(&mut peer, "q"), ["1", "2"]);
    assert_eq!(drain(&mut peer, "own"), ["1", "2"]);
}

#[test]
fn a_duplicate_is_confirmed_when_what_it_repeats_is_on_disk() {
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    let mut peer = confirming(&broker);
    declare_exchange(&mut peer, true, deduplicating().durable());
    let declare = ExchangeDeclare {
        exchange: short("transient"),
        kind: short("direct"),
        arguments: table([("x-message-deduplication", FieldValue::Bool(true))]),
        ..ExchangeDeclare::default()
    };
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
    peer.bind(1, "q", "transient", "q");
    for exchange in ["", "x", "transient"] {
        disk.hold();
        let mut other = confirming(&broker);
        let properties = id(exchange);
        peer.publish_with(1, exchange, "q", b"first", &properties);
        peer.sync(1);
        other.publish_with(1, exchange, "q", b"again", &properties);
        (0..20).for_each(|_| other.sync(1));
        disk.release();
        assert!(is_taken(&mut other) && is_taken(&mut peer));
        assert_eq!(drain(&mut peer, "q"), ["first"]);
    }
}

#[test]
fn transient_messages_and_queues_are_deduplicated_too_as_long_as_the_broker_runs() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    for _ in 0..2 {
        peer.declare(1, deduplicating());
        for (body, mode) in [("1", 1), ("2", 2), ("3", 1)] {
            let properties = with("x-deduplication-header", long("a"), mode);
            assert!(publish(&mut peer, "", body, &properties));
        }
        assert_eq!(drain(&mut peer, "q"), ["1"]);
        drop(peer);
        broker.restart();
        peer = confirming(&broker);
    }
}

/// It was taken for a duplicate of itself, and lost.
#[test]
fn a_message_that_died_comes_back_to_the_queue_that_has_seen_it() {
    let (_broker, mut peer) = started(deduplicating().dying_into("later"));
    peer.declare(1, queue("later").dying_into("q").with_number("x-message-ttl", 20));
    assert!(publish(&mut peer, "", "m", &id("a")));
    for _ in 0..3 {
        peer.wait_for_ready(1, "q", 1);
        let content = peer.get(1, "q", false).expect("there");
        let Method::BasicGetOk(got) = content.method else { panic!("{content:?}") };
        reject(&mut peer, got.delivery_tag, false);
    }
    peer.wait_for_ready(1, "q", 1);
    // And another one with its id is still none.
    assert!(publish(&mut peer, "", "again", &id("a")));
    assert_eq!(drain(&mut peer, "q"), ["m"]);
}

#[test]
fn a_delayed_message_is_deduplicated_when_it_is_published() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    let mut declare = ExchangeDeclare {
        exchange: short("x"),
        kind: short("x-delayed-message"),
        arguments: table([("x-delayed-type", long("fanout"))]),
        ..ExchangeDeclare::default()
    };
    declare.arguments.insert(short("x-message-deduplication"), FieldValue::Bool(true));
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "x", "");
    let headers = [("x-deduplication-header", long("a")), ("x-delay", FieldValue::I64(30))];
    let properties = BasicProperties { headers: Some(table(headers)), ..Default::default() };
    for body in ["1", "2"] {
        assert!(publish(&mut peer, "x", body, &Properties::from(&properties)));
    }
    let vhost = broker.broker().vhost("/").expect("the default one");
    let exchange = vhost.exchange(&short("x")).expect("there");
    let own = exchange.own.as_ref().expect("it delays");
    wait_until("it has left", || own.status().delayed == 0);
    peer.wait_for_ready(1, "q", 1);
    assert_eq!(drain(&mut peer, "q"), ["1"]);
}
