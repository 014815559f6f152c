//! Bindings: those that were made, and those by which the default exchange reaches every queue.
//!
//! A binding has no name. Among those from one exchange to one destination it is told by its
//! `properties_key`: the routing key, and `~` with a digest of the arguments if there are any. The
//! routing key is percent-encoded in it, so that it has no `~` of its own; an empty one without
//! arguments is `~`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::broker::binding::{Binding, DestinationKey};
use crate::broker::exchange::Exchange;
use crate::broker::vhost::{BindRequest, Vhost};
use crate::http::answer::aside;
use crate::http::body::JsonBody;
use crate::http::lenient;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::names;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Visitor;
use crate::protocol::json;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::DestinationKind;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_bindings))
        .add(routes!(list_bindings_of_vhost))
        .add(routes!(list_bindings_between, post_binding))
        .add(routes!(get_binding, delete_binding))
        .add(routes!(list_bindings_of_queue))
        .add(routes!(list_bindings_from))
        .add(routes!(list_bindings_to))
}

/// A binding and the vhost that it is in.
struct Place {
    vhost: ShortStr,
    binding: BindRequest,
    properties_key: String,
}

impl Place {
    fn new(vhost: &Vhost, binding: BindRequest) -> Self {
        let properties_key = properties_key(&binding.key, &binding.arguments);
        Self { vhost: vhost.name.clone(), binding, properties_key }
    }

    fn of(vhost: &Vhost, binding: &Binding) -> Self {
        let (destination_kind, destination) = binding.destination.key();
        let (source, key) = (binding.source.clone(), binding.key.clone());
        let arguments = binding.arguments.clone();
        let binding = BindRequest { source, destination_kind, destination, key, arguments };
        Self::new(vhost, binding)
    }

    /// The default exchange's binding to a queue, which nobody made.
    fn by_name(vhost: &Vhost, queue: &ShortStr) -> Self {
        let binding = BindRequest {
            source: ShortStr::default(),
            destination_kind: DestinationKind::Queue,
            destination: queue.clone(),
            key: queue.clone(),
            arguments: FieldTable::default(),
        };
        Self::new(vhost, binding)
    }
}

fn kind_name(kind: DestinationKind) -> &'static str {
    match kind {
        DestinationKind::Queue => "queue",
        DestinationKind::Exchange => "exchange",
    }
}

fn show(Place { vhost, binding, properties_key }: &Place) -> Value {
    json!({
        "source": binding.source.as_str(),
        "vhost": vhost.as_str(),
        "destination": binding.destination.as_str(),
        "destination_type": kind_name(binding.destination_kind),
        "routing_key": binding.key.as_str(),
        "arguments": json::table(&binding.arguments),
        "properties_key": properties_key,
    })
}

/// What stands as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

fn properties_key(key: &str, arguments: &FieldTable) -> String {
    let encoded = utf8_percent_encode(key, PLAIN);
    match digest(arguments) {
        Some(digest) => format!("{encoded}~{digest}"),
        None if key.is_empty() => "~".to_owned(),
        None => encoded.to_string(),
    }
}

/// Tells arguments apart; nothing where there are none.
fn digest(arguments: &FieldTable) -> Option<String> {
    if arguments.is_empty() {
        return None;
    }
    let mut encoded = BytesMut::new();
    arguments.encode(&mut encoded);
    Some(URL_SAFE_NO_PAD.encode(Md5::digest(encoded)))
}

/// Whether a properties key in a path means this binding. Clients put it there encoded once more,
/// or as it is.
fn is_meant(properties_key: &str, binding: &BindRequest) -> bool {
    let (key, wanted) = match properties_key.split_once('~') {
        Some((key, digest)) => (key, Some(digest).filter(|digest| !digest.is_empty())),
        None => (properties_key, None),
    };
    percent_decode_str(key).eq(binding.key.bytes())
        && wanted == digest(&binding.arguments).as_deref()
}

fn sorted(mut places: Vec<Place>) -> Vec<Place> {
    fn order(place: &Place) -> (&str, &str, &str, &str, &str) {
        let Place { binding, properties_key, .. } = place;
        let kind = kind_name(binding.destination_kind);
        (&binding.source, kind, &binding.destination, &binding.key, properties_key)
    }
    places.sort_by(|a, b| order(a).cmp(&order(b)));
    places
}

fn from_exchange(vhost: &Vhost, exchange: &Exchange) -> Vec<Place> {
    if exchange.name.is_empty() {
        let queues = vhost.queues();
        return queues.iter().map(|queue| Place::by_name(vhost, queue.name())).collect();
    }
    exchange.bindings().iter().map(|binding| Place::of(vhost, binding)).collect()
}

