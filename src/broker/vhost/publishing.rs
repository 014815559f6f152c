//! A message from somebody who has no channel, and waits for what becomes of it.

use std::sync::Arc;

use bytes::Bytes;

use super::Vhost;
use crate::broker::auth::{Access, Actor};
use crate::broker::counters::Count;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::publish::{Fate, PublishBatch, Route, check_expiration};
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
    /// A queue was full, or a message that it may repeat is on its way.
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
        let keys = RoutingKeys::new(&routing_key, &extra);
        if let Some(topics) = actor.topic_permission(&self.name, &exchange) {
            topics.check(Access::Write, keys.iter())?;
        }
        let body = Body::from(body);
        let message = Arc::new(Message::new(&exchange.name, &routing_key, kept, body, false));
        self.counts.add(Count::Publish, 1);
        let mut batch = PublishBatch::default();
        let fate = batch.publish(&exchange, message, &properties, |message| {
            let routable = Routable { keys, properties: &properties, message };
            let route = self.route(&exchange, &routable).queues;
            self.trace(message, &route, actor);
            route
        });
        let is_routed = match fate {
            Fate::Taken { .. } | Fate::Known => true,
            Fate::Unrouted(message) => self.replies.deliver(&message),
            Fate::Refused => {
                // Others of the queues may have taken it.
                batch.take().append(&*self.store, None);
                return Ok(Published::Refused);
            }
        };
        Ok(self.taken(is_routed, batch))
    }

    fn taken(&self, is_routed: bool, mut batch: PublishBatch) -> Published {
        if !is_routed {
            self.counts.add(Count::ReturnUnroutable, 1);
        }
        self.counts.add(Count::Confirm, 1);
        Published::Taken { is_routed, durable: Durable::append(&*self.store, batch.take()) }
    }

    fn trace(&self, message: &Arc<Message>, route: &Route, actor: &Actor) {
        if let Some(me) = self.me.upgrade().filter(|vhost| vhost.is_tracing()) {
            let tracer = Tracer::new(me, actor.peer.to_string(), actor.user.name.clone());
            tracer.published(0, message, route);
        }
    }
}
