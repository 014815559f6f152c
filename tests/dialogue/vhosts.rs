//! The end of a vhost: nothing of it is left, in memory or on disk.

use std::sync::Arc;

use ferrymq::broker::durable::Durable;
use ferrymq::broker::limit::{LimitOf, MAX_QUEUES};
use ferrymq::broker::policy::matching::PolicyKind;
use ferrymq::broker::{Broker, BrokerSettings};
use ferrymq::protocol::generated::*;
use ferrymq::store::StoreSettings;
use ferrymq::store::definition::{
    ParameterDefinition, PermissionDefinition, PolicyDefinition, TopicPermissionDefinition,
    VhostDefinition,
};
use ferrymq::store::simulated::{Fault, SimulatedDisk};
use serde_json::json;

use crate::support::*;

const SHOP: LimitOf<'_> = LimitOf::Vhost("shop");

fn permissions() -> PermissionDefinition {
    let [configure, write, read] = [".*"; 3].map(str::to_owned);
    let (user, vhost) = ("guest".to_owned(), "shop".to_owned());
    PermissionDefinition { user, vhost, configure, write, read }
}

fn stored(change: Result<Durable, ferrymq::broker::error::Error>) {
    change.and_then(Durable::wait_blocking).expect("stored");
}

fn open_shop(broker: &Broker) {
    stored(broker.put_vhost("shop", None));
    stored(broker.set_permissions(permissions(), None));
}

fn delete_shop(broker: &Broker) {
    let (was_there, durable) = broker.delete_vhost("shop", None).expect("it is not protected");
    assert!(was_there);
    durable.wait_blocking().expect("stored");
}

/// Everything that can be said of a vhost, beside what is in it.
fn say_everything(broker: &Broker) {
    stored(broker.set_limit(SHOP, MAX_QUEUES, 100, None));
    let parameter = ParameterDefinition {
        vhost: "shop".to_owned(),
        component: "shovel".to_owned(),
        name: "s".to_owned(),
        value: json!({}),
    };
    stored(broker.put_parameter(parameter, None));
    let topics = TopicPermissionDefinition {
        user: "guest".to_owned(),
        vhost: "shop".to_owned(),
        exchange: "amq.topic".to_owned(),
        write: ".*".to_owned(),
        read: ".*".to_owned(),
    };
    stored(broker.set_topic_permission(topics, None));
    let shop = broker.vhost("shop").expect("there");
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        let policy = PolicyDefinition {
            vhost: "shop".to_owned(),
            name: "p".to_owned(),
            pattern: ".*".to_owned(),
            apply_to: "queues".to_owned(),
            priority: 0,
            definition: json!({"max-length": 5}).as_object().cloned().unwrap_or_default(),
        };
        stored(shop.put_policy(kind, policy, None));
    }
}

fn socket_in_shop(broker: &TestBroker) -> Peer {
    let mut peer = broker.socket();
    let limits = ConnectionTuneOk { channel_max: 10, frame_max: 131_072, heartbeat: 0 };
    peer.open_with("guest", "shop", limits);
    peer
}

fn channel_in_shop(broker: &TestBroker) -> Peer {
    let mut peer = socket_in_shop(broker);
    assert_eq!(peer.receive(0), ConnectionOpenOk.into());
    peer.open_channel(1);
    peer
}

/// A durable queue with a message, bound to a durable exchange.
fn fill(peer: &mut Peer) {
    peer.declare(1, QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() });
    let exchange = ExchangeDeclare {
        exchange: short("x"),
        kind: short("x-delayed-message"),
        durable: true,
        arguments: table([("x-delayed-type", long("direct"))]),
        ..ExchangeDeclare::default()
    };
    peer.call(1, exchange);
    peer.bind(1, "q", "x", "k");
    peer.publish_with(1, "x", "k", b"m", &persistent());
    peer.wait_for_ready(1, "q", 1);
}

/// The vhost is there again, and has nothing of the one that was.
fn expect_new(broker: &TestBroker) {
    let shop = broker.broker().vhost("shop").expect("there");
    assert!(shop.queues().is_empty() && shop.exchange("x").is_none());
    assert_eq!(shop.exchanges().len(), 7);
    assert!(shop.policies(PolicyKind::User).is_empty());
    assert!(shop.policies(PolicyKind::Operator).is_empty());
    assert_eq!(broker.broker().limits(SHOP), Ok(Vec::new()));
    assert!(broker.broker().parameters().is_empty());
    let guest = broker.broker().user("guest").expect("there");
    assert!(guest.topic_permissions().is_empty());
    assert!(guest.permissions().iter().all(|permission| permission.vhost == "/"));
}

#[test]
fn a_vhost_that_is_made_anew_has_nothing_of_the_one_that_was_deleted() {
    let mut broker = TestBroker::start();
    open_shop(broker.broker());
    let mut peer = channel_in_shop(&broker);
    fill(&mut peer);
    say_everything(broker.broker());
    delete_shop(broker.broker());
    let text = "CONNECTION_FORCED - vhost 'shop' is deleted";
    assert_eq!(peer.expect_connection_close(), (320, text.to_owned()));
    peer.send(0, ConnectionCloseOk);
    let mut peer = socket_in_shop(&broker);
    let text = "NOT_ALLOWED - vhost shop not found";
    assert_eq!(peer.expect_connection_close(), (530, text.to_owned()));
    stored(broker.broker().put_vhost("shop", None));
    expect_new(&broker);
    broker.restart();
    expect_new(&broker);
    // A binding of old would lead there.
    stored(broker.broker().set_permissions(permissions(), None));
    let mut peer = channel_in_shop(&broker);
    fill(&mut peer);
    assert_eq!(peer.ready(1, "q"), 1);
}

