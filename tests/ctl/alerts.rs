//! Alerts.

use serde_json::json;

use crate::program::*;
use crate::support::*;

#[test]
fn alerts_are_listed_by_rule_with_the_queues_that_they_fire_for() {
    let managed = Managed::start();
    let rules = json!([
        {"name": "long", "queue": "^q", "kind": "backlog", "threshold": 1},
        {"name": "old", "queue": "^q", "kind": "oldest_age", "threshold": 9000},
    ]);
    managed.ctl(&["set_global_parameter", "alert-rules", &rules.to_string()]).expect(0);
    let mut peer = managed.broker.channel();
    peer.declare_queue(1, "q1");
    peer.publish(1, "", "q1", "m");
    let listed = || managed.json(&["list_alerts", "rule", "queue", "value", "origin"]);
    wait_until("it fires", || listed()[0]["queue"] == "q1");
    let expected = json!([
        {"rule": "long", "queue": "q1", "value": 1, "origin": "parameter"},
        {"rule": "old", "queue": null, "value": null, "origin": "parameter"},
    ]);
    assert_eq!(listed(), expected);
    let wrong = r#"[{"name": "a", "queue": "("}]"#;
    let failed = managed.ctl(&["set_global_parameter", "alert-rules", wrong]);
    failed.expect_failed(69, "rule 'a': missing field `kind`");
}
