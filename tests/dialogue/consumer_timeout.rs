//! Consumers that don't settle what they have in their time.

use std::time::{Duration, Instant};

use ferrymq::broker::queue::QueueOptions;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

/// Longer than an answer takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1);

fn consume(timeout_ms: i64) -> BasicConsume {
    let arguments = table([("x-consumer-timeout", FieldValue::I64(timeout_ms))]);
    let (queue, consumer_tag) = (short("q"), short("c"));
    BasicConsume { queue, consumer_tag, arguments, ..BasicConsume::default() }
}

fn consume_with(peer: &mut Peer, timeout_ms: i64) {
    let consuming = peer.call(1, consume(timeout_ms));
    assert!(matches!(consuming, Method::BasicConsumeOk(_)), "{consuming:?}");
}

/// A broker with messages in a queue `q`, and a client of it.
fn with_messages(bodies: &[&str]) -> (TestBroker, Peer) {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    bodies.iter().for_each(|body| peer.publish(1, "", "q", body));
    peer.sync(1);
    (broker, peer)
}

fn cancelled() -> Method {
    BasicCancel { consumer_tag: short("c"), no_wait: true }.into()
}

#[test]
fn a_consumer_that_settles_nothing_is_cancelled_and_what_it_has_goes_back() {
    let (broker, mut peer) = with_messages(&["0", "1"]);
    consume_with(&mut peer, 100);
    assert_eq!(peer.delivery(1), (1, false, "0".to_owned()));
    assert_eq!(peer.delivery(1), (2, false, "1".to_owned()));
    assert_eq!(peer.receive(1), cancelled());
    let mut other = broker.channel();
    other.consume(1, "q", "other");
    assert_eq!(other.delivery(1), (1, true, "0".to_owned()));
    assert_eq!(other.delivery(1), (2, true, "1".to_owned()));
    // Too late, and no mistake.
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    peer.send(1, BasicNack { delivery_tag: 2, multiple: true, requeue: true });
    peer.sync(1);
    assert_eq!(peer.refused(BasicAck { delivery_tag: 3, multiple: false }).0, 406);
    other.send(1, BasicAck { delivery_tag: 2, multiple: true });
    other.sync(1);
    assert_eq!(other.ready(1, "q"), 0);
}

#[test]
fn only_what_the_consumer_has_goes_back() {
    let (_broker, mut peer) = with_messages(&["got", "delivered"]);
    peer.get(1, "q", false).expect("there");
    consume_with(&mut peer, 100);
    peer.delivery(1);
    assert_eq!(peer.receive(1), cancelled());
    assert_eq!(peer.ready(1, "q"), 1);
    peer.send(1, BasicReject { delivery_tag: 1, requeue: true });
    peer.sync(1);
    assert_eq!(peer.ready(1, "q"), 2);
}

#[test]
fn a_client_that_can_not_be_told_loses_its_channel() {
    let (broker, _publisher) = with_messages(&["0"]);
    let mut peer = broker.socket();
    peer.open_without_capabilities();
    peer.open_channel(1);
    consume_with(&mut peer, 100);
    peer.delivery(1);
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value \
                used: 100 ms. This timeout value can be configured, see consumers doc guide to learn \
                more";
    assert_eq!(peer.expect_channel_close(1), (406, text.to_owned()));
    peer.open_channel(1);
    assert_eq!(peer.ready(1, "q"), 1);
}

#[test]
fn a_consumer_that_settles_in_time_stays() {
    let (_broker, mut peer) = with_messages(&["0"]);
    consume_with(&mut peer, i64::try_from(TIMEOUT.as_millis()).expect("short"));
    let begin = Instant::now();
    while begin.elapsed() < 2 * TIMEOUT {
        let (delivery_tag, ..) = peer.delivery(1);
        peer.publish(1, "", "q", "next");
        peer.send(1, BasicAck { delivery_tag, multiple: false });
    }
}

#[test]
fn an_idle_consumer_stays() {
    let (_broker, mut peer) = with_messages(&[]);
    consume_with(&mut peer, 50);
    peer.expect_silence();
    peer.publish(1, "", "q", "0");
    assert_eq!(peer.delivery(1).2, "0");
}

#[test]
fn the_consumers_own_word_is_stronger_than_the_queues_and_this_than_the_setting() {
    let broker = TestBroker::with(|config| config.amqp.consumer_timeout_ms = 3_600_000);
    let (mut patient, mut hasty) = (broker.channel(), broker.channel());
    patient.declare_queue(1, "q");
    let queue = broker.broker().vhost("/").and_then(|vhost| vhost.queue("q")).expect("declared");
    let consumer_timeout_ms = Some(50);
    queue.set_options(QueueOptions { consumer_timeout_ms, ..QueueOptions::default() });
    consume_with(&mut patient, 0);
    patient.publish(1, "", "q", "0");
    patient.delivery(1);
    hasty.consume(1, "q", "c");
    for peer in [&mut patient, &mut hasty] {
        peer.publish(1, "", "q", "more");
    }
    patient.delivery(1);
    hasty.delivery(1);
    assert_eq!(hasty.receive(1), cancelled());
    // What the other one had.
    patient.delivery(1);
    patient.expect_silence();
}

#[test]
fn the_setting_holds_where_nothing_else_is_said() {
    let broker = TestBroker::with(|config| config.amqp.consumer_timeout_ms = 50);
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "c");
    peer.publish(1, "", "q", "0");
    peer.delivery(1);
    assert_eq!(peer.receive(1), cancelled());
}

#[test]
fn a_consumer_that_its_client_has_cancelled_has_to_settle_in_time_too() {
    let (_broker, mut peer) = with_messages(&["0"]);
    consume_with(&mut peer, 100);
    peer.delivery(1);
    peer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    peer.wait_for_ready(1, "q", 1);
}

/// Deliveries that were still on their way once stayed out for ever, since nobody was left to settle
/// them.
#[test]
fn what_a_slow_client_was_still_to_get_goes_back_too() {
    const COUNT: u32 = 200;
    let (broker, mut peer) = with_messages(&[]);
    consume_with(&mut peer, 100);
    let mut publisher = broker.channel();
    for _ in 0..COUNT {
        publisher.publish_with(1, "", "q", &[0; 65_536], &Properties::default());
    }
    publisher.sync(1);
    loop {
        let frame = peer.next_frame().expect("open");
        if Method::decode(&frame.payload).is_ok_and(|method| method == cancelled()) {
            break;
        }
    }
    publisher.wait_for_ready(1, "q", COUNT);
}

#[test]
fn a_timeout_is_an_integer_of_at_least_zero() {
    let (_broker, mut peer) = with_messages(&[]);
    let text = "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for a consumer: -1 is below the \
                minimum of 0";
    assert_eq!(peer.refused(consume(-1)), (406, text.to_owned()));
    let arguments = table([("x-consumer-timeout", long("soon"))]);
    let (code, text) = peer.refused(BasicConsume { arguments, ..consume(0) });
    assert_eq!(code, 406);
    assert!(text.ends_with("an integer is needed, not a longstr"), "{text}");
}
