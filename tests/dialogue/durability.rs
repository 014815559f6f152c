//! What a restart leaves, and what a store that fails does to clients.

use bytes::Bytes;
use ferrymq::broker::auth::attempts::LoginProtocol;
use ferrymq::broker::durable::Durable;
use ferrymq::broker::{Broker, BrokerSettings};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::simulated::{Fault, SimulatedDisk};
use ferrymq::store::{StoreSettings, StoreState};

use crate::support::*;

fn durable(name: &str) -> QueueDeclare {
    QueueDeclare { queue: short(name), durable: true, ..QueueDeclare::default() }
}

#[test]
fn durable_things_survive_a_restart_and_others_do_not() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-max-length", FieldValue::I16(100)), ("x-note", long("kept"))]);
    peer.declare(1, QueueDeclare { arguments, ..durable("durable") });
    peer.declare_queue(1, "transient");
    for (name, durable) in [("kept", true), ("lost", false)] {
        let (exchange, kind) = (short(name), short("topic"));
        peer.call(1, ExchangeDeclare { exchange, kind, durable, ..ExchangeDeclare::default() });
    }
    peer.bind(1, "durable", "kept", "a.#");
    peer.bind(1, "durable", "lost", "a.#");
    peer.publish_with(1, "kept", "a.b", b"persistent", &persistent());
    peer.publish_with(1, "kept", "a.b", b"transient", &Properties::default());
    peer.sync(1);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(peer.get(1, "durable", true).expect("there").body, b"persistent");
    assert_eq!(peer.get(1, "durable", true), None);
    peer.publish(1, "kept", "a.c", "routed");
    peer.sync(1);
    assert_eq!(peer.get(1, "durable", true).expect("the binding").body, b"routed");
    let arguments = table([("x-max-length", FieldValue::I64(100))]);
    peer.declare(1, QueueDeclare { arguments, ..durable("durable") });
    for gone in [
        Method::from(QueueDeclare { passive: true, ..durable("transient") }),
        ExchangeDeclare { exchange: short("lost"), passive: true, ..ExchangeDeclare::default() }
            .into(),
    ] {
        peer.send(1, gone);
        assert_eq!(peer.expect_channel_close(1).0, 404);
        peer.open_channel(1);
    }
}

#[test]
fn only_what_was_delivered_comes_back_with_the_flag() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, durable("q"));
    for number in 0..10u8 {
        peer.publish_with(1, "", "q", &[number], &persistent());
    }
    peer.sync(1);
    // A get of three, and a consumer that is given two more.
    (0..3).for_each(|_| drop(peer.get(1, "q", false)));
    peer.call(1, BasicQos { prefetch_count: 2, ..BasicQos::default() });
    peer.consume(1, "q", "c");
    (0..2).for_each(|_| drop(peer.receive_content(1)));
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    for number in 0..10u8 {
        let got = peer.get(1, "q", true).expect("there");
        let Method::BasicGetOk(BasicGetOk { redelivered, .. }) = got.method else { panic!("no") };
        assert_eq!((got.body, redelivered), (vec![number], number < 5));
    }
}

#[test]
fn acked_messages_and_deleted_things_stay_away() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, durable("q"));
    peer.declare(1, durable("gone"));
    for number in 0..4u8 {
        peer.publish_with(1, "", "q", &[number], &persistent());
    }
    peer.sync(1);
    (0..4).for_each(|_| drop(peer.get(1, "q", false)));
    peer.send(1, BasicAck { delivery_tag: 2, multiple: true });
    peer.send(1, BasicReject { delivery_tag: 4, requeue: false });
    peer.call(1, QueueDelete { queue: short("gone"), ..QueueDelete::default() });
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(peer.get(1, "q", true).expect("there").body, [2]);
    assert_eq!(peer.get(1, "q", true), None);
    peer.send(1, QueueDeclare { passive: true, ..durable("gone") });
    assert_eq!(peer.expect_channel_close(1).0, 404);
}

#[test]
fn a_dead_lettered_message_is_in_its_new_queue_after_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, durable("dead"));
    let arguments =
        table([("x-dead-letter-exchange", long("")), ("x-dead-letter-routing-key", long("dead"))]);
    peer.declare(1, QueueDeclare { arguments, ..durable("q") });
    peer.publish_with(1, "", "q", b"m", &persistent());
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicReject { delivery_tag: 1, requeue: false });
    peer.wait_for_ready(1, "dead", 1);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!(peer.ready(1, "q"), 0);
    let dead = peer.get(1, "dead", true).expect("there");
    assert!(dead.properties.headers().expect("headers").get("x-death").is_some());
}

