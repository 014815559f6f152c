//! Message groups: messages that agree in a header are with one consumer at a time, in their order;
//! different groups don't wait for one another.

use std::collections::BTreeMap;

use ferrymq::broker::queue::QueueOptions;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::aids::*;
use crate::support::*;

fn grouped() -> QueueDeclare {
    queue("q").with("x-message-group-header", long("group"))
}

fn of_group(group: &str) -> Properties {
    ranked_of_group(group, 0)
}

fn ranked_of_group(group: &str, priority: u8) -> Properties {
    let headers = Some(table([("group", long(group))]));
    let properties = BasicProperties { headers, priority: Some(priority), ..Default::default() };
    (&BasicProperties { delivery_mode: Some(2), ..properties }).into()
}

/// Publishes messages whose group is what stands before their dash: `a-1`.
fn publish_all(peer: &mut Peer, bodies: &[&str]) {
    for body in bodies {
        let (group, _) = body.split_once('-').expect("group and number");
        peer.publish_with(1, "", "q", body.as_bytes(), &of_group(group));
    }
    peer.sync(1);
}

fn consumer(broker: &TestBroker, prefetch_count: u16) -> Peer {
    let mut peer = broker.channel();
    prefetch(&mut peer, prefetch_count);
    peer.consume(1, "q", "c");
    peer
}

fn next(peer: &mut Peer) -> (u64, String) {
    let (tag, _, body) = peer.delivery(1);
    (tag, body)
}

fn expect(peer: &mut Peer, bodies: &[&str]) -> Vec<u64> {
    let one = |body: &&str| {
        let (tag, got) = next(peer);
        assert_eq!(got, *body);
        tag
    };
    bodies.iter().map(one).collect()
}

fn started() -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, grouped());
    (broker, peer)
}

#[test]
fn messages_of_a_group_are_with_one_consumer_and_others_pass_them() {
    let (broker, mut peer) = started();
    let (mut first, mut second) = (consumer(&broker, 1), consumer(&broker, 1));
    publish_all(&mut peer, &["a-1", "a-2", "a-3", "b-1"]);
    let tags = expect(&mut first, &["a-1"]);
    let others = expect(&mut second, &["b-1"]);
    // The second one is free, and what is left is the first one's.
    ack(&mut second, others[0]);
    second.sync(1);
    ack(&mut first, tags[0]);
    let tags = expect(&mut first, &["a-2"]);
    second.sync(1);
    ack(&mut first, tags[0]);
    expect(&mut first, &["a-3"]);
}

#[test]
fn a_group_is_free_for_another_consumer_when_nothing_of_it_is_out() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 2);
    publish_all(&mut peer, &["a-1"]);
    let tags = expect(&mut first, &["a-1"]);
    ack(&mut first, tags[0]);
    first.sync(1);
    let cancelled = first.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    assert!(matches!(cancelled, Method::BasicCancelOk(_)));
    let mut second = consumer(&broker, 2);
    publish_all(&mut peer, &["a-2"]);
    expect(&mut second, &["a-2"]);
}

/// The consumer that a delivery is for, its tag and its body.
fn delivered_to(peer: &mut Peer) -> (String, u64, String) {
    let content = peer.receive_content(1);
    let Method::BasicDeliver(deliver) = &content.method else { panic!("{:?}", content.method) };
    (deliver.consumer_tag.to_string(), deliver.delivery_tag, text(&content))
}

#[test]
fn every_group_comes_in_order_and_to_one_of_several_consumers_at_a_time() {
    const GROUPS: usize = 20;
    const EACH: usize = 50;
    // Fewer than this are not all of groups that a few deliveries hold.
    const ENOUGH: usize = 250;
    let (broker, mut publisher) = started();
    let mut peer = broker.channel();
    prefetch(&mut peer, 3);
    ["one", "two", "three"].iter().for_each(|tag| peer.consume(1, "q", tag));
    for number in 0..EACH {
        for group in 0..GROUPS {
            let body = format!("{group}-{number}");
            let properties = of_group(&group.to_string());
            publisher.publish_with(1, "", "q", body.as_bytes(), &properties);
        }
    }
    publisher.sync(1);
    let mut out: Vec<(String, String, u64)> = Vec::new();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for left in (0..GROUPS * EACH).rev() {
        let (consumer, tag, body) = delivered_to(&mut peer);
        let (group, number) = body.split_once('-').expect("group and number");
        let expected = next.entry(group.to_owned()).or_default();
        assert_eq!(number, expected.to_string(), "of group {group}");
        *expected += 1;
        let others = out.iter().filter(|(other, ..)| other == group);
        assert!(others.clone().all(|(_, holder, _)| *holder == consumer), "{group}: {out:?}");
        out.push((group.to_owned(), consumer, tag));
        while out.len() > if left > ENOUGH { 4 } else { 0 } {
            let (.., tag) = out.remove(left % out.len());
            ack(&mut peer, tag);
        }
    }
    assert!(next.values().all(|count| *count == EACH) && next.len() == GROUPS);
}

