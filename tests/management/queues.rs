//! Queues: declared, shown, purged and deleted.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::table::FieldValue;
use serde_json::{Value, json};

use crate::amqp::{long, persistent, short, table};
use crate::support::*;

/// Asks for a queue until this is so.
fn wait_for(client: &Client, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || is_so(&client.get(path).expect(200)));
    client.get(path).expect(200)
}

#[test]
fn a_queue_is_declared_once_and_is_there_after_a_restart() {
    let mut broker = TestBroker::start();
    let body = json!({"durable": true, "arguments": {"x-max-length": 10}});
    broker.client().put("/api/queues/%2f/q%2f1", &body).expect(201);
    broker.client().put("/api/queues/%2f/q%2f1", &body).expect(204);
    broker.restart();
    let found = broker.client().get("/api/queues/%2f/q%2f1?disable_stats=true").expect(200);
    let expected = json!({
        "name": "q/1", "vhost": "/", "type": "classic", "durable": true, "auto_delete": false,
        "exclusive": false, "arguments": {"x-max-length": 10}, "node": "ferrymq@localhost",
        "state": "running", "storage_version": 2, "policy": null, "operator_policy": null,
        "effective_policy_definition": {},
    });
    assert_eq!(found, expected);
}

#[test]
fn a_quorum_queue_says_where_it_is() {
    let broker = TestBroker::start();
    let body = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    broker.client().put("/api/queues/%2f/q", &body).expect(201);
    let found = broker.client().get("/api/queues/%2f/q").expect(200);
    assert_eq!((&found["type"], &found["delivery_limit"]), (&json!("quorum"), &json!(20)));
    assert_eq!(found["members"], json!(["ferrymq@localhost"]));
    assert_eq!(found["leader"], "ferrymq@localhost");
}

#[test]
fn messages_are_counted_where_they_are() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    ["one", "three", "fifteen"].iter().for_each(|body| peer.publish(1, "", "q", body));
    peer.get(1, "q", false).expect("a message");
    let found = client.get("/api/queues/%2f/q").expect(200);
    let counts = [
        ("messages", 3),
        ("messages_ready", 2),
        ("messages_unacknowledged", 1),
        ("messages_delayed", 0),
        ("message_bytes", 15),
        ("message_bytes_ready", 12),
        ("message_bytes_unacknowledged", 3),
        ("consumers", 0),
        ("consumer_utilisation", 0),
    ];
    for (name, count) in counts {
        assert_eq!(found[name], json!(count), "{name} in {found}");
    }
    assert!(found["idle_since"].as_str().is_some_and(|time| time.ends_with("+00:00")), "{found}");
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    let path = "/api/queues/%2f/q?disable_stats=true&enable_queue_totals=true";
    let found = wait_for(&client, path, "it is settled", |q| q["messages"] == 2);
    assert_eq!(found.get("message_bytes"), None, "that is a statistic: {found}");
}

#[test]
fn the_timestamp_of_the_next_message_is_shown() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    assert_eq!(client.get("/api/queues/%2f/q").expect(200)["head_message_timestamp"], json!(null));
    let message = json!({
        "routing_key": "q", "properties": {"timestamp": 1_764_109_570}, "payload": "",
        "payload_encoding": "string",
    });
    client.post("/api/exchanges/%2f/amq.default/publish", &message).expect(200);
    let found = client.get("/api/queues/%2f/q").expect(200);
    assert_eq!(found["head_message_timestamp"], json!(1_764_109_570));
}

