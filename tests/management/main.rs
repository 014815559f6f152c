//! The management API over HTTP, as an operator's programs speak it.

/// A client that speaks AMQP.
#[allow(dead_code)]
#[path = "../dialogue/support.rs"]
mod amqp;
mod support;

mod access;
mod connections;
mod definitions;
mod features;
mod health;
mod limits;
mod metrics;
mod overview;
mod parameters;
mod permissions;
mod policies;
mod users;
mod vhosts;
