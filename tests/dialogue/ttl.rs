//! Messages that die of age.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::aids::*;
use crate::support::*;

fn lasting(ttl: &str) -> Properties {
    let expiration = Some(short(ttl));
    let delivery_mode = Some(2);
    (&BasicProperties { expiration, delivery_mode, ..BasicProperties::default() }).into()
}

#[test]
fn the_smaller_of_two_times_to_live_holds_and_is_never_cut_short() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.consume(1, "dead", "c");
    for (of_queue, own) in
        [(60, None), (60, Some("3600000")), (3_600_000, Some("60")), (60, Some("60"))]
    {
        peer.declare(1, queue("q").dying_into("dead").with_number("x-message-ttl", of_queue));
        let properties = own.map_or_else(Properties::default, expiring);
        let before_ms = now_ms();
        peer.publish_with(1, "", "q", b"m", &properties);
        peer.receive_content(1);
        let lived_ms = now_ms() - before_ms;
        assert!(lived_ms >= 60, "{of_queue} and {own:?}: {lived_ms}");
        peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    }
}

#[test]
fn a_message_is_not_there_any_more_when_its_time_is_over() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare_queue(1, "own");
    peer.declare(1, queue("queue").with_number("x-message-ttl", 100));
    for (name, properties) in [("own", expiring("100")), ("queue", Properties::default())] {
        for _ in 0..5 {
            peer.publish_with(1, "", name, b"m", &properties);
            assert!(is_taken(&mut peer));
            wait_for_clock(now_ms() + 100);
            assert_eq!(peer.get(1, name, true), None);
        }
    }
}

#[test]
fn a_consumer_gets_none_of_what_died_before_it_came() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare_queue(1, "q");
    for _ in 0..3 {
        peer.publish_with(1, "", "q", b"dead", &expiring("20"));
        assert!(is_taken(&mut peer));
    }
    wait_for_clock(now_ms() + 20);
    peer.publish(1, "", "q", "alive");
    assert!(is_taken(&mut peer));
    peer.consume(1, "q", "c");
    assert_eq!(peer.delivery(1).2, "alive");
}

#[test]
fn an_expiration_is_a_number_of_milliseconds_of_ten_years_at_most() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let no_number = "a number of milliseconds is needed";
    for (expiration, why) in [
        ("", no_number),
        ("-1", no_number),
        ("soon", no_number),
        ("1.5", no_number),
        ("100 ", no_number),
        ("99999999999999999999999", no_number),
        ("315360000001", "more than ten years, 315360000000 ms"),
    ] {
        peer.publish_with(1, "", "q", b"m", &expiring(expiration));
        let text = format!("PRECONDITION_FAILED - invalid expiration '{expiration}': {why}");
        assert_eq!(peer.expect_channel_close(1), (406, text));
        peer.open_channel(1);
    }
    peer.publish_with(1, "", "q", b"m", &expiring("315360000000"));
    peer.sync(1);
    assert_eq!(drain(&mut peer, "q"), ["m"]);
}

#[test]
fn with_no_time_to_live_at_all_a_message_is_delivered_at_once_or_dies() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("own").dying_into("dead"));
    peer.declare(1, queue("queue").dying_into("dead").with_number("x-message-ttl", 0));
    for (name, properties) in [("own", expiring("0")), ("queue", Properties::default())] {
        // Nobody waits; and it isn't returned, either.
        let (routing_key, mandatory) = (short(name), true);
        peer.send(1, BasicPublish { routing_key, mandatory, ..BasicPublish::default() });
        peer.send_header(1, 0, &properties);
        assert_eq!(peer.ready(1, name), 0);
        let dead = peer.get(1, "dead", true).expect("there");
        assert_eq!(deaths_in_short(&dead), short_deaths([(name, "expired", 1)]));
        let mut consumer = broker.channel();
        prefetch(&mut consumer, 1);
        consumer.consume(1, name, "c");
        for body in ["taken", "one too many"] {
            peer.publish_with(1, "", name, body.as_bytes(), &properties);
        }
        assert_eq!(consumer.delivery(1).2, "taken");
        peer.sync(1);
        assert_eq!(drain(&mut peer, "dead"), ["one too many"]);
        ack(&mut consumer, 1);
        consumer.sync(1);
    }
}