#[test]
fn a_queue_shows_its_consumers_and_which_of_them_is_active() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    let arguments = table([("x-single-active-consumer", FieldValue::Bool(true))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    peer.send(1, BasicQos { prefetch_count: 7, ..BasicQos::default() });
    peer.receive(1);
    peer.consume(1, "q", "first");
    peer.consume(1, "q", "second");
    let path = "/api/queues/%2f/q";
    let found = wait_for(&client, path, "two consume", |queue| queue["consumers"] == 2);
    let tags = |name: &str| -> Vec<Value> {
        found["consumer_details"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| c[name].clone())
            .collect()
    };
    assert_eq!(tags("consumer_tag"), ["first", "second"]);
    assert_eq!(tags("active"), [true, false]);
    assert_eq!(tags("activity_status"), ["single_active", "waiting"]);
    assert_eq!(tags("prefetch_count"), [7, 7]);
    assert_eq!(tags("ack_required"), [true, true]);
    assert_eq!(found["single_active_consumer_tag"], "first");
    assert_eq!(found["consumer_utilisation"], 1);
    assert_eq!(found.get("idle_since"), None, "{found}");
    let user = &found["consumer_details"][0]["channel_details"]["user"];
    assert_eq!(user, "guest");
    let listed = client.get("/api/queues").expect(200);
    assert_eq!(listed[0].get("consumer_details"), None, "lists leave them out: {listed}");
    let detailed = client.get("/api/queues/detailed").expect(200);
    assert_eq!(detailed[0]["consumer_details"][0]["consumer_tag"], "first");
}

#[test]
fn an_exclusive_queue_shows_its_owner_and_is_nobody_elses() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    let declare = QueueDeclare { queue: short("q"), exclusive: true, ..QueueDeclare::default() };
    peer.declare(1, declare);
    let found = client.get("/api/queues/%2f/q").expect(200);
    assert_eq!(found["exclusive"], true);
    assert_eq!(found["owner_pid_details"]["peer_host"], "127.0.0.1");
    for refused in [
        client.delete("/api/queues/%2f/q"),
        client.delete("/api/queues/%2f/q/contents"),
        client.post(
            "/api/queues/%2f/q/get",
            &json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}),
        ),
    ] {
        refused.expect_refused(400, "exclusive access to locked queue 'q'");
    }
}

#[test]
fn policies_show_what_they_say_together() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let arguments = table([("x-dead-letter-exchange", long("dlx"))]);
    peer.declare(1, QueueDeclare { queue: short("q"), arguments, ..QueueDeclare::default() });
    let vhost = broker.broker().vhost("/").expect("there");
    let policy = |name: &str, definition: Value| ferrymq::store::definition::PolicyDefinition {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        pattern: ".*".to_owned(),
        apply_to: "queues".to_owned(),
        priority: 0,
        definition: definition.as_object().cloned().unwrap_or_default(),
    };
    use ferrymq::broker::policy::matching::PolicyKind;
    let short_queues = policy("short", json!({"max-length": 10, "message-ttl": 500}));
    drop(vhost.put_policy(PolicyKind::User, short_queues, None).expect("put"));
    let shorter = policy("shorter", json!({"max-length": 5}));
    drop(vhost.put_policy(PolicyKind::Operator, shorter, None).expect("put"));
    let found = broker.client().get("/api/queues/%2f/q").expect(200);
    assert_eq!((&found["policy"], &found["operator_policy"]), (&json!("short"), &json!("shorter")));
    let together = json!({"max-length": 5, "message-ttl": 500});
    assert_eq!(found["effective_policy_definition"], together);
}

#[test]
fn lists_can_be_sorted_filtered_and_paged() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    for (name, count) in [("orders", 2), ("payments", 3), ("orders.dead", 1)] {
        peer.declare_queue(1, name);
        (0..count).for_each(|_| peer.publish(1, "", name, "x"));
        peer.sync(1);
    }
    let names = |path: &str| -> Vec<Value> {
        let listed = client.get(path).expect(200);
        let items = listed.as_array().or(listed["items"].as_array()).expect("a list");
        items.iter().map(|queue| queue["name"].clone()).collect()
    };
    assert_eq!(names("/api/queues"), ["orders", "orders.dead", "payments"]);
    let by_messages = "/api/queues/%2f?sort=messages&sort_reverse=true";
    assert_eq!(names(by_messages), ["payments", "orders", "orders.dead"]);
    assert_eq!(names("/api/queues?name=orders&page=2&page_size=1"), ["orders.dead"]);
    let columns = client.get("/api/queues/%2f?columns=name,messages_ready&name=pay").expect(200);
    assert_eq!(columns, json!([{"name": "payments", "messages_ready": 3}]));
    client.get("/api/queues?name=(&use_regex=true").expect_refused(400, "not a regular expression");
    client.get("/api/queues/nowhere").expect_refused(404, "no vhost 'nowhere'");
}

#[test]
fn what_has_happened_to_messages_is_counted() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "amq.fanout", "");
    (0..3).for_each(|_| peer.publish(1, "amq.fanout", "", "x"));
    peer.get(1, "q", true).expect("a message");
    let found = client.get("/api/queues/%2f/q").expect(200);
    assert_eq!(found["message_stats"]["publish"], 3, "{found}");
    assert_eq!(found["message_stats"]["get_no_ack"], 1, "{found}");
    assert!(found["messages_details"]["rate"].is_number(), "{found}");
    let exchange = client.get("/api/exchanges/%2f/amq.fanout").expect(200);
    assert_eq!(exchange["message_stats"]["publish_in"], 3, "{exchange}");
    let listed = client.get("/api/queues?columns=message_stats.publish").expect(200);
    assert_eq!(listed, json!([{"message_stats": {"publish": 3}}]));
    let plain = client.get("/api/queues?disable_stats=true").expect(200);
    assert_eq!(plain[0].get("message_stats"), None, "{plain}");
}

