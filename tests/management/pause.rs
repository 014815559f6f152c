//! Pause and resume of queues.

use serde_json::json;

use crate::support::*;

#[test]
fn a_paused_queue_takes_messages_and_gives_none_until_it_is_resumed() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    for durable in [true, false] {
        let queue = amqp.declare_as(&format!("q{durable}"), durable, &json!({}));
        let path = |verb: &str| format!("/api/queues/%2f/q{durable}/{verb}");
        let hands = amqp.consume(&queue);
        broker.client().put(&path("pause"), &json!({})).expect(204);
        broker.client().put(&path("pause"), &json!({})).expect(204);
        amqp.publish("", queue.name(), "m");
        assert!(queue.status().paused);
        assert_eq!((queue.status().ready, hands.bodies().len()), (1, 0));
        assert!(amqp.get(&queue, true).is_none());
        broker.client().put(&path("resume"), &json!({})).expect(204);
        wait_until("it is delivered", || hands.bodies() == ["m"]);
        assert!(!queue.status().paused);
    }
}

#[test]
fn a_durable_queue_stays_paused_over_a_restart() {
    let mut broker = TestBroker::start();
    let amqp = broker.inside();
    amqp.declare("q", &json!({}));
    amqp.publish("", "q", "m");
    broker.client().put("/api/queues/%2f/q/pause", &json!({})).expect(204);
    drop(amqp);
    broker.restart();
    let amqp = broker.inside();
    let queue = amqp.vhost.queue("q").expect("durable");
    let hands = amqp.consume(&queue);
    assert!(queue.status().paused && hands.bodies().is_empty());
    broker.client().put("/api/queues/%2f/q/resume", &json!({})).expect(204);
    wait_until("it is delivered", || hands.bodies() == ["m"]);
    drop(amqp);
    broker.restart();
    let queue = broker.inside().vhost.queue("q").expect("durable");
    assert!(!queue.status().paused);
}

/// Messages that die of age or make room for others don't wait for consumers.
#[test]
fn what_is_too_old_leaves_a_paused_queue() {
    let broker = TestBroker::start();
    let amqp = broker.inside();
    let queue = amqp.declare("q", &json!({"x-message-ttl": 1}));
    broker.client().put("/api/queues/%2f/q/pause", &json!({})).expect(204);
    amqp.publish("", "q", "m");
    wait_until("it is too old", || queue.status().ready == 0);
}

#[test]
fn what_cannot_be_paused_is_said() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/queues/%2f/none/pause", &json!({})).expect_refused(404, "no queue 'none'");
    client.put("/api/queues/none/q/resume", &json!({})).expect_refused(404, "no vhost 'none'");
    client.get("/api/queues/%2f/q/pause").expect_refused(405, "GET can't be done");
    broker.nobody().put("/api/queues/%2f/q/pause", &json!({})).expect(401);
}
