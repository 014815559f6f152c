//! Policies and operator policies.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::broker::error::Error;
use crate::broker::policy::matching::{Policy, PolicyKind};
use crate::broker::vhost::Vhost;
use crate::http::answer::{aside, deleted, put_status};
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Policymaker, Visitor};
use crate::store::definition::PolicyDefinition;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_policies))
        .add(routes!(list_policies_in_vhost))
        .add(routes!(get_policy, put_policy, delete_policy))
        .add(routes!(list_operator_policies))
        .add(routes!(list_operator_policies_in_vhost))
        .add(routes!(get_operator_policy, put_operator_policy, delete_operator_policy))
}

fn show(policy: &Policy) -> Value {
    let PolicyDefinition { vhost, name, pattern, apply_to, priority, definition } = &policy.stored;
    json!({
        "vhost": vhost, "name": name, "pattern": pattern, "apply-to": apply_to,
        "priority": priority, "definition": definition,
    })
}

/// The policies of vhosts, by vhost and name.
fn listed(query: &ListQuery, vhosts: &[Arc<Vhost>], kind: PolicyKind) -> Result<Listed, Refusal> {
    let mut found: Vec<_> = vhosts.iter().flat_map(|vhost| vhost.policies(kind)).collect();
    found.sort_by(|a, b| {
        let key = |policy: &Policy| (policy.stored.vhost.clone(), policy.stored.name.clone());
        key(a).cmp(&key(b))
    });
    list(query, found, |policy| &policy.stored.name, |policy| show(policy))
}

fn existing(vhost: &Vhost, kind: PolicyKind, name: &str) -> Option<Arc<Policy>> {
    vhost.policies(kind).into_iter().find(|policy| policy.stored.name == name)
}

fn missing(vhost: &str, name: &str) -> String {
    format!("there is no such policy '{name}' in vhost '{vhost}'")
}

fn get(vhost: &Vhost, kind: PolicyKind, name: &str) -> Result<Json<Value>, Refusal> {
    match existing(vhost, kind, name) {
        Some(policy) => Ok(Json(show(&policy))),
        None => Err(Refusal::not_found(missing(&vhost.name, name))),
    }
}

/// A policy.
#[derive(Debug, Deserialize, ToSchema)]
struct PolicyBody {
    /// A regular expression over names.
    pattern: String,
    /// `all`, `queues`, `classic_queues`, `quorum_queues`, `streams` or `exchanges`.
    #[serde(default = "all", rename = "apply-to", alias = "apply_to")]
    apply_to: String,
    /// Of the policies that match, the one with the highest holds.
    #[serde(default)]
    priority: i64,
    /// What it sets.
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
}

fn all() -> String {
    "all".to_owned()
}

/// Sets a policy, which goes through all queues.
async fn put(
    visitor: Visitor,
    vhost: Arc<Vhost>,
    kind: PolicyKind,
    name: String,
    body: PolicyBody,
) -> Result<StatusCode, Refusal> {
    let was_there = existing(&vhost, kind, &name).is_some();
    let PolicyBody { pattern, apply_to, priority, definition } = body;
    let vhost_name = vhost.name.to_string();
    let policy =
        PolicyDefinition { vhost: vhost_name, name, pattern, apply_to, priority, definition };
    let set = move || vhost.put_policy(kind, policy, Some(&visitor.actor));
    aside(set).await?.wait().await?;
    Ok(put_status(was_there))
}

async fn delete(
    visitor: Visitor,
    vhost: Arc<Vhost>,
    kind: PolicyKind,
    name: String,
) -> Result<StatusCode, Refusal> {
    let missing = missing(&vhost.name, &name);
    let delete = move || Ok::<_, Error>(vhost.delete_policy(kind, &name, Some(&visitor.actor)));
    deleted(aside(delete).await?, || missing).await
}