#[test]
fn only_the_next_message_dies_and_those_behind_it_with_their_turn() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    for name in ["dead", "other dead"] {
        peer.declare_queue(1, name);
    }
    peer.declare(1, queue("q").dying_into("dead"));
    peer.declare(1, queue("other").dying_into("other dead"));
    peer.publish(1, "", "q", "in front");
    assert!(is_taken(&mut peer));
    for name in ["q", "other"] {
        peer.publish_with(1, "", name, b"old", &expiring("30"));
        assert!(is_taken(&mut peer));
    }
    // A later one has died, where nothing stands in front of it.
    peer.wait_for_ready(1, "other dead", 1);
    assert_eq!((peer.ready(1, "q"), peer.ready(1, "dead")), (2, 0));
    assert_eq!(peer.get(1, "q", true).expect("there").body, b"in front");
    assert_eq!(peer.get(1, "q", true), None);
    peer.wait_for_ready(1, "dead", 1);
}

#[test]
fn a_message_that_is_out_does_not_die_and_dies_when_it_comes_back() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-message-ttl", 50));
    for body in ["acked", "comes back"] {
        peer.publish(1, "", "q", body);
        assert!(is_taken(&mut peer));
        peer.get(1, "q", false).expect("there");
    }
    wait_for_clock(now_ms() + 50);
    assert_eq!(queue_of(&broker, "q").expect("there").status().unacked, 2);
    ack(&mut peer, 1);
    nack(&mut peer, 2, true);
    peer.sync(1);
    // To come back gives no new time.
    assert_eq!(peer.get(1, "q", true), None);
    assert_eq!(drain(&mut peer, "dead"), ["comes back"]);
}

#[test]
fn what_comes_back_in_time_keeps_the_rest_of_its_time() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-message-ttl", 400));
    let before_ms = now_ms();
    peer.publish(1, "", "q", "m");
    let mut tag = 0;
    while let Some(content) = peer.get(1, "q", false) {
        assert_eq!(content.body, b"m");
        tag += 1;
        nack(&mut peer, tag, true);
        assert!(now_ms() < before_ms + 5_000, "it lives on and on");
    }
    assert!(now_ms() >= before_ms + 400 && tag > 1);
    assert_eq!(drain(&mut peer, "dead"), ["m"]);
}

#[test]
fn each_queue_of_a_message_has_its_own_time_for_it() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("short").with_number("x-message-ttl", 30));
    peer.declare(1, queue("long").with_number("x-message-ttl", 3_600_000));
    peer.declare_queue(1, "endless");
    for name in ["short", "long", "endless"] {
        peer.bind(1, name, "amq.fanout", "");
    }
    peer.publish(1, "amq.fanout", "", "m");
    peer.sync(1);
    peer.wait_for_ready(1, "short", 0);
    assert_eq!((peer.ready(1, "long"), peer.ready(1, "endless")), (1, 1));
}

#[test]
fn a_dead_letter_lives_anew_by_the_rule_of_its_new_queue() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "end");
    peer.consume(1, "end", "c");
    peer.declare(1, queue("second").dying_into("end").with_number("x-message-ttl", 60));
    peer.declare(1, queue("first").dying_into("second"));
    let before_ms = now_ms();
    peer.publish_with(1, "", "first", b"m", &expiring("50"));
    let content = peer.receive_content(1);
    assert!(now_ms() - before_ms >= 110);
    let expected = short_deaths([("second", "expired", 1), ("first", "expired", 1)]);
    assert_eq!(deaths_in_short(&content), expected);
}

