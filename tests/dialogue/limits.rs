//! How many connections, channels and queues vhosts and users may have; what else an operator says
//! of them; parameters.

use ferrymq::broker::UserChange;
use ferrymq::broker::limit::{LimitOf, MAX_CHANNELS, MAX_CONNECTIONS, MAX_QUEUES};
use ferrymq::broker::queue::arguments::QueueType;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::reply::ReplyCode;
use ferrymq::store::definition::{GlobalParameterDefinition, ParameterDefinition, VhostDefinition};
use serde_json::{Value as Json, json};

use crate::support::*;

const ROOT: LimitOf<'_> = LimitOf::Vhost("/");
const GUEST: LimitOf<'_> = LimitOf::User("guest");

fn set(broker: &TestBroker, of: LimitOf<'_>, name: &str, most: i64) {
    let set = broker.broker().set_limit(of, name, most, None).expect("valid");
    set.wait_blocking().expect("stored");
}

/// What a connection that is one too many is told.
fn refused_connection(broker: &TestBroker) -> (u16, String) {
    let mut peer = broker.socket();
    let tune_ok = ConnectionTuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
    peer.open_with("guest", "/", tune_ok);
    peer.expect_connection_close()
}

#[test]
fn a_vhost_has_as_many_connections_as_it_may() {
    let broker = TestBroker::start();
    let mut first = broker.peer();
    set(&broker, ROOT, MAX_CONNECTIONS, 2);
    let second = broker.peer();
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (2) is \
                reached";
    assert_eq!(refused_connection(&broker), (530, text.to_owned()));
    // Whoever has been told that it is closed is out.
    first.close();
    let third = broker.peer();
    assert_eq!(refused_connection(&broker).0, 530);
    set(&broker, ROOT, MAX_CONNECTIONS, -1);
    let fourth = broker.peer();
    drop((second, third, fourth));
}

#[test]
fn a_user_has_as_many_connections_as_it_may() {
    let broker = TestBroker::start();
    set(&broker, GUEST, MAX_CONNECTIONS, 0);
    let text = "NOT_ALLOWED - connection refused for user 'guest': user connection limit (0) is \
                reached";
    assert_eq!(refused_connection(&broker), (530, text.to_owned()));
    let vhost = broker.broker().vhost("/").expect("there");
    // One that was refused takes no room in the vhost.
    assert_eq!(vhost.connections.count(), 0);
    set(&broker, GUEST, MAX_CONNECTIONS, 1);
    broker.peer().close();
    broker.peer().close();
}

#[test]
fn a_user_has_as_many_channels_as_it_may_on_all_its_connections() {
    let broker = TestBroker::start();
    set(&broker, GUEST, MAX_CHANNELS, 2);
    let mut first = broker.channel();
    let mut second = broker.channel();
    second.call(1, ChannelClose::default());
    first.open_channel(2);
    second.send(1, ChannelOpen);
    let text = "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum \
                allowed user limit of (2)";
    assert_eq!(second.expect_connection_close(), (530, text.to_owned()));
    first.close();
    let mut third = broker.channel();
    third.open_channel(2);
}

#[test]
fn a_vhost_has_as_many_queues_as_it_may() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "a");
    set(&broker, ROOT, MAX_QUEUES, 2);
    peer.declare_queue(1, "b");
    let declare = QueueDeclare { queue: short("c"), ..QueueDeclare::default() };
    let text = "PRECONDITION_FAILED - cannot declare queue 'c': queue limit in vhost '/' (2) is \
                reached";
    assert_eq!(peer.refused(declare.clone()), (406, text.to_owned()));
    // What is there can be declared again.
    peer.declare_queue(1, "a");
    peer.call(1, QueueDelete { queue: short("a"), ..QueueDelete::default() });
    peer.declare(1, declare);
}

#[test]
fn a_limit_that_can_t_be_is_refused() {
    let broker = TestBroker::start();
    let refused = |of, name, most| {
        let error = broker.broker().set_limit(of, name, most, None).err().expect("refused");
        (error.code, error.text)
    };
    let text = "there is no limit 'max-exchanges', only max-connections, max-queues";
    assert_eq!(refused(ROOT, "max-exchanges", 1), (ReplyCode::PreconditionFailed, text.to_owned()));
    let text = "there is no limit 'max-queues', only max-connections, max-channels";
    assert_eq!(refused(GUEST, MAX_QUEUES, 1), (ReplyCode::PreconditionFailed, text.to_owned()));
    assert_eq!(refused(ROOT, MAX_QUEUES, -2).0, ReplyCode::PreconditionFailed);
    assert_eq!(refused(LimitOf::Vhost("none"), MAX_QUEUES, 1).0, ReplyCode::NotFound);
    assert_eq!(refused(LimitOf::User("none"), MAX_CHANNELS, 1).0, ReplyCode::NotFound);
}

#[test]
fn limits_survive_a_restart_and_go_with_their_user() {
    let mut broker = TestBroker::start();
    set(&broker, ROOT, MAX_QUEUES, 5);
    set(&broker, ROOT, MAX_CONNECTIONS, 7);
    set(&broker, ROOT, MAX_CONNECTIONS, -1);
    set(&broker, GUEST, MAX_CHANNELS, 9);
    broker.restart();
    assert_eq!(broker.broker().limits(ROOT), Ok(vec![(MAX_QUEUES, 5)]));
    assert_eq!(broker.broker().limits(GUEST), Ok(vec![(MAX_CHANNELS, 9)]));
    broker.broker().delete_user("guest", None).1.wait_blocking().expect("stored");
    let put = broker.broker().put_user("guest", UserChange::default(), None);
    put.expect("valid").wait_blocking().expect("stored");
    broker.restart();
    assert_eq!(broker.broker().limits(GUEST), Ok(Vec::new()));
}

