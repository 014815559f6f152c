//! Where a channel publishes to: what its last basic.publish said, and what was found by it.
//!
//! A client mostly says the same again. Then nothing is decoded, looked up or allowed a second
//! time, until the topology or the user's permissions have changed. With another routing key the
//! exchange stays, and only where it leads is asked again.

use std::sync::Arc;

use super::publishes::ToExchange;
use super::shared::ChannelShared;
use crate::broker::auth::{Access, TopicPermission};
use crate::broker::error::Error;
use crate::broker::exchange::Exchange;
use crate::broker::publish::Route;
use crate::broker::routing_keys::{Routable, RoutingKeys};
use crate::broker::vhost::Vhost;
use crate::connection::peer::Peer;
use crate::protocol::error::DecodeError;
use crate::protocol::frame::Frame;
use crate::protocol::generated::{BasicPublish, Method};

/// Payloads longer than this are not worth keeping: names so long are rare.
const KEPT_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Target {
    publish: BasicPublish,
    /// The payload that says so; empty when it is not kept.
    payload: Vec<u8>,
    found: Option<Found>,
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) exchange: Arc<Exchange>,
    /// Where the channel counts what it publishes to it.
    pub(super) counted: Arc<ToExchange>,
    pub(super) way: Way,
    /// Which routing keys the user may use, where not every one.
    pub(super) topics: Option<Arc<TopicPermission>>,
    /// Of topology and permissions, from before they were asked.
    versions: (u64, u64),
}

/// The queues that what is published goes to.
#[derive(Debug, Default)]
pub(super) struct Way {
    route: Route,
    /// It follows from the routing key alone: it holds as long as the versions do.
    is_kept: bool,
}

impl Target {
    /// Takes the method of a publish.
    pub(super) fn set(&mut self, frame: &Frame<'_>) -> Result<(), DecodeError> {
        if !self.payload.is_empty() && frame.payload == self.payload {
            return Ok(());
        }
        if let Method::BasicPublish(publish) = Method::decode(&frame.shared_payload())? {
            // What was found of the exchange holds; where it leads depends on the key.
            match &mut self.found {
                Some(found) if publish.exchange == self.publish.exchange => {
                    found.way = Way::default();
                }
                found => *found = None,
            }
            self.publish = publish;
        }
        self.payload.clear();
        if frame.payload.len() <= KEPT_MAX {
            self.payload.extend_from_slice(frame.payload);
        }
        Ok(())
    }

    pub(super) fn publish(&self) -> &BasicPublish {
        &self.publish
    }

    /// What the publish said, and the exchange, if it is there and the user may.
    pub(super) fn find(
        &mut self,
        peer: &Peer,
        channel: &ChannelShared,
    ) -> Result<(&BasicPublish, &mut Found), Error> {
        let versions = (peer.vhost.version(), peer.actor.user.version());
        let Self { publish, found, .. } = self;
        if found.as_ref().is_some_and(|found| found.versions != versions) {
            *found = None;
        }
        let found = match found {
            Some(found) => found,
            none => {
                let exchange = peer.vhost.publish_target(&publish.exchange, &peer.actor)?;
                let topics = peer.actor.topic_permission(&peer.vhost.name, &exchange);
                let counted = channel.sent.publishes.to(&exchange.name);
                none.insert(Found { exchange, counted, way: Way::default(), topics, versions })
            }
        };
        Ok((publish, found))
    }
}

impl Found {
    /// Refuses a routing key that the user may not use at this exchange.
    pub(super) fn check_topics(&self, keys: RoutingKeys<'_>) -> Result<(), Error> {
        match &self.topics {
            Some(topics) => topics.check(Access::Write, keys.iter()),
            None => Ok(()),
        }
    }
}

impl Way {
    /// Those of a message to the exchange. All that are asked for have the same routing key.
    pub(super) fn of(
        &mut self,
        exchange: &Arc<Exchange>,
        message: &Routable<'_>,
        vhost: &Vhost,
    ) -> &Route {
        if !self.is_kept || !message.keys.is_one() {
            let routed = vhost.route(exchange, message);
            (self.route, self.is_kept) = (routed.queues, routed.by_key_only);
        }
        &self.route
    }
}
