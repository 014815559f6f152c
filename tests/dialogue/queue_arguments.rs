//! The arguments of queues: what each one may be, on which types of queue, and what it comes to.

use std::sync::Arc;

use ferrymq::broker::queue::QueueOptions;
use ferrymq::broker::queue::arguments::{Deduplication, Overflow, QueueType, Retry, RetryKind};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

fn int(number: i64) -> FieldValue {
    FieldValue::I64(number)
}

const YES: FieldValue = FieldValue::Bool(true);

fn durable(name: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare { queue: short(name), durable: true, arguments, ..QueueDeclare::default() }
}

/// A queue of a type with one more argument.
fn with(queue_type: &str, argument: &str, value: FieldValue) -> QueueDeclare {
    durable("q", table([("x-queue-type", long(queue_type)), (argument, value)]))
}

fn delete(peer: &mut Peer) {
    let deleted = peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    assert!(matches!(deleted, Method::QueueDeleteOk(_)), "{deleted:?}");
}

/// What is in force on a queue that is declared like this.
fn options(broker: &TestBroker, peer: &mut Peer, declare: QueueDeclare) -> Arc<QueueOptions> {
    peer.declare(1, declare);
    let vhost = broker.broker().vhost("/").expect("there");
    let options = vhost.queue("q").expect("declared").options();
    delete(peer);
    options
}

/// Arguments with values that they may have and such that they may not have.
fn values() -> Vec<(&'static str, Vec<FieldValue>, Vec<FieldValue>)> {
    const TIME_MAX: i64 = 315_360_000_000;
    let count = || (vec![int(0), FieldValue::U8(5), int(i64::MAX)], vec![int(-1), long("5")]);
    let time = |least: i64| {
        (vec![int(least), int(TIME_MAX)], vec![int(least - 1), int(TIME_MAX + 1), long("5")])
    };
    let text = || (vec![long("x")], vec![int(1), long(&"x".repeat(256))]);
    let one_of =
        |values: &[&str]| (values.iter().copied().map(long).collect(), vec![long("other"), int(1)]);
    let boolean = || (vec![YES, FieldValue::Bool(false)], vec![int(1), long("true")]);
    let row = |name, (good, bad)| (name, good, bad);
    vec![
        row("x-message-ttl", time(0)),
        // Long enough for the queue to be looked at.
        row("x-expires", (vec![int(60_000), int(TIME_MAX)], time(1).1)),
        row("x-max-length", count()),
        row("x-max-length-bytes", count()),
        row("x-overflow", one_of(&["drop-head", "reject-publish", "reject-publish-dlx"])),
        row("x-dead-letter-exchange", text()),
        row("x-dead-letter-strategy", one_of(&["at-most-once", "at-least-once"])),
        row("x-max-priority", (vec![int(0), int(255)], vec![int(256), int(-1)])),
        row("x-single-active-consumer", boolean()),
        row("x-delivery-limit", (vec![int(-1), int(3)], vec![int(-2), long("3")])),
        row("x-consumer-timeout", time(0)),
        row("x-consumer-disconnected-timeout", time(0)),
        row("x-delayed-retry-min", time(1)),
        row("x-delayed-retry-max", time(1)),
        row("x-delayed-retry-multiplier", (vec![int(2), FieldValue::F32(1.5)], vec![int(0)])),
        row("x-delayed-retry-jitter", (vec![int(0), int(100)], vec![int(101)])),
        row("x-message-group-header", text()),
        row("x-message-deduplication", boolean()),
        row("x-cache-size", (vec![int(1), int(1_000_000)], vec![int(0), int(1_000_001)])),
        row("x-cache-ttl", time(1)),
        row("x-deduplication-header", text()),
        row("x-queue-mode", one_of(&["default", "lazy"])),
        row("x-queue-version", (vec![int(1), int(2)], vec![int(3)])),
        row("x-queue-leader-locator", one_of(&["client-local", "balanced"])),
        row("x-quorum-initial-group-size", (vec![int(1), int(3)], vec![int(0)])),
        row("x-member-placement-tag", (vec![long("a")], vec![long(""), int(1)])),
        row("x-max-in-memory-length", count()),
        row("x-max-in-memory-bytes", count()),
    ]
}

/// Those that one type doesn't take; all others both do.
const CLASSIC_ONLY: [&str; 3] = ["x-max-priority", "x-queue-mode", "x-queue-version"];
const QUORUM_ONLY: [&str; 6] = [
    "x-dead-letter-strategy",
    "x-consumer-disconnected-timeout",
    "x-quorum-initial-group-size",
    "x-member-placement-tag",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
];

#[test]
fn each_argument_takes_its_values_and_refuses_others_with_406() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (name, good, bad) in values() {
        for queue_type in ["classic", "quorum"] {
            let other = if queue_type == "classic" { &QUORUM_ONLY[..] } else { &CLASSIC_ONLY[..] };
            if other.contains(&name) {
                continue;
            }
            for value in &good {
                peer.declare(1, with(queue_type, name, value.clone()));
                delete(&mut peer);
            }
            for value in &bad {
                let (code, text) = peer.refused(with(queue_type, name, value.clone()));
                let expected = format!(
                    "PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/': "
                );
                assert!(code == 406 && text.starts_with(&expected), "{value:?}: {text}");
            }
        }
    }
}

