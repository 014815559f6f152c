//! Replays of dead-letter queues.

use std::sync::Arc;

use ferrymq::broker::queue::Queue;
use ferrymq::protocol::json;
use ferrymq::store::simulated::SimulatedDisk;
use serde_json::{Value, json};

use crate::inside::*;
use crate::support::*;

pub const PATH: &str = "/api/queues/%2f/dead/replay";

/// An exchange, a queue at it, and where its messages go when they are refused.
pub fn orders(amqp: &Inside) -> (Arc<Queue>, Arc<Queue>) {
    let dead = amqp.declare("dead", &json!({}));
    amqp.declare_exchange("orders", "topic", &json!({}));
    let dying = json!({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"});
    let queue = amqp.declare("q", &dying);
    amqp.bind("orders", "q", "order.*");
    (queue, dead)
}

fn ended(broker: &TestBroker) -> Value {
    let mut found = Value::Null;
    wait_until("the replay ends", || {
        found = broker.client().get(PATH).expect(200);
        found["state"] != "running"
    });
    found
}

fn headers_of(entry: &ferrymq::broker::queue::Entry) -> Value {
    json::properties(&entry.message.properties())["headers"].clone()
}

#[test]
fn dead_letters_go_back_to_their_exchange_and_key_and_say_so() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    for body in ["a", "b"] {
        amqp.publish("orders", "order.new", body);
        amqp.reject(&queue);
    }
    wait_until("both are dead", || dead.status().ready == 2);
    let begun = broker.client().post(PATH, &json!({})).expect(202);
    assert_eq!((&begun["total"], &begun["started_by"]), (&json!(2), &json!("guest")));
    let replay = ended(&broker);
    assert_eq!((&replay["state"], &replay["moved"]), (&json!("done"), &json!(2)), "{replay}");
    assert_eq!(replay["skipped"], json!({}));
    assert_eq!((dead.status().ready, dead.status().unacked), (0, 0));
    let got = amqp.get(&queue, false).expect("there");
    assert_eq!(body_of(&got.entry.message), "a");
    assert_eq!(
        (got.entry.message.exchange(), got.entry.message.routing_key()),
        ("orders", "order.new")
    );
    let headers = headers_of(&got.entry);
    let account = &headers["x-ferrymq-replayed"];
    assert_eq!(
        (&account["user"], &account["queue"], &account["count"]),
        (&json!("guest"), &json!("dead"), &json!(1))
    );
    assert_eq!(
        (&headers["x-death"][0]["queue"], &headers["x-death"][0]["count"]),
        (&json!("q"), &json!(1))
    );
    assert_eq!(amqp.drain(&queue), ["b"]);
}

#[test]
fn what_died_again_after_a_replay_counts_both() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    amqp.publish("orders", "order.new", "a");
    for _ in 0..3 {
        amqp.reject(&queue);
        wait_until("it is dead", || dead.status().ready == 1);
        broker.client().post(PATH, &json!({})).expect(202);
        assert_eq!(ended(&broker)["moved"], 1);
    }
    let headers = headers_of(&amqp.get(&queue, true).expect("there").entry);
    assert_eq!(headers["x-ferrymq-replayed"]["count"], 3);
    assert_eq!(headers["x-death"][0]["count"], 3);
}

#[test]
fn a_message_that_cannot_go_stays_and_is_counted_with_the_reason() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    let dying = json!({
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
        "x-max-length": 1, "x-overflow": "reject-publish",
    });
    let full = amqp.declare("full", &dying);
    amqp.declare_exchange("gone", "fanout", &json!({}));
    amqp.bind("gone", "q", "");
    amqp.declare("other", &json!({}));
    amqp.bind("orders", "full", "full");
    for (exchange, key, body) in [("gone", "", "no exchange"), ("orders", "order.new", "goes")] {
        amqp.publish(exchange, key, body);
        amqp.reject(&queue);
    }
    amqp.publish("orders", "full", "no room");
    amqp.reject(&full);
    amqp.publish("orders", "full", "takes the room");
    amqp.publish("", "dead", "never died");
    amqp.delete_exchange("gone");
    wait_until("all are dead", || dead.status().ready == 4);
    broker.client().post(PATH, &json!({})).expect(202);
    let replay = ended(&broker);
    assert_eq!((&replay["moved"], &replay["examined"]), (&json!(1), &json!(4)), "{replay}");
    let skipped = json!({"no_exchange": 1, "refused": 1, "not_dead_lettered": 1});
    assert_eq!(replay["skipped"], skipped);
    let elsewhere = json!({"exchange": "", "routing_key": "nowhere"});
    broker.client().post(PATH, &elsewhere).expect(202);
    assert_eq!(ended(&broker)["skipped"], json!({"unroutable": 3}));
    let itself = json!({"exchange": "", "routing_key": "dead"});
    broker.client().post(PATH, &itself).expect(202);
    assert_eq!(ended(&broker)["skipped"], json!({"leads_back": 3}));
    assert_eq!(dead.status().ready, 3);
    let other = json!({"exchange": "", "routing_key": "other"});
    broker.client().post(PATH, &other).expect(202);
    assert_eq!(ended(&broker)["moved"], 3);
    let other = amqp.vhost.queue("other").expect("declared");
    assert_eq!(amqp.drain(&other), ["no exchange", "no room", "never died"]);
    assert_eq!(amqp.drain(&queue), ["goes"]);
}

