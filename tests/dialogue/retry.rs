//! Messages that came back and wait before they are delivered again.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::aids::*;
use crate::support::*;

/// Long enough to be told from no wait at all.
const MIN_MS: u64 = 60;

fn retrying(kind: &str) -> QueueDeclare {
    let kind = queue("q").with("x-delayed-retry-type", long(kind));
    kind.with_number("x-delayed-retry-min", MIN_MS.cast_signed())
}

/// Gives back what is out, and answers how long it took to come again.
fn wait_of(peer: &mut Peer, tag: u64, give_back: fn(&mut Peer, u64, bool)) -> u64 {
    let before_ms = now_ms();
    give_back(peer, tag, true);
    assert_eq!(peer.delivery(1).0, tag + 1);
    now_ms() - before_ms
}

/// A consumer of `q` that has its only message.
fn consumer_with_one(broker: &TestBroker, declare: QueueDeclare) -> Peer {
    let mut peer = broker.channel();
    peer.declare(1, declare);
    peer.consume(1, "q", "c");
    peer.publish(1, "", "q", "m");
    assert_eq!(peer.delivery(1).0, 1);
    peer
}

#[test]
fn each_kind_of_retry_waits_for_what_it_names() {
    // So long that nothing is there early by chance.
    const LONG_MS: i64 = 3_600_000;
    let broker = TestBroker::start();
    for (kind, waits_failed, waits_returned) in [
        ("all", true, true),
        ("failed", true, false),
        ("returned", false, true),
        ("disabled", false, false),
    ] {
        let mut peer = broker.channel();
        peer.declare(1, retrying(kind).with_number("x-delayed-retry-min", LONG_MS));
        let q = queue_of(&broker, "q").expect("there");
        type GiveBack = fn(&mut Peer, u64, bool);
        let ways: [(GiveBack, bool); 2] = [(reject, waits_failed), (nack, waits_returned)];
        for ((give_back, waits), tag) in ways.into_iter().zip(1..) {
            peer.publish(1, "", "q", "m");
            peer.get(1, "q", false).expect("there");
            give_back(&mut peer, tag, true);
            peer.sync(1);
            let status = q.status();
            assert_eq!(
                (status.delayed, status.ready),
                (usize::from(waits), usize::from(!waits)),
                "{kind}"
            );
            peer.call(1, QueuePurge { queue: short("q"), no_wait: false });
        }
        // A client that is lost has failed.
        peer.publish(1, "", "q", "m");
        peer.get(1, "q", false).expect("there");
        drop(peer);
        wait_until("it is back", || q.status().unacked == 0);
        assert_eq!(q.status().delayed, usize::from(waits_failed), "{kind}");
        let mut peer = broker.channel();
        peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    }
}

#[test]
fn the_wait_grows_by_its_least_up_to_its_most() {
    let broker = TestBroker::start();
    let declare = retrying("all").with_number("x-delayed-retry-max", 150);
    let mut peer = consumer_with_one(&broker, declare);
    for (tag, expected_ms) in [(1, 60), (2, 120), (3, 150), (4, 150)] {
        let waited_ms = wait_of(&mut peer, tag, reject);
        assert!(waited_ms >= expected_ms, "{tag}: {waited_ms}");
    }
}

#[test]
fn the_wait_grows_by_a_factor_up_to_its_most() {
    let broker = TestBroker::start();
    let declare = retrying("all").with("x-delayed-retry-multiplier", FieldValue::F64(2.0));
    let declare = declare.with_number("x-delayed-retry-max", 300);
    let mut peer = consumer_with_one(&broker, declare);
    for (tag, expected_ms) in [(1, 60), (2, 120), (3, 240), (4, 300)] {
        let waited_ms = wait_of(&mut peer, tag, nack);
        assert!(waited_ms >= expected_ms, "{tag}: {waited_ms}");
    }
}