#[test]
fn ten_thousand_queues_are_listed_whole_and_by_the_page() {
    const COUNT: usize = 10_000;
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for number in 0..COUNT {
        let queue = short(&format!("q{number:05}"));
        let declare = QueueDeclare { queue, no_wait: true, ..QueueDeclare::default() };
        peer.send(1, declare);
    }
    peer.sync(1);
    let client = broker.client();
    let all = client.get("/api/queues").expect(200);
    let all = all.as_array().expect("a list");
    assert_eq!(all.len(), COUNT);
    assert!(all.is_sorted_by_key(|queue| queue["name"].as_str()));
    let page = client.get("/api/queues?page=100&page_size=100&sort=name").expect(200);
    assert_eq!(page["items"][99]["name"], "q09999");
}

#[test]
fn a_purge_drops_what_is_ready_and_leaves_what_is_out() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    (0..3).for_each(|_| peer.publish(1, "", "q", "x"));
    peer.get(1, "q", false).expect("a message");
    client.delete("/api/queues/%2f/q/contents").expect(204);
    let found = client.get("/api/queues/%2f/q").expect(200);
    assert_eq!((&found["messages_ready"], &found["messages"]), (&json!(0), &json!(1)));
    client.delete("/api/queues/%2f/none/contents").expect_refused(404, "no queue 'none'");
}

#[test]
fn a_deletion_tells_the_consumers_and_keeps_its_conditions() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "x");
    peer.sync(1);
    client.delete("/api/queues/%2f/q?if-empty=true").expect_refused(400, "not empty");
    peer.consume(1, "q", "c");
    peer.delivery(1);
    client.delete("/api/queues/%2f/q?if-unused=true").expect_refused(400, "in use");
    client.delete("/api/queues/%2f/q?if-unused=perhaps").expect(400);
    client.delete("/api/queues/%2f/q").expect(204);
    assert!(matches!(peer.receive(1), Method::BasicCancel(_)));
    client.delete("/api/queues/%2f/q").expect_refused(404, "no queue 'q' in vhost '/'");
    client.get("/api/queues/%2f/q").expect_refused(404, "no queue 'q' in vhost '/'");
}

#[test]
fn what_cannot_be_declared_is_named_with_its_reason() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    let deep = (0..40).fold(json!(1), |deep, _| json!([deep]));
    for (path, body, status, reason) in [
        ("%2f/q", json!({"durable": "false"}), 400, "received 'false' but current is 'true'"),
        ("%2f/y", json!({"durable": "yes"}), 400, "true or false is needed, not \"yes\""),
        ("%2f/y", json!({"exclusive": true}), 400, "declare it over AMQP"),
        ("%2f/y", json!({"arguments": {"x-max-length": "a"}}), 400, "an integer is needed"),
        ("%2f/y", json!({"arguments": {"x-queue-type": "stream"}}), 400, "stream"),
        ("%2f/y", json!({"arguments": {"x-deep": deep}}), 400, "32"),
        ("%2f/y", json!([1]), 400, "not the JSON that is expected"),
        ("%2f/amq.mine", json!({}), 401, "reserved prefix 'amq.*'"),
        ("nowhere/y", json!({}), 404, "no vhost 'nowhere'"),
    ] {
        client.put(&format!("/api/queues/{path}"), &body).expect_refused(status, reason);
    }
    let long = format!("/api/queues/%2f/{}", "q".repeat(300));
    client.put(&long, &json!({})).expect_refused(400, "longer than 255 bytes");
    client.get(&long).expect_refused(400, "longer than 255 bytes");
    client.get("/api/queues/%2f/y").expect(404);
}

#[test]
fn there_are_no_actions_to_take() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({})).expect(201);
    let action = json!({"action": "sync"});
    client.post("/api/queues/%2f/q/actions", &action).expect_refused(400, "no action 'sync'");
    client.post("/api/queues/%2f/x/actions", &action).expect_refused(404, "no queue 'x'");
}