#[test]
fn an_argument_of_another_type_of_queue_is_refused_after_those_of_its_own() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (name, good, _) in values() {
        let (queue_type, module) = match name {
            name if CLASSIC_ONLY.contains(&name) => ("quorum", "rabbit_quorum_queue"),
            name if QUORUM_ONLY.contains(&name) => ("classic", "rabbit_classic_queue"),
            _ => continue,
        };
        let value = good.into_iter().next().expect("one");
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/' of queue type {module}"
        );
        assert_eq!(peer.refused(with(queue_type, name, value.clone())), (406, text));
        // A wrong value of its own counts first.
        let mut both = with(queue_type, name, value);
        both.arguments.insert(short("x-max-length"), int(-1));
        assert!(peer.refused(both).1.contains("invalid arg 'x-max-length'"));
    }
    for name in ["x-max-age", "x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes"] {
        let (code, text) = peer.refused(with("classic", name, int(1)));
        assert!(code == 406 && text.ends_with("of queue type rabbit_classic_queue"), "{text}");
    }
    // What nobody knows is nobody's business.
    peer.declare(1, with("quorum", "x-mine", int(1)));
}

#[test]
fn the_type_is_one_that_is_known_and_streams_are_not_there_yet() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for plain in ["", "undefined"] {
        peer.declare(1, durable("q", table([("x-queue-type", long(plain))])));
        delete(&mut peer);
    }
    let text = "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/': there is \
                no type 'mirrored', only classic and quorum";
    let mirrored = durable("q", table([("x-queue-type", long("mirrored"))]));
    assert_eq!(peer.refused(mirrored), (406, text.to_owned()));
    assert_eq!(peer.refused(durable("q", table([("x-queue-type", int(1))]))).0, 406);
    peer.send(1, durable("q", table([("x-queue-type", long("stream"))])));
    let text = "NOT_IMPLEMENTED - queue 'q' in vhost '/': there are no queues of type stream; use \
                classic or quorum";
    assert_eq!(peer.expect_connection_close(), (540, text.to_owned()));
}

#[test]
fn a_quorum_queue_is_durable_and_everybodys_and_has_a_name() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let quorum = durable("q", table([("x-queue-type", long("quorum"))]));
    let cases = [
        (QueueDeclare { durable: false, ..quorum.clone() }, "non-durable"),
        (QueueDeclare { exclusive: true, ..quorum.clone() }, "exclusive-owner"),
        (QueueDeclare { auto_delete: true, ..quorum.clone() }, "auto-delete"),
    ];
    for (declare, property) in cases {
        let text = format!(
            "PRECONDITION_FAILED - invalid property '{property}' for queue 'q' in vhost '/'"
        );
        assert_eq!(peer.refused(declare), (406, text));
    }
    let unnamed = QueueDeclare { queue: short(""), ..quorum.clone() };
    let text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type \
                rabbit_quorum_queue";
    assert_eq!(peer.refused(unnamed), (406, text.to_owned()));
    peer.declare(1, quorum);
}

#[test]
fn a_second_declare_agrees_in_the_type_and_in_what_has_an_effect() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, with("quorum", "x-delivery-limit", int(5)));
    peer.declare(1, durable("q", table([("x-delivery-limit", FieldValue::I8(5))])));
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': \
                received 'classic' but current is 'quorum'";
    assert_eq!(peer.refused(with("classic", "x-delivery-limit", int(5))), (406, text.to_owned()));
    let (code, text) = peer.refused(with("quorum", "x-delivery-limit", int(6)));
    assert!(code == 406 && text.contains("inequivalent arg 'x-delivery-limit'"), "{text}");
    delete(&mut peer);
    for (name, good, _) in values() {
        let idle = ["x-queue-version", "x-queue-leader-locator", "x-quorum-initial-group-size"];
        let is_idle = idle.contains(&name)
            || ["x-member-placement-tag", "x-consumer-disconnected-timeout"].contains(&name)
            || name.starts_with("x-max-in-memory");
        let queue_type = if QUORUM_ONLY.contains(&name) { "quorum" } else { "classic" };
        peer.declare(1, with(queue_type, name, good.into_iter().next().expect("one")));
        let without = durable("q", table([("x-queue-type", long(queue_type))]));
        if is_idle {
            peer.declare(1, without);
        } else {
            let (code, text) = peer.refused(without);
            let expected = format!("inequivalent arg '{name}'");
            assert!(code == 406 && text.contains(&expected), "{text}");
        }
        delete(&mut peer);
    }
}

#[test]
fn arguments_that_need_one_another_are_checked_together() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let cases = [
        (table([("x-dead-letter-routing-key", long("k"))]), "routing_key_but_no_dlx_defined"),
        (table([("x-delayed-retry-type", long("all"))]), "the least delay is needed, too"),
        (
            table([("x-delayed-retry-min", int(5)), ("x-delayed-retry-max", int(4))]),
            "4 is less than the least delay, 5",
        ),
    ];
    for (arguments, part) in cases {
        let (code, text) = peer.refused(durable("q", arguments));
        assert!(code == 406 && text.ends_with(part), "{text}");
    }
}

