//! What is in a vhost, and who is connected: queues, exchanges, bindings, connections, channels,
//! consumers.

use serde_json::Value;

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::verb::{Action, COLUMN, Column, List, Subject, Verb, columns, flag, many};

pub(super) const SUBJECT: Subject = Subject {
    title: "What there is",
    verbs: &[
        Verb {
            name: "list_queues",
            about: "List the queues of a vhost",
            example: "list_queues\nlist_queues -p / name messages consumers\nlist_queues --formatter json name type arguments",
            words: &[
                flag("online", "Only queues that are up"),
                flag("offline", "Only queues that are down"),
                flag("local", "Only queues of this node, which all are"),
                many(COLUMN, "What to show of each [default: name messages]; see docs/cli.md"),
            ],
            action: Action::Own(list_queues),
        },
        Verb {
            name: "list_exchanges",
            about: "List the exchanges of a vhost",
            example: "list_exchanges -p / name type durable",
            words: &[],
            action: Action::List(List {
                banner: "Listing exchanges for vhost {vhost} ...",
                path: "/api/exchanges/{vhost}",
                columns: columns![
                    "name",
                    "type",
                    "durable",
                    "auto_delete",
                    "internal",
                    "arguments",
                    "policy",
                    "user_who_performed_action",
                    "publish_in" = "message_stats.publish_in",
                    "publish_out" = "message_stats.publish_out",
                ],
                usual: &["name", "type"],
            }),
        },
        Verb {
            name: "list_bindings",
            about: "List the bindings of a vhost",
            example: "list_bindings -p /",
            words: &[many(COLUMN, "What to show of each [default: all of rabbitmqctl's]")],
            action: Action::Own(list_bindings),
        },
        Verb {
            name: "list_connections",
            about: "List the AMQP connections",
            example: "list_connections\nlist_connections name user state channels",
            words: &[],
            action: Action::List(List {
                banner: "Listing connections ...",
                path: "/api/connections",
                columns: columns![
                    "pid" = "name",
                    "name",
                    "port",
                    "host",
                    "peer_port",
                    "peer_host",
                    "ssl",
                    "ssl_protocol",
                    "ssl_key_exchange",
                    "ssl_cipher",
                    "ssl_hash",
                    "peer_cert_subject",
                    "peer_cert_issuer",
                    "peer_cert_validity",
                    "state",
                    "channels",
                    "protocol",
                    "auth_mechanism",
                    "user",
                    "vhost",
                    "timeout",
                    "frame_max",
                    "channel_max",
                    "client_properties",
                    "recv_oct",
                    "recv_cnt",
                    "send_oct",
                    "send_cnt",
                    "send_pend",
                    "connected_at",
                    "user_provided_name",
                ],
                usual: &["user", "peer_host", "peer_port", "state"],
            }),
        },
        Verb {
            name: "list_channels",
            about: "List the channels of all connections",
            example: "list_channels\nlist_channels name consumer_count prefetch_count",
            words: &[],
            action: Action::List(List {
                banner: "Listing channels ...",
                path: "/api/channels",
                columns: columns![
                    "pid" = "name",
                    "connection" = "connection_details.name",
                    "name",
                    "number",
                    "user",
                    "vhost",
                    "transactional",
                    "confirm",
                    "consumer_count",
                    "messages_unacknowledged",
                    "messages_uncommitted",
                    "acks_uncommitted",
                    "messages_unconfirmed",
                    "prefetch_count",
                    "global_prefetch_count",
                    "state",
                ],
                usual: &["pid", "user", "consumer_count", "messages_unacknowledged"],
            }),
        },
        Verb {
            name: "list_consumers",
            about: "List the consumers of a vhost",
            example: "list_consumers -p /",
            words: &[],
            action: Action::List(List {
                banner: "Listing consumers in vhost {vhost} ...",
                path: "/api/consumers/{vhost}",
                columns: columns![
                    "queue_name" = "queue.name",
                    "channel_pid" = "channel_details.name",
                    "consumer_tag",
                    "ack_required",
                    "prefetch_count",
                    "active",
                    "activity_status",
                    "arguments",
                    "exclusive",
                ],
                usual: &[
                    "queue_name",
                    "channel_pid",
                    "consumer_tag",
                    "ack_required",
                    "prefetch_count",
                    "active",
                    "arguments",
                ],
            }),
        },
        Verb {
            name: "list_unresponsive_queues",
            about: "List the queues that do not answer: there are none, a queue is not a process here",
            example: "list_unresponsive_queues",
            words: &[many(COLUMN, "As of list_queues")],
            action: Action::Own(list_unresponsive_queues),
        },
    ],
};

