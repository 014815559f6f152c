//! The audit log.

use serde_json::{Value, json};

use crate::program::*;

fn kinds(found: &Value) -> Vec<&str> {
    let all = found.as_array().expect("a list").iter();
    all.map(|one| one["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn changes_are_listed_the_newest_first_and_chosen_by_who_what_and_where() {
    let managed = Managed::start();
    managed.ctl(&["add_vhost", "v"]).expect(0);
    managed.ctl(&["add_user", "alice", "secret", "--tags", "administrator"]).expect(0);
    managed.ctl(&["set_permissions", "-p", "v", "alice", ".*", ".*", ".*"]).expect(0);
    let as_alice = ["-u", "alice", "--password", "secret", "add_vhost", "w"];
    managed.ctl(&as_alice).expect(0);

    let all = managed.json(&["audit"]);
    assert_eq!(all[0]["user"], "alice", "{all}");
    let last = kinds(&all);
    assert!(last.contains(&"user.created") && last.contains(&"vhost.created"), "{all}");
    assert!(!all.to_string().contains("secret"), "{all}");

    let users = managed.json(&["audit", "--kind", "user", "kind", "object", "after"]);
    assert_eq!(kinds(&users), ["user.created"; 2], "guest is there from the start: {users}");
    let by_alice = managed.json(&["audit", "--by", "alice"]);
    assert_eq!(kinds(&by_alice), ["permission.created", "vhost.created"]);
    assert!(by_alice.as_array().expect("a list").iter().all(|one| one["user"] == "alice"));
    let of_v = managed.json(&["audit", "-p", "v"]);
    assert!(!kinds(&of_v).contains(&"user.created"), "{of_v}");
    assert_eq!(managed.json(&["audit", "--until", "1"]), json!([]));
}

#[test]
fn the_audit_log_comes_in_pages() {
    let managed = Managed::start();
    for name in ["a", "b", "c"] {
        managed.ctl(&["add_vhost", name]).expect(0);
    }
    let page = |number| {
        let words = ["audit", "--kind", "vhost.created", "--page-size", "2", "--page", number];
        managed.json(&words).as_array().expect("a list").len()
    };
    assert_eq!((page("1"), page("2"), page("3")), (2, 2, 0), "one is there from the start");
    managed.ctl(&["audit", "--page", "x"]).expect_failed(64, "whole number");
    managed.ctl(&["audit", "--page-size", "501"]).expect_failed(69, "500");
    managed.ctl(&["audit", "no_such_column"]).expect_failed(64, "no_such_column");
}
