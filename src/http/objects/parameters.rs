//! Parameters of vhosts, those of the whole broker, and the name that it has.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::broker::parameter::CLUSTER_NAME;
use crate::http::answer::{deleted, put_status};
use crate::http::body::JsonBody;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Policymaker, Visitor};
use crate::store::definition::{GlobalParameterDefinition, ParameterDefinition};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_parameters))
        .add(routes!(list_parameters_of_component))
        .add(routes!(list_parameters_in_vhost))
        .add(routes!(get_parameter, put_parameter, delete_parameter))
        .add(routes!(list_global_parameters))
        .add(routes!(get_global_parameter, put_global_parameter, delete_global_parameter))
        .add(routes!(get_cluster_name, put_cluster_name))
}

fn show(parameter: &ParameterDefinition) -> Value {
    let ParameterDefinition { vhost, component, name, value } = parameter;
    json!({ "vhost": vhost, "component": component, "name": name, "value": value })
}

/// The parameters in the vhosts that the user sees.
fn listed(
    visitor: &Visitor,
    query: &ListQuery,
    is_wanted: impl Fn(&ParameterDefinition) -> bool,
) -> Result<Listed, Refusal> {
    let mut found = visitor.broker.parameters();
    found.retain(|parameter| {
        is_wanted(parameter) && visitor.governed_vhost(&parameter.vhost).is_ok()
    });
    list(query, found, |parameter| &parameter.name, show)
}

/// All parameters of the vhosts that the user may set some in.
#[utoipa::path(get, path = "/api/parameters", tag = "parameters", params(ListQuery),
    responses((status = 200, description = "A list of parameters, or a page of it")))]
async fn list_parameters(
    Policymaker(visitor): Policymaker,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&visitor, &query, |_| true)
}

/// The parameters of a component.
#[utoipa::path(get, path = "/api/parameters/{component}", tag = "parameters", params(ListQuery),
    responses((status = 200, description = "A list of parameters, or a page of it")))]
async fn list_parameters_of_component(
    Policymaker(visitor): Policymaker,
    Path(component): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    listed(&visitor, &query, |parameter| parameter.component == component)
}

/// The parameters of a component in a vhost.
#[utoipa::path(get, path = "/api/parameters/{component}/{vhost}", tag = "parameters",
    params(ListQuery), responses((status = 200, description = "A list, or a page of it")))]
async fn list_parameters_in_vhost(
    Policymaker(visitor): Policymaker,
    Path((component, vhost)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    visitor.governed_vhost(&vhost)?;
    listed(&visitor, &query, |parameter| {
        parameter.component == component && parameter.vhost == vhost
    })
}

fn existing(visitor: &Visitor, of: &(String, String, String)) -> Option<ParameterDefinition> {
    let (component, vhost, name) = of;
    visitor.broker.parameters().into_iter().find(|parameter| {
        parameter.component == *component && parameter.vhost == *vhost && parameter.name == *name
    })
}

fn missing((component, vhost, name): &(String, String, String)) -> String {
    format!("there is no parameter '{name}' of component '{component}' in vhost '{vhost}'")
}

/// One parameter.
#[utoipa::path(get, path = "/api/parameters/{component}/{vhost}/{parameter}", tag = "parameters",
    responses((status = 200, description = "It"), (status = 404, description = "None")))]
async fn get_parameter(
    Policymaker(visitor): Policymaker,
    Path(of): Path<(String, String, String)>,
) -> Result<Json<Value>, Refusal> {
    visitor.governed_vhost(&of.1)?;
    match existing(&visitor, &of) {
        Some(parameter) => Ok(Json(show(&parameter))),
        None => Err(Refusal::not_found(missing(&of))),
    }
}

/// A parameter.
#[derive(Debug, Deserialize, ToSchema)]
struct ParameterBody {
    /// Any JSON that the component takes.
    #[schema(value_type = Object)]
    value: Value,
}

/// Sets a parameter.
#[utoipa::path(put, path = "/api/parameters/{component}/{vhost}/{parameter}", tag = "parameters",
    request_body = ParameterBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed")))]
