//! Users, their passwords and tags, and what they may do.

use serde_json::{Value, json};

use crate::program::*;

fn user(managed: &Managed, name: &str) -> Value {
    managed.client().get(&format!("/api/users/{name}")).expect(200)
}

#[test]
fn a_user_is_added_once() {
    let managed = Managed::start();
    let told = managed.ctl(&["add_user", "alice", "secret", "--tags", "monitoring"]).expect(0);
    assert!(told.starts_with("Adding user \"alice\" ...\nDone."), "{told}");
    assert_eq!(user(&managed, "alice")["tags"], json!(["monitoring"]));
    managed.ctl(&["add_user", "alice", "other"]).expect_failed(70, "\"alice\" already exists");
    managed.ctl(&["authenticate_user", "alice", "secret"]).expect(0);
    managed.ctl(&["delete_user", "alice"]).expect(0);
    managed.client().get("/api/users/alice").expect(404);
    managed.ctl(&["delete_user", "alice"]).expect_failed(67, "User \"alice\" does not exist");
}

#[test]
fn a_password_that_is_piped_in_is_not_on_the_command_line() {
    let managed = Managed::start();
    managed.ctl_with(&["add_user", "alice"], "one\n").expect(0);
    managed.ctl_with(&["authenticate_user", "alice"], "one").expect(0);
    managed.ctl_with(&["change_password", "alice"], "two\nand more").expect(0);
    managed.ctl_with(&["authenticate_user", "alice"], "one\n").expect_failed(65, "failed to");
    managed.ctl_with(&["authenticate_user", "alice"], "two\n").expect(0);
    managed.ctl_with(&["change_password", "alice"], "\n").expect_failed(65, "empty");
    managed.ctl(&["clear_password", "alice"]).expect(0);
    managed.ctl_with(&["authenticate_user", "alice"], "two\n").expect_failed(65, "failed to");
    managed.ctl(&["change_password", "nobody", "x"]).expect_failed(67, "\"nobody\"");
}

#[test]
fn a_password_can_be_given_as_its_hash() {
    let managed = Managed::start();
    let hash = managed.ctl_with(&["-q", "hash_password"], "secret\n").expect(0);
    let words = ["add_user", "alice", hash.trim(), "--pre-hashed-password"];
    managed.ctl(&words).expect(0);
    managed.ctl(&["authenticate_user", "alice", "secret"]).expect(0);
    let hashes = managed.ctl(&["-q", "list_hashes"]).expect(0);
    assert!(hashes.contains("rabbit_password_hashing_sha256"), "{hashes}");
}

#[test]
fn tags_replace_those_that_were_there_and_the_password_stays() {
    let managed = Managed::start();
    managed.ctl(&["add_user", "alice", "secret", "--tags", "a"]).expect(0);
    managed.ctl(&["set_user_tags", "alice", "management", "b"]).expect(0);
    assert_eq!(user(&managed, "alice")["tags"], json!(["management", "b"]));
    let listed = managed.ctl(&["list_users"]).expect(0);
    let rows = "user\ttags\nalice\t[management, b]\nguest\t[administrator]\n";
    assert_eq!(listed, format!("Listing users ...\n{rows}"));
    managed.ctl(&["authenticate_user", "alice", "secret"]).expect(0);
    managed.ctl(&["set_user_tags", "alice"]).expect(0);
    assert_eq!(user(&managed, "alice")["tags"], json!([]));
    let told = managed.ctl(&["authenticate_user", "alice", "secret"]).expect(0);
    assert!(told.contains("Success"), "{told}");
    managed.ctl(&["set_user_tags", "nobody", "x"]).expect_failed(67, "\"nobody\"");
}

#[test]
fn permissions_are_set_listed_and_cleared() {
    let managed = Managed::start();
    managed.ctl(&["add_user", "alice", "secret"]).expect(0);
    managed.ctl(&["add_vhost", "v"]).expect(0);
    managed.ctl(&["set_permissions", "-p", "v", "alice", "^a", "", ".*"]).expect(0);
    let listed = managed.ctl(&["-s", "list_permissions", "-p", "v"]).expect(0);
    assert!(listed.contains("alice\t^a\t\t.*\n"), "{listed}");
    managed.ctl(&["set_permissions_globally", "alice", "x", "y", "z"]).expect(0);
    let found = managed.json(&["list_user_permissions", "alice"]);
    let all = |vhost| json!({"vhost": vhost, "configure": "x", "write": "y", "read": "z"});
    assert_eq!(found, json!([all("/"), all("v")]));
    managed.ctl(&["clear_permissions", "-p", "v", "alice"]).expect(0);
    managed.client().get("/api/permissions/v/alice").expect(404);
}

#[test]
fn a_permission_of_nobody_or_nowhere_has_a_code_of_its_own() {
    let managed = Managed::start();
    let set = |vhost, user, pattern| {
        managed.ctl(&["set_permissions", "-p", vhost, user, pattern, ".*", ".*"])
    };
    set("/", "nobody", ".*").expect_failed(67, "User \"nobody\" does not exist");
    set("nowhere", "guest", ".*").expect_failed(65, "Virtual host 'nowhere' does not exist");
    set("/", "guest", "(").expect_failed(69, "not a regular expression");
    managed.ctl(&["list_permissions", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
    managed.ctl(&["list_user_permissions", "nobody"]).expect_failed(67, "\"nobody\"");
}

#[test]
fn topic_permissions_are_set_listed_and_cleared() {
    let managed = Managed::start();
    let set = |exchange| managed.ctl(&["set_topic_permissions", "guest", exchange, "^a", "^b"]);
    set("amq.topic").expect(0);
    set("amq.direct").expect(0);
    let listed = managed.ctl(&["-s", "list_topic_permissions"]).expect(0);
    assert_eq!(listed, "guest\tamq.direct\t^a\t^b\nguest\tamq.topic\t^a\t^b\n");
    let listed = managed.ctl(&["-s", "list_user_topic_permissions", "guest"]).expect(0);
    assert_eq!(listed, "/\tamq.direct\t^a\t^b\n/\tamq.topic\t^a\t^b\n");
    managed.ctl(&["clear_topic_permissions", "guest", "amq.direct"]).expect(0);
    let listed = managed.ctl(&["-s", "list_topic_permissions"]).expect(0);
    assert_eq!(listed, "guest\tamq.topic\t^a\t^b\n");
    managed.ctl(&["clear_topic_permissions", "guest"]).expect(0);
    assert_eq!(managed.json(&["list_topic_permissions"]), json!([]));
}
