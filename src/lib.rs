//! FerryMQ, a durable AMQP 0-9-1 message broker.
//!
//! The layers, lowest first; a layer imports only what stands above its line here (kept by
//! `tests/import_law.rs`):
//!
//! * [`protocol`]   the language: frames, methods, field tables, properties. No sockets, no broker.
//! * [`store`]      bytes that survive: the log, the catalog, group commit, recovery.
//! * [`broker`]     the rules of AMQP: vhosts, exchanges, bindings, queues, consumers, users.
//! * [`connection`] one AMQP client: the only place where frames meet the broker.
//! * [`http`]       one operator: management API and health checks.
//! * [`alert`]      tells of queues that are not well, by rules ([`alert_rule`]).
//! * [`ctl`]        the command line of ferrymqctl; [`perf`] is ferrymq-perf, a client.
//! * [`server`]     start and stop order; [`listener`] accepts connections.
//! * [`alert_rule`], [`host`], [`metrics`], [`telemetry`] import nothing of ours; [`config`] only
//!   the first.

pub mod alert;
pub mod alert_rule;
pub mod broker;
pub mod config;
pub mod connection;
pub mod ctl;
pub mod host;
pub mod http;
pub mod listener;
pub mod metrics;
pub mod perf;
pub mod protocol;
pub mod server;
pub mod store;
pub mod telemetry;
