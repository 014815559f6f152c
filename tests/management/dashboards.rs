//! What the queries of RabbitMQ's Grafana dashboards name, in what a scrape brings: the metrics, and
//! the labels that they are joined and told apart by.
//!
//! Every query of a panel is of the form `METRIC * on(instance, job) group_left(rabbitmq_cluster,
//! rabbitmq_node) rabbitmq_identity_info{rabbitmq_cluster="..."}`: `instance` and `job` come from
//! Prometheus, `namespace` from Kubernetes, and the rest from the broker. The join needs one
//! identity in a scrape, and no more.

use crate::metrics::{Samples, scrape};
use crate::support::*;

/// RabbitMQ-Overview (10991), as it is with RabbitMQ 4, and what it asked for with RabbitMQ 3.
const OVERVIEW: [&str; 51] = [
    "build_info",
    "channel_consumers",
    "channel_get_ack_total",
    "channel_get_empty_total",
    "channel_get_total",
    "channel_messages_acked_total",
    "channel_messages_confirmed_total",
    "channel_messages_delivered_ack_total",
    "channel_messages_delivered_total",
    "channel_messages_published_total",
    "channel_messages_redelivered_total",
    "channel_messages_unconfirmed",
    "channel_messages_unroutable_dropped_total",
    "channel_messages_unroutable_returned_total",
    "channels",
    "channels_closed_total",
    "channels_opened_total",
    "connections",
    "connections_closed_total",
    "connections_opened_total",
    "consumers",
    "disk_space_available_bytes",
    "global_consumers",
    "global_messages_acknowledged_total",
    "global_messages_confirmed_total",
    "global_messages_delivered_consume_auto_ack_total",
    "global_messages_delivered_consume_manual_ack_total",
    "global_messages_delivered_get_auto_ack_total",
    "global_messages_delivered_get_manual_ack_total",
    "global_messages_delivered_total",
    "global_messages_get_empty_total",
    "global_messages_received_confirm_total",
    "global_messages_received_total",
    "global_messages_redelivered_total",
    "global_messages_routed_total",
    "global_messages_unroutable_dropped_total",
    "global_messages_unroutable_returned_total",
    "global_publishers",
    "identity_info",
    "process_max_fds",
    "process_max_tcp_sockets",
    "process_open_fds",
    "process_open_tcp_sockets",
    "process_resident_memory_bytes",
    "queue_messages_ready",
    "queue_messages_unacked",
    "queues",
    "queues_created_total",
    "queues_declared_total",
    "queues_deleted_total",
    "resident_memory_limit_bytes",
];

/// Beginnings of the names that the other dashboards ask for, and why there are none.
const ABSENT: [(&str, &str, &str); 5] = [
    ("erlang_vm_allocators", "Erlang-Memory-Allocators", "memory comes from one allocator"),
    ("erlang_vm_dist", "Erlang-Distribution, -Compare", "there is one node"),
    ("erlang_vm_", "Erlang-BEAM", "there is no Erlang"),
    ("rabbitmq_raft_", "RabbitMQ-Quorum-Queues-Raft", "a queue has one copy and no Raft log"),
    ("rabbitmq_stream_", "RabbitMQ-Stream", "there are no streams"),
];

/// The labels of the one metric of this name.
#[track_caller]
fn labels<'a>(samples: &'a Samples, name: &str) -> &'a str {
    let named = |sample: &'a String| sample.strip_prefix(name)?.strip_prefix('{');
    let found: Vec<&str> = samples.keys().filter_map(named).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

#[test]
fn dashboards_for_rabbitmq_find_their_metrics() {
    let broker = TestBroker::start();
    let samples = scrape(&broker, "/metrics");
    for name in OVERVIEW {
        let name = format!("rabbitmq_{name}");
        let is_it = |sample: &&String| sample.split('{').next() == Some(&*name);
        let found: Vec<_> = samples.keys().filter(is_it).collect();
        assert!(!found.is_empty(), "{name}");
        // More than one would be summed up as if they were of several nodes.
        let is_apart = |sample: &&String| sample.contains("queue_type=");
        assert!(found.len() == 1 || found.iter().all(is_apart), "{found:?}");
    }
    for (beginning, dashboard, reason) in ABSENT {
        let found = samples.keys().find(|name| name.starts_with(beginning));
        assert_eq!(found, None, "{dashboard} has it, although {reason}");
    }
}

#[test]
fn dashboards_for_rabbitmq_find_the_labels_that_they_join_by() {
    let broker = TestBroker::start();
    let name = serde_json::json!({ "name": "orders@home" });
    broker.client().put("/api/cluster-name", &name).expect(204);
    for path in ["/metrics", "/metrics/per-object", "/metrics/detailed?family=queue_metrics"] {
        let samples = scrape(&broker, path);
        let identity = labels(&samples, "rabbitmq_identity_info");
        for label in ["rabbitmq_node=\"ferrymq@localhost\"", "rabbitmq_cluster=\"orders@home\""] {
            assert!(identity.contains(label), "{path}: {identity}");
        }
    }
    let samples = scrape(&broker, "/metrics");
    let build = labels(&samples, "rabbitmq_build_info");
    let version = broker.client().get("/api/overview").expect(200)["rabbitmq_version"].clone();
    assert!(build.contains(&format!("rabbitmq_version={version}")), "{build}");
    // Columns of its table of nodes.
    for label in ["erlang_version=", "prometheus_plugin_version=", "product_version="] {
        assert!(build.contains(label), "{build}");
    }
    for of_protocol in ["global_publishers", "global_consumers", "global_messages_received_total"] {
        let labels = labels(&samples, &format!("rabbitmq_{of_protocol}"));
        assert!(labels.contains("protocol=\"amqp091\""), "{of_protocol}: {labels}");
    }
}
