//! Exchanges: declaring, deleting, binding, and which messages go where.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;

use crate::support::*;

fn declare(name: &str, kind: &str) -> ExchangeDeclare {
    ExchangeDeclare { exchange: short(name), kind: short(kind), ..ExchangeDeclare::default() }
}

fn declared(peer: &mut Peer, declare: ExchangeDeclare) {
    assert_eq!(peer.call(1, declare), Method::from(ExchangeDeclareOk));
}

fn bodies(peer: &mut Peer, queue: &str) -> Vec<String> {
    std::iter::from_fn(|| peer.get(1, queue, true))
        .map(|content| String::from_utf8(content.body).expect("text"))
        .collect()
}

#[test]
fn the_predeclared_exchanges_are_there_and_stay() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        declared(&mut peer, ExchangeDeclare { durable: true, ..declare(name, kind) });
        let delete = ExchangeDelete { exchange: short(name), ..ExchangeDelete::default() };
        assert_eq!(peer.refused(delete).0, 403);
    }
}

#[test]
fn a_second_declare_must_agree() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, declare("x", "direct"));
    declared(&mut peer, declare("x", "direct"));
    let differing = [
        (
            declare("x", "fanout"),
            "'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'",
        ),
        (
            ExchangeDeclare { durable: true, ..declare("x", "direct") },
            "'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            ExchangeDeclare { internal: true, ..declare("x", "direct") },
            "'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            ExchangeDeclare {
                arguments: table([("alternate-exchange", long("y"))]),
                ..declare("x", "direct")
            },
            "'alternate-exchange' for exchange 'x' in vhost '/': received the value 'y' of type \
             'longstr' but current is none",
        ),
    ];
    for (request, text) in differing {
        let expected = format!("PRECONDITION_FAILED - inequivalent arg {text}");
        assert_eq!(peer.refused(request), (406, expected));
    }
}

#[test]
fn names_and_types_are_checked() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let reserved = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
    assert_eq!(peer.refused(declare("amq.mine", "direct")), (403, reserved.to_owned()));
    let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
    assert_eq!(peer.refused(declare("", "direct")), (403, default.to_owned()));
    let (code, text) = peer.refused(declare("x", "round"));
    assert_eq!(code, 406);
    assert!(text.starts_with("PRECONDITION_FAILED - unknown exchange type 'round'"), "{text}");
    let passive = ExchangeDeclare { passive: true, ..declare("missing", "") };
    let missing = "NOT_FOUND - no exchange 'missing' in vhost '/'";
    assert_eq!(peer.refused(passive), (404, missing.to_owned()));
    // Line ends are not part of a name.
    declared(&mut peer, declare("line\r\n", "direct"));
    declared(&mut peer, ExchangeDeclare { passive: true, ..declare("line", "") });
}

#[test]
fn deleting_is_idempotent_and_heeds_if_unused() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let delete = |if_unused| ExchangeDelete { exchange: short("x"), if_unused, no_wait: false };
    assert_eq!(peer.call(1, delete(false)), Method::from(ExchangeDeleteOk));
    declared(&mut peer, declare("x", "fanout"));
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "x", "");
    let text = "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use";
    assert_eq!(peer.refused(delete(true)), (406, text.to_owned()));
    assert_eq!(peer.call(1, delete(false)), Method::from(ExchangeDeleteOk));
    peer.send(1, BasicPublish { exchange: short("x"), ..BasicPublish::default() });
    peer.send_header(1, 0, &Properties::default());
    assert_eq!(peer.expect_channel_close(1).0, 404);
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, ExchangeDeclare { auto_delete: true, ..declare("x", "fanout") });
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "x", "");
    let unbind = QueueUnbind { queue: short("q"), exchange: short("x"), ..QueueUnbind::default() };
    assert_eq!(peer.call(1, unbind.clone()), Method::from(QueueUnbindOk));
    let passive = ExchangeDeclare { passive: true, ..declare("x", "") };
    assert_eq!(peer.refused(passive).0, 404);
    // Unbinding what is gone is fine.
    assert_eq!(peer.call(1, unbind), Method::from(QueueUnbindOk));
}

