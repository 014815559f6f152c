//! The overview and the nodes.

use serde_json::{Value, json};

use crate::amqp::Peer;
use crate::support::*;

#[test]
fn the_overview_says_what_the_broker_is_and_has() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "x");
    peer.publish(1, "", "q", "y");
    peer.get(1, "q", false).expect("a message");
    let shown = client.get("/api/overview").expect(200);
    let totals =
        json!({"connections": 1, "channels": 1, "queues": 1, "consumers": 0, "exchanges": 8});
    assert_eq!(shown["object_totals"], totals);
    let queues = &shown["queue_totals"];
    assert_eq!((&queues["messages"], &queues["messages_ready"]), (&json!(2), &json!(1)));
    assert_eq!(queues["messages_details"], json!({"rate": 0.0}));
    assert_eq!(shown["message_stats"]["publish"], 2);
    assert_eq!(shown["message_stats"]["get"], 1);
    assert_eq!(shown["churn_rates"]["queue_created"], 1);
    assert_eq!(shown["churn_rates"]["connection_created"], 1);
    assert_eq!(
        (&shown["product_name"], &shown["node"]),
        (&json!("FerryMQ"), &json!("ferrymq@localhost"))
    );
    for text in ["rabbitmq_version", "erlang_version", "cluster_name", "rates_mode"] {
        assert!(shown[text].is_string(), "{text}");
    }
    let port = |protocol: &str| {
        let listeners = shown["listeners"].as_array().expect("a list");
        let found = listeners.iter().find(|listener| listener["protocol"] == protocol);
        found.expect(protocol)["port"].clone()
    };
    assert_eq!(port("amqp"), broker.amqp_address().port());
    assert_eq!(port("http"), broker.http_address().port());
    let types: Vec<&Value> = shown["exchange_types"].as_array().expect("a list").iter().collect();
    assert!(types.iter().any(|kind| kind["name"] == "x-delayed-message"), "{types:?}");
    let columns = client.get("/api/overview?columns=node,queue_totals.messages").expect(200);
    let expected = json!({"node": "ferrymq@localhost", "queue_totals": {"messages": 2}});
    assert_eq!(columns, expected);
    assert_eq!(client.get("/api/version").expect(200), shown["rabbitmq_version"]);
}

/// The sums are those of what a user may see.
#[test]
fn who_is_no_monitor_sees_its_own_vhosts_in_the_overview_and_no_nodes() {
    let broker = TestBroker::start();
    let client = broker.client();
    let body = json!({"password": "eve", "tags": "management"});
    client.put("/api/users/eve", &body).expect(201);
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer.declare_queue(1, "q");
    let eve = broker.client_as("eve", "eve");
    let shown = eve.get("/api/overview").expect(200);
    let none =
        json!({"connections": 0, "channels": 0, "queues": 0, "consumers": 0, "exchanges": 0});
    assert_eq!(shown["object_totals"], none);
    assert!(shown.get("node").is_none() && shown.get("listeners").is_none(), "{shown}");
    eve.get("/api/nodes").expect_refused(401, "monitoring");
    eve.get("/api/nodes/ferrymq@localhost").expect_refused(401, "monitoring");
    eve.get("/api/nodes/ferrymq@localhost/memory").expect_refused(401, "monitoring");
}

#[test]
fn the_node_says_what_it_uses_and_may_use() {
    let broker = TestBroker::start();
    let client = broker.client();
    let nodes = client.get("/api/nodes").expect(200);
    let node = client.get("/api/nodes/ferrymq@localhost").expect(200);
    assert_eq!(nodes[0]["name"], node["name"]);
    for number in ["uptime", "run_queue"] {
        assert!(node[number].is_u64(), "{number}: {node}");
    }
    for number in [
        "mem_used",
        "mem_limit",
        "disk_free",
        "fd_used",
        "fd_total",
        "sockets_total",
        "proc_used",
        "proc_total",
        "processors",
    ] {
        assert!(node[number].as_u64() > Some(0), "{number}: {node}");
    }
    assert!(node["mem_used"].as_u64() < node["mem_limit"].as_u64(), "{node}");
    assert_eq!((&node["mem_alarm"], &node["disk_free_alarm"]), (&json!(false), &json!(false)));
    assert_eq!((&node["running"], &node["being_drained"]), (&json!(true), &json!(false)));
    assert_eq!(node["os_pid"], std::process::id().to_string());
    assert_eq!(node["mem_used_details"], json!({"rate": 0.0}));
    let plugins = node["enabled_plugins"].as_array().expect("names");
    assert!(plugins.contains(&json!("rabbitmq_management")), "{plugins:?}");
    assert!(!plugins.contains(&json!("rabbitmq_stream")), "{plugins:?}");
    let applications = node["applications"].as_array().expect("applications");
    let rabbit = applications.iter().find(|application| application["name"] == "rabbit");
    assert_eq!(rabbit.expect("it is there")["version"], client.get("/api/version").expect(200));
    client.get("/api/nodes/rabbit@other").expect_refused(404, "no node 'rabbit@other'");
}

