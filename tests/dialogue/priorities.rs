//! Queues that hand out what matters more before the rest.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::aids::*;
use crate::support::*;

fn ranking(name: &str, max: i64) -> QueueDeclare {
    queue(name).with_number("x-max-priority", max)
}

fn publish(peer: &mut Peer, name: &str, priority: u8, body: &str) {
    peer.publish_with(1, "", name, body.as_bytes(), &ranked(priority));
}

#[test]
fn higher_ones_come_first_and_equals_in_their_order() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("q", 5));
    for (priority, body) in [(1, "a"), (5, "b"), (3, "c"), (5, "d"), (0, "e"), (1, "f")] {
        publish(&mut peer, "q", priority, body);
    }
    assert_eq!(drain(&mut peer, "q"), ["b", "d", "c", "a", "f", "e"]);
}

#[test]
fn none_is_the_lowest_and_too_high_is_the_highest() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("q", 2));
    peer.publish(1, "", "q", "none");
    for (priority, body) in [(0, "lowest"), (1, "one"), (200, "too high"), (2, "two"), (3, "three")]
    {
        publish(&mut peer, "q", priority, body);
    }
    assert_eq!(drain(&mut peer, "q"), ["too high", "two", "three", "one", "none", "lowest"]);
}

#[test]
fn a_queue_without_priorities_pays_them_no_heed() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "none");
    peer.declare(1, ranking("zero", 0));
    for name in ["none", "zero"] {
        for (priority, body) in [(1, "a"), (9, "b"), (5, "c")] {
            publish(&mut peer, name, priority, body);
        }
        assert_eq!(drain(&mut peer, name), ["a", "b", "c"]);
    }
}

#[test]
fn all_two_hundred_and_fifty_six_levels_are_told_apart() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("q", 255));
    // 37 and 256 have no common divisor: each one once, in no order.
    for number in 0..=255u8 {
        let priority = number.wrapping_mul(37);
        publish(&mut peer, "q", priority, &priority.to_string());
    }
    let expected: Vec<String> = (0..=255u8).rev().map(|priority| priority.to_string()).collect();
    assert_eq!(drain(&mut peer, "q"), expected);
}

#[test]
fn a_consumer_with_a_place_free_gets_the_highest_of_the_moment() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("q", 9));
    let mut consumer = broker.channel();
    prefetch(&mut consumer, 1);
    consumer.consume(1, "q", "c");
    for (priority, body) in [(1, "came first"), (2, "lower"), (8, "higher")] {
        publish(&mut peer, "q", priority, body);
        peer.sync(1);
    }
    for (tag, body) in [(1, "came first"), (2, "higher"), (3, "lower")] {
        assert_eq!(consumer.delivery(1), (tag, false, body.to_owned()));
        ack(&mut consumer, tag);
    }
}

#[test]
fn what_comes_back_has_its_old_place_in_its_level() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("q", 2));
    for (priority, body) in [(1, "a"), (1, "b"), (2, "c")] {
        publish(&mut peer, "q", priority, body);
    }
    for _ in 0..2 {
        peer.get(1, "q", false).expect("there");
    }
    // "c" and "a" are out.
    publish(&mut peer, "q", 2, "d");
    peer.send(1, BasicNack { delivery_tag: 2, multiple: true, requeue: true });
    peer.sync(1);
    assert_eq!(drain(&mut peer, "q"), ["c", "d", "a", "b"]);
}

#[test]
fn the_lowest_make_room_for_the_others_even_the_newest_of_them() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, ranking("q", 5).dying_into("dead").with_number("x-max-length", 2));
    for (priority, body) in [(5, "high"), (1, "low"), (1, "low, too"), (3, "middle")] {
        publish(&mut peer, "q", priority, body);
    }
    // Of the low ones the oldest first.
    peer.sync(1);
    assert_eq!(drain(&mut peer, "dead"), ["low", "low, too"]);
    publish(&mut peer, "q", 0, "nobody's");
    peer.sync(1);
    assert_eq!(drain(&mut peer, "dead"), ["nobody's"]);
    publish(&mut peer, "q", 5, "high, too");
    assert_eq!(drain(&mut peer, "q"), ["high", "high, too"]);
    assert_eq!(drain(&mut peer, "dead"), ["middle"]);
}

#[test]
fn each_level_loses_its_oldest_when_it_is_too_old() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.consume(1, "dead", "c");
    peer.declare(1, ranking("q", 5).dying_into("dead"));
    publish(&mut peer, "q", 5, "in front of it in another level");
    let dying = BasicProperties {
        priority: Some(1),
        expiration: Some(short("20")),
        ..BasicProperties::default()
    };
    peer.publish_with(1, "", "q", b"dies", &(&dying).into());
    assert_eq!(peer.delivery(1).2, "dies");
    assert_eq!(peer.ready(1, "q"), 1);
}

#[test]
fn a_dead_letter_keeps_its_priority() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, ranking("dead", 5));
    peer.declare(1, ranking("q", 1).dying_into("dead").with_number("x-max-length", 0));
    for (priority, body) in [(2, "low"), (4, "high")] {
        publish(&mut peer, "q", priority, body);
    }
    assert_eq!(drain(&mut peer, "dead"), ["high", "low"]);
}

fn lasting(priority: u8) -> Properties {
    let (priority, delivery_mode) = (Some(priority), Some(2));
    (&BasicProperties { priority, delivery_mode, ..BasicProperties::default() }).into()
}

#[test]
fn the_order_and_what_came_back_survive_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, ranking("q", 3).durable());
    for (priority, body) in [(1, "a"), (3, "b"), (1, "c"), (0, "d"), (2, "e"), (3, "f")] {
        peer.publish_with(1, "", "q", body.as_bytes(), &lasting(priority));
        assert!(is_taken(&mut peer));
    }
    for tag in 1..=2 {
        peer.get(1, "q", false).expect("there");
        nack(&mut peer, tag, true);
    }
    assert_eq!(peer.get(1, "q", true).expect("there").body, b"b");
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    peer.publish_with(1, "", "q", b"new", &lasting(2));
    let mut drained = Vec::new();
    while let Some(content) = peer.get(1, "q", true) {
        let Method::BasicGetOk(ok) = &content.method else { panic!("{:?}", content.method) };
        // Those that were not delivered before come without the flag.
        assert!(ok.redelivered || text(&content) != "b");
        drained.push(text(&content));
    }
    assert_eq!(drained, ["f", "e", "new", "a", "c", "d"]);
    drop(peer);
    broker.restart();
    assert_eq!(broker.channel().ready(1, "q"), 0);
}
