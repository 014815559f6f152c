//! The settings that the broker runs with.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::broker::secrets::masked;
use crate::http::api::Api;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Administrator;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(effective))
}

/// All settings by section, from whatever they came: defaults, file, environment, flags. Secrets in
/// them are masked.
#[utoipa::path(get, path = "/api/config/effective", tag = "nodes",
    responses((status = 200, description = "An object of sections")))]
async fn effective(_: Administrator, State(api): State<Api>) -> Json<Value> {
    Json(masked(api.checked().settings.clone()))
}
