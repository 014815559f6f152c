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
