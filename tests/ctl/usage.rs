//! What is said to those who ask in the wrong way, at the wrong place, or as the wrong user.

use std::net::TcpListener;

use crate::program::*;

#[test]
fn wrong_usage_is_said_and_asks_the_broker_nothing() {
    run(&[], "").expect_failed(64, "list_queues");
    run(&["no_such_verb"], "").expect_failed(64, "no_such_verb");
    run(&["list_vhosts", "no_such_column"], "")
        .expect_failed(64, "there is no column no_such_column");
    run(&["add_user"], "").expect_failed(64, "<USER>");
    run(&["list_vhosts", "--no-such"], "").expect_failed(64, "--no-such");
    run(&["list_vhosts", "--url", "amqp://there"], "").expect_failed(64, "http://127.0.0.1:15672");
    run(&["set_policy", "p", ".*", "{no json"], "").expect_failed(65, "DEFINITION is not JSON");
    run(&["store"], "").expect_failed(2, "store");
}

#[test]
fn help_has_an_example() {
    let help = run(&["set_policy", "--help"], "").expect(0);
    assert!(help.contains("Example:\n  ferrymqctl set_policy -p / ttl"), "{help}");
    let help = run(&["--help"], "").expect(0);
    assert!(help.contains("Policies:\n  set_policy"), "{help}");
    assert!(!help.contains("join_cluster"), "{help}");
    assert_eq!(run(&["version"], "").expect(0).trim(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn what_only_a_cluster_or_erlang_can_do_is_refused_with_a_reason() {
    run(&["join_cluster", "rabbit@there", "--ram"], "").expect_failed(69, "is one node");
    run(&["eval", "1 + 1."], "").expect_failed(69, "no Erlang");
}

#[test]
fn a_broker_that_is_not_there_or_does_not_answer_is_said() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("its address"));
    let ran = run(&["--url", &url, "--timeout", "1", "list_vhosts"], "");
    ran.expect_failed(75, "did not answer in time");
    drop(nobody);
    run(&["--url", &url, "list_vhosts"], "").expect_failed(69, "unable to reach");
    run(&["--url", &url, "ping"], "").expect_failed(69, "unable to reach");
    run(&["--url", &url, "-t", "1", "await_startup"], "").expect_failed(75, "unable to reach");
}

#[test]
fn a_wrong_password_is_not_allowed_and_a_missing_one_is_asked_for() {
    let managed = Managed::start();
    managed.ctl(&["--password", "wrong", "list_vhosts"]).expect_failed(77, "password is wrong");
    managed.ctl(&["--user", "alice", "list_vhosts"]).expect_failed(64, "the password of alice");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "guest\nsecond line").expect("it is written");
    let path = file.path().to_str().expect("UTF-8");
    managed.ctl(&["--password-file", path, "list_vhosts"]).expect(0);
    managed.ctl(&["--password-file", "/no/such", "list_vhosts"]).expect_failed(65, "/no/such");
    let url = managed.url().replace("http://", "http://guest:wrong@");
    run(&["--url", &url, "list_vhosts"], "").expect_failed(77, "password is wrong");
    run(&["--url", &url.replace("wrong", "guest"), "list_vhosts"], "").expect(0);
}

#[test]
fn a_broker_that_runs_answers_pings_and_the_wait_for_it_ends() {
    let managed = Managed::start();
    assert!(managed.ctl(&["ping"]).expect(0).ends_with("Ping succeeded\n"));
    managed.ctl(&["await_startup"]).expect(0);
    managed.ctl(&["check_running"]).expect(0);
    assert!(managed.ctl(&["-s", "is_running"]).expect(0).contains("fully booted and running"));
    managed.ctl(&["check_local_alarms"]).expect(0);
}