#[test]
fn nothing_that_need_not_be_stored_reaches_the_disk() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, durable("durable"));
    peer.declare_queue(1, "transient");
    peer.declare(1, QueueDeclare { exclusive: true, ..durable("exclusive") });
    let marker = b"a body that can be found again";
    peer.publish_with(1, "", "durable", marker, &Properties::default());
    peer.publish_with(1, "", "transient", marker, &persistent());
    peer.publish_with(1, "", "exclusive", marker, &persistent());
    peer.sync(1);
    broker.stop();
    for entry in std::fs::read_dir(broker.data_dir().join("log")).expect("listed") {
        let bytes = std::fs::read(entry.expect("listed").path()).expect("read");
        assert!(!bytes.windows(marker.len()).any(|window| window == marker));
    }
}

#[test]
fn a_large_message_survives_whole() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, durable("q"));
    let body: Vec<u8> = (0..5_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    peer.send(1, BasicPublish { routing_key: short("q"), ..BasicPublish::default() });
    peer.send_header(1, body.len() as u64, &persistent());
    body.chunks(100_000).for_each(|chunk| peer.send_body(1, chunk));
    peer.sync(1);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert!(peer.get(1, "q", true).expect("there").body == body);
}

#[test]
fn nothing_is_confirmed_while_the_disk_has_not_got_it() {
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    let mut peer = broker.channel();
    peer.declare(1, durable("q"));
    assert!(matches!(peer.call(1, ConfirmSelect::default()), Method::ConfirmSelectOk(_)));
    disk.hold();
    peer.publish_with(1, "", "q", b"waits", &persistent());
    peer.publish_with(1, "", "q", b"has nothing to wait for", &Properties::default());
    let Method::BasicAck(ack) = peer.receive(1) else { panic!("no confirm") };
    assert_eq!((ack.delivery_tag, ack.multiple), (2, false));
    // Round trips go on, and no other confirm comes between them.
    (0..20).for_each(|_| peer.sync(1));
    disk.release();
    let Method::BasicAck(ack) = peer.receive(1) else { panic!("no confirm") };
    assert_eq!(ack.delivery_tag, 1);
}

#[test]
fn a_failed_write_nacks_what_was_on_its_way_and_all_that_comes() {
    for fault in [Fault::Fails, Fault::FailsAfterwards] {
        let disk = SimulatedDisk::new();
        let broker = TestBroker::on(&disk);
        let mut peer = broker.channel();
        peer.declare(1, durable("q"));
        assert!(matches!(peer.call(1, ConfirmSelect::default()), Method::ConfirmSelectOk(_)));
        disk.script_next_append(fault);
        for number in 1..=5 {
            peer.publish_with(1, "", "q", b"m", &persistent());
            let Method::BasicNack(nack) = peer.receive(1) else { panic!("{fault:?}: no nack") };
            assert_eq!((nack.delivery_tag, nack.multiple), (number, false));
        }
        // What needs no disk still works.
        peer.publish_with(1, "", "q", b"m", &Properties::default());
        let Method::BasicAck(ack) = peer.receive(1) else { panic!("no confirm") };
        assert_eq!(ack.delivery_tag, 6);
        // 541 ends the connection, not the channel alone.
        peer.send(1, durable("other"));
        let (code, text) = peer.expect_connection_close();
        assert_eq!(code, 541, "{text}");
    }
}

#[test]
fn a_failed_write_is_an_error_and_the_end_of_the_store() {
    let disk = SimulatedDisk::new();
    let open = |disk: &SimulatedDisk| {
        let opened = disk.open_store(&StoreSettings::default()).expect("opened");
        Broker::open(opened, BrokerSettings::default()).expect("opened")
    };
    let broker = open(&disk);
    broker.put_vhost("stored", None).and_then(Durable::wait_blocking).expect("no fault yet");
    disk.script_next_append(Fault::Fails);
    let failed =
        broker.put_vhost("failed", None).and_then(Durable::wait_blocking).expect_err("scripted");
    assert_eq!(failed.code.code(), 541);
    assert!(matches!(*broker.store_state().borrow(), StoreState::Failed(_)));
    let later =
        broker.put_vhost("later", None).and_then(Durable::wait_blocking).expect_err("closed");
    assert!(later.text.starts_with("the store is closed"), "{later}");
    let broker = open(&disk.power_cut(0));
    assert!(broker.vhost("stored").is_some() && broker.vhost("failed").is_none());
    assert!(
        broker.authenticate("guest", "guest", [127, 0, 0, 1].into(), LoginProtocol::Amqp).is_ok()
    );
}

#[test]
fn an_oversized_definition_is_stored_like_any_other() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let note = FieldValue::LongStr(Bytes::from(vec![b'n'; 50_000]));
    let arguments = table([("x-note", note), ("x-max-length", FieldValue::I32(3))]);
    peer.declare(1, QueueDeclare { arguments, ..durable("q") });
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    peer.send(1, durable("q"));
    let (code, text) = peer.expect_channel_close(1);
    assert!(code == 406 && text.contains("current is the value '3'"), "{text}");
}
