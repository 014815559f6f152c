//! Queues that may hold so much and no more.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::aids::*;
use crate::support::*;

fn refusing(name: &str) -> QueueDeclare {
    queue(name).with("x-overflow", long("reject-publish"))
}

#[test]
fn the_oldest_ready_messages_make_room_in_count_and_in_bytes() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    for (argument, limit) in [("x-max-length", 2), ("x-max-length-bytes", 6)] {
        peer.declare(1, queue("q").dying_into("dead").with_number(argument, limit));
        for body in ["aaa", "bbb", "ccc", "ddd"] {
            peer.publish(1, "", "q", body);
        }
        assert_eq!(drain(&mut peer, "q"), ["ccc", "ddd"]);
        assert_eq!(drain(&mut peer, "dead"), ["aaa", "bbb"]);
        peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    }
}

#[test]
fn what_is_out_does_not_count_and_may_be_too_much_when_it_comes_back() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length", 1));
    peer.publish(1, "", "q", "out");
    peer.get(1, "q", false).expect("there");
    peer.publish(1, "", "q", "in");
    assert_eq!((peer.ready(1, "q"), peer.ready(1, "dead")), (1, 0));
    nack(&mut peer, 1, true);
    // It stands in front again, and so is the one that goes.
    peer.wait_for_ready(1, "dead", 1);
    assert_eq!(drain(&mut peer, "q"), ["in"]);
    assert_eq!(drain(&mut peer, "dead"), ["out"]);
}

#[test]
fn a_queue_of_no_length_delivers_or_drops() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (argument, name) in [("x-max-length", "count"), ("x-max-length-bytes", "bytes")] {
        peer.declare(1, queue(name).with_number(argument, 0));
        peer.publish(1, "", name, "dropped");
        assert_eq!(peer.ready(1, name), 0);
        let mut consumer = broker.channel();
        prefetch(&mut consumer, 1);
        consumer.consume(1, name, "c");
        for body in ["taken", "dropped"] {
            peer.publish(1, "", name, body);
        }
        assert_eq!(consumer.delivery(1).2, "taken");
        assert_eq!(peer.ready(1, name), 0);
        ack(&mut consumer, 1);
        consumer.sync(1);
        peer.publish(1, "", name, "taken again");
        assert_eq!(consumer.delivery(1).2, "taken again");
    }
}

#[test]
fn a_message_larger_than_the_queue_may_be_is_dropped_with_all_before_it() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length-bytes", 10));
    for body in ["small", "a body of more than ten bytes"] {
        peer.publish(1, "", "q", body);
    }
    assert_eq!(peer.ready(1, "q"), 0);
    assert_eq!(drain(&mut peer, "dead"), ["small", "a body of more than ten bytes"]);
    // The limit itself is not too much, and headers don't count.
    let headers = Some(table([("much", long(&"x".repeat(1_000)))]));
    let properties = BasicProperties { headers, ..BasicProperties::default() };
    peer.publish_with(1, "", "q", b"ten bytes!", &(&properties).into());
    assert_eq!(drain(&mut peer, "q"), ["ten bytes!"]);
}

#[test]
fn a_full_queue_refuses_at_exactly_its_length() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, refusing("q").with_number("x-max-length", 2));
    let mut publish = |body: &str| {
        peer.publish(1, "", "q", body);
        is_taken(&mut peer)
    };
    assert_eq!(["a", "b", "c"].map(&mut publish), [true, true, false]);
    // What is out leaves room.
    peer.get(1, "q", false).expect("there");
    let mut publish = |body: &str| {
        peer.publish(1, "", "q", body);
        is_taken(&mut peer)
    };
    assert_eq!(["d", "e"].map(&mut publish), [true, false]);
    assert_eq!(drain(&mut peer, "q"), ["b", "d"]);
}

#[test]
fn a_full_queue_refuses_at_exactly_its_bytes() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, refusing("q").with_number("x-max-length-bytes", 10));
    let mut publish = |body: &str| {
        peer.publish(1, "", "q", body);
        is_taken(&mut peer)
    };
    let bodies = ["eleven long", "six in", "five5", "four", "x", ""];
    assert_eq!(bodies.map(&mut publish), [false, true, false, true, false, true]);
    assert_eq!(drain(&mut peer, "q"), ["six in", "four", ""]);
}

#[test]
fn a_queue_of_no_length_that_refuses_takes_nothing_whoever_waits() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, refusing("q").with_number("x-max-length", 0));
    broker.channel().consume(1, "q", "c");
    peer.publish(1, "", "q", "m");
    assert!(!is_taken(&mut peer));
}

