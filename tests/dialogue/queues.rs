//! Queues: declaring, purging, deleting, and who may touch them.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

fn named(name: &str) -> QueueDeclare {
    QueueDeclare { queue: short(name), ..QueueDeclare::default() }
}

#[test]
fn a_second_declare_must_agree() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-max-length", FieldValue::I32(5)), ("x-mine", long("kept"))]);
    peer.declare(1, QueueDeclare { durable: true, arguments, ..named("q") });
    // The same value in another width, and an argument without a meaning, make no difference.
    let arguments = table([("x-max-length", FieldValue::I64(5))]);
    peer.declare(1, QueueDeclare { durable: true, arguments, ..named("q") });
    let durable = QueueDeclare { durable: true, ..named("q") };
    let differing = [
        (
            named("q"),
            "'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
        ),
        (
            QueueDeclare { auto_delete: true, ..durable.clone() },
            "'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            durable.clone(),
            "'x-max-length' for queue 'q' in vhost '/': received none but current is the value '5' of \
             type 'signedint'",
        ),
    ];
    for (request, text) in differing {
        let expected = format!("PRECONDITION_FAILED - inequivalent arg {text}");
        assert_eq!(peer.refused(request), (406, expected));
    }
    let (code, text) = peer.refused(QueueDeclare { exclusive: true, ..durable });
    assert_eq!(code, 405);
    assert!(
        text.starts_with("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q'")
    );
}

#[test]
fn arguments_are_checked() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (name, value) in [
        ("x-expires", FieldValue::I32(0)),
        ("x-message-ttl", FieldValue::I32(-1)),
        ("x-max-length", long("5")),
        ("x-overflow", long("explode")),
        ("x-dead-letter-exchange", FieldValue::I32(1)),
        ("x-dead-letter-routing-key", long("k")),
        ("x-max-priority", FieldValue::I32(256)),
        ("x-queue-type", long("mirrored")),
    ] {
        let request = QueueDeclare { arguments: table([(name, value)]), ..named("q") };
        let (code, text) = peer.refused(request);
        assert_eq!(code, 406, "{name}");
        let expected =
            format!("PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/'");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn the_broker_names_queues_and_remembers_the_last_one() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let declared = peer.declare(1, QueueDeclare { exclusive: true, ..named("") });
    assert!(declared.queue.starts_with("amq.gen-"), "{}", declared.queue);
    // An empty name is the queue declared last; with an empty key, it is the key as well.
    let exchange = short("amq.direct");
    let bound = peer.call(1, QueueBind { exchange, ..QueueBind::default() });
    assert_eq!(bound, Method::from(QueueBindOk));
    peer.publish(1, "amq.direct", &declared.queue, "m");
    peer.sync(1);
    assert_eq!(peer.get(1, "", true).expect("there").body, b"m");
    peer.open_channel(2);
    peer.send(2, BasicGet::default());
    let text = "NOT_FOUND - no previously declared queue";
    assert_eq!(peer.expect_channel_close(2), (404, text.to_owned()));
    let reserved = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    assert_eq!(peer.refused(named("amq.mine")), (403, reserved.to_owned()));
}

#[test]
fn nowait_is_not_answered_and_errors_still_close() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.send(1, QueueDeclare { no_wait: true, ..named("quiet") });
    let purge = QueuePurge { queue: short("quiet"), no_wait: true };
    peer.send(1, purge);
    peer.sync(1);
    assert_eq!(peer.ready(1, "quiet"), 0);
    peer.send(1, QueueDeclare { no_wait: true, durable: true, ..named("quiet") });
    assert_eq!(peer.expect_channel_close(1).0, 406);
}

