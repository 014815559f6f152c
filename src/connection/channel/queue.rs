//! Class queue.

use super::Channel;
use crate::broker::error::Error;
use crate::broker::reply::is_reply_queue;
use crate::broker::vhost::{BindRequest, Deleted, QueueDeclare as Declare};
use crate::connection::close::Failure;
use crate::connection::peer::Peer;
use crate::protocol::generated::{
    QueueBind, QueueBindOk, QueueDeclare, QueueDeclareOk, QueueDelete, QueueDeleteOk, QueuePurge,
    QueuePurgeOk, QueueUnbind, QueueUnbindOk,
};
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::DestinationKind;

impl Channel {
    pub(super) async fn queue_declare(
        &mut self,
        declare: QueueDeclare,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        if is_reply_queue(&declare.queue) {
            return Ok(self.declare_reply_queue(&declare, peer)?);
        }
        let queue = if declare.passive {
            let name = self.queue_name(&declare.queue)?;
            peer.vhost.find_queue(&name, &peer.actor)?
        } else {
            let request = Declare {
                name: declare.queue,
                durable: declare.durable,
                exclusive: declare.exclusive,
                auto_delete: declare.auto_delete,
                arguments: declare.arguments,
            };
            let (queue, durable) = peer.vhost.declare_queue(request, &peer.actor)?;
            peer.finish(durable, declare.no_wait).await?;
            queue
        };
        self.last_queue = queue.name().clone();
        let status = queue.status();
        let declare_ok = QueueDeclareOk {
            queue: queue.name().clone(),
            message_count: count(status.ready),
            consumer_count: count(status.consumers),
        };
        peer.reply(self.number, declare.no_wait, declare_ok);
        Ok(())
    }

    /// Rule: the queues of direct replies can be asked for, but not made.
    fn declare_reply_queue(&mut self, declare: &QueueDeclare, peer: &Peer) -> Result<(), Error> {
        let queue = declare.queue.clone();
        if !peer.vhost.replies.is_there(&queue) {
            return Err(Error::not_found(format!(
                "no queue '{queue}' in vhost '{}'",
                peer.vhost.name
            )));
        }
        self.last_queue = queue.clone();
        let declare_ok = QueueDeclareOk { queue, message_count: 0, consumer_count: 1 };
        peer.reply(self.number, declare.no_wait, declare_ok);
        Ok(())
    }

    pub(super) async fn queue_bind(
        &mut self,
        bind: QueueBind,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let QueueBind { queue, exchange, routing_key, no_wait, arguments } = bind;
        let request = self.bind_request(&queue, exchange, routing_key, arguments)?;
        if is_reply_queue(&request.destination) {
            return Err(Error::access_refused(format!(
                "cannot bind queue '{}' in vhost '{}': replies come through the default exchange only",
                request.destination, peer.vhost.name
            ))
            .into());
        }
        let durable = peer.vhost.bind(request, &peer.actor)?;
        peer.finish(durable, no_wait).await?;
        peer.reply(self.number, no_wait, QueueBindOk);
        Ok(())
    }

    pub(super) async fn queue_unbind(
        &mut self,
        unbind: QueueUnbind,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let QueueUnbind { queue, exchange, routing_key, arguments } = unbind;
        let request = self.bind_request(&queue, exchange, routing_key, arguments)?;
        let durable = peer.vhost.unbind(request, &peer.actor)?;
        peer.finish(durable, false).await?;
        peer.reply(self.number, false, QueueUnbindOk);
        Ok(())
    }

    /// Rule: when queue and key are both empty, the queue declared last is meant by both.
    fn bind_request(
        &self,
        queue: &ShortStr,
        source: ShortStr,
        routing_key: ShortStr,
        arguments: FieldTable,
    ) -> Result<BindRequest, Error> {
        let destination = self.queue_name(queue)?;
        let both_empty = queue.is_empty() && routing_key.is_empty();
        let key = if both_empty { destination.clone() } else { routing_key };
        let destination_kind = DestinationKind::Queue;
        Ok(BindRequest { source, destination_kind, destination, key, arguments })
    }

    pub(super) async fn queue_purge(
        &mut self,
        purge: &QueuePurge,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let name = self.queue_name(&purge.queue)?;
        let (purged, durable) = peer.vhost.purge_queue(&name, &peer.actor)?;
        peer.finish(durable, purge.no_wait).await?;
        let purge_ok = QueuePurgeOk { message_count: count(purged) };
        peer.reply(self.number, purge.no_wait, purge_ok);
        Ok(())
    }

    pub(super) async fn queue_delete(
        &mut self,
        delete: &QueueDelete,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let name = self.queue_name(&delete.queue)?;
        let (if_unused, if_empty) = (delete.if_unused, delete.if_empty);
        let deleted = peer.vhost.delete_queue(&name, if_unused, if_empty, &peer.actor)?;
        let (message_count, durable, consumers) = deleted.into_parts();
        let finished = peer.finish(durable, delete.no_wait).await;
        if finished.is_ok() {
            let delete_ok = QueueDeleteOk { message_count: count(message_count) };
            peer.reply(self.number, delete.no_wait, delete_ok);
        }
        Deleted::tell_consumers(consumers);
        finished
    }
}

/// A count as the wire takes it.
fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
