//! Pause and resume of queues.

use axum::extract::Path;
use axum::http::StatusCode;

use super::messages::queue_name;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(pause)).add(routes!(resume))
}

/// Stops a queue's deliveries; what is published still comes in.
#[utoipa::path(put, path = "/api/queues/{vhost}/{queue}/pause", tag = "queues",
    responses((status = 204, description = "Paused"), (status = 404, description = "None")))]
async fn pause(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    set_paused(&visitor, &vhost, &queue, true).await
}

/// Has a paused queue deliver again.
#[utoipa::path(put, path = "/api/queues/{vhost}/{queue}/resume", tag = "queues",
    responses((status = 204, description = "Resumed"), (status = 404, description = "None")))]
async fn resume(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    set_paused(&visitor, &vhost, &queue, false).await
}

async fn set_paused(
    visitor: &Visitor,
    vhost: &str,
    queue: &str,
    paused: bool,
) -> Result<StatusCode, Refusal> {
    let (vhost, queue) = (visitor.own_vhost(vhost)?, queue_name(queue)?);
    vhost.pause_queue(&queue, paused, &visitor.actor)?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}