/// What stood aside was once given out before a message that came back.
#[test]
fn a_message_that_is_given_back_comes_again_before_the_others_of_its_group() {
    for give_back in [nack, reject] {
        let (broker, mut peer) = started();
        let (mut first, _second) = (consumer(&broker, 1), consumer(&broker, 1));
        publish_all(&mut peer, &["a-1", "a-2", "a-3"]);
        let tags = expect(&mut first, &["a-1"]);
        give_back(&mut first, tags[0], true);
        for body in ["a-1", "a-2", "a-3"] {
            let tags = expect(&mut first, &[body]);
            ack(&mut first, tags[0]);
        }
    }
}

#[test]
fn a_message_that_is_refused_dies_and_the_next_of_its_group_comes() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, grouped().dying_into("dead"));
    let (mut first, _second) = (consumer(&broker, 1), consumer(&broker, 1));
    publish_all(&mut peer, &["a-1", "a-2"]);
    let tags = expect(&mut first, &["a-1"]);
    reject(&mut first, tags[0], false);
    expect(&mut first, &["a-2"]);
    assert_eq!(drain(&mut peer, "dead"), ["a-1"]);
}

#[test]
fn a_group_goes_in_order_to_one_other_consumer_when_its_own_is_lost() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 2);
    publish_all(&mut peer, &["a-1", "a-2"]);
    expect(&mut first, &["a-1", "a-2"]);
    let (mut second, mut third) = (consumer(&broker, 10), consumer(&broker, 10));
    publish_all(&mut peer, &["a-3", "a-4", "b-1"]);
    // Those of a wait for the first one; the second and the third have the others.
    expect(&mut second, &["b-1"]);
    drop(first);
    // The third one is next in turn, and gets all of the group.
    expect(&mut third, &["a-1", "a-2", "a-3", "a-4"]);
}

#[test]
fn a_cancelled_consumer_keeps_its_group_until_it_has_settled_it() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 1);
    publish_all(&mut peer, &["a-1", "a-2"]);
    let tags = expect(&mut first, &["a-1"]);
    let mut second = consumer(&broker, 1);
    let cancelled = first.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    assert!(matches!(cancelled, Method::BasicCancelOk(_)));
    second.sync(1);
    ack(&mut first, tags[0]);
    expect(&mut second, &["a-2"]);
}

#[test]
fn messages_without_the_header_belong_to_nobody() {
    let (broker, mut peer) = started();
    let (mut first, mut second) = (consumer(&broker, 1), consumer(&broker, 1));
    for body in ["1", "2"] {
        peer.publish(1, "", "q", body);
    }
    expect(&mut first, &["1"]);
    expect(&mut second, &["2"]);
}

#[test]
fn a_get_takes_nothing_of_a_group_that_a_consumer_has() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 1);
    publish_all(&mut peer, &["a-1", "a-2", "b-1"]);
    let tags = expect(&mut first, &["a-1"]);
    for no_ack in [true, false] {
        let got = peer.get(1, "q", no_ack);
        assert_eq!(got.map(|content| text(&content)), no_ack.then(|| "b-1".to_owned()));
    }
    ack(&mut first, tags[0]);
    expect(&mut first, &["a-2"]);
}

#[test]
fn a_consumer_that_acks_nothing_holds_no_group() {
    let (broker, mut peer) = started();
    let mut other = broker.channel();
    let consume = BasicConsume { queue: short("q"), no_ack: true, ..BasicConsume::default() };
    other.call(1, consume);
    let mut first = consumer(&broker, 2);
    publish_all(&mut peer, &["a-1", "a-2", "a-3"]);
    // In turn: one to the one that acks nothing, and the rest to the one that holds the group.
    expect(&mut other, &["a-1"]);
    expect(&mut first, &["a-2", "a-3"]);
}

