//! Connections, channels and consumers: what is shown of them, to whom, and ending them.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use serde_json::{Value, json};

use crate::amqp::{Peer, long, short, table};
use crate::support::*;

fn connect(broker: &TestBroker, user: &str) -> Peer {
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open(user);
    peer.open_channel(1);
    peer
}

/// Adds a user with a tag, who may do everything in `/`. Its password is the one that
/// [`Peer`] logs in with.
fn add_user(broker: &TestBroker, name: &str, tag: &str) -> Client {
    let client = broker.client();
    let body = json!({"password": "secret", "tags": tag});
    client.put(&format!("/api/users/{name}"), &body).expect(201);
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    client.put(&format!("/api/permissions/%2f/{name}"), &all).expect(201);
    broker.client_as(name, "secret")
}

fn list(client: &Client, path: &str) -> Vec<Value> {
    match client.get(path).expect(200) {
        Value::Array(list) => list,
        other => panic!("{other}"),
    }
}

/// A name in a path.
fn in_path(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E")
}

fn only_name(client: &Client, path: &str) -> String {
    let list = list(client, path);
    assert_eq!(list.len(), 1, "{list:?}");
    list[0]["name"].as_str().expect("a name").to_owned()
}

#[test]
fn a_connection_shows_who_it_is_and_what_it_moves() {
    let broker = TestBroker::start();
    let client = broker.client();
    assert_eq!(client.get("/api/connections").expect(200), json!([]));
    let mut peer = connect(&broker, "guest");
    peer.sync(1);
    let name = only_name(&client, "/api/connections");
    let path = format!("/api/connections/{}", in_path(&name));
    let shown = client.get(&path).expect(200);
    let expected = json!({
        "name": name, "node": "ferrymq@localhost", "type": "network", "protocol": "AMQP 0-9-1",
        "state": "running", "user": "guest", "vhost": "/", "auth_mechanism": "PLAIN",
        "peer_host": "127.0.0.1", "host": "127.0.0.1", "channels": 1, "channel_max": 2047,
        "frame_max": 131_072, "ssl": false, "port": broker.amqp_address().port(),
    });
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert!(shown["client_properties"]["capabilities"]["connection.blocked"].as_bool().is_some());
    wait_until("what was written is shown", || {
        let shown = client.get(&path).expect(200);
        shown["recv_oct"].as_u64() > Some(100) && shown["send_oct"].as_u64() > Some(10)
    });
    assert!(shown["connected_at"].as_u64() > Some(1_700_000_000_000));
    let in_vhost = list(&client, "/api/vhosts/%2f/connections");
    assert_eq!(in_vhost.len(), 1);
    client.get("/api/vhosts/none/connections").expect_refused(404, "no vhost 'none'");
    client.get("/api/connections/none").expect_refused(404, "no open connection 'none'");
    let of_user = client.get("/api/connections/username/guest").expect(200);
    let in_short =
        json!([{"name": name, "node": "ferrymq@localhost", "user": "guest", "vhost": "/"}]);
    assert_eq!(of_user, in_short);
    peer.close();
    wait_until("it is gone", || list(&client, "/api/connections").is_empty());
}