#[test]
fn the_memory_of_the_node_is_that_of_its_process() {
    let broker = TestBroker::start();
    let client = broker.client();
    let memory = client.get("/api/nodes/ferrymq@localhost/memory").expect(200)["memory"].take();
    let total = memory["total"]["rss"].as_u64().expect("a number");
    let parts = memory.as_object().expect("parts").values().filter_map(Value::as_u64);
    assert_eq!(parts.sum::<u64>(), total);
    client.get("/api/nodes/x/memory").expect_refused(404, "no node 'x'");
}

#[test]
fn a_node_says_what_it_reads_and_writes_and_where_its_memory_is() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    let node = client.get("/api/nodes/ferrymq@localhost").expect(200);
    for name in ["io_write_count", "io_write_bytes", "io_sync_count"] {
        assert!(node[name].as_u64() > Some(0), "{name} in {node}");
        assert!(node[format!("{name}_details")]["rate"].is_number(), "{name}");
    }
    assert_eq!((&node["io_read_count"], &node["io_read_bytes"]), (&json!(0), &json!(0)));
    assert!(node["io_sync_avg_time"].as_f64() > Some(0.0), "{node}");
    let path = "/api/nodes/ferrymq@localhost/memory";
    let (bytes, percents) = (client.get(path), client.get(&format!("{path}/relative")));
    let (bytes, percents) = (bytes.expect(200), percents.expect(200));
    assert_eq!(percents["memory"]["total"], 100);
    for (part, percent) in percents["memory"].as_object().expect("parts") {
        let is_any = bytes["memory"][part].as_u64() != Some(0);
        assert_eq!(percent.as_u64() > Some(0), is_any, "{part}");
    }
    client.get("/api/nodes/other@host/memory/relative").expect_refused(404, "no node");
}

#[test]
fn logins_are_told_apart_by_where_they_came_from() {
    const PATH: &str = "/api/auth/attempts/ferrymq@localhost/source";
    let broker = TestBroker::start();
    let client = broker.client();
    broker.client_as("eve", "wrong").get("/api/whoami").expect(401);
    drop(broker.channel());
    let sources = client.get(PATH).expect(200);
    let of = |protocol: &str, user: &str| {
        let sources = sources.as_array().expect("a list");
        let is_it = |source: &&Value| source["protocol"] == protocol && source["username"] == user;
        sources.iter().find(is_it).unwrap_or_else(|| panic!("{protocol} {user}: {sources:?}"))
    };
    let eve = json!({
        "remote_address": "127.0.0.1", "username": "eve", "protocol": "http",
        "auth_attempts": 1, "auth_attempts_failed": 1, "auth_attempts_succeeded": 0,
    });
    assert_eq!(*of("http", "eve"), eve);
    assert_eq!(of("amqp091", "guest")["auth_attempts_succeeded"], 1);
    client.delete(PATH).expect(204);
    let left = client.get(PATH).expect(200);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "only the one who asks: {left}");
    client.get("/api/auth/attempts/other@host/source").expect_refused(404, "no node");
}

/// rabbitmq_http_client reads the tags that it has set from the overview, too.
#[test]
fn the_tags_of_the_cluster_are_in_the_overview() {
    let broker = TestBroker::start();
    let client = broker.client();
    assert_eq!(client.get("/api/overview").expect(200)["cluster_tags"], json!({}));
    let path = "/api/global-parameters/cluster_tags";
    client.put(path, &json!({"value": {"region": "ca-central-1"}})).expect(201);
    let tags = client.get("/api/overview").expect(200)["cluster_tags"].clone();
    assert_eq!(tags, json!({"region": "ca-central-1"}));
    client.put(path, &json!({"value": "north"})).expect(204);
    assert_eq!(client.get("/api/overview").expect(200)["cluster_tags"], json!({}));
}

#[test]
fn the_queues_of_one_node_are_balanced() {
    let broker = TestBroker::start();
    broker.client().post("/api/rebalance/queues", &json!({})).expect(204);
    let monitor = broker.user_in("%2f", "ann", "monitoring");
    monitor.post("/api/rebalance/queues", &json!({})).expect_refused(401, "administrator");
}
