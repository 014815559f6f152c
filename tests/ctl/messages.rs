//! Messages in queues: peeked at, held back, replayed.

use ferrymq::protocol::generated::BasicReject;
use serde_json::json;

use crate::amqp::Peer;
use crate::program::*;
use crate::support::wait_until;

fn connect(managed: &Managed) -> Peer {
    let mut peer = Peer::connect(managed.broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer
}

#[test]
fn a_peek_shows_messages_and_leaves_them() {
    let managed = Managed::start();
    let mut peer = connect(&managed);
    peer.declare_queue(1, "orders");
    for body in ["one", "two", "three"] {
        peer.publish(1, "", "orders", body);
    }
    peer.wait_for_ready(1, "orders", 3);
    let words = ["peek", "orders", "--offset", "1", "--count", "2", "--truncate", "3"];
    let found = managed.json(&[&words[..], &["payload", "payload_bytes"]].concat());
    let two = json!({"payload": "two", "payload_bytes": 3});
    assert_eq!(found, json!([two, {"payload": "thr", "payload_bytes": 5}]));
    assert_eq!(managed.json(&["peek", "orders", "--header", "x=y"]), json!([]));
    managed.ctl(&["peek", "orders", "--header", "x"]).expect_failed(64, "NAME=VALUE");
    managed.ctl(&["peek", "nothing"]).expect_failed(69, "nothing");
    assert_eq!(peer.ready(1, "orders"), 3);
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let managed = Managed::start();
    connect(&managed).declare_queue(1, "orders");
    managed.ctl(&["pause_queue", "orders"]).expect(0);
    assert_eq!(managed.json(&["list_queues", "state"]), json!([{"state": "paused"}]));
    managed.ctl(&["resume_queue", "orders"]).expect(0);
    assert_eq!(managed.json(&["list_queues", "state"]), json!([{"state": "running"}]));
    managed.ctl(&["pause_queue", "nothing"]).expect_failed(69, "nothing");
}

#[test]
fn dead_letters_are_replayed_to_where_they_came_from() {
    let managed = Managed::start();
    let dying = json!({
        "dead-letter-exchange": "", "dead-letter-routing-key": "dead", "message-ttl": 1,
    });
    managed.ctl(&["set_policy", "dying", "^orders$", &dying.to_string()]).expect(0);
    let mut peer = connect(&managed);
    peer.declare_queue(1, "orders");
    peer.declare_queue(1, "dead");
    peer.publish(1, "", "orders", "one");
    peer.publish(1, "", "orders", "two");
    peer.wait_for_ready(1, "dead", 2);
    managed.ctl(&["clear_policy", "dying"]).expect(0);
    managed.ctl(&["replay_status", "dead"]).expect_failed(69, "replayed");
    let told = managed.ctl(&["-q", "replay", "dead"]).expect(0);
    assert_eq!(told, "done: 2 of 2 messages moved\n");
    assert_eq!((peer.ready(1, "orders"), peer.ready(1, "dead")), (2, 0));
    assert_eq!(managed.json(&["replay_status", "dead"])["moved"], 2);
    managed.ctl(&["cancel_replay", "dead"]).expect_failed(69, "replay");
    managed.ctl(&["replay", "dead", "--rate", "0"]).expect_failed(69, "rate");
}

/// Declares an exchange that delays, and gives it messages that are due in so many seconds.
fn schedule(managed: &Managed, seconds: &[u32]) {
    let client = managed.client();
    let exchange = json!({"type": "x-delayed-message", "arguments": {"x-delayed-type": "direct"}});
    client.put("/api/exchanges/%2f/later", &exchange).expect(201);
    for seconds in seconds {
        let message = json!({
            "routing_key": format!("in.{seconds}"), "payload": format!("in {seconds} s"),
            "payload_encoding": "string", "properties": {"headers": {"x-delay": seconds * 1000}},
        });
        client.post("/api/exchanges/%2f/later/publish", &message).expect(200);
    }
}

#[test]
fn scheduled_messages_are_listed_the_next_first_and_cancelled() {
    let managed = Managed::start();
    schedule(&managed, &[3000, 1000, 2000]);
    let listed = managed.json(&["list_scheduled", "later", "routing_key", "payload"]);
    let message = |seconds| json!({"routing_key": format!("in.{seconds}"), "payload": format!("in {seconds} s")});
    assert_eq!(listed, json!([message(1000), message(2000), message(3000)]));
    let two = managed.json(&["list_scheduled", "later", "--count", "2", "id", "due_at"]);
    assert!(two[0]["due_at"].as_u64() < two[1]["due_at"].as_u64(), "{two}");
    let second = two[1]["id"].as_str().expect("an id");
    let rest = managed.json(&["list_scheduled", "later", "--from", second, "payload"]);
    assert_eq!(rest, json!([{"payload": "in 2000 s"}, {"payload": "in 3000 s"}]));

    let told = managed.ctl(&["cancel_scheduled", "later", second]).expect(0);
    assert!(
        told.starts_with(&format!("Cancelling message {second} of exchange 'later'")),
        "{told}"
    );
    let left = managed.json(&["list_scheduled", "later", "--truncate", "4", "payload"]);
    assert_eq!(left, json!([{"payload": "in 1"}, {"payload": "in 3"}]));
    managed.ctl(&["cancel_scheduled", "later", second]).expect_failed(69, "no message");
}

#[test]
fn what_waits_to_come_back_to_a_queue_is_listed_and_cancelled() {
    let managed = Managed::start();
    let arguments = json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 300_000});
    let queue = json!({"durable": true, "arguments": arguments});
    managed.client().put("/api/queues/%2f/jobs", &queue).expect(201);
    let mut peer = connect(&managed);
    peer.publish(1, "", "jobs", "again");
    peer.wait_for_ready(1, "jobs", 1);
    peer.get(1, "jobs", false).expect("a message");
    peer.send(1, BasicReject { delivery_tag: 1, requeue: true });
    let list = || managed.json(&["list_scheduled", "jobs", "--of", "queue", "id", "payload"]);
    wait_until("it waits", || list().as_array().is_some_and(|items| items.len() == 1));
    assert_eq!(list()[0]["payload"], "again");
    let id = list()[0]["id"].as_str().expect("an id").to_owned();
    let told = managed.ctl(&["cancel_scheduled", "jobs", &id, "--of", "queue"]).expect(0);
    assert!(told.starts_with(&format!("Cancelling message {id} of queue 'jobs'")), "{told}");
    assert_eq!(list(), json!([]));
    managed.ctl(&["list_scheduled", "jobs", "--of", "vhost"]).expect_failed(64, "exchange");
    managed.ctl(&["list_scheduled", "none", "--of", "queue"]).expect_failed(69, "no queue 'none'");
}

#[test]
fn what_is_not_scheduled_is_said() {
    let managed = Managed::start();
    schedule(&managed, &[]);
    assert_eq!(managed.ctl(&["-q", "list_scheduled", "later"]).expect(0), "");
    managed.ctl(&["list_scheduled", "nowhere"]).expect_failed(69, "no exchange 'nowhere'");
    managed.ctl(&["list_scheduled", "amq.direct"]).expect_failed(69, "delays nothing");
    managed.ctl(&["list_scheduled", "later", "--count", "x"]).expect_failed(64, "whole number");
    managed.ctl(&["list_scheduled", "later", "--encoding", "x"]).expect_failed(64, "base64");
    managed.ctl(&["list_scheduled", "-p", "nowhere", "later"]).expect_failed(65, "'nowhere'");
    managed.ctl(&["cancel_scheduled", "later", "x"]).expect_failed(69, "'x' is no id");
    managed.ctl(&["cancel_scheduled", "later"]).expect_failed(64, "<ID>");
}
