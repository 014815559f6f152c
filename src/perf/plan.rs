//! What a load is made of, and the loads that have a name.

use super::tally::{CHECKED_LEN, NUMBERED_LEN};
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;

/// How messages find their queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Routing {
    /// By the default exchange, to the queues in turn.
    Default,
    /// A fanout exchange, to all queues.
    Fanout,
    /// A topic exchange with one of many bindings that matches.
    Topic,
    /// A headers exchange with one of many bindings that matches.
    Headers,
}

/// A load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) producers: usize,
    pub(super) consumers_per_queue: usize,
    pub(super) queues: usize,
    /// Queues that one connection consumes from.
    pub(super) queues_per_consumer: usize,
    /// Durable queues that stay empty, and connections that say nothing, beside it all.
    pub(super) idle_queues: usize,
    pub(super) idle_connections: usize,
    /// Bytes of a body.
    pub(super) size: usize,
    /// Bodies carry a checksum of themselves.
    pub(super) checksum: bool,
    pub(super) persistent: bool,
    /// Publishes of a producer that may wait for their confirm; none without confirms.
    pub(super) window: Option<u64>,
    pub(super) prefetch: u16,
    /// Messages that are acked at a time; 0 is automatic.
    pub(super) ack_every: u64,
    pub(super) routing: Routing,
    /// Of a topic or headers exchange.
    pub(super) bindings: usize,
    /// Messages a second of all producers together, with their intended times of sending.
    pub(super) rate: Option<f64>,
    pub(super) seconds: f64,
    /// So many messages in all, and then all of them consumed, instead of both for a time.
    pub(super) backlog: Option<u64>,
    /// The broker is started again before the backlog is consumed.
    pub(super) restart: bool,
    /// Of the queues.
    pub(super) arguments: FieldTable,
    /// Of each message, where it goes by the default exchange.
    pub(super) priority: Option<u8>,
    pub(super) expiration_ms: Option<u64>,
    /// A header's name, and how many values it has in turn.
    pub(super) header: Option<(ShortStr, u32)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            producers: 1,
            consumers_per_queue: 1,
            queues: 1,
            queues_per_consumer: 1,
            idle_queues: 0,
            idle_connections: 0,
            size: 16,
            checksum: false,
            persistent: false,
            window: None,
            prefetch: 0,
            ack_every: 0,
            routing: Routing::Default,
            bindings: 0,
            rate: None,
            seconds: 4.0,
            backlog: None,
            restart: false,
            arguments: FieldTable::default(),
            priority: None,
            expiration_ms: None,
            header: None,
        }
    }
}

impl Plan {
    /// The load of a scenario, by its letter.
    pub(super) fn named(name: &str) -> Option<Self> {
        let confirmed = Self { window: Some(1000), ..Self::default() };
        let durable = Self {
            size: 1024,
            persistent: true,
            window: Some(1000),
            prefetch: 1000,
            ack_every: 100,
            ..Self::default()
        };
        Some(match name {
            "a" => Self::default(),
            "b" => durable,
            "c" => Self { window: Some(1), ..durable },
            "d" => {
                Self { size: 65_536, window: Some(100), prefetch: 100, ack_every: 10, ..durable }
            }
            "e" => Self { size: 128, queues: 10, routing: Routing::Fanout, ..confirmed },
            "f" => Self { size: 64, routing: Routing::Topic, bindings: 10_000, ..confirmed },
            "g" => Self { size: 64, routing: Routing::Headers, bindings: 1000, ..confirmed },
            "k" => Self { restart: true, ..Self::named("h")? },
            "h" => Self {
                size: 100,
                window: Some(20_000),
                ack_every: 500,
                prefetch: 2000,
                backlog: Some(1_000_000),
                ..durable
            },
            "l" => Self { rate: Some(5000.0), ack_every: 10, seconds: 10.0, ..durable },
            _ => return None,
        })
    }

    /// Why this can't be run.
    pub(super) fn problem(&self) -> Option<String> {
        let needs_bindings = matches!(self.routing, Routing::Topic | Routing::Headers);
        let (least, why) = match self.checksum {
            true => (CHECKED_LEN, "that say which message it is, with its checksum"),
            false => (NUMBERED_LEN, "that say which message it is"),
        };
        if self.size < least {
            return Some(format!(
                "--size {} is too small: a body begins with {least} bytes {why}",
                self.size
            ));
        }
        if needs_bindings && self.bindings == 0 {
            return Some("--routing topic and headers need --bindings of 1 or more".to_owned());
        }
        if needs_bindings && self.queues > 1 {
            return Some("--routing topic and headers take one queue".to_owned());
        }
        if self.restart && (self.backlog.is_none() || !self.persistent) {
            return Some(
                "--restart needs --persistent and --backlog: what is there again".to_owned(),
            );
        }
        if self.backlog.is_some() && self.queues_per_consumer > 1 {
            // Deliveries of the first would come before the last is consumed from.
            return Some("--backlog takes a connection for each queue".to_owned());
        }
        if self.producers == 0 || self.queues == 0 || self.queues_per_consumer == 0 {
            return Some("there has to be a producer and a queue, also of a consumer".to_owned());
        }
        None
    }
}
