//! The event exchange: what happens in the broker, told to whoever binds to it.

use ferrymq::broker::UserChange;
use ferrymq::broker::auth::PasswordHash;
use ferrymq::broker::durable::Durable;
use ferrymq::broker::limit::LimitOf;
use ferrymq::broker::policy::matching::PolicyKind;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::store::Space;
use ferrymq::store::definition::{
    ParameterDefinition, PermissionDefinition, PolicyDefinition, TopicPermissionDefinition,
};
use ferrymq::store::simulated::SimulatedDisk;
use serde_json::json;

use crate::support::*;

const EVENTS: &str = "amq.rabbitmq.event";

/// A client that hears what is told with such a key.
fn listener(broker: &TestBroker, binding_key: &str) -> Peer {
    let mut peer = broker.channel();
    peer.declare_queue(1, "events");
    peer.bind(1, "events", EVENTS, binding_key);
    let (queue, no_ack) = (short("events"), true);
    let consuming = peer.call(1, BasicConsume { queue, no_ack, ..BasicConsume::default() });
    assert!(matches!(consuming, Method::BasicConsumeOk(_)), "{consuming:?}");
    if binding_key == "#" {
        // Its own doings.
        expect(&mut peer, "binding.created");
        expect(&mut peer, "consumer.created");
    }
    peer
}

/// The next event: its key and its headers.
fn next(listener: &mut Peer) -> (String, FieldTable) {
    let content = listener.receive_content(1);
    let Method::BasicDeliver(deliver) = content.method else { panic!("{:?}", content.method) };
    assert_eq!((deliver.exchange.as_str(), content.body.len()), (EVENTS, 0));
    let properties = content.properties.decode().expect("the broker's own");
    assert_eq!(properties.delivery_mode, Some(2));
    let headers = properties.headers.expect("all events have some");
    let ms = headers.get("timestamp_in_ms").and_then(FieldValue::as_i64).expect("a time");
    assert_eq!(properties.timestamp, u64::try_from(ms / 1000).ok());
    (deliver.routing_key.to_string(), headers)
}

/// The headers of the next event, which has this key.
fn expect(listener: &mut Peer, key: &str) -> FieldTable {
    let (found, headers) = next(listener);
    assert_eq!(found, key, "{headers:?}");
    headers
}

fn text<'a>(headers: &'a FieldTable, name: &str) -> &'a str {
    headers.get(name).and_then(FieldValue::as_str).unwrap_or_else(|| panic!("{name}: {headers:?}"))
}

fn delete(queue: &str) -> QueueDelete {
    QueueDelete { queue: short(queue), ..QueueDelete::default() }
}

#[test]
fn a_queues_events_say_what_who_and_from_where() {
    let broker = TestBroker::start();
    let mut listener = listener(&broker, "queue.*");
    let mut peer = broker.channel();
    let arguments = table([("x-mine", FieldValue::I32(7))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    peer.declare(1, QueueDeclare { queue: short("q"), passive: true, ..QueueDeclare::default() });
    let created = expect(&mut listener, "queue.created");
    assert_eq!((text(&created, "name"), text(&created, "vhost")), ("q", "/"));
    assert_eq!(created.get("durable"), Some(&FieldValue::Bool(false)));
    let arguments = created.get("arguments").and_then(FieldValue::as_table).expect("a table");
    assert_eq!(arguments.get("x-mine"), Some(&FieldValue::I32(7)));
    assert_eq!(text(&created, "user_who_performed_action"), "guest");
    assert_eq!(text(&created, "peer_host"), "127.0.0.1");
    let address = broker.amqp_address().to_string();
    assert!(text(&created, "connection").ends_with(&format!(" -> {address}")), "{created:?}");
    peer.publish(1, "", "q", "0");
    peer.call(1, QueuePurge { queue: short("q"), ..QueuePurge::default() });
    let purged = expect(&mut listener, "queue.purged");
    assert_eq!(purged.get("message_count").and_then(FieldValue::as_i64), Some(1));
    peer.call(1, delete("q"));
    peer.call(1, delete("q"));
    let deleted = expect(&mut listener, "queue.deleted");
    assert_eq!(text(&deleted, "name"), "q");
    assert_eq!(text(&deleted, "user_who_performed_action"), "guest");
    listener.expect_silence();
}

#[test]
fn what_goes_with_something_else_is_told_too() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let mut listener = listener(&broker, "#");
    let (exchange, kind) = (short("e"), short("topic"));
    let declare =
        ExchangeDeclare { exchange, kind, auto_delete: true, ..ExchangeDeclare::default() };
    assert_eq!(peer.call(1, declare), ExchangeDeclareOk.into());
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "e", "a.*");
    peer.bind(1, "q", "e", "a.*");
    peer.consume(1, "q", "c");
    peer.send(1, delete("q"));
    assert_eq!(expect(&mut listener, "exchange.created").get("type"), Some(&long("topic")));
    expect(&mut listener, "queue.created");
    let bound = expect(&mut listener, "binding.created");
    for (name, value) in [
        ("source_name", "e"),
        ("destination_name", "q"),
        ("destination_kind", "queue"),
        ("routing_key", "a.*"),
    ] {
        assert_eq!(text(&bound, name), value);
    }
    assert_eq!(text(&expect(&mut listener, "consumer.created"), "consumer_tag"), "c");
    assert_eq!(text(&expect(&mut listener, "binding.deleted"), "source_name"), "e");
    assert_eq!(text(&expect(&mut listener, "exchange.deleted"), "name"), "e");
    assert_eq!(text(&expect(&mut listener, "consumer.deleted"), "queue"), "q");
    assert_eq!(text(&expect(&mut listener, "queue.deleted"), "name"), "q");
    listener.expect_silence();
}

