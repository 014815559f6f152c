//! Definitions files: everything that is defined, out and in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::broker::definitions::Document;
use crate::http::body::JsonFile;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Policymaker, Visitor};

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(export_all, import_all)).add(routes!(export_vhost, import_vhost))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Download {
    /// A file name: a browser then saves the answer instead of showing it.
    download: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Condition {
    /// Do nothing, not even store it again, if all of the file is in force already.
    #[serde(default)]
    skip_if_unchanged: bool,
}

/// Everything that is defined, passwords as hashes.
#[utoipa::path(get, path = "/api/definitions", tag = "definitions", params(Download),
    responses((status = 200, description = "A definitions file")))]
async fn export_all(
    Administrator(visitor): Administrator,
    Query(download): Query<Download>,
) -> Result<Response, Refusal> {
    let broker = Arc::clone(&visitor.broker);
    let file = blocking(move || broker.export_definitions()).await?;
    Ok(as_file(file, &download))
}

/// Takes up a definitions file: all of it or, when something in it is wrong, nothing. It is the
/// body, or the part `file` of a form.
#[utoipa::path(method(post, put), path = "/api/definitions", tag = "definitions",
    params(Condition), responses((status = 204, description = "It is in force and on disk"),
        (status = 200, description = "`unchanged`: it was in force already"),
        (status = 400, description = "Nothing was changed; the reason names everything wrong")))]
async fn import_all(
    Administrator(visitor): Administrator,
    Query(condition): Query<Condition>,
    JsonFile(file): JsonFile<Value>,
) -> Result<Response, Refusal> {
    import(visitor, file, None, condition).await
}

/// What is defined in a vhost.
#[utoipa::path(get, path = "/api/definitions/{vhost}", tag = "definitions", params(Download),
    responses((status = 200, description = "A definitions file of one vhost")))]
async fn export_vhost(
    Policymaker(visitor): Policymaker,
    Path(vhost): Path<String>,
    Query(download): Query<Download>,
) -> Result<Response, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let broker = Arc::clone(&visitor.broker);
    let file = blocking(move || broker.export_vhost_definitions(&vhost)).await?;
    Ok(as_file(file, &download))
}

/// Takes up the definitions file of a vhost into this one: all of it or nothing.
#[utoipa::path(method(post, put), path = "/api/definitions/{vhost}", tag = "definitions",
    params(Condition), responses((status = 204, description = "It is in force and on disk"),
        (status = 200, description = "`unchanged`: it was in force already"),
        (status = 400, description = "Nothing was changed; the reason names everything wrong")))]
async fn import_vhost(
    Administrator(visitor): Administrator,
    Path(vhost): Path<String>,
    Query(condition): Query<Condition>,
    JsonFile(file): JsonFile<Value>,
) -> Result<Response, Refusal> {
    visitor.visible_vhost(&vhost)?;
    import(visitor, file, Some(vhost), condition).await
}

async fn import(
    visitor: Visitor,
    file: Value,
    vhost: Option<String>,
    condition: Condition,
) -> Result<Response, Refusal> {
    let imported = blocking(move || {
        let document = Document::read(file, vhost.as_deref())?;
        let (broker, actor) = (&visitor.broker, &visitor.actor);
        if condition.skip_if_unchanged {
            return broker.import_changed_definitions(&document, actor);
        }
        broker.import_definitions(&document, actor).map(|()| true)
    });
    let is_taken =
        imported.await?.map_err(|problems| Refusal::bad_request(problems.to_string()))?;
    Ok(match is_taken {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Json(json!({ "unchanged": true })).into_response(),
    })
}

/// Going through tens of thousands of definitions takes longer than the runtime should wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::internal(format!("the work ended without an answer: {error}")))
}

fn as_file(file: Value, download: &Download) -> Response {
    let Some(name) = &download.download else { return Json(file).into_response() };
    let safe: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect();
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{safe}\""));
    match disposition {
        Ok(disposition) => {
            ([(header::CONTENT_DISPOSITION, disposition)], Json(file)).into_response()
        }
        // Printable ASCII always is a header's value.
        Err(_) => Json(file).into_response(),
    }
}
