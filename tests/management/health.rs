//! Health checks: what probes and monitoring ask.

use serde_json::json;

use crate::amqp::Peer;
use crate::support::*;

const CHECKS: &str = "/api/health/checks";

/// A broker whose memory nobody measures but the test.
fn start() -> TestBroker {
    TestBroker::with(|config| config.memory.high_watermark = 0.0)
}

#[test]
fn a_broker_that_is_well_passes_every_check() {
    let broker = start();
    let port = broker.amqp_address().port();
    let open = [
        "alarms".to_owned(),
        "local-alarms".to_owned(),
        "ready-to-serve-clients".to_owned(),
        "is-in-service".to_owned(),
        "below-node-connection-limit".to_owned(),
        format!("port-listener/{port}"),
        "protocol-listener/amqp".to_owned(),
        "certificate-expiration/2/Weeks".to_owned(),
        "metadata-store/initialized".to_owned(),
        "metadata-store/initialized/with-data".to_owned(),
        "node-is-quorum-critical".to_owned(),
        "node-is-mirror-sync-critical".to_owned(),
        "reached-target-cluster-size".to_owned(),
    ];
    for check in open {
        let body = broker.nobody().get(&format!("{CHECKS}/{check}")).expect(200);
        assert_eq!(body["status"], "ok", "{check}: {body}");
    }
    let leaders = "health/checks/quorum-queues-without-elected-leaders";
    let for_users = [
        "health/checks/virtual-hosts".to_owned(),
        format!("{leaders}/all-vhosts"),
        format!("{leaders}/all-vhosts/"),
        format!("{leaders}/all-vhosts/pattern/a.*"),
        format!("{leaders}/vhost/%2f"),
        format!("{leaders}/vhost/%2f/pattern/a.*"),
        "aliveness-test/%2f".to_owned(),
        "healthchecks/node".to_owned(),
        "healthchecks/node/ferrymq@localhost".to_owned(),
    ];
    for check in for_users {
        let body = broker.client().get(&format!("/api/{check}")).expect(200);
        assert_eq!(body["status"], "ok", "{check}: {body}");
        broker.nobody().get(&format!("/api/{check}")).expect(401);
    }
}

#[test]
fn what_is_asked_for_and_is_not_there_is_said() {
    let broker = start();
    let (user, nobody) = (broker.client(), broker.nobody());
    let port = broker.amqp_address().port();
    let http_port = broker.http_address().port();
    let missing = nobody.get(&format!("{CHECKS}/port-listener/1")).expect(503);
    assert_eq!((&missing["status"], &missing["missing"]), (&json!("failed"), &json!(1)));
    let ports = missing["ports"].as_array().expect("a list");
    assert!(ports.contains(&json!(port)) && ports.contains(&json!(http_port)), "{missing}");
    nobody.get(&format!("{CHECKS}/port-listener/x")).expect_refused(400, "Invalid port");
    nobody.get(&format!("{CHECKS}/port-listener/65536")).expect_refused(400, "Invalid port");
    let missing = nobody.get(&format!("{CHECKS}/protocol-listener/mqtt")).expect(503);
    assert_eq!((&missing["missing"], &missing["protocols"][0]), (&json!("mqtt"), &json!("amqp")));
    nobody.get(&format!("{CHECKS}/protocol-listener/AMQP0-9-1,http")).expect(200);
    nobody.get(&format!("{CHECKS}/protocol-listener/amqp,stomp")).expect(503);
    let certificates = format!("{CHECKS}/certificate-expiration");
    nobody.get(&format!("{certificates}/x/days")).expect_refused(400, "whole number");
    nobody.get(&format!("{certificates}/1/hours")).expect_refused(400, "Supported units");
    user.get("/api/aliveness-test/nowhere").expect_refused(404, "no vhost 'nowhere'");
    user.get("/api/healthchecks/node/other").expect_refused(404, "no node 'other'");
    let leaders = format!("{CHECKS}/quorum-queues-without-elected-leaders");
    user.get(&format!("{leaders}/vhost/nowhere")).expect_refused(404, "no vhost");
    user.get(&format!("{leaders}/all-vhosts/pattern/(")).expect_refused(400, "regular expression");
}

#[test]
fn a_memory_alarm_fails_the_checks_that_look_at_alarms() {
    let broker = start();
    let memory = &broker.broker().memory;
    memory.set_limit_bytes(1000);
    memory.measured(1001);
    for check in ["alarms", "local-alarms"] {
        let body = broker.nobody().get(&format!("{CHECKS}/{check}")).expect(503);
        assert_eq!(body["alarms"], json!([{"node": "ferrymq@localhost", "resource": "memory"}]));
        let reason = body["reason"].as_str().expect("a sentence");
        assert!(reason.contains("1001 bytes of memory, the limit is 1000"), "{reason}");
    }
    let node = broker.client().get("/api/healthchecks/node").expect(200);
    assert_eq!(node["status"], "failed", "{node}");
    // A probe that restarts the broker or sends its clients away would not help.
    broker.nobody().get(&format!("{CHECKS}/ready-to-serve-clients")).expect(200);
    memory.measured(1);
    broker.nobody().get(&format!("{CHECKS}/alarms")).expect(200);
}

#[test]
fn a_broker_with_as_many_connections_as_may_be_is_not_ready_for_more() {
    let broker = TestBroker::with(|config| config.amqp.connections_max = 1);
    let figures = broker.nobody().get(&format!("{CHECKS}/below-node-connection-limit")).expect(200);
    assert_eq!((&figures["limit"], &figures["connections"]), (&json!(1), &json!(0)));
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open("guest");
    let full = broker.nobody().get(&format!("{CHECKS}/below-node-connection-limit")).expect(503);
    assert_eq!(full["reason"], "node connection limit is reached");
    broker.nobody().get(&format!("{CHECKS}/ready-to-serve-clients")).expect(503);
    broker.nobody().get(&format!("{CHECKS}/is-in-service")).expect(200);
}
