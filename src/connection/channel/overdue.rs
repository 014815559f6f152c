//! Consumers that didn't settle a delivery in their time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Channel;
use super::basic::remove_consumer;
use super::settlement::by_queue;
use super::shared::requeue;
use crate::broker::queue::{Consumer, Lane, Return};
use crate::connection::close::Failure;
use crate::connection::peer::Peer;
use crate::protocol::reply::ReplyCode;

impl Channel {
    /// Ends the consumers whose time is over. The channel itself ends when its client couldn't be
    /// told otherwise. Answers the shortest timeout of those that are left.
    pub(in crate::connection) fn end_overdue(
        &mut self,
        now: Duration,
        peer: &Peer,
    ) -> Result<Option<Duration>, Failure> {
        for consumer in self.shared.overdue(now) {
            let ms = consumer.timeout.unwrap_or_default().as_millis();
            tracing::warn!(
                channel = self.number,
                consumer_tag = %consumer.tag,
                queue = %consumer.queue.name(),
                "a delivery was not settled for {ms} ms"
            );
            if !peer.tell_cancelled {
                return Err(Failure::new(
                    ReplyCode::PreconditionFailed,
                    format!(
                        "delivery acknowledgement on channel {} timed out. Timeout value used: \
                         {ms} ms. This timeout value can be configured, see consumers doc guide to \
                         learn more",
                        self.number
                    ),
                ));
            }
            self.end_consumer(&consumer, peer);
        }
        let consumers = self.shared.consumers.lock();
        let shortest = consumers.values().filter_map(|consumer| consumer.timeout).min();
        // Those that their client has cancelled may have something yet.
        let others = peer.timeouts.shortest().filter(|_| self.shared.has_unacked());
        Ok(shortest.or(others))
    }

    /// Cancels a consumer, if its client hasn't, and gives back all that it has.
    fn end_consumer(&self, consumer: &Arc<Consumer>, peer: &Peer) {
        let is_there = |other: &Arc<Consumer>| other.id == consumer.id;
        let was_there = self.shared.consumers.lock().get(&consumer.tag).is_some_and(is_there);
        let is_unused = was_there && remove_consumer(consumer, peer);
        if was_there {
            self.shared.cancelled(consumer);
        }
        consumer.is_ended.store(true, Ordering::Relaxed);
        for (queue, places) in by_queue(self.shared.take_back(consumer)) {
            requeue(&queue, places, Return::Failed);
        }
        if is_unused {
            // Nobody waits for it.
            drop(peer.vhost.delete_unused_queue(&consumer.queue));
        }
    }
}
