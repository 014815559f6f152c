//! The firehose: while a vhost is traced, a copy of every message that is published and of every
//! one that is delivered goes to its exchange `amq.rabbitmq.trace`.
//!
//! The copy's routing key is `publish.` with the exchange's name, or `deliver.` with the queue's;
//! its headers say the rest, with RabbitMQ's names. Copies are not traced again, wherever they go.
//! Whoever publishes or writes a message makes its copy, under no lock of a queue.

use std::sync::Arc;

use bytes::Bytes;

use super::NODE_NAME;
use super::queue::{Entry, Queue};
use super::routing_keys::Stored;
use super::vhost::Vhost;
use crate::protocol::message::Message;
use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

pub const TRACE_EXCHANGE: &str = "amq.rabbitmq.trace";

/// Copies what one connection publishes and gets.
pub struct Tracer {
    vhost: Arc<Vhost>,
    /// The connection's name.
    connection: String,
    user: String,
}

impl Tracer {
    pub fn new(vhost: Arc<Vhost>, connection: String, user: String) -> Self {
        Self { vhost, connection, user }
    }

    pub fn is_on(&self) -> bool {
        self.vhost.is_tracing()
    }

    /// A message was published on a channel and goes to these queues.
    pub fn published(&self, channel: u16, message: &Arc<Message>, queues: &[Arc<Queue>]) {
        // What an exchange delays is in none yet.
        let queues = queues.iter().filter(|queue| queue.properties.own_of.is_none());
        let queues = queues.map(|queue| text(queue.name())).collect();
        let routed = ("routed_queues", FieldValue::Array(queues));
        self.copy("publish", message.exchange(), channel, message, routed);
    }

    /// Messages are delivered on a channel.
    pub fn delivered(&self, channel: u16, queue: &Queue, entries: &[Entry]) {
        for Entry { message, redelivered, .. } in entries {
            let redelivered = ("redelivered", FieldValue::I32(i32::from(*redelivered)));
            self.copy("deliver", queue.name(), channel, message, redelivered);
        }
    }

    fn copy(
        &self,
        what: &str,
        whose: &str,
        channel: u16,
        message: &Arc<Message>,
        (name, value): (&'static str, FieldValue),
    ) {
        if is_copy(message) {
            return;
        }
        let Some(exchange) = self.vhost.exchange(TRACE_EXCHANGE) else { return };
        let stored = Stored::new(message);
        let keys = stored.routable().keys.iter().map(text).collect();
        let headers = [
            ("exchange_name", text(message.exchange())),
            ("routing_keys", FieldValue::Array(keys)),
            ("properties", FieldValue::Table(properties_of(message))),
            ("node", text(NODE_NAME)),
            ("vhost", text(&self.vhost.name)),
            ("connection", text(&self.connection)),
            ("channel", FieldValue::I32(i32::from(channel))),
            ("user", text(&self.user)),
            (name, value),
        ];
        let headers = headers.into_iter().map(|(name, value)| (ShortStr::from_static(name), value));
        let properties = Properties::default().with_headers(&headers.collect());
        let key = routing_key(what, whose);
        self.vhost.publish_own(&exchange, &key, &properties, message.to_body());
    }
}

/// Whether the message is a copy itself: also one that has died in a queue of copies.
fn is_copy(message: &Message) -> bool {
    let died_as_copy = || {
        let headers = message.properties().headers()?;
        Some(headers.get("x-first-death-exchange")?.as_str()? == TRACE_EXCHANGE)
    };
    message.exchange() == TRACE_EXCHANGE
        || (message.is_dead_lettered() && died_as_copy().unwrap_or(false))
}

/// `publish.orders`; cut where the name is longer than a key has room for.
fn routing_key(what: &str, whose: &str) -> ShortStr {
    let mut key = format!("{what}.{whose}");
    key.truncate(key.floor_char_boundary(ShortStr::MAX_LEN));
    ShortStr::try_from(key.as_str()).unwrap_or_default()
}

/// A message's properties by name. Where some that only travel along are no text, only those that
/// the broker reads.
fn properties_of(message: &Message) -> FieldTable {
    let properties = message.properties();
    let decoded = properties.decode().unwrap_or_else(|_| BasicProperties {
        headers: properties.headers(),
        delivery_mode: properties.delivery_mode(),
        priority: properties.priority(),
        expiration: properties.expiration(),
        user_id: properties.user_id(),
        ..BasicProperties::default()
    });
    let short = |value: Option<ShortStr>| value.as_deref().map(text);
    let fields = [
        ("content_type", short(decoded.content_type)),
        ("content_encoding", short(decoded.content_encoding)),
        ("headers", decoded.headers.map(FieldValue::Table)),
        ("delivery_mode", decoded.delivery_mode.map(|mode| FieldValue::I32(mode.into()))),
        ("priority", decoded.priority.map(|priority| FieldValue::I32(priority.into()))),
        ("correlation_id", short(decoded.correlation_id)),
        ("reply_to", short(decoded.reply_to)),
        ("expiration", short(decoded.expiration)),
        ("message_id", short(decoded.message_id)),
        ("timestamp", decoded.timestamp.map(FieldValue::Timestamp)),
        ("type", short(decoded.kind)),
        ("user_id", short(decoded.user_id)),
        ("app_id", short(decoded.app_id)),
        ("cluster_id", short(decoded.reserved)),
    ];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| (ShortStr::from_static(name), value)).collect()
}

fn text(text: &str) -> FieldValue {
    FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_would_be_too_long_is_cut_between_letters() {
        let key = routing_key("deliver", &"ü".repeat(127));
        assert!(key.starts_with("deliver.ü") && key.len() >= ShortStr::MAX_LEN - 1);
        assert_eq!(routing_key("publish", "").as_str(), "publish.");
    }
}
