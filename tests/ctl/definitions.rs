//! Definitions, to a file and from one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::program::*;

#[test]
fn definitions_are_saved_to_a_file_and_taken_from_it() {
    let (from, to) = (Managed::start(), Managed::start());
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("definitions.json");
    let path = path.to_str().expect("UTF-8");
    from.ctl(&["add_user", "alice", "secret"]).expect(0);
    from.ctl(&["add_vhost", "v"]).expect(0);
    from.ctl(&["export_definitions", path]).expect(0);
    let mode = fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "there are password hashes in it");
    to.ctl(&["import_definitions", path]).expect(0);
    to.ctl(&["authenticate_user", "alice", "secret"]).expect(0);
    to.client().get("/api/vhosts/v").expect(200);
}

#[test]
fn what_is_in_force_already_is_not_imported_when_that_is_asked_for() {
    let managed = Managed::start();
    managed.ctl(&["add_user", "alice", "secret"]).expect(0);
    managed.ctl(&["set_policy", "p", "^q", "{\"max-length\":3}"]).expect(0);
    let all = managed.ctl(&["export_definitions", "-"]).expect(0);
    let import = |text: &str, more: &[&str]| {
        let words = [&["import_definitions", "-", "--skip-if-unchanged"][..], more].concat();
        managed.ctl_with(&words, text).expect(0)
    };
    let changes = || managed.json(&["audit", "kind"]).as_array().expect("a list").len();
    let (before, skipped) = (changes(), "Nothing was imported");
    assert!(import(&all, &[]).contains(skipped));
    let of_vhost = managed.ctl(&["export_definitions", "-", "-p", "/"]).expect(0);
    assert!(import(&of_vhost, &["-p", "/"]).contains(skipped));
    // What people write leaves out what is as it usually is.
    let policy = "{\"policies\":[{\"vhost\":\"/\",\"name\":\"p\",\"pattern\":\"^q\",\
                  \"definition\":{\"max-length\":3}}]}";
    assert!(import(policy, &[]).contains(skipped));
    assert_eq!(changes(), before, "nothing was done that could be told of");
    assert!(!import(&policy.replace('3', "4"), &[]).contains(skipped));
    let policies = managed.json(&["list_policies", "definition"]);
    assert_eq!(policies[0]["definition"]["max-length"], 4);
    // Now the first file would change it back.
    assert!(!import(&all, &[]).contains(skipped));
    let queue = "{\"queues\":[{\"vhost\":\"/\",\"name\":\"t\",\"durable\":false}]}";
    assert!(!import(queue, &[]).contains(skipped), "what isn't durable is in no export");
    assert_eq!(managed.json(&["list_queues", "name"])[0]["name"], "t");
}

#[test]
fn definitions_pass_through_a_pipe() {
    let managed = Managed::start();
    let text = managed.ctl(&["export_definitions", "-"]).expect(0);
    let exported: Value = serde_json::from_str(&text).expect("JSON and nothing else");
    assert_eq!(exported["vhosts"][0]["name"], "/");
    managed.ctl_with(&["import_definitions"], &text).expect(0);
    let text = managed.ctl(&["export_definitions", "-", "-p", "/"]).expect(0);
    let exported: Value = serde_json::from_str(&text).expect("JSON");
    assert!(exported.get("users").is_none(), "{exported}");
    managed.ctl(&["export_definitions", "-", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
}

#[test]
fn what_cannot_be_imported_is_said() {
    let managed = Managed::start();
    managed
        .ctl_with(&["import_definitions"], "{no json")
        .expect_failed(65, "standard input is not JSON");
    managed.ctl(&["import_definitions", "/no/such/file"]).expect_failed(65, "/no/such/file");
    let wrong = "{\"users\":[{\"name\":\"x\",\"tags\":7}]}";
    managed.ctl_with(&["import_definitions"], wrong).expect_failed(69, "'users' ('x')");
    managed.client().get("/api/users/x").expect(404);
    managed.ctl(&["export_definitions", "/no/such/directory/f"]).expect_failed(65, "cannot write");
}
