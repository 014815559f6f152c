//! Frames as three client libraries write them (pika 1.4.4, py-amqp 5.4.2, amqplib 2.3.1): they are
//! read as what was asked of the library, and written again they are the same bytes.

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::frame::{
    ContentHead, FrameDecoder, FrameKind, PROTOCOL_HEADER, encode_body_frame,
    encode_content_header, encode_heartbeat, encode_method,
};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::sasl::{parse_amqplain, parse_plain};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::ShortStr;

fn bytes(hex: &str) -> BytesMut {
    let digit = |index| u8::from_str_radix(&hex[index..index + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

struct Frame {
    channel: u16,
    kind: FrameKind,
    payload: Bytes,
}

fn frame(hex: &str) -> Frame {
    let mut frames = FrameDecoder::new(4096).take_whole(&mut bytes(hex)).expect("valid");
    let frame = frames.peek().expect("whole");
    let (channel, kind, payload) = (frame.channel, frame.kind, frame.shared_payload());
    frames.advance();
    assert!(frames.peek().is_none(), "it is one frame");
    Frame { channel, kind, payload }
}

fn method(hex: &str) -> Method {
    let frame = frame(hex);
    assert_eq!(frame.kind, FrameKind::Method);
    let method = Method::decode(&frame.payload).expect("valid");
    let mut out = BytesMut::new();
    encode_method(frame.channel, &method, &mut out);
    assert_eq!(out, bytes(hex), "written again");
    method
}

fn properties(hex: &str) -> BasicProperties {
    let frame = frame(hex);
    assert_eq!(frame.kind, FrameKind::Header);
    let head = ContentHead::decode(&frame.payload).expect("valid");
    assert_eq!((head.class_id, head.body_size), (60, 5));
    let properties = Properties::parse(Bytes::copy_from_slice(head.properties)).expect("valid");
    let decoded = properties.decode().expect("UTF-8");
    let mut out = BytesMut::new();
    let again = Properties::from(&decoded);
    encode_content_header(frame.channel, 5, again.as_bytes(), &mut out);
    assert_eq!(out, bytes(hex), "written again");
    decoded
}

fn short(text: &str) -> ShortStr {
    ShortStr::try_from(text).expect("short")
}

fn long(text: &str) -> FieldValue {
    FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes()))
}

fn table<const N: usize>(fields: [(&str, FieldValue); N]) -> FieldTable {
    fields.into_iter().map(|(name, value)| (short(name), value)).collect()
}

/// 3.14, as everybody writes it.
const PI: FieldValue = FieldValue::Decimal { scale: 2, value: 314 };

/// 2026-11-23, at midnight in UTC.
const TODAY: FieldValue = FieldValue::Timestamp(1_795_392_000);

#[test]
fn a_connection_opens_as_pika_opens_it() {
    assert_eq!(bytes("414d515000000901"), PROTOCOL_HEADER[..]);
    let tune_ok = method("0100000000000c000a001f07ff00020000003cce");
    let expected = ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
    assert_eq!(tune_ok, expected.into());
    let channel_open = method("010001000000050014000a00ce");
    assert_eq!(channel_open, ChannelOpen.into());
}

/// pika sets a bit that 0-9-1 reserves: it is not looked at, and written as zero.
#[test]
fn a_reserved_bit_is_not_looked_at() {
    let open = frame("01000000000008000a0028012f0001ce");
    let open = Method::decode(&open.payload).expect("valid");
    assert_eq!(open, ConnectionOpen { virtual_host: short("/") }.into());
    let mut out = BytesMut::new();
    encode_method(0, &open, &mut out);
    assert_eq!(out, bytes("01000000000008000a0028012f0000ce"));
}

#[test]
fn the_response_of_amqplib_to_plain_names_guest() {
    let start_ok = method(concat!(
        "01000000000059000a000b000000350770726f647563745300000001700c6361706162696c69746965734600",
        "000015127075626c69736865725f636f6e6669726d73740105504c41494e0000000c00677565737400677565",
        "737405656e5f5553ce",
    ));
    let Method::ConnectionStartOk(start_ok) = start_ok else { panic!("{start_ok:?}") };
    let capabilities =
        start_ok.client_properties.get("capabilities").and_then(FieldValue::as_table);
    let confirms = capabilities.expect("capabilities").get("publisher_confirms");
    assert_eq!(confirms.and_then(FieldValue::as_bool), Some(true));
    assert_eq!((&*start_ok.mechanism, &*start_ok.locale), ("PLAIN", "en_US"));
    let login = parse_plain(&start_ok.response).expect("valid");
    assert_eq!((&*login.user, &*login.password), ("guest", "guest"));
}

#[test]
fn the_response_of_py_amqp_to_amqplain_names_guest() {
    let start_ok = method(concat!(
        "01000000000052000a000b000000140770726f64756374530000000770792d616d717008414d51504c41494e",
        "00000023054c4f47494e530000000567756573740850415353574f5244530000000567756573740565",
        "6e5f5553ce",
    ));
    let Method::ConnectionStartOk(start_ok) = start_ok else { panic!("{start_ok:?}") };
    assert_eq!(start_ok.mechanism, "AMQPLAIN");
    let login = parse_amqplain(&start_ok.response).expect("valid");
    assert_eq!((&*login.user, &*login.password), ("guest", "guest"));
}

#[test]
fn every_type_that_amqplib_can_write_is_known() {
    let declare = method(concat!(
        "010001000000ca0032000a0000066f726465727302000000b8017353000000047465787402693862010369",
        "313673012c036933324900011170036936346c0000010000000000036e656762fb0166643ff80000000000",
        "0001627401016e56036275667800000002ff000361727241000000176201530000000374776f4600000008",
        "057468726565620302747354000000006553f1000364656344020000013a02666c663fc0000002627962ff",
        "02756242c802736873fed402757375ea6002756969ee6b2800026c6f6cffffffffffffffffce",
    ));
    let arguments = table([
        ("s", long("text")),
        ("i8", FieldValue::I8(1)),
        ("i16", FieldValue::I16(300)),
        ("i32", FieldValue::I32(70_000)),
        ("i64", FieldValue::I64(1 << 40)),
        ("neg", FieldValue::I8(-5)),
        ("f", FieldValue::F64(1.5)),
        ("b", FieldValue::Bool(true)),
        ("n", FieldValue::Void),
        ("buf", FieldValue::ByteArray(Bytes::from_static(&[255, 0]))),
        (
            "arr",
            FieldValue::Array(vec![
                FieldValue::I8(1),
                long("two"),
                FieldValue::Table(table([("three", FieldValue::I8(3))])),
            ]),
        ),
        ("ts", FieldValue::Timestamp(1_700_000_000)),
        ("dec", PI),
        ("fl", FieldValue::F32(1.5)),
        ("by", FieldValue::I8(-1)),
        ("ub", FieldValue::U8(200)),
        ("sh", FieldValue::I16(-300)),
        ("us", FieldValue::U16(60_000)),
        ("ui", FieldValue::U32(4_000_000_000)),
        ("lo", FieldValue::I64(-1)),
    ]);
    let queue = short("orders");
    let expected = QueueDeclare { queue, durable: true, arguments, ..QueueDeclare::default() };
    assert_eq!(declare, expected.into());
}

#[test]
fn a_queue_is_declared_as_pika_declares_it() {
    let declare = method(concat!(
        "010001000000b70032000a0000066f726465727302000000a50c782d6d61782d6c656e67746849000003e816",
        "782d646561642d6c65747465722d65786368616e67655300000003646c7805782d6269676c00000100000000",
        "0006782d666c6167740106782d6e6f6e655606782d6c697374410000001d4900000001530000000374776f46",
        "0000000b057468726565490000000306782d74696d6554000000006b03820005782d64656344020000013a07",
        "782d62797465737800000002ff00ce",
    ));
    let list = vec![
        FieldValue::I32(1),
        long("two"),
        FieldValue::Table(table([("three", FieldValue::I32(3))])),
    ];
    let arguments = table([
        ("x-max-length", FieldValue::I32(1000)),
        ("x-dead-letter-exchange", long("dlx")),
        ("x-big", FieldValue::I64(1 << 40)),
        ("x-flag", FieldValue::Bool(true)),
        ("x-none", FieldValue::Void),
        ("x-list", FieldValue::Array(list)),
        ("x-time", TODAY),
        ("x-dec", PI),
        ("x-bytes", FieldValue::ByteArray(Bytes::from_static(&[255, 0]))),
    ]);
    let queue = short("orders");
    let expected = QueueDeclare { queue, durable: true, arguments, ..QueueDeclare::default() };
    assert_eq!(declare, expected.into());
}

/// It writes large integers with the specification's own tag, which nearly nobody else does.
#[test]
fn a_queue_is_bound_as_py_amqp_binds_it() {
    let bind = method(concat!(
        "01000100000094003200140000066f72646572730b616d712e6865616465727300000000007507782d6d6174",
        "63685300000003616e79016e4900000001036269674c00000100000000000166643ff8000000000000017474",
        "01046e6f6e6556047768656e54000000006b0382000364656344020000013a046c697374410000000d490000",
        "0001530000000374776f0562797465735300000002ff00ce",
    ));
    let arguments = table([
        ("x-match", long("any")),
        ("n", FieldValue::I32(1)),
        ("big", FieldValue::LongLong(1 << 40)),
        ("f", FieldValue::F64(1.5)),
        ("t", FieldValue::Bool(true)),
        ("none", FieldValue::Void),
        ("when", TODAY),
        ("dec", PI),
        ("list", FieldValue::Array(vec![FieldValue::I32(1), long("two")])),
        ("bytes", FieldValue::LongStr(Bytes::from_static(&[255, 0]))),
    ]);
    let (queue, exchange) = (short("orders"), short("amq.headers"));
    assert_eq!(bind, QueueBind { queue, exchange, arguments, ..QueueBind::default() }.into());
}

#[test]
fn bits_stand_where_each_library_puts_them() {
    let publish = BasicPublish { exchange: short("amq.topic"), ..BasicPublish::default() };
    let publish = BasicPublish { routing_key: short("a.b"), mandatory: true, ..publish };
    let pika = "01000100000015003c0028000009616d712e746f70696303612e6201ce";
    assert_eq!(method(pika), publish.into());

    let publish = BasicPublish { exchange: short("ex"), ..BasicPublish::default() };
    let publish = BasicPublish { routing_key: short("rk"), immediate: true, ..publish };
    assert_eq!(method("0100010000000d003c0028000002657802726b02ce"), publish.into());

    let declare = ExchangeDeclare { exchange: short("logs"), ..ExchangeDeclare::default() };
    let declare = ExchangeDeclare { kind: short("topic"), durable: true, ..declare };
    let declare = ExchangeDeclare { auto_delete: true, internal: true, ..declare };
    let amqplib = "010001000000160028000a0000046c6f677305746f7069630e00000000ce";
    assert_eq!(method(amqplib), declare.into());

    let (queue, consumer_tag) = (short("orders"), short("c1"));
    let consume = BasicConsume { queue, consumer_tag, exclusive: true, ..BasicConsume::default() };
    let pika = "01000100000015003c00140000066f72646572730263310400000000ce";
    assert_eq!(method(pika), consume.into());

    let arguments = table([("x-priority", FieldValue::I8(10))]);
    let queue = short("orders");
    let consume = BasicConsume { queue, no_ack: true, arguments, ..BasicConsume::default() };
    let amqplib =
        "01000100000020003c00140000066f726465727300020000000d0a782d7072696f72697479620ace";
    assert_eq!(method(amqplib), consume.into());
}

#[test]
fn messages_are_settled_and_channels_closed_as_clients_do() {
    let nack = BasicNack { delivery_tag: 7, multiple: true, requeue: false };
    assert_eq!(method("0100010000000d003c0078000000000000000701ce"), nack.into());
    let ack = BasicAck { delivery_tag: (1 << 53) - 1, multiple: true };
    assert_eq!(method("0100030000000d003c0050001fffffffffffff01ce"), ack.into());
    let close = ChannelClose { reply_code: 200, ..ChannelClose::default() };
    let close = ChannelClose { reply_text: short("Goodbye"), ..close };
    assert_eq!(method("010001000000120014002800c807476f6f6462796500000000ce"), close.into());
}

#[test]
fn the_properties_of_a_message_from_pika_come_in_their_order() {
    let found = properties(concat!(
        "02000100000045003c00000000000000000005bff80a746578742f706c61696e00000008016b530000000176",
        "020501630172053630303030016d000000006553f10001740567756573740161ce",
    ));
    let text = |text| Some(short(text));
    let expected = BasicProperties {
        content_type: text("text/plain"),
        headers: Some(table([("k", long("v"))])),
        delivery_mode: Some(2),
        priority: Some(5),
        correlation_id: text("c"),
        reply_to: text("r"),
        expiration: text("60000"),
        message_id: text("m"),
        timestamp: Some(1_700_000_000),
        kind: text("t"),
        user_id: text("guest"),
        app_id: text("a"),
        ..BasicProperties::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn the_properties_of_a_message_from_amqplib_come_in_their_order() {
    let found = properties(concat!(
        "0200010000002e003c00000000000000000005b180106170706c69636174696f6e2f6a736f6e00000004016b",
        "62010203313030016dce",
    ));
    let expected = BasicProperties {
        content_type: Some(short("application/json")),
        headers: Some(table([("k", FieldValue::I8(1))])),
        delivery_mode: Some(2),
        expiration: Some(short("100")),
        message_id: Some(short("m")),
        ..BasicProperties::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn bodies_and_heartbeats_are_written_as_pika_writes_them() {
    let body = "0300010000000568656c6c6fce";
    let found = frame(body);
    assert_eq!(
        (found.kind, found.channel, &found.payload[..]),
        (FrameKind::Body, 1, &b"hello"[..])
    );
    let mut out = BytesMut::new();
    encode_body_frame(1, b"hello", &mut out);
    assert_eq!(out, bytes(body));

    let heartbeat = "08000000000000ce";
    assert_eq!(frame(heartbeat).kind, FrameKind::Heartbeat);
    let mut out = BytesMut::new();
    encode_heartbeat(&mut out);
    assert_eq!(out, bytes(heartbeat));
}