/// The policies of the vhosts that the user sees.
#[utoipa::path(get, path = "/api/policies", tag = "policies", params(ListQuery),
    responses((status = 200, description = "A list of policies, or a page of it")))]
async fn list_policies(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&query, &visitor.visible_vhosts(), PolicyKind::User)
}

/// The policies of a vhost.
#[utoipa::path(get, path = "/api/policies/{vhost}", tag = "policies", params(ListQuery),
    responses((status = 200, description = "A list of policies, or a page of it")))]
async fn list_policies_in_vhost(
    visitor: Visitor,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&query, &[visitor.visible_vhost(&vhost)?], PolicyKind::User)
}

/// One of the policies.
#[utoipa::path(get, path = "/api/policies/{vhost}/{policy}", tag = "policies",
    responses((status = 200, description = "It"), (status = 404, description = "None")))]
async fn get_policy(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    get(&*visitor.visible_vhost(&vhost)?, PolicyKind::User, &name)
}

/// Adds a policy, or changes one. It holds when this is answered.
#[utoipa::path(put, path = "/api/policies/{vhost}/{policy}", tag = "policies",
    request_body = PolicyBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed"),
        (status = 400, description = "A pattern, key or value that can't be")))]
async fn put_policy(
    Policymaker(visitor): Policymaker,
    Path((vhost, name)): Path<(String, String)>,
    JsonBody(body): JsonBody<PolicyBody>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.governed_vhost(&vhost)?;
    put(visitor, vhost, PolicyKind::User, name, body).await
}

/// Deletes one of the policies.
#[utoipa::path(delete, path = "/api/policies/{vhost}/{policy}", tag = "policies",
    responses((status = 204, description = "Deleted"), (status = 404, description = "None")))]
async fn delete_policy(
    Policymaker(visitor): Policymaker,
    Path((vhost, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.governed_vhost(&vhost)?;
    delete(visitor, vhost, PolicyKind::User, name).await
}

/// The operator policies of the vhosts that the user sees.
#[utoipa::path(get, path = "/api/operator-policies", tag = "policies", params(ListQuery),
    responses((status = 200, description = "A list of policies, or a page of it")))]
async fn list_operator_policies(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&query, &visitor.visible_vhosts(), PolicyKind::Operator)
}

/// The operator policies of a vhost.
#[utoipa::path(get, path = "/api/operator-policies/{vhost}", tag = "policies", params(ListQuery),
    responses((status = 200, description = "A list of policies, or a page of it")))]
async fn list_operator_policies_in_vhost(
    visitor: Visitor,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&query, &[visitor.visible_vhost(&vhost)?], PolicyKind::Operator)
}

/// One of the operator policies.
#[utoipa::path(get, path = "/api/operator-policies/{vhost}/{policy}", tag = "policies",
    responses((status = 200, description = "It"), (status = 404, description = "None")))]
async fn get_operator_policy(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    get(&*visitor.visible_vhost(&vhost)?, PolicyKind::Operator, &name)
}

/// Adds an operator policy, or changes one. It holds when this is answered.
#[utoipa::path(put, path = "/api/operator-policies/{vhost}/{policy}", tag = "policies",
    request_body = PolicyBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed"),
        (status = 400, description = "A pattern, key or value that can't be")))]
async fn put_operator_policy(
    Administrator(visitor): Administrator,
    Path((vhost, name)): Path<(String, String)>,
    JsonBody(body): JsonBody<PolicyBody>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.vhost(&vhost)?;
    put(visitor, vhost, PolicyKind::Operator, name, body).await
}

/// Deletes one of the operator policies.
#[utoipa::path(delete, path = "/api/operator-policies/{vhost}/{policy}", tag = "policies",
    responses((status = 204, description = "Deleted"), (status = 404, description = "None")))]
async fn delete_operator_policy(
    Administrator(visitor): Administrator,
    Path((vhost, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.vhost(&vhost)?;
    delete(visitor, vhost, PolicyKind::Operator, name).await
}
