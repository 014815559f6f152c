//! Policies, parameters and limits.

use serde_json::json;

use crate::program::*;

#[test]
fn policies_are_set_listed_and_cleared() {
    let managed = Managed::start();
    for [set, clear, list] in [
        ["set_policy", "clear_policy", "list_policies"],
        ["set_operator_policy", "clear_operator_policy", "list_operator_policies"],
    ] {
        let definition = "{\"max-length\":10}";
        let words = [set, "p", "^q", definition, "--priority", "-2", "--apply-to", "queues"];
        managed.ctl(&words).expect(0);
        let listed = managed.ctl(&["-q", list]).expect(0);
        let columns = "vhost\tname\tpattern\tapply-to\tdefinition\tpriority\n";
        assert_eq!(listed, format!("{columns}/\tp\t^q\tqueues\t{definition}\t-2\n"));
        managed.ctl(&[set, "bad", "^q", "{\"nope\":1}"]).expect_failed(69, "'nope'");
        managed.ctl(&[set, "bad", "^q", "{}", "--priority", "x"]).expect_failed(64, "priority");
        managed.ctl(&[clear, "p"]).expect(0);
        managed.ctl(&[clear, "p"]).expect_failed(69, "'p'");
        assert_eq!(managed.json(&[list]), json!([]));
        managed.ctl(&[list, "-p", "nowhere"]).expect_failed(65, "'nowhere'");
    }
}

#[test]
fn parameters_are_set_listed_and_cleared() {
    let managed = Managed::start();
    let value = "{\"uri\":\"amqp://there\"}";
    managed.ctl(&["set_parameter", "federation-upstream", "there", value]).expect(0);
    managed.ctl(&["add_vhost", "v"]).expect(0);
    managed.ctl(&["set_parameter", "-p", "v", "federation-upstream", "other", value]).expect(0);
    let listed = managed.ctl(&["-s", "list_parameters"]).expect(0);
    assert_eq!(listed, format!("federation-upstream\tthere\t{value}\n"));
    managed.ctl(&["clear_parameter", "federation-upstream", "there"]).expect(0);
    assert_eq!(managed.json(&["list_parameters"]), json!([]));
    managed.ctl(&["clear_parameter", "federation-upstream", "there"]).expect_failed(69, "there");
    managed.ctl(&["list_parameters", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
}

#[test]
fn parameters_of_the_broker_are_set_listed_and_cleared() {
    let managed = Managed::start();
    managed.ctl(&["set_global_parameter", "region", "\"eu\""]).expect(0);
    let found = managed.json(&["list_global_parameters"]);
    let region = json!({"name": "region", "value": "eu"});
    assert!(found.as_array().expect("a list").contains(&region), "{found}");
    let listed = managed.ctl(&["-s", "list_global_parameters"]).expect(0);
    assert!(listed.contains("region\t\"eu\"\n"), "as it was set: {listed}");
    managed.ctl(&["set_global_parameter", "region", "eu"]).expect_failed(65, "JSON is not JSON");
    managed.ctl(&["clear_global_parameter", "region"]).expect(0);
    managed.ctl(&["clear_global_parameter", "region"]).expect_failed(69, "region");
    managed.ctl(&["set_cluster_name", "orders"]).expect(0);
    assert_eq!(managed.client().get("/api/cluster-name").expect(200)["name"], "orders");
}

#[test]
fn limits_are_set_listed_and_cleared() {
    let managed = Managed::start();
    managed.ctl(&["set_vhost_limits", "{\"max-queues\":3,\"max-connections\":4}"]).expect(0);
    let limits = json!({"max-queues": 3, "max-connections": 4});
    assert_eq!(
        managed.json(&["list_vhost_limits", "--global"]),
        json!([{"vhost": "/", "limits": limits}])
    );
    managed.ctl(&["set_vhost_limits", "{\"max-nothing\":3}"]).expect_failed(69, "max-nothing");
    managed.ctl(&["set_vhost_limits", "3"]).expect_failed(65, "JSON object");
    managed.ctl(&["clear_vhost_limits"]).expect(0);
    assert_eq!(managed.ctl(&["-q", "list_vhost_limits", "-p", "/"]).expect(0), "{}\n");
    assert_eq!(managed.json(&["list_vhost_limits", "--global"]), json!([]));
    managed.ctl(&["list_vhost_limits", "-p", "nowhere"]).expect_failed(65, "'nowhere'");

    managed
        .ctl(&["set_user_limits", "guest", "{\"max-channels\":3,\"max-connections\":9}"])
        .expect(0);
    managed.ctl(&["clear_user_limits", "guest", "max-connections"]).expect(0);
    let listed = managed.json(&["list_user_limits"]);
    assert_eq!(listed, json!([{"user": "guest", "limits": {"max-channels": 3}}]));
    let listed = managed.ctl(&["-q", "list_user_limits", "--user", "guest"]).expect(0);
    assert_eq!(listed, "{\"max-channels\":3}\n");
    managed.ctl(&["clear_user_limits", "guest", "all"]).expect(0);
    assert_eq!(managed.json(&["list_user_limits"]), json!([]));
    managed.ctl(&["set_user_limits", "nobody", "{\"max-channels\":3}"]).expect_failed(67, "nobody");
}

#[test]
fn feature_flags_are_there_and_enabled() {
    let managed = Managed::start();
    let found = managed.json(&["list_feature_flags"]);
    let flags = found.as_array().expect("a list");
    assert!(!flags.is_empty() && flags.iter().all(|flag| flag["state"] == "enabled"), "{found}");
    managed.ctl(&["enable_feature_flag", "all"]).expect(0);
    managed.ctl(&["enable_feature_flag", "no_such_flag"]).expect_failed(69, "no_such_flag");
    managed.ctl(&["list_deprecated_features"]).expect(0);
    managed.ctl(&["list_deprecated_features", "--used", "name"]).expect(0);
}