pub(super) const QUEUE: &[Column] = columns![
    "name",
    "vhost",
    "durable",
    "auto_delete",
    "exclusive",
    "arguments",
    "policy",
    "operator_policy",
    "effective_policy_definition",
    "type",
    "state",
    "pid" = "node",
    "leader" = "node",
    "members" = "node",
    "online" = "node",
    // There are no mirrors: these stay empty.
    "slave_pids",
    "synchronised_slave_pids",
    "owner_pid" = "owner_pid_details.name",
    "exclusive_consumer_tag",
    "exclusive_consumer_pid",
    "single_active_consumer_tag",
    "messages",
    "messages_ready",
    "messages_unacknowledged",
    "messages_delayed",
    "messages_persistent",
    "messages_ram",
    "messages_ready_ram",
    "messages_unacknowledged_ram",
    "message_bytes",
    "message_bytes_ready",
    "message_bytes_unacknowledged",
    "message_bytes_ram",
    "message_bytes_persistent",
    "head_message_timestamp",
    "disk_reads" = "message_stats.disk_reads",
    "disk_writes" = "message_stats.disk_writes",
    "consumers",
    "consumer_utilisation",
    "consumer_capacity",
    "memory",
    "publish" = "message_stats.publish",
    "deliver_get" = "message_stats.deliver_get",
    "ack" = "message_stats.ack",
    "redeliver" = "message_stats.redeliver",
];

const QUEUE_USUAL: &[&str] = &["name", "messages"];

fn list_queues(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(QUEUE, QUEUE_USUAL)?;
    asked.banner("Listing queues for vhost {vhost} ...")?;
    let (online, offline) = (asked.flag("online"), asked.flag("offline"));
    let mut fetched = chosen.clone();
    fetched.push(("state", "state"));
    let is_up = |queue: &Value| {
        !matches!(at(queue, "state").as_str(), Some("down" | "crashed" | "stopped" | "minority"))
    };
    asked.list_filtered("/api/queues/{vhost}", &fetched, &chosen, |queue| {
        // Both or neither: all of them.
        let is_wanted = online == offline || is_up(&queue) == online;
        is_wanted.then_some(queue)
    })
}

const BINDING: &[Column] = columns![
    "source_name" = "source",
    "source_kind",
    "destination_name" = "destination",
    "destination_kind" = "destination_type",
    "routing_key",
    "arguments",
    "properties_key",
];

const BINDING_USUAL: &[&str] = &[
    "source_name",
    "source_kind",
    "destination_name",
    "destination_kind",
    "routing_key",
    "arguments",
];

/// The API doesn't say what a binding begins at, which is an exchange.
fn list_bindings(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(BINDING, BINDING_USUAL)?;
    asked.banner("Listing bindings for vhost {vhost} ...")?;
    asked.list_filtered("/api/bindings/{vhost}", &chosen, &chosen, |mut binding| {
        binding["source_kind"] = "exchange".into();
        Some(binding)
    })
}

fn list_unresponsive_queues(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(QUEUE, &["name"])?;
    asked.banner("Listing unresponsive queues for vhost {vhost} ...")?;
    asked.list_filtered("/api/queues/{vhost}", &chosen, &chosen, |_| None)
}
