//! Messages that are published for later: when they come, where to, and what becomes of them if
//! something happens meanwhile.

use std::sync::Arc;

use ferrymq::broker::queue::Queue;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::aids::*;
use crate::support::*;

/// So long that nothing is there early by chance.
const LONG_MS: i64 = 3_600_000;

fn delaying(kind: &str) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: short("later"),
        kind: short("x-delayed-message"),
        durable: true,
        arguments: table([("x-delayed-type", long(kind))]),
        ..ExchangeDeclare::default()
    }
}

fn declared(peer: &mut Peer, declare: ExchangeDeclare) {
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
}

/// An exchange `later` and a durable queue `q`, bound by `q`.
pub fn set_up(peer: &mut Peer, kind: &str) {
    declared(peer, delaying(kind));
    peer.declare(1, queue("q").durable());
    peer.bind(1, "q", "later", "q");
}

fn started(kind: &str) -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    set_up(&mut peer, kind);
    (broker, peer)
}

fn with_headers(headers: FieldTable) -> Properties {
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
    (&BasicProperties { delivery_mode: Some(2), ..properties }).into()
}

fn delayed_by(delay: FieldValue) -> Properties {
    with_headers(table([("x-delay", delay)]))
}

fn by_ms(delay_ms: i64) -> Properties {
    delayed_by(FieldValue::I64(delay_ms))
}

pub fn publish(peer: &mut Peer, body: &str, properties: &Properties) {
    peer.publish_with(1, "later", "q", body.as_bytes(), properties);
}

/// The exchange's own queue.
pub fn own_of(broker: &TestBroker, exchange: &str) -> Arc<Queue> {
    let vhost = broker.broker().vhost("/").expect("the default one");
    let exchange = vhost.exchange(&short(exchange)).expect("there");
    Arc::clone(exchange.own.as_ref().expect("it delays"))
}

#[test]
fn a_message_comes_when_its_delay_is_over_and_says_that_it_was_delayed() {
    let (broker, mut peer) = started("direct");
    peer.consume(1, "q", "c");
    let before_ms = now_ms();
    publish(&mut peer, "later", &delayed_by(FieldValue::I32(200)));
    publish(&mut peer, "now", &persistent());
    assert_eq!(peer.delivery(1).2, "now");
    let content = peer.receive_content(1);
    assert!(now_ms() >= before_ms + 200);
    let Method::BasicDeliver(deliver) = &content.method else { panic!("{content:?}") };
    assert_eq!((deliver.exchange.as_str(), deliver.routing_key.as_str()), ("later", "q"));
    assert_eq!(header(&content, "x-delay"), Some(FieldValue::I64(-200)));
    let status = own_of(&broker, "later").status();
    assert_eq!((status.delayed, status.next_due_ms), (0, None));
}

#[test]
fn an_absolute_time_is_in_seconds_as_a_timestamp_and_in_milliseconds_as_a_number() {
    let (broker, mut peer) = started("direct");
    let own = own_of(&broker, "later");
    let at_ms = (now_ms() / 1000 + 3_600) * 1000;
    let number = FieldValue::I64((at_ms + 7).cast_signed());
    for (time, due_ms) in [(FieldValue::Timestamp(at_ms / 1000), at_ms), (number, at_ms + 7)] {
        publish(&mut peer, "m", &with_headers(table([("x-deliver-at", time)])));
        peer.sync(1);
        assert_eq!(own.status().next_due_ms, Some(due_ms));
        let mut changes = ferrymq::broker::changes::Changes::default();
        assert_eq!(own.purge(&mut changes), 1);
        own.append(changes);
    }
}

#[test]
fn a_message_with_a_time_comes_at_that_time_and_keeps_it_under_another_name() {
    let (_broker, mut peer) = started("direct");
    peer.consume(1, "q", "c");
    let at = FieldValue::I64((now_ms() + 150).cast_signed());
    let (FieldValue::I64(at_ms), time) = (at.clone(), at) else { panic!("a number") };
    publish(&mut peer, "m", &with_headers(table([("x-deliver-at", time.clone())])));
    let content = peer.receive_content(1);
    assert!(now_ms().cast_signed() >= at_ms);
    assert_eq!(header(&content, "x-delivered-at"), Some(time));
    assert_eq!(header(&content, "x-deliver-at"), None);
}

