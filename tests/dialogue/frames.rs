//! Frames that are broken, misplaced or too large cost the connection they came on, and no other.

use bytes::{BufMut, BytesMut};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

/// What comes back for bytes on a connection with channel 1 open; another connection goes on.
fn answer_to(bytes: &[u8]) -> (u16, String) {
    let broker = TestBroker::start();
    let mut witness = broker.channel();
    let mut peer = broker.channel();
    peer.send_raw(bytes);
    let answer = peer.expect_connection_close();
    witness.declare_queue(1, "unharmed");
    answer
}

#[test]
fn a_wrong_end_an_unknown_type_and_a_large_frame_are_501() {
    assert_eq!(answer_to(b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0a\xff").0, 501);
    assert_eq!(answer_to(b"\x09\x00\x01\x00\x00\x00\x00\xce").0, 501);
    assert_eq!(answer_to(b"\x03\x00\x01\x00\x20\x00\x00").0, 501);
}

#[test]
fn a_heartbeat_on_a_channel_is_505() {
    assert_eq!(answer_to(b"\x08\x00\x01\x00\x00\x00\x00\xce").0, 505);
}

#[test]
fn an_unknown_method_is_503_and_a_broken_one_502() {
    let (code, text) = answer_to(b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x03\xe7\xce");
    assert_eq!((code, text.as_str()), (503, "COMMAND_INVALID - unknown method 999 of class 60"));
    assert_eq!(answer_to(b"\x01\x00\x01\x00\x00\x00\x05\x00\x3c\x00\x0a\x00\xce").0, 502);
}

#[test]
fn a_connection_method_on_a_channel_is_503_and_a_channel_method_on_the_connection_504() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.send(1, ConnectionOpen { virtual_host: short("/") });
    assert_eq!(peer.expect_connection_close().0, 503);
    let mut peer = broker.channel();
    peer.send(0, BasicQos::default());
    assert_eq!(peer.expect_connection_close().0, 504);
    let mut peer = broker.channel();
    peer.send_body(0, b"x");
    assert_eq!(peer.expect_connection_close().0, 505);
}

#[test]
fn content_in_the_wrong_order_is_505() {
    let publish = BasicPublish { routing_key: short("k"), ..BasicPublish::default() };
    let wrong: [&dyn Fn(&mut Peer); 5] = [
        &|peer| peer.send_header(1, 1, &Properties::default()),
        &|peer| peer.send_body(1, b"x"),
        &|peer| {
            peer.send(1, publish.clone());
            peer.send_body(1, b"x");
        },
        &|peer| {
            peer.send(1, publish.clone());
            peer.send(1, publish.clone());
        },
        &|peer| {
            peer.send(1, publish.clone());
            peer.send_header(1, 5, &Properties::default());
            peer.send_header(1, 5, &Properties::default());
        },
    ];
    let broker = TestBroker::start();
    for send in wrong {
        let mut peer = broker.channel();
        send(&mut peer);
        assert_eq!(peer.expect_connection_close().0, 505);
    }
}

#[test]
fn a_header_with_a_weight_or_of_another_class_is_505() {
    let broker = TestBroker::start();
    for (class, weight) in [(60u16, 1u16), (10, 0)] {
        let mut peer = broker.channel();
        peer.send(1, BasicPublish::default());
        let mut frame = BytesMut::new();
        frame.put_slice(b"\x02\x00\x01\x00\x00\x00\x0e");
        frame.put_u16(class);
        frame.put_u16(weight);
        frame.put_u64(0);
        frame.put_u16(0);
        frame.put_u8(0xce);
        peer.send_raw(&frame);
        assert_eq!(peer.expect_connection_close().0, 505);
    }
}

#[test]
fn a_body_longer_than_its_header_said_is_501() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.send(1, BasicPublish::default());
    peer.send_header(1, 3, &Properties::default());
    peer.send_body(1, b"four");
    assert_eq!(peer.expect_connection_close().0, 501);
}

#[test]
fn tables_nested_too_deep_are_502() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let deep = (0..40).fold(table([]), |inner, _| table([("t", FieldValue::Table(inner))]));
    let queue = short("deep");
    peer.send(1, QueueDeclare { queue, arguments: deep, ..QueueDeclare::default() });
    assert_eq!(peer.expect_connection_close().0, 502);
}

#[test]
fn a_message_above_the_limit_is_refused_at_its_header() {
    let broker = TestBroker::with(|config| config.amqp.message_size_max_bytes = 1000);
    let mut peer = broker.channel();
    peer.send(1, BasicPublish { routing_key: short("k"), ..BasicPublish::default() });
    peer.send_header(1, 1001, &Properties::default());
    let text = "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000";
    assert_eq!(peer.receive(1), {
        let (class_id, method_id) = (0, 0);
        Method::from(ChannelClose { reply_code: 406, reply_text: short(text), class_id, method_id })
    });
    // Its body is on the way already: it is dropped, and the connection goes on.
    peer.send_body(1, &[0; 1001]);
    peer.send(1, ChannelCloseOk);
    peer.open_channel(1);
    peer.declare_queue(1, "unharmed");

    let mut peer = broker.channel();
    peer.send(1, BasicPublish::default());
    peer.send_header(1, 1 << 40, &Properties::default());
    assert_eq!(peer.expect_connection_close().0, 501);
}

#[test]
fn a_large_body_comes_back_cut_by_the_clients_frame_max() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
    peer.open_with("guest", "/", tune_ok);
    peer.receive(0);
    peer.open_channel(1);
    peer.declare_queue(1, "large");
    let body: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
    peer.send(1, BasicPublish { routing_key: short("large"), ..BasicPublish::default() });
    peer.send_header(1, body.len() as u64, &Properties::default());
    body.chunks(4088).for_each(|chunk| peer.send_body(1, chunk));
    peer.send(1, BasicGet { queue: short("large"), no_ack: true });
    assert!(matches!(peer.receive(1), Method::BasicGetOk(_)));
    let mut found = Vec::new();
    peer.next_frame().expect("the header");
    while found.len() < body.len() {
        let frame = peer.next_frame().expect("a body frame");
        assert!(frame.payload.len() <= 4088);
        found.extend_from_slice(&frame.payload);
    }
    assert!(found == body);
}

#[test]
fn every_type_of_header_comes_back_as_it_was() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "types");
    let inner = table([("k", FieldValue::Void)]);
    let headers = table([
        ("t", FieldValue::Bool(true)),
        ("b", FieldValue::I8(-1)),
        ("B", FieldValue::U8(200)),
        ("s", FieldValue::I16(-300)),
        ("u", FieldValue::U16(60_000)),
        ("I", FieldValue::I32(-70_000)),
        ("i", FieldValue::U32(4_000_000_000)),
        ("l", FieldValue::I64(-(1 << 40))),
        ("L", FieldValue::LongLong(1 << 41)),
        ("f", FieldValue::F32(1.5)),
        ("d", FieldValue::F64(-2.25)),
        ("D", FieldValue::Decimal { scale: 2, value: 314 }),
        ("S", long("text")),
        ("x", FieldValue::ByteArray(bytes::Bytes::from_static(&[0, 255]))),
        ("A", FieldValue::Array(vec![FieldValue::I32(1), long("two"), FieldValue::Void])),
        ("T", FieldValue::Timestamp(1_700_000_000)),
        ("F", FieldValue::Table(inner)),
        ("V", FieldValue::Void),
    ]);
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
    peer.publish_with(1, "", "types", b"m", &(&properties).into());
    let got = peer.get(1, "types", true).expect("there");
    assert_eq!(got.properties.decode().expect("valid"), properties);
}
