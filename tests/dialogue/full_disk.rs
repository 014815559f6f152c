//! A disk that is nearly full: publishers are told and held, everybody else goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferrymq::protocol::frame::{FrameKind, encode_method};
use ferrymq::protocol::generated::*;
use ferrymq::store::Space;
use ferrymq::store::simulated::SimulatedDisk;

use crate::support::*;

const LOW: Space = Space::Low { free_bytes: 10, limit_bytes: 1000 };

fn start() -> (SimulatedDisk, TestBroker) {
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    (disk, broker)
}

/// A connection with channel 1 open and the queue `q` declared.
fn peer(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    peer.declare(1, durable());
    peer
}

fn durable() -> QueueDeclare {
    QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() }
}

fn publish(peer: &mut Peer, body: &str) {
    peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
}

fn expect_blocked(peer: &mut Peer) {
    let Method::ConnectionBlocked(blocked) = peer.receive(0) else { panic!("not blocked") };
    assert_eq!(blocked.reason, "low on disk");
}

fn expect_unblocked(peer: &mut Peer) {
    assert_eq!(peer.receive(0), Method::ConnectionUnblocked(ConnectionUnblocked));
}

/// Waits until a kill -9 would leave so many messages in `q`.
fn wait_for_stored(disk: &SimulatedDisk, count: u32) {
    let begin = Instant::now();
    loop {
        let killed = disk.killed();
        killed.set_space(Space::Enough);
        let broker = TestBroker::on(&killed);
        if peer(&broker).ready(1, "q") == count {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "the ack never took effect");
    }
}

#[test]
fn a_publisher_is_told_and_held_until_there_is_space() {
    let (disk, broker) = start();
    let (mut publisher, mut other) = (peer(&broker), peer(&broker));
    publisher.call(1, ConfirmSelect::default());
    disk.set_space(LOW);
    publish(&mut publisher, "held");
    expect_blocked(&mut publisher);
    publish(&mut publisher, "behind it");
    publisher.send(1, BasicQos::default());
    publisher.expect_silence();
    assert_eq!(other.ready(1, "q"), 0);
    disk.set_space(Space::Enough);
    expect_unblocked(&mut publisher);
    other.wait_for_ready(1, "q", 2);
    // Confirms and the answer to what came behind, in whatever order.
    let (mut confirmed, mut answered) = (0, false);
    while confirmed < 2 || !answered {
        match publisher.receive(1) {
            Method::BasicAck(ack) => confirmed = ack.delivery_tag,
            Method::BasicQosOk(_) => answered = true,
            unexpected => panic!("{unexpected:?}"),
        }
    }
}

#[test]
fn who_has_published_is_told_at_once_and_others_never() {
    let (disk, broker) = start();
    let (mut publisher, mut consumer) = (peer(&broker), peer(&broker));
    publish(&mut publisher, "before");
    publisher.sync(1);
    for _ in 0..2 {
        disk.set_space(LOW);
        expect_blocked(&mut publisher);
        // Told isn't held: that comes with the next publish.
        publisher.sync(1);
        consumer.sync(1);
        disk.set_space(Space::Enough);
        expect_unblocked(&mut publisher);
    }
    consumer.expect_silence();
}

#[test]
fn a_publisher_without_the_capability_is_held_without_a_word() {
    let (disk, broker) = start();
    let mut other = peer(&broker);
    let mut publisher = broker.socket();
    publisher.open_without_capabilities();
    publisher.open_channel(1);
    disk.set_space(LOW);
    publish(&mut publisher, "held");
    publisher.send(1, BasicQos::default());
    publisher.expect_silence();
    assert_eq!(other.ready(1, "q"), 0);
    disk.set_space(Space::Enough);
    assert!(matches!(publisher.receive(1), Method::BasicQosOk(_)));
    other.wait_for_ready(1, "q", 1);
}