/// A purge left the group to a consumer that had nothing of it; when that one was gone, nobody ever
/// got another message of the group.
#[test]
fn a_group_whose_messages_were_purged_is_free() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 2);
    publish_all(&mut peer, &["a-1", "x-1"]);
    let tags = expect(&mut first, &["a-1", "x-1"]);
    let mut second = consumer(&broker, 1);
    publish_all(&mut peer, &["a-2"]);
    // The first one can't take what stands aside for it.
    prefetch(&mut first, 1);
    ack(&mut first, tags[0]);
    first.sync(1);
    let purged = peer.call(1, QueuePurge { queue: short("q"), no_wait: false });
    assert_eq!(purged, Method::from(QueuePurgeOk { message_count: 1 }));
    drop(first);
    let tags = expect(&mut second, &["x-1"]);
    ack(&mut second, tags[0]);
    publish_all(&mut peer, &["a-3"]);
    expect(&mut second, &["a-3"]);
}

/// It was delivered, however long it had stood aside.
#[test]
fn a_message_that_grows_too_old_aside_dies() {
    const TTL_MS: u64 = 50;
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, grouped().dying_into("dead").with_number("x-message-ttl", 50));
    let (mut first, mut second) = (consumer(&broker, 1), consumer(&broker, 1));
    publish_all(&mut peer, &["a-1", "a-2", "b-1"]);
    let published_ms = now_ms();
    let tags = expect(&mut first, &["a-1"]);
    expect(&mut second, &["b-1"]);
    wait_for_clock(published_ms + TTL_MS + 1);
    ack(&mut first, tags[0]);
    peer.wait_for_ready(1, "dead", 1);
    assert_eq!(drain(&mut peer, "dead"), ["a-2"]);
    assert_eq!(queue_of(&broker, "q").expect("there").status().ready, 0);
}

/// The higher one stood behind the lower one when both were aside.
#[test]
fn higher_priorities_of_a_group_come_first() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, grouped().with_number("x-max-priority", 5));
    let (mut first, _second) = (consumer(&broker, 1), consumer(&broker, 1));
    for (body, priority) in [("a-1", 0), ("a-2", 0), ("a-3", 5), ("a-4", 5)] {
        peer.publish_with(1, "", "q", body.as_bytes(), &ranked_of_group("a", priority));
        peer.sync(1);
    }
    for body in ["a-1", "a-3", "a-4", "a-2"] {
        let tags = expect(&mut first, &[body]);
        ack(&mut first, tags[0]);
    }
}

#[test]
fn what_stood_aside_comes_in_order_after_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, grouped().durable());
    let mut first = consumer(&broker, 1);
    let _second = consumer(&broker, 1);
    for body in ["a-1", "a-2", "a-3"] {
        peer.publish_with(1, "", "q", body.as_bytes(), &of_group("a"));
        assert!(is_taken(&mut peer));
    }
    expect(&mut first, &["a-1"]);
    drop((peer, first, _second));
    broker.restart();
    let mut first = consumer(&broker, 10);
    expect(&mut first, &["a-1", "a-2", "a-3"]);
}

/// Of many more than are set aside; the queue waits, and loses nothing.
#[test]
fn a_group_that_is_too_long_to_be_set_aside_holds_the_queue_until_it_moves() {
    const MANY: usize = 5_000;
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 1);
    let mut second = consumer(&broker, 1);
    for number in 0..MANY {
        peer.publish_with(1, "", "q", format!("a-{number}").as_bytes(), &of_group("a"));
    }
    publish_all(&mut peer, &["b-1"]);
    let tags = expect(&mut first, &["a-0"]);
    // Nothing is left that a get may take, and what is aside stays there.
    assert_eq!(peer.get(1, "q", true), None);
    assert_eq!(peer.ready(1, "q") as usize, MANY);
    let mut tag = tags[0];
    for number in 1..MANY {
        ack(&mut first, tag);
        let (next_tag, body) = next(&mut first);
        assert_eq!(body, format!("a-{number}"));
        tag = next_tag;
    }
    expect(&mut second, &["b-1"]);
}

#[test]
fn a_queue_that_has_no_groups_any_more_gives_what_stood_aside_to_everybody() {
    let (broker, mut peer) = started();
    let mut first = consumer(&broker, 1);
    let mut second = consumer(&broker, 1);
    publish_all(&mut peer, &["a-1", "a-2", "a-3"]);
    expect(&mut first, &["a-1"]);
    let q = queue_of(&broker, "q").expect("there");
    let with = (*q.options()).clone();
    let without = QueueOptions { group_header: None, ..with.clone() };
    q.set_options(without);
    let tags = expect(&mut second, &["a-2"]);
    q.set_options(with);
    // What went out before is not counted, and what comes now is in order.
    ack(&mut second, tags[0]);
    let tags = expect(&mut second, &["a-3"]);
    ack(&mut second, tags[0]);
    wait_until("it is settled", || q.status().unacked == 1);
    assert_eq!(q.status().ready, 0);
}
