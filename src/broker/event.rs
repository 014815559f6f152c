//! The event exchange: what happens in the broker, as messages for whoever binds to it.
//!
//! `amq.rabbitmq.event` is a topic exchange of the vhost `/`. An event has no body; its routing key
//! says what happened, its headers to what, by whom, from where and when, with RabbitMQ's names.
//!
//! Changes are kept in the audit log (`audit.rs`), too, if there is one. While nothing is bound and
//! nothing is kept, nothing is built. An event is told when it is done and no lock is held
//! any more: it goes into queues as any other message does, and nobody waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::Value;

use super::ConnectionId;
use super::audit::{Audit, AuditEntry};
use super::auth::Actor;
use super::binding::{Binding, Destination};
use super::exchange::Exchange;
use super::queue::{Consumer, Queue};
use super::registry::{ConnectionInfo, Registry};
use super::timers::now_ms;
use super::vhost::Vhost;
use crate::protocol::json;
use crate::protocol::message::Body;
use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;
use crate::store::definition::DestinationKind;

pub const EVENT_EXCHANGE: &str = "amq.rabbitmq.event";

/// The vhost whose exchange it is.
pub const EVENT_VHOST: &str = "/";

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Such as `queue.created`.
    key: &'static str,
    headers: FieldTable,
    /// It is of what goes with its connection, and comes and goes as often.
    is_passing: bool,
    /// What was changed, before and after; for the audit log only.
    before: Option<Value>,
    after: Option<Value>,
}

/// What comes and goes with clients, and what happens by itself: this is no change by anybody.
const NOT_AUDITED: [&str; 6] = [
    "connection.created",
    "connection.closed",
    "channel.",
    "consumer.",
    "alarm.",
    "user.authentication.success",
];

/// Where events go.
pub struct Events {
    registry: Arc<Registry>,
    home: RwLock<Option<Home>>,
    pub audit: Audit,
}

#[derive(Clone)]
struct Home {
    vhost: Weak<Vhost>,
    exchange: Arc<Exchange>,
}

impl Events {
    pub fn new(registry: Arc<Registry>, audit: Audit) -> Self {
        Self { registry, home: RwLock::new(None), audit }
    }

    /// The vhost has come whose exchange it is.
    pub fn set_home(&self, vhost: &Arc<Vhost>, exchange: Arc<Exchange>) {
        *self.home.write() = Some(Home { vhost: Arc::downgrade(vhost), exchange });
    }

    /// Whether anything is bound.
    fn are_heard(&self) -> bool {
        self.home.read().as_ref().is_some_and(|home| home.exchange.binding_count() > 0)
    }

    /// Whether anybody wants to know of changes.
    pub fn are_wanted(&self) -> bool {
        self.audit.is_kept() || self.are_heard()
    }

    /// Tells of something that a client did, or that nobody did. Not to be called under a lock of a
    /// vhost, or of anything in it.
    pub fn tell(&self, actor: Option<&Actor>, event: impl FnOnce() -> Event) {
        if self.are_wanted() {
            self.tell_all(actor, vec![event()]);
        }
    }

    /// The same for what is no change by anybody and happens often.
    pub fn mention(&self, actor: Option<&Actor>, event: impl FnOnce() -> Event) {
        if self.are_heard() {
            self.tell_all(actor, vec![event()]);
        }
    }

    /// The same for what was done together.
    pub fn tell_all(&self, actor: Option<&Actor>, mut events: Vec<Event>) {
        if self.audit.is_kept() {
            for event in events.iter_mut().filter(|event| event.is_audited()) {
                self.audit.note(event.entry(), actor, &self.registry);
            }
        }
        if !self.are_heard() {
            return;
        }
        let Some(Home { vhost, exchange }) = self.home.read().clone() else { return };
        let Some(vhost) = vhost.upgrade() else { return };
        for event in events {
            let event = match actor {
                Some(actor) => event.by(actor, &self.registry),
                None => event,
            };
            let key = ShortStr::from_static(event.key);
            vhost.publish_own(&exchange, &key, &event.properties(), Body::default());
        }
    }
}

impl Event {
    pub fn new(key: &'static str) -> Self {
        let headers = FieldTable::default();
        Self { key, headers, is_passing: false, before: None, after: None }
    }

    /// How what it tells of was before and after; nothing where it was not there.
    pub fn changed(self, before: Option<Value>, after: Option<Value>) -> Self {
        Self { before, after, ..self }
    }

    fn is_audited(&self) -> bool {
        !self.is_passing && !NOT_AUDITED.iter().any(|kind| self.key.starts_with(kind))
    }

    /// What the audit log keeps of it. A thing that came or went is its own after or before.
    fn entry(&mut self) -> AuditEntry {
        let object = json::table(&self.headers);
        let (mut before, mut after) = (self.before.take(), self.after.take());
        if before.is_none() && after.is_none() {
            match self.key.rsplit('.').next() {
                Some("created" | "imported") => after = Some(object.clone()),
                // Whoever asks for a connection's end gets it.
                Some("deleted" | "requested") => before = Some(object.clone()),
                _ => {}
            }
        }
        let peer = match (self.headers.get("peer_host"), self.headers.get("peer_port")) {
            (Some(host), Some(port)) => host.as_str().zip(port.as_i64()),
            _ => None,
        };
        AuditEntry {
            time: 0,
            kind: self.key.to_owned(),
            user: None,
            via: "broker".to_owned(),
            peer: peer.map(|(host, port)| format!("{host}:{port}")),
            connection: None,
            object,
            before,
            after,
        }
    }