#[test]
fn a_channel_shows_what_it_has_out_and_what_has_happened() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = connect(&broker, "guest");
    peer.call(1, ConfirmSelect::default());
    peer.call(1, BasicQos { prefetch_count: 10, ..BasicQos::default() });
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "x");
    assert!(matches!(peer.receive(1), Method::BasicAck(_)));
    peer.consume(1, "q", "tag");
    peer.delivery(1);
    let name = only_name(&client, "/api/channels");
    assert!(name.ends_with(" (1)"), "{name}");
    let path = format!("/api/channels/{}", in_path(&name));
    let shown = client.get(&path).expect(200);
    let expected = json!({
        "number": 1, "state": "running", "confirm": true, "transactional": false,
        "consumer_count": 1, "prefetch_count": 10, "global_prefetch_count": 0,
        "messages_unacknowledged": 1, "messages_unconfirmed": 0, "messages_uncommitted": 0,
        "acks_uncommitted": 0, "user": "guest", "vhost": "/",
    });
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&shown[field], value, "{field}");
    }
    let stats = &shown["message_stats"];
    assert_eq!((&stats["publish"], &stats["confirm"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["deliver"], &stats["deliver_get"]), (&json!(1), &json!(1)));
    assert!(stats["publish_details"]["rate"].is_number(), "{stats}");
    assert_eq!(shown["consumer_details"][0]["consumer_tag"], "tag");
    let exchange = json!({"name": "", "vhost": "/"});
    let published = json!({"publish": 1, "return_unroutable": 0, "drop_unroutable": 0});
    assert_eq!(shown["publishes"], json!([{"exchange": exchange, "stats": published}]));
    let delivery = &shown["deliveries"][0];
    assert_eq!(delivery["queue"], json!({"name": "q", "vhost": "/"}));
    assert_eq!((&delivery["stats"]["deliver"], &delivery["stats"]["ack"]), (&json!(1), &json!(0)));
    let connection = only_name(&client, "/api/connections");
    let of_connection = format!("/api/connections/{}/channels", in_path(&connection));
    assert_eq!(only_name(&client, &of_connection), name);
    assert_eq!(only_name(&client, "/api/vhosts/%2f/channels"), name);
    client.get("/api/channels/x").expect_refused(404, "CONNECTION (NUMBER)");
    let other = format!("/api/channels/{}%20(2)", in_path(&connection));
    client.get(&other).expect_refused(404, "no open channel");
    let without = client.get("/api/channels?disable_stats=true").expect(200);
    assert!(without[0].get("message_stats").is_none(), "{without}");
}

#[test]
fn a_transaction_shows_what_it_holds_back() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = connect(&broker, "guest");
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "x");
    peer.call(1, TxSelect);
    peer.get(1, "q", false).expect("a message");
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    peer.publish(1, "", "q", "y");
    peer.publish(1, "", "q", "z");
    let held = || {
        let shown = client.get("/api/channels").expect(200)[0].clone();
        assert_eq!(shown["transactional"], true);
        (shown["messages_uncommitted"].as_u64(), shown["acks_uncommitted"].as_u64())
    };
    wait_until("all of it is shown", || held() == (Some(2), Some(1)));
    peer.call(1, TxCommit);
    assert_eq!(held(), (Some(0), Some(0)));
}

#[test]
fn consumers_show_where_they_consume_and_whether_they_are_active() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = connect(&broker, "guest");
    let one =
        table([("x-single-active-consumer", ferrymq::protocol::table::FieldValue::Bool(true))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments: one, ..QueueDeclare::default() });
    peer.consume(1, "q", "first");
    let arguments = table([("kind", long("reserve"))]);
    let (queue, consumer_tag) = (short("q"), short("second"));
    let second = BasicConsume { queue, consumer_tag, arguments, ..BasicConsume::default() };
    peer.call(1, second);
    let consumers = list(&client, "/api/consumers");
    let shown = |consumer: &Value| {
        let fields = ["consumer_tag", "active", "activity_status", "ack_required"];
        fields.map(|field| consumer[field].clone())
    };
    let first = [json!("first"), json!(true), json!("single_active"), json!(true)];
    let second = [json!("second"), json!(false), json!("waiting"), json!(true)];
    assert_eq!([shown(&consumers[0]), shown(&consumers[1])], [first, second]);
    assert_eq!(consumers[1]["arguments"], json!({"kind": "reserve"}));
    assert_eq!(consumers[1]["queue"], json!({"name": "q", "vhost": "/"}));
    assert_eq!(consumers[1]["channel_details"]["number"], 1);
    assert_eq!(list(&client, "/api/consumers/%2f").len(), 2);
    client.get("/api/consumers/none").expect_refused(404, "no vhost 'none'");
}