fn to_destination(vhost: &Vhost, destination: &DestinationKey) -> Vec<Place> {
    let (kind, name) = destination;
    let by_name = *kind == DestinationKind::Queue && vhost.queue(name).is_some();
    let by_name = by_name.then(|| Place::by_name(vhost, name));
    let made = vhost.bindings_to(destination);
    by_name.into_iter().chain(made.iter().map(|binding| Place::of(vhost, binding))).collect()
}

fn of_vhost(vhost: &Arc<Vhost>) -> Vec<Place> {
    let exchanges = vhost.exchanges();
    sorted(exchanges.iter().flat_map(|exchange| from_exchange(vhost, exchange)).collect())
}

/// Answers a list, put together apart from the threads that clients are served by.
async fn answer(
    query: ListQuery,
    gather: impl FnOnce() -> Vec<Place> + Send + 'static,
) -> Result<Listed, Refusal> {
    aside(move || {
        let places = gather();
        list(&query, places, |place| &place.binding.destination, show)
    })
    .await
}

/// The bindings of the vhosts that the user sees. `name` filters by their destinations.
#[utoipa::path(get, path = "/api/bindings", tag = "bindings", params(ListQuery),
    responses((status = 200, description = "A list of bindings, or a page of it")))]
async fn list_bindings(
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    answer(query, move || visitor.visible_vhosts().iter().flat_map(of_vhost).collect()).await
}

/// The bindings of a vhost.
#[utoipa::path(get, path = "/api/bindings/{vhost}", tag = "bindings", params(ListQuery),
    responses((status = 200, description = "A list of bindings, or a page of it"),
        (status = 404, description = "No such vhost")))]
async fn list_bindings_of_vhost(
    visitor: Visitor,
    Path(vhost): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    answer(query, move || of_vhost(&vhost)).await
}

/// The bindings that lead to a queue. As with RabbitMQ, what isn't there has none: clients look
/// before they bind.
#[utoipa::path(get, path = "/api/queues/{vhost}/{queue}/bindings", tag = "bindings",
    params(ListQuery), responses((status = 200, description = "A list of bindings"),
        (status = 404, description = "No such vhost")))]
async fn list_bindings_of_queue(
    visitor: Visitor,
    Path((vhost, queue)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let key = (DestinationKind::Queue, names::short("queue name", &queue)?);
    answer(query, move || sorted(to_destination(&vhost, &key))).await
}

/// The bindings that lead from an exchange.
#[utoipa::path(get, path = "/api/exchanges/{vhost}/{exchange}/bindings/source", tag = "bindings",
    params(ListQuery), responses((status = 200, description = "A list of bindings"),
        (status = 404, description = "No such vhost")))]
async fn list_bindings_from(
    visitor: Visitor,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let exchange = vhost.exchange(&names::exchange(&exchange)?);
    let from = move |exchange: &Arc<Exchange>| from_exchange(&vhost, exchange);
    answer(query, move || sorted(exchange.iter().flat_map(from).collect())).await
}

/// The bindings that lead to an exchange.
#[utoipa::path(get, path = "/api/exchanges/{vhost}/{exchange}/bindings/destination",
    tag = "bindings", params(ListQuery),
    responses((status = 200, description = "A list of bindings"),
        (status = 404, description = "No such vhost")))]
async fn list_bindings_to(
    visitor: Visitor,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let key = (DestinationKind::Exchange, names::exchange(&exchange)?);
    answer(query, move || sorted(to_destination(&vhost, &key))).await
}

/// From which exchange to what: the parts of a path.
type Between = (String, String, String, String);

/// The ends of a binding, whether they are there or not.
struct Ends {
    source: ShortStr,
    destination: DestinationKey,
}

impl Ends {
    fn of(source: &str, kind: &str, destination: &str) -> Result<Self, Refusal> {
        let destination = match kind {
            "q" => (DestinationKind::Queue, names::short("queue name", destination)?),
            "e" => (DestinationKind::Exchange, names::exchange(destination)?),
            _ => {
                return Err(Refusal::bad_request(format!(
                    "a binding leads to q (a queue) or e (an exchange), not to '{kind}'"
                )));
            }
        };
        Ok(Self { source: names::exchange(source)?, destination })
    }

    /// The bindings between them.
    fn places(&self, vhost: &Vhost) -> Vec<Place> {
        let mut places = to_destination(vhost, &self.destination);
        places.retain(|place| place.binding.source == self.source);
        sorted(places)
    }

    /// The one that is meant, or 404.
    fn place(&self, vhost: &Vhost, properties_key: &str) -> Result<Place, Refusal> {
        let mut places = self.places(vhost).into_iter();
        places.find(|place| is_meant(properties_key, &place.binding)).ok_or_else(|| {
            let (source, (kind, destination)) = (&self.source, &self.destination);
            let kind = kind_name(*kind);
            Refusal::not_found(format!(
                "there is no binding '{properties_key}' from exchange '{source}' to {kind} \
                 '{destination}' in vhost '{}'",
                vhost.name
            ))
        })
    }
}

