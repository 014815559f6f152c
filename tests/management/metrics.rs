//! Metrics, as Prometheus scrapes them.

use std::collections::{HashMap, HashSet};

use ferrymq::protocol::generated::{BasicAck, BasicQos, ConfirmSelect, Method, QueueDeclare};
use serde_json::json;

use crate::amqp::{Peer, persistent, short};
use crate::support::*;

/// What a scrape brought: each line's value by its name and labels.
pub(crate) type Samples = HashMap<String, f64>;

/// Scrapes without a name and password, and checks the form of what comes.
pub fn scrape(broker: &TestBroker, path: &str) -> Samples {
    let url = format!("http://{}{path}", broker.metrics_address());
    let mut answer = ureq::get(&url).call().expect("an answer");
    let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    parse(&answer.body_mut().read_to_string().expect("text"))
}

/// Rule of the format: a metric's lines stand together behind its type, and none twice.
fn parse(text: &str) -> Samples {
    let (mut samples, mut types, mut present) = (Samples::new(), HashSet::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            present = rest.split(' ').next().expect("a name").to_owned();
            assert!(types.insert(present.clone()), "{present} twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(name.starts_with(&present), "{line} stands under {present}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line} twice");
    }
    samples
}

#[track_caller]
fn value(samples: &Samples, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| {
        let same = |other: &&String| other.starts_with(name.split('{').next().unwrap_or(name));
        panic!("no {name}; like it: {:?}", samples.keys().filter(same).collect::<Vec<_>>())
    })
}

/// A client on channel 1 that confirms, with the durable queue `q` declared.
fn peer(broker: &TestBroker) -> Peer {
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer.declare(1, QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() });
    peer.call(1, ConfirmSelect::default());
    peer
}

/// Publishes, and waits until all is confirmed.
fn publish(peer: &mut Peer, messages: u64) {
    for _ in 0..messages {
        peer.publish_with(1, "", "q", b"body", &persistent());
    }
    loop {
        match peer.receive(1) {
            Method::BasicAck(ack) if ack.delivery_tag == messages => return,
            Method::BasicAck(_) => {}
            unexpected => panic!("{unexpected:?}"),
        }
    }
}

#[test]
fn sums_say_what_has_happened() {
    let broker = TestBroker::start();
    let mut peer = peer(&broker);
    publish(&mut peer, 200);
    peer.call(1, BasicQos { prefetch_count: 100, ..BasicQos::default() });
    peer.consume(1, "q", "c");
    (0..100).for_each(|_| drop(peer.delivery(1)));
    peer.send(1, BasicAck { delivery_tag: 40, multiple: true });
    (0..40).for_each(|_| drop(peer.delivery(1)));
    let samples = scrape(&broker, "/metrics");
    for (name, expected) in [
        ("rabbitmq_queue_messages_ready", 60.0),
        ("rabbitmq_queue_messages_unacked", 100.0),
        ("rabbitmq_queue_messages", 160.0),
        ("rabbitmq_queue_messages_ready_bytes", 240.0),
        ("rabbitmq_queue_consumers", 1.0),
        ("rabbitmq_queue_messages_published_total", 200.0),
        ("rabbitmq_global_messages_received_total{protocol=\"amqp091\"}", 200.0),
        ("rabbitmq_global_messages_received_confirm_total{protocol=\"amqp091\"}", 200.0),
        ("rabbitmq_global_messages_confirmed_total{protocol=\"amqp091\"}", 200.0),
        ("rabbitmq_global_messages_routed_total{protocol=\"amqp091\"}", 200.0),
        ("rabbitmq_global_publishers{protocol=\"amqp091\"}", 1.0),
        ("rabbitmq_channel_messages_published_total", 200.0),
        ("rabbitmq_channel_messages_acked_total", 40.0),
        ("rabbitmq_channel_messages_delivered_ack_total", 140.0),
        ("rabbitmq_channel_messages_unacked", 100.0),
        ("rabbitmq_connections", 1.0),
        ("rabbitmq_channels", 1.0),
        ("rabbitmq_consumers", 1.0),
        ("rabbitmq_queues", 1.0),
        ("rabbitmq_connections_opened_total", 1.0),
        ("rabbitmq_queues_created_total", 1.0),
        ("rabbitmq_alarms_memory_used_watermark", 0.0),
        ("rabbitmq_alarms_free_disk_space_watermark", 0.0),
        ("ferrymq_confirm_latency_seconds_count", 200.0),
    ] {
        assert_eq!(value(&samples, name), expected, "{name}");
    }
    for name in [
        "rabbitmq_io_sync_ops_total",
        "rabbitmq_io_write_bytes_total",
        "rabbitmq_connection_incoming_bytes_total",
        "rabbitmq_process_open_fds",
        "rabbitmq_process_resident_memory_bytes",
        "rabbitmq_disk_space_available_bytes",
        "rabbitmq_erlang_uptime_seconds",
        "ferrymq_fsync_seconds_count",
        "ferrymq_fsync_seconds_sum",
        "ferrymq_confirm_latency_seconds_sum",
        "ferrymq_time_in_queue_seconds_count",
        "ferrymq_store_size_bytes",
        "ferrymq_queue_oldest_message_age_seconds",
    ] {
        assert!(value(&samples, name) > 0.0, "{name}");
    }
    wait_until("the lag is measured", || {
        value(&scrape(&broker, "/metrics"), "ferrymq_event_loop_lag_seconds_count") > 0.0
    });
}

