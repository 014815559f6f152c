//! The things that an operator sees and changes, a file for each kind of thing.
//!
//! A handler checks who asks, calls the broker, and waits until what it changed is on disk. Its
//! `utoipa::path` gives both the route and its place in the API's description.

mod messages;
mod pause;
mod replay;
mod users;
mod vhosts;

use utoipa_axum::router::OpenApiRouter;

use super::api::Api;

/// The routes of all of them.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(messages::router())
        .merge(pause::router())
        .merge(replay::router())
        .merge(users::router())
        .merge(vhosts::router())
}
