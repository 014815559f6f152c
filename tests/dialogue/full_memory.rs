//! Too much memory in use: publishers are told and held, everybody else goes on.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::Space;
use ferrymq::store::simulated::SimulatedDisk;

use crate::support::*;

const LOW: Space = Space::Low { free_bytes: 10, limit_bytes: 1000 };

/// A broker whose memory nobody measures but the test. Its limit is 1000 bytes.
fn start() -> TestBroker {
    measured_by_hand(TestBroker::with(|config| config.memory.high_watermark = 0.0))
}

fn measured_by_hand(broker: TestBroker) -> TestBroker {
    broker.broker().memory.set_limit_bytes(1000);
    broker
}

/// A connection with channel 1 open and the queue `q` declared.
fn peer(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer
}

#[track_caller]
fn expect_blocked(peer: &mut Peer, reason: &str) {
    let Method::ConnectionBlocked(blocked) = peer.receive(0) else { panic!("not blocked") };
    assert_eq!(blocked.reason, reason);
}

fn expect_unblocked(peer: &mut Peer) {
    assert_eq!(peer.receive(0), Method::ConnectionUnblocked(ConnectionUnblocked));
}

#[test]
fn a_broker_that_may_use_less_than_it_needs_holds_every_publisher() {
    let broker = TestBroker::with(|config| config.memory.high_watermark = 1_048_576.0);
    let (mut publisher, mut consumer) = (peer(&broker), peer(&broker));
    publisher.publish(1, "", "q", "held");
    expect_blocked(&mut publisher, "low on memory");
    publisher.send(1, BasicQos::default());
    publisher.expect_silence();
    consumer.consume(1, "q", "c");
    consumer.sync(1);
    consumer.expect_silence();
}

#[test]
fn publishers_go_on_when_less_is_used_and_acks_and_consumers_always() {
    let broker = start();
    let (mut publisher, mut consumer) = (peer(&broker), peer(&broker));
    publisher.publish(1, "", "q", "before");
    publisher.sync(1);
    broker.broker().memory.measured(1001);
    expect_blocked(&mut publisher, "low on memory");
    publisher.publish(1, "", "q", "held");
    consumer.consume(1, "q", "c");
    let (delivery_tag, _, body) = consumer.delivery(1);
    assert_eq!(body, "before");
    consumer.send(1, BasicAck { delivery_tag, multiple: false });
    consumer.sync(1);
    broker.broker().memory.measured(999);
    consumer.expect_silence();
    broker.broker().memory.measured(950);
    expect_unblocked(&mut publisher);
    assert_eq!(consumer.delivery(1).2, "held");
}

#[test]
fn two_alarms_are_told_together_and_both_have_to_be_over() {
    let disk = SimulatedDisk::new();
    // What a machine has is more than a test uses, so that only the test's figures count.
    let broker = TestBroker::on(&disk);
    let mut publisher = peer(&broker);
    broker.broker().memory.set_limit_bytes(1000);
    broker.broker().memory.measured(2000);
    disk.set_space(LOW);
    publisher.publish(1, "", "q", "held");
    expect_blocked(&mut publisher, "low on memory & disk");
    disk.set_space(Space::Enough);
    publisher.expect_silence();
    broker.broker().memory.set_limit_bytes(u64::MAX);
    broker.broker().memory.measured(0);
    expect_unblocked(&mut publisher);
}

#[test]
fn the_event_exchange_tells_of_it() {
    let broker = start();
    let mut listener = broker.channel();
    listener.declare_queue(1, "events");
    listener.bind(1, "events", "amq.rabbitmq.event", "alarm.*");
    listener.consume(1, "events", "c");
    for (used_bytes, key) in [(1001, "alarm.set"), (1, "alarm.cleared")] {
        broker.broker().memory.measured(used_bytes);
        let content = listener.receive_content(1);
        let Method::BasicDeliver(deliver) = content.method else { panic!("{:?}", content.method) };
        assert_eq!(deliver.routing_key, key);
        let headers = content.properties.decode().expect("the broker's own").headers;
        let headers = headers.expect("all events have some");
        assert_eq!(headers.get("resource").and_then(FieldValue::as_str), Some("memory"));
    }
}