#[test]
fn the_wait_is_as_long_as_it_was_told_and_no_longer() {
    let broker = TestBroker::start();
    let declare = retrying("failed").with_number("x-delayed-retry-max", 1_000);
    let declare = declare.with("x-delayed-retry-multiplier", FieldValue::F64(1.5));
    let mut peer = broker.channel();
    peer.declare(1, declare);
    peer.publish(1, "", "q", "m");
    let q = queue_of(&broker, "q").expect("there");
    for (tag, wait_ms) in [(1, 60), (2, 90), (3, 135)] {
        wait_until("it is ready", || q.status().ready == 1);
        peer.get(1, "q", false).expect("there");
        let before_ms = now_ms();
        reject(&mut peer, tag, true);
        wait_until("it waits", || q.status().next_due_ms.is_some());
        let due_ms = q.status().next_due_ms.unwrap_or(before_ms + wait_ms);
        assert!((before_ms + wait_ms..=now_ms() + wait_ms).contains(&due_ms), "{tag}");
    }
}

#[test]
fn others_go_past_a_message_that_waits() {
    let broker = TestBroker::start();
    let mut peer = consumer_with_one(&broker, retrying("all"));
    let before_ms = now_ms();
    reject(&mut peer, 1, true);
    peer.publish(1, "", "q", "other");
    assert_eq!(peer.delivery(1), (2, false, "other".to_owned()));
    assert_eq!(peer.delivery(1), (3, true, "m".to_owned()));
    assert!(now_ms() - before_ms >= MIN_MS);
}

#[test]
fn a_message_that_waits_is_not_ready_and_is_purged() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let long = retrying("all").with_number("x-delayed-retry-min", 3_600_000);
    peer.declare(1, long.with_number("x-max-length", 1));
    for body in ["waits", "ready"] {
        peer.publish(1, "", "q", body);
        if body == "waits" {
            peer.get(1, "q", false).expect("there");
            nack(&mut peer, 1, true);
        }
    }
    // It takes none of the queue's length.
    assert_eq!(peer.ready(1, "q"), 1);
    assert_eq!(queue_of(&broker, "q").expect("there").status().delayed, 1);
    let purged = peer.call(1, QueuePurge { queue: short("q"), no_wait: false });
    assert_eq!(purged, Method::from(QueuePurgeOk { message_count: 2 }));
    assert_eq!(queue_of(&broker, "q").expect("there").status().delayed, 0);
}

#[test]
fn after_its_last_retry_a_message_dies_without_a_wait() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let declare = retrying("failed").dying_into("dead").with_number("x-delivery-limit", 1);
    peer.declare(1, declare);
    peer.publish(1, "", "q", "m");
    peer.consume(1, "q", "c");
    assert_eq!(peer.delivery(1).0, 1);
    assert!(wait_of(&mut peer, 1, reject) >= MIN_MS);
    reject(&mut peer, 2, true);
    assert_eq!(peer.ready(1, "dead"), 1);
}

#[test]
fn a_message_that_grew_too_old_while_it_waited_dies_when_it_is_due() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let declare = retrying("all").dying_into("dead").with_number("x-message-ttl", 30);
    peer.declare(1, declare);
    peer.publish(1, "", "q", "m");
    peer.get(1, "q", false).expect("there");
    let before_ms = now_ms();
    reject(&mut peer, 1, true);
    peer.wait_for_ready(1, "dead", 1);
    assert!(now_ms() - before_ms >= MIN_MS);
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("q", "expired", 1)]));
}

#[test]
fn a_wait_goes_on_over_a_restart_and_is_not_begun_again() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    let declare = retrying("all").durable().with_number("x-delayed-retry-min", 2_000);
    peer.declare(1, declare);
    for body in ["waits", "fine"] {
        peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
        assert!(is_taken(&mut peer));
    }
    peer.get(1, "q", false).expect("there");
    let before_ms = now_ms();
    reject(&mut peer, 1, true);
    peer.sync(1);
    let q = queue_of(&broker, "q").expect("there");
    let due_ms = q.status().next_due_ms.expect("it waits");
    drop((peer, q));
    broker.restart();
    let mut peer = broker.channel();
    peer.consume(1, "q", "c");
    assert_eq!(peer.delivery(1), (1, false, "fine".to_owned()));
    let q = queue_of(&broker, "q").expect("there");
    // Unless the restart took longer than the wait.
    assert!(q.status().next_due_ms.is_none_or(|again_ms| again_ms == due_ms));
    let content = peer.receive_content(1);
    assert!(now_ms() >= before_ms + 2_000);
    assert_eq!(
        (text(&content).as_str(), header(&content, "x-delivery-count")),
        ("waits", Some(FieldValue::I64(1)),)
    );
}
