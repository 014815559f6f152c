//! The management API over HTTP, as an operator's programs speak it.

/// A client that speaks AMQP.
#[allow(dead_code)]
#[path = "../dialogue/support.rs"]
mod amqp;
mod support;

mod access;
mod health;
mod metrics;
mod vhosts;
