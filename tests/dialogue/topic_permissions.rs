//! Which routing keys a user may use at a topic exchange.

use ferrymq::broker::UserChange;
use ferrymq::broker::auth::PasswordHash;
use ferrymq::broker::durable::Durable;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::definition::{PermissionDefinition, TopicPermissionDefinition};

use crate::support::*;

/// A broker whose user `limited` may write keys that begin with its name and bind by those that
/// begin with `news.`, at the exchange amq.topic.
fn with_limited_user() -> TestBroker {
    let broker = TestBroker::start();
    let within = broker.broker();
    let change = UserChange { password: Some(PasswordHash::of("secret")), tags: None };
    within.put_user("limited", change, None).and_then(Durable::wait_blocking).expect("stored");
    let [configure, write, read] = [".*"; 3].map(str::to_owned);
    let (user, vhost) = ("limited".to_owned(), "/".to_owned());
    let all = PermissionDefinition { user, vhost, configure, write, read };
    within.set_permissions(all, None).and_then(Durable::wait_blocking).expect("stored");
    let topics = TopicPermissionDefinition {
        user: "limited".to_owned(),
        vhost: "/".to_owned(),
        exchange: "amq.topic".to_owned(),
        write: "^{username}\\.".to_owned(),
        read: "^news\\.".to_owned(),
    };
    within.set_topic_permission(topics, None).and_then(Durable::wait_blocking).expect("stored");
    broker
}

fn limited(broker: &TestBroker) -> Peer {
    let mut peer = broker.socket();
    peer.open("limited");
    peer.open_channel(1);
    peer
}

fn refused(peer: &mut Peer, access: &str, key: &str) {
    let expected = format!(
        "ACCESS_REFUSED - {access} access to topic '{key}' in exchange 'amq.topic' in vhost '/' \
         refused for user 'limited'"
    );
    assert_eq!(peer.expect_channel_close(1), (403, expected));
    peer.open_channel(1);
}

#[test]
fn a_user_publishes_with_its_keys_only_and_at_other_exchanges_with_all() {
    let broker = with_limited_user();
    let mut guest = broker.channel();
    guest.declare_queue(1, "q");
    guest.bind(1, "q", "amq.topic", "#");
    guest.bind(1, "q", "amq.direct", "other");
    let mut peer = limited(&broker);
    for _ in 0..2 {
        peer.publish(1, "amq.topic", "limited.a", "m");
        peer.sync(1);
    }
    peer.publish(1, "amq.topic", "other", "m");
    refused(&mut peer, "write", "other");
    peer.publish(1, "amq.direct", "other", "m");
    peer.publish(1, "", "q", "m");
    peer.sync(1);
    guest.publish(1, "amq.topic", "other", "m");
    guest.wait_for_ready(1, "q", 5);
}

#[test]
fn every_key_of_a_message_is_looked_at_and_in_a_transaction_too() {
    let broker = with_limited_user();
    let mut peer = limited(&broker);
    let cc = FieldValue::Array(vec![long("limited.b"), long("elsewhere")]);
    let headers = Some(table([("CC", cc)]));
    let properties = Properties::from(&BasicProperties { headers, ..BasicProperties::default() });
    peer.publish_with(1, "amq.topic", "limited.a", b"m", &properties);
    refused(&mut peer, "write", "elsewhere");
    peer.call(1, TxSelect);
    peer.publish(1, "amq.topic", "elsewhere", "m");
    refused(&mut peer, "write", "elsewhere");
}

#[test]
fn a_user_binds_by_its_keys_only() {
    let broker = with_limited_user();
    let mut peer = limited(&broker);
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "amq.topic", "news.#");
    let bind = QueueBind {
        queue: short("q"),
        exchange: short("amq.topic"),
        routing_key: short("#"),
        ..QueueBind::default()
    };
    peer.send(1, bind.clone());
    refused(&mut peer, "read", "#");
    let (exchange, routing_key) = (bind.exchange, bind.routing_key);
    let unbind = QueueUnbind { queue: bind.queue, exchange, routing_key, ..QueueUnbind::default() };
    peer.send(1, unbind);
    refused(&mut peer, "read", "#");
}

#[test]
fn a_topic_permission_survives_a_restart_and_its_end_holds_at_once() {
    let mut broker = with_limited_user();
    broker.restart();
    let mut peer = limited(&broker);
    peer.publish(1, "amq.topic", "other", "m");
    refused(&mut peer, "write", "other");
    let within = broker.broker();
    let (was_there, durable) = within.clear_topic_permissions("limited", "/", None, None);
    durable.wait_blocking().expect("stored");
    assert!(was_there);
    peer.publish(1, "amq.topic", "other", "m");
    peer.sync(1);
    broker.restart();
    let mut peer = limited(&broker);
    peer.publish(1, "amq.topic", "other", "m");
    peer.sync(1);
}
