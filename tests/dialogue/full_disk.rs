//! A disk that is nearly full: publishers are held back, the others go on, and so do publishers when
//! there is room.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use ferrymq::protocol::generated::*;
use ferrymq::store::Space;
use ferrymq::store::simulated::SimulatedDisk;

use crate::support::*;

const LOW: Space = Space::Low { free_bytes: 10, limit_bytes: 1000 };

fn broker() -> (SimulatedDisk, TestBroker) {
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    (disk, broker)
}

/// A publisher that has published, and is told that it is held back.
fn blocked(disk: &SimulatedDisk, broker: &TestBroker) -> Peer {
    let mut publisher = broker.channel();
    publisher.declare_queue(1, "q");
    disk.set_space(LOW);
    publisher.publish(1, "", "q", "the last one");
    match publisher.receive(0) {
        Method::ConnectionBlocked(blocked) => assert_eq!(blocked.reason, "low on disk"),
        other => panic!("{other:?}"),
    }
    publisher
}

#[test]
fn a_publisher_is_told_held_back_and_let_go() {
    let (disk, broker) = broker();
    let mut publisher = blocked(&disk, &broker);
    let mut other = broker.channel();
    other.wait_for_ready(1, "q", 1);
    publisher.publish(1, "", "q", "while it is held back");
    // It is not read: another client's requests are answered all the while.
    for _ in 0..20 {
        assert_eq!(other.ready(1, "q"), 1);
    }
    disk.set_space(Space::Enough);
    assert!(matches!(publisher.receive(0), Method::ConnectionUnblocked(_)));
    publisher.sync(1);
    assert_eq!(other.ready(1, "q"), 2);
}

#[test]
fn consumers_and_their_acks_go_on() {
    let (disk, broker) = broker();
    let mut consumer = broker.channel();
    consumer.declare_queue(1, "q");
    let _publisher = blocked(&disk, &broker);
    consumer.consume(1, "q", "c");
    let (tag, _, body) = consumer.delivery(1);
    assert_eq!(body, "the last one");
    consumer.send(1, BasicAck { delivery_tag: tag, multiple: false });
    consumer.sync(1);
    consumer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    consumer.send(1, BasicRecover { requeue: true });
    assert!(matches!(consumer.receive(1), Method::BasicRecoverOk(_)));
    assert_eq!(consumer.ready(1, "q"), 0);
}

#[test]
fn a_client_that_knows_nothing_of_it_is_held_back_in_silence() {
    let (disk, broker) = broker();
    let mut publisher = broker.socket();
    publisher.open_without_capabilities();
    publisher.open_channel(1);
    publisher.declare_queue(1, "q");
    disk.set_space(LOW);
    publisher.publish(1, "", "q", "one");
    let mut other = broker.channel();
    other.wait_for_ready(1, "q", 1);
    publisher.publish(1, "", "q", "two");
    for _ in 0..20 {
        assert_eq!(other.ready(1, "q"), 1);
    }
    disk.set_space(Space::Enough);
    // The next thing it hears is the answer to what it asks.
    publisher.sync(1);
    assert_eq!(other.ready(1, "q"), 2);
}

#[test]
fn who_only_declares_is_not_held_back() {
    let (disk, broker) = broker();
    disk.set_space(LOW);
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.sync(1);
}

#[test]
fn a_client_that_hangs_up_while_it_is_held_back_is_noticed() {
    let (disk, broker) = broker();
    let publisher = blocked(&disk, &broker);
    let connections = || broker.broker().registry.len();
    let before = connections();
    drop(publisher);
    let start = Instant::now();
    while connections() >= before {
        assert!(start.elapsed() < DEADLINE, "it is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let (disk, mut broker) = broker();
    let mut publisher = blocked(&disk, &broker);
    let stopping = std::thread::spawn(move || {
        broker.stop();
        broker
    });
    let (code, _) = publisher.expect_connection_close();
    assert_eq!(code, 320);
    drop(publisher);
    drop(stopping.join().expect("it stops"));
}

#[test]
fn the_health_check_says_so() {
    let (disk, broker) = broker();
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
    assert!(said.contains("disk") && said.contains("10 bytes") && said.contains("1000"), "{said}");
    disk.set_space(Space::Enough);
    wait_for("200");
}
