//! Who may do what, effective at once.

use ferrymq::broker::UserChange;
use ferrymq::broker::auth::PasswordHash;
use ferrymq::broker::durable::Durable;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::store::definition::PermissionDefinition;

use crate::support::*;

fn set(broker: &TestBroker, configure: &str, write: &str, read: &str) {
    let permissions = PermissionDefinition {
        user: "limited".to_owned(),
        vhost: "/".to_owned(),
        configure: configure.to_owned(),
        write: write.to_owned(),
        read: read.to_owned(),
    };
    let set = broker.broker().set_permissions(permissions, None);
    set.and_then(Durable::wait_blocking).expect("stored");
}

fn put_user(broker: &TestBroker, tags: &[&str]) {
    let tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let change = UserChange { password: Some(PasswordHash::of("secret")), tags };
    let put = broker.broker().put_user("limited", change, None);
    put.and_then(Durable::wait_blocking).expect("stored");
}

fn with_limited_user() -> TestBroker {
    let broker = TestBroker::start();
    put_user(&broker, &[]);
    broker
}

fn limited(broker: &TestBroker) -> Peer {
    let mut peer = broker.socket();
    peer.open("limited");
    peer.open_channel(1);
    peer
}

/// Expects a 403 that names kind of access and resource.
fn refused(peer: &mut Peer, method: impl Into<Method>, access: &str, resource: &str) {
    peer.send(1, method);
    let expected = format!(
        "ACCESS_REFUSED - {access} access to {resource} in vhost '/' refused for user 'limited'"
    );
    assert_eq!(peer.expect_channel_close(1), (403, expected));
    peer.open_channel(1);
}

#[test]
fn a_user_without_permissions_does_not_get_in() {
    let broker = with_limited_user();
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
    peer.open_with("limited", "/", tune_ok);
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'limited'";
    assert_eq!(peer.expect_connection_close(), (530, text.to_owned()));
}

#[test]
fn each_operation_needs_its_access() {
    let broker = with_limited_user();
    let mut guest = broker.channel();
    guest.declare_queue(1, "theirs");
    set(&broker, "^mine", "^mine", "^mine");
    let mut peer = limited(&broker);
    let theirs = || short("theirs");
    let declare = QueueDeclare { queue: theirs(), ..QueueDeclare::default() };
    refused(&mut peer, declare, "configure", "queue 'theirs'");
    let delete = QueueDelete { queue: theirs(), ..QueueDelete::default() };
    refused(&mut peer, delete, "configure", "queue 'theirs'");
    let (exchange, kind) = (theirs(), short("fanout"));
    let declare = ExchangeDeclare { exchange, kind, ..ExchangeDeclare::default() };
    refused(&mut peer, declare, "configure", "exchange 'theirs'");
    let consume = BasicConsume { queue: theirs(), ..BasicConsume::default() };
    refused(&mut peer, consume, "read", "queue 'theirs'");
    let get = BasicGet { queue: theirs(), no_ack: true };
    refused(&mut peer, get, "read", "queue 'theirs'");
    let purge = QueuePurge { queue: theirs(), no_wait: false };
    refused(&mut peer, purge, "read", "queue 'theirs'");
    peer.declare_queue(1, "mine");
    let bind = |queue, exchange: &str| QueueBind {
        queue,
        exchange: short(exchange),
        ..QueueBind::default()
    };
    refused(&mut peer, bind(theirs(), "amq.fanout"), "write", "queue 'theirs'");
    refused(&mut peer, bind(short("mine"), "amq.fanout"), "read", "exchange 'amq.fanout'");
    let arguments = table([("x-dead-letter-exchange", long("theirs"))]);
    let declare = QueueDeclare { queue: short("mine2"), arguments, ..QueueDeclare::default() };
    refused(&mut peer, declare, "write", "exchange 'theirs'");
    peer.publish(1, "", "mine", "m");
    let text = "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for \
                user 'limited'";
    assert_eq!(peer.expect_channel_close(1), (403, text.to_owned()));
}

#[test]
fn a_change_holds_from_the_next_operation_on() {
    let broker = with_limited_user();
    set(&broker, ".*", ".*", ".*");
    let mut peer = limited(&broker);
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "m");
    peer.sync(1);
    set(&broker, ".*", "", ".*");
    peer.publish(1, "", "q", "m");
    assert_eq!(peer.expect_channel_close(1).0, 403);
    peer.open_channel(1);
    assert_eq!(peer.ready(1, "q"), 1);
}

#[test]
fn the_connections_of_a_deleted_user_are_closed() {
    let broker = with_limited_user();
    set(&broker, ".*", ".*", ".*");
    let mut guest = broker.channel();
    let mut peer = limited(&broker);
    let user = broker.broker().user("limited").expect("there");
    let (found, durable) = broker.broker().delete_user("limited", None);
    durable.wait_blocking().expect("stored");
    assert!(found);
    let text = "CONNECTION_FORCED - user 'limited' is deleted";
    assert_eq!(peer.expect_connection_close(), (320, text.to_owned()));
    // Who was on its way in may do nothing.
    assert!(!user.may_open("/") && !user.accepts("secret"));
    guest.declare_queue(1, "q");
}

#[test]
fn users_and_permissions_survive_a_restart() {
    let mut broker = with_limited_user();
    set(&broker, "", "", "^q$");
    broker.restart();
    let mut peer = limited(&broker);
    let declare = QueueDeclare { queue: short("q"), ..QueueDeclare::default() };
    refused(&mut peer, declare, "configure", "queue 'q'");
    broker.broker().clear_permissions("limited", "/", None).1.wait_blocking().expect("stored");
    peer.send(1, BasicGet { queue: short("q"), no_ack: true });
    assert_eq!(peer.expect_channel_close(1).0, 403);
}

fn published_by(user: &str) -> Properties {
    let user_id = Some(short(user));
    (&BasicProperties { user_id, ..BasicProperties::default() }).into()
}

#[test]
fn a_publisher_may_say_who_it_is_and_not_that_it_is_somebody_else() {
    let broker = with_limited_user();
    set(&broker, ".*", ".*", ".*");
    let mut peer = limited(&broker);
    peer.declare_queue(1, "q");
    peer.publish_with(1, "", "q", b"mine", &published_by("limited"));
    let got = peer.get(1, "q", true).expect("it is there");
    assert_eq!(got.properties, published_by("limited"));
    peer.publish_with(1, "", "q", b"not mine", &published_by("guest"));
    let (code, text) = peer.expect_channel_close(1);
    let expected = "PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was \
                    'limited'";
    assert_eq!((code, text.as_str()), (406, expected));
}

#[test]
fn an_impersonator_publishes_in_the_name_of_others() {
    let broker = TestBroker::start();
    put_user(&broker, &["impersonator"]);
    set(&broker, ".*", ".*", ".*");
    let mut peer = limited(&broker);
    peer.declare_queue(1, "q");
    peer.publish_with(1, "", "q", b"in your name", &published_by("guest"));
    let got = peer.get(1, "q", true).expect("it is there");
    assert_eq!(got.properties, published_by("guest"));
}