#[test]
fn the_later_of_two_times_counts_and_ten_years_are_the_most() {
    const TEN_YEARS_MS: u64 = 315_360_000_000;
    let (broker, mut peer) = started("direct");
    let own = own_of(&broker, "later");
    let past = ("x-deliver-at", FieldValue::Timestamp(1));
    publish(&mut peer, "m", &with_headers(table([past, ("x-delay", FieldValue::I64(LONG_MS))])));
    peer.sync(1);
    assert!(own.status().next_due_ms.is_some_and(|due_ms| due_ms > now_ms() + 3_000_000));
    peer.call(1, ExchangeDelete { exchange: short("later"), ..ExchangeDelete::default() });
    set_up(&mut peer, "direct");
    let own = own_of(&broker, "later");
    let before_ms = now_ms();
    let far = ("x-deliver-at", FieldValue::Timestamp(u64::MAX));
    publish(&mut peer, "m", &with_headers(table([far, ("x-delay", FieldValue::I64(i64::MAX))])));
    peer.sync(1);
    let due_ms = own.status().next_due_ms.expect("it waits");
    assert!((before_ms + TEN_YEARS_MS..=now_ms() + TEN_YEARS_MS).contains(&due_ms));
}

#[test]
fn what_is_no_delay_is_not_waited_for() {
    let (broker, mut peer) = started("direct");
    for (number, delay) in [
        FieldValue::I64(0),
        FieldValue::I64(-LONG_MS),
        long("3600000"),
        FieldValue::Bool(true),
        FieldValue::F64(3_600_000.0),
    ]
    .into_iter()
    .enumerate()
    {
        publish(&mut peer, &number.to_string(), &delayed_by(delay.clone()));
        peer.wait_for_ready(1, "q", 1);
        let content = peer.get(1, "q", true).expect("there");
        // Nobody has changed it.
        assert_eq!(header(&content, "x-delay"), Some(delay));
    }
    for time in [FieldValue::Timestamp(1), FieldValue::I64(-1), long("tomorrow")] {
        publish(&mut peer, "past", &with_headers(table([("x-deliver-at", time)])));
        peer.wait_for_ready(1, "q", 1);
        assert_eq!(drain(&mut peer, "q"), ["past"]);
    }
    assert_eq!(own_of(&broker, "later").status().delayed, 0);
}

#[test]
fn the_type_says_how_it_routes_and_it_must_be_another_one() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for kind in ["x-delayed-message", "sideways"] {
        let (code, text) = peer.refused(delaying(kind));
        assert_eq!(code, 406);
        assert!(text.contains("invalid arg 'x-delayed-type'"), "{text}");
    }
    let without = ExchangeDeclare { arguments: FieldTable::default(), ..delaying("direct") };
    assert_eq!(peer.refused(without).0, 406);
    declared(&mut peer, delaying("topic"));
    declared(&mut peer, delaying("topic"));
    let (code, text) = peer.refused(delaying("fanout"));
    assert!(code == 406 && text.contains("inequivalent arg 'x-delayed-type'"), "{text}");
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "later", "eu.#");
    for (key, delay_ms) in [("eu.new", 1), ("us.new", 1), ("eu", 2)] {
        peer.publish_with(1, "later", key, key.as_bytes(), &by_ms(delay_ms));
    }
    let own = own_of(&broker, "later");
    peer.wait_for_ready(1, "q", 2);
    wait_until("all have left", || own.status().delayed == 0);
    assert_eq!(drain(&mut peer, "q"), ["eu.new", "eu"]);
}

/// It goes by the bindings of then, not of now.
#[test]
fn a_delayed_message_is_routed_when_it_is_due_and_never_returned() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, delaying("direct"));
    let publish = |peer: &mut Peer, body: &str, delay_ms: i64| {
        let (exchange, routing_key) = (short("later"), short("q"));
        let publish = BasicPublish { exchange, routing_key, mandatory: true, immediate: false };
        peer.send(1, publish);
        peer.send_header(1, body.len() as u64, &by_ms(delay_ms));
        peer.send_body(1, body.as_bytes());
    };
    publish(&mut peer, "m", 100);
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "later", "q");
    peer.wait_for_ready(1, "q", 1);
    peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    publish(&mut peer, "lost", 10);
    let own = own_of(&broker, "later");
    peer.sync(1);
    wait_until("it is due", || own.status().delayed == 0);
    // Nothing came back.
    peer.sync(1);
    // One that isn't delayed is.
    publish(&mut peer, "back", 0);
    assert!(matches!(peer.receive_content(1).method, Method::BasicReturn(_)));
}

