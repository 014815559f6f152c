//! The limits of vhosts and users.

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::broker::Broker;
use crate::broker::limit::LimitOf;
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Visitor};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_vhost_limits))
        .add(routes!(get_vhost_limits))
        .add(routes!(put_vhost_limit, delete_vhost_limit))
        .add(routes!(list_user_limits))
        .add(routes!(get_user_limits))
        .add(routes!(put_user_limit, delete_user_limit))
}

/// The limits of one that has any: its name, and they.
fn limits_of(broker: &Broker, of: LimitOf<'_>) -> Option<(String, Map<String, Value>)> {
    // Who went away meanwhile has none.
    let limits = broker.limits(of).unwrap_or_default();
    let name = match of {
        LimitOf::Vhost(name) | LimitOf::User(name) => name.to_owned(),
    };
    let value: Map<_, _> =
        limits.into_iter().map(|(limit, most)| (limit.to_owned(), json!(most))).collect();
    (!value.is_empty()).then_some((name, value))
}

fn listed<'a>(
    visitor: &Visitor,
    query: &ListQuery,
    kind: &str,
    owners: impl IntoIterator<Item = LimitOf<'a>>,
) -> Result<Listed, Refusal> {
    let found = owners.into_iter().filter_map(|of| limits_of(&visitor.broker, of)).collect();
    list(query, found, |(name, _)| name, |(name, value)| json!({ kind: name, "value": value }))
}

/// The limits of the vhosts that the user sees, as far as there are any.
#[utoipa::path(get, path = "/api/vhost-limits", tag = "limits", params(ListQuery),
    responses((status = 200, description = "A list of vhosts and their limits")))]
async fn list_vhost_limits(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhosts = visitor.visible_vhosts();
    listed(&visitor, &query, "vhost", vhosts.iter().map(|vhost| LimitOf::Vhost(&vhost.name)))
}

/// The limits of a vhost.
#[utoipa::path(get, path = "/api/vhost-limits/{vhost}", tag = "limits", params(ListQuery),
    responses((status = 200, description = "A list of one or none")))]
async fn get_vhost_limits(
    visitor: Visitor,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    visitor.visible_vhost(&vhost)?;
    listed(&visitor, &query, "vhost", [LimitOf::Vhost(&vhost)])
}

/// The limits of users, as far as there are any.
#[utoipa::path(get, path = "/api/user-limits", tag = "limits", params(ListQuery),
    responses((status = 200, description = "A list of users and their limits")))]
async fn list_user_limits(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let mut users = visitor.broker.users();
    users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listed(&visitor, &query, "user", users.iter().map(|user| LimitOf::User(&user.name)))
}

/// The limits of a user.
#[utoipa::path(get, path = "/api/user-limits/{user}", tag = "limits", params(ListQuery),
    responses((status = 200, description = "A list of one or none")))]
async fn get_user_limits(
    Administrator(visitor): Administrator,
    Path(user): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    visitor.existing_user(&user)?;
    listed(&visitor, &query, "user", [LimitOf::User(&user)])
}

/// A limit.
#[derive(Debug, Deserialize, ToSchema)]
struct LimitBody {
    /// The most that there may be; -1 is no limit.
    value: i64,
}

async fn set(
    visitor: &Visitor,
    of: LimitOf<'_>,
    name: &str,
    most: i64,
) -> Result<StatusCode, Refusal> {
    visitor.broker.set_limit(of, name, most, Some(&visitor.actor))?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a limit of a vhost: `max-connections` or `max-queues`.
#[utoipa::path(put, path = "/api/vhost-limits/{vhost}/{limit}", tag = "limits",
    request_body = LimitBody, responses((status = 204, description = "Set")))]
async fn put_vhost_limit(
    Administrator(visitor): Administrator,
    Path((vhost, limit)): Path<(String, String)>,
    JsonBody(body): JsonBody<LimitBody>,
) -> Result<StatusCode, Refusal> {
    set(&visitor, LimitOf::Vhost(&vhost), &limit, body.value).await
}

/// Takes a limit of a vhost back.
#[utoipa::path(delete, path = "/api/vhost-limits/{vhost}/{limit}", tag = "limits",
    responses((status = 204, description = "There is none any more")))]
async fn delete_vhost_limit(
    Administrator(visitor): Administrator,
    Path((vhost, limit)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    set(&visitor, LimitOf::Vhost(&vhost), &limit, -1).await
}

/// Sets a limit of a user: `max-connections` or `max-channels`.
#[utoipa::path(put, path = "/api/user-limits/{user}/{limit}", tag = "limits",
    request_body = LimitBody, responses((status = 204, description = "Set")))]
async fn put_user_limit(
    Administrator(visitor): Administrator,
    Path((user, limit)): Path<(String, String)>,
    JsonBody(body): JsonBody<LimitBody>,
) -> Result<StatusCode, Refusal> {
    set(&visitor, LimitOf::User(&user), &limit, body.value).await
}

/// Takes a limit of a user back.
#[utoipa::path(delete, path = "/api/user-limits/{user}/{limit}", tag = "limits",
    responses((status = 204, description = "There is none any more")))]
async fn delete_user_limit(
    Administrator(visitor): Administrator,
    Path((user, limit)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    set(&visitor, LimitOf::User(&user), &limit, -1).await
}
