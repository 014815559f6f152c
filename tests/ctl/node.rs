//! The broker as a whole: status and health checks.

use serde_json::{Value, json};

use crate::program::*;

#[test]
fn the_status_says_what_the_broker_is_and_where_it_listens() {
    let managed = Managed::start();
    let port = managed.broker.amqp_address().port();
    let status = managed.ctl(&["status"]).expect(0);
    for part in [
        &format!("port: {port}, protocol: amqp, purpose: AMQP 0-9-1"),
        &format!("OS PID: {}", std::process::id()),
        "Alarms\n\n(none)",
        "Virtual host count: 1",
    ] {
        assert!(status.contains(part), "{part:?} is not in {status}");
    }
    let status = managed.json(&["status"]);
    assert_eq!(status["totals"]["virtual_host_count"], 1, "{status}");
    let version = managed.ctl(&["-q", "server_version"]).expect(0);
    assert_eq!(version.trim(), status["product_version"].as_str().expect("a version"));
    managed.ctl(&["status", "--unit", "miles"]).expect_failed(64, "miles");
}

#[test]
fn the_cluster_is_one_node_which_can_be_named() {
    let managed = Managed::start();
    let cluster = managed.json(&["cluster_status"]);
    let node = cluster["running_nodes"][0].as_str().expect("a node").to_owned();
    assert!(
        managed.ctl(&["cluster_status"]).expect(0).contains(&format!("Running Nodes\n\n{node}"))
    );
    managed.ctl(&["-n", &node, "list_vhosts"]).expect(0);
    let first = node.split('@').next().expect("a name");
    managed.ctl(&["-n", first, "list_vhosts"]).expect(0);
    managed.ctl(&["-n", "rabbit@elsewhere", "list_vhosts"]).expect_failed(69, "is the node");
    let nodes = managed.json(&["list_nodes", "name", "running"]);
    assert_eq!(nodes[0]["name"], node.as_str());
}

#[test]
fn what_the_node_knows_of_itself_is_listed() {
    let managed = Managed::start();
    let listeners = managed.ctl(&["-q", "listeners"]).expect(0);
    assert!(listeners.contains("protocol: http, purpose: HTTP API"), "{listeners}");
    assert!(managed.ctl(&["alarms"]).expect(0).contains("no alarms"));
    let memory = managed.ctl(&["-q", "memory_breakdown", "--unit", "mb"]).expect(0);
    assert!(memory.contains(" mb ("), "{memory}");
    managed.ctl(&["--password", "wrong", "list_users"]).expect(77);
    let attempts = managed.json(&["list_node_auth_attempt_stats"]);
    let http = attempts.as_array().expect("a list").iter().find(|one| one["protocol"] == "http");
    assert_eq!(http.expect("http")["auth_attempts_failed"], 1, "{attempts}");
    let sources = managed.json(&["list_node_auth_attempt_stats", "--by-source"]);
    let failed = |one: &&Value| one["auth_attempts_failed"] == 1;
    let failed = sources.as_array().expect("a list").iter().find(failed).expect("one failed");
    assert_eq!(failed["protocol"], "http", "{sources}");
    assert_eq!(failed["remote_address"], "127.0.0.1", "{sources}");
    assert_eq!(failed["username"], "guest", "{sources}");
    managed.ctl(&["reset_node_auth_attempt_metrics"]).expect(0);
    let attempts = managed.json(&["list_node_auth_attempt_stats"]);
    let failed =
        attempts.as_array().expect("a list").iter().map(|one| &one["auth_attempts_failed"]);
    assert!(failed.into_iter().all(|count| *count == 0), "{attempts}");
    let settings = managed.ctl(&["-q", "environment"]).expect(0);
    assert!(settings.contains("http.listen = \"127.0.0.1:0\"\n"), "{settings}");
    let report = managed.ctl(&["-q", "report"]).expect(0);
    assert!(report.contains("Permissions of vhost /"), "{report}");
    assert!(!report.contains("password_hash"), "{report}");
}