#[test]
fn an_exclusive_queue_is_its_connections_and_never_durable() {
    let mut broker = TestBroker::start();
    let mut owner = broker.channel();
    let mut other = broker.channel();
    owner.declare(1, QueueDeclare { exclusive: true, durable: true, ..named("mine") });
    let passive = QueueDeclare { passive: true, ..named("mine") };
    let delete = QueueDelete { queue: short("mine"), ..QueueDelete::default() };
    let consume = BasicConsume { queue: short("mine"), ..BasicConsume::default() };
    let get = BasicGet { queue: short("mine"), no_ack: true };
    let purge = QueuePurge { queue: short("mine"), no_wait: false };
    let bind =
        QueueBind { queue: short("mine"), exchange: short("amq.fanout"), ..Default::default() };
    let all: [Method; 6] =
        [passive.into(), delete.into(), consume.into(), get.into(), purge.into(), bind.into()];
    for method in all {
        let name = method.name();
        assert_eq!(other.refused(method).0, 405, "{name}");
    }
    owner.close();
    assert_eq!(other.refused(QueueDeclare { passive: true, ..named("mine") }).0, 404);
    broker.restart();
    let mut other = broker.channel();
    assert_eq!(other.refused(QueueDeclare { passive: true, ..named("mine") }).0, 404);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, QueueDeclare { auto_delete: true, ..named("q") });
    // It has had no consumer yet.
    peer.sync(1);
    assert_eq!(peer.ready(1, "q"), 0);
    peer.consume(1, "q", "a");
    peer.consume(1, "q", "b");
    let cancel = |tag: &str| BasicCancel { consumer_tag: short(tag), no_wait: false };
    assert!(matches!(peer.call(1, cancel("a")), Method::BasicCancelOk(_)));
    assert_eq!(peer.ready(1, "q"), 0);
    assert!(matches!(peer.call(1, cancel("b")), Method::BasicCancelOk(_)));
    assert_eq!(peer.refused(QueueDeclare { passive: true, ..named("q") }).0, 404);
}

#[test]
fn purge_drops_what_is_ready_and_nothing_else() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    (0..5).for_each(|_| peer.publish(1, "", "q", "m"));
    peer.sync(1);
    peer.get(1, "q", false).expect("there");
    let purged = peer.call(1, QueuePurge { queue: short("q"), no_wait: false });
    assert_eq!(purged, Method::from(QueuePurgeOk { message_count: 4 }));
    let nack = BasicNack { delivery_tag: 1, requeue: true, multiple: false };
    peer.send(1, nack);
    peer.wait_for_ready(1, "q", 1);
}

#[test]
fn delete_heeds_its_conditions_and_is_idempotent() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "m");
    peer.sync(1);
    let delete = QueueDelete { queue: short("q"), ..QueueDelete::default() };
    let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
    let if_empty = QueueDelete { if_empty: true, ..delete.clone() };
    assert_eq!(peer.refused(if_empty), (406, text.to_owned()));
    let mut consumer = broker.channel();
    consumer.consume(1, "q", "c");
    let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
    let if_unused = QueueDelete { if_unused: true, ..delete.clone() };
    assert_eq!(peer.refused(if_unused), (406, text.to_owned()));
    assert!(matches!(peer.call(1, delete.clone()), Method::QueueDeleteOk(_)));
    assert_eq!(peer.call(1, delete), Method::from(QueueDeleteOk { message_count: 0 }));
}

#[test]
fn a_queue_declared_again_shows_no_old_messages() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let durable = QueueDeclare { durable: true, ..named("q") };
    peer.declare(1, durable.clone());
    peer.publish_with(1, "", "q", b"old", &persistent());
    peer.sync(1);
    let delete = QueueDelete { queue: short("q"), ..QueueDelete::default() };
    assert_eq!(peer.call(1, delete), Method::from(QueueDeleteOk { message_count: 1 }));
    assert_eq!(peer.declare(1, durable).message_count, 0);
}

#[test]
fn declare_counts_messages_and_consumers() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "");
    let declared = peer.declare_queue(1, "q");
    assert_eq!((declared.message_count, declared.consumer_count), (0, 1));
}
