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

/// Of the verbs in the help; a verb that has none is in no table.
#[test]
fn every_verb_has_a_test_and_its_help_an_example() {
    let help = run(&["--help"], "").expect(0);
    let verb = |line: &str| {
        let name = line.strip_prefix("  ")?.split_once("  ")?.0;
        name.starts_with(|letter: char| letter.is_ascii_lowercase()).then(|| name.to_owned())
    };
    let verbs: Vec<String> = help.lines().filter_map(verb).collect();
    assert!(verbs.len() > 100, "{verbs:?}");
    let tests: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ctl"))
        .expect("the tests")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a text"))
        .collect();
    for verb in verbs {
        assert!(tests.contains(&format!("\"{verb}\"")), "{verb} has no test");
        let help = run(&["help", &verb], "").expect(0);
        let is_shown = help.contains(&format!("  ferrymqctl {verb}"));
        let has_own = matches!(verb.as_str(), "help" | "version" | "store");
        assert!(is_shown || has_own, "{verb} has no example: {help}");
    }
}

#[test]
fn help_is_asked_for_in_every_way() {
    let asked: Vec<String> =
        [&["help", "ping"][..], &["ping", "--help"], &["ping", "-h"], &["ping", "-?"]]
            .iter()
            .map(|words| run(words, "").expect(0))
            .collect();
    assert!(asked.iter().all(|help| *help == asked[0]), "{asked:?}");
    let known = run(&["help", "completions"], "").expect(0);
    assert!(known.contains("ferrymqctl completions bash"), "{known}");
}

#[test]
fn what_only_a_cluster_or_erlang_can_do_is_refused_with_a_reason() {
    run(&["join_cluster", "rabbit@there", "--ram"], "").expect_failed(69, "is one node");
    run(&["eval", "1 + 1."], "").expect_failed(69, "no Erlang");
    run(&["quorum_status", "orders"], "").expect_failed(69, "no replicas");
    run(&["os_env"], "").expect_failed(69, "`ferrymqctl environment`");
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
    managed.ctl(&["--username", "alice", "list_vhosts"]).expect_failed(64, "the password of alice");
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
    assert_eq!(managed.json(&["is_running"])["result"], true);
    assert_eq!(managed.json(&["is_booting"])["result"], false);
    managed.ctl(&["check_local_alarms"]).expect(0);
}