#[test]
fn a_connection_is_ended_with_the_reason_that_is_given() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = connect(&broker, "guest");
    let path = format!("/api/connections/{}", in_path(&only_name(&client, "/api/connections")));
    let answer = client.send_with("DELETE", &path, &[("X-Reason", "maintenance")], b"");
    answer.expect(204);
    let (code, text) = peer.expect_connection_close();
    assert_eq!((code, text.as_str()), (320, "CONNECTION_FORCED - maintenance"));
    peer.send(0, ConnectionCloseOk);
    wait_until("it is gone", || list(&client, "/api/connections").is_empty());
    client.delete(&path).expect_refused(404, "no open connection");
    let mut peers = [connect(&broker, "guest"), connect(&broker, "guest")];
    client.delete("/api/connections/username/guest").expect(204);
    for peer in &mut peers {
        let (code, text) = peer.expect_connection_close();
        assert_eq!(code, 320);
        assert!(text.contains("Closed via management"), "{text}");
    }
    client.delete("/api/connections/username/nobody").expect(204);
}

#[test]
fn who_is_no_monitor_sees_and_ends_its_own_only() {
    let broker = TestBroker::start();
    let eve = add_user(&broker, "eve", "management");
    let monitor = add_user(&broker, "mon", "monitoring");
    let _of_eve = connect(&broker, "eve");
    let mut of_guest = connect(&broker, "guest");
    of_guest.declare_queue(1, "q");
    of_guest.consume(1, "q", "c");
    let both = list(&monitor, "/api/connections");
    assert_eq!((both.len(), list(&monitor, "/api/channels").len()), (2, 2));
    assert_eq!(list(&eve, "/api/connections").len(), 1);
    assert_eq!(list(&eve, "/api/channels").len(), 1);
    assert!(list(&eve, "/api/consumers").is_empty());
    assert_eq!(list(&monitor, "/api/consumers").len(), 1);
    let is_guests = |connection: &&Value| connection["user"] == "guest";
    let guests = both.iter().find(is_guests).expect("it is there")["name"].clone();
    let path = format!("/api/connections/{}", in_path(guests.as_str().expect("a name")));
    eve.get(&path).expect_refused(401, "another user's");
    eve.delete(&path).expect_refused(401, "another user's");
    monitor.get(&path).expect(200);
    monitor.delete(&path).expect_refused(401, "by an administrator");
    eve.delete("/api/connections/username/guest").expect_refused(401, "by an administrator");
    eve.delete("/api/connections/username/eve").expect(204);
    wait_until("its own is gone", || list(&eve, "/api/connections").is_empty());
    assert_eq!(list(&monitor, "/api/connections").len(), 1);
}

/// Samples are taken every five seconds.
#[test]
fn rates_and_samples_are_those_of_what_was_sampled() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = connect(&broker, "guest");
    let ages = "msg_rates_age=60&msg_rates_incr=5";
    let overview = || client.get(&format!("/api/overview?{ages}")).expect(200);
    let channel = || client.get(&format!("/api/channels?{ages}")).expect(200)[0].clone();
    let rate = |of: &Value| of["message_stats"]["publish_details"]["rate"].as_f64().unwrap_or(0.0);
    let (mut broker_s, mut channel_s) = (0.0, 0.0);
    wait_until("there are rates", || {
        peer.publish_with(1, "", "nowhere", b"x", &Properties::default());
        peer.sync(1);
        broker_s = f64::max(broker_s, rate(&overview()));
        channel_s = f64::max(channel_s, rate(&channel()));
        broker_s > 0.0 && channel_s > 0.0
    });
    let overview = overview();
    let samples = &overview["message_stats"]["publish_details"]["samples"];
    assert!(samples.as_array().is_some_and(|samples| samples.len() >= 2), "{overview}");
    let nowhere = &overview["message_stats"]["drop_unroutable"];
    assert_eq!(nowhere, &overview["message_stats"]["publish"]);
    client.get("/api/overview?msg_rates_age=x&msg_rates_incr=5").expect_refused(400, "seconds");
    client.get("/api/channels?msg_rates_age=9999999&msg_rates_incr=1").expect_refused(400, "1000");
}
