//! Queues that go when nobody uses them.

use ferrymq::protocol::generated::*;

use crate::aids::*;
use crate::support::*;

fn is_there(broker: &TestBroker, name: &str) -> bool {
    queue_of(broker, name).is_some()
}

fn wait_until_gone(broker: &TestBroker, name: &str) {
    wait_until("the queue goes", || !is_there(broker, name));
}

#[test]
fn a_queue_that_nobody_uses_goes_with_what_is_in_it_and_not_before_its_time() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "dead");
    let before_ms = now_ms();
    peer.declare(1, queue("q").dying_into("dead").with_number("x-expires", 150));
    peer.bind(1, "q", "amq.fanout", "");
    // To publish to it is not to use it.
    let mut publisher = broker.channel();
    let mut published_ms = before_ms;
    while is_there(&broker, "q") {
        publisher.publish(1, "amq.fanout", "", "m");
        publisher.sync(1);
        published_ms = now_ms();
        assert!(published_ms < before_ms + 10_000, "it never goes");
    }
    assert!(published_ms >= before_ms + 150);
    assert_eq!(peer.refused(passive("q")).0, 404);
    // Its binding is gone, too, and nothing has died.
    let routing_key = short("");
    let exchange = short("amq.fanout");
    let publish = BasicPublish { exchange, routing_key, mandatory: true, immediate: false };
    peer.send(1, publish);
    peer.send_header(1, 0, &persistent());
    assert!(matches!(peer.receive_content(1).method, Method::BasicReturn(_)));
    assert_eq!(peer.ready(1, "dead"), 0);
}

#[test]
fn whoever_declares_it_again_or_gets_from_it_renews_its_time() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let declare = queue("q").with_number("x-expires", 300);
    type Renewal = fn(&mut Peer, &QueueDeclare);
    let renewals: [(&str, Renewal); 3] = [
        ("declare", |peer, declare| drop(peer.declare(1, declare.clone()))),
        ("passive declare", |peer, _| drop(peer.declare(1, passive("q")))),
        ("get", |peer, _| assert_eq!(peer.get(1, "q", true), None)),
    ];
    for (name, renew) in renewals {
        let first_ms = now_ms();
        peer.declare(1, declare.clone());
        let mut last_ms = first_ms;
        // For longer than it would live by itself.
        while last_ms < first_ms + 700 {
            last_ms = now_ms();
            renew(&mut peer, &declare);
            assert!(is_there(&broker, "q"), "{name}");
        }
        wait_until_gone(&broker, "q");
        assert!(now_ms() >= last_ms + 300, "{name}");
    }
}

#[test]
fn a_queue_with_a_consumer_stays_and_its_time_begins_when_the_last_one_goes() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let first_ms = now_ms();
    peer.declare(1, queue("q").with_number("x-expires", 150));
    peer.consume(1, "q", "c");
    let mut other = broker.channel();
    other.consume(1, "q", "c");
    wait_for_clock(first_ms + 600);
    assert!(is_there(&broker, "q"));
    drop(other);
    let cancelled_ms = now_ms();
    peer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    wait_until_gone(&broker, "q");
    assert!(now_ms() >= cancelled_ms + 150);
}

#[test]
fn a_durable_queue_that_expired_is_not_there_after_a_restart_and_another_one_begins_anew() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("gone").durable().with_number("x-expires", 1));
    peer.declare(1, queue("begins anew").durable().with_number("x-expires", 2_000));
    wait_until_gone(&broker, "gone");
    drop(peer);
    broker.stop();
    let stopped_ms = now_ms();
    wait_for_clock(stopped_ms + 2_000);
    broker.restart();
    assert!(is_there(&broker, "begins anew") && !is_there(&broker, "gone"));
    wait_until_gone(&broker, "begins anew");
    assert!(now_ms() >= stopped_ms + 4_000);
}

#[test]
fn a_queue_may_expire_while_a_message_of_it_is_out() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, queue("q").with_number("x-expires", 50));
    peer.publish(1, "", "q", "m");
    peer.get(1, "q", false).expect("there");
    wait_until_gone(&broker, "q");
    // The tag is still known, though it means nothing any more.
    nack(&mut peer, 1, true);
    peer.sync(1);
    assert_eq!(peer.declare_queue(1, "q").message_count, 0);
}

#[test]
fn a_new_time_holds_from_now_on() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let q = queue_of(&broker, "q").expect("there");
    let mut options = (*q.options()).clone();
    options.expires_ms = Some(100);
    let before_ms = now_ms();
    q.set_options(options);
    wait_until_gone(&broker, "q");
    assert!(now_ms() >= before_ms + 100);
}
