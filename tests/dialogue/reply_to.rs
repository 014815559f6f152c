//! Direct reply-to: requests and replies without a queue for the replies.

use ferrymq::broker::durable::Durable;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::store::definition::PermissionDefinition;

use crate::support::*;

const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

fn consume(tag: &str, no_ack: bool) -> BasicConsume {
    let (queue, consumer_tag) = (short(PSEUDO_QUEUE), short(tag));
    BasicConsume { queue, consumer_tag, no_ack, ..BasicConsume::default() }
}

/// A client that waits for replies on channel 1.
fn requester(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    let consuming = peer.call(1, consume("replies", true));
    assert_eq!(consuming, Method::from(BasicConsumeOk { consumer_tag: short("replies") }));
    peer
}

fn replies_to(reply_to: &str) -> Properties {
    let (reply_to, correlation_id) = (Some(short(reply_to)), Some(short("7")));
    (&BasicProperties { reply_to, correlation_id, ..BasicProperties::default() }).into()
}

/// Sends a request and answers where its replies have to go.
fn address_of(requester: &mut Peer) -> String {
    requester.declare_queue(1, "requests");
    requester.publish_with(1, "", "requests", b"?", &replies_to(PSEUDO_QUEUE));
    let request = requester.get(1, "requests", true).expect("the request");
    let properties = request.properties.decode().expect("the broker's");
    assert_eq!(properties.correlation_id, Some(short("7")), "the others stay");
    properties.reply_to.expect("an address").to_string()
}

fn declare_passively(name: &str) -> QueueDeclare {
    QueueDeclare { queue: short(name), passive: true, ..QueueDeclare::default() }
}

fn mandatory(peer: &mut Peer, key: &str) {
    let publish =
        BasicPublish { routing_key: short(key), mandatory: true, ..BasicPublish::default() };
    peer.send(1, publish);
    peer.send_header(1, 0, &Properties::default());
}

#[test]
fn a_reply_comes_from_another_connection_without_a_queue() {
    let broker = TestBroker::start();
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    assert!(address.starts_with("amq.rabbitmq.reply-to.") && address.len() > 40, "{address}");
    let mut replier = broker.channel();
    replier.call(1, ConfirmSelect::default());
    replier.publish_with(1, "", &address, &[b'!'; 100_000], &replies_to("elsewhere"));
    assert_eq!(replier.receive(1), BasicAck { delivery_tag: 1, multiple: false }.into());
    let reply = requester.receive_content(1);
    let deliver = BasicDeliver {
        consumer_tag: short("replies"),
        // The request that was got had the first tag.
        delivery_tag: 2,
        redelivered: false,
        exchange: short(""),
        routing_key: short(&address),
    };
    assert_eq!(reply.method, deliver.into());
    assert_eq!(reply.properties, replies_to("elsewhere"));
    assert_eq!(reply.body, [b'!'; 100_000]);
}

#[test]
fn a_transaction_sends_replies_when_it_commits() {
    let broker = TestBroker::start();
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    let mut replier = broker.channel();
    replier.call(1, TxSelect);
    replier.publish(1, "", &address, "!");
    replier.sync(1);
    requester.expect_silence();
    assert_eq!(replier.call(1, TxCommit), TxCommitOk.into());
    assert_eq!(requester.delivery(1).2, "!");
}

#[test]
fn addresses_differ_and_a_reply_finds_its_own_channel() {
    let broker = TestBroker::start();
    let (mut one, mut other) = (requester(&broker), requester(&broker));
    let (first, second) = (address_of(&mut one), address_of(&mut other));
    assert_ne!(first, second);
    other.publish(1, "", &first, "for one");
    one.publish(1, "", &second, "for the other");
    assert_eq!(one.delivery(1).2, "for one");
    assert_eq!(other.delivery(1).2, "for the other");
}

