//! Queues.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::queue_fields::{Depth, show};
use crate::broker::queue::Queue;
use crate::broker::vhost::{Deleted, QueueDeclare, Vhost};
use crate::http::answer::listed;
use crate::http::api::Api;
use crate::http::body::JsonBody;
use crate::http::lenient;
use crate::http::listing::{Columns, ListQuery, Listed};
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Rates};
use crate::http::visitor::{Administrator, Visitor};
use crate::protocol::json;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_queues))
        .add(routes!(list_queues_in_detail))
        .add(routes!(list_queues_of_vhost))
        .add(routes!(get_queue, put_queue, delete_queue))
        .add(routes!(purge_queue))
        .add(routes!(post_action))
        .add(routes!(rebalance))
}

fn queues_of(vhost: &Arc<Vhost>) -> Vec<Arc<Queue>> {
    let mut queues = vhost.queues();
    queues.sort_unstable_by(|a, b| a.name().as_bytes().cmp(b.name().as_bytes()));
    queues
}

/// Answers a list of queues.
async fn answer(
    api: Api,
    query: (ListQuery, AgesQuery),
    depth: Depth,
    gather: impl FnOnce() -> Vec<Arc<Queue>> + Send + 'static,
) -> Result<Listed, Refusal> {
    let broker = Arc::clone(api.broker()?);
    let show = move |queue: &Arc<Queue>, rates: Option<&Rates<'_>>, columns: &Columns| {
        show(&broker, queue, depth, rates, columns)
    };
    listed(api, query, move || Ok(gather()), |queue| queue.name(), show).await
}

/// How much is said of each queue of a list.
fn depth_of(query: &ListQuery) -> Depth {
    match (query.wants_stats(), query.wants_totals()) {
        (true, _) => Depth::Stats,
        (false, true) => Depth::Totals,
        (false, false) => Depth::Declared,
    }
}

/// The queues of the vhosts that the user sees.
#[utoipa::path(get, path = "/api/queues", tag = "queues", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of queues, or a page of it")))]
async fn list_queues(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let depth = depth_of(&query);
    let gather = move || visitor.visible_vhosts().iter().flat_map(queues_of).collect();
    answer(api, (query, ages), depth, gather).await
}

/// The same, each as it is answered alone.
#[utoipa::path(get, path = "/api/queues/detailed", tag = "queues", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of queues, or a page of it")))]
async fn list_queues_in_detail(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let gather = move || visitor.visible_vhosts().iter().flat_map(queues_of).collect();
    answer(api, (query, ages), Depth::All, gather).await
}

/// The queues of a vhost.
#[utoipa::path(get, path = "/api/queues/{vhost}", tag = "queues", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of queues, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_queues_of_vhost(
    visitor: Visitor,
    State(api): State<Api>,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let depth = depth_of(&query);
    answer(api, (query, ages), depth, move || queues_of(&vhost)).await
}

/// The queue of a path, or 404.
pub(super) fn existing(vhost: &Vhost, name: &str) -> Result<Arc<Queue>, Refusal> {
    Ok(vhost.existing_queue(&names::short("queue name", name)?)?)
}

/// One queue, with its consumers.
#[utoipa::path(get, path = "/api/queues/{vhost}/{queue}", tag = "queues",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "The queue"), (status = 404, description = "None")))]
async fn get_queue(
    visitor: Visitor,
    State(api): State<Api>,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let queue = existing(&vhost, &name)?;
    let depth = match depth_of(&query) {
        Depth::Stats => Depth::All,
        less => less,
    };
    let rates = api.stats().wanted(&query, &ages)?;
    let columns = query.wanted_columns();
    Ok(Json(query.cut(show(&visitor.broker, &queue, depth, rates.as_ref(), &columns))))
}

/// What can be said of a queue.
#[derive(Debug, Deserialize, ToSchema)]
struct QueueBody {
    #[serde(default, deserialize_with = "lenient::flag")]
    durable: bool,
    #[serde(default, deserialize_with = "lenient::flag")]
    auto_delete: bool,
    /// Refused if it is `true`: such a queue belongs to a connection.
    #[serde(default, deserialize_with = "lenient::flag")]
    exclusive: bool,
    #[serde(default, deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

/// Declares a queue. One that is there has to be the same.
#[utoipa::path(put, path = "/api/queues/{vhost}/{queue}", tag = "queues", request_body = QueueBody,
    responses((status = 201, description = "Declared"), (status = 204, description = "It is there"),
        (status = 400, description = "It is there and is another one, or can't be")))]
async fn put_queue(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    JsonBody(body): JsonBody<QueueBody>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let name = names::short("queue name", &name)?;
    if body.exclusive {
        return Err(Refusal::bad_request(format!(
            "queue '{name}' can't be exclusive: it would belong to a connection, and a request of \
             this API has none; declare it over AMQP"
        )));
    }
    let is_there = vhost.queue(&name).is_some();
    let declare = QueueDeclare {
        name,
        durable: body.durable,
        exclusive: false,
        auto_delete: body.auto_delete,
        arguments: json::to_table(&body.arguments).map_err(Refusal::bad_request)?,
    };
    let (_, durable) = vhost.declare_queue(declare, &visitor.actor)?;
    durable.wait().await?;
    Ok(if is_there { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
}

/// What has to be so for a deletion.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// `true`: only if nobody consumes from it.
    #[serde(default, rename = "if-unused", deserialize_with = "lenient::flag")]
    if_unused: bool,
    /// `true`: only if it has no ready messages.
    #[serde(default, rename = "if-empty", deserialize_with = "lenient::flag")]
    if_empty: bool,
}

/// Deletes a queue with its messages and bindings. Its consumers are told.
#[utoipa::path(delete, path = "/api/queues/{vhost}/{queue}", tag = "queues", params(DeleteQuery),
    responses((status = 204, description = "Deleted"),
        (status = 400, description = "In use, or not empty"),
        (status = 404, description = "None")))]
async fn delete_queue(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let queue = existing(&vhost, &name)?;
    let DeleteQuery { if_unused, if_empty } = query;
    let deleted = vhost.delete_queue(queue.name(), if_unused, if_empty, &visitor.actor)?;
    let (_, durable, consumers) = deleted.into_parts();
    Deleted::tell_consumers(consumers);
    durable.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops the ready and the delayed messages of a queue.
#[utoipa::path(delete, path = "/api/queues/{vhost}/{queue}/contents", tag = "queues",
    responses((status = 204, description = "Dropped"), (status = 404, description = "No queue")))]
async fn purge_queue(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let name = names::short("queue name", &name)?;
    let (_, durable) = vhost.purge_queue(&name, &visitor.actor)?;
    durable.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be done with a queue.
#[derive(Debug, Deserialize, ToSchema)]
struct ActionBody {
    action: String,
}

/// Actions of mirrored queues. There are none here, so each is refused.
#[utoipa::path(post, path = "/api/queues/{vhost}/{queue}/actions", tag = "queues",
    request_body = ActionBody,
    responses((status = 400, description = "There is no such action"),
        (status = 404, description = "No queue")))]
async fn post_action(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    JsonBody(ActionBody { action }): JsonBody<ActionBody>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    existing(&vhost, &name)?;
    Err(Refusal::bad_request(format!("there is no action '{action}': queues are not mirrored")))
}

/// Spreads the leaders of queues over the nodes. With one node they always are.
#[utoipa::path(post, path = "/api/rebalance/queues", tag = "queues",
    responses((status = 204, description = "They are")))]
async fn rebalance(_: Administrator) -> StatusCode {
    StatusCode::NO_CONTENT
}