#[test]
fn what_is_refused_dies_only_where_the_queue_says_so() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare_queue(1, "dead");
    for (overflow, dead) in [("reject-publish", 0), ("reject-publish-dlx", 1)] {
        let declare = queue(overflow).dying_into("dead").with_number("x-max-length", 1);
        peer.declare(1, declare.with("x-overflow", long(overflow)));
        for is_first in [true, false] {
            peer.publish(1, "", overflow, if is_first { "kept" } else { "refused" });
            assert_eq!(is_taken(&mut peer), is_first);
        }
        assert_eq!(peer.ready(1, overflow), 1);
        assert_eq!(peer.ready(1, "dead"), dead);
    }
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(text(&dead), "refused");
    assert_eq!(deaths_in_short(&dead), short_deaths([("reject-publish-dlx", "maxlen", 1)]));
}

#[test]
fn a_publisher_without_confirms_is_not_told_of_a_refusal() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, refusing("q").with_number("x-max-length", 1));
    for body in ["kept", "refused"] {
        peer.publish(1, "", "q", body);
    }
    peer.sync(1);
    assert_eq!(drain(&mut peer, "q"), ["kept"]);
}

#[test]
fn one_queue_that_refuses_makes_it_a_nack_and_the_others_keep_the_message() {
    let broker = TestBroker::start();
    for properties in [Properties::default(), persistent()] {
        let mut peer = confirming(&broker);
        peer.declare(1, refusing("full").durable().with_number("x-max-length", 0));
        for name in ["first", "second"] {
            peer.declare(1, queue(name).durable());
        }
        for name in ["first", "full", "second"] {
            peer.bind(1, name, "amq.fanout", "");
        }
        peer.publish_with(1, "amq.fanout", "", b"m", &properties);
        assert!(!is_taken(&mut peer));
        assert_eq!(drain(&mut peer, "first"), ["m"]);
        assert_eq!(drain(&mut peer, "second"), ["m"]);
        // It is one message's confirm.
        peer.publish(1, "", "first", "m");
        let Method::BasicAck(ack) = peer.receive(1) else { panic!("no ack") };
        assert_eq!(ack.delivery_tag, 2);
        drain(&mut peer, "first");
    }
}

#[test]
fn a_transaction_that_a_queue_refuses_in_part_fails_and_the_rest_of_it_holds() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, refusing("q").with_number("x-max-length", 1));
    peer.call(1, TxSelect);
    for body in ["kept", "refused"] {
        peer.publish(1, "", "q", body);
    }
    let text = "PRECONDITION_FAILED - partial tx completion";
    assert_eq!(peer.refused(TxCommit), (406, text.to_owned()));
    assert_eq!(drain(&mut peer, "q"), ["kept"]);
}

#[test]
fn a_full_queue_takes_no_dead_letters_either() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, refusing("dead").with_number("x-max-length", 1));
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length", 0));
    for body in ["kept", "lost"] {
        peer.publish(1, "", "q", body);
    }
    peer.sync(1);
    assert_eq!(drain(&mut peer, "dead"), ["kept"]);
}

#[test]
fn a_new_limit_holds_at_once_for_what_is_there() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("dead"));
    peer.declare(1, queue("q").dying_into("dead"));
    for body in ["a", "b", "c"] {
        peer.publish(1, "", "q", body);
    }
    peer.sync(1);
    let q = queue_of(&broker, "q").expect("there");
    let mut options = (*q.options()).clone();
    options.max_length = Some(1);
    q.set_options(options);
    assert_eq!(drain(&mut peer, "q"), ["c"]);
    assert_eq!(drain(&mut peer, "dead"), ["a", "b"]);
}

/// More than a queue keeps of itself in memory.
const LONG: u32 = 2_000;

/// It ended where the memory did: nobody asked for what is on disk only, to drop it.
#[test]
fn a_limit_in_bytes_drops_what_is_on_disk_only() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, queue("q").durable());
    let body = vec![b'x'; 5_000];
    for _ in 0..LONG {
        peer.publish_with(1, "", "q", &body, &persistent());
    }
    let mut confirmed = 0;
    while confirmed < u64::from(LONG) {
        let Method::BasicAck(ack) = peer.receive(1) else { panic!("no ack") };
        confirmed = if ack.multiple { ack.delivery_tag } else { confirmed.max(ack.delivery_tag) };
    }
    let q = queue_of(&broker, "q").expect("there");
    wait_until("all have come", || q.status().ready == LONG as usize);
    let mut options = (*q.options()).clone();
    options.max_length_bytes = Some(10 * 5_000);
    q.set_options(options);
    wait_until("only ten are left", || q.status().ready == 10);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(peer.ready(1, "q"), 10);
}