#[test]
fn consumers_and_acks_go_on() {
    let (disk, broker) = start();
    let (mut publisher, mut consumer) = (peer(&broker), peer(&broker));
    (0..10).for_each(|number| publish(&mut publisher, &number.to_string()));
    publisher.sync(1);
    disk.set_space(LOW);
    expect_blocked(&mut publisher);
    publish(&mut publisher, "10");
    consumer.call(1, BasicQos { prefetch_count: 1, ..BasicQos::default() });
    consumer.consume(1, "q", "c");
    for number in 0..10 {
        let (delivery_tag, _, body) = consumer.delivery(1);
        assert_eq!(body, number.to_string());
        consumer.send(1, BasicAck { delivery_tag, multiple: false });
    }
    wait_for_stored(&disk, 0);
    consumer.expect_silence();
    disk.set_space(Space::Enough);
    assert_eq!(consumer.delivery(1).2, "10");
}

#[test]
fn acks_in_a_transaction_go_on_and_publishes_in_one_do_not() {
    let (disk, broker) = start();
    let (mut publisher, mut consumer) = (peer(&broker), peer(&broker));
    publish(&mut publisher, "first");
    publisher.call(1, TxSelect);
    publish(&mut publisher, "in a transaction");
    publisher.sync(1);
    disk.set_space(LOW);
    expect_blocked(&mut publisher);
    publisher.send(1, TxCommit);
    publisher.expect_silence();
    consumer.get(1, "q", false).expect("the first");
    consumer.call(1, TxSelect);
    consumer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    assert!(matches!(consumer.call(1, TxCommit), Method::TxCommitOk(_)));
    assert_eq!(consumer.ready(1, "q"), 0);
    disk.set_space(Space::Enough);
    expect_unblocked(&mut publisher);
    assert!(matches!(publisher.receive(1), Method::TxCommitOk(_)));
    assert_eq!(consumer.ready(1, "q"), 1);
}

#[test]
fn what_came_before_the_held_publish_takes_effect() {
    let (disk, broker) = start();
    let mut peer = peer(&broker);
    publish(&mut peer, "m");
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    disk.set_space(LOW);
    expect_blocked(&mut peer);
    // In one write, so that one read brings both.
    let mut out = BytesMut::new();
    encode_method(1, &BasicAck { delivery_tag: 1, multiple: false }.into(), &mut out);
    encode_method(1, &BasicPublish::default().into(), &mut out);
    peer.send_raw(&out);
    wait_for_stored(&disk, 0);
}

#[test]
fn a_held_connection_gets_its_deliveries() {
    let (disk, broker) = start();
    let (mut both, mut other) = (peer(&broker), peer(&broker));
    publish(&mut both, "m");
    both.sync(1);
    other.get(1, "q", false).expect("there");
    both.consume(1, "q", "c");
    disk.set_space(LOW);
    expect_blocked(&mut both);
    publish(&mut both, "held");
    other.send(1, BasicReject { delivery_tag: 1, requeue: true });
    assert_eq!(both.delivery(1).2, "m");
}

#[test]
fn a_message_is_held_in_its_middle_and_arrives_whole() {
    let (disk, broker) = start();
    let (mut publisher, mut other) = (peer(&broker), peer(&broker));
    publisher.open_channel(2);
    publisher.send(1, BasicPublish { routing_key: short("q"), ..BasicPublish::default() });
    publisher.send_header(1, 6, &persistent());
    publisher.send_body(1, b"ab");
    publisher.sync(2);
    disk.set_space(LOW);
    publisher.send_body(1, b"cd");
    expect_blocked(&mut publisher);
    publisher.send_body(1, b"ef");
    publisher.send(2, BasicQos::default());
    publisher.expect_silence();
    disk.set_space(Space::Enough);
    expect_unblocked(&mut publisher);
    assert!(matches!(publisher.receive(2), Method::BasicQosOk(_)));
    assert_eq!(other.get(1, "q", true).expect("whole").body, b"abcdef");
}

