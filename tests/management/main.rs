//! The management API over HTTP, as an operator's programs speak it.

mod support;

/// A client that speaks AMQP.
#[allow(dead_code)]
#[path = "../dialogue/support.rs"]
mod amqp;

mod access;
mod bindings;
mod exchanges;
mod publish;
mod queue_messages;
mod queues;
mod vhosts;
