//! Consuming: delivery, settling, getting, cancelling.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

/// A queue with messages named by their numbers.
fn queue_of(peer: &mut Peer, name: &str, count: usize) {
    peer.declare_queue(1, name);
    (0..count).for_each(|number| peer.publish(1, "", name, &number.to_string()));
    peer.sync(1);
}

fn ack(delivery_tag: u64, multiple: bool) -> BasicAck {
    BasicAck { delivery_tag, multiple }
}

#[test]
fn consume_ok_comes_before_the_first_delivery_and_order_is_kept() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 50);
    peer.consume(1, "q", "c");
    for number in 0..50 {
        let (tag, redelivered, body) = peer.delivery(1);
        assert_eq!((tag, redelivered, body), (number + 1, false, number.to_string()));
    }
}

#[test]
fn unknown_and_repeated_tags_are_406() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 1);
    for (method, tag) in [
        (Method::from(ack(7, false)), 7),
        (ack(0, false).into(), 0),
        (ack(7, true).into(), 7),
        (BasicNack { delivery_tag: 3, ..BasicNack::default() }.into(), 3),
        (BasicReject { delivery_tag: 4, requeue: true }.into(), 4),
    ] {
        let expected = format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
        assert_eq!(peer.refused(method), (406, expected));
    }
    peer.get(1, "q", false).expect("there");
    peer.send(1, ack(1, false));
    assert_eq!(peer.refused(ack(1, false)).0, 406);
    // All of nothing is fine.
    peer.send(1, ack(0, true));
    peer.sync(1);
}

#[test]
fn what_comes_back_goes_to_its_old_place_with_the_flag() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 5);
    for _ in 0..3 {
        peer.get(1, "q", false).expect("there");
    }
    peer.send(1, BasicNack { delivery_tag: 3, requeue: true, multiple: false });
    peer.send(1, BasicReject { delivery_tag: 1, requeue: true });
    peer.sync(1);
    peer.consume(1, "q", "c");
    let got: Vec<(bool, String)> = (0..4)
        .map(|_| peer.delivery(1))
        .map(|(_, redelivered, body)| (redelivered, body))
        .collect();
    let expected = [(true, "0"), (true, "2"), (false, "3"), (false, "4")];
    assert_eq!(got, expected.map(|(flag, body)| (flag, body.to_owned())));
}

#[test]
fn recover_brings_back_all_and_only_by_requeueing() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 2);
    peer.get(1, "q", false).expect("there");
    peer.get(1, "q", false).expect("there");
    assert_eq!(peer.call(1, BasicRecover { requeue: true }), Method::from(BasicRecoverOk));
    assert_eq!(peer.ready(1, "q"), 2);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicRecoverAsync { requeue: true });
    peer.sync(1);
    assert_eq!(peer.ready(1, "q"), 2);
    peer.send(1, BasicRecover { requeue: false });
    assert_eq!(peer.expect_connection_close().0, 540);
}

#[test]
fn a_closed_channel_gives_back_what_it_had() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 30);
    peer.open_channel(2);
    peer.consume(2, "q", "c");
    (0..30).for_each(|_| drop(peer.delivery(2)));
    peer.call(2, ChannelClose::default());
    assert_eq!(peer.ready(1, "q"), 30);
    let got = peer.get(1, "q", true).expect("there");
    assert!(matches!(got.method, Method::BasicGetOk(BasicGetOk { redelivered: true, .. })));
    assert_eq!(got.body, b"0");
}

#[test]
fn a_lost_connection_gives_back_what_it_had_in_order() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 20);
    let mut lost = broker.channel();
    lost.consume(1, "q", "c");
    (0..20).for_each(|_| drop(lost.delivery(1)));
    drop(lost);
    peer.wait_for_ready(1, "q", 20);
    peer.consume(1, "q", "c");
    for number in 0..20 {
        let (_, redelivered, body) = peer.delivery(1);
        assert_eq!((redelivered, body), (true, number.to_string()));
    }
}

