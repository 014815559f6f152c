//! The things that an operator sees and changes, a file for each kind of thing.
//!
//! A handler checks who asks, calls the broker, and waits until what it changed is on disk. Its
//! `utoipa::path` gives both the route and its place in the API's description.

mod bindings;
mod exchanges;
mod publish;
mod queue_fields;
mod queue_messages;
mod queues;
mod users;
mod vhosts;

use utoipa_axum::router::OpenApiRouter;

use super::api::Api;

/// The routes of all of them.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(bindings::router())
        .merge(exchanges::router())
        .merge(publish::router())
        .merge(queue_messages::router())
        .merge(queues::router())
        .merge(users::router())
        .merge(vhosts::router())
}