async fn put_parameter(
    Policymaker(visitor): Policymaker,
    Path(of): Path<(String, String, String)>,
    JsonBody(body): JsonBody<ParameterBody>,
) -> Result<StatusCode, Refusal> {
    visitor.governed_vhost(&of.1)?;
    let was_there = existing(&visitor, &of).is_some();
    let (component, vhost, name) = of;
    let parameter = ParameterDefinition { vhost, component, name, value: body.value };
    visitor.broker.put_parameter(parameter, Some(&visitor.actor))?.wait().await?;
    Ok(put_status(was_there))
}

/// Clears a parameter.
#[utoipa::path(delete, path = "/api/parameters/{component}/{vhost}/{parameter}",
    tag = "parameters",
    responses((status = 204, description = "Cleared"), (status = 404, description = "None")))]
async fn delete_parameter(
    Policymaker(visitor): Policymaker,
    Path(of): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    visitor.governed_vhost(&of.1)?;
    let (component, vhost, name) = &of;
    let found = visitor.broker.delete_parameter(vhost, component, name, Some(&visitor.actor));
    deleted(found, || missing(&of)).await
}

fn show_global(parameter: &GlobalParameterDefinition) -> Value {
    json!({ "name": parameter.name, "value": parameter.value })
}

/// All parameters of the broker.
#[utoipa::path(get, path = "/api/global-parameters", tag = "parameters", params(ListQuery),
    responses((status = 200, description = "A list of parameters, or a page of it")))]
async fn list_global_parameters(
    _: Policymaker,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let found = visitor.broker.global_parameters();
    list(&query, found, |parameter| &parameter.name, show_global)
}

/// One parameter of the broker.
#[utoipa::path(get, path = "/api/global-parameters/{parameter}", tag = "parameters",
    responses((status = 200, description = "It"), (status = 404, description = "None")))]
async fn get_global_parameter(
    Policymaker(visitor): Policymaker,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    match visitor.broker.global_parameter(&name) {
        Some(value) => Ok(Json(show_global(&GlobalParameterDefinition { name, value }))),
        None => Err(Refusal::not_found(format!("there is no global parameter '{name}'"))),
    }
}

/// Sets a parameter of the broker.
#[utoipa::path(put, path = "/api/global-parameters/{parameter}", tag = "parameters",
    request_body = ParameterBody,
    responses((status = 201, description = "Added"), (status = 204, description = "Changed")))]
async fn put_global_parameter(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<ParameterBody>,
) -> Result<StatusCode, Refusal> {
    let was_there = visitor.broker.global_parameter(&name).is_some();
    let parameter = GlobalParameterDefinition { name, value: body.value };
    visitor.broker.put_global_parameter(parameter, Some(&visitor.actor))?.wait().await?;
    Ok(put_status(was_there))
}

/// Clears a parameter of the broker.
#[utoipa::path(delete, path = "/api/global-parameters/{parameter}", tag = "parameters",
    responses((status = 204, description = "Cleared"), (status = 404, description = "None")))]
async fn delete_global_parameter(
    Administrator(visitor): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let found = visitor.broker.delete_global_parameter(&name, Some(&visitor.actor));
    deleted(found, || format!("there is no global parameter '{name}'")).await
}

/// What the broker is called.
#[utoipa::path(get, path = "/api/cluster-name", tag = "parameters",
    responses((status = 200, description = "The name")))]
async fn get_cluster_name(visitor: Visitor) -> Json<Value> {
    Json(json!({ "name": visitor.broker.cluster_name() }))
}

/// A name.
#[derive(Debug, Deserialize, ToSchema)]
struct NameBody {
    name: String,
}

/// Gives the broker another name. It is kept as the global parameter `cluster_name`.
#[utoipa::path(put, path = "/api/cluster-name", tag = "parameters", request_body = NameBody,
    responses((status = 204, description = "Changed")))]
async fn put_cluster_name(
    Administrator(visitor): Administrator,
    JsonBody(body): JsonBody<NameBody>,
) -> Result<StatusCode, Refusal> {
    if body.name.is_empty() {
        return Err(Refusal::bad_request("the name of the cluster can't be empty"));
    }
    let parameter =
        GlobalParameterDefinition { name: CLUSTER_NAME.to_owned(), value: body.name.into() };
    visitor.broker.put_global_parameter(parameter, Some(&visitor.actor))?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}