/// What it held comes back, although what it sent before it went was never read.
#[test]
fn a_held_client_that_hangs_up_is_noticed() {
    let (disk, broker) = start();
    let (mut publisher, mut other) = (peer(&broker), peer(&broker));
    publish(&mut publisher, "m");
    publisher.sync(1);
    publisher.get(1, "q", false).expect("there");
    disk.set_space(LOW);
    expect_blocked(&mut publisher);
    (0..100).for_each(|_| publish(&mut publisher, "held"));
    publisher.expect_silence();
    assert_eq!(other.ready(1, "q"), 0);
    drop(publisher);
    other.wait_for_ready(1, "q", 1);
}

#[test]
fn a_held_connection_is_closed_at_the_stop() {
    let (disk, mut broker) = start();
    let mut publisher = peer(&broker);
    disk.set_space(LOW);
    publish(&mut publisher, "held");
    expect_blocked(&mut publisher);
    let client = std::thread::spawn(move || publisher.expect_connection_close().0);
    broker.stop();
    assert_eq!(client.join().expect("no panic"), 320);
}

/// The client's heartbeats aren't read while it is held, and so they aren't missed. The broker's
/// go on, and tell this test the time.
#[test]
fn heartbeats_of_a_held_client_are_not_missed() {
    let (disk, broker) = start();
    let mut publisher = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 10, frame_max: FRAME_MAX, heartbeat: 1 };
    publisher.open_with("guest", "/", tune_ok);
    assert!(matches!(publisher.receive(0), Method::ConnectionOpenOk(_)));
    publisher.open_channel(1);
    publisher.declare(1, durable());
    disk.set_space(LOW);
    publish(&mut publisher, "held");
    expect_blocked(&mut publisher);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        let frame = publisher.next_frame().expect("the connection lives");
        assert_eq!(frame.kind, FrameKind::Heartbeat);
    }
    disk.set_space(Space::Enough);
    expect_unblocked(&mut publisher);
    publisher.sync(1);
    assert_eq!(publisher.ready(1, "q"), 1);
}

#[test]
fn every_publish_is_confirmed_however_often_the_space_comes_and_goes() {
    const PUBLISHERS: u32 = 4;
    const MESSAGES: u64 = 500;
    let (disk, broker) = start();
    let confirmed = |mut peer: Peer| {
        peer.call(1, ConfirmSelect::default());
        (0..MESSAGES).for_each(|number| publish(&mut peer, &number.to_string()));
        let mut confirmed = 0;
        while confirmed < MESSAGES {
            match Method::decode(&peer.next_frame().expect("open").payload).expect("a method") {
                Method::BasicAck(ack) => confirmed = ack.delivery_tag,
                Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) => {}
                unexpected => panic!("{unexpected:?}"),
            }
        }
    };
    let peers: Vec<Peer> = (0..PUBLISHERS).map(|_| peer(&broker)).collect();
    std::thread::scope(|scope| {
        let publishers: Vec<_> =
            peers.into_iter().map(|peer| scope.spawn(move || confirmed(peer))).collect();
        while !publishers.iter().all(|publisher| publisher.is_finished()) {
            disk.set_space(LOW);
            std::thread::yield_now();
            disk.set_space(Space::Enough);
            std::thread::yield_now();
        }
    });
    let all = PUBLISHERS * u32::try_from(MESSAGES).expect("few");
    assert_eq!(peer(&broker).ready(1, "q"), all);
}

#[test]
fn the_health_check_says_so() {
    let (disk, broker) = start();
    let answer = |broker: &TestBroker| {
        let mut socket = TcpStream::connect(broker.http_address()).expect("it listens");
        let request =
            "GET /api/health/checks/local-alarms HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("answered");
        answer
    };
    let wait_for = |status: &str| {
        let start = Instant::now();
        loop {
            let answer = answer(&broker);
            if answer.starts_with(&format!("HTTP/1.1 {status}")) {
                return answer;
            }
            assert!(start.elapsed() < DEADLINE, "{answer}");
        }
    };
    wait_for("200");
    disk.set_space(LOW);
    let said = wait_for("503");
    assert!(said.contains("10 bytes") && said.contains("1000"), "{said}");
    let alarm = r#""alarms":[{"node":"ferrymq@localhost","resource":"disk"}]"#;
    assert!(said.contains(alarm), "{said}");
    disk.set_space(Space::Enough);
    wait_for("200");
}