#[test]
fn what_finds_no_way_when_it_is_due_goes_to_the_alternate_exchange() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let mut declare = delaying("direct");
    declare.arguments.insert(short("alternate-exchange"), long("amq.fanout"));
    declared(&mut peer, declare);
    peer.declare_queue(1, "others");
    peer.bind(1, "others", "amq.fanout", "");
    publish(&mut peer, "m", &by_ms(20));
    peer.wait_for_ready(1, "others", 1);
    assert_eq!(drain(&mut peer, "others"), ["m"]);
}

#[test]
fn one_delaying_exchange_behind_another_delays_a_message_once() {
    let (broker, mut peer) = started("fanout");
    for name in ["second", "plain"] {
        let exchange = short(name);
        let declare = match name {
            "plain" => ExchangeDeclare { kind: short("fanout"), ..ExchangeDeclare::default() },
            _ => delaying("fanout"),
        };
        declared(&mut peer, ExchangeDeclare { exchange, ..declare });
    }
    for (source, destination) in [("plain", "later"), ("later", "second")] {
        let (source, destination) = (short(source), short(destination));
        peer.call(1, ExchangeBind { source, destination, ..ExchangeBind::default() });
    }
    peer.declare_queue(1, "behind");
    peer.bind(1, "behind", "second", "");
    let before_ms = now_ms();
    peer.publish_with(1, "plain", "k", b"m", &by_ms(100));
    peer.sync(1);
    let waiting = ["later", "second"].map(|name| own_of(&broker, name).status().delayed);
    assert!(waiting == [1, 0] || now_ms() >= before_ms + 100);
    peer.wait_for_ready(1, "behind", 1);
    assert!(now_ms() >= before_ms + 100);
    let content = peer.get(1, "behind", true).expect("there");
    let Method::BasicGetOk(got) = &content.method else { panic!("{content:?}") };
    // As it was published.
    assert_eq!((got.exchange.as_str(), got.routing_key.as_str()), ("plain", "k"));
    assert_eq!(drain(&mut peer, "q"), ["m"]);
}

#[test]
fn a_delayed_message_goes_by_its_other_keys_too() {
    let (_broker, mut peer) = started("direct");
    peer.declare_queue(1, "copy");
    peer.bind(1, "copy", "later", "audit");
    let cc = FieldValue::Array(vec![long("audit")]);
    publish(&mut peer, "m", &with_headers(table([("x-delay", FieldValue::U8(20)), ("CC", cc)])));
    for name in ["q", "copy"] {
        peer.wait_for_ready(1, name, 1);
        assert_eq!(drain(&mut peer, name), ["m"]);
    }
}

/// It was dead before it came.
#[test]
fn a_message_ages_from_when_it_was_due() {
    let (_broker, mut peer) = started("direct");
    let headers = Some(table([("x-delay", FieldValue::I64(150))]));
    let properties = BasicProperties { headers, ..BasicProperties::default() };
    let expiring = BasicProperties { expiration: Some(short("100")), ..properties };
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("mortal").dying_into("dead"));
    peer.bind(1, "mortal", "later", "mortal");
    let before_ms = now_ms();
    peer.publish_with(1, "later", "mortal", b"m", &Properties::from(&expiring));
    peer.wait_for_ready(1, "dead", 1);
    assert!(now_ms() >= before_ms + 250);
    let content = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&content), short_deaths([("mortal", "expired", 1)]));
}

/// The exchange's own queue has its name: it was taken for the queue in which the message died.
#[test]
fn a_dead_letter_is_delayed_by_an_exchange_with_the_name_of_its_queue() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, delaying("fanout"));
    peer.declare_queue(1, "dead");
    peer.bind(1, "dead", "later", "");
    let dying = queue("later").with("x-dead-letter-exchange", long("later"));
    peer.declare(1, dying.with_number("x-message-ttl", 0));
    let before_ms = now_ms();
    peer.publish_with(1, "", "later", b"m", &by_ms(100));
    peer.wait_for_ready(1, "dead", 1);
    assert!(now_ms() >= before_ms + 100);
    let content = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&content), short_deaths([("later", "expired", 1)]));
}

