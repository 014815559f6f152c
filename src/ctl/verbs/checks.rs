//! Health checks: those of rabbitmq-diagnostics. One that fails has exit code 69.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::Refused;
use crate::ctl::verb::{Action, Check, Subject, Verb, option, optional, required};

use super::node::listeners_of;

/// How long a port may take to accept a connection.
const PORT_WAIT: Duration = Duration::from_secs(10);

pub(super) const SUBJECT: Subject = Subject {
    title: "Health checks",
    verbs: &[
        Verb {
            name: "ping",
            about: "Check that the broker's process answers",
            example: "ping",
            words: &[],
            action: Action::Own(ping),
        },
        Verb {
            name: "is_running",
            about: "Say whether the broker serves clients",
            example: "is_running",
            words: &[],
            action: Action::Own(|asked| is_running(asked, true)),
        },
        Verb {
            name: "is_booting",
            about: "Say whether the broker is still starting",
            example: "is_booting",
            words: &[],
            action: Action::Own(|asked| is_running(asked, false)),
        },
        Verb {
            name: "check_running",
            about: "Fail unless the broker serves clients",
            example: "check_running -q",
            words: &[],
            action: check(
                "Checking if the broker is running ...",
                READY,
                "The broker is fully booted and running",
            ),
        },
        Verb {
            name: "check_alarms",
            about: "Fail if an alarm holds publishers back",
            example: "check_alarms",
            words: &[],
            action: check(
                "Asking the broker for resource alarms ...",
                "/api/health/checks/alarms",
                "The broker reported no alarms, local or clusterwide",
            ),
        },
        Verb {
            name: "check_local_alarms",
            about: "Fail if an alarm of this node holds publishers back",
            example: "check_local_alarms",
            words: &[],
            action: check(
                "Asking the broker for local resource alarms ...",
                "/api/health/checks/local-alarms",
                "The broker reported no local alarms",
            ),
        },
        Verb {
            name: "check_port_listener",
            about: "Fail unless the broker listens on a port",
            example: "check_port_listener 5672",
            words: &[required("PORT", "The port's number").number()],
            action: check(
                "Asking the broker if there's an active listener on port {PORT} ...",
                "/api/health/checks/port-listener/{PORT}",
                "A listener for port {PORT} is running",
            ),
        },
        Verb {
            name: "check_protocol_listener",
            about: "Fail unless the broker listens for a protocol",
            example: "check_protocol_listener amqp",
            words: &[required("PROTOCOL", "amqp, http, http/prometheus, ...")],
            action: check(
                "Asking the broker if there's an active listener for protocol {PROTOCOL} ...",
                "/api/health/checks/protocol-listener/{PROTOCOL}",
                "A listener for protocol {PROTOCOL} is running",
            ),
        },
        Verb {
            name: "check_port_connectivity",
            about: "Connect to each port that the broker listens on",
            example: "check_port_connectivity\ncheck_port_connectivity --address broker.example.com",
            words: &[option("address", "The host to connect to [default: that of --url]")],
            action: Action::Own(check_port_connectivity),
        },
        Verb {
            name: "check_virtual_hosts",
            about: "Fail if a vhost doesn't work",
            example: "check_virtual_hosts",
            words: &[],
            action: check(
                "Checking if all vhosts are running ...",
                "/api/health/checks/virtual-hosts",
                "The broker reported all vhosts as running",
            ),
        },
        Verb {
            name: "check_certificate_expiration",
            about: "Fail if a listener's certificate expires soon",
            example: "check_certificate_expiration --within 3 --unit weeks",
            words: &[
                option("within", "How many of these units").or("4").number(),
                option("unit", "What is counted")
                    .one_of(&["days", "weeks", "months", "years"])
                    .or("weeks"),
            ],
            action: check(
                "Checking certificate expiration ...",
                "/api/health/checks/certificate-expiration/{within}/{unit}",
                "No certificates are expiring within {within} {unit}",
            ),
        },
        Verb {
            name: "check_if_node_is_quorum_critical",
            about: "Fail if queues would be lost with this node: never, it is the only one",
            example: "check_if_node_is_quorum_critical",
            words: &[],
            action: check(
                "Checking if the node is critical for quorum queues ...",
                "/api/health/checks/node-is-quorum-critical",
                "The node is the only one",
            ),
        },
        Verb {
            name: "check_if_node_is_mirror_sync_critical",
            about: "Fail if mirrored queues would lose data with this node: there are none",
            example: "check_if_node_is_mirror_sync_critical",
            words: &[],
            action: check(
                "Checking if the node is critical for mirrored queues ...",
                "/api/health/checks/node-is-mirror-sync-critical",
                "The node is the only one",
            ),
        },
        Verb {
            name: "check_for_quorum_queues_without_an_elected_leader",
            about: "Fail if a queue has no leader: never, it is on the one node",
            example: "check_for_quorum_queues_without_an_elected_leader -p / '^orders'",
            words: &[optional("PATTERN", "Expression for the names of the queues").or(".*")],
            action: check(
                "Checking for queues without an elected leader in vhost '{vhost}' ...",
                "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{PATTERN}",
                "The broker reported no queues without a leader",
            ),
        },
        Verb {
            name: "check_if_metadata_store_is_initialized",
            about: "Fail unless the broker has its definitions",
            example: "check_if_metadata_store_is_initialized",
            words: &[],
            action: check(
                "Checking if the definitions are there ...",
                "/api/health/checks/metadata-store/initialized",
                "The broker has its definitions",
            ),
        },
        Verb {
            name: "check_if_metadata_store_is_initialized_with_data",
            about: "Fail unless the broker has definitions beside those of its first start",
            example: "check_if_metadata_store_is_initialized_with_data",
            words: &[],
            action: check(
                "Checking if there are definitions ...",
                "/api/health/checks/metadata-store/initialized/with-data",
                "The broker has definitions",
            ),
        },
        Verb {
            name: "check_if_any_deprecated_features_are_used",
            about: "Fail if a feature that will go is in use",
            example: "check_if_any_deprecated_features_are_used",
            words: &[],
            action: Action::Own(check_deprecated),
        },
        Verb {
            name: "node_health_check",
            about: "Check the whole node, as older scripts do",
            example: "node_health_check",
            words: &[],
            action: Action::Own(node_health_check),
        },
    ],
};

