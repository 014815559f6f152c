//! The broker as a whole: how it is, what it listens on, what it is made of.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ctl::action::{array, at};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::{Answer, cell};
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, Column, List, Subject, Verb, Word, columns, flag, option, required,
};
use crate::ctl::wait;

use super::checks::READY;
use super::report;

/// Between two looks at a broker that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

const UNIT: Word =
    option("unit", "Of memory and disk space").one_of(&["gb", "mb", "kb", "bytes"]).or("gb");

pub(super) const SUBJECT: Subject = Subject {
    title: "The broker",
    verbs: &[
        Verb {
            name: "status",
            about: "Say how the broker is: version, alarms, memory, disk, listeners",
            example: "status\nstatus --unit mb --formatter json",
            words: &[UNIT],
            action: Action::Own(status),
        },
        Verb {
            name: "await_startup",
            about: "Wait until the broker serves clients, 300 s or as --timeout says",
            example: "await_startup --timeout 60",
            words: &[],
            action: Action::Own(await_startup),
        },
        Verb {
            name: "await_online_nodes",
            about: "Wait until one node serves clients; more there never are",
            example: "await_online_nodes 1 --timeout 60",
            words: &[required("COUNT", "How many nodes").number()],
            action: Action::Own(await_online_nodes),
        },
        Verb {
            name: "server_version",
            about: "Print the broker's version",
            example: "server_version",
            words: &[],
            action: Action::Own(server_version),
        },
        Verb {
            name: "cluster_status",
            about: "Say what the cluster is: one node, its alarms, listeners and feature flags",
            example: "cluster_status",
            words: &[],
            action: Action::Own(cluster_status),
        },
        Verb {
            name: "listeners",
            about: "List what the broker listens on",
            example: "listeners --formatter json",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Asking the broker to report its protocol listeners ...")?;
                let overview = asked.get("/api/overview?columns=listeners,node")?;
                let value = json!({
                    "result": "ok", "node": at(&overview, "node"), "listeners": listeners_json(&overview),
                });
                Ok(Answer::Document { value, text: listeners_text(&overview) })
            }),
        },
        Verb {
            name: "alarms",
            about: "List the alarms that hold publishers back",
            example: "alarms",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Asking the broker to report any known resource alarms ...")?;
                let node = Node::of(asked)?;
                let alarms: Vec<String> = alarms_of(&node).map(Alarm::sentence).collect();
                if alarms.is_empty() {
                    let text = "The broker reported no alarms, local or clusterwide".to_owned();
                    let value = json!({"result": "ok", "node": node.name, "alarms": []});
                    return Ok(Answer::Document { value, text });
                }
                let value = json!({
                    "result": "ok", "local": alarms, "global": [],
                    "message": format!("Node {} reported alarms", node.name),
                });
                Ok(Answer::Document { value, text: alarms.join("\n") })
            }),
        },
        Verb {
            name: "memory_breakdown",
            about: "Say what the broker's memory is used for",
            example: "memory_breakdown --unit mb",
            words: &[UNIT],
            action: Action::Own(memory_breakdown),
        },
        Verb {
            name: "list_nodes",
            about: "List the nodes: there is one",
            example: "list_nodes name mem_used disk_free uptime",
            words: &[],
            action: Action::List(List {
                banner: "Listing nodes ...",
                path: "/api/nodes",
                columns: columns![
                    "name",
                    "running",
                    "type",
                    "os_pid",
                    "uptime",
                    "mem_used",
                    "mem_limit",
                    "mem_alarm",
                    "disk_free",
                    "disk_free_limit",
                    "disk_free_alarm",
                    "fd_used",
                    "fd_total",
                    "sockets_used",
                    "sockets_total",
                    "processors",
                ],
                usual: &["name", "running", "uptime", "mem_used", "disk_free"],
            }),
        },
        Verb {
            name: "list_node_auth_attempt_stats",
            about: "Count logins that were tried, by protocol, or also by address and user",
            example: "list_node_auth_attempt_stats\nlist_node_auth_attempt_stats --by-source",
            words: &[flag("by-source", "Of each address and user")],
            action: Action::Own(list_logins),
        },
        Verb {
            name: "reset_node_auth_attempt_metrics",
            about: "Count logins from zero again",
            example: "reset_node_auth_attempt_metrics",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Resetting the counts of authentication attempts ...")?;
                let path = format!("/api/auth/attempts/{}", encode(&Node::name_of(asked)?));
                asked.send("DELETE", &path, &Sent::default())?;
                Ok(Answer::Done(String::new()))
            }),
        },
        Verb {
            name: "environment",
            about: "Print the settings that the broker runs with",
            example: "environment --formatter json",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Asking the broker for its settings ...")?;
                let value = asked.get("/api/config/effective")?;
                let mut text = String::new();
                for (section, settings) in value.as_object().into_iter().flatten() {
                    for (name, value) in settings.as_object().into_iter().flatten() {
                        let _ = writeln!(text, "{section}.{name} = {value}");
                    }
                }
                Ok(Answer::Document { value, text })
            }),
        },
        Verb {
            name: "report",
            about: "Print all that can be asked of a broker, to go with a question about it",
            example: "report > report.txt",
            words: &[],
            action: Action::Own(report::report),
        },
    ],
};

