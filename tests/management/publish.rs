//! Publishing over HTTP.

use ferrymq::protocol::generated::*;
use serde_json::{Value, json};

use crate::amqp::{long, short, table};
use crate::support::*;

const DEFAULT: &str = "/api/exchanges/%2f/amq.default/publish";

fn message(key: &str, properties: &Value, payload: &str) -> Value {
    json!({
        "routing_key": key, "properties": properties, "payload": payload,
        "payload_encoding": "string",
    })
}

#[test]
fn a_message_is_on_disk_when_it_is_answered_for() {
    let mut broker = TestBroker::start();
    broker.client().put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    let properties = json!({
        "delivery_mode": 2, "headers": {"n": 1, "list": ["a", true]}, "priority": 4,
        "expiration": "600000", "timestamp": 123, "type": "t", "user_id": "guest",
    });
    let sent = broker.client().post(DEFAULT, &message("q", &properties, "grüße"));
    assert_eq!(sent.expect(200), json!({"routed": true}));
    broker.restart();
    let got = broker.channel().get(1, "q", true).expect("a message");
    assert_eq!(got.body, "grüße".as_bytes());
    assert_eq!(ferrymq::protocol::json::properties(&got.properties), properties);
}

#[test]
fn the_answer_says_whether_a_queue_got_it() {
    let broker = TestBroker::start();
    let client = broker.client();
    let sent = client.post(DEFAULT, &message("none", &json!({}), "x"));
    assert_eq!(sent.expect(200), json!({"routed": false}));
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    client.post("/api/bindings/%2f/e/amq.fanout/q/q", &json!({})).expect(201);
    let sent = client.post("/api/exchanges/%2f/amq.fanout/publish", &message("k", &json!({}), "x"));
    assert_eq!(sent.expect(200), json!({"routed": true}));
    // As clients write the default exchange that don't know its name for paths.
    let sent = client.post("/api/exchanges/%2f//publish", &message("q", &json!([]), "x"));
    assert_eq!(sent.expect(200), json!({"routed": true}));
}

#[test]
fn bytes_that_are_no_text_come_as_base64() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    let mut body = message("q", &json!({}), "/wAB");
    body["payload_encoding"] = json!("base64");
    client.post(DEFAULT, &body).expect(200);
    assert_eq!(broker.channel().get(1, "q", true).expect("a message").body, [255, 0, 1]);
    body["payload"] = json!("%%");
    client.post(DEFAULT, &body).expect_refused(400, "the payload is not base64");
}

#[test]
fn a_full_queue_refuses() {
    let broker = TestBroker::start();
    let client = broker.client();
    let arguments = json!({"x-max-length": 1, "x-overflow": "reject-publish"});
    client.put("/api/queues/%2f/q", &json!({"arguments": arguments})).expect(201);
    client.post(DEFAULT, &message("q", &json!({}), "1")).expect(200);
    client.post(DEFAULT, &message("q", &json!({}), "2")).expect_refused(400, "is full");
}

#[test]
fn a_duplicate_goes_nowhere_and_is_confirmed() {
    let broker = TestBroker::start();
    let client = broker.client();
    let arguments = json!({"x-message-deduplication": true, "x-cache-size": 10});
    let exchange = json!({"type": "fanout", "arguments": arguments});
    client.put("/api/exchanges/%2f/x", &exchange).expect(201);
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    client.post("/api/bindings/%2f/e/x/q/q", &json!({})).expect(201);
    let properties = json!({"headers": {"x-deduplication-header": "once"}});
    for _ in 0..2 {
        let sent = client.post("/api/exchanges/%2f/x/publish", &message("", &properties, "x"));
        assert_eq!(sent.expect(200), json!({"routed": true}));
    }
    assert_eq!(client.get("/api/queues/%2f/q").expect(200)["messages"], 1);
}

#[test]
fn a_blind_copy_goes_where_it_says_and_nobody_hears_of_it() {
    let broker = TestBroker::start();
    let client = broker.client();
    ["q", "copy"].iter().for_each(|name| {
        client.put(&format!("/api/queues/%2f/{name}"), &json!({})).expect(201);
    });
    let properties = json!({"headers": {"BCC": ["copy"], "n": 1}});
    client.post(DEFAULT, &message("q", &properties, "x")).expect(200);
    let got = broker.channel().get(1, "copy", true).expect("a message");
    let headers = table([("n", ferrymq::protocol::table::FieldValue::I64(1))]);
    assert_eq!(got.properties.headers(), Some(headers));
}

