//! The management API over HTTP, as an operator's programs speak it.

/// A client that speaks AMQP.
#[allow(dead_code)]
#[path = "../dialogue/support.rs"]
mod amqp;
mod inside;
mod support;
#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod test_broker;

mod access;
mod alerts;
mod audit;
mod bindings;
mod connections;
mod dashboards;
mod definitions;
mod every_path;
mod exchanges;
mod features;
mod health;
mod limits;
mod messages;
mod metrics;
mod overview;
mod parameters;
mod pause;
mod permissions;
mod policies;
mod publish;
mod queue_messages;
mod queues;
mod replay;
mod scheduled;
mod users;
mod vhosts;