#[test]
fn some_messages_are_chosen_by_id_by_header_or_by_number() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    for (number, customer) in ["x", "y", "x", "y", "x"].into_iter().enumerate() {
        let properties = with_headers(&json!({"customer": customer}));
        amqp.publish_with("orders", "order.new", &format!("m{number}"), &properties);
        amqp.reject(&queue);
    }
    wait_until("all are dead", || dead.status().ready == 5);
    let seen = broker.client().get("/api/queues/%2f/dead/messages").expect(200);
    let ids = [&seen["items"][4]["id"], &seen["items"][1]["id"]];
    let body = json!({"ids": [ids[0], ids[1], ids[0], "0:1"]});
    broker.client().post(PATH, &body).expect(202);
    let replay = ended(&broker);
    assert_eq!((&replay["moved"], &replay["skipped"]), (&json!(2), &json!({"gone": 1})));
    broker.client().post(PATH, &json!({"headers": {"customer": "x"}, "count": 1})).expect(202);
    assert_eq!(ended(&broker)["moved"], 1);
    assert_eq!(amqp.drain(&queue), ["m1", "m4", "m0"]);
    assert_eq!(amqp.drain(&dead), ["m2", "m3"]);
}

#[test]
fn a_replay_keeps_to_its_rate_alone_in_its_queue_until_it_is_cancelled() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    for number in 0..20 {
        amqp.publish("orders", "order.new", &number.to_string());
        amqp.reject(&queue);
    }
    wait_until("all are dead", || dead.status().ready == 20);
    // So slow that it can't end while it is looked at.
    broker.client().post(PATH, &json!({"rate": 1})).expect(202);
    wait_until("it has begun", || broker.client().get(PATH).expect(200)["moved"] != 0);
    broker.client().post(PATH, &json!({})).expect_refused(409, "a replay of queue 'dead'");
    broker.client().delete(PATH).expect(204);
    let replay = ended(&broker);
    assert_eq!((&replay["state"], &replay["rate_limit"]), (&json!("cancelled"), &json!(1)));
    let moved = replay["moved"].as_u64().expect("a number") as usize;
    assert!((1..20).contains(&moved), "{replay}");
    assert_eq!((queue.status().ready, dead.status().ready), (moved, 20 - moved));
    broker.client().delete(PATH).expect_refused(404, "no replay of queue 'dead'");
}

/// Most of it is on disk only, before the restart and after it.
#[test]
fn a_long_queue_is_replayed_in_order_and_stays_so_over_a_restart() {
    let mut broker = TestBroker::with(|config| config.store.queue_memory_bytes_max = 0);
    let amqp = broker.inside();
    let (queue, dead) = orders(&amqp);
    let bodies: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    amqp.publish_all("", "dead", bodies.iter().cloned());
    let to_queue = json!({"exchange": "orders", "routing_key": "order.old", "count": 600});
    broker.client().post(PATH, &to_queue).expect(202);
    assert_eq!(ended(&broker)["moved"], 600);
    assert_eq!((queue.status().ready, dead.status().ready), (600, 400));
    drop((amqp, queue, dead));
    broker.restart();
    let amqp = broker.inside();
    let [queue, dead] = ["q", "dead"].map(|name| amqp.vhost.queue(name).expect("durable"));
    assert_eq!((queue.status().ready, dead.status().ready), (600, 400));
    broker.client().post(PATH, &to_queue).expect(202);
    assert_eq!(ended(&broker)["moved"], 400);
    assert_eq!(amqp.drain(&queue), bodies);
    assert_eq!(dead.status().ready, 0);
}

/// However far it was, each message is in the one queue or in the other.
#[test]
fn a_power_cut_in_a_replay_neither_loses_nor_doubles_a_message() {
    for seed in 0..4 {
        let disk = SimulatedDisk::new();
        let broker = TestBroker::on(&disk);
        let amqp = broker.inside();
        let (queue, dead) = orders(&amqp);
        let bodies: Vec<String> = (100..300).map(|number| number.to_string()).collect();
        amqp.publish_all("", "dead", bodies.iter().cloned());
        let slowly = json!({"exchange": "orders", "routing_key": "order.old", "rate": 200});
        broker.client().post(PATH, &slowly).expect(202);
        wait_until("it is under way", || queue.status().ready > 20 && dead.status().ready > 0);
        let cut = disk.power_cut(seed);
        let after = TestBroker::on(&cut);
        let amqp = after.inside();
        let [queue, dead] = ["q", "dead"].map(|name| amqp.vhost.queue(name).expect("durable"));
        let moved = amqp.drain(&queue);
        assert!(!moved.is_empty());
        let all: Vec<String> = moved.into_iter().chain(amqp.drain(&dead)).collect();
        assert_eq!(all, bodies, "seed {seed}");
    }
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    orders(&broker.inside());
    let refused = [
        (json!({"rate": 0}), "the rate is 1 to 1000000"),
        (json!({"count": 0}), "a count of 0"),
        (json!({"ids": []}), "1 to 10000 ids, not 0"),
        (json!({"ids": ["x"]}), "'x' is no id"),
        (json!({"ids": ["0:1"], "headers": {}}), "not both"),
        (json!({"headers": {"a": []}}), "the header 'a' is compared"),
        (json!({"exchange": "e".repeat(300)}), "exchange is longer than 255"),
        (json!({"all": true}), "unknown field"),
    ];
    for (body, why) in refused {
        client.post(PATH, &body).expect_refused(400, why);
    }
    client.get(PATH).expect_refused(404, "has not been replayed");
    let none = "/api/queues/%2f/none/replay";
    client.post(none, &json!({})).expect_refused(404, "no queue 'none'");
    client.get(none).expect_refused(404, "no queue 'none'");
    client.delete(none).expect_refused(404, "no queue 'none'");
    broker.nobody().post(PATH, &json!({})).expect(401);
}
