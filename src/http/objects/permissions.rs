//! What users may do in vhosts.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::grants;
use crate::http::answer::{deleted, put_status};
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, Listed};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Visitor};
use crate::store::definition::PermissionDefinition;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_permissions))
        .add(routes!(list_permissions_of_user))
        .add(routes!(list_permissions_in_vhost))
        .add(routes!(get_permissions, put_permissions, delete_permissions))
}

/// All permissions.
#[utoipa::path(get, path = "/api/permissions", tag = "permissions", params(ListQuery),
    responses((status = 200, description = "A list of permissions, or a page of it")))]
async fn list_permissions(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_all::<PermissionDefinition>(&visitor, &query)
}

/// The permissions of a user.
#[utoipa::path(get, path = "/api/users/{user}/permissions", tag = "permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_permissions_of_user(
    Administrator(visitor): Administrator,
    Path(user): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_of_user::<PermissionDefinition>(&visitor, &user, &query)
}

/// The permissions in a vhost.
#[utoipa::path(get, path = "/api/vhosts/{vhost}/permissions", tag = "permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_permissions_in_vhost(
    Administrator(visitor): Administrator,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_in_vhost::<PermissionDefinition>(&visitor, &vhost, &query)
}

fn existing(visitor: &Visitor, vhost: &str, user: &str) -> Option<PermissionDefinition> {
    grants::existing(visitor, vhost, user).pop()
}

fn missing(vhost: &str, user: &str) -> String {
    format!("user '{user}' has no permissions in vhost '{vhost}'")
}

/// What a user may do in a vhost.
#[utoipa::path(get, path = "/api/permissions/{vhost}/{user}", tag = "permissions",
    responses((status = 200, description = "It"), (status = 404, description = "Nothing")))]
async fn get_permissions(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    match existing(&visitor, &vhost, &user) {
        Some(found) => Ok(Json(json!(found))),
        None => Err(Refusal::not_found(missing(&vhost, &user))),
    }
}

/// Regular expressions over names of queues and exchanges; an empty one is none of them.
#[derive(Debug, Deserialize, ToSchema)]
struct PermissionsBody {
    configure: String,
    write: String,
    read: String,
}

/// Sets what a user may do in a vhost.
#[utoipa::path(put, path = "/api/permissions/{vhost}/{user}", tag = "permissions",
    request_body = PermissionsBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed"),
        (status = 400, description = "No such user or vhost, or no regular expression")))]
async fn put_permissions(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
    JsonBody(body): JsonBody<PermissionsBody>,
) -> Result<StatusCode, Refusal> {
    let was_there = existing(&visitor, &vhost, &user).is_some();
    let PermissionsBody { configure, write, read } = body;
    let permissions = PermissionDefinition { user, vhost, configure, write, read };
    // Rule: a user or vhost that is missing is the request's fault, not the path's.
    let set = visitor.broker.set_permissions(permissions, Some(&visitor.actor));
    set.map_err(|error| Refusal::bad_request(error.text))?.wait().await?;
    Ok(put_status(was_there))
}

/// Takes away what a user may do in a vhost.
#[utoipa::path(delete, path = "/api/permissions/{vhost}/{user}", tag = "permissions",
    responses((status = 204, description = "Taken away"), (status = 404, description = "None")))]
async fn delete_permissions(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let cleared = visitor.broker.clear_permissions(&user, &vhost, Some(&visitor.actor));
    deleted(cleared, || missing(&vhost, &user)).await
}