/// The bindings from an exchange to a queue (`q`) or an exchange (`e`).
#[utoipa::path(get, path = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}",
    tag = "bindings", params(ListQuery),
    responses((status = 200, description = "A list of bindings")))]
async fn list_bindings_between(
    visitor: Visitor,
    Path((vhost, source, kind, destination)): Path<Between>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let ends = Ends::of(&source, &kind, &destination)?;
    answer(query, move || ends.places(&vhost)).await
}

/// What can be said of a binding.
#[derive(Debug, Deserialize, ToSchema)]
struct BindingBody {
    #[serde(default)]
    routing_key: String,
    #[serde(default, deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

/// Binds a queue or an exchange to an exchange. The answer's Location is the binding's.
#[utoipa::path(post, path = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}",
    tag = "bindings", request_body = BindingBody,
    responses((status = 201, description = "Bound"),
        (status = 404, description = "One of the ends is not there")))]
async fn post_binding(
    visitor: Visitor,
    Path((vhost, source, kind, destination)): Path<Between>,
    JsonBody(body): JsonBody<BindingBody>,
) -> Result<Response, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let Ends { source, destination: (destination_kind, destination) } =
        Ends::of(&source, &kind, &destination)?;
    let key = names::short("routing key", &body.routing_key)?;
    let arguments = json::to_table(&body.arguments).map_err(Refusal::bad_request)?;
    // Relative, as clients expect that take the last part for the properties key.
    let encode = |part: &str| utf8_percent_encode(part, PLAIN).to_string();
    let properties_key = encode(&properties_key(&key, &arguments)).replace("%7E", "~");
    let location = format!("{}/{properties_key}", encode(&destination));
    let request = BindRequest { source, destination_kind, destination, key, arguments };
    vhost.bind(request, &visitor.actor)?.wait().await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// From which exchange to what, and which one.
type Exactly = (String, String, String, String, String);

/// One binding.
#[utoipa::path(get, path = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}",
    tag = "bindings",
    responses((status = 200, description = "The binding"), (status = 404, description = "None")))]
async fn get_binding(
    visitor: Visitor,
    Path((vhost, source, kind, destination, properties_key)): Path<Exactly>,
) -> Result<Json<Value>, Refusal> {
    let vhost = visitor.visible_vhost(&vhost)?;
    let ends = Ends::of(&source, &kind, &destination)?;
    Ok(Json(show(&ends.place(&vhost, &properties_key)?)))
}

/// Takes a binding away.
#[utoipa::path(delete,
    path = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}",
    tag = "bindings",
    responses((status = 204, description = "Gone"), (status = 404, description = "None")))]
async fn delete_binding(
    visitor: Visitor,
    Path((vhost, source, kind, destination, properties_key)): Path<Exactly>,
) -> Result<StatusCode, Refusal> {
    let vhost = visitor.own_vhost(&vhost)?;
    let ends = Ends::of(&source, &kind, &destination)?;
    let place = ends.place(&vhost, &properties_key)?;
    vhost.unbind(place.binding, &visitor.actor)?.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::table::FieldValue;

    fn binding(key: &str, arguments: FieldTable) -> BindRequest {
        let short = |text| ShortStr::try_from(text).expect("short");
        BindRequest {
            source: short("x"),
            destination_kind: DestinationKind::Queue,
            destination: short("q"),
            key: short(key),
            arguments,
        }
    }

    fn arguments(number: i64) -> FieldTable {
        FieldTable::from_iter([(ShortStr::from_static("n"), FieldValue::I64(number))])
    }

    #[test]
    fn a_properties_key_means_its_own_binding_only() {
        let bindings = ["", "a", "a/b ~c%", "grüße"].map(|key| {
            [FieldTable::default(), arguments(1), arguments(2)].map(|table| binding(key, table))
        });
        let bindings: Vec<_> = bindings.into_iter().flatten().collect();
        for one in &bindings {
            let key = properties_key(&one.key, &one.arguments);
            let meant = bindings.iter().filter(|other| is_meant(&key, other)).count();
            assert_eq!((meant, is_meant(&key, one)), (1, true), "{key}");
        }
    }

    #[test]
    fn a_properties_key_may_stand_in_a_path_as_it_is() {
        assert_eq!(properties_key("", &FieldTable::default()), "~");
        assert_eq!(properties_key("a/b c", &FieldTable::default()), "a%2Fb%20c");
        assert!(is_meant("a/b c", &binding("a/b c", FieldTable::default())));
        assert!(!is_meant("a/b c~", &binding("a/b c", arguments(1))));
    }
}
