//! The audit log.

use axum::Json;
use axum::extract::Query;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::broker::audit::AuditFilter;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Administrator;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(get_audit))
}

/// Which entries are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Not before, in milliseconds since 1970.
    since: Option<u64>,
    /// Not after.
    until: Option<u64>,
    /// By this user.
    user: Option<String>,
    /// `queue.created`, or `queue` for all of queues.
    kind: Option<String>,
    /// In this vhost, or of it.
    vhost: Option<String>,
    /// From 1 on.
    page: Option<usize>,
    /// 1 to 500; 100 if nothing is said.
    page_size: Option<usize>,
}

/// Changes, the newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, description = "A page of entries"),
        (status = 404, description = "None are kept")))]
async fn get_audit(
    Administrator(visitor): Administrator,
    query: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let (page, size) = (query.page.unwrap_or(1), query.page_size.unwrap_or(PAGE_SIZE_DEFAULT));
    if page == 0 || !(1..=PAGE_SIZE_MAX).contains(&size) {
        return Err(Refusal::bad_request(format!(
            "pages begin with 1 and have 1 to {PAGE_SIZE_MAX} entries, not page {page} with {size}"
        )));
    }
    let events = visitor.broker.events.clone();
    if !events.audit.is_kept() {
        return Err(Refusal::not_found("no audit log is kept: store.audit_bytes_max is 0"));
    }
    let filter = AuditFilter {
        since_ms: query.since,
        until_ms: query.until,
        user: query.user,
        kind: query.kind,
        vhost: query.vhost,
    };
    let offset = page.saturating_sub(1).saturating_mul(size);
    let find = move || events.audit.find(&filter, offset, size);
    let found = tokio::task::spawn_blocking(find).await;
    let found = found.map_err(|error| Refusal::internal(error.to_string()))?;
    let (items, filtered) = found
        .map_err(|error| Refusal::internal(format!("the audit log cannot be read: {error}")))?;
    Ok(Json(json!({
        "item_count": items.len(), "items": items, "filtered_count": filtered,
        "page": page, "page_size": size, "page_count": filtered.div_ceil(size).max(1),
    })))
}