#[test]
fn other_connections_go_on_and_a_consumer_hears_why_it_ends() {
    let broker = TestBroker::start();
    open_shop(broker.broker());
    let mut elsewhere = broker.channel();
    elsewhere.declare_queue(1, "q");
    let mut consumer = channel_in_shop(&broker);
    consumer.declare_queue(1, "q");
    consumer.consume(1, "q", "c");
    delete_shop(broker.broker());
    assert_eq!(consumer.expect_connection_close().0, 320);
    elsewhere.publish(1, "", "q", "m");
    elsewhere.wait_for_ready(1, "q", 1);
    let (was_there, _) = broker.broker().delete_vhost("shop", None).expect("not protected");
    assert!(!was_there);
}

#[test]
fn who_holds_a_deleted_vhost_can_put_nothing_in() {
    let broker = TestBroker::start();
    open_shop(broker.broker());
    let shop = broker.broker().vhost("shop").expect("there");
    delete_shop(broker.broker());
    let policy = PolicyDefinition {
        vhost: "shop".to_owned(),
        name: "p".to_owned(),
        pattern: String::new(),
        apply_to: "all".to_owned(),
        priority: 0,
        definition: json!({"max-length": 5}).as_object().cloned().unwrap_or_default(),
    };
    let refused = shop.put_policy(PolicyKind::User, policy, None).err().expect("it is gone");
    assert_eq!((refused.code.code(), refused.text.as_str()), (320, "vhost 'shop' is deleted"));
    let refused = broker.broker().set_permissions(permissions(), None).err().expect("it is gone");
    assert_eq!((refused.code.code(), refused.text.as_str()), (404, "no vhost 'shop'"));
}

#[test]
fn a_protected_vhost_is_not_deleted() {
    let mut broker = TestBroker::start();
    let shop = |protected_from_deletion| VhostDefinition {
        name: "shop".to_owned(),
        protected_from_deletion,
        ..VhostDefinition::default()
    };
    stored(broker.broker().put_vhost_with(shop(true), None));
    broker.restart();
    let refused = broker.broker().delete_vhost("shop", None).err().expect("protected");
    let text = "vhost 'shop' is protected from deletion: take the protection back first";
    assert_eq!((refused.code.code(), refused.text.as_str()), (406, text));
    stored(broker.broker().put_vhost_with(shop(false), None));
    delete_shop(broker.broker());
}

#[test]
fn the_event_exchange_comes_back_with_its_vhost() {
    let broker = TestBroker::start();
    let within = broker.broker();
    let (was_there, durable) = within.delete_vhost("/", None).expect("not protected");
    durable.wait_blocking().expect("stored");
    assert!(was_there);
    stored(within.put_vhost("/", None));
    stored(
        within.set_permissions(PermissionDefinition { vhost: "/".into(), ..permissions() }, None),
    );
    let mut peer = broker.channel();
    peer.declare_queue(1, "events");
    peer.bind(1, "events", "amq.rabbitmq.event", "vhost.deleted");
    open_shop(within);
    delete_shop(within);
    peer.wait_for_ready(1, "events", 1);
}

fn open(disk: &SimulatedDisk) -> Arc<Broker> {
    let opened = disk.open_store(&StoreSettings::default()).expect("opened");
    Broker::open(opened, BrokerSettings::default()).expect("opened")
}

/// Whether all of the shop is there; the other choice is nothing.
fn is_whole(broker: &Broker) -> bool {
    let guest = broker.user("guest").expect("there");
    let permissions = guest.permissions().len() - 1;
    let Some(shop) = broker.vhost("shop") else {
        assert_eq!((permissions, guest.topic_permissions().len()), (0, 0));
        assert!(broker.parameters().is_empty());
        return false;
    };
    assert_eq!((permissions, guest.topic_permissions().len()), (1, 1));
    assert_eq!(shop.policies(PolicyKind::User).len(), 1);
    assert_eq!(broker.limits(SHOP), Ok(vec![(MAX_QUEUES, 100)]));
    true
}

#[test]
fn after_a_power_cut_all_of_a_deleted_vhost_is_there_or_nothing() {
    for fault in [None, Some(Fault::Fails)] {
        let disk = SimulatedDisk::new();
        let broker = open(&disk);
        open_shop(&broker);
        say_everything(&broker);
        fault.into_iter().for_each(|fault| disk.script_next_append(fault));
        let (_, durable) = broker.delete_vhost("shop", None).expect("not protected");
        let deleted = durable.wait_blocking();
        assert_eq!(deleted.is_err(), fault.is_some());
        let broker = open(&disk.power_cut(0));
        assert_eq!(is_whole(&broker), fault.is_some());
    }
}
