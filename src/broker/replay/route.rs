//! Where a message goes that is replayed, and what its headers say of it.

use std::sync::Arc;

use super::{ReplayRequest, Skip};
use crate::broker::auth::Actor;
use crate::broker::dead_letter::Origin;
use crate::broker::queue::{Entry, Queue};
use crate::broker::routing_keys::{CC, Stored};
use crate::broker::transfer::Arriving;
use crate::broker::vhost::Vhost;
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::protocol::reply::ReplyCode;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// A table: `time` of the last replay, `user` who asked for it, `queue` that it left, `count` of
/// all replays.
const X_REPLAYED: ShortStr = ShortStr::from_static("x-ferrymq-replayed");

/// What becomes of a message. It keeps its x-death, so that the counts of a message that dies again
/// go on, and is not given back an expiration that dead-lettering took from it.
pub(super) fn arriving(
    vhost: &Vhost,
    source: &Arc<Queue>,
    entry: &Entry,
    request: &ReplayRequest,
    actor: &Actor,
    now_ms: u64,
) -> Result<Arriving, Skip> {
    let origin = Origin::of(&entry.message);
    let exchange = match (&request.exchange, &origin) {
        (Some(exchange), _) => exchange,
        (None, Some(origin)) => &origin.exchange,
        (None, None) => return Err(Skip::NotDeadLettered),
    };
    let exchange = vhost.publish_target(exchange, actor).map_err(|error| match error.code {
        ReplyCode::NotFound => Skip::NoExchange,
        _ => Skip::NotPermitted,
    })?;
    let own_key = ShortStr::try_from(entry.message.routing_key()).unwrap_or_default();
    let keys = match (&request.routing_key, origin) {
        (Some(key), _) => vec![key.clone()],
        (None, Some(origin)) => origin.keys,
        (None, None) => vec![own_key.clone()],
    };
    let (key, others) = keys.split_first().map_or((&own_key, &[][..]), |split| split);
    let properties = replayed(source, &entry.message, others, actor, now_ms / 1000);
    let (body, is_dead) = (entry.message.to_body(), entry.message.is_dead_lettered());
    let message = Arc::new(Message::new(&exchange.name, key, &properties, body, is_dead));
    let mut route = vhost.route(&exchange, &Stored::new(&message).routable()).queues;
    if route.is_empty() {
        return Err(Skip::Unroutable);
    }
    route.retain(|target| !Arc::ptr_eq(target, source));
    if route.is_empty() {
        return Err(Skip::LeadsBack);
    }
    if route.iter().any(|target| target.would_refuse(&message)) {
        return Err(Skip::Refused);
    }
    Ok(Arriving { message, route })
}

/// The message's properties with an account of the replay. `others` are the keys beside the first.
fn replayed(
    source: &Queue,
    message: &Message,
    others: &[ShortStr],
    actor: &Actor,
    now_seconds: u64,
) -> Properties {
    let properties = message.properties();
    let mut headers = properties.headers().unwrap_or_default();
    let last = headers.get(&X_REPLAYED).and_then(FieldValue::as_table);
    let count = last.and_then(|last| last.get("count")?.as_i64()).unwrap_or(0);
    let text = |text: &str| FieldValue::LongStr(bytes::Bytes::copy_from_slice(text.as_bytes()));
    let account = FieldTable::from_iter([
        (ShortStr::from_static("time"), FieldValue::Timestamp(now_seconds)),
        (ShortStr::from_static("user"), text(&actor.user.name)),
        (ShortStr::from_static("queue"), text(source.name())),
        (ShortStr::from_static("count"), FieldValue::I64(count.saturating_add(1))),
    ]);
    headers.insert(X_REPLAYED, FieldValue::Table(account));
    headers.remove(CC);
    if !others.is_empty() {
        // A dead-letter routing key may have taken their place.
        let others = others.iter().map(|key| text(key)).collect();
        headers.insert(ShortStr::from_static(CC), FieldValue::Array(others));
    }
    properties.with_headers(&headers)
}
