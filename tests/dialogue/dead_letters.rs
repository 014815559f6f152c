//! Dead letters: what dies, why, where it goes and what it tells of its deaths.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::aids::*;
use crate::support::*;

#[test]
fn each_way_to_die_has_its_reason() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let plain = queue("q").dying_into("dead");
    let cases = [
        ("rejected", plain.clone()),
        ("expired", plain.clone().with_number("x-message-ttl", 1)),
        ("maxlen", plain.clone().with_number("x-max-length", 0)),
        ("maxlen", plain.clone().with_number("x-max-length-bytes", 0)),
        ("delivery_limit", plain.with_number("x-delivery-limit", 0)),
    ];
    let mut tag = 0;
    for (reason, declare) in cases {
        peer.declare(1, declare);
        peer.publish(1, "", "q", "m");
        if reason == "rejected" || reason == "delivery_limit" {
            peer.get(1, "q", false).expect("there");
            tag += 1;
            reject(&mut peer, tag, reason == "delivery_limit");
        }
        peer.wait_for_ready(1, "dead", 1);
        let dead = peer.get(1, "dead", true).expect("there");
        tag += 1;
        assert_eq!(deaths_in_short(&dead), short_deaths([("q", reason, 1)]));
        peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    }
}

#[test]
fn nack_without_requeue_rejects_all_that_it_names() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead"));
    for body in ["a", "b", "c"] {
        peer.publish(1, "", "q", body);
        peer.get(1, "q", false).expect("there");
    }
    peer.send(1, BasicNack { delivery_tag: 3, multiple: true, requeue: false });
    peer.wait_for_ready(1, "dead", 3);
    assert_eq!(drain(&mut peer, "dead"), ["a", "b", "c"]);
}

#[test]
fn a_dead_letter_tells_where_it_was_when_and_why() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.bind(1, "dead", "amq.topic", "the.#");
    peer.declare(1, queue("q").with("x-dead-letter-exchange", long("amq.topic")));
    peer.bind(1, "q", "amq.direct", "the.key");
    let properties = BasicProperties {
        headers: Some(table([("own", long("kept"))])),
        content_type: Some(short("text/plain")),
        expiration: Some(short("20")),
        priority: Some(3),
        ..BasicProperties::default()
    };
    let before = now_ms() / 1000;
    peer.publish_with(1, "amq.direct", "the.key", b"body", &(&properties).into());
    peer.wait_for_ready(1, "dead", 1);
    let after = now_ms() / 1000;
    let dead = peer.get(1, "dead", true).expect("there");
    let Method::BasicGetOk(ok) = &dead.method else { panic!("{:?}", dead.method) };
    assert_eq!((&ok.exchange, &ok.routing_key), (&short("amq.topic"), &short("the.key")));
    assert!(!ok.redelivered);
    assert_eq!(dead.body, b"body");
    let death = deaths(&dead).pop().expect("one");
    let Some(FieldValue::Timestamp(time)) = death.get("time") else { panic!("{death:?}") };
    assert!((before..=after).contains(time));
    // The fields in their order, with their types.
    let expected = table([
        ("count", FieldValue::I64(1)),
        ("reason", long("expired")),
        ("queue", long("q")),
        ("time", FieldValue::Timestamp(*time)),
        ("exchange", long("amq.direct")),
        ("routing-keys", FieldValue::Array(vec![long("the.key")])),
        ("original-expiration", long("20")),
    ]);
    let headers = table([
        ("own", long("kept")),
        ("x-death", FieldValue::Array(vec![FieldValue::Table(expected)])),
        ("x-first-death-reason", long("expired")),
        ("x-last-death-reason", long("expired")),
        ("x-first-death-queue", long("q")),
        ("x-last-death-queue", long("q")),
        ("x-first-death-exchange", long("amq.direct")),
        ("x-last-death-exchange", long("amq.direct")),
    ]);
    // The expiration is gone, or it would die again; the rest is as it was.
    let expected = BasicProperties { headers: Some(headers), expiration: None, ..properties };
    assert_eq!(dead.properties.decode().expect("text"), expected);
}

#[test]
fn a_death_without_an_expiration_tells_of_none() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-message-ttl", 1));
    peer.publish(1, "", "q", "m");
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths(&dead)[0].get("original-expiration"), None);
}