#[test]
fn a_queues_new_time_to_live_counts_from_the_arrival_of_what_is_there() {
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, queue("q").with_number("x-message-ttl", 100));
    peer.publish(1, "", "q", "m");
    assert!(is_taken(&mut peer));
    let q = queue_of(&broker, "q").expect("there");
    let mut options = (*q.options()).clone();
    options.message_ttl_ms = Some(3_600_000);
    q.set_options(options.clone());
    wait_for_clock(now_ms() + 100);
    assert_eq!(peer.ready(1, "q"), 1);
    options.message_ttl_ms = Some(100);
    q.set_options(options);
    assert_eq!(peer.ready(1, "q"), 0);
}

#[test]
fn what_grew_too_old_meanwhile_is_a_dead_letter_after_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    peer.declare(1, queue("dead").durable());
    peer.declare(1, queue("q").dying_into("dead").durable());
    // So long that the broker stops before.
    for (body, ttl) in [("a", "2000"), ("b", "2000"), ("kept", "3600000")] {
        peer.publish_with(1, "", "q", body.as_bytes(), &lasting(ttl));
        assert!(is_taken(&mut peer));
    }
    let end_ms = now_ms() + 2_000;
    drop(peer);
    broker.stop();
    wait_for_clock(end_ms);
    broker.restart();
    let mut peer = broker.channel();
    peer.wait_for_ready(1, "dead", 2);
    assert_eq!(peer.ready(1, "q"), 1);
    for body in ["a", "b"] {
        let dead = peer.get(1, "dead", true).expect("there");
        assert_eq!(text(&dead), body);
        assert_eq!(deaths_in_short(&dead), short_deaths([("q", "expired", 1)]));
    }
    let kept = peer.get(1, "q", true).expect("there");
    assert_eq!((text(&kept).as_str(), kept.properties), ("kept", lasting("3600000")));
}

/// They were dropped when their queue was taken up before the one that they were to go to.
#[test]
fn dead_letters_of_meanwhile_find_their_queue_whichever_is_taken_up_first() {
    const PAIRS: usize = 12;
    let mut broker = TestBroker::start();
    let mut peer = confirming(&broker);
    for pair in 0..PAIRS {
        let (dead, q) = (format!("dead.{pair}"), format!("q.{pair}"));
        peer.declare(1, queue(&dead).durable());
        peer.declare(1, queue(&q).dying_into(&dead).durable());
        peer.publish_with(1, "", &q, b"a", &lasting("1500"));
        assert!(is_taken(&mut peer));
    }
    let end_ms = now_ms() + 1_500;
    drop(peer);
    broker.stop();
    wait_for_clock(end_ms);
    broker.restart();
    let mut peer = broker.channel();
    (0..PAIRS).for_each(|pair| peer.wait_for_ready(1, &format!("dead.{pair}"), 1));
}

#[test]
fn the_time_of_a_message_goes_on_over_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("dead").durable());
    let declare = queue("q").dying_into("dead").durable();
    peer.declare(1, declare.with_number("x-message-ttl", 1_500));
    let before_ms = now_ms();
    peer.publish_with(1, "", "q", b"m", &persistent());
    peer.sync(1);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    peer.consume(1, "dead", "c");
    assert_eq!(peer.delivery(1).2, "m");
    assert!(now_ms() - before_ms >= 1_500);
}

const MANY: u32 = 100_000;

/// They begin to die while others still come.
#[test]
fn a_hundred_thousand_messages_die_in_their_order() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    peer.declare(1, queue("q").dying_into("dead").with_number("x-message-ttl", 200));
    let mut consumer = broker.channel();
    let no_ack = BasicConsume { queue: short("dead"), no_ack: true, ..BasicConsume::default() };
    consumer.call(1, no_ack);
    let consuming = std::thread::spawn(move || {
        let numbers = (0..MANY).map(|_| consumer.delivery(1).2.parse::<u32>().expect("a number"));
        numbers.collect::<Vec<u32>>()
    });
    for number in 0..MANY {
        peer.publish(1, "", "q", &number.to_string());
    }
    let numbers = consuming.join().expect("all of them came");
    let odd = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    assert_eq!((odd, numbers.len()), (None, MANY as usize));
    assert_eq!(peer.ready(1, "q"), 0);
}