#[test]
fn replies_do_not_cross_vhosts() {
    let broker = TestBroker::start();
    let all = || ".*".to_owned();
    let permissions = PermissionDefinition {
        user: "guest".to_owned(),
        vhost: "elsewhere".to_owned(),
        configure: all(),
        write: all(),
        read: all(),
    };
    broker.broker().put_vhost("elsewhere", None).and_then(Durable::wait_blocking).expect("stored");
    let permitted = broker.broker().set_permissions(permissions, None);
    permitted.and_then(Durable::wait_blocking).expect("stored");
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    let mut replier = broker.socket();
    let limits = ConnectionTuneOk { channel_max: 10, frame_max: FRAME_MAX, heartbeat: 0 };
    replier.open_with("guest", "elsewhere", limits);
    assert_eq!(replier.receive(0), ConnectionOpenOk.into());
    replier.open_channel(1);
    replier.publish(1, "", &address, "!");
    replier.sync(1);
    requester.expect_silence();
}

#[test]
fn consuming_needs_no_ack_and_is_once_a_channel() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let acks = "PRECONDITION_FAILED - reply consumer cannot acknowledge".to_owned();
    assert_eq!(peer.refused(consume("c", false)), (406, acks));
    peer.call(1, consume("c", true));
    let twice = "PRECONDITION_FAILED - reply consumer already set".to_owned();
    assert_eq!(peer.refused(consume("d", true)), (406, twice));
    peer.call(1, consume("c", true));
    peer.declare_queue(1, "q");
    peer.send(1, BasicConsume { queue: short("q"), ..consume("c", true) });
    let reuse = "NOT_ALLOWED - attempt to reuse consumer tag 'c'".to_owned();
    assert_eq!(peer.expect_connection_close(), (530, reuse));
}

#[test]
fn a_request_without_a_consumer_for_its_replies_is_refused() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "requests");
    let refused = "PRECONDITION_FAILED - fast reply consumer does not exist".to_owned();
    peer.publish_with(1, "", "requests", b"?", &replies_to(PSEUDO_QUEUE));
    assert_eq!(peer.expect_channel_close(1), (406, refused.clone()));
    // Nor when it was cancelled.
    peer.open_channel(1);
    peer.call(1, consume("c", true));
    peer.publish_with(1, "", "requests", b"?", &replies_to(PSEUDO_QUEUE));
    let cancelled = peer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    assert_eq!(cancelled, BasicCancelOk { consumer_tag: short("c") }.into());
    peer.publish_with(1, "", "requests", b"?", &replies_to(PSEUDO_QUEUE));
    assert_eq!(peer.expect_channel_close(1), (406, refused));
    peer.open_channel(1);
    assert_eq!(peer.ready(1, "requests"), 1);
}

#[test]
fn a_reply_that_nobody_waits_for_any_more_is_dropped_and_not_returned() {
    let broker = TestBroker::start();
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    let mut replier = broker.channel();
    replier.call(1, ConfirmSelect::default());
    requester.call(1, ChannelClose::default());
    mandatory(&mut replier, &address);
    assert_eq!(replier.receive(1), BasicAck { delivery_tag: 1, multiple: false }.into());
    // The pseudo-queue itself is no address.
    mandatory(&mut replier, PSEUDO_QUEUE);
    let Method::BasicReturn(returned) = replier.receive_content(1).method else {
        panic!("it is not returned")
    };
    assert_eq!(returned.reply_code, 312);
}

#[test]
fn an_address_can_be_declared_as_long_as_somebody_waits_there() {
    let broker = TestBroker::start();
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    let mut replier = broker.channel();
    for declare in [
        declare_passively(PSEUDO_QUEUE),
        declare_passively(&address),
        QueueDeclare { queue: short(&address), ..QueueDeclare::default() },
    ] {
        let name = declare.queue.clone();
        let there = QueueDeclareOk { queue: name, message_count: 0, consumer_count: 1 };
        assert_eq!(replier.declare(1, declare), there);
    }
    requester.close();
    let gone = format!("NOT_FOUND - no queue '{address}' in vhost '/'");
    assert_eq!(replier.refused(declare_passively(&address)), (404, gone.clone()));
    let declare = QueueDeclare { queue: short(&address), ..QueueDeclare::default() };
    assert_eq!(replier.refused(declare), (404, gone));
}

#[test]
fn reply_queues_can_not_be_bound() {
    let broker = TestBroker::start();
    let mut requester = requester(&broker);
    let address = address_of(&mut requester);
    for name in [PSEUDO_QUEUE, &address] {
        let (queue, exchange) = (short(name), short("amq.fanout"));
        let (code, text) = requester.refused(QueueBind { queue, exchange, ..QueueBind::default() });
        assert_eq!(code, 403, "{text}");
    }
}
