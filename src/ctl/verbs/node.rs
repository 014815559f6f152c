//! The broker as a whole: how it is, what it listens on, what it is made of.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ctl::action::{array, at};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::{Answer, cell};
use crate::ctl::session::encode;
use crate::ctl::verb::{Action, List, Subject, Verb, columns, option};
use crate::ctl::wait;

use super::checks::READY;
use super::report;

/// Between two looks at a broker that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) const SUBJECT: Subject = Subject {
    title: "The broker",
    verbs: &[
        Verb {
            name: "status",
            about: "Say how the broker is: version, alarms, memory, disk, listeners",
            example: "status\nstatus --unit mb --formatter json",
            words: &[option("unit", "gb, mb, kb or bytes").or("gb")],
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
                let found: Vec<Value> = listeners_of(&overview).cloned().collect();
                let text = listeners_text(&overview);
                Ok(Answer::Document { value: json!({"listeners": found}), text })
            }),
        },
        Verb {
            name: "alarms",
            about: "List the alarms that hold publishers back",
            example: "alarms",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Asking the broker to report any known resource alarms ...")?;
                let alarms = alarms_of(&Node::of(asked)?.node);
                let text = if alarms.is_empty() {
                    "The broker reported no alarms, local or clusterwide".to_owned()
                } else {
                    alarms.join("\n")
                };
                Ok(Answer::Document { value: json!({"alarms": alarms}), text })
            }),
        },
        Verb {
            name: "memory_breakdown",
            about: "Say what the broker's memory is used for",
            example: "memory_breakdown --unit mb",
            words: &[option("unit", "gb, mb, kb or bytes").or("gb")],
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
            about: "Count logins that were tried, by protocol",
            example: "list_node_auth_attempt_stats",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Listing authentication attempts ...")?;
                let path = format!("/api/auth/attempts/{}", encode(&Node::of(asked)?.name));
                asked.list_at(
                    &path,
                    columns![
                        "protocol",
                        "auth_attempts",
                        "auth_attempts_failed",
                        "auth_attempts_succeeded",
                    ],
                )
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

    fn version(&self) -> &str {
        version_of(&self.overview)
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

pub(super) fn listeners_text(overview: &Value) -> String {
    let mut text = String::new();
    for one in listeners_of(overview) {
        let protocol = at(one, "protocol").as_str().unwrap_or_default();
        let address = at(one, "ip_address").as_str().unwrap_or_default();
        let address =
            if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        // Writing to a string doesn't fail.
        let _ = writeln!(
            text,
            "Interface: {address}, port: {}, protocol: {protocol}, purpose: {}",
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

pub(super) fn alarms_of(node: &Value) -> Vec<String> {
    let name = at(node, "name").as_str().unwrap_or_default();
    let is_on = |alarm: &str| at(node, alarm).as_bool() == Some(true);
    let mut alarms = Vec::new();
    if is_on("mem_alarm") {
        alarms.push(format!("Memory alarm on node {name}"));
    }
    if is_on("disk_free_alarm") {
        alarms.push(format!("Free disk space alarm on node {name}"));
    }
    alarms
}

/// Bytes in the unit that is asked for.
struct Unit(&'static str, f64);

impl Unit {
    fn of(asked: &Asked<'_>) -> Result<Self, Failure> {
        match asked.text("unit") {
            "gb" => Ok(Self("gb", 1e9)),
            "mb" => Ok(Self("mb", 1e6)),
            "kb" => Ok(Self("kb", 1e3)),
            "bytes" => Ok(Self("bytes", 1.0)),
            other => Err(Failure::data(format!("the unit is gb, mb, kb or bytes, not {other}"))),
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

fn status(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let unit = Unit::of(asked)?;
    asked.banner("Asking the broker for its status ...")?;
    let node = Node::of(asked)?;
    let vhosts = asked.names("/api/vhosts")?.len();
    let (overview, total) =
        (&node.overview, |name: &str| cell(at(&node.overview, &format!("object_totals.{name}"))));
    let (number, alarms) = (|name: &str| node.number(name), alarms_of(&node.node));
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
        if alarms.is_empty() { "(none)".to_owned() } else { alarms.join("\n") },
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
        "node": node.name, "version": node.version(), "alarms": alarms,
        "os_pid": at(&node.node, "os_pid"), "uptime": number("uptime") / 1000,
        "data_directory": at(&node.node, "db_dir"),
        "memory": {"total": number("mem_used"), "limit": number("mem_limit")},
        "file_descriptors": {"total_used": number("fd_used"), "total_limit": number("fd_total")},
        "disk_free": number("disk_free"), "disk_free_limit": number("disk_free_limit"),
        "totals": {
            "connection_count": at(overview, "object_totals.connections"),
            "queue_count": at(overview, "object_totals.queues"), "virtual_host_count": vhosts,
        },
        "listeners": at(overview, "listeners"),
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

fn server_version(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Asking the broker for its version ...")?;
    let overview = asked.get("/api/overview")?;
    let version = version_of(&overview).to_owned();
    Ok(Answer::Document { value: json!({"version": version}), text: version })
}

fn cluster_status(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Asking the broker for the status of its cluster ...")?;
    let node = Node::of(asked)?;
    let name = cell(at(&node.overview, "cluster_name"));
    let flags = array(asked.get("/api/feature-flags?columns=name,state")?)?;
    let alarms = alarms_of(&node.node);
    let mut text = format!(
        "Basics\n\nCluster name: {name}\n\nRunning Nodes\n\n{0}\n\nVersions\n\n{0}: {1} {2}\n\n\
         Alarms\n\n{3}\n\nNetwork Partitions\n\n(none)\n\nListeners\n\n{4}\nFeature flags\n\n",
        node.name,
        cell(at(&node.overview, "product_name")),
        node.version(),
        if alarms.is_empty() { "(none)".to_owned() } else { alarms.join("\n") },
        listeners_text(&node.overview),
    );
    for flag in &flags {
        let (name, state) = (cell(at(flag, "name")), cell(at(flag, "state")));
        let _ = writeln!(text, "Flag: {name}, state: {state}");
    }
    let value = json!({
        "cluster_name": name, "running_nodes": [node.name], "disk_nodes": [node.name],
        "versions": {(node.name.as_str()): {"version": node.version()}}, "alarms": alarms,
        "partitions": {}, "listeners": {(node.name.as_str()): at(&node.overview, "listeners")},
        "feature_flags": flags,
    });
    Ok(Answer::Document { value, text })
}

fn memory_breakdown(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let unit = Unit::of(asked)?;
    asked.banner("Reporting memory breakdown ...")?;
    let path = format!("/api/nodes/{}/memory", encode(&Node::of(asked)?.name));
    let memory = asked.get(&path)?;
    let parts = at(&memory, "memory").as_object();
    let mut parts: Vec<(&str, u64)> = parts
        .into_iter()
        .flatten()
        .filter_map(|(name, bytes)| Some((name.as_str(), bytes.as_u64()?)))
        .collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let whole: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let mut text = String::new();
    for (name, bytes) in &parts {
        let percent = bytes.saturating_mul(100).checked_div(whole).unwrap_or(0);
        let _ = writeln!(text, "{name}: {} ({percent}%)", unit.say(*bytes));
    }
    Ok(Answer::Document { value: memory.clone(), text })
}
