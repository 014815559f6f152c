//! Policies: what holds for queues and exchanges beside their arguments, and from when on.

use std::sync::Arc;

use ferrymq::broker::policy::matching::PolicyKind;
use ferrymq::broker::queue::{Queue, QueueOptions};
use ferrymq::broker::vhost::Vhost;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::definition::PolicyDefinition;
use serde_json::{Value as Json, json};

use crate::support::*;

fn policy(name: &str, pattern: &str, definition: Json) -> PolicyDefinition {
    let Json::Object(definition) = definition else { panic!("an object") };
    PolicyDefinition {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        apply_to: "all".to_owned(),
        priority: 0,
        definition,
    }
}

fn root(broker: &TestBroker) -> Arc<Vhost> {
    broker.broker().vhost("/").expect("there")
}

fn put(vhost: &Vhost, policy: PolicyDefinition) {
    put_as(vhost, PolicyKind::User, policy);
}

fn put_as(vhost: &Vhost, kind: PolicyKind, policy: PolicyDefinition) {
    vhost.put_policy(kind, policy, None).expect("valid").wait_blocking().expect("stored");
}

fn delete(vhost: &Vhost, name: &str) {
    let (was_there, durable) = vhost.delete_policy(PolicyKind::User, name, None);
    assert!(was_there, "{name}");
    durable.wait_blocking().expect("stored");
}

fn queue(vhost: &Vhost, name: &str) -> Arc<Queue> {
    vhost.queue(name).expect("declared")
}

fn options(vhost: &Vhost, name: &str) -> Arc<QueueOptions> {
    queue(vhost, name).options()
}

fn durable(name: &str) -> QueueDeclare {
    QueueDeclare { queue: short(name), durable: true, ..QueueDeclare::default() }
}

#[test]
fn a_policy_holds_for_queues_that_are_there_and_for_those_that_come() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare_queue(1, "orders.old");
    peer.declare_queue(1, "other");
    put(&vhost, policy("limits", "^orders", json!({"max-length": 5, "message-ttl": 100})));
    peer.declare_queue(1, "orders.new");
    for name in ["orders.old", "orders.new"] {
        let options = options(&vhost, name);
        assert_eq!((options.max_length, options.message_ttl_ms), (Some(5), Some(100)), "{name}");
    }
    assert_eq!(*options(&vhost, "other"), QueueOptions::default());
    delete(&vhost, "limits");
    for name in ["orders.old", "orders.new"] {
        assert_eq!(*options(&vhost, name), QueueOptions::default(), "{name}");
    }
    assert!(!vhost.delete_policy(PolicyKind::User, "limits", None).0);
}

#[test]
fn a_policy_is_not_seen_by_a_second_declare() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    put(&root(&broker), policy("p", "", json!({"max-length": 5})));
    let declare = |length| QueueDeclare {
        arguments: table([("x-max-length", FieldValue::I32(length))]),
        ..durable("q")
    };
    peer.declare(1, declare(9));
    peer.declare(1, declare(9));
    assert_eq!(peer.refused(declare(5)).0, 406);
    assert_eq!(options(&root(&broker), "q").max_length, Some(5));
}

#[test]
fn a_rejected_message_goes_where_the_policy_says_as_long_as_it_does() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare_queue(1, "q");
    peer.declare_queue(1, "dead");
    let to_dead = json!({"dead-letter-exchange": "", "dead-letter-routing-key": "dead"});
    put(&vhost, policy("dlx", "^q$", to_dead));
    let mut reject_one = || {
        peer.publish(1, "", "q", "m");
        peer.sync(1);
        let Method::BasicGetOk(got) = peer.get(1, "q", false).expect("there").method else {
            panic!("no message")
        };
        peer.send(1, BasicReject { delivery_tag: got.delivery_tag, requeue: false });
        peer.sync(1);
        peer.ready(1, "dead")
    };
    assert_eq!(reject_one(), 1);
    delete(&vhost, "dlx");
    assert_eq!(reject_one(), 1);
}

#[test]
fn publishers_follow_an_alternate_exchange_that_comes_and_goes_by_policy() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare_queue(1, "rest");
    peer.bind(1, "rest", "amq.fanout", "");
    // The same publish again and again: what was found for it must not stay.
    let mut ready = |count| {
        peer.publish(1, "amq.direct", "nowhere", "m");
        peer.sync(1);
        assert_eq!(peer.ready(1, "rest"), count);
    };
    ready(0);
    put(&vhost, policy("ae", "^amq\\.direct$", json!({"alternate-exchange": "amq.fanout"})));
    ready(1);
    ready(2);
    delete(&vhost, "ae");
    ready(2);
}

