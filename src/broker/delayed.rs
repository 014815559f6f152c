//! Delayed messages: what a publisher wants delivered later waits in a queue of its exchange's own
//! until it is time, and is routed then.

use std::sync::Arc;

use super::queue::{Entry, Queue};
use super::routing_keys::Stored;
use super::timers::TIME_MS_MAX;
use super::transfer::Arriving;
use super::vhost::Vhost;
use crate::protocol::message::Message;
use crate::protocol::raw_table::{RawTable, RawValue};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// Milliseconds from the message's arrival.
const X_DELAY: &str = "x-delay";

/// A time: a timestamp in seconds, or an integer in milliseconds, since 1970.
const X_DELIVER_AT: &str = "x-deliver-at";

/// Whether headers ask for a delay. A negative one is that of a message that had it.
pub(super) fn is_asked(headers: RawTable<'_>) -> bool {
    headers.get(X_DELIVER_AT).is_some()
        || headers.get(X_DELAY).and_then(RawValue::as_i64).is_some_and(|delay| delay > 0)
}

fn time_in(headers: &FieldTable) -> Option<u64> {
    match headers.get(X_DELIVER_AT)? {
        FieldValue::Timestamp(seconds) => Some(seconds.saturating_mul(1000)),
        other => u64::try_from(other.as_i64()?).ok(),
    }
}

/// When a message is to be delivered, in milliseconds since 1970; the later, if its headers name
/// two times; in ten years at most.
pub(super) fn due_ms(message: &Message) -> u64 {
    let arrived_ms = message.arrived_ms().unwrap_or_default();
    let headers = message.properties().headers().unwrap_or_default();
    let delay = headers.get(X_DELAY).and_then(FieldValue::as_i64);
    let delay_ms = delay.and_then(|delay| u64::try_from(delay).ok());
    let by_delay = delay_ms.map(|delay_ms| arrived_ms.saturating_add(delay_ms));
    // What is no time means now.
    let due_ms = by_delay.into_iter().chain(time_in(&headers)).max().unwrap_or(arrived_ms);
    due_ms.min(arrived_ms.saturating_add(TIME_MS_MAX))
}

/// Where a message goes whose time has come, with its delay turned negative: so whoever gets it
/// sees that it was delayed, and an exchange that it comes to doesn't delay it again.
pub(super) fn arriving(vhost: &Vhost, queue: &Arc<Queue>, entry: &Entry) -> Option<Arriving> {
    let exchange = vhost.exchange(queue.properties.own_of.as_ref()?)?;
    // Not another one that has got the name since.
    exchange.own.as_ref().filter(|own| Arc::ptr_eq(own, queue))?;
    let message = &entry.message;
    let mut headers = message.properties().headers().unwrap_or_default();
    let delay = headers.get(X_DELAY).and_then(FieldValue::as_i64);
    if let Some(delay) = delay.filter(|delay| *delay > 0) {
        headers.insert(ShortStr::from_static(X_DELAY), FieldValue::I64(delay.saturating_neg()));
    }
    if let Some(time) = headers.remove(X_DELIVER_AT) {
        headers.insert(ShortStr::from_static("x-delivered-at"), time);
    }
    let properties = message.properties().with_headers(&headers);
    let name = |text: &str| ShortStr::try_from(text).unwrap_or_default();
    let routing_key = name(message.routing_key());
    let (source, body) = (name(message.exchange()), message.to_body());
    let dead_lettered = message.is_dead_lettered();
    let message = Message::new(&source, &routing_key, &properties, body, dead_lettered);
    let message = Arc::new(message);
    let route = vhost.route(&exchange, &Stored::new(&message).routable()).queues;
    Some(Arriving { message, route })
}
