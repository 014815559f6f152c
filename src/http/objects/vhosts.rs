//! Vhosts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::check_node;
use crate::broker::NODE_NAME;
use crate::broker::vhost::Vhost;
use crate::http::answer::{aside, deleted, put_status};
use crate::http::api::Api;
use crate::http::body::{JsonBody, Words};
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Rates};
use crate::http::visitor::{Administrator, Visitor};
use crate::store::definition::{PermissionDefinition, VhostDefinition};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_vhosts))
        .add(routes!(get_vhost, put_vhost, delete_vhost))
        .add(routes!(protect_vhost, unprotect_vhost))
        .add(routes!(start_vhost))
}

/// With rates, what happens in it, too.
fn show(vhost: &Arc<Vhost>, rates: Option<&Rates<'_>>) -> Value {
    let VhostDefinition { name, description, tags, default_queue_type, protected_from_deletion } =
        vhost.definition();
    let default_queue_type = default_queue_type.unwrap_or_else(|| "undefined".to_owned());
    let mut shown = rates.map(|rates| rates.vhost(vhost)).unwrap_or_default();
    let all = json!({
        "name": name, "description": description, "tags": tags,
        "default_queue_type": default_queue_type, "tracing": vhost.is_tracing(),
        "protected_from_deletion": protected_from_deletion,
        "cluster_state": { NODE_NAME: "running" },
        "metadata": {
            "description": description, "tags": tags, "default_queue_type": default_queue_type,
        },
    });
    if let Value::Object(all) = all {
        shown.extend(all);
    }
    shown.into()
}

/// The vhosts that the user sees.
#[utoipa::path(get, path = "/api/vhosts", tag = "vhosts", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of vhosts, or a page of it")))]
async fn list_vhosts(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    // For the numbers, every queue is asked.
    aside(move || {
        let rates = query.wants_totals().then(|| api.stats().now(&ages)).transpose()?;
        let vhosts = visitor.visible_vhosts();
        list(&query, vhosts, |vhost| &vhost.name, |vhost| show(vhost, rates.as_ref()))
    })
    .await
}

/// One vhost.
#[utoipa::path(get, path = "/api/vhosts/{vhost}", tag = "vhosts",
    responses((status = 200, description = "The vhost"), (status = 404, description = "None")))]
async fn get_vhost(
    visitor: Visitor,
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.visible_vhost(&name)?;
    let shown =
        aside(move || Ok::<_, Refusal>(show(&vhost, Some(&api.stats().now(&ages)?)))).await?;
    Ok(Json(query.cut(shown)))
}

/// What can be said of a vhost. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
struct VhostBody {
    #[serde(default)]
    description: Option<String>,
    /// A list, or a text with commas.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Words>,
    #[serde(default)]
    default_queue_type: Option<String>,
    /// Copies of all messages go to `amq.rabbitmq.trace` until the broker stops.
    #[serde(default)]
    tracing: Option<bool>,
    /// It can't be deleted.
    #[serde(default)]
    protected_from_deletion: Option<bool>,
}

/// Adds a vhost, or changes what is said of it.
#[utoipa::path(put, path = "/api/vhosts/{vhost}", tag = "vhosts", request_body = VhostBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed")))]
async fn put_vhost(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<VhostBody>,
) -> Result<StatusCode, Refusal> {
    let before = visitor.broker.vhost(&name).map(|vhost| vhost.definition());
    let was_there = before.is_some();
    let before = before.unwrap_or_default();
    let is_protected = body.protected_from_deletion.unwrap_or(before.protected_from_deletion);
    let definition = VhostDefinition {
        name: name.clone(),
        description: body.description.unwrap_or(before.description),
        tags: body.tags.map_or(before.tags, |Words(tags)| tags),
        default_queue_type: body.default_queue_type.or(before.default_queue_type),
        protected_from_deletion: is_protected,
    };
    let stored = visitor.broker.put_vhost_with(definition, Some(&visitor.actor))?;
    if let (Some(tracing), Some(vhost)) = (body.tracing, visitor.broker.vhost(&name)) {
        vhost.set_tracing(tracing, Some(&visitor.actor));
    }
    stored.wait().await?;
    if !was_there {
        visitor
            .broker
            .set_permissions(all_for(&visitor, name), Some(&visitor.actor))?
            .wait()
            .await?;
    }
    Ok(put_status(was_there))
}

/// Rule (RabbitMQ): whoever adds a vhost may do everything in it.
fn all_for(visitor: &Visitor, vhost: String) -> PermissionDefinition {
    let all = || ".*".to_owned();
    let user = visitor.user().name.clone();
    PermissionDefinition { user, vhost, configure: all(), write: all(), read: all() }
}

/// Deletes a vhost with everything in it, and closes its connections.
#[utoipa::path(delete, path = "/api/vhosts/{vhost}", tag = "vhosts",
    responses((status = 204, description = "Deleted"), (status = 404, description = "None"),
        (status = 412, description = "It is protected from deletion")))]
async fn delete_vhost(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let is_protected = visitor.vhost(&name)?.metadata().protected_from_deletion;
    let Visitor { broker, actor } = visitor;
    let of = name.clone();
    let delete = move || broker.delete_vhost(&of, Some(&actor));
    match aside(delete).await {
        Ok(found) => deleted(found, || format!("there is no vhost '{name}'")).await,
        Err(refused) if is_protected => Err(Refusal::precondition_failed(refused.reason)),
        Err(refused) => Err(refused),
    }
}

async fn set_protection(
    visitor: &Visitor,
    name: &str,
    is_protected: bool,
) -> Result<StatusCode, Refusal> {
    let definition = VhostDefinition {
        protected_from_deletion: is_protected,
        ..visitor.vhost(name)?.definition()
    };
    visitor.broker.put_vhost_with(definition, Some(&visitor.actor))?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Protects a vhost from deletion.
#[utoipa::path(post, path = "/api/vhosts/{vhost}/deletion/protection", tag = "vhosts",
    responses((status = 204, description = "It is"), (status = 404, description = "No vhost")))]
async fn protect_vhost(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_protection(&visitor, &name, true).await
}

/// Takes the protection from deletion back.
#[utoipa::path(delete, path = "/api/vhosts/{vhost}/deletion/protection", tag = "vhosts",
    responses((status = 204, description = "It is"), (status = 404, description = "No vhost")))]
async fn unprotect_vhost(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_protection(&visitor, &name, false).await
}

/// Starts a vhost on a node. A vhost that is there is always started.
#[utoipa::path(post, path = "/api/vhosts/{vhost}/start/{node}", tag = "vhosts",
    responses((status = 204, description = "It is"), (status = 404, description = "Not there")))]
async fn start_vhost(
    Administrator(visitor): Administrator,
    Path((name, node)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    visitor.vhost(&name)?;
    check_node(&node)?;
    Ok(StatusCode::NO_CONTENT)
}
