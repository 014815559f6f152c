//! The management API over HTTP, as an operator's programs speak it.

mod amqp;
mod support;

mod access;
mod messages;
mod pause;
mod replay;
mod vhosts;
