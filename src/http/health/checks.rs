//! The checks that anybody may ask for. 200 when all is well, 503 with a reason otherwise.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, failed, passed, passed_with, unless};
use crate::broker::NODE_NAME;
use crate::broker::alarm::Alarm;
use crate::http::api::Api;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(alarms))
        .add(routes!(local_alarms))
        .add(routes!(ready_to_serve_clients))
        .add(routes!(is_in_service))
        .add(routes!(below_node_connection_limit))
        .add(routes!(port_listener))
        .add(routes!(protocol_listener))
        .add(routes!(certificate_expiration))
        .add(routes!(metadata_store_initialized))
        .add(routes!(metadata_store_initialized_with_data))
        .add(routes!(node_is_quorum_critical))
        .add(routes!(node_is_mirror_sync_critical))
        .add(routes!(reached_target_cluster_size))
}

/// That nothing holds publishers back, in the whole cluster, which is this node.
#[utoipa::path(get, path = "/api/health/checks/alarms", tag = "health",
    responses((status = 200, description = "No alarm"), (status = 503, description = "Alarms")))]
async fn alarms(state: State<Api>) -> Answer {
    local_alarms(state).await
}

/// That nothing holds publishers back on this node.
#[utoipa::path(get, path = "/api/health/checks/local-alarms", tag = "health",
    responses((status = 200, description = "No alarm"), (status = 503, description = "Alarms")))]
async fn local_alarms(State(api): State<Api>) -> Answer {
    let alarms = api.broker().map(|broker| broker.alarms().now()).unwrap_or_default();
    if alarms.is_empty() {
        return passed();
    }
    let told: Vec<String> = alarms.iter().map(Alarm::to_string).collect();
    let reason = format!("publishers are held back: {}", told.join("; "));
    let show = |alarm: &Alarm| json!({ "node": NODE_NAME, "resource": alarm.resource() });
    failed(reason, json!({ "alarms": alarms.iter().map(show).collect::<Vec<_>>() }))
}

/// That clients are served, what they publish can be stored, and one more may come.
#[utoipa::path(get, path = "/api/health/checks/ready-to-serve-clients", tag = "health",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")))]
async fn ready_to_serve_clients(State(api): State<Api>) -> Answer {
    if let Some(reason) = trouble(&api) {
        return failed(reason, json!({}));
    }
    let (status, told) = below_node_connection_limit(State(api)).await;
    if status == StatusCode::OK { passed() } else { (status, told) }
}

/// That the broker serves.
#[utoipa::path(get, path = "/api/health/checks/is-in-service", tag = "health",
    responses((status = 200, description = "It does"), (status = 503, description = "Why not")))]
async fn is_in_service(State(api): State<Api>) -> Answer {
    unless(trouble(&api))
}

fn trouble(api: &Api) -> Option<String> {
    api.checked().health.borrow().trouble()
}

/// That fewer AMQP connections are open than may be.
#[utoipa::path(get, path = "/api/health/checks/below-node-connection-limit", tag = "health",
    responses((status = 200, description = "Fewer"), (status = 503, description = "Full")))]
async fn below_node_connection_limit(State(api): State<Api>) -> Answer {
    let limit = api.checked().connections_max;
    let connections = api.broker().map_or(0, |broker| broker.registry.len());
    let figures = json!({ "limit": limit, "connections": connections });
    if connections < limit {
        return passed_with(figures);
    }
    failed("node connection limit is reached", figures)
}

/// That a port is listened on.
#[utoipa::path(get, path = "/api/health/checks/port-listener/{port}", tag = "health",
    responses((status = 200, description = "It is"), (status = 400, description = "No port"),
        (status = 503, description = "It is not")))]
async fn port_listener(
    State(api): State<Api>,
    Path(port): Path<String>,
) -> Result<Answer, Refusal> {
    let port: u16 = port.parse().map_err(|_| {
        Refusal::bad_request(format!("Invalid port: '{port}' is no number from 0 to 65535"))
    })?;
    let listening = api.checked().listening.borrow();
    let ports: Vec<u16> = listening.iter().map(|one| one.address.port()).collect();
    if ports.contains(&port) {
        return Ok(passed_with(json!({ "port": port })));
    }
    Ok(failed("No active listener", json!({ "missing": port, "ports": ports })))
}