#[test]
fn no_ack_deliveries_are_gone_and_their_tags_unknown() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 3);
    let queue = short("q");
    peer.call(1, BasicConsume { queue, no_ack: true, ..BasicConsume::default() });
    (0..3).for_each(|_| drop(peer.delivery(1)));
    assert_eq!(peer.refused(ack(1, false)).0, 406);
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn consumers_take_turns_and_priorities_go_first() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.call(1, BasicQos { prefetch_count: 2, ..BasicQos::default() });
    for (tag, priority) in [("low", -1), ("high", 5), ("high2", 5)] {
        let arguments = table([("x-priority", FieldValue::I32(priority))]);
        let (queue, consumer_tag) = (short("q"), short(tag));
        let consume = BasicConsume { queue, consumer_tag, arguments, ..BasicConsume::default() };
        assert!(matches!(peer.call(1, consume), Method::BasicConsumeOk(_)));
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        peer.publish(1, "", "q", "m");
        let Method::BasicDeliver(deliver) = peer.receive_content(1).method else { panic!("no") };
        order.push(deliver.consumer_tag.to_string());
    }
    assert_eq!(order, ["high", "high2", "high", "high2", "low", "low"]);
    let arguments = table([("x-priority", long("first"))]);
    let consume = BasicConsume { queue: short("q"), arguments, ..BasicConsume::default() };
    assert_eq!(peer.refused(consume).0, 406);
}

#[test]
fn a_consumer_that_does_not_read_holds_up_nobody_else() {
    let broker = TestBroker::start();
    let mut slow = broker.channel();
    slow.declare_queue(1, "q");
    slow.consume(1, "q", "slow");
    let mut fast = broker.channel();
    fast.consume(1, "q", "fast");
    let mut publisher = broker.channel();
    let body = "x".repeat(50_000);
    // Far more than the slow one's outbox and its socket take.
    let producing = std::thread::spawn(move || {
        (0..400).for_each(|_| publisher.publish(1, "", "q", &body));
        publisher.sync(1);
        publisher
    });
    let mut received = 0;
    while received < 200 {
        let (tag, _, _) = fast.delivery(1);
        fast.send(1, ack(tag, false));
        received += 1;
    }
    producing.join().expect("the publisher is not held up either");
}

#[test]
fn exclusive_consumers_are_alone() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let consume = |tag: &str, exclusive| BasicConsume {
        queue: short("q"),
        consumer_tag: short(tag),
        exclusive,
        ..BasicConsume::default()
    };
    peer.call(1, consume("a", true));
    let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
    let mut other = broker.channel();
    assert_eq!(other.refused(consume("b", false)), (403, text.to_owned()));
    peer.call(1, BasicCancel { consumer_tag: short("a"), no_wait: false });
    other.call(1, consume("b", false));
    assert_eq!(peer.refused(consume("c", true)), (403, text.to_owned()));
}

#[test]
fn a_tag_used_twice_is_530_and_cancelling_what_is_not_there_is_fine() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let cancel = BasicCancel { consumer_tag: short("none"), no_wait: false };
    let cancelled = BasicCancelOk { consumer_tag: short("none") };
    assert_eq!(peer.call(1, cancel), Method::from(cancelled));
    peer.consume(1, "q", "same");
    let (queue, consumer_tag) = (short("q"), short("same"));
    peer.send(1, BasicConsume { queue, consumer_tag, ..BasicConsume::default() });
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'same'";
    assert_eq!(peer.expect_connection_close(), (530, text.to_owned()));
}

#[test]
fn too_many_consumers_on_a_channel_are_530() {
    let broker = TestBroker::with(|config| config.amqp.consumers_per_channel_max = 1);
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "");
    peer.send(1, BasicConsume { queue: short("q"), ..BasicConsume::default() });
    assert_eq!(peer.expect_connection_close().0, 530);
}