    fn passing(self, is_passing: bool) -> Self {
        Self { is_passing, ..self }
    }

    fn with(mut self, name: &'static str, value: FieldValue) -> Self {
        self.headers.insert(ShortStr::from_static(name), value);
        self
    }

    pub fn text(self, name: &'static str, text: &str) -> Self {
        self.with(name, FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub fn flag(self, name: &'static str, flag: bool) -> Self {
        self.with(name, FieldValue::Bool(flag))
    }

    /// A number; one that is too large is the largest.
    pub fn number(self, name: &'static str, number: impl TryInto<i64>) -> Self {
        self.with(name, FieldValue::I64(number.try_into().unwrap_or(i64::MAX)))
    }

    pub fn table(self, name: &'static str, table: &FieldTable) -> Self {
        self.with(name, FieldValue::Table(table.clone()))
    }

    /// Who did it, and from where.
    fn by(self, actor: &Actor, registry: &Registry) -> Self {
        let event = self.text("user_who_performed_action", &actor.user.name);
        let event = match registry.get(actor.connection) {
            Some(info) => event.text("connection", &info.name()),
            None => event,
        };
        if actor.connection == ConnectionId::FILE { event } else { event.at_peer(actor.peer) }
    }

    fn at_peer(self, peer: SocketAddr) -> Self {
        self.text("peer_host", &peer.ip().to_string()).number("peer_port", peer.port())
    }

    /// The properties of the event as a message.
    fn properties(self) -> Properties {
        let now_ms = now_ms();
        let event = self.number("timestamp_in_ms", now_ms);
        Properties::from(&BasicProperties {
            headers: Some(event.headers),
            delivery_mode: Some(2),
            timestamp: Some(now_ms / 1000),
            ..BasicProperties::default()
        })
    }

    pub fn queue(key: &'static str, queue: &Queue) -> Self {
        let properties = &queue.properties;
        Self::new(key)
            .text("name", &properties.name)
            .text("vhost", &properties.vhost)
            .flag("durable", properties.durable)
            .flag("auto_delete", properties.auto_delete)
            .flag("exclusive", properties.exclusive_to.is_some())
            .table("arguments", &properties.arguments)
            .passing(properties.exclusive_to.is_some())
    }

    pub fn exchange(key: &'static str, exchange: &Exchange, vhost: &str) -> Self {
        Self::new(key)
            .text("name", &exchange.name)
            .text("vhost", vhost)
            .text("type", exchange.kind.name())
            .flag("durable", exchange.durable)
            .flag("auto_delete", exchange.auto_delete)
            .flag("internal", exchange.internal)
            .table("arguments", &exchange.arguments)
    }

    pub fn binding(key: &'static str, binding: &Binding, vhost: &str) -> Self {
        let is_passing = match &binding.destination {
            Destination::Queue(queue) => queue.properties.exclusive_to.is_some(),
            Destination::Exchange(_) => false,
        };
        let (kind, destination) = binding.destination.key();
        let kind = match kind {
            DestinationKind::Queue => "queue",
            DestinationKind::Exchange => "exchange",
        };
        Self::new(key)
            .text("vhost", vhost)
            .text("source_name", &binding.source)
            .text("source_kind", "exchange")
            .text("destination_name", &destination)
            .text("destination_kind", kind)
            .text("routing_key", &binding.key)
            .table("arguments", &binding.arguments)
            .passing(is_passing)
    }

    pub fn consumer(key: &'static str, consumer: &Consumer) -> Self {
        Self::new(key)
            .text("consumer_tag", &consumer.tag)
            .text("queue", consumer.queue.name())
            .text("vhost", &consumer.queue.properties.vhost)
            .flag("exclusive", consumer.exclusive)
            .flag("ack_required", !consumer.no_ack)
            .number("prefetch_count", consumer.prefetch_count())
            .table("arguments", &consumer.arguments)
    }

    pub fn connection(key: &'static str, info: &ConnectionInfo) -> Self {
        Self::new(key)
            .text("name", &info.name())
            .text("user", &info.user)
            .text("vhost", &info.vhost)
            .text("protocol", "AMQP 0-9-1")
            .at_peer(info.peer)
            .text("host", &info.local.ip().to_string())
            .number("port", info.local.port())
            .number("channel_max", info.channel_max)
            .number("frame_max", info.frame_max)
            .number("timeout", info.heartbeat_seconds)
            .table("client_properties", &info.client_properties)
    }

    pub fn channel(key: &'static str, number: u16, vhost: &str) -> Self {
        Self::new(key).number("number", number).text("vhost", vhost)
    }

    /// A login, and why it was refused, if it was.
    pub fn login(name: &str, mechanism: &str, peer: SocketAddr, error: Option<&str>) -> Self {
        let key = match error {
            None => "user.authentication.success",
            Some(_) => "user.authentication.failure",
        };
        let event =
            Self::new(key).text("name", name).text("auth_mechanism", mechanism).at_peer(peer);
        match error {
            Some(error) => event.text("error", error),
            None => event,
        }
    }
}