/// That a protocol, or each of several with commas between them, has a listener.
#[utoipa::path(get, path = "/api/health/checks/protocol-listener/{protocols}", tag = "health",
    responses((status = 200, description = "Each has"), (status = 503, description = "One has none")))]
async fn protocol_listener(State(api): State<Api>, Path(protocols): Path<String>) -> Answer {
    let wanted: Vec<String> = protocols.split(',').map(rabbitmq_s_word).collect();
    let listening = api.checked().listening.borrow();
    let is_open = |wanted: &str| listening.iter().any(|one| one.protocol == wanted);
    if let Some(missing) = wanted.iter().find(|wanted| !is_open(wanted)) {
        let protocols: Vec<&str> = listening.iter().map(|one| one.protocol).collect();
        return failed("No active listener", json!({ "missing": missing, "protocols": protocols }));
    }
    passed_with(json!({ "protocol": wanted.join(",") }))
}

/// Rule (RabbitMQ): protocols go by many names.
fn rabbitmq_s_word(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let word = match name.as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" | "amqp0_9_1" => "amqp",
        "amqps" => "amqp/ssl",
        "http1" | "http1.1" | "http_api" | "management" | "management_ui" | "ui" => "http",
        "prometheus" => "http/prometheus",
        other => other,
    };
    word.to_owned()
}

/// That no certificate of a listener expires within so many days, weeks, months or years. There are
/// no listeners with certificates.
#[utoipa::path(get, path = "/api/health/checks/certificate-expiration/{within}/{unit}",
    tag = "health", responses((status = 200, description = "None"),
        (status = 400, description = "No such time")))]
async fn certificate_expiration(
    Path((within, unit)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    if within.parse::<u32>().is_err() {
        return Err(Refusal::bad_request(format!(
            "Invalid expiration value: '{within}' is no whole number"
        )));
    }
    if !["days", "weeks", "months", "years"].contains(&unit.to_lowercase().as_str()) {
        return Err(Refusal::bad_request(format!(
            "Time unit not recognised: '{unit}'. Supported units: days, weeks, months, years."
        )));
    }
    Ok(passed())
}

/// That the definitions have been read.
#[utoipa::path(get, path = "/api/health/checks/metadata-store/initialized", tag = "health",
    responses((status = 200, description = "Yes"), (status = 503, description = "Not yet")))]
async fn metadata_store_initialized(State(api): State<Api>) -> Answer {
    unless(api.broker().err().map(|refusal| refusal.reason))
}

/// That the definitions have been read, and that there are some.
#[utoipa::path(get, path = "/api/health/checks/metadata-store/initialized/with-data",
    tag = "health",
    responses((status = 200, description = "Yes"), (status = 503, description = "Not yet")))]
async fn metadata_store_initialized_with_data(State(api): State<Api>) -> Answer {
    unless(match api.broker() {
        Err(refusal) => Some(refusal.reason),
        Ok(broker) => {
            broker.vhosts().is_empty().then(|| "there is not even a virtual host".to_owned())
        }
    })
}

fn alone() -> Value {
    json!({ "reason": "single node cluster" })
}

/// That nothing stops when this node does: what is on one node only is not looked at.
#[utoipa::path(get, path = "/api/health/checks/node-is-quorum-critical", tag = "health",
    responses((status = 200, description = "One node")))]
async fn node_is_quorum_critical() -> Answer {
    passed_with(alone())
}

/// The same for mirrored queues, which there are none of.
#[utoipa::path(get, path = "/api/health/checks/node-is-mirror-sync-critical", tag = "health",
    responses((status = 200, description = "One node")))]
async fn node_is_mirror_sync_critical() -> Answer {
    passed_with(alone())
}

/// That all nodes are there: the one.
#[utoipa::path(get, path = "/api/health/checks/reached-target-cluster-size", tag = "health",
    responses((status = 200, description = "It is"), (status = 503, description = "It starts")))]
async fn reached_target_cluster_size(State(api): State<Api>) -> Answer {
    is_in_service(State(api)).await
}