#[test]
fn an_exchange_s_argument_holds_against_a_policy() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    put(&vhost, policy("ae", "", json!({"alternate-exchange": "by-policy"})));
    let declare = |name: &str, arguments| ExchangeDeclare {
        exchange: short(name),
        kind: short("direct"),
        arguments,
        ..ExchangeDeclare::default()
    };
    peer.call(1, declare("plain", table([])));
    peer.call(1, declare("own", table([("alternate-exchange", long("by-argument"))])));
    let alternate = |name: &str| vhost.exchange(name).expect("declared").alternate();
    assert_eq!(alternate("plain"), Some(short("by-policy")));
    assert_eq!(alternate("own"), Some(short("by-argument")));
}

#[test]
fn of_the_policies_that_fit_the_highest_priority_holds_alone() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare(1, durable("classic"));
    let quorum = table([("x-queue-type", long("quorum"))]);
    peer.declare(1, QueueDeclare { arguments: quorum, ..durable("quorum") });
    put(&vhost, policy("b", "", json!({"max-length": 1, "expires": 1000})));
    put(&vhost, policy("a", "", json!({"max-length": 2})));
    // Of equals, the lower name; what the other one says doesn't count at all.
    let found = options(&vhost, "classic");
    assert_eq!((found.max_length, found.expires_ms), (Some(2), None));
    // With a key that quorum queues don't take it is no policy of theirs.
    let lazy = json!({"max-length": 3, "queue-mode": "lazy"});
    put(&vhost, PolicyDefinition { priority: 5, ..policy("lazy", "", lazy) });
    assert_eq!(options(&vhost, "classic").max_length, Some(3));
    assert_eq!(options(&vhost, "quorum").max_length, Some(2));
    let only_quorum = PolicyDefinition {
        priority: 9,
        apply_to: "quorum_queues".to_owned(),
        ..policy("q", "", json!({"max-length": 4}))
    };
    put(&vhost, only_quorum);
    assert_eq!(options(&vhost, "classic").max_length, Some(3));
    assert_eq!(options(&vhost, "quorum").max_length, Some(4));
    // Put again, it is another one.
    put(&vhost, PolicyDefinition { priority: -1, ..policy("q", "", json!({"max-length": 4})) });
    assert_eq!(options(&vhost, "quorum").max_length, Some(2));
    let order: Vec<_> = vhost.policies(PolicyKind::User);
    let order: Vec<_> = order.iter().map(|policy| policy.stored.name.as_str()).collect();
    assert_eq!(order, ["lazy", "a", "b", "q"]);
}

#[test]
fn an_operator_policy_is_merged_with_the_policy_key_by_key() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare_queue(1, "q");
    let own = json!({"max-length": 10, "overflow": "reject-publish", "dead-letter-exchange": "d"});
    put(&vhost, policy("own", "", own));
    let limits = json!({"max-length": 7, "overflow": "drop-head", "delivery-limit": 3});
    put_as(&vhost, PolicyKind::Operator, policy("limits", "", limits));
    let matching = queue(&vhost, "q").details().policies;
    let name = |policy: Option<_>| policy.map(|policy: Arc<_>| stored_name(&policy));
    assert_eq!(name(matching.policy.clone()), Some("own".to_owned()));
    assert_eq!(name(matching.operator_policy.clone()), Some("limits".to_owned()));
    let expected = json!({
        "max-length": 7, "overflow": "drop-head", "delivery-limit": 3, "dead-letter-exchange": "d",
    });
    assert_eq!(Json::Object(matching.definition()), expected);
    let options = options(&vhost, "q");
    assert_eq!((options.max_length, options.delivery_limit), (Some(7), Some(3)));
    assert_eq!(vhost.policies(PolicyKind::User).len(), 1);
}

fn stored_name(policy: &ferrymq::broker::policy::matching::Policy) -> String {
    policy.stored.name.clone()
}

