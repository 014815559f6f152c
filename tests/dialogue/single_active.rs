//! Queues with a single active consumer: who it is, who follows, and what such a queue refuses.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

fn declare(peer: &mut Peer, name: &str) {
    let arguments = table([("x-single-active-consumer", FieldValue::Bool(true))]);
    peer.declare(1, QueueDeclare { queue: short(name), arguments, ..QueueDeclare::default() });
}

fn consume(peer: &mut Peer, queue: &str, tag: &str, priority: i32) {
    let arguments = table([("x-priority", FieldValue::I32(priority))]);
    let (queue, consumer_tag) = (short(queue), short(tag));
    let consume = BasicConsume { queue, consumer_tag, arguments, ..BasicConsume::default() };
    let consuming = peer.call(1, consume);
    assert!(matches!(consuming, Method::BasicConsumeOk(_)), "{consuming:?}");
}

fn cancel(peer: &mut Peer, tag: &str) {
    let cancelled = peer.call(1, BasicCancel { consumer_tag: short(tag), no_wait: false });
    assert!(matches!(cancelled, Method::BasicCancelOk(_)), "{cancelled:?}");
}

fn ack(peer: &mut Peer, delivery_tag: u64) {
    peer.send(1, BasicAck { delivery_tag, multiple: false });
    peer.sync(1);
}

fn publish(peer: &mut Peer, bodies: &[&str]) {
    bodies.iter().for_each(|body| peer.publish(1, "", "q", body));
    peer.sync(1);
}

/// A publisher and two consumers to be, with a queue between them.
fn three(broker: &TestBroker) -> (Peer, Peer, Peer) {
    let mut publisher = broker.channel();
    declare(&mut publisher, "q");
    (publisher, broker.channel(), broker.channel())
}

#[test]
fn only_the_first_consumer_gets_messages_until_it_is_cancelled() {
    let broker = TestBroker::start();
    let (mut publisher, mut first, mut second) = three(&broker);
    consume(&mut first, "q", "first", 0);
    consume(&mut second, "q", "second", 0);
    publish(&mut publisher, &["0", "1"]);
    assert_eq!(first.delivery(1).2, "0");
    assert_eq!(first.delivery(1).2, "1");
    second.expect_silence();
    cancel(&mut first, "first");
    publish(&mut publisher, &["2"]);
    assert_eq!(second.delivery(1), (1, false, "2".to_owned()));
    // What the first one has stays with it: it may still settle it.
    ack(&mut first, 1);
    first.send(1, BasicNack { delivery_tag: 2, multiple: false, requeue: true });
    assert_eq!(second.delivery(1), (2, true, "1".to_owned()));
}

#[test]
fn the_next_one_gets_what_a_lost_consumer_had() {
    let broker = TestBroker::start();
    let (mut publisher, mut first, mut second) = three(&broker);
    consume(&mut first, "q", "first", 0);
    consume(&mut second, "q", "second", 0);
    publish(&mut publisher, &["0"]);
    first.delivery(1);
    drop(first);
    assert_eq!(second.delivery(1), (1, true, "0".to_owned()));
}

#[test]
fn a_higher_priority_takes_over_when_the_active_one_has_settled_what_it_has() {
    let broker = TestBroker::start();
    let (mut publisher, mut low, mut high) = three(&broker);
    consume(&mut low, "q", "low", 0);
    publish(&mut publisher, &["0", "1"]);
    (0..2).for_each(|_| drop(low.delivery(1)));
    consume(&mut high, "q", "high", 10);
    publish(&mut publisher, &["2"]);
    ack(&mut low, 1);
    assert_eq!(publisher.ready(1, "q"), 1, "nobody gets anything meanwhile");
    ack(&mut low, 2);
    assert_eq!(high.delivery(1).2, "2");
    publish(&mut publisher, &["3"]);
    assert_eq!(high.delivery(1).2, "3");
}

#[test]
fn a_higher_priority_takes_over_at_once_from_one_that_has_nothing() {
    let broker = TestBroker::start();
    let (mut publisher, mut low, mut high) = three(&broker);
    consume(&mut low, "q", "low", 0);
    consume(&mut high, "q", "high", 1);
    publish(&mut publisher, &["0"]);
    assert_eq!(high.delivery(1).2, "0");
    low.expect_silence();
}

#[test]
fn a_higher_priority_takes_over_when_the_active_one_goes_with_messages_out() {
    let broker = TestBroker::start();
    let (mut publisher, mut low, mut high) = three(&broker);
    consume(&mut low, "q", "low", 0);
    publish(&mut publisher, &["0"]);
    low.delivery(1);
    consume(&mut high, "q", "high", 1);
    publish(&mut publisher, &["1"]);
    cancel(&mut low, "low");
    assert_eq!(high.delivery(1).2, "1");
}

#[test]
fn the_active_one_goes_on_when_its_better_leaves_before_it_has_taken_over() {
    let broker = TestBroker::start();
    let (mut publisher, mut low, mut high) = three(&broker);
    consume(&mut low, "q", "low", 0);
    publish(&mut publisher, &["0"]);
    low.delivery(1);
    consume(&mut high, "q", "high", 1);
    publish(&mut publisher, &["1"]);
    cancel(&mut high, "high");
    assert_eq!(low.delivery(1).2, "1");
}

#[test]
fn the_one_of_the_highest_priority_follows_not_the_one_that_came_next() {
    let broker = TestBroker::start();
    let (mut publisher, mut first, mut second) = three(&broker);
    let mut third = broker.channel();
    consume(&mut first, "q", "first", 9);
    consume(&mut second, "q", "second", -1);
    consume(&mut third, "q", "third", 5);
    cancel(&mut first, "first");
    publish(&mut publisher, &["0"]);
    assert_eq!(third.delivery(1).2, "0");
}

#[test]
fn the_prefetch_of_the_active_one_holds_and_nobody_gets_what_is_above_it() {
    let broker = TestBroker::start();
    let (mut publisher, mut first, mut second) = three(&broker);
    first.call(1, BasicQos { prefetch_count: 1, ..BasicQos::default() });
    consume(&mut first, "q", "first", 0);
    consume(&mut second, "q", "second", 0);
    publish(&mut publisher, &["0", "1"]);
    first.delivery(1);
    assert_eq!(publisher.ready(1, "q"), 1);
    first.send(1, BasicAck { delivery_tag: 1, multiple: false });
    assert_eq!(first.delivery(1).2, "1");
}

#[test]
fn getting_and_exclusive_consuming_are_refused() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declare(&mut peer, "q");
    let locked = "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get \
                  operations are not supported by quorum queues with single active consumer";
    let get = BasicGet { queue: short("q"), no_ack: false };
    assert_eq!(peer.refused(get), (405, locked.to_owned()));
    let exclusive = BasicConsume { queue: short("q"), exclusive: true, ..BasicConsume::default() };
    let in_use = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use".to_owned();
    assert_eq!(peer.refused(exclusive), (403, in_use));
}