#[test]
fn each_queue_channel_connection_and_exchange_has_a_line() {
    let broker = TestBroker::start();
    let mut peer = peer(&broker);
    publish(&mut peer, 3);
    peer.declare_queue(1, "a \"b\" \\c");
    let samples = scrape(&broker, "/metrics/per-object");
    let ready = |queue| format!("rabbitmq_queue_messages_ready{{vhost=\"/\",queue=\"{queue}\"}}");
    assert_eq!(value(&samples, &ready("q")), 3.0);
    assert_eq!(value(&samples, &ready(r#"a \"b\" \\c"#)), 0.0);
    let exchange = "rabbitmq_exchange_messages_published_total{vhost=\"/\",exchange=\"\"}";
    assert_eq!(value(&samples, exchange), 3.0);
    let of_the_channel = |name: &&String| {
        name.starts_with("rabbitmq_channel_messages_published_total{channel=\"127.0.0.1:")
            && name.ends_with(" (1)\"}")
    };
    assert_eq!(samples.keys().filter(of_the_channel).count(), 1);
    let bytes = "rabbitmq_connection_incoming_bytes_total{connection=\"127.0.0.1:";
    assert_eq!(samples.keys().filter(|name| name.starts_with(bytes)).count(), 1);
    let age = value(&samples, "ferrymq_queue_oldest_message_age_seconds{vhost=\"/\",queue=\"q\"}");
    assert!((0.0..DEADLINE.as_secs_f64()).contains(&age), "{age}");
}

#[test]
fn details_are_those_that_are_asked_for() {
    let broker = TestBroker::start();
    let mut peer = peer(&broker);
    peer.declare_queue(1, "other");
    broker.client().put("/api/vhosts/v", &serde_json::json!({})).expect(201);
    let path = "/metrics/detailed?family=queue_coarse_metrics&family=vhost_status\
        &family=no_such_metrics&vhost=%2f&queue=q";
    let samples = scrape(&broker, path);
    let mut names: Vec<&str> = samples.keys().map(String::as_str).collect();
    names.retain(|name| !name.contains("_info"));
    names.sort_unstable();
    let expected = [
        "rabbitmq_cluster_vhost_status{vhost=\"/\"}",
        "rabbitmq_detailed_queue_messages_ready{vhost=\"/\",queue=\"q\"}",
        "rabbitmq_detailed_queue_messages_unacked{vhost=\"/\",queue=\"q\"}",
        "rabbitmq_detailed_queue_messages{vhost=\"/\",queue=\"q\"}",
    ];
    assert_eq!(names, expected);
    for (family, name) in [
        ("queue_consumer_count", "rabbitmq_detailed_queue_consumers{vhost=\"/\",queue=\"q\"}"),
        ("queue_metrics", "rabbitmq_detailed_queue_consumers{vhost=\"/\",queue=\"q\"}"),
        ("queue_metrics", "rabbitmq_detailed_queue_messages_ready_bytes{vhost=\"/\",queue=\"q\"}"),
        ("queue_delivery_metrics", "rabbitmq_detailed_queue_get_total{vhost=\"/\",queue=\"q\"}"),
        (
            "ferrymq_queue_metrics",
            "ferrymq_detailed_queue_messages_delayed{vhost=\"/\",queue=\"q\"}",
        ),
        ("connection_churn_metrics", "rabbitmq_detailed_connections_opened_total"),
        ("node_metrics", "rabbitmq_detailed_process_max_fds"),
        ("node_coarse_metrics", "rabbitmq_detailed_process_open_fds"),
        ("node_persister_metrics", "rabbitmq_detailed_io_sync_ops_total"),
        (
            "exchange_metrics",
            "rabbitmq_detailed_exchange_messages_published_total{vhost=\"/\",exchange=\"\"}",
        ),
        (
            "exchange_bindings",
            "rabbitmq_cluster_exchange_bindings{vhost=\"/\",exchange=\"amq.topic\",type=\"topic\"}",
        ),
        (
            "exchange_names",
            "rabbitmq_cluster_exchange_name{vhost=\"/\",exchange=\"amq.topic\",type=\"topic\"}",
        ),
    ] {
        value(&scrape(&broker, &format!("/metrics/detailed?family={family}")), name);
    }
    for family in [
        "channel_metrics",
        "channel_exchange_metrics",
        "channel_queue_metrics",
        "connection_coarse_metrics",
        "connection_metrics",
    ] {
        let samples = scrape(&broker, &format!("/metrics/detailed?family={family}"));
        let object = family.split('_').next().expect("a word");
        let of_one = |name: &&String| name.contains(&format!("{{{object}=\"127.0.0.1:"));
        assert!(samples.keys().any(|name| of_one(&name)), "{family}: {samples:?}");
    }
    let none = scrape(&broker, "/metrics/detailed");
    assert!(none.keys().all(|name| name.contains("_info")), "{none:?}");
}

#[test]
fn the_memory_is_broken_down() {
    let broker = TestBroker::start();
    let samples = scrape(&broker, "/metrics/memory-breakdown");
    let part = |name: &str| value(&samples, &format!("ferrymq_memory_{name}_bytes"));
    let sum = part("queue_heads") + part("store_in_flight") + part("other");
    assert_eq!(part("resident"), sum);
}

#[test]
fn the_port_for_management_wants_to_know_who_asks() {
    let broker = TestBroker::start();
    for path in
        ["/metrics", "/metrics/per-object", "/metrics/detailed", "/metrics/memory-breakdown"]
    {
        broker.nobody().get(path).expect_refused(401, "a name and a password");
        broker.client().get(path).expect(200);
    }
    let url = format!("http://{}/api/overview", broker.metrics_address());
    let refused = ureq::get(&url).call().expect_err("nothing but metrics");
    assert!(matches!(refused, ureq::Error::StatusCode(404)), "{refused}");
    let prometheus = "/api/health/checks/protocol-listener/http/prometheus";
    broker.nobody().get(&prometheus.replace("http/p", "http%2fp")).expect(200);
}

#[test]
fn an_alarm_shows() {
    let broker = TestBroker::with(|config| config.memory.high_watermark = 1_048_576.0);
    let samples = scrape(&broker, "/metrics");
    assert_eq!(value(&samples, "rabbitmq_alarms_memory_used_watermark"), 1.0);
    assert_eq!(value(&samples, "rabbitmq_resident_memory_limit_bytes"), 1_048_576.0);
}

#[test]
fn a_broker_can_do_without_a_listener_for_metrics() {
    let broker = TestBroker::with(|config| config.metrics.listen = "none".to_owned());
    assert!(broker.broker().vhost("/").is_some());
    broker.client().get("/metrics").expect(200);
}

/// What has been counted stays so when the queue, the connection and the vhost go that it was
/// counted in: to Prometheus a counter that falls has begun again.
#[test]
fn counters_never_fall() {
    let broker = TestBroker::start();
    let client = broker.client();
    client.put("/api/vhosts/v", &json!({})).expect(201);
    let quorum = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    for (vhost, queue, body) in [("v", "q", &quorum), ("%2f", "q", &json!({"durable": true}))] {
        client.put(&format!("/api/queues/{vhost}/{queue}"), body).expect(201);
        let message = json!({
            "routing_key": "q", "properties": {}, "payload": "x", "payload_encoding": "string",
        });
        let publish = format!("/api/exchanges/{vhost}/amq.default/publish");
        (0..3).for_each(|_| drop(client.post(&publish, &message).expect(200)));
        let get = json!({"count": 2, "ackmode": "ack_requeue_false", "encoding": "auto"});
        client.post(&format!("/api/queues/{vhost}/{queue}/get"), &get).expect(200);
    }
    let mut peer = broker.channel();
    peer.get(1, "q", true).expect("a message");
    let before = scrape(&broker, "/metrics");
    let (classic, quorum) = ("rabbit_classic_queue", "rabbit_quorum_queue");
    for (name, queue_type, expected) in [
        ("acknowledged_total", classic, 2.0),
        ("acknowledged_total", quorum, 2.0),
        ("delivered_get_auto_ack_total", classic, 1.0),
        ("delivered_get_auto_ack_total", quorum, 0.0),
    ] {
        let labels = format!("{{protocol=\"amqp091\",queue_type=\"{queue_type}\"}}");
        let name = format!("rabbitmq_global_messages_{name}{labels}");
        assert_eq!(value(&before, &name), expected, "{name}");
    }
    assert_eq!(value(&before, "rabbitmq_queue_messages_published_total"), 6.0);
    let info = scrape(&broker, "/metrics/detailed?family=queue_metrics&vhost=v");
    let labels =
        "{vhost=\"v\",queue=\"q\",queue_type=\"rabbit_quorum_queue\",membership=\"leader\"}";
    value(&info, &format!("rabbitmq_detailed_queue_info{labels}"));
    client.delete("/api/queues/%2f/q").expect(204);
    client.delete("/api/vhosts/v").expect(204);
    drop(peer);
    wait_until("the connection has ended", || {
        value(&scrape(&broker, "/metrics"), "rabbitmq_connections") == 0.0
    });
    let after = scrape(&broker, "/metrics");
    for (name, counted) in before.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(value(&after, name) >= *counted, "{name} fell from {counted}");
    }
    let shown = client.get("/api/overview").expect(200);
    assert_eq!(
        (&shown["message_stats"]["publish"], &shown["message_stats"]["ack"]),
        (&6.into(), &4.into())
    );
}
