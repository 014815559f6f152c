//! Which routing keys users may use at topic exchanges.

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
use crate::store::definition::TopicPermissionDefinition;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_topic_permissions))
        .add(routes!(list_topic_permissions_of_user))
        .add(routes!(list_topic_permissions_in_vhost))
        .add(routes!(get_topic_permissions, put_topic_permission, delete_topic_permissions))
        .add(routes!(delete_topic_permission))
}

/// All topic permissions.
#[utoipa::path(get, path = "/api/topic-permissions", tag = "topic permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_topic_permissions(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_all::<TopicPermissionDefinition>(&visitor, &query)
}

/// The topic permissions of a user.
#[utoipa::path(get, path = "/api/users/{user}/topic-permissions", tag = "topic permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_topic_permissions_of_user(
    Administrator(visitor): Administrator,
    Path(user): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_of_user::<TopicPermissionDefinition>(&visitor, &user, &query)
}

/// The topic permissions in a vhost.
#[utoipa::path(get, path = "/api/vhosts/{vhost}/topic-permissions", tag = "topic permissions",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_topic_permissions_in_vhost(
    Administrator(visitor): Administrator,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    grants::list_in_vhost::<TopicPermissionDefinition>(&visitor, &vhost, &query)
}

fn missing(vhost: &str, user: &str) -> String {
    format!("user '{user}' has no such topic permissions in vhost '{vhost}'")
}

/// The topic permissions of a user in a vhost.
#[utoipa::path(get, path = "/api/topic-permissions/{vhost}/{user}", tag = "topic permissions",
    responses((status = 200, description = "A list"), (status = 404, description = "None")))]
async fn get_topic_permissions(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let found: Vec<TopicPermissionDefinition> = grants::existing(&visitor, &vhost, &user);
    if found.is_empty() {
        return Err(Refusal::not_found(missing(&vhost, &user)));
    }
    Ok(Json(json!(found)))
}

/// Regular expressions over routing keys, in which `{username}` and `{vhost}` stand for themselves.
#[derive(Debug, Deserialize, ToSchema)]
struct TopicPermissionBody {
    exchange: String,
    /// Keys to publish with.
    write: String,
    /// Keys to bind by.
    read: String,
}

/// Sets which routing keys a user may use at one exchange.
#[utoipa::path(put, path = "/api/topic-permissions/{vhost}/{user}", tag = "topic permissions",
    request_body = TopicPermissionBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed"),
        (status = 400, description = "No such user or vhost, or no regular expression")))]
async fn put_topic_permission(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
    JsonBody(body): JsonBody<TopicPermissionBody>,
) -> Result<StatusCode, Refusal> {
    let TopicPermissionBody { exchange, write, read } = body;
    let found: Vec<TopicPermissionDefinition> = grants::existing(&visitor, &vhost, &user);
    let was_there = found.iter().any(|permission| permission.exchange == exchange);
    let permission = TopicPermissionDefinition { user, vhost, exchange, write, read };
    // Rule: a user or vhost that is missing is the request's fault, not the path's.
    let set = visitor.broker.set_topic_permission(permission, Some(&visitor.actor));
    set.map_err(|error| Refusal::bad_request(error.text))?.wait().await?;
    Ok(put_status(was_there))
}

/// Lets a user use every routing key in a vhost again.
#[utoipa::path(delete, path = "/api/topic-permissions/{vhost}/{user}", tag = "topic permissions",
    responses((status = 204, description = "Taken away"), (status = 404, description = "None")))]
async fn delete_topic_permissions(
    Administrator(visitor): Administrator,
    Path((vhost, user)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let Visitor { broker, actor } = &visitor;
    let cleared = broker.clear_topic_permissions(&user, &vhost, None, Some(actor));
    deleted(cleared, || missing(&vhost, &user)).await
}

/// Lets a user use every routing key at one exchange again.
#[utoipa::path(delete, path = "/api/topic-permissions/{vhost}/{user}/{exchange}",
    tag = "topic permissions",
    responses((status = 204, description = "Taken away"), (status = 404, description = "None")))]
async fn delete_topic_permission(
    Administrator(visitor): Administrator,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    let Visitor { broker, actor } = &visitor;
    let cleared = broker.clear_topic_permissions(&user, &vhost, Some(&exchange), Some(actor));
    deleted(cleared, || missing(&vhost, &user)).await
}