#[test]
fn a_vhost_says_of_which_type_its_queues_are() {
    let mut broker = TestBroker::start();
    let vhost = |default: &str| VhostDefinition {
        name: "/".to_owned(),
        description: "orders".to_owned(),
        tags: vec!["production".to_owned()],
        default_queue_type: Some(default.to_owned()),
        protected_from_deletion: false,
    };
    let refused = broker.broker().put_vhost_with(vhost("stream"), None).err().expect("refused");
    let text = "vhost '/': the default queue type can't be 'stream', only classic or quorum";
    assert_eq!(refused.text, text);
    let put = broker.broker().put_vhost_with(vhost("quorum"), None).expect("valid");
    put.wait_blocking().expect("stored");
    // Putting it again without saying more leaves it as it is.
    broker.broker().put_vhost("/", None).expect("valid").wait_blocking().expect("stored");
    broker.restart();
    let root = broker.broker().vhost("/").expect("there");
    assert_eq!(root.definition(), vhost("quorum"));
    let mut peer = broker.channel();
    let type_of =
        |name: &str| QueueType::of(&root.queue(name).expect("declared").properties.arguments);
    let durable =
        |name: &str| QueueDeclare { queue: short(name), durable: true, ..Default::default() };
    peer.declare(1, durable("q"));
    assert_eq!(type_of("q"), QueueType::Quorum);
    assert_eq!(root.queue("q").expect("declared").options().delivery_limit, Some(20));
    peer.declare(1, durable("q"));
    // One that can't be a quorum queue isn't one.
    peer.declare_queue(1, "transient");
    assert_eq!(type_of("transient"), QueueType::Classic);
    let named = peer.declare(1, durable(""));
    assert_eq!(type_of(&named.queue), QueueType::Classic);
    let classic = table([("x-queue-type", long("classic"))]);
    peer.declare(1, QueueDeclare { arguments: classic, ..durable("c") });
    assert_eq!(type_of("c"), QueueType::Classic);
    // Another default leaves the queues that are there alone.
    broker
        .broker()
        .put_vhost_with(vhost("classic"), None)
        .expect("valid")
        .wait_blocking()
        .expect("stored");
    peer.declare(1, durable("q"));
    assert_eq!(type_of("q"), QueueType::Quorum);
}

fn shovel(name: &str, value: Json) -> ParameterDefinition {
    let (vhost, component) = ("/".to_owned(), "shovel".to_owned());
    ParameterDefinition { vhost, component, name: name.to_owned(), value }
}

#[test]
fn parameters_survive_a_restart() {
    let mut broker = TestBroker::start();
    let parameter = shovel("one", json!({"src-uri": "amqp://"}));
    let global = GlobalParameterDefinition { name: "cluster_name".to_owned(), value: json!("c") };
    let put = [
        broker.broker().put_parameter(shovel("one", json!({})), None),
        broker.broker().put_parameter(parameter.clone(), None),
        broker.broker().put_parameter(shovel("gone", json!({})), None),
        broker.broker().put_global_parameter(global.clone(), None),
    ];
    put.into_iter().for_each(|put| put.expect("valid").wait_blocking().expect("stored"));
    let (was_there, durable) = broker.broker().delete_parameter("/", "shovel", "gone", None);
    assert!(was_there);
    durable.wait_blocking().expect("stored");
    broker.restart();
    assert_eq!(broker.broker().parameters(), [parameter]);
    assert_eq!(broker.broker().global_parameters(), [global]);
    assert!(broker.broker().delete_global_parameter("cluster_name", None).0);
    assert!(!broker.broker().delete_global_parameter("cluster_name", None).0);
    assert!(!broker.broker().delete_parameter("/", "shovel", "gone", None).0);
}

#[test]
fn a_parameter_that_can_t_be_is_refused() {
    let broker = TestBroker::start();
    let of = |component: &str, name: &str, value| ParameterDefinition {
        component: component.to_owned(),
        ..shovel(name, value)
    };
    let long = Json::from("x".repeat(64 * 1024));
    let cases = [
        (of("mirror", "p", json!({})), "there is no component 'mirror' with parameters, only"),
        (of("policy", "p", json!({})), "'policy' is not set as a parameter"),
        (of("shovel", "p", json!([])), "parameter 'p' of component 'shovel': the value must be an"),
        (of("shovel", "", json!({})), "the name must have 1 to 255 bytes"),
        (of("shovel", "p", json!({"x": long})), "the value is longer than 65536 bytes"),
    ];
    for (parameter, part) in cases {
        let error = broker.broker().put_parameter(parameter, None).err().expect("refused");
        assert!(error.text.contains(part), "{}", error.text);
    }
    let elsewhere = ParameterDefinition { vhost: "none".to_owned(), ..shovel("p", json!({})) };
    let error = broker.broker().put_parameter(elsewhere, None).err().expect("refused");
    assert_eq!(error.to_string(), "NOT_FOUND - no vhost 'none'");
    assert!(broker.broker().parameters().is_empty());
}
