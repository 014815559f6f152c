//! Messages that come again: the flag, the count, and when it is enough.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::aids::*;
use crate::support::*;

const COUNT: &str = "x-delivery-count";

fn is_redelivered(content: &Content) -> bool {
    match &content.method {
        Method::BasicGetOk(ok) => ok.redelivered,
        Method::BasicDeliver(deliver) => deliver.redelivered,
        other => panic!("{other:?}"),
    }
}

/// The flag, and the count where there is one.
fn told(content: &Content) -> (bool, Option<i64>) {
    let count = header(content, COUNT);
    assert!(matches!(count, None | Some(FieldValue::I64(_))), "{count:?}");
    (is_redelivered(content), count.and_then(|count| count.as_i64()))
}

#[test]
fn whatever_brings_a_message_back_sets_the_flag() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "m");
    assert!(!is_redelivered(&peer.get(1, "q", false).expect("there")));
    reject(&mut peer, 1, true);
    assert!(is_redelivered(&peer.get(1, "q", false).expect("there")));
    type Return = fn(&mut Peer);
    let returns: [Return; 3] = [
        |peer| nack(peer, 1, true),
        |peer| drop(peer.call(1, BasicRecover { requeue: true })),
        |peer| drop(peer.call(1, ChannelClose::default())),
    ];
    drop(peer);
    for give_back in returns {
        let mut peer = broker.channel();
        peer.publish(1, "", "q", "fresh");
        peer.wait_for_ready(1, "q", 2);
        assert!(is_redelivered(&peer.get(1, "q", false).expect("there")));
        assert!(!is_redelivered(&peer.get(1, "q", true).expect("there")));
        give_back(&mut peer);
        wait_until("it is back", || queue_of(&broker, "q").expect("there").status().ready == 1);
    }
}

#[test]
fn a_failed_delivery_is_counted_and_one_that_was_given_back_is_not() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "m");
    peer.consume(1, "q", "c");
    assert_eq!(told(&peer.receive_content(1)), (false, None));
    nack(&mut peer, 1, true);
    assert_eq!(told(&peer.receive_content(1)), (true, None));
    reject(&mut peer, 2, true);
    assert_eq!(told(&peer.receive_content(1)), (true, Some(1)));
    nack(&mut peer, 3, true);
    assert_eq!(told(&peer.receive_content(1)), (true, Some(1)));
    reject(&mut peer, 4, true);
    assert_eq!(told(&peer.receive_content(1)), (true, Some(2)));
    // A lost client has failed, too.
    drop(peer);
    let mut peer = broker.channel();
    peer.wait_for_ready(1, "q", 1);
    assert_eq!(told(&peer.get(1, "q", false).expect("there")), (true, Some(3)));
}

#[test]
fn a_count_stands_beside_the_publishers_own_headers() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let headers = table([("own", long("kept")), (COUNT, long("made up"))]);
    let properties = BasicProperties {
        headers: Some(headers),
        content_type: Some(short("text/plain")),
        ..BasicProperties::default()
    };
    peer.publish_with(1, "", "q", b"m", &(&properties).into());
    peer.get(1, "q", false).expect("there");
    reject(&mut peer, 1, true);
    let again = peer.get(1, "q", false).expect("there");
    let headers = table([("own", long("kept")), (COUNT, FieldValue::I64(1))]);
    let expected = BasicProperties { headers: Some(headers), ..properties };
    assert_eq!(again.properties.decode().expect("text"), expected);
}

