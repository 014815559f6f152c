//! Dead-lettering: a message that a queue gives up goes to the queue's dead-letter exchange, with
//! an account of its deaths in its headers.

use std::sync::Arc;

use super::queue::{Entry, Queue};
use super::routing_keys::{CC, ExtraKeys, RoutingKeys, Stored};
use super::transfer::Arriving;
use super::vhost::Vhost;
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

const X_DEATH: &str = "x-death";

/// Why a message died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Expired,
    /// The queue is as long as it may be, in messages or in bytes.
    MaxLen,
    /// It came back too often.
    DeliveryLimit,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::Rejected, Self::Expired, Self::MaxLen, Self::DeliveryLimit];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// What becomes of a message that died in `source`: nothing when the queue has no dead-letter
/// exchange, or that isn't there.
pub(super) fn arriving(
    vhost: &Vhost,
    source: &Arc<Queue>,
    entry: &Entry,
    reason: Reason,
    now_ms: u64,
) -> Option<Arriving> {
    let options = source.options();
    let exchange = vhost.exchange(options.dead_letter_exchange.as_ref()?)?;
    let deaths = Deaths::of(&entry.message);
    let routing_key = match &options.dead_letter_routing_key {
        Some(key) => key.clone(),
        None => ShortStr::try_from(entry.message.routing_key()).unwrap_or_default(),
    };
    let properties = deaths.clone().with(source, &entry.message, reason, now_ms / 1000);
    let body = entry.message.to_body();
    let message = Message::new(&exchange.name, &routing_key, &properties, body, true);
    let message = Arc::new(message);
    let mut route = vhost.route(&exchange, &Stored::new(&message).routable()).queues;
    let is_back = |target: &Queue| {
        // An exchange's own queue has the exchange's name: the message hasn't died there.
        let died_there = target.name() == source.name() || deaths.is_cycle(target.name());
        target.properties.own_of.is_none() && died_there
    };
    route.retain(|target| reason == Reason::Rejected || !is_back(target));
    Some(Arriving { message, route })
}

/// Whether the message has died in a queue of this name and was moved on since.
pub(super) fn has_died_in(message: &Message, queue: &str) -> bool {
    Deaths::of(message).0.iter().any(|death| text_of(death, "queue") == Some(queue))
}

/// Where a message came to the queue that it died in last.
pub(super) struct Origin {
    pub(super) exchange: ShortStr,
    /// The routing key, and those of CC.
    pub(super) keys: Vec<ShortStr>,
}

impl Origin {
    /// Nothing for a message that doesn't come from a queue that gave it up.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let deaths = Deaths::of(message);
        let last = deaths.0.first()?;
        let short = |text: &str| ShortStr::try_from(text).ok();
        let exchange = short(text_of(last, "exchange")?)?;
        let keys = last.get("routing-keys")?.as_array()?;
        let keys = keys.iter().filter_map(|key| short(key.as_str()?)).collect();
        Some(Self { exchange, keys })
    }
}

/// A message's account of its deaths, most recent first.
#[derive(Clone)]
struct Deaths(Vec<FieldTable>);

impl Deaths {
    /// Reads the account that the broker itself wrote; a publisher's own is not trusted.
    fn of(message: &Message) -> Self {
        let headers = message.is_dead_lettered().then(|| message.properties().headers()).flatten();
        let entries = headers.as_ref().and_then(|headers| headers.get(X_DEATH)?.as_array());
        let tables = entries.into_iter().flatten().filter_map(FieldValue::as_table);
        Self(tables.cloned().collect())
    }

    /// Rule: a queue that the message already died in, before now, gets it again only if somebody
    /// rejected it since.
    fn is_cycle(&self, queue: &str) -> bool {
        for death in &self.0 {
            if text_of(death, "reason") == Some(Reason::Rejected.name()) {
                return false;
            }
            if text_of(death, "queue") == Some(queue) {
                return true;
            }
        }
        false
    }

    /// The message's properties with this death in front. A death in the same queue for the same
    /// reason is counted, not repeated.
    fn with(
        mut self,
        source: &Queue,
        message: &Message,
        reason: Reason,
        now_seconds: u64,
    ) -> Properties {
        let known = self.0.iter().position(|death| {
            text_of(death, "queue") == Some(source.name())
                && text_of(death, "reason") == Some(reason.name())
        });
        let death = match known {
            Some(index) => {
                let mut death = self.0.remove(index);
                let count = death.get("count").and_then(FieldValue::as_i64).unwrap_or(0);
                set(&mut death, "count", FieldValue::I64(count.saturating_add(1)));
                death
            }
            None => first_death(source, message, reason, now_seconds),
        };
        self.0.insert(0, death);
        let properties = message.properties();
        let mut headers = properties.headers().unwrap_or_default();
        let entries = self.0.into_iter().map(FieldValue::Table).collect();
        set(&mut headers, X_DEATH, FieldValue::Array(entries));
        if source.options().dead_letter_routing_key.is_some() {
            // Rule: it takes the place of all keys.
            headers.remove(CC);
        }
        let origin = [
            ("reason", text(reason.name())),
            ("queue", text(source.name())),
            ("exchange", text(message.exchange())),
        ];
        for (what, value) in origin {
            let first = format!("x-first-death-{what}");
            if !message.is_dead_lettered() || headers.get(&first).is_none() {
                set(&mut headers, &first, value.clone());
            }
            set(&mut headers, &format!("x-last-death-{what}"), value);
        }
        properties.without_expiration().with_headers(&headers)
    }
}

fn first_death(source: &Queue, message: &Message, reason: Reason, now_seconds: u64) -> FieldTable {
    let mut death = FieldTable::default();
    set(&mut death, "count", FieldValue::I64(1));
    set(&mut death, "reason", text(reason.name()));
    set(&mut death, "queue", text(source.name()));
    set(&mut death, "time", FieldValue::Timestamp(now_seconds));
    set(&mut death, "exchange", text(message.exchange()));
    let properties = message.properties();
    let extra = ExtraKeys::of(&properties).unwrap_or_default();
    let keys = RoutingKeys::new(message.routing_key(), &extra).iter().map(text).collect();
    set(&mut death, "routing-keys", FieldValue::Array(keys));
    if let Some(expiration) = properties.expiration() {
        set(&mut death, "original-expiration", text(&expiration));
    }
    death
}

fn text_of<'a>(table: &'a FieldTable, name: &str) -> Option<&'a str> {
    table.get(name).and_then(FieldValue::as_str)
}

fn text(text: &str) -> FieldValue {
    FieldValue::LongStr(bytes::Bytes::copy_from_slice(text.as_bytes()))
}

fn set(table: &mut FieldTable, name: &str, value: FieldValue) {
    // The names are this file's own and short.
    if let Ok(name) = ShortStr::try_from(name) {
        table.insert(name, value);
    }
}