#[test]
fn permissions_of_the_vhost_hold() {
    let broker = TestBroker::start();
    let client = broker.client_with("carol", ["^mine", ".*", "^mine"]);
    client.put("/api/queues/%2f/mine", &json!({})).expect(201);
    client.delete("/api/queues/%2f/mine/contents").expect(204);
    broker.client().put("/api/queues/%2f/q", &json!({})).expect(201);
    let refused = "configure access to queue 'q' in vhost '/' refused for user 'carol'";
    client.put("/api/queues/%2f/q", &json!({})).expect_refused(401, refused);
    client.delete("/api/queues/%2f/q").expect_refused(401, refused);
    client.delete("/api/queues/%2f/q/contents").expect_refused(401, "read access to queue 'q'");
    client.delete("/api/queues/%2f/mine").expect(204);
}

/// Unacked messages are in memory; so are ready ones, but for the tail of a long queue.
#[test]
fn it_is_said_what_of_a_queue_is_in_memory_and_what_on_disk() {
    let broker = TestBroker::with(|config| config.store.queue_memory_bytes_max = 1);
    let client = broker.client();
    client.put("/api/queues/%2f/q", &json!({"durable": true})).expect(201);
    let mut peer = broker.channel();
    let body = "x".repeat(100_000);
    for _ in 0..300 {
        peer.publish_with(1, "", "q", body.as_bytes(), &persistent());
    }
    peer.publish(1, "", "q", "transient");
    peer.get(1, "q", false).expect("a message");
    let found = wait_for(&client, "/api/queues/%2f/q", "some are on disk only", |queue| {
        queue["messages"] == 301 && queue["messages_paged_out"].as_u64() > Some(0)
    });
    let number = |name: &str| found[name].as_u64().unwrap_or_else(|| panic!("{name} in {found}"));
    let paged_out = number("messages_paged_out");
    for (name, expected) in [
        ("messages_persistent", 300),
        ("message_bytes_persistent", 30_000_000),
        ("messages_ram", 301 - paged_out),
        ("messages_ready_ram", 300 - paged_out),
        ("messages_unacknowledged_ram", 1),
        ("message_bytes_paged_out", paged_out * 100_000),
        ("message_bytes_ram", 30_000_009 - paged_out * 100_000),
    ] {
        assert_eq!(number(name), expected, "{name}");
    }
}

#[test]
fn a_page_is_sorted_by_a_column_that_is_not_answered() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    for (queue, messages) in [("a", 1), ("b", 3), ("c", 2)] {
        peer.declare_queue(1, queue);
        (0..messages).for_each(|_| peer.publish(1, "", queue, "x"));
    }
    wait_for(&client, "/api/queues/%2f/c", "all have come", |queue| queue["messages"] == 2);
    let query =
        "page=1&page_size=2&sort=message_stats.publish&sort_reverse=true&columns=name,policy";
    let page = client.get(&format!("/api/queues?{query}")).expect(200);
    assert_eq!(page["items"], json!([{"name": "b"}, {"name": "c"}]));
    assert_eq!((&page["item_count"], &page["total_count"]), (&json!(2), &json!(3)));
}

#[test]
fn a_queue_says_from_which_exchanges_and_to_which_channels_its_messages_go() {
    let broker = TestBroker::start();
    let client = broker.client();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    peer.bind(1, "q", "amq.fanout", "");
    for exchange in ["", "amq.fanout", "amq.fanout", "amq.direct"] {
        peer.publish(1, exchange, "q", "x");
    }
    let mut other = broker.channel();
    other.consume(1, "q", "one");
    (0..3).for_each(|_| drop(other.delivery(1)));
    other.send(1, BasicAck { delivery_tag: 2, multiple: true });
    let found = wait_for(&client, "/api/queues/%2f/q", "two are acked", |queue| {
        queue["deliveries"][0]["stats"]["ack"] == 2
    });
    let incoming = |name: &str, publish: u64| json!({"exchange": {"name": name, "vhost": "/"}, "stats": {"publish": publish}});
    assert_eq!(found["incoming"], json!([incoming("", 1), incoming("amq.fanout", 2)]));
    let [delivery] = found["deliveries"].as_array().expect("a list").as_slice() else {
        panic!("one channel consumes: {found}")
    };
    assert_eq!(delivery["channel_details"]["number"], 1);
    let stats = &delivery["stats"];
    assert_eq!((&stats["deliver"], &stats["deliver_get"]), (&json!(3), &json!(3)));
    let listed = client.get("/api/queues").expect(200);
    assert!(listed[0].get("deliveries").is_none(), "that is said of a queue alone: {listed}");
}