#[test]
fn a_message_dies_when_its_delivery_has_failed_more_often_than_the_limit() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-delivery-limit", 2));
    peer.publish(1, "", "q", "m");
    peer.consume(1, "q", "c");
    for (tag, count) in [(1, None), (2, Some(1)), (3, Some(2))] {
        assert_eq!(told(&peer.receive_content(1)), (tag > 1, count));
        reject(&mut peer, tag, true);
    }
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("q", "delivery_limit", 1)]));
    // It begins anew where it is now.
    assert_eq!(told(&dead), (false, None));
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn a_message_that_is_only_given_back_never_dies_of_it() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("q").with_number("x-delivery-limit", 1));
    peer.publish(1, "", "q", "m");
    peer.consume(1, "q", "c");
    for tag in 1..=10 {
        assert_eq!(told(&peer.receive_content(1)), (tag > 1, None));
        nack(&mut peer, tag, true);
    }
}

#[test]
fn a_client_that_is_lost_again_and_again_ends_it() {
    let broker = TestBroker::start();
    let mut watcher = broker.channel();
    watcher.declare_queue(1, "dead");
    watcher.declare(1, queue("q").dying_into("dead").with_number("x-delivery-limit", 2));
    watcher.publish(1, "", "q", "m");
    for attempt in 0..3 {
        watcher.wait_for_ready(1, "q", 1);
        let mut peer = broker.channel();
        peer.consume(1, "q", "c");
        let count = (attempt > 0).then_some(attempt);
        assert_eq!(told(&peer.receive_content(1)), (attempt > 0, count));
    }
    watcher.wait_for_ready(1, "dead", 1);
}

#[test]
fn a_quorum_queue_has_a_limit_of_twenty_and_a_classic_one_none() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let plain = queue("quorum").dying_into("dead").durable();
    peer.declare(1, plain.with("x-queue-type", long("quorum")));
    peer.declare(1, queue("classic").dying_into("dead"));
    let mut tag = 0;
    for (name, dead) in [("classic", 0), ("quorum", 1)] {
        peer.publish(1, "", name, "m");
        for _ in 0..=20 {
            peer.get(1, name, false).expect("there");
            tag += 1;
            reject(&mut peer, tag, true);
        }
        assert_eq!((peer.ready(1, name), peer.ready(1, "dead")), (1 - dead, dead));
    }
}

#[test]
fn without_a_dead_letter_exchange_what_failed_too_often_is_gone() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("q").durable().with_number("x-delivery-limit", 0));
    peer.publish_with(1, "", "q", b"m", &persistent());
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    reject(&mut peer, 1, true);
    peer.wait_for_ready(1, "q", 0);
    drop(peer);
    broker.restart();
    assert_eq!(broker.channel().ready(1, "q"), 0);
}

#[test]
fn counts_survive_a_restart_and_so_does_what_they_lead_to() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, queue("dead").durable());
    peer.declare(1, queue("q").dying_into("dead").durable().with_number("x-delivery-limit", 2));
    for body in ["failing", "fine"] {
        peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
        assert!(is_taken(&mut peer));
    }
    for tag in 1..=2 {
        assert_eq!(peer.get(1, "q", false).expect("there").body, b"failing");
        reject(&mut peer, tag, true);
    }
    peer.sync(1);
    drop(peer);
    // Twice, so that what was read back is kept, too.
    broker.restart();
    broker.restart();
    let mut peer = broker.channel();
    let failing = peer.get(1, "q", false).expect("there");
    assert_eq!((text(&failing).as_str(), told(&failing)), ("failing", (true, Some(2))));
    let fine = peer.get(1, "q", false).expect("there");
    assert_eq!(told(&fine), (false, None));
    reject(&mut peer, 1, true);
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("q", "delivery_limit", 1)]));
}

#[test]
fn what_was_out_when_the_broker_stopped_comes_back_with_the_flag() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, queue("q").durable());
    for body in ["out", "in"] {
        peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
        assert!(is_taken(&mut peer));
    }
    peer.get(1, "q", false).expect("there");
    broker.restart();
    let mut peer = broker.channel();
    for is_out in [true, false] {
        let content = peer.get(1, "q", true).expect("there");
        assert_eq!((is_redelivered(&content), content.body == b"out"), (is_out, is_out));
    }
}
