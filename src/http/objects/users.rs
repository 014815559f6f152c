//! Users.

use axum::Json;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::api::Api;
use crate::http::visitor::Visitor;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(whoami))
}

/// Who asks.
#[utoipa::path(get, path = "/api/whoami", tag = "users",
    responses((status = 200, description = "The user's name and tags")))]
async fn whoami(visitor: Visitor) -> Json<Value> {
    let user = visitor.user().definition();
    Json(json!({ "name": user.name, "tags": user.tags }))
}