#[test]
fn a_traced_vhost_copies_what_is_published() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "copies");
    peer.bind(1, "copies", "amq.rabbitmq.trace", "publish.#");
    broker.broker().vhost("/").expect("there").set_tracing(true, None);
    client.post(DEFAULT, &message("none", &json!({}), "seen")).expect(200);
    let copy = peer.get(1, "copies", true).expect("a copy");
    assert_eq!(copy.body, b"seen");
    assert_eq!(copy.properties.headers().expect("some").get("user"), Some(&long("guest")));
}

/// A reply goes to its channel, past the queues.
#[test]
fn a_reply_reaches_whoever_waits_for_it() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    let queue = short("amq.rabbitmq.reply-to");
    let consume = BasicConsume { queue: queue.clone(), no_ack: true, ..BasicConsume::default() };
    assert!(matches!(peer.call(1, consume), Method::BasicConsumeOk(_)));
    client.put("/api/queues/%2f/requests", &json!({})).expect(201);
    let request = BasicProperties { reply_to: Some(queue), ..BasicProperties::default() };
    peer.publish_with(1, "", "requests", b"?", &(&request).into());
    peer.sync(1);
    let get = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let got = client.post("/api/queues/%2f/requests/get", &get).expect(200);
    let address = got[0]["properties"]["reply_to"].as_str().expect("an address").to_owned();
    let sent = client.post(DEFAULT, &message(&address, &json!({}), "!"));
    assert_eq!(sent.expect(200), json!({"routed": true}));
    assert_eq!(peer.receive_content(1).body, b"!");
}

#[test]
fn what_cannot_be_published_is_named_with_its_reason() {
    let broker = TestBroker::with(|config| config.amqp.message_size_max_bytes = 1000);
    let client = broker.client();
    let long = "x".repeat(300);
    for (properties, reason) in [
        (json!({"priority": "x"}), "the property 'priority' has to be a number from 0 to 255"),
        (json!({"expiration": 5}), "the property 'expiration' has to be a text"),
        (json!({"expiration": "soon"}), "invalid expiration 'soon'"),
        (json!({"user_id": "other"}), "user_id property set to 'other'"),
        (json!({"reply_to": "amq.rabbitmq.reply-to"}), "fast reply consumer does not exist"),
        (json!({"headers": {"CC": "a"}}), "unacceptable_type_in_header"),
        (json!({"app_id": long}), "at most 255 bytes"),
        (json!("none"), "an object is needed"),
    ] {
        client.post(DEFAULT, &message("q", &properties, "x")).expect_refused(400, reason);
    }
    let sized = |len: usize| message("q", &json!({}), &"x".repeat(len));
    client.post(DEFAULT, &sized(1000)).expect(200);
    client.post(DEFAULT, &sized(1001)).expect_refused(400, "message size 1001 is larger than");
    for (missing, reason) in [
        ("routing_key", "missing field `routing_key`"),
        ("properties", "missing field `properties`"),
        ("payload", "missing field `payload`"),
        ("payload_encoding", "missing field `payload_encoding`"),
    ] {
        let mut body = message("q", &json!({}), "x");
        body.as_object_mut().expect("an object").remove(missing);
        client.post(DEFAULT, &body).expect_refused(400, reason);
    }
    let mut body = message(&long, &json!({}), "x");
    client.post(DEFAULT, &body).expect_refused(400, "the routing key 'xxx");
    body["payload_encoding"] = json!("utf-16");
    client.post(DEFAULT, &body).expect_refused(400, "unknown variant `utf-16`");
    let nowhere = client.post("/api/exchanges/%2f/none/publish", &sized(1));
    nowhere.expect_refused(404, "no exchange 'none' in vhost '/'");
    let nowhere = client.post("/api/exchanges/nowhere/amq.default/publish", &sized(1));
    nowhere.expect_refused(404, "no vhost 'nowhere'");
    let internal = client.post("/api/exchanges/%2f/amq.rabbitmq.trace/publish", &sized(1));
    internal.expect_refused(401, "cannot publish to internal exchange");
}

#[test]
fn a_body_of_100_mb_is_too_large() {
    let broker = TestBroker::start();
    let body = vec![b' '; 100_000_000];
    broker.client().send("POST", DEFAULT, &body).expect_refused(413, "33554432 bytes");
}

#[test]
fn permissions_of_the_vhost_hold() {
    let broker = TestBroker::start();
    let client = broker.client_with("carol", [".*", "^amq.fanout$", ".*"]);
    let body = message("q", &json!({}), "x");
    client.post("/api/exchanges/%2f/amq.fanout/publish", &body).expect(200);
    let refused = "write access to exchange 'amq.default' in vhost '/' refused for user 'carol'";
    client.post(DEFAULT, &body).expect_refused(401, refused);
}