/// What the broker says of itself.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) overview: Value,
    pub(super) node: Value,
}

impl Node {
    pub(super) fn of(asked: &Asked<'_>) -> Result<Self, Failure> {
        let overview = asked.get("/api/overview")?;
        let name = at(&overview, "node").as_str().unwrap_or_default().to_owned();
        let node = asked.get(&format!("/api/nodes/{}", encode(&name)))?;
        Ok(Self { name, overview, node })
    }

    pub(super) fn name_of(asked: &Asked<'_>) -> Result<String, Failure> {
        let overview = asked.get("/api/overview?columns=node")?;
        Ok(at(&overview, "node").as_str().unwrap_or_default().to_owned())
    }

    fn version(&self) -> &str {
        version_of(&self.overview)
    }

    /// The API has it as a text.
    fn pid(&self) -> Value {
        let pid = at(&self.node, "os_pid");
        pid.as_str().and_then(|pid| pid.parse::<u64>().ok()).map_or(pid.clone(), Into::into)
    }

    fn number(&self, name: &str) -> u64 {
        at(&self.node, name).as_u64().unwrap_or(0)
    }
}

/// RabbitMQ before 3.8 names its version, others the product's as well.
fn version_of(overview: &Value) -> &str {
    let named = |name: &str| at(overview, name).as_str();
    named("product_version").or(named("rabbitmq_version")).unwrap_or_default()
}

pub(super) fn listeners_of(overview: &Value) -> impl Iterator<Item = &Value> {
    at(overview, "listeners").as_array().into_iter().flatten()
}

/// A listener as rabbitmq-diagnostics describes it.
fn listeners_json(overview: &Value) -> Value {
    let one = |one: &Value| {
        let protocol = at(one, "protocol").as_str().unwrap_or_default();
        json!({
            "interface": interface(one), "node": at(one, "node"), "port": at(one, "port"),
            "protocol": protocol, "purpose": purpose(protocol),
        })
    };
    listeners_of(overview).map(one).collect()
}

fn interface(listener: &Value) -> String {
    let address = at(listener, "ip_address").as_str().unwrap_or_default();
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

pub(super) fn listeners_text(overview: &Value) -> String {
    let mut text = String::new();
    for one in listeners_of(overview) {
        let protocol = at(one, "protocol").as_str().unwrap_or_default();
        // Writing to a string doesn't fail.
        let _ = writeln!(
            text,
            "Interface: {}, port: {}, protocol: {protocol}, purpose: {}",
            interface(one),
            cell(at(one, "port")),
            purpose(protocol)
        );
    }
    text
}

fn purpose(protocol: &str) -> &str {
    match protocol {
        "amqp" => "AMQP 0-9-1",
        "amqp/ssl" => "AMQP 0-9-1 over TLS",
        "http" => "HTTP API",
        "https" => "HTTP API over TLS",
        "http/prometheus" => "Prometheus exporter",
        other => other,
    }
}

/// What a node has too little of, and its name.
#[derive(Clone, Copy)]
struct Alarm<'a>(&'static str, &'a str);

fn alarms_of(node: &Node) -> impl Iterator<Item = Alarm<'_>> {
    let alarms = [("memory", "mem_alarm"), ("disk", "disk_free_alarm")];
    let is_on = |name: &str| at(&node.node, name).as_bool() == Some(true);
    let on = alarms.into_iter().filter(move |(_, name)| is_on(name));
    on.map(|(resource, _)| Alarm(resource, &node.name))
}