/// A queue whose rejected messages come back by way of another one, a little later.
fn declare_round(peer: &mut Peer) {
    peer.declare(1, queue("work").dying_into("later"));
    peer.declare(1, queue("later").dying_into("work").with_number("x-message-ttl", 20));
}

#[test]
fn a_death_in_the_same_place_for_the_same_reason_is_counted_and_comes_first() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declare_round(&mut peer);
    peer.consume(1, "work", "c");
    peer.publish(1, "", "work", "m");
    let (first_tag, ..) = peer.delivery(1);
    reject(&mut peer, first_tag, false);
    let first = peer.receive_content(1);
    let expected = short_deaths([("later", "expired", 1), ("work", "rejected", 1)]);
    assert_eq!(deaths_in_short(&first), expected);
    // So often that it takes more than a second: the times are still those of the first deaths.
    let end_ms = now_ms() + 1_500;
    let (mut rounds, mut last) = (1, first.clone());
    while rounds < 3 || now_ms() < end_ms {
        rounds += 1;
        reject(&mut peer, u64::try_from(rounds).expect("few"), false);
        last = peer.receive_content(1);
        let expected = short_deaths([("later", "expired", rounds), ("work", "rejected", rounds)]);
        assert_eq!(deaths_in_short(&last), expected);
    }
    let without_count = |content: &Content| {
        let mut deaths = deaths(content);
        deaths.iter_mut().for_each(|death| drop(death.remove("count")));
        deaths
    };
    assert_eq!(without_count(&last), without_count(&first));
    for (name, value) in [
        ("x-first-death-reason", "rejected"),
        ("x-first-death-queue", "work"),
        ("x-first-death-exchange", ""),
        ("x-last-death-reason", "expired"),
        ("x-last-death-queue", "later"),
        ("x-last-death-exchange", ""),
    ] {
        assert_eq!(header(&last, name), Some(long(value)), "{name}");
    }
}

#[test]
fn the_same_queue_for_another_reason_is_another_death() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    // What is rejected here comes back here.
    peer.declare(1, queue("q").dying_into("q"));
    peer.declare_queue(1, "dead");
    peer.bind(1, "dead", "amq.fanout", "");
    peer.publish(1, "", "q", "m");
    peer.get(1, "q", false).expect("there");
    reject(&mut peer, 1, false);
    peer.wait_for_ready(1, "q", 1);
    let mut options = (*queue_of(&broker, "q").expect("there").options()).clone();
    options.dead_letter_exchange = Some(short("amq.fanout"));
    options.max_length = Some(0);
    queue_of(&broker, "q").expect("there").set_options(options);
    peer.wait_for_ready(1, "dead", 1);
    let dead = peer.get(1, "dead", true).expect("there");
    let expected = short_deaths([("q", "maxlen", 1), ("q", "rejected", 1)]);
    assert_eq!(deaths_in_short(&dead), expected);
}

#[test]
fn a_dead_letter_keeps_its_key_unless_the_queue_gives_it_another() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (name, key) in [("by-own", "own"), ("by-queue", "queue's")] {
        peer.declare_queue(1, name);
        peer.bind(1, name, "amq.direct", key);
    }
    let plain = queue("keeps").with("x-dead-letter-exchange", long("amq.direct"));
    let other = plain.clone().with("x-dead-letter-routing-key", long("queue's"));
    for declare in [plain, QueueDeclare { queue: short("gives"), ..other }] {
        let name = declare.queue.clone();
        peer.declare(1, declare.with_number("x-max-length", 0));
        peer.bind(1, &name, "amq.topic", "own");
    }
    peer.publish(1, "amq.topic", "own", "m");
    for (name, key) in [("by-own", "own"), ("by-queue", "queue's")] {
        let dead = peer.get(1, name, true).expect("there");
        let Method::BasicGetOk(ok) = &dead.method else { panic!("{:?}", dead.method) };
        assert_eq!(ok.routing_key, short(key));
        // The account tells the key that it came with.
        let keys = deaths(&dead)[0].get("routing-keys").cloned();
        assert_eq!(keys, Some(FieldValue::Array(vec![long("own")])));
        assert_eq!(peer.get(1, name, true), None);
    }
}

#[test]
fn a_dead_letter_goes_to_every_queue_of_its_exchange() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for name in ["a", "b"] {
        peer.declare_queue(1, name);
        peer.bind(1, name, "amq.fanout", "");
    }
    let declare = queue("q").with("x-dead-letter-exchange", long("amq.fanout"));
    peer.declare(1, declare.with_number("x-max-length", 0));
    peer.publish(1, "", "q", "m");
    assert_eq!(
        (drain(&mut peer, "a"), drain(&mut peer, "b")),
        (vec!["m".into()], vec!["m".into()])
    );
}

