//! Channels: opening, closing, and what an error on one leaves of the others.

use ferrymq::protocol::generated::*;

use crate::support::*;

#[test]
fn a_channel_must_be_opened_and_only_once() {
    let broker = TestBroker::start();
    let mut peer = broker.peer();
    peer.send(1, BasicQos::default());
    let expected = (504, "CHANNEL_ERROR - expected 'channel.open'".to_owned());
    assert_eq!(peer.expect_connection_close(), expected);
    let mut peer = broker.channel();
    peer.send(1, ChannelOpen);
    let expected = (504, "CHANNEL_ERROR - second 'channel.open' seen".to_owned());
    assert_eq!(peer.expect_connection_close(), expected);
}

#[test]
fn more_channels_than_agreed_are_530() {
    let broker = TestBroker::with(|config| config.amqp.channel_max = 2);
    let mut peer = broker.peer();
    peer.open_channel(1);
    peer.open_channel(2);
    peer.send(3, ChannelOpen);
    let (code, text) = peer.expect_connection_close();
    assert_eq!(code, 530);
    assert!(
        text.contains("number of channels opened (2) has reached the negotiated channel_max (2)")
    );
}

#[test]
fn a_closed_channel_can_be_opened_again() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let closed = peer.call(1, ChannelClose { reply_code: 200, ..ChannelClose::default() });
    assert_eq!(closed, Method::from(ChannelCloseOk));
    peer.open_channel(1);
    peer.sync(1);
}

#[test]
fn a_soft_error_closes_its_channel_and_names_the_method() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.open_channel(2);
    peer.send(1, BasicGet { queue: short("missing"), no_ack: true });
    let Method::ChannelClose(close) = peer.receive(1) else { panic!("no close") };
    assert_eq!((close.reply_code, close.class_id, close.method_id), (404, 60, 70));
    assert_eq!(close.reply_text, "NOT_FOUND - no queue 'missing' in vhost '/'");
    peer.send(1, ChannelCloseOk);
    peer.sync(2);
}

#[test]
fn after_an_error_everything_is_dropped_until_close_ok() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.open_channel(2);
    peer.send(1, BasicAck { delivery_tag: 9, multiple: false });
    peer.send(1, QueueDeclare { queue: short("dropped"), ..QueueDeclare::default() });
    peer.publish(1, "", "dropped", "m");
    peer.send(1, BasicNack { delivery_tag: 8, ..BasicNack::default() });
    let (code, text) = peer.expect_channel_close(1);
    assert_eq!((code, text.as_str()), (406, "PRECONDITION_FAILED - unknown delivery tag 9"));
    peer.open_channel(1);
    let passive =
        QueueDeclare { queue: short("dropped"), passive: true, ..QueueDeclare::default() };
    peer.send(1, passive);
    assert_eq!(peer.expect_channel_close(1).0, 404);
    peer.sync(2);
}

#[test]
fn closes_that_cross_are_both_answered() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.send(1, BasicAck { delivery_tag: 9, multiple: false });
    peer.send(1, ChannelClose { reply_code: 200, ..ChannelClose::default() });
    assert!(matches!(peer.receive(1), Method::ChannelClose(_)));
    assert_eq!(peer.receive(1), Method::from(ChannelCloseOk));
    peer.send(1, ChannelCloseOk);
    peer.open_channel(1);
}

#[test]
fn flow_is_acknowledged_and_pausing_refused() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let answer = peer.call(1, ChannelFlow { active: true });
    assert_eq!(answer, Method::from(ChannelFlowOk { active: true }));
    peer.send(1, ChannelFlow { active: false });
    let expected = (540, "NOT_IMPLEMENTED - active=false".to_owned());
    assert_eq!(peer.expect_connection_close(), expected);
}

#[test]
fn old_clients_get_a_ticket() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let request = AccessRequest { realm: short("/data"), ..AccessRequest::default() };
    assert_eq!(peer.call(1, request), Method::from(AccessRequestOk { ticket: 1 }));
}

#[test]
fn a_connection_is_closed_in_order() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.close();
    peer.expect_end();
}
