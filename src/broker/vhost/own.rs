//! Messages that the broker publishes itself: events and traces.

use std::sync::Arc;

use super::Vhost;
use crate::broker::exchange::Exchange;
use crate::broker::publish::PublishBatch;
use crate::broker::routing_keys::{Routable, RoutingKeys};
use crate::protocol::message::{Body, Message};
use crate::protocol::properties::Properties;
use crate::protocol::wire::ShortStr;

impl Vhost {
    /// Publishes a message, if it finds a queue. Nobody waits for it to be on disk. Not to be
    /// called under a lock of a queue or of the topology.
    pub fn publish_own(
        &self,
        exchange: &Arc<Exchange>,
        routing_key: &ShortStr,
        properties: &Properties,
        body: Body,
    ) {
        let message = Message::new(&exchange.name, routing_key, properties, body, false);
        let message = Arc::new(message);
        let keys = RoutingKeys::only(routing_key);
        let route = self.route(exchange, &Routable { keys, properties, message: &message }).queues;
        if route.is_empty() {
            return;
        }
        let mut batch = PublishBatch::default();
        batch.bring(message, properties, &route);
        batch.take().append(&*self.store, None);
    }
}
