//! Exchanges.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::broker::exchange::Exchange;
use crate::broker::policy::matching::{Matching, Policy};
use crate::broker::vhost::{ExchangeDeclare, Vhost};
use crate::http::answer::listed;
use crate::http::api::Api;
use crate::http::body::JsonBody;
use crate::http::lenient;
use crate::http::listing::{ListQuery, Listed};
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Rates};
use crate::http::visitor::Visitor;
use crate::protocol::json;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(list_exchanges)).add(routes!(list_exchanges_of_vhost)).add(routes!(
        get_exchange,
        put_exchange,
        delete_exchange
    ))
}

/// An exchange and the vhost that it is in.
type Place = (Arc<Vhost>, Arc<Exchange>);

fn show((vhost, exchange): &Place, rates: Option<&Rates<'_>>) -> Value {
    let mut shown = json!({
        "name": exchange.name.as_str(),
        "vhost": vhost.name.as_str(),
        "type": exchange.kind.name(),
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": json::table(&exchange.arguments),
    });
    let own = exchange.own.as_ref().map(|own| own.status());
    if let (Value::Object(shown), Some(status)) = (&mut shown, own) {
        shown.insert("messages_delayed".to_owned(), status.delayed.into());
        shown.insert("next_delayed_due_ms".to_owned(), status.next_due_ms.into());
    }
    if let (Value::Object(shown), Some(rates)) = (&mut shown, rates) {
        shown.extend(rates.exchange(vhost, exchange));
    }
    if let Value::Object(shown) = &mut shown {
        let policies = vhost.policies_of_exchange(exchange);
        POLICIES
            .iter()
            .for_each(|(name, of)| drop(shown.insert((*name).to_owned(), of(&policies))));
    }
    shown
}

/// A column, and what stands in it.
type PolicyColumn = (&'static str, fn(&Matching) -> Value);

/// Which policies hold for something, and what they say together.
pub(super) const POLICIES: [PolicyColumn; 3] = [
    ("policy", |matching| name_of(matching.policy.as_ref())),
    ("operator_policy", |matching| name_of(matching.operator_policy.as_ref())),
    ("effective_policy_definition", |matching| matching.definition().into()),
];

fn name_of(policy: Option<&Arc<Policy>>) -> Value {
    policy.map(|policy| policy.stored.name.clone()).into()
}

fn places_of(vhost: &Arc<Vhost>) -> impl Iterator<Item = Place> {
    let mut exchanges = vhost.exchanges();
    exchanges.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    exchanges.into_iter().map(|exchange| (Arc::clone(vhost), exchange))
}

/// Answers a list of exchanges.
async fn answer(
    api: Api,
    query: (ListQuery, AgesQuery),
    gather: impl FnOnce() -> Vec<Place> + Send + 'static,
) -> Result<Listed, Refusal> {
    let (gather, show) = (
        move || Ok(gather()),
        |place: &Place, rates: Option<&Rates<'_>>, _: &_| show(place, rates),
    );
    listed(api, query, gather, |(_, exchange)| &exchange.name, show).await
}

/// The exchanges of the vhosts that the user sees.
#[utoipa::path(get, path = "/api/exchanges", tag = "exchanges", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of exchanges, or a page of it")))]
async fn list_exchanges(
    visitor: Visitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let gather = move || visitor.visible_vhosts().iter().flat_map(places_of).collect();
    answer(api, (query, ages), gather).await
}

/// The exchanges of a vhost.
#[utoipa::path(get, path = "/api/exchanges/{vhost}", tag = "exchanges",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list of exchanges, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_exchanges_of_vhost(
    visitor: Visitor,
    State(api): State<Api>,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    answer(api, (query, ages), move || places_of(&vhost).collect()).await
}

/// The exchange of a path, or 404.
pub(super) fn existing(vhost: &Vhost, name: &str) -> Result<Arc<Exchange>, Refusal> {
    Ok(vhost.existing_exchange(&names::exchange(name)?)?)
}

/// One exchange. The default exchange is called amq.default in paths.
#[utoipa::path(get, path = "/api/exchanges/{vhost}/{exchange}", tag = "exchanges",
    params(ListQuery, AgesQuery),
    responses((status = 200, description = "The exchange"), (status = 404, description = "None")))]
async fn get_exchange(
    visitor: Visitor,
    State(api): State<Api>,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let exchange = existing(&vhost, &name)?;
    let rates = api.stats().wanted(&query, &ages)?;
    Ok(Json(query.cut(show(&(vhost, exchange), rates.as_ref()))))
}

/// What can be said of an exchange.
#[derive(Debug, Deserialize, ToSchema)]
struct ExchangeBody {
    /// `direct` if nothing is said.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::flag")]
    durable: bool,
    #[serde(default, deserialize_with = "lenient::flag")]
    auto_delete: bool,
    #[serde(default, deserialize_with = "lenient::flag")]
    internal: bool,
    #[serde(default, deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

/// Declares an exchange. One that is there has to be the same.
#[utoipa::path(put, path = "/api/exchanges/{vhost}/{exchange}", tag = "exchanges",
    request_body = ExchangeBody,
    responses((status = 201, description = "Declared"), (status = 204, description = "It is there"),
        (status = 400, description = "It is there and is another one, or can't be")))]
async fn put_exchange(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    JsonBody(body): JsonBody<ExchangeBody>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let name = names::exchange(&name)?;
    let is_there = vhost.exchange(&name).is_some();
    let declare = ExchangeDeclare {
        name,
        kind: body.kind.unwrap_or_else(|| "direct".to_owned()),
        durable: body.durable,
        auto_delete: body.auto_delete,
        internal: body.internal,
        arguments: json::to_table(&body.arguments).map_err(Refusal::bad_request)?,
    };
    vhost.declare_exchange(declare, &visitor.actor)?.wait().await?;
    Ok(if is_there { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
}

/// What has to be so for a deletion.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// `true`: only if nothing is bound to it.
    #[serde(default, rename = "if-unused", deserialize_with = "lenient::flag")]
    if_unused: bool,
}

/// Deletes an exchange with its bindings.
#[utoipa::path(delete, path = "/api/exchanges/{vhost}/{exchange}", tag = "exchanges",
    params(DeleteQuery),
    responses((status = 204, description = "Deleted"), (status = 400, description = "In use"),
        (status = 404, description = "None")))]
async fn delete_exchange(
    visitor: Visitor,
    Path((vhost, name)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let exchange = existing(&vhost, &name)?;
    vhost.delete_exchange(&exchange.name, query.if_unused, &visitor.actor)?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}
