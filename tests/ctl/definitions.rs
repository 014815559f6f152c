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
    to.ctl(&["import_definitions", path, "--skip-if-unchanged"]).expect(0);
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
    managed.ctl_with(&["import_definitions"], "{no json").expect_failed(65, "- is not JSON");
    managed.ctl(&["import_definitions", "/no/such/file"]).expect_failed(65, "/no/such/file");
    let wrong = "{\"users\":[{\"name\":\"x\",\"tags\":7}]}";
    managed.ctl_with(&["import_definitions"], wrong).expect_failed(69, "'users' ('x')");
    managed.client().get("/api/users/x").expect(404);
    managed.ctl(&["export_definitions", "/no/such/directory/f"]).expect_failed(74, "cannot write");
}
