//! How users come in: the hash of a password, and how many logins there were.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::check_node;
use crate::broker::auth::PasswordHash;
use crate::broker::auth::attempts::{LoginProtocol, Source};
use crate::http::body::JsonBody;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Monitor, Visitor};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(get_auth))
        .add(routes!(put_hash_password))
        .add(routes!(get_hash_password))
        .add(routes!(get_attempts, delete_attempts))
        .add(routes!(get_sources, delete_sources))
}

/// By what one logs in: a name and password. Asked by those who have not.
#[utoipa::path(get, path = "/api/auth", tag = "logins",
    responses((status = 200, description = "There is no OAuth")))]
async fn get_auth() -> Json<Value> {
    Json(json!({ "oauth_enabled": false }))
}

/// A password.
#[derive(Debug, Deserialize, ToSchema)]
struct PasswordBody {
    password: String,
}

/// Hashes a password, for a user's `password_hash`.
#[utoipa::path(put, path = "/api/auth/hash_password", tag = "logins",
    request_body = PasswordBody, responses((status = 200, description = "`password_hash`")))]
async fn put_hash_password(
    _: Visitor,
    JsonBody(body): JsonBody<PasswordBody>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "password_hash": PasswordHash::of(&body.password).encoded() })))
}

/// The same, with the password in the path: it may come to stand in somebody's log.
#[utoipa::path(get, path = "/api/auth/hash_password/{password}", tag = "logins",
    responses((status = 200, description = "The hash, as `ok`")))]
async fn get_hash_password(_: Visitor, Path(password): Path<String>) -> Json<Value> {
    Json(json!({ "ok": PasswordHash::of(&password).encoded() }))
}

/// How many logins there were by each protocol.
#[utoipa::path(get, path = "/api/auth/attempts/{node}", tag = "logins",
    responses((status = 200, description = "A list of protocols")))]
async fn get_attempts(
    Monitor(visitor): Monitor,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    check_node(&node)?;
    let of = |protocol: LoginProtocol| {
        let attempts = visitor.broker.attempts(protocol);
        let (succeeded, failed) = (attempts.succeeded(), attempts.failed());
        json!({
            "protocol": protocol.name(), "auth_attempts": succeeded.saturating_add(failed),
            "auth_attempts_failed": failed, "auth_attempts_succeeded": succeeded,
        })
    };
    Ok(Json(LoginProtocol::ALL.into_iter().map(of).collect()))
}

/// Counts logins anew.
#[utoipa::path(delete, path = "/api/auth/attempts/{node}", tag = "logins",
    responses((status = 204, description = "The counts are 0")))]
async fn delete_attempts(
    Administrator(visitor): Administrator,
    Path(node): Path<String>,
) -> Result<StatusCode, Refusal> {
    check_node(&node)?;
    for protocol in LoginProtocol::ALL {
        visitor.broker.attempts(protocol).reset();
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How many logins there were from each address, as each user; the last thousand of each protocol.
#[utoipa::path(get, path = "/api/auth/attempts/{node}/source", tag = "logins",
    responses((status = 200, description = "A list of sources")))]
async fn get_sources(
    Monitor(visitor): Monitor,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    check_node(&node)?;
    let of = |protocol: LoginProtocol| {
        let sources = visitor.broker.attempts(protocol).by_source();
        sources.into_iter().map(move |(Source { address, user }, tries)| {
            json!({
                "remote_address": address, "username": user, "protocol": protocol.name(),
                "auth_attempts": tries.succeeded.saturating_add(tries.failed),
                "auth_attempts_failed": tries.failed, "auth_attempts_succeeded": tries.succeeded,
            })
        })
    };
    Ok(Json(LoginProtocol::ALL.into_iter().flat_map(of).collect()))
}

/// Tells sources apart anew.
#[utoipa::path(delete, path = "/api/auth/attempts/{node}/source", tag = "logins",
    responses((status = 204, description = "There are none")))]
async fn delete_sources(
    Administrator(visitor): Administrator,
    Path(node): Path<String>,
) -> Result<StatusCode, Refusal> {
    check_node(&node)?;
    for protocol in LoginProtocol::ALL {
        visitor.broker.attempts(protocol).reset_sources();
    }
    Ok(StatusCode::NO_CONTENT)
}