pub(super) const READY: &str = "/api/health/checks/ready-to-serve-clients";

const fn check(banner: &'static str, path: &'static str, passed: &'static str) -> Action {
    Action::Check(Check { banner, path, passed })
}

/// Any answer will do, even a refusal.
fn ping(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.output.banner(&format!("Will ping {} ...", asked.session.base()))?;
    match asked.session.get(READY) {
        Err(refused @ Refused { status: 0, .. }) => Err(refused.into()),
        _ => Ok(Answer::Done("Ping succeeded".to_owned())),
    }
}

/// Says yes or no, and is no failure either way, as rabbitmq-diagnostics does.
fn is_running(asked: &Asked<'_>, is_wanted_running: bool) -> Result<Answer, Failure> {
    asked.banner("Asking the broker for its status ...")?;
    let (is_running, why) = match asked.session.get(READY) {
        Ok(_) => (true, String::new()),
        Err(refused) if refused.status == 503 => (false, refused.reason()),
        Err(refused) => return Err(refused.into()),
    };
    let text = if is_running {
        "The broker is fully booted and running".to_owned()
    } else {
        format!("The broker doesn't serve clients: {why}")
    };
    let result = if is_wanted_running { is_running } else { why.contains("starting") };
    Ok(Answer::Document { value: json!({"result": result, "message": text}), text })
}

fn check_port_connectivity(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Testing TCP connections to all active listeners ...")?;
    let overview = asked.get("/api/overview?columns=listeners")?;
    let host = match asked.given("address") {
        Some(host) => host.to_owned(),
        None => Url::parse(asked.session.base())
            .ok()
            .and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()))
            .unwrap_or_default(),
    };
    let ports: Vec<u16> = listeners_of(&overview)
        .filter_map(|one| at(one, "port").as_u64()?.try_into().ok())
        .collect();
    let mut failed = Vec::new();
    for port in &ports {
        if let Err(why) = connect(&host, *port) {
            failed.push(format!("{port} ({why})"));
        }
    }
    let told = |ports: Vec<String>| ports.join(", ");
    if !failed.is_empty() {
        let failed = told(failed);
        return Err(Failure::unavailable(format!(
            "unable to connect to ports of {host}: {failed}"
        )));
    }
    let ports = told(ports.iter().map(u16::to_string).collect());
    Ok(Answer::Done(format!("Successfully connected to ports {ports} of {host}")))
}

fn connect(host: &str, port: u16) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut why = "the host has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PORT_WAIT) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn check_deprecated(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Checking if any deprecated features are used ...")?;
    let used = asked.names("/api/deprecated-features/used")?;
    if used.is_empty() {
        return Ok(Answer::Done("The broker reported no deprecated features in use".to_owned()));
    }
    Err(Failure::unavailable(format!("deprecated features in use: {}", used.join(", "))))
}

fn node_health_check(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Checking health of the node ...")?;
    let answer = asked.get("/api/healthchecks/node")?;
    if at(&answer, "status").as_str() == Some("ok") {
        return Ok(Answer::Done("Health check passed".to_owned()));
    }
    let reason = at(&answer, "reason").as_str().unwrap_or("the broker doesn't say why");
    Err(Failure::unavailable(format!("health check failed: {reason}")))
}