#[test]
fn what_dies_is_dropped_while_its_exchange_is_missing_or_nobody_is_bound() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let declare = queue("q").with("x-dead-letter-exchange", long("dlx"));
    peer.declare(1, declare.with_number("x-max-length", 0));
    peer.publish(1, "", "q", "before");
    let (exchange, kind) = (short("dlx"), short("fanout"));
    peer.call(1, ExchangeDeclare { exchange, kind, ..ExchangeDeclare::default() });
    peer.publish(1, "", "q", "unbound");
    peer.sync(1);
    peer.declare_queue(1, "dead");
    peer.bind(1, "dead", "dlx", "");
    peer.publish(1, "", "q", "after");
    assert_eq!(drain(&mut peer, "dead"), ["after"]);
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn deleting_and_purging_a_queue_kills_nobody() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead"));
    peer.publish(1, "", "q", "purged");
    let purged = peer.call(1, QueuePurge { queue: short("q"), no_wait: false });
    assert_eq!(purged, Method::from(QueuePurgeOk { message_count: 1 }));
    peer.publish(1, "", "q", "deleted");
    let deleted = peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    assert_eq!(deleted, Method::from(QueueDeleteOk { message_count: 1 }));
    assert_eq!(peer.ready(1, "dead"), 0);
}

#[test]
fn what_a_publisher_says_of_deaths_is_not_believed() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length", 0));
    let death = table([
        ("count", FieldValue::I64(41)),
        ("reason", long("maxlen")),
        ("queue", long("dead")),
    ]);
    let headers = table([
        ("x-death", FieldValue::Array(vec![FieldValue::Table(death)])),
        ("x-first-death-queue", long("made up")),
    ]);
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
    peer.publish_with(1, "", "q", b"m", &(&properties).into());
    // By that account it would be a circle.
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("q", "maxlen", 1)]));
    assert_eq!(header(&dead, "x-first-death-queue"), Some(long("q")));
    // Published again by a client, its deaths are a client's word, too.
    peer.publish_with(1, "", "q", b"m", &dead.properties);
    let dead = peer.get(1, "dead", true).expect("there");
    assert_eq!(deaths_in_short(&dead), short_deaths([("q", "maxlen", 1)]));
}

#[test]
fn a_rejection_within_a_transaction_kills_at_its_commit() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead"));
    peer.publish(1, "", "q", "m");
    peer.get(1, "q", false).expect("there");
    peer.call(1, TxSelect);
    reject(&mut peer, 1, false);
    assert_eq!(peer.ready(1, "dead"), 0);
    assert_eq!(peer.call(1, TxCommit), Method::from(TxCommitOk));
    assert_eq!(peer.ready(1, "dead"), 1);
}

#[test]
fn deaths_are_remembered_over_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("work").dying_into("later").durable());
    peer.declare(1, queue("later").dying_into("work").durable());
    peer.publish_with(1, "", "work", b"m", &persistent());
    for round in 1..=3 {
        let (from, other) = if round % 2 == 1 { ("work", "later") } else { ("later", "work") };
        peer.wait_for_ready(1, from, 1);
        peer.get(1, from, false).expect("there");
        reject(&mut peer, 1, false);
        peer.wait_for_ready(1, other, 1);
        drop(peer);
        broker.restart();
        peer = broker.channel();
    }
    let dead = peer.get(1, "later", true).expect("there");
    let expected = short_deaths([("work", "rejected", 2), ("later", "rejected", 1)]);
    assert_eq!(deaths_in_short(&dead), expected);
    assert_eq!(header(&dead, "x-first-death-queue"), Some(long("work")));
}

#[test]
fn an_odd_account_of_deaths_hurts_nobody() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-max-length", 0));
    let odd = [
        FieldValue::Void,
        long("expired"),
        FieldValue::Array(vec![FieldValue::Void, FieldValue::Table(FieldTable::default())]),
    ];
    for value in odd {
        let headers = Some(table([("x-death", value)]));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        peer.publish_with(1, "", "q", b"m", &(&properties).into());
        let dead = peer.get(1, "dead", true).expect("there");
        assert_eq!(deaths_in_short(&dead), short_deaths([("q", "maxlen", 1)]));
    }
}