#[test]
fn an_internal_exchange_takes_no_publishes_but_bindings() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, ExchangeDeclare { internal: true, ..declare("inside", "fanout") });
    declared(&mut peer, declare("outside", "fanout"));
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "inside", "");
    let (destination, source) = (short("inside"), short("outside"));
    let bind = ExchangeBind { destination, source, ..ExchangeBind::default() };
    assert_eq!(peer.call(1, bind), Method::from(ExchangeBindOk));
    peer.publish(1, "outside", "k", "through");
    peer.wait_for_ready(1, "q", 1);
    peer.publish(1, "inside", "k", "refused");
    let text = "ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'";
    assert_eq!(peer.expect_channel_close(1), (403, text.to_owned()));
}

#[test]
fn topics_route_by_words() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    for key in ["a.*.c", "#.z", "exact"] {
        peer.bind(1, "q", "amq.topic", key);
    }
    for key in ["a.b.c", "a.c", "z", "x.y.z", "exact", "exactly", "a.b.c.z", ""] {
        peer.publish(1, "amq.topic", key, key);
    }
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "q"), ["a.b.c", "z", "x.y.z", "exact", "a.b.c.z"]);
}

#[test]
fn headers_route_by_what_they_hold() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let bind = |arguments: FieldTable| QueueBind {
        queue: short("q"),
        exchange: short("amq.headers"),
        arguments,
        ..QueueBind::default()
    };
    let any = table([("x-match", long("any")), ("a", long("1")), ("b", long("2"))]);
    assert_eq!(peer.call(1, bind(any)), Method::from(QueueBindOk));
    for (body, headers) in [
        ("first", table([("a", long("1"))])),
        ("neither", table([("a", long("2"))])),
        ("second", table([("b", long("2")), ("c", long("3"))])),
    ] {
        let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
        peer.publish_with(1, "amq.headers", "", body.as_bytes(), &(&properties).into());
    }
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "q"), ["first", "second"]);
}

#[test]
fn a_queue_gets_one_copy_however_many_ways_lead_to_it() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    declared(&mut peer, declare("a", "fanout"));
    declared(&mut peer, declare("b", "fanout"));
    for (destination, source) in [("b", "a"), ("a", "b")] {
        let (destination, source) = (short(destination), short(source));
        let bind = ExchangeBind { destination, source, ..ExchangeBind::default() };
        assert_eq!(peer.call(1, bind), Method::from(ExchangeBindOk));
    }
    peer.bind(1, "q", "a", "1");
    peer.bind(1, "q", "a", "2");
    peer.bind(1, "q", "b", "");
    peer.publish(1, "a", "k", "once");
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "q"), ["once"]);
    let (destination, source) = (short("b"), short("a"));
    let unbind = ExchangeUnbind { destination, source, ..ExchangeUnbind::default() };
    assert_eq!(peer.call(1, unbind), Method::from(ExchangeUnbindOk));
}

#[test]
fn what_finds_no_way_takes_the_alternate_exchange() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    declared(&mut peer, declare("spare", "fanout"));
    let arguments = table([("alternate-exchange", long("spare"))]);
    declared(&mut peer, ExchangeDeclare { arguments, ..declare("x", "direct") });
    peer.declare_queue(1, "known");
    peer.declare_queue(1, "unknown");
    peer.bind(1, "known", "x", "k");
    peer.bind(1, "unknown", "spare", "");
    peer.publish(1, "x", "k", "straight");
    peer.publish(1, "x", "other", "around");
    peer.sync(1);
    assert_eq!(bodies(&mut peer, "known"), ["straight"]);
    assert_eq!(bodies(&mut peer, "unknown"), ["around"]);
}

#[test]
fn bindings_need_their_ends_and_leave_the_default_exchange_alone() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let bind = |queue: &str, exchange: &str| QueueBind {
        queue: short(queue),
        exchange: short(exchange),
        ..QueueBind::default()
    };
    let (code, text) = peer.refused(bind("q", "missing"));
    assert_eq!((code, text.as_str()), (404, "NOT_FOUND - no exchange 'missing' in vhost '/'"));
    let (code, text) = peer.refused(bind("missing", "amq.direct"));
    assert_eq!((code, text.as_str()), (404, "NOT_FOUND - no queue 'missing' in vhost '/'"));
    assert_eq!(peer.refused(bind("q", "")).0, 403);
}
