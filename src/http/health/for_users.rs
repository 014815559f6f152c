//! The checks that name what belongs to users, and so want one.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;

use super::{Answer, Health, failed, passed, unless};
use crate::broker::NODE_NAME;
use crate::broker::alarm::Alarm;
use crate::http::api::Api;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(virtual_hosts))
        .add(routes!(queues_without_leaders))
        .add(routes!(queues_without_leaders_matching))
        .add(routes!(queues_without_leaders_in))
        .add(routes!(queues_without_leaders_matching_in))
        .add(routes!(aliveness_test))
        .add(routes!(this_node))
        .add(routes!(node))
}

/// That all vhosts work. They stand and fall with the store.
#[utoipa::path(get, path = "/api/health/checks/virtual-hosts", tag = "health",
    responses((status = 200, description = "All do"), (status = 503, description = "Those that don't")))]
async fn virtual_hosts(visitor: Visitor, State(api): State<Api>) -> Answer {
    if !matches!(*api.checked().health.borrow(), Health::Failed(_)) {
        return passed();
    }
    let vhosts = visitor.visible_vhosts();
    let names: Vec<&str> = vhosts.iter().map(|vhost| &*vhost.name).collect();
    failed("Some virtual hosts are down", json!({ "virtual-hosts": names }))
}

/// Queues that no node leads: on one node, none.
#[utoipa::path(get, tag = "health",
    path = "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts",
    responses((status = 200, description = "None")))]
async fn queues_without_leaders(_: Visitor, State(api): State<Api>) -> Answer {
    unless(api.checked().health.borrow().trouble())
}

/// The same, of queues whose names match.
#[utoipa::path(get, tag = "health",
    path = "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}",
    responses((status = 200, description = "None"), (status = 400, description = "No pattern")))]
async fn queues_without_leaders_matching(
    visitor: Visitor,
    state: State<Api>,
    Path(pattern): Path<String>,
) -> Result<Answer, Refusal> {
    must_be_a_pattern(&pattern)?;
    Ok(queues_without_leaders(visitor, state).await)
}

/// The same, of one vhost.
#[utoipa::path(get, tag = "health",
    path = "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}",
    responses((status = 200, description = "None"), (status = 404, description = "No vhost")))]
async fn queues_without_leaders_in(
    visitor: Visitor,
    state: State<Api>,
    Path(vhost): Path<String>,
) -> Result<Answer, Refusal> {
    visitor.visible_vhost(&vhost)?;
    Ok(queues_without_leaders(visitor, state).await)
}

/// The same, of queues of one vhost whose names match.
#[utoipa::path(get, tag = "health",
    path = "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}",
    responses((status = 200, description = "None"), (status = 404, description = "No vhost")))]
async fn queues_without_leaders_matching_in(
    visitor: Visitor,
    state: State<Api>,
    Path((vhost, pattern)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    must_be_a_pattern(&pattern)?;
    queues_without_leaders_in(visitor, state, Path(vhost)).await
}

fn must_be_a_pattern(text: &str) -> Result<(), Refusal> {
    let refuse = |error| {
        Refusal::bad_request(format!("the pattern '{text}' is not a regular expression: {error}"))
    };
    regex::Regex::new(text).map(drop).map_err(refuse)
}

/// That the user can work in a vhost.
#[utoipa::path(get, path = "/api/aliveness-test/{vhost}", tag = "health",
    responses((status = 200, description = "Yes"), (status = 404, description = "No vhost"),
        (status = 503, description = "The broker doesn't serve")))]
async fn aliveness_test(
    visitor: Visitor,
    State(api): State<Api>,
    Path(vhost): Path<String>,
) -> Result<Answer, Refusal> {
    visitor.own_vhost(&vhost)?;
    Ok(unless(api.checked().health.borrow().trouble()))
}

/// That this node serves and has no alarms. Answers 200 either way, as RabbitMQ does.
#[utoipa::path(get, path = "/api/healthchecks/node", tag = "health",
    responses((status = 200, description = "`status` is `ok` or `failed`")))]
async fn this_node(visitor: Visitor, State(api): State<Api>) -> Answer {
    let alarms = visitor.broker.alarms().now();
    let alarms = alarms.iter().map(Alarm::to_string).reduce(|all, one| format!("{all}; {one}"));
    let trouble = api.checked().health.borrow().trouble();
    (StatusCode::OK, unless(trouble.or(alarms)).1)
}

/// The same of a node by its name.
#[utoipa::path(get, path = "/api/healthchecks/node/{node}", tag = "health",
    responses((status = 200, description = "`status` is `ok` or `failed`"),
        (status = 404, description = "No such node")))]
async fn node(
    visitor: Visitor,
    state: State<Api>,
    Path(node): Path<String>,
) -> Result<Answer, Refusal> {
    if node != NODE_NAME {
        return Err(Refusal::not_found(format!("there is no node '{node}'")));
    }
    Ok(this_node(visitor, state).await)
}