#[test]
fn a_connection_is_told_of_from_its_login_to_its_end() {
    let broker = TestBroker::start();
    let mut listener = listener(&broker, "#");
    let mut peer = broker.channel();
    let login = expect(&mut listener, "user.authentication.success");
    assert_eq!((text(&login, "name"), text(&login, "auth_mechanism")), ("guest", "PLAIN"));
    let created = expect(&mut listener, "connection.created");
    assert_eq!((text(&created, "user"), text(&created, "peer_host")), ("guest", "127.0.0.1"));
    let opened = expect(&mut listener, "channel.created");
    assert_eq!(text(&opened, "connection"), text(&created, "name"));
    peer.consume(1, "events", "second");
    let consuming = expect(&mut listener, "consumer.created");
    assert_eq!(consuming.get("ack_required"), Some(&FieldValue::Bool(true)));
    peer.close();
    expect(&mut listener, "consumer.deleted");
    assert_eq!(expect(&mut listener, "channel.closed").get("number"), opened.get("number"));
    let closed = expect(&mut listener, "connection.closed");
    assert_eq!(text(&closed, "name"), text(&created, "name"));
}

#[test]
fn a_cancelled_consumer_is_told_of() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.consume(1, "q", "c");
    let mut listener = listener(&broker, "consumer.deleted");
    peer.call(1, BasicCancel { consumer_tag: short("c"), no_wait: false });
    assert_eq!(text(&expect(&mut listener, "consumer.deleted"), "consumer_tag"), "c");
}

#[test]
fn a_refused_login_says_why() {
    let broker = TestBroker::start();
    let mut listener = listener(&broker, "user.authentication.failure");
    let mut peer = broker.socket();
    peer.expect_start();
    peer.start_ok("guest", "wrong");
    let failed = expect(&mut listener, "user.authentication.failure");
    assert_eq!(text(&failed, "name"), "guest");
    assert_eq!(text(&failed, "error"), "the password is wrong");
    assert_eq!(text(&failed, "peer_host"), "127.0.0.1");
}

#[test]
fn what_is_done_to_users_and_vhosts_is_told() {
    let broker = TestBroker::start();
    let mut listener = listener(&broker, "#");
    let within = broker.broker();
    let user = |tags: &[&str]| {
        let tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        let change = UserChange { password: Some(PasswordHash::of("secret")), tags };
        within.put_user("u", change, None).and_then(Durable::wait_blocking).expect("stored");
    };
    user(&[]);
    user(&[]);
    within.put_user("u", UserChange::default(), None).and_then(Durable::wait_blocking).unwrap();
    user(&["management"]);
    within.put_vhost("v", None).and_then(Durable::wait_blocking).expect("stored");
    within.put_vhost("v", None).and_then(Durable::wait_blocking).expect("stored");
    let [configure, write, read] = ["c", "w", "r"].map(str::to_owned);
    let (user, vhost) = ("u".to_owned(), "v".to_owned());
    let permission = PermissionDefinition { user, vhost, configure, write, read };
    within.set_permissions(permission, None).and_then(Durable::wait_blocking).expect("stored");
    within.clear_permissions("u", "v", None).1.wait_blocking().expect("stored");
    let topics = TopicPermissionDefinition {
        user: "u".to_owned(),
        vhost: "v".to_owned(),
        exchange: "amq.topic".to_owned(),
        write: "w".to_owned(),
        read: String::new(),
    };
    within.set_topic_permission(topics, None).and_then(Durable::wait_blocking).expect("stored");
    within.clear_topic_permissions("u", "v", None, None).1.wait_blocking().expect("stored");
    within.delete_user("u", None).1.wait_blocking().expect("stored");
    assert_eq!(text(&expect(&mut listener, "user.created"), "name"), "u");
    assert_eq!(text(&expect(&mut listener, "user.password.changed"), "name"), "u");
    assert_eq!(text(&expect(&mut listener, "user.password.changed"), "name"), "u");
    assert_eq!(text(&expect(&mut listener, "user.tags.set"), "tags"), "management");
    assert_eq!(text(&expect(&mut listener, "vhost.created"), "name"), "v");
    let permitted = expect(&mut listener, "permission.created");
    assert_eq!((text(&permitted, "user"), text(&permitted, "write")), ("u", "w"));
    assert_eq!(text(&expect(&mut listener, "permission.deleted"), "vhost"), "v");
    let permitted = expect(&mut listener, "topic.permission.created");
    assert_eq!((text(&permitted, "exchange"), text(&permitted, "write")), ("amq.topic", "w"));
    assert_eq!(text(&expect(&mut listener, "topic.permission.deleted"), "user"), "u");
    assert_eq!(text(&expect(&mut listener, "user.deleted"), "name"), "u");
}

