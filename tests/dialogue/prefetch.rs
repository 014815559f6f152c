//! Limits on what is out with a consumer or a channel, and changing them while consumers are there.

use ferrymq::protocol::generated::*;

use crate::support::*;

fn queue_of(peer: &mut Peer, name: &str, count: usize) {
    peer.declare_queue(1, name);
    (0..count).for_each(|number| peer.publish(1, "", name, &number.to_string()));
    peer.sync(1);
}

fn qos(prefetch_count: u16, global: bool) -> BasicQos {
    BasicQos { prefetch_size: 0, prefetch_count, global }
}

/// Changes a limit and expects that many deliveries, which may come before its answer.
fn qos_brings(peer: &mut Peer, channel: u16, qos: BasicQos, deliveries: usize) {
    peer.send(channel, qos);
    let (mut answers, mut delivered) = (0, 0);
    while answers + delivered < 1 + deliveries {
        let frame = peer.next_frame().expect("open");
        let method = Method::decode(&frame.payload).expect("a method");
        if matches!(method, Method::BasicQosOk(_)) {
            answers += 1;
        } else {
            peer.waiting.push_front(frame);
            peer.delivery(channel);
            delivered += 1;
        }
    }
    assert_eq!((answers, delivered), (1, deliveries));
}

fn ack(delivery_tag: u64, multiple: bool) -> BasicAck {
    BasicAck { delivery_tag, multiple }
}

#[test]
fn a_prefetch_is_for_each_consumer_by_itself() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 10);
    qos_brings(&mut peer, 1, qos(3, false), 0);
    peer.consume(1, "q", "c");
    (0..3).for_each(|_| drop(peer.delivery(1)));
    assert_eq!(peer.ready(1, "q"), 7);
    peer.send(1, ack(2, false));
    assert_eq!(peer.delivery(1).2, "3");
    peer.send(1, ack(0, true));
    (0..3).for_each(|_| drop(peer.delivery(1)));
    assert_eq!(peer.ready(1, "q"), 3);
    peer.consume(1, "q", "d");
    (0..3).for_each(|_| drop(peer.delivery(1)));
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn a_higher_prefetch_brings_more_to_the_consumers_that_are_there() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 10);
    qos_brings(&mut peer, 1, qos(1, false), 0);
    peer.consume(1, "q", "c");
    peer.delivery(1);
    qos_brings(&mut peer, 1, qos(4, false), 3);
    assert_eq!(peer.ready(1, "q"), 6);
    qos_brings(&mut peer, 1, qos(0, false), 6);
}

/// As clients do that give each consumer of a channel its own limit.
#[test]
fn a_prefetch_before_another_consumer_is_that_ones_alone() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "a", 9);
    qos_brings(&mut peer, 1, qos(2, false), 0);
    peer.consume(1, "a", "first");
    let tags: Vec<u64> = (0..2).map(|_| peer.delivery(1).0).collect();
    qos_brings(&mut peer, 1, qos(3, false), 1);
    queue_of(&mut peer, "b", 9);
    peer.consume(1, "b", "second");
    (0..3).for_each(|_| drop(peer.delivery(1)));
    assert_eq!((peer.ready(1, "a"), peer.ready(1, "b")), (6, 6));
    // Two of three are out then: as many as the first one came with.
    peer.send(1, ack(tags[0], false));
    peer.sync(1);
    assert_eq!(peer.ready(1, "a"), 6);
}

#[test]
fn a_lower_prefetch_holds_once_enough_is_settled() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 10);
    qos_brings(&mut peer, 1, qos(3, false), 0);
    peer.consume(1, "q", "c");
    (0..3).for_each(|_| drop(peer.delivery(1)));
    qos_brings(&mut peer, 1, qos(1, false), 0);
    peer.send(1, ack(2, true));
    assert_eq!(peer.ready(1, "q"), 7, "two are settled, one is out, and one is the limit");
    peer.send(1, ack(3, false));
    assert_eq!(peer.delivery(1).2, "3");
    assert_eq!(peer.ready(1, "q"), 6);
}

#[test]
fn a_lower_prefetch_holds_for_a_consumer_that_was_waiting_for_messages() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 1);
    qos_brings(&mut peer, 1, qos(5, false), 0);
    peer.consume(1, "q", "c");
    peer.delivery(1);
    qos_brings(&mut peer, 1, qos(1, false), 0);
    peer.publish(1, "", "q", "1");
    assert_eq!(peer.ready(1, "q"), 1);
    peer.send(1, ack(1, false));
    assert_eq!(peer.delivery(1).2, "1");
}

#[test]
fn a_changed_prefetch_is_its_own_channels() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.open_channel(2);
    queue_of(&mut peer, "q", 10);
    qos_brings(&mut peer, 2, qos(1, false), 0);
    peer.consume(2, "q", "c");
    peer.delivery(2);
    qos_brings(&mut peer, 1, qos(9, false), 0);
    assert_eq!(peer.ready(1, "q"), 9);
}

#[test]
fn a_global_prefetch_is_shared_by_the_channel_and_can_be_changed() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "a", 5);
    queue_of(&mut peer, "b", 5);
    qos_brings(&mut peer, 1, qos(4, true), 0);
    peer.consume(1, "a", "a");
    (0..4).for_each(|_| drop(peer.delivery(1)));
    peer.consume(1, "b", "b");
    assert_eq!((peer.ready(1, "a"), peer.ready(1, "b")), (1, 5));
    qos_brings(&mut peer, 1, qos(6, true), 2);
}