#[test]
fn what_a_transaction_publishes_is_delayed_from_its_commit() {
    let (broker, mut peer) = started("direct");
    let own = own_of(&broker, "later");
    peer.call(1, TxSelect);
    publish(&mut peer, "undone", &by_ms(LONG_MS));
    peer.call(1, TxRollback);
    assert_eq!(own.status().delayed, 0);
    publish(&mut peer, "m", &by_ms(LONG_MS));
    peer.sync(1);
    assert_eq!(own.status().delayed, 0);
    let before_ms = now_ms();
    assert!(matches!(peer.call(1, TxCommit), Method::TxCommitOk(_)));
    let status = own.status();
    assert_eq!(status.delayed, 1);
    assert!(status.next_due_ms.is_some_and(|due_ms| due_ms >= before_ms + 3_600_000));
}

#[test]
fn what_waits_goes_with_its_exchange_and_one_of_that_name_has_nothing() {
    let (mut broker, mut peer) = started("direct");
    for delay_ms in [100, LONG_MS] {
        publish(&mut peer, "m", &by_ms(delay_ms));
    }
    peer.sync(1);
    let deleted_ms = now_ms();
    peer.call(1, ExchangeDelete { exchange: short("later"), ..ExchangeDelete::default() });
    // Unless the broker took so long that the first one was due.
    let came = drain(&mut peer, "q").len();
    declared(&mut peer, delaying("direct"));
    peer.bind(1, "q", "later", "q");
    wait_for_clock(deleted_ms + 150);
    for _ in 0..2 {
        assert_eq!(own_of(&broker, "later").status().delayed, 0);
        assert!(peer.ready(1, "q") == 0 && came <= 1);
        drop(peer);
        broker.restart();
        peer = broker.channel();
    }
}

#[test]
fn what_is_persistent_waits_through_a_restart_and_comes_no_earlier() {
    const COUNT: i64 = 200;
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    let before_ms = now_ms();
    for number in 0..COUNT {
        let due_ms = before_ms.cast_signed() + 400 + number * 20;
        let at = ("x-deliver-at", FieldValue::I64(due_ms));
        publish(&mut peer, &due_ms.to_string(), &with_headers(table([at])));
        assert!(is_taken(&mut peer));
    }
    let transient = table([("x-delay", FieldValue::I64(LONG_MS))]);
    let transient = BasicProperties { headers: Some(transient), ..BasicProperties::default() };
    publish(&mut peer, "transient", &Properties::from(&transient));
    assert!(is_taken(&mut peer));
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    peer.consume(1, "q", "c");
    let mut came = Vec::new();
    for _ in 0..COUNT {
        let due_ms: u64 = peer.delivery(1).2.parse().expect("a time");
        assert!(now_ms() >= due_ms);
        came.push(due_ms);
    }
    came.sort_unstable();
    came.dedup();
    assert_eq!(came.len() as i64, COUNT);
    let status = own_of(&broker, "later").status();
    assert_eq!((status.delayed, status.ready), (0, 0));
}

#[test]
fn nothing_is_confirmed_before_it_is_on_disk_to_wait_there() {
    let disk = ferrymq::store::simulated::SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    disk.hold();
    publish(&mut peer, "m", &by_ms(LONG_MS));
    (0..20).for_each(|_| peer.sync(1));
    disk.release();
    assert!(is_taken(&mut peer));
}

/// What was not read yet was shown as ready.
#[test]
fn what_waits_is_shown_as_waiting_from_the_start() {
    const COUNT: usize = 50;
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    for _ in 0..COUNT {
        publish(&mut peer, "m", &by_ms(LONG_MS));
        assert!(is_taken(&mut peer));
    }
    let due_ms = own_of(&broker, "later").status().next_due_ms;
    drop(peer);
    broker.restart();
    let own = own_of(&broker, "later");
    let status = own.status();
    assert_eq!((status.ready, status.delayed), (0, COUNT));
    wait_until("the times are known", || own.status().next_due_ms == due_ms);
}
