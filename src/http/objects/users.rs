//! Users.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::broker::UserChange;
use crate::broker::auth::{HashingAlgorithm, PasswordHash, User};
use crate::broker::limit::LimitOf;
use crate::http::answer::{deleted, put_status};
use crate::http::body::{JsonBody, Words};
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Visitor};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(whoami))
        .add(routes!(list_users))
        .add(routes!(list_users_without_permissions))
        .add(routes!(bulk_delete_users))
        .add(routes!(get_user, put_user, delete_user))
}

fn show(visitor: &Visitor, user: &User) -> Value {
    let definition = user.definition();
    let limits = visitor.broker.limits(LimitOf::User(&user.name)).unwrap_or_default();
    let limits: Map<_, _> =
        limits.into_iter().map(|(name, most)| (name.to_owned(), json!(most))).collect();
    json!({
        "name": definition.name, "password_hash": definition.password_hash,
        "hashing_algorithm": definition.hashing_algorithm, "tags": definition.tags,
        "limits": limits,
    })
}

/// Who asks.
#[utoipa::path(get, path = "/api/whoami", tag = "users",
    responses((status = 200, description = "The user's name and tags")))]
async fn whoami(visitor: Visitor) -> Json<Value> {
    let user = visitor.user().definition();
    Json(json!({ "name": user.name, "tags": user.tags }))
}

/// All users.
#[utoipa::path(get, path = "/api/users", tag = "users", params(ListQuery),
    responses((status = 200, description = "A list of users, or a page of it")))]
async fn list_users(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    list_of(&visitor, &query, |_| true)
}

/// The users who may open no vhost.
#[utoipa::path(get, path = "/api/users/without-permissions", tag = "users", params(ListQuery),
    responses((status = 200, description = "A list of users, or a page of it")))]
async fn list_users_without_permissions(
    Administrator(visitor): Administrator,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    list_of(&visitor, &query, |user| user.permissions().is_empty())
}

fn list_of(
    visitor: &Visitor,
    query: &ListQuery,
    is_wanted: impl Fn(&User) -> bool,
) -> Result<Listed, Refusal> {
    let mut users: Vec<Arc<User>> = visitor.broker.users();
    users.retain(|user| is_wanted(user));
    users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    list(query, users, |user| &user.name, |user| show(visitor, user))
}

/// One user.
#[utoipa::path(get, path = "/api/users/{user}", tag = "users",
    responses((status = 200, description = "The user"), (status = 404, description = "None")))]
async fn get_user(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let user = visitor.existing_user(&name)?;
    Ok(Json(show(&visitor, &user)))
}

/// What can be said of a user.
#[derive(Debug, Deserialize, ToSchema)]
struct UserBody {
    /// Without it, and without `password_hash`, or if it is empty, nobody gets in by a password.
    #[serde(default)]
    password: Option<String>,
    /// Base64 of a salt of 4 bytes and the digest of salt and password.
    #[serde(default)]
    password_hash: Option<String>,
    /// The digest in `password_hash`; `rabbit_password_hashing_sha256` if nothing is said.
    #[serde(default)]
    hashing_algorithm: Option<String>,
    /// A list, or a text with commas. Without it a user keeps its tags.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Words>,
}

impl UserBody {
    fn password(&self) -> Result<PasswordHash, Refusal> {
        match (&self.password, &self.password_hash) {
            (Some(_), Some(_)) => Err(Refusal::bad_request(
                "a user has a password or a password_hash, not both: leave one out",
            )),
            (None, None) => Ok(PasswordHash::none()),
            (Some(password), None) if password.is_empty() => Ok(PasswordHash::none()),
            (Some(password), None) => Ok(PasswordHash::of(password)),
            (None, Some(hash)) => {
                let name = self.hashing_algorithm.as_deref();
                let name = name.unwrap_or(HashingAlgorithm::Sha256.name());
                let algorithm = HashingAlgorithm::from_name(name).ok_or_else(|| {
                    Refusal::bad_request(format!("the hashing_algorithm '{name}' is not known"))
                })?;
                PasswordHash::parse(hash, algorithm)
                    .ok_or_else(|| Refusal::bad_request("the password_hash is not base64"))
            }
        }
    }
}

/// Adds a user, or changes one.
#[utoipa::path(put, path = "/api/users/{user}", tag = "users", request_body = UserBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed")))]
async fn put_user(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<UserBody>,
) -> Result<StatusCode, Refusal> {
    let was_there = visitor.broker.user(&name).is_some();
    let password = Some(body.password()?);
    let change = UserChange { password, tags: body.tags.map(|Words(tags)| tags) };
    visitor.broker.put_user(&name, change, Some(&visitor.actor))?.wait().await?;
    Ok(put_status(was_there))
}

/// Deletes a user with its permissions and limits.
#[utoipa::path(delete, path = "/api/users/{user}", tag = "users",
    responses((status = 204, description = "Deleted"), (status = 404, description = "None")))]
async fn delete_user(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let found = visitor.broker.delete_user(&name, Some(&visitor.actor));
    deleted(found, || format!("there is no user '{name}'")).await
}

/// The names of users.
#[derive(Debug, Deserialize, ToSchema)]
struct BulkDeleteBody {
    users: Vec<String>,
}

/// Deletes users. Those that aren't there are deleted already.
#[utoipa::path(post, path = "/api/users/bulk-delete", tag = "users",
    request_body = BulkDeleteBody, responses((status = 204, description = "Deleted")))]
async fn bulk_delete_users(
    Administrator(visitor): Administrator,
    JsonBody(body): JsonBody<BulkDeleteBody>,
) -> Result<StatusCode, Refusal> {
    for name in &body.users {
        visitor.broker.delete_user(name, Some(&visitor.actor)).1.wait().await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
