//! From the protocol header to an open connection.

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::frame::PROTOCOL_HEADER;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;

use crate::support::*;

#[test]
fn another_protocol_is_told_ours_and_let_go() {
    let broker = TestBroker::start();
    for header in [b"AMQP\x03\x01\x00\x00", b"GET / HT", b"AMQP\x00\x00\x08\x00"] {
        let mut peer = broker.socket();
        peer.send_raw(header);
        assert_eq!(peer.receive_raw(8), PROTOCOL_HEADER);
        peer.expect_end();
    }
}

#[test]
fn start_names_the_nine_capabilities_and_both_mechanisms() {
    let broker = TestBroker::start();
    let start = broker.socket().expect_start();
    let capabilities = start.server_properties.get("capabilities");
    let capabilities = capabilities.and_then(FieldValue::as_table).expect("a table");
    for name in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ] {
        assert_eq!(capabilities.get(name), Some(&FieldValue::Bool(true)), "{name}");
    }
    assert_eq!(capabilities.len(), 9);
    assert_eq!((start.version_major, start.version_minor), (0, 9));
    assert_eq!(start.mechanisms, "PLAIN AMQPLAIN");
    assert_eq!(start.locales, "en_US");
}

#[test]
fn tune_offers_the_usual_limits() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    peer.start_ok("guest", "guest");
    let expected = ConnectionTune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
    assert_eq!(peer.receive(0), Method::from(expected));
}

#[test]
fn amqplain_opens_the_door_as_well() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    let mut response = BytesMut::new();
    table([("LOGIN", long("guest")), ("PASSWORD", long("guest"))]).encode(&mut response);
    peer.send(0, start_ok("AMQPLAIN", response.freeze().slice(4..)));
    assert!(matches!(peer.receive(0), Method::ConnectionTune(_)));
}

#[test]
fn a_wrong_password_is_told_to_those_who_understand() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    peer.start_ok("guest", "wrong");
    let close = peer.connection_close();
    assert_eq!(close.reply_code, 403);
    assert_eq!(
        close.reply_text,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see \
         the broker logfile."
    );
    assert_eq!((close.class_id, close.method_id), (10, 11));
}

#[test]
fn a_wrong_password_is_not_told_to_others() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    let response = Bytes::from_static(b"\0guest\0wrong");
    let mechanism = short("PLAIN");
    peer.send(0, ConnectionStartOk { mechanism, response, ..ConnectionStartOk::default() });
    peer.expect_end();
}

#[test]
fn broken_credentials_and_unknown_mechanisms_are_502_and_503() {
    let broker = TestBroker::start();
    for (mechanism, response, code) in
        [("PLAIN", "nothing", 502), ("AMQPLAIN", "\u{5}LOGIN", 502), ("EXTERNAL", "", 503)]
    {
        let mut peer = broker.socket();
        peer.expect_start();
        peer.send(0, start_ok(mechanism, Bytes::from_static(response.as_bytes())));
        assert_eq!(peer.expect_connection_close().0, code, "{mechanism}");
    }
}

#[test]
fn limits_may_be_lowered_but_not_raised() {
    let broker = TestBroker::start();
    let refused = [
        (
            2048,
            131_072,
            "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (0, 131_072, "negotiated channel_max = 0 is higher than the maximum allowed value (2047)"),
        (
            10,
            131_073,
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (10, 4095, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ];
    for (channel_max, frame_max, text) in refused {
        let mut peer = broker.socket();
        peer.open_with("guest", "/", ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        assert_eq!(peer.expect_connection_close(), (530, format!("NOT_ALLOWED - {text}")));
    }
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 1, frame_max: 4096, heartbeat: 0 };
    peer.open_with("guest", "/", tune_ok);
    assert_eq!(peer.receive(0), Method::from(ConnectionOpenOk));
}

#[test]
fn an_unknown_vhost_is_530() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
    peer.open_with("guest", "nowhere", tune_ok);
    let close = peer.connection_close();
    assert_eq!((close.reply_code, close.class_id, close.method_id), (530, 10, 40));
    assert_eq!(close.reply_text, "NOT_ALLOWED - vhost nowhere not found");
}

#[test]
fn a_method_out_of_turn_is_504() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    peer.send(0, ConnectionOpen { virtual_host: short("/") });
    assert_eq!(peer.expect_connection_close().0, 504);
}

#[test]
fn a_client_may_leave_during_the_handshake() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    peer.expect_start();
    assert!(matches!(peer.call(0, ConnectionClose::default()), Method::ConnectionCloseOk(_)));
    peer.expect_end();
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let broker = TestBroker::with(|config| config.amqp.handshake_timeout_seconds = 1);
    let mut peer = broker.socket();
    peer.expect_start();
    peer.expect_end();
}

#[test]
fn a_secret_may_be_renewed() {
    let broker = TestBroker::start();
    let mut peer = broker.peer();
    let update =
        ConnectionUpdateSecret { new_secret: Bytes::from_static(b"x"), reason: short("r") };
    assert_eq!(peer.call(0, update), Method::from(ConnectionUpdateSecretOk));
}

#[test]
fn heartbeats_go_both_ways() {
    let broker = TestBroker::start();
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 1 };
    peer.open_with("guest", "/", tune_ok);
    peer.receive(0);
    // The broker's come, and because none of ours do, it takes us for dead.
    let mut heartbeats = 0;
    while let Some(frame) = peer.next_frame() {
        assert_eq!(frame.kind, ferrymq::protocol::frame::FrameKind::Heartbeat);
        heartbeats += 1;
    }
    assert!(heartbeats >= 2, "{heartbeats} heartbeats");
}

#[test]
fn what_a_client_says_of_itself_is_kept_for_display() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let shown = broker.broker().registry.connections();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].client_properties.get("capabilities").is_some());
    assert_eq!((shown[0].user.as_str(), shown[0].vhost.as_str()), ("guest", "/"));
    peer.close();
}

#[test]
fn clients_are_told_when_the_broker_stops() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let told = std::thread::spawn(move || peer.expect_connection_close());
    broker.stop();
    let (code, text) = told.join().expect("told");
    assert_eq!(code, 320);
    assert!(text.starts_with("CONNECTION_FORCED - broker forced connection closure"), "{text}");
}
