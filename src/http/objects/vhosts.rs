//! Vhosts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::broker::vhost::Vhost;
use crate::http::api::Api;
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, list};
use crate::http::refusal::Refusal;
use crate::http::visitor::{Administrator, Visitor};
use crate::store::definition::VhostDefinition;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_vhosts)).routes(routes!(get_vhost, put_vhost))
}

fn show(vhost: &Arc<Vhost>) -> Value {
    let VhostDefinition { name, description, tags, default_queue_type } = vhost.definition();
    let default_queue_type = default_queue_type.unwrap_or_else(|| "undefined".to_owned());
    json!({
        "name": name, "description": description, "tags": tags,
        "default_queue_type": default_queue_type, "tracing": vhost.is_tracing(),
        "metadata": {
            "description": description, "tags": tags, "default_queue_type": default_queue_type,
        },
    })
}

/// The vhosts that the user sees.
#[utoipa::path(get, path = "/api/vhosts", tag = "vhosts", params(ListQuery),
    responses((status = 200, description = "A list of vhosts, or a page of it")))]
async fn list_vhosts(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&query, visitor.visible_vhosts(), |vhost| &vhost.name, show)
}

/// One vhost.
#[utoipa::path(get, path = "/api/vhosts/{vhost}", tag = "vhosts",
    responses((status = 200, description = "The vhost"), (status = 404, description = "None")))]
async fn get_vhost(visitor: Visitor, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(show(&visitor.visible_vhost(&name)?)))
}

/// What can be said of a vhost.
#[derive(Debug, Deserialize, ToSchema)]
struct VhostBody {
    #[serde(default)]
    description: Option<String>,
    /// Separated by commas.
    #[serde(default)]
    tags: Option<String>,
    #[serde(default)]
    default_queue_type: Option<String>,
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
    let status = if before.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
    let before = before.unwrap_or_default();
    let tags = body.tags.map(|tags| {
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        tags.map(str::to_owned).collect()
    });
    let definition = VhostDefinition {
        name,
        description: body.description.unwrap_or(before.description),
        tags: tags.unwrap_or(before.tags),
        default_queue_type: body.default_queue_type.or(before.default_queue_type),
    };
    visitor.broker.put_vhost_with(definition, Some(&visitor.actor))?.wait().await?;
    Ok(status)
}
