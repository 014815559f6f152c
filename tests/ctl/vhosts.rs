//! Vhosts.

use serde_json::json;

use crate::program::*;

#[test]
fn a_vhost_is_added_and_described_and_listed() {
    let managed = Managed::start();
    let told = managed.ctl(&["add_vhost", "the/shop", "--description", "Orders", "--tags", "a,b"]);
    assert_eq!(told.expect(0), "Adding vhost \"the/shop\" ...\n");
    managed.ctl(&["update_vhost_metadata", "the/shop", "--description", "All"]).expect(0);
    let found = managed.client().get("/api/vhosts/the%2Fshop").expect(200);
    assert_eq!((&found["description"], &found["tags"]), (&json!("All"), &json!(["a", "b"])));
    let told = managed.ctl(&["set_vhost_tags", "the/shop", "x", "y"]).expect(0);
    assert_eq!(told, "Setting tags for virtual host \"the/shop\" to [x, y] ...\n");
    let listed = managed.ctl(&["list_vhosts", "name", "tags"]).expect(0);
    assert_eq!(listed, "Listing vhosts ...\nname\ttags\n/\t[]\nthe/shop\t[x, y]\n");
}

#[test]
fn a_protected_vhost_is_not_deleted() {
    let managed = Managed::start();
    managed.ctl(&["add_vhost", "v"]).expect(0);
    managed.ctl(&["enable_vhost_deletion_protection", "v"]).expect(0);
    managed.ctl(&["delete_vhost", "v"]).expect_failed(69, "protected from deletion");
    managed.ctl(&["disable_vhost_deletion_protection", "v"]).expect(0);
    managed.ctl(&["delete_vhost", "v"]).expect(0);
    managed.client().get("/api/vhosts/v").expect(404);
    managed.ctl(&["delete_vhost", "v"]).expect_failed(65, "Virtual host 'v' does not exist");
}

#[test]
fn tracing_is_switched_on_and_off() {
    let managed = Managed::start();
    let told = managed.ctl(&["trace_on", "-p", "/"]).expect(0);
    assert_eq!(told, "Starting tracing for vhost \"/\" ...\nTrace enabled for vhost /\n");
    assert_eq!(managed.json(&["list_vhosts", "tracing"]), json!([{"tracing": true}]));
    managed.ctl(&["trace_off"]).expect(0);
    assert_eq!(managed.json(&["list_vhosts", "tracing"]), json!([{"tracing": false}]));
}

#[test]
fn what_describes_a_vhost_does_not_add_one() {
    let managed = Managed::start();
    for words in [
        &["set_vhost_tags", "nowhere", "x"][..],
        &["update_vhost_metadata", "nowhere", "--tags", "x"],
        &["trace_on", "-p", "nowhere"],
    ] {
        managed.ctl(words).expect_failed(65, "Virtual host 'nowhere' does not exist");
    }
    managed.client().get("/api/vhosts/nowhere").expect(404);
    managed.ctl(&["add_vhost", &"v".repeat(300)]).expect_failed(69, "255 bytes");
}

#[test]
fn a_vhost_that_is_there_runs() {
    let managed = Managed::start();
    let told = managed.ctl(&["restart_vhost", "-p", "/"]).expect(0);
    assert!(told.ends_with("Vhost '/' is already running\n"), "{told}");
    managed.ctl(&["restart_vhost", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
}
