//! What users may do in vhosts.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::answer::{deleted, put_status};
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, list};
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

fn show(found: &PermissionDefinition) -> Value {
    let PermissionDefinition { user, vhost, configure, write, read } = found;
    json!({ "user": user, "vhost": vhost, "configure": configure, "write": write, "read": read })
}

/// All permissions of all users, or those in one vhost, by user and vhost.
fn permissions(visitor: &Visitor, vhost: Option<&str>) -> Vec<PermissionDefinition> {
    let users = visitor.broker.users();
    let mut found: Vec<_> = users.iter().flat_map(|user| user.permissions()).collect();
    found.retain(|permission| vhost.is_none_or(|vhost| permission.vhost == vhost));
    found.sort_unstable_by(|a, b| (&a.user, &a.vhost).cmp(&(&b.user, &b.vhost)));
    found
}

/// All permissions.
#[utoipa::path(get, path = "/api/permissions", tag = "permissions", params(ListQuery),
    responses((status = 200, description = "A list of permissions, or a page of it")))]
async fn list_permissions(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&query, permissions(&visitor, None), |found| &found.user, show)
}

/// The permissions of a user.
#[utoipa::path(get, path = "/api/users/{user}/permissions", tag = "permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_permissions_of_user(
    Administrator(visitor): Administrator,
    Path(user): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    let user = visitor.existing_user(&user)?;
    list(&query, user.permissions(), |found| &found.vhost, show)
}

/// The permissions in a vhost.
#[utoipa::path(get, path = "/api/vhosts/{vhost}/permissions", tag = "permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_permissions_in_vhost(
    Administrator(visitor): Administrator,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    visitor.vhost(&vhost)?;
    list(&query, permissions(&visitor, Some(&vhost)), |found| &found.user, show)
}

fn existing(visitor: &Visitor, vhost: &str, user: &str) -> Option<PermissionDefinition> {
    let found = visitor.broker.user(user)?.permissions();
    found.into_iter().find(|permission| permission.vhost == vhost)
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
        Some(found) => Ok(Json(show(&found))),
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