#[test]
fn checks_pass_or_fail_with_a_code() {
    let managed = Managed::start();
    let port = managed.broker.amqp_address().port().to_string();
    for check in [
        &["check_running"][..],
        &["check_alarms"],
        &["check_local_alarms"],
        &["check_virtual_hosts"],
        &["check_port_listener", &port],
        &["check_protocol_listener", "amqp"],
        &["check_port_connectivity"],
        &["check_certificate_expiration", "--within", "3", "--unit", "weeks"],
        &["check_if_node_is_quorum_critical"],
        &["check_if_node_is_mirror_sync_critical"],
        &["check_for_quorum_queues_without_an_elected_leader"],
        &["check_if_metadata_store_is_initialized"],
        &["check_if_metadata_store_is_initialized_with_data"],
        &["check_if_any_deprecated_features_are_used"],
        &["node_health_check"],
    ] {
        managed.ctl(check).expect(0);
    }
    managed.ctl(&["check_port_listener", "x"]).expect_failed(64, "whole number");
    managed.ctl(&["check_port_listener", "1"]).expect_failed(69, "missing: 1");
    managed.ctl(&["check_protocol_listener", "mqtt"]).expect_failed(69, "No active listener");
    managed.ctl(&["check_certificate_expiration", "--unit", "eons"]).expect_failed(64, "eons");
    let elsewhere = ["check_port_connectivity", "--address", "no-such-host.invalid"];
    managed.ctl(&elsewhere).expect_failed(69, "unable to connect");
}

#[test]
fn an_alarm_fails_the_checks_of_alarms() {
    let managed = Managed::with(|config| config.store.disk_free_limit_bytes = u64::MAX / 2);
    managed.ctl(&["check_local_alarms"]).expect_failed(69, "held back");
    managed.ctl(&["check_alarms"]).expect_failed(69, "disk");
    assert!(managed.ctl(&["alarms"]).expect(0).contains("disk space alarm"));
    assert!(managed.ctl(&["status"]).expect(0).contains("disk space alarm"));
    let found = managed.json(&["alarms"]);
    assert_eq!(found["local"][0], format!("Free disk space alarm on node {}", node(&managed)));
    let alarm = &managed.json(&["status"])["alarms"][0];
    assert_eq!((&alarm["resource"], &alarm["type"]), (&json!("disk"), &json!("resource_limit")));
}

fn node(managed: &Managed) -> String {
    let overview = managed.client().get("/api/overview").expect(200);
    overview["node"].as_str().expect("a name").to_owned()
}

/// As programs read them that have read rabbitmq-diagnostics.
#[test]
fn json_of_the_node_has_the_members_of_rabbitmqctl() {
    let managed = Managed::start();
    let node = node(&managed);
    assert_eq!(managed.json(&["alarms"]), json!({"result": "ok", "node": node, "alarms": []}),);
    let listeners = managed.json(&["listeners"]);
    let http = listeners["listeners"].as_array().expect("a list");
    let http = http.iter().find(|one| one["protocol"] == "http").expect("the API");
    assert_eq!((&http["node"], &http["purpose"]), (&json!(node), &json!("HTTP API")));
    assert_eq!(http["interface"], "127.0.0.1");
    let version = managed.json(&["server_version"]);
    assert_eq!(
        (&version["result"], &version["value"]),
        (&json!("ok"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let memory = managed.json(&["memory_breakdown"]);
    let whole: f64 = memory
        .as_object()
        .expect("parts")
        .values()
        .map(|part| part["percentage"].as_f64().expect("a number"))
        .sum();
    assert!((99.0..=100.1).contains(&whole), "{memory}");
    let status = managed.json(&["status"]);
    assert_eq!(status["pid"], std::process::id(), "{status}");
}

#[test]
fn one_node_is_online_and_more_there_never_are() {
    let managed = Managed::start();
    managed.ctl(&["await_online_nodes", "1"]).expect(0);
    managed.ctl(&["await_online_nodes", "3"]).expect_failed(69, "is one node");
}
