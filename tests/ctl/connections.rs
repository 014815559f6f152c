//! Connections, channels and consumers: listed, and closed.

use serde_json::Value;

use crate::amqp::Peer;
use crate::program::*;
use crate::support::wait_until;

fn connect(managed: &Managed, user: &str) -> Peer {
    let mut peer = Peer::connect(managed.broker.amqp_address());
    peer.open(user);
    peer.open_channel(1);
    peer
}

/// The names of the connections there are.
fn names(managed: &Managed) -> Vec<String> {
    let found = managed.json(&["list_connections", "pid"]);
    let name = |one: &Value| one["pid"].as_str().expect("a name").to_owned();
    found.as_array().expect("a list").iter().map(name).collect()
}

#[test]
fn who_is_connected_and_consumes_is_listed() {
    let managed = Managed::start();
    let mut peer = connect(&managed, "guest");
    peer.declare_queue(1, "orders");
    peer.consume(1, "orders", "tag");
    let listed = managed.ctl(&["-q", "list_connections", "user", "state", "channels"]).expect(0);
    assert_eq!(listed, "user\tstate\tchannels\nguest\trunning\t1\n");
    let name = names(&managed).remove(0);
    let listed = managed.ctl(&["-s", "list_channels", "pid", "user", "consumer_count"]).expect(0);
    assert_eq!(listed, format!("{name} (1)\tguest\t1\n"));
    let listed = managed.ctl(&["-s", "list_consumers"]).expect(0);
    assert!(listed.starts_with(&format!("orders\t{name} (1)\ttag\ttrue\t0\t")), "{listed}");
    managed.ctl(&["list_consumers", "-p", "nowhere"]).expect_failed(65, "'nowhere'");
}

#[test]
fn a_connection_is_closed_by_its_name_with_a_reason() {
    let managed = Managed::start();
    let mut peer = connect(&managed, "guest");
    let name = names(&managed).remove(0);
    managed.ctl(&["close_connection", &name, "moving house"]).expect(0);
    let (code, text) = peer.expect_connection_close();
    assert!(code == 320 && text.contains("moving house"), "{code} {text}");
    wait_until("it is gone", || names(&managed).is_empty());
    managed.ctl(&["close_connection", &name]).expect_failed(69, "connection");
}

#[test]
fn connections_of_a_vhost_or_a_user_are_closed() {
    let managed = Managed::start();
    managed.ctl(&["add_user", "alice", "secret"]).expect(0);
    managed.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).expect(0);
    let mut peers = [connect(&managed, "guest"), connect(&managed, "alice")];
    managed.ctl(&["close_all_user_connections", "alice", "bye"]).expect(0);
    assert_eq!(peers[1].expect_connection_close().0, 320);
    wait_until("one is gone", || names(&managed).len() == 1);
    managed.ctl(&["add_vhost", "v"]).expect(0);
    let told = managed.ctl(&["-q", "close_all_connections", "-p", "v"]).expect(0);
    assert_eq!(told, "Closed 0 connections\n");
    let told = managed.ctl(&["-q", "close_all_connections", "-p", "/", "bye"]).expect(0);
    assert_eq!(told, "Closed 1 connections\n");
    assert_eq!(peers[0].expect_connection_close().0, 320);
    let told = managed.ctl(&["-q", "close_all_connections", "--global"]).expect(0);
    assert!(told.starts_with("Closed "), "{told}");
}