#[test]
fn a_consumer_hears_that_its_queue_is_gone_after_whoever_deleted_it() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "c");
    peer.send(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    assert!(matches!(peer.receive(1), Method::QueueDeleteOk(_)));
    let expected = BasicCancel { consumer_tag: short("c"), no_wait: true };
    assert_eq!(peer.receive(1), Method::from(expected));
    // The tag is free again.
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "c");
}

#[test]
fn get_counts_what_is_left_and_answers_empty() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    queue_of(&mut peer, "q", 2);
    let got = peer.get(1, "q", true).expect("there");
    assert!(matches!(got.method, Method::BasicGetOk(BasicGetOk { message_count: 1, .. })));
    peer.get(1, "q", true).expect("there");
    assert_eq!(peer.get(1, "q", true), None);
}

/// While the client reads nothing, each of them takes the one delivery that the channel may have
/// and finds no room for it; neither may wait for ever because the other had it for a moment.
#[test]
fn consumers_that_share_a_limit_find_their_turn_when_there_is_room_again() {
    let broker = TestBroker::start();
    let (mut peer, mut publisher) = (broker.channel(), broker.channel());
    let (flood, body) = ("flood", "x".repeat(64 * 1024));
    for queue in [flood, "a", "b"] {
        peer.declare_queue(1, queue);
    }
    peer.call(1, BasicQos { prefetch_size: 0, prefetch_count: 1, global: true });
    let queue = short(flood);
    peer.call(1, BasicConsume { queue, no_ack: true, ..BasicConsume::default() });
    peer.consume(1, "a", "a");
    peer.consume(1, "b", "b");
    // More than the sockets and the outbox take.
    let floods = 400;
    (0..floods).for_each(|_| publisher.publish(1, "", flood, &body));
    publisher.sync(1);
    for number in 0..20 {
        publisher.publish(1, "", "a", &format!("a{number}"));
        publisher.publish(1, "", "b", &format!("b{number}"));
    }
    publisher.sync(1);
    let mut shared = Vec::new();
    for _ in 0..floods + 40 {
        let (tag, _, body) = peer.delivery(1);
        if body.len() < 10 {
            shared.push(body);
            peer.send(1, ack(tag, false));
        }
    }
    shared.sort_unstable();
    shared.dedup();
    assert_eq!(shared.len(), 40);
}

#[test]
fn a_prefetch_in_bytes_is_540() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.send(1, BasicQos { prefetch_size: 10, ..BasicQos::default() });
    assert_eq!(peer.expect_connection_close().0, 540);
}

#[test]
fn a_client_that_vanishes_while_it_is_written_to_gives_back_what_it_had() {
    // The writer meets the broken socket before the reader does.
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let body = "x".repeat(100_000);
    (0..100).for_each(|_| peer.publish(1, "", "q", &body));
    peer.sync(1);
    for _ in 0..10 {
        let mut lost = broker.channel();
        lost.send(1, BasicConsume { queue: short("q"), ..BasicConsume::default() });
        lost.receive(1);
        drop(lost);
        peer.wait_for_ready(1, "q", 100);
    }
    assert_eq!(broker.broker().registry.len(), 1);
}

/// A queue with much to deliver was once served first each time there was room again, and others
/// of the same connection not before it was empty.
#[test]
fn a_long_queue_does_not_keep_a_full_connection_for_itself() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let (body, count) = ("x".repeat(100_000), 400);
    peer.declare_queue(1, "long");
    peer.declare_queue(1, "short");
    (0..count).for_each(|_| peer.publish(1, "", "long", &body));
    peer.publish(1, "", "short", "at last");
    peer.sync(1);
    // More than sockets hold while nobody reads: there is no room when the second one begins.
    for queue in ["long", "short"] {
        let queue = short(queue);
        peer.send(1, BasicConsume { queue, no_wait: true, ..BasicConsume::default() });
    }
    let before = (0..=count).take_while(|_| peer.delivery(1).2 != "at last").count();
    assert!(before < count, "it came behind all {count} others");
}