impl Alarm<'_> {
    fn sentence(self) -> String {
        let Self(resource, node) = self;
        let named = if resource == "memory" { "Memory" } else { "Free disk space" };
        format!("{named} alarm on node {node}")
    }

    fn json(self) -> Value {
        let Self(resource, node) = self;
        json!({"type": "resource_limit", "resource": resource, "node": node})
    }
}

/// All of them as a part of a text.
fn alarms_text(node: &Node) -> String {
    let alarms: Vec<String> = alarms_of(node).map(Alarm::sentence).collect();
    if alarms.is_empty() { "(none)".to_owned() } else { alarms.join("\n") }
}

/// Bytes in the unit that is asked for.
struct Unit(&'static str, f64);

impl Unit {
    fn of(asked: &Asked<'_>) -> Self {
        match asked.text("unit") {
            "mb" => Self("mb", 1e6),
            "kb" => Self("kb", 1e3),
            "bytes" => Self("bytes", 1.0),
            // No other word comes through the command line.
            _ => Self("gb", 1e9),
        }
    }

    fn say(&self, bytes: u64) -> String {
        let Self(name, size) = self;
        let digits = if *size > 1.0 { 4 } else { 0 };
        #[allow(clippy::cast_precision_loss, reason = "a rounded figure is what is printed")]
        let count = bytes as f64 / size;
        format!("{count:.digits$} {name}")
    }
}

const LOGINS: &[Column] =
    columns!["protocol", "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"];
const LOGINS_BY_SOURCE: &[Column] = columns![
    "protocol",
    "remote_address",
    "username",
    "auth_attempts",
    "auth_attempts_failed",
    "auth_attempts_succeeded",
];

fn list_logins(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Listing authentication attempts ...")?;
    let path = format!("/api/auth/attempts/{}", encode(&Node::name_of(asked)?));
    match asked.flag("by-source") {
        true => asked.list_at(&format!("{path}/source"), LOGINS_BY_SOURCE),
        false => asked.list_at(&path, LOGINS),
    }
}

fn status(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let unit = Unit::of(asked);
    asked.banner("Asking the broker for its status ...")?;
    let node = Node::of(asked)?;
    let vhosts = asked.names("/api/vhosts")?.len();
    let (overview, total) =
        (&node.overview, |name: &str| cell(at(&node.overview, &format!("object_totals.{name}"))));
    let number = |name: &str| node.number(name);
    let text = format!(
        "Runtime\n\nOS PID: {}\nUptime (seconds): {}\nProduct: {} {}\nNode name: {}\n\n\
         Data directory\n\n{}\n\nAlarms\n\n{}\n\n\
         Memory\n\nTotal memory used: {}\nMemory high watermark: {}\n\n\
         File descriptors\n\nTotal: {}, limit: {}\n\n\
         Free disk space\n\nLow free disk space watermark: {}\nFree disk space: {}\n\n\
         Totals\n\nConnection count: {}\nQueue count: {}\nVirtual host count: {vhosts}\n\n\
         Listeners\n\n{}",
        cell(at(&node.node, "os_pid")),
        number("uptime") / 1000,
        cell(at(overview, "product_name")),
        node.version(),
        node.name,
        cell(at(&node.node, "db_dir")),
        alarms_text(&node),
        unit.say(number("mem_used")),
        unit.say(number("mem_limit")),
        number("fd_used"),
        number("fd_total"),
        unit.say(number("disk_free_limit")),
        unit.say(number("disk_free")),
        total("connections"),
        total("queues"),
        listeners_text(overview),
    );
    let value = json!({
        "node": node.name, "product_name": at(overview, "product_name"),
        "product_version": node.version(), "rabbitmq_version": at(overview, "rabbitmq_version"),
        "alarms": alarms_of(&node).map(Alarm::json).collect::<Vec<_>>(),
        "pid": node.pid(), "uptime": number("uptime") / 1000,
        "is_under_maintenance": at(&node.node, "being_drained"),
        "data_directory": at(&node.node, "db_dir"),
        "config_files": at(&node.node, "config_files"), "log_files": at(&node.node, "log_files"),
        "memory": {"total": {"rss": number("mem_used")}},
        "vm_memory_high_watermark_limit": number("mem_limit"),
        "file_descriptors": {
            "total_used": number("fd_used"), "total_limit": number("fd_total"),
            "sockets_used": number("sockets_used"), "sockets_limit": number("sockets_total"),
        },
        "disk_free": number("disk_free"), "disk_free_limit": number("disk_free_limit"),
        "totals": {
            "connection_count": at(overview, "object_totals.connections"),
            "queue_count": at(overview, "object_totals.queues"), "virtual_host_count": vhosts,
        },
        "listeners": listeners_json(overview),
    });
    Ok(Answer::Document { value, text })
}

/// As long as it can't be reached or doesn't serve clients, it isn't there yet.
fn await_startup(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let seconds = asked.matches.get_one::<u64>("timeout").copied().unwrap_or(300);
    asked.banner("Waiting for the broker to start ...")?;
    wait::until("waiting for the broker", LOOK_AGAIN, Some(Duration::from_secs(seconds)), || {
        match asked.session.get(READY) {
            Ok(_) => Ok(Ok(())),
            Err(refused) if matches!(refused.status, 0 | 503) => {
                Ok(Err(Failure::from(refused).text))
            }
            Err(refused) => Err(refused.into()),
        }
    })?;
    Ok(Answer::Done(String::new()))
}

/// There is one node, and one that can't be reached isn't online.
fn await_online_nodes(asked: &Asked<'_>) -> Result<Answer, Failure> {
    if asked.number("COUNT")? > 1 {
        let text = asked.sentence("{COUNT} nodes there never are: a FerryMQ broker is one node");
        return Err(Failure::unavailable(text));
    }
    await_startup(asked)
}

fn server_version(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Asking the broker for its version ...")?;
    let overview = asked.get("/api/overview")?;
    let version = version_of(&overview).to_owned();
    Ok(Answer::Document { value: json!({"result": "ok", "value": version}), text: version })
}

fn cluster_status(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Asking the broker for the status of its cluster ...")?;
    let node = Node::of(asked)?;
    let name = cell(at(&node.overview, "cluster_name"));
    let flags = array(asked.get("/api/feature-flags?columns=name,state")?)?;
    let mut text = format!(
        "Basics\n\nCluster name: {name}\n\nDisk Nodes\n\n{0}\n\nRunning Nodes\n\n{0}\n\nVersions\n\n{0}: {1} {2}\n\n\
         Alarms\n\n{3}\n\nNetwork Partitions\n\n(none)\n\nListeners\n\n{4}\nFeature flags\n\n",
        node.name,
        cell(at(&node.overview, "product_name")),
        node.version(),
        alarms_text(&node),
        listeners_text(&node.overview),
    );
    for flag in &flags {
        let (name, state) = (cell(at(flag, "name")), cell(at(flag, "state")));
        let _ = writeln!(text, "Flag: {name}, state: {state}");
    }
    let value = json!({
        "cluster_name": name, "running_nodes": [node.name], "disk_nodes": [node.name],
        "versions": {(node.name.as_str()): {"version": node.version()}},
        "alarms": alarms_of(&node).map(Alarm::json).collect::<Vec<_>>(),
        "partitions": {}, "ram_nodes": [],
        "maintenance_status": {(node.name.as_str()): "not under maintenance"},
        "listeners": {(node.name.as_str()): listeners_json(&node.overview)},
        "feature_flags": flags,
    });
    Ok(Answer::Document { value, text })
}

fn memory_breakdown(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let unit = Unit::of(asked);
    asked.banner("Reporting memory breakdown ...")?;
    let path = format!("/api/nodes/{}/memory", encode(&Node::name_of(asked)?));
    let memory = asked.get(&path)?;
    let parts = at(&memory, "memory").as_object();
    let mut parts: Vec<(&str, u64)> = parts
        .into_iter()
        .flatten()
        .filter_map(|(name, bytes)| Some((name.as_str(), bytes.as_u64()?)))
        .collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let whole: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let (mut text, mut value) = (String::new(), json!({}));
    for (name, bytes) in parts {
        let hundredths = bytes.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
        let percent = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        value[name] = json!({"bytes": bytes, "percentage": percent.parse::<f64>().ok()});
        // What only Erlang has is zero here, and tells people nothing.
        if bytes > 0 {
            let _ = writeln!(text, "{name}: {} ({percent}%)", unit.say(bytes));
        }
    }
    Ok(Answer::Document { value, text })
}