#[test]
fn what_is_in_force_is_what_the_arguments_say() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([
        ("x-message-ttl", int(1)),
        ("x-expires", int(60_002)),
        ("x-max-length", int(3)),
        ("x-max-length-bytes", int(4)),
        ("x-overflow", long("reject-publish-dlx")),
        ("x-dead-letter-exchange", long("")),
        ("x-dead-letter-routing-key", long("k")),
        ("x-max-priority", int(5)),
        ("x-single-active-consumer", YES),
        ("x-delivery-limit", int(6)),
        ("x-consumer-timeout", int(7)),
        ("x-delayed-retry-type", long("returned")),
        ("x-delayed-retry-min", int(8)),
        ("x-delayed-retry-max", int(9)),
        ("x-delayed-retry-multiplier", FieldValue::Decimal { scale: 2, value: 125 }),
        ("x-delayed-retry-jitter", int(10)),
        ("x-message-group-header", long("group")),
        ("x-message-deduplication", YES),
        ("x-deduplication-header", long("id")),
        ("x-cache-size", int(11)),
        ("x-cache-ttl", int(12)),
    ]);
    let expected = QueueOptions {
        dead_letter_exchange: Some(short("")),
        dead_letter_routing_key: Some(short("k")),
        message_ttl_ms: Some(1),
        expires_ms: Some(60_002),
        max_length: Some(3),
        max_length_bytes: Some(4),
        overflow: Overflow::RejectPublishDlx,
        max_priority: 5,
        single_active_consumer: true,
        delivery_limit: Some(6),
        consumer_timeout_ms: Some(7),
        retry: Some(Retry {
            kind: RetryKind::Returned,
            min_ms: 8,
            max_ms: 9,
            multiplier_percent: Some(125),
            jitter_percent: 10,
        }),
        group_header: Some(short("group")),
        deduplication: Some(Deduplication { header: short("id"), size: 11, ttl_ms: Some(12) }),
    };
    assert_eq!(*options(&broker, &mut peer, durable("q", arguments)), expected);
}

#[test]
fn what_is_not_said_has_a_default() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let plain = options(&broker, &mut peer, durable("q", table([])));
    assert_eq!(*plain, QueueOptions::default());
    let quorum = options(&broker, &mut peer, with("quorum", "x-mine", int(1)));
    assert_eq!(quorum.delivery_limit, Some(20));
    let unlimited = options(&broker, &mut peer, with("quorum", "x-delivery-limit", int(-1)));
    assert_eq!(unlimited.delivery_limit, None);
    let overflow = with("quorum", "x-overflow", long("reject-publish-dlx"));
    assert_eq!(options(&broker, &mut peer, overflow).overflow, Overflow::DropHead);
    let deduplicating = with("classic", "x-message-deduplication", YES);
    let header = short("x-deduplication-header");
    let expected = Deduplication { header, size: 128, ttl_ms: None };
    assert_eq!(options(&broker, &mut peer, deduplicating).deduplication, Some(expected));
    let mut retrying = with("classic", "x-delayed-retry-type", long("all"));
    retrying.arguments.insert(short("x-delayed-retry-min"), int(5));
    let retry = options(&broker, &mut peer, retrying).retry.expect("set");
    assert_eq!((retry.kind, retry.min_ms, retry.max_ms), (RetryKind::All, 5, 315_360_000_000));
}

#[test]
fn the_broker_names_queues_with_the_prefix_that_is_asked_for() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let prefixed = |name: &str, prefix: &str| QueueDeclare {
        queue: short(name),
        exclusive: true,
        arguments: table([("x-name-prefix", long(prefix)), ("x-mine", int(1))]),
        ..QueueDeclare::default()
    };
    let named = peer.declare(1, prefixed("", "replies.")).queue;
    assert!(named.starts_with("replies.") && named.len() > "replies.".len() + 16, "{named}");
    let vhost = broker.broker().vhost("/").expect("there");
    let queue = vhost.queue(&named).expect("declared");
    // It is in the name, and no longer an argument.
    assert_eq!(queue.properties.arguments, table([("x-mine", int(1))]));
    assert_eq!(peer.declare(1, prefixed("mine", "other.")).queue, "mine");
    let (code, text) = peer.refused(prefixed("", &"x".repeat(65)));
    assert!(code == 406 && text.ends_with("longer than 64 bytes"), "{text}");
    assert_eq!(peer.refused(prefixed("", "amq.")).0, 403);
}

#[test]
fn queues_come_back_with_their_type_and_options() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare(1, with("quorum", "x-max-length", int(5)));
    broker.restart();
    let queue = broker.broker().vhost("/").and_then(|vhost| vhost.queue("q")).expect("there");
    assert_eq!(QueueType::of(&queue.properties.arguments), QueueType::Quorum);
    let options = queue.options();
    assert_eq!((options.max_length, options.delivery_limit), (Some(5), Some(20)));
}
