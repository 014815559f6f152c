//! The things that an operator sees and changes, a file for each kind of thing.
//!
//! A handler checks who asks, calls the broker, and waits until what it changed is on disk. Its
//! `utoipa::path` gives both the route and its place in the API's description.

mod alerts;
mod audit;
mod bindings;
mod channels;
mod connections;
mod consumers;
mod definitions;
mod exchanges;
mod features;
mod grants;
mod limits;
mod logins;
mod messages;
mod nodes;
mod overview;
mod parameters;
mod pause;
mod permissions;
mod policies;
mod publish;
mod queue_fields;
mod queue_messages;
mod queues;
mod replay;
mod scheduled;
mod settings;
mod topic_permissions;
mod users;
mod vhosts;

use super::refusal::Refusal;
use crate::broker::NODE_NAME;
use crate::http::routes::Routes;

/// The routes of all of them.
pub(super) fn router() -> Routes {
    Routes::new()
        .merge(messages::router())
        .merge(pause::router())
        .merge(replay::router())
        .merge(alerts::router())
        .merge(audit::router())
        .merge(bindings::router())
        .merge(exchanges::router())
        .merge(publish::router())
        .merge(queue_messages::router())
        .merge(queues::router())
        .merge(channels::router())
        .merge(connections::router())
        .merge(consumers::router())
        .merge(definitions::router())
        .merge(features::router())
        .merge(limits::router())
        .merge(logins::router())
        .merge(nodes::router())
        .merge(overview::router())
        .merge(parameters::router())
        .merge(permissions::router())
        .merge(policies::router())
        .merge(scheduled::router())
        .merge(settings::router())
        .merge(topic_permissions::router())
        .merge(users::router())
        .merge(vhosts::router())
}

/// Refuses with 404 a node that isn't there. Rule: tools that make up the name that a RabbitMQ on
/// this host would have mean this one.
fn check_node(name: &str) -> Result<(), Refusal> {
    let host = |name: &'static str| name.split_once('@').map(|(_, host)| host);
    match name == NODE_NAME || name.strip_prefix("rabbit@") == host(NODE_NAME) {
        true => Ok(()),
        false => Err(Refusal::not_found(format!("there is no node '{name}', only {NODE_NAME}"))),
    }
}