#[test]
fn nobody_but_the_broker_publishes_events() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.publish(1, EVENTS, "queue.created", "");
    let text =
        format!("ACCESS_REFUSED - cannot publish to internal exchange '{EVENTS}' in vhost '/'");
    assert_eq!(peer.expect_channel_close(1), (403, text));
}

#[test]
fn a_durable_queue_hears_events_after_a_restart_too() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let queue = short("events");
    peer.declare(1, QueueDeclare { queue, durable: true, ..QueueDeclare::default() });
    peer.bind(1, "events", EVENTS, "queue.created");
    broker.restart();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    let event = peer.get(1, "events", true).expect("it was told at once");
    let headers = event.properties.headers().expect("all events have some");
    assert_eq!(text(&headers, "name"), "q");
}

#[test]
fn a_disk_that_is_nearly_full_is_told_of_once_and_so_is_its_end() {
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    let mut listener = listener(&broker, "alarm.*");
    disk.set_space(Space::Low { free_bytes: 10, limit_bytes: 1000 });
    assert_eq!(text(&expect(&mut listener, "alarm.set"), "resource"), "disk");
    disk.set_space(Space::Low { free_bytes: 9, limit_bytes: 1000 });
    disk.set_space(Space::Enough);
    assert_eq!(text(&expect(&mut listener, "alarm.cleared"), "resource"), "disk");
}

#[test]
fn policies_parameters_and_limits_are_told_when_they_are_set_and_cleared() {
    let broker = TestBroker::start();
    let mut listener = listener(&broker, "#");
    let within = broker.broker();
    let vhost = within.vhost("/").expect("it is there from the start");
    let definition = json!({ "max-length": 1 }).as_object().expect("an object").clone();
    let policy = PolicyDefinition {
        vhost: "/".to_owned(),
        name: "p".to_owned(),
        pattern: "^q".to_owned(),
        apply_to: "queues".to_owned(),
        priority: 3,
        definition,
    };
    let stored = [
        vhost.put_policy(PolicyKind::Operator, policy, None).expect("valid"),
        vhost.delete_policy(PolicyKind::Operator, "p", None).1,
        vhost.delete_policy(PolicyKind::Operator, "p", None).1,
        within.set_limit(LimitOf::Vhost("/"), "max-queues", 9, None).expect("valid"),
        within.set_limit(LimitOf::User("guest"), "max-channels", -1, None).expect("valid"),
    ];
    stored.into_iter().for_each(|durable| durable.wait_blocking().expect("stored"));
    let parameter = ParameterDefinition {
        vhost: "/".to_owned(),
        component: "shovel".to_owned(),
        name: "s".to_owned(),
        value: json!({}),
    };
    within.put_parameter(parameter, None).and_then(Durable::wait_blocking).expect("stored");
    within.delete_parameter("/", "shovel", "s", None).1.wait_blocking().expect("stored");
    let set = expect(&mut listener, "policy.set");
    assert_eq!((text(&set, "name"), text(&set, "pattern")), ("p", "^q"));
    assert_eq!(set.get("is_operator_policy"), Some(&FieldValue::Bool(true)));
    assert_eq!(text(&expect(&mut listener, "policy.cleared"), "vhost"), "/");
    let limit = expect(&mut listener, "vhost.limits.set");
    assert_eq!((text(&limit, "name"), text(&limit, "limit")), ("/", "max-queues"));
    assert_eq!(limit.get("value"), Some(&FieldValue::I64(9)));
    assert_eq!(text(&expect(&mut listener, "user.limits.cleared"), "name"), "guest");
    assert_eq!(text(&expect(&mut listener, "parameter.set"), "component"), "shovel");
    assert_eq!(text(&expect(&mut listener, "parameter.cleared"), "name"), "s");
}