#[test]
fn a_policy_that_can_t_be_is_refused_and_changes_nothing() {
    let broker = TestBroker::start();
    let vhost = root(&broker);
    let dlx = json!({"dead-letter-exchange": "x"});
    let cases = [
        (PolicyKind::User, policy("p", "[", json!({})), "is not a regular expression"),
        (PolicyKind::User, policy("p", "", json!({"ttl": 5})), "the key 'ttl' is not recognised"),
        (
            PolicyKind::User,
            policy("p", "", json!({"message-ttl": -1})),
            "policy 'p' in vhost '/': invalid value -1 of 'message-ttl': -1 is below the minimum of 0",
        ),
        (
            PolicyKind::Operator,
            policy("p", "", dlx),
            "operator policy 'p' in vhost '/': the key 'dead-letter-exchange' is not for operator \
             policies",
        ),
    ];
    for (kind, policy, part) in cases {
        let Err(error) = vhost.put_policy(kind, policy, None) else { panic!("accepted: {part}") };
        assert!(error.text.contains(part), "{}", error.text);
        assert!(vhost.policies(kind).is_empty());
    }
}

#[test]
fn policies_survive_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    peer.declare(1, durable("q"));
    put(&vhost, policy("own", "", json!({"max-length": 10, "alternate-exchange": "a"})));
    put(&vhost, PolicyDefinition { priority: 1, ..policy("top", "^q", json!({"max-length": 9})) });
    put(&vhost, policy("gone", "", json!({"max-length": 1})));
    put_as(&vhost, PolicyKind::Operator, policy("limits", "", json!({"expires": 60_000})));
    put(&vhost, PolicyDefinition { apply_to: "exchanges".to_owned(), ..ae_policy() });
    delete(&vhost, "gone");
    let before = [PolicyKind::User, PolicyKind::Operator].map(|kind| names(&vhost, kind));
    drop(vhost);
    broker.restart();
    let vhost = root(&broker);
    let after = [PolicyKind::User, PolicyKind::Operator].map(|kind| names(&vhost, kind));
    assert_eq!(after, before);
    let options = options(&vhost, "q");
    assert_eq!((options.max_length, options.expires_ms), (Some(9), Some(60_000)));
    let alternate = vhost.exchange("amq.topic").expect("predeclared").alternate();
    assert_eq!(alternate, Some(short("b")));
}

fn ae_policy() -> PolicyDefinition {
    policy("ae", "^amq\\.topic$", json!({"alternate-exchange": "b"}))
}

fn names(vhost: &Vhost, kind: PolicyKind) -> Vec<String> {
    vhost.policies(kind).iter().map(|policy| stored_name(policy)).collect()
}

#[test]
fn queues_declared_while_policies_change_have_what_holds_in_the_end() {
    const COUNT: usize = 500;
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    let changing = {
        let vhost = Arc::clone(&vhost);
        std::thread::spawn(move || {
            for length in 1..=100 {
                put(&vhost, policy("p", "", json!({"max-length": length})));
            }
        })
    };
    for number in 0..COUNT {
        peer.declare_queue(1, &format!("q{number}"));
        peer.publish(1, "", &format!("q{number}"), "m");
    }
    changing.join().expect("every change is made");
    let lengths = vhost.queues().into_iter().map(|queue| queue.options().max_length);
    assert_eq!(lengths.filter(|length| *length == Some(100)).count(), COUNT);
}

#[test]
fn a_policy_over_20_000_queues_takes_effect_and_goes_again() {
    const COUNT: usize = 20_000;
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let vhost = root(&broker);
    for number in 0..COUNT {
        let declare =
            QueueDeclare { queue: short(&format!("many.{number}")), ..Default::default() };
        peer.send(1, QueueDeclare { no_wait: true, ..declare });
        if number % 1000 == 0 {
            // No answer takes longer than that many declarations do.
            peer.declare_queue(1, "one");
        }
    }
    peer.declare_queue(1, "one");
    let arguments = table([("x-max-length", FieldValue::I32(3))]);
    peer.declare(1, QueueDeclare { arguments, ..durable("many.limited") });
    let count = |length| {
        vhost.queues().iter().filter(|queue| queue.options().max_length == Some(length)).count()
    };
    let untouched = [options(&vhost, "one"), options(&vhost, "many.limited")];
    put(&vhost, policy("p", "^many\\.", json!({"max-length": 5})));
    assert_eq!(count(5), COUNT);
    put(&vhost, policy("p", "^many\\.1", json!({"max-length": 6})));
    assert_eq!((count(5), count(6)), (0, 11_111));
    delete(&vhost, "p");
    assert_eq!((count(5), count(6)), (0, 0));
    // Where nothing changes, nothing is put in.
    let now = [options(&vhost, "one"), options(&vhost, "many.limited")];
    assert!(untouched.iter().zip(&now).all(|(before, after)| Arc::ptr_eq(before, after)));
}
