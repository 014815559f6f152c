//! How answers are printed.

use serde_json::json;

use crate::program::*;

#[test]
fn a_list_is_printed_as_it_is_asked_for() {
    let managed = Managed::start();
    let list =
        |more: &[&str]| managed.ctl(&[&["list_vhosts", "name", "tags"], more].concat()).expect(0);
    assert_eq!(list(&[]), "Listing vhosts ...\nname\ttags\n/\t[]\n");
    assert_eq!(list(&["-q"]), "name\ttags\n/\t[]\n");
    assert_eq!(list(&["-s"]), "/\t[]\n");
    assert_eq!(list(&["--no-table-headers"]), "Listing vhosts ...\n/\t[]\n");
    assert_eq!(list(&["--formatter", "csv"]), "\"name\",\"tags\"\n\"/\",\"[]\"\n");
    assert!(list(&["--formatter", "pretty_table"]).contains("│ /    ┆ []   │"));
    assert_eq!(managed.json(&["list_vhosts", "name,tags"]), json!([{"name": "/", "tags": []}]));
}

#[test]
fn a_change_says_in_json_that_it_is_done() {
    let managed = Managed::start();
    assert_eq!(managed.json(&["add_vhost", "v"]), json!({"result": "ok"}));
    assert_eq!(managed.ctl(&["-q", "add_vhost", "v"]).expect(0), "");
}

#[test]
fn a_name_cannot_move_the_cursor_or_break_a_line() {
    let managed = Managed::start();
    managed.ctl(&["add_vhost", "a\tb\u{1b}[2J"]).expect(0);
    let listed = managed.ctl(&["-s", "list_vhosts"]).expect(0);
    assert_eq!(listed, "/\na\\011b\\033[2J\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let managed = Managed::start();
    let program = env!("CARGO_BIN_EXE_ferrymqctl");
    let line = format!("'{program}' --url {} list_vhosts; echo $? >&2", managed.url());
    let shell = std::process::Command::new("bash")
        .args(["-c", &format!("( {line} ) > >(exec <&-; exit)")])
        .output()
        .expect("a shell");
    let told = String::from_utf8(shell.stderr).expect("UTF-8");
    assert_eq!(told.trim(), "0");
}

/// As rabbitmqctl does: what came of it is an answer, advice is not.
#[test]
fn silence_leaves_answers_and_takes_advice_away() {
    let managed = Managed::start();
    assert_eq!(managed.ctl(&["-s", "ping"]).expect(0), "Ping succeeded\n");
    let told = managed.ctl(&["-s", "check_running"]).expect(0);
    assert_eq!(told, "The broker is fully booted and running\n");
    assert_eq!(managed.ctl(&["-s", "trace_off"]).expect(0), "Trace disabled for vhost /\n");
    assert_eq!(managed.ctl(&["-q", "add_user", "alice", "x"]).expect(0), "");
    assert_eq!(managed.ctl_with(&["-q", "import_definitions"], "{}").expect(0), "");
}

#[test]
fn members_of_json_stand_in_the_order_of_the_columns() {
    let managed = Managed::start();
    let listed = managed.ctl(&["list_vhosts", "tags", "name", "--formatter", "json"]).expect(0);
    assert_eq!(listed, "[\n{\"tags\":[],\"name\":\"/\"}\n]\n");
}
