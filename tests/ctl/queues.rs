//! Queues, exchanges and bindings: listed, purged, deleted.

use serde_json::json;

use crate::amqp::Peer;
use crate::program::*;

fn with_messages(managed: &Managed, queue: &str, count: usize) -> Peer {
    let mut peer = Peer::connect(managed.broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer.declare_queue(1, queue);
    for _ in 0..count {
        peer.publish(1, "", queue, "x");
    }
    let count = u32::try_from(count).expect("a small number");
    peer.wait_for_ready(1, queue, count);
    peer
}

#[test]
fn queues_are_listed_with_the_columns_that_are_asked_for() {
    let managed = Managed::start();
    let _peer = with_messages(&managed, "orders", 3);
    let listed = managed.ctl(&["list_queues"]).expect(0);
    assert_eq!(listed, "Listing queues for vhost / ...\nname\tmessages\norders\t3\n");
    let found = managed.json(&["list_queues", "messages_ready", "consumers", "type", "--online"]);
    assert_eq!(found, json!([{"messages_ready": 3, "consumers": 0, "type": "classic"}]));
    assert_eq!(managed.json(&["list_queues", "--offline"]), json!([]));
    assert_eq!(managed.json(&["list_unresponsive_queues"]), json!([]));
    managed.ctl(&["list_queues", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
}

#[test]
fn exchanges_and_bindings_are_listed() {
    let managed = Managed::start();
    let mut peer = with_messages(&managed, "orders", 0);
    peer.bind(1, "orders", "amq.topic", "a.#");
    let listed = managed.ctl(&["-s", "list_exchanges", "name", "type", "durable"]).expect(0);
    assert!(listed.contains("amq.topic\ttopic\ttrue\n"), "{listed}");
    let listed = managed.ctl(&["-s", "list_bindings"]).expect(0);
    assert!(listed.contains("amq.topic\texchange\torders\tqueue\ta.#\t{}\n"), "{listed}");
}

#[test]
fn a_queue_is_purged_and_deleted() {
    let managed = Managed::start();
    let _peer = with_messages(&managed, "orders", 3);
    managed.ctl(&["delete_queue", "orders", "--if-empty"]).expect_failed(69, "orders");
    managed.ctl(&["purge_queue", "orders"]).expect(0);
    assert_eq!(managed.json(&["list_queues", "messages"]), json!([{"messages": 0}]));
    managed.ctl(&["delete_queue", "orders", "--if-empty", "--if-unused"]).expect(0);
    assert_eq!(managed.json(&["list_queues"]), json!([]));
    managed.ctl(&["delete_queue", "orders"]).expect_failed(69, "orders");
    managed.ctl(&["purge_queue", "orders"]).expect_failed(69, "orders");
}

#[test]
fn policies_that_match_are_listed_by_priority() {
    let managed = Managed::start();
    let _peer = with_messages(&managed, "orders", 0);
    let (length, alternate) = ("{\"max-length\":1}", "{\"alternate-exchange\":\"x\"}");
    for (name, pattern, definition, priority, to) in [
        ("low", "^ord", length, "1", "queues"),
        ("high", "ders", length, "2", "all"),
        ("other", "^x", length, "3", "queues"),
        ("exchanges", "^ord", alternate, "4", "exchanges"),
    ] {
        let words = ["set_policy", name, pattern, definition, "--priority", priority];
        managed.ctl(&[&words[..], &["--apply-to", to]].concat()).expect(0);
    }
    let found = managed.json(&["list_policies_that_match", "orders"]);
    let names: Vec<&str> =
        found.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["high", "low"]);
}
