//! Messages in queues: peeked at, held back, replayed.

use serde_json::json;

use crate::amqp::Peer;
use crate::program::*;

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
