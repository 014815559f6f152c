//! `ferrymqctl store` as a verb among the others; what it finds is tested beside the store.

use crate::program::*;

#[test]
fn a_directory_that_a_broker_left_is_checked_dumped_and_saved() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let mut managed = Managed::with(|config| config.store.data_dir.clone_from(&data));
    managed.ctl(&["add_vhost", "v"]).expect(0);
    let path = data.to_str().expect("UTF-8");
    run(&["store", "check", path], "").expect_failed(2, "in use");
    managed.broker.stop();
    let checked = run(&["store", "check", path], "");
    assert_eq!(checked.err, "", "there is no bar in a pipe");
    assert!(checked.expect(0).contains("is whole"));
    assert!(run(&["store", "dump", path], "").expect(0).contains("\"name\":\"v\""));
    let to = directory.path().join("saved");
    let to = to.to_str().expect("UTF-8");
    assert!(run(&["store", "repair", path, "--to", to], "").expect(0).contains("saved to"));
}
