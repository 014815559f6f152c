//! A message from somebody who has no channel, and waits for what becomes of it.

use std::sync::Arc;

use bytes::Bytes;

use super::Vhost;
use crate::broker::auth::Actor;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::publish::{PublishBatch, check_expiration};
use crate::broker::reply::{PSEUDO_QUEUE, no_requester};
use crate::broker::routing_keys::{ExtraKeys, Routable, RoutingKeys};
use crate::broker::trace::Tracer;
use crate::protocol::message::{Body, Message};
use crate::protocol::properties::Properties;
use crate::protocol::wire::ShortStr;

/// What is published.
#[derive(Debug, Clone)]
pub struct Publish {
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub properties: Properties,
    pub body: Bytes,
}

/// What became of a message.
#[must_use = "it may not be on disk yet"]
pub enum Published {
    /// It is in its queues, if `is_routed`; otherwise there were none for it.
    Taken { is_routed: bool, durable: Durable },
    /// A queue was full.
    Refused,
}

impl Vhost {
    /// Publishes a message by the rules that hold for basic.publish, and with their errors.
    pub fn publish(&self, publish: Publish, actor: &Actor) -> Result<Published, Error> {
        let Publish { exchange, routing_key, properties, body } = publish;
        let exchange = self.publish_target(&exchange, actor)?;
        check_expiration(&properties)?;
        actor.check_user_id(&properties)?;
        if properties.reply_to() == Some(PSEUDO_QUEUE.as_bytes()) {
            return Err(no_requester());
        }
        let extra = ExtraKeys::of(&properties)?;
        let kept = extra.without_blind(&properties);
        let kept = kept.as_ref().unwrap_or(&properties);
        let body = Body::from(body);
        let message = Arc::new(Message::new(&exchange.name, &routing_key, kept, body, false));

        let mut batch = PublishBatch::default();
        if exchange.is_duplicate(&properties, &mut batch) {
            // What it repeats found its way.
            let durable = Durable::append(&*self.store, batch.take());
            return Ok(Published::Taken { is_routed: true, durable });
        }
        let keys = RoutingKeys::new(&routing_key, &extra);
        let routable = Routable { keys, properties: &properties, message: &message };
        let route = self.route(&exchange, &routable).queues;
        if let Some(me) = self.me.upgrade().filter(|vhost| vhost.is_tracing()) {
            let tracer = Tracer::new(me, actor.peer.to_string(), actor.user.name.clone());
            tracer.published(0, &message, &route);
        }
        let is_reply = route.is_empty() && self.replies.deliver(&message);
        let is_taken = batch.bring(&message, &properties, &route);
        if route.is_empty() || !is_taken {
            exchange.forget(&properties, &mut batch);
        }
        let durable = Durable::append(&*self.store, batch.take());
        if !is_taken {
            return Ok(Published::Refused);
        }
        Ok(Published::Taken { is_routed: is_reply || !route.is_empty(), durable })
    }
}
