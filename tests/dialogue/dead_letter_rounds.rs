//! Dead letters that go from queue to queue: chains, circles, and many of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::aids::*;
use crate::support::*;

const CHAIN_LEN: usize = 20;

#[test]
fn a_chain_of_queues_hands_a_dead_letter_through() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for number in 0..CHAIN_LEN {
        let declare = queue(&format!("q{number}")).dying_into(&format!("q{}", number + 1));
        // Every second one by its length, the others by time.
        let (argument, limit) = [("x-max-length", 0), ("x-message-ttl", 1)][number % 2];
        peer.declare(1, declare.with_number(argument, limit));
    }
    let last = format!("q{CHAIN_LEN}");
    peer.declare_queue(1, &last);
    peer.publish(1, "", "q0", "m");
    peer.wait_for_ready(1, &last, 1);
    let dead = peer.get(1, &last, true).expect("there");
    let queues: Vec<String> = deaths_in_short(&dead).into_iter().map(|(queue, ..)| queue).collect();
    let backwards: Vec<String> = (0..CHAIN_LEN).rev().map(|n| format!("q{n}")).collect();
    assert_eq!(queues, backwards);
    assert_eq!(header(&dead, "x-first-death-queue"), Some(long("q0")));
    assert_eq!(header(&dead, "x-last-death-queue"), Some(long(&backwards[0])));
}

#[test]
fn a_ring_of_queues_ends_where_it_would_close_and_only_there() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("a").dying_into("b").with_number("x-message-ttl", 20));
    let fanout = queue("b").with("x-dead-letter-exchange", long("amq.fanout"));
    peer.declare(1, fanout.with_number("x-message-ttl", 20));
    peer.declare_queue(1, "outside");
    for name in ["a", "outside"] {
        peer.bind(1, name, "amq.fanout", "");
    }
    peer.publish(1, "", "a", "m");
    peer.wait_for_ready(1, "outside", 1);
    // Both targets took it in one step, if they did.
    let ring = ["a", "b"].map(|name| queue_of(&broker, name).expect("there"));
    assert!(ring.iter().all(|queue| queue.status().ready == 0));
    let dead = peer.get(1, "outside", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("b", "expired", 1), ("a", "expired", 1)]));
}

#[test]
fn a_queue_that_is_its_own_target_gets_nothing_back_by_itself() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("q").dying_into("q").with_number("x-max-length", 1));
    for body in ["first", "second"] {
        peer.publish(1, "", "q", body);
    }
    // The first one made room. Had it come back, the second would have made room for it, and so on.
    let left = peer.get(1, "q", true).expect("there");
    assert_eq!((text(&left).as_str(), deaths(&left).len()), ("second", 0));
    assert_eq!(peer.get(1, "q", true), None);
}

#[test]
fn what_somebody_rejected_may_come_back_however_often() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("q").dying_into("q"));
    peer.consume(1, "q", "c");
    peer.publish(1, "", "q", "m");
    for count in 0..10 {
        let content = peer.receive_content(1);
        let expected = if count == 0 { vec![] } else { short_deaths([("q", "rejected", count)]) };
        assert_eq!(deaths_in_short(&content), expected);
        reject(&mut peer, u64::try_from(count + 1).expect("few"), false);
    }
}

#[test]
fn a_rejection_on_the_way_lets_a_ring_go_round_once_more() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("a").dying_into("b").with_number("x-max-length", 0));
    peer.declare(1, queue("b").dying_into("a"));
    peer.publish(1, "", "a", "m");
    for (tag, count) in [(1, 1), (2, 2)] {
        let content = peer.get(1, "b", false).expect("there");
        assert_eq!(deaths_in_short(&content)[0], ("a".into(), "maxlen".into(), count));
        reject(&mut peer, tag, false);
    }
    assert_eq!(peer.ready(1, "b"), 1);
}

const PUBLISHERS: u32 = 4;
const EACH: u32 = 500;

/// Each message dies so often before a consumer is content with it.
const DEATHS: i64 = 3;

#[test]
fn two_queues_that_dead_letter_to_each_other_lose_nothing_under_load() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("a").dying_into("b").durable());
    peer.declare(1, queue("b").dying_into("a").durable());
    let acked = Arc::new(AtomicU32::new(0));
    let consuming: Vec<_> = ["a", "b", "a", "b"]
        .map(|name| {
            let (mut peer, acked) = (broker.channel(), Arc::clone(&acked));
            prefetch(&mut peer, 50);
            peer.consume(1, name, "c");
            std::thread::spawn(move || reject_till_content(peer, &acked))
        })
        .into();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut peer = broker.channel();
            std::thread::spawn(move || {
                for number in publisher * EACH..(publisher + 1) * EACH {
                    let name = if number % 2 == 0 { "a" } else { "b" };
                    peer.publish_with(1, "", name, number.to_string().as_bytes(), &persistent());
                }
                peer.sync(1);
            })
        })
        .collect();
    publishing.into_iter().for_each(|thread| thread.join().expect("published"));
    wait_until("all are acked", || acked.load(Ordering::Relaxed) >= PUBLISHERS * EACH);
    let status = || ["a", "b"].map(|name| queue_of(&broker, name).expect("there").status());
    wait_until("nothing is left", || status().iter().all(|of| of.ready + of.unacked == 0));
    for name in ["a", "a", "b", "b"] {
        peer.publish(1, "", name, THE_END);
    }
    let consumed = consuming.into_iter().flat_map(|thread| thread.join().expect("consumed"));
    let mut consumed: Vec<u32> = consumed.collect();
    consumed.sort_unstable();
    // Each one came through, and once.
    assert!(consumed.into_iter().eq(0..PUBLISHERS * EACH));
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!((peer.ready(1, "a"), peer.ready(1, "b")), (0, 0));
}

const THE_END: &str = "the end";

/// Answers the numbers of the messages that it has acked.
fn reject_till_content(mut peer: Peer, acked: &AtomicU32) -> Vec<u32> {
    let mut numbers = Vec::new();
    for tag in 1.. {
        let content = peer.receive_content(1);
        if content.body == THE_END.as_bytes() {
            break;
        }
        let died: i64 = deaths_in_short(&content).iter().map(|(.., count)| count).sum();
        if died < DEATHS {
            reject(&mut peer, tag, false);
        } else {
            numbers.push(text(&content).parse().expect("a number"));
            ack(&mut peer, tag);
            acked.fetch_add(1, Ordering::Relaxed);
        }
    }
    numbers
}

const CROWD: usize = 4;
const FOR_EACH: usize = 2_000;

/// What one publisher's messages pushed out was moved before what another's had pushed out earlier.
#[test]
fn what_makes_room_dies_in_its_order_whoever_needed_the_room() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length", 10));
    let publishing: Vec<_> = (0..CROWD)
        .map(|publisher| {
            let mut peer = broker.channel();
            std::thread::spawn(move || {
                for number in 0..FOR_EACH {
                    peer.publish(1, "", "q", &format!("{publisher} {number}"));
                }
                peer.sync(1);
            })
        })
        .collect();
    publishing.into_iter().for_each(|thread| thread.join().expect("published"));
    let mut next = [0; CROWD];
    for body in drain(&mut peer, "dead").into_iter().chain(drain(&mut peer, "q")) {
        let (publisher, number) = body.split_once(' ').expect("two numbers");
        let next = &mut next[publisher.parse::<usize>().expect("a number")];
        assert_eq!(number.parse(), Ok(*next), "of publisher {publisher}");
        *next += 1;
    }
    assert_eq!(next, [FOR_EACH; CROWD]);
}
