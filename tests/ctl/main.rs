//! `ferrymqctl`, the built program, against a broker in this process: what each verb changes is
//! looked up by the API, what it prints and the code it exits with are compared.

/// A client that speaks AMQP.
#[path = "../dialogue/support.rs"]
#[allow(dead_code, reason = "the dialogues use the rest of it")]
mod amqp;

#[path = "../management/support.rs"]
#[allow(dead_code, reason = "the management API's tests use the rest of it")]
mod support;
#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod test_broker;

mod alerts;
mod audit;
mod completions;
mod connections;
mod definitions;
mod https;
mod messages;
mod node;
mod output;
mod policies;
mod program;
mod queues;
mod store;
mod terminal;
mod usage;
mod users;
mod vhosts;
