//! Class basic: publish, consume, get, and what is said about deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::time::Duration;

use super::content::ContentAssembler;
use super::settlement::{Settlement, count_acks, settle};
use super::target::Found;
use super::tx::HeldBack;
use super::{Channel, Mode};
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::publish::{Fate, check_expiration};
use crate::broker::queue::{Consumer, Lane, Queue, Return};
use crate::broker::reply::PSEUDO_QUEUE;
use crate::broker::routing_keys::{Routable, RoutingKeys};
use crate::connection::close::{Failure, MethodId};
use crate::connection::outbox::Outgoing;
use crate::connection::peer::{Peer, When};
use crate::protocol::generated::{
    BasicAck, BasicCancel, BasicCancelOk, BasicConsume, BasicConsumeOk, BasicGet, BasicGetEmpty,
    BasicNack, BasicPublish, BasicQos, BasicQosOk, BasicRecoverOk, BasicReject,
};
use crate::protocol::message::Message;
use crate::protocol::reply::ReplyCode;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;

/// A consumer's argument; milliseconds, 0 is none.
const TIMEOUT: &str = "x-consumer-timeout";

impl Channel {
    /// basic.publish, once its content is whole.
    pub(super) fn published(&mut self, message: Message, peer: &mut Peer) -> Result<(), Failure> {
        let by = MethodId { class: BasicPublish::CLASS_ID, method: BasicPublish::METHOD_ID };
        peer.has_published = true;
        if peer.publishes.is_wanted() {
            // Others have repeated what came before, and wait until it is in the log.
            peer.flush();
        }
        let ContentAssembler { target, came, .. } = &mut self.content;
        let (publish, found) =
            target.find(peer, &self.shared).map_err(|error| Failure::from(error).by(by))?;
        let BasicPublish { routing_key, mandatory, immediate, .. } = publish;
        if *immediate {
            return Err(Failure::new(ReplyCode::NotImplemented, "immediate=true").by(by));
        }
        let properties = &came.properties;
        if properties.has_expiration() {
            check_expiration(properties).map_err(|error| Failure::from(error).by(by))?;
        }
        peer.actor.check_user_id(properties).map_err(|error| Failure::from(error).by(by))?;
        let extra =
            came.extra_keys.as_ref().map_err(|error| Failure::from(error.clone()).by(by))?;
        let keys = RoutingKeys::new(routing_key, extra);
        found.check_topics(keys).map_err(|error| Failure::from(error).by(by))?;
        let message = Arc::new(message);
        if let Mode::Transaction(transaction) = &mut self.mode {
            let (exchange, extra_keys, mandatory) = (&found.exchange, extra.clone(), *mandatory);
            let exchange = Arc::clone(exchange);
            self.shared.shown.publishes.add(1);
            return transaction.publish(HeldBack { exchange, message, extra_keys, mandatory });
        }
        let Found { exchange, counted, way, .. } = found;
        peer.count_publish(&self.shared, counted);
        let fate = peer.publishes.publish(exchange, message, properties, |message| {
            let route = way.of(exchange, &Routable { keys, properties, message }, &peer.vhost);
            if peer.is_tracing {
                peer.tracer.published(self.number, message, route);
            }
            route
        });
        let when = match fate {
            // What it repeats is on disk then, too.
            Fate::Taken { is_stored: true } | Fate::Known => When::Stored,
            Fate::Taken { is_stored: false } => When::Queued,
            Fate::Unrouted(message) => {
                peer.publish_without_queue(&self.shared, message, *mandatory);
                When::Queued
            }
            Fate::Refused => When::Refused,
        };
        if matches!(self.mode, Mode::Confirm) {
            self.published = self.published.saturating_add(1);
            peer.owe_confirm(&self.shared, self.published, when);
        }
        self.content.forget_long();
        Ok(())
    }

    pub(super) fn basic_consume(
        &mut self,
        consume: BasicConsume,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let tag = match consume.consumer_tag.is_empty() {
            true => generated_tag(),
            false => consume.consumer_tag.clone(),
        };
        if consume.queue == PSEUDO_QUEUE {
            self.check_new_consumer(&tag, peer)?;
            return Ok(self.consume_replies(tag, &consume, peer)?);
        }
        let name = self.queue_name(&consume.queue)?;
        let queue = peer.vhost.readable_queue(&name, &peer.actor)?;
        self.check_new_consumer(&tag, peer)?;
        let consumer = Arc::new(Consumer {
            id: peer.broker.next_id(),
            tag: tag.clone(),
            queue: Arc::clone(&queue),
            connection: peer.actor.connection,
            channel: self.number,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            priority: priority_of(&consume.arguments)?,
            prefetch_count: AtomicU16::new(self.prefetch_count),
            first_prefetch_count: self.prefetch_count,
            timeout: timeout_of(&consume, &queue, peer)?,
            is_ended: AtomicBool::new(false),
            arguments: consume.arguments,
            counts: Default::default(),
            lane: Arc::clone(&self.shared) as Arc<dyn Lane>,
        });
        peer.timeouts.watch(consumer.timeout);
        self.shared.restore_prefetch();
        self.shared.consumers.lock().insert(tag.clone(), Arc::clone(&consumer));
        let (number, no_wait, outbox) = (self.number, consume.no_wait, &peer.outbox);
        let announce = || {
            if !no_wait {
                outbox.put_method(number, BasicConsumeOk { consumer_tag: tag.clone() });
            }
        };
        let added = queue.add_consumer(Arc::clone(&consumer), announce, peer.publishes.records());
        if added.is_err() {
            self.shared.consumers.lock().remove(&tag);
        } else {
            peer.tell(|| Event::consumer("consumer.created", &consumer));
        }
        Ok(added?)
    }

    fn check_new_consumer(&self, tag: &ShortStr, peer: &Peer) -> Result<(), Error> {
        let consumers = self.shared.consumers.lock();
        let is_reply_tag = self.reply.as_ref().is_some_and(|reply| reply.tag == *tag);
        if is_reply_tag || consumers.contains_key(tag) {
            return Err(Error::not_allowed(format!("attempt to reuse consumer tag '{tag}'")));
        }
        if consumers.len() >= peer.consumers_per_channel_max {
            return Err(Error::not_allowed(format!(
                "reached maximum ({}) of consumers per channel",
                peer.consumers_per_channel_max
            )));
        }
        Ok(())
    }

    pub(super) async fn basic_cancel(
        &mut self,
        cancel: BasicCancel,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        if self.reply.as_ref().is_some_and(|reply| reply.tag == cancel.consumer_tag) {
            self.cancel_replies(peer);
        }
        let consumer = self.shared.consumers.lock().remove(&cancel.consumer_tag);
        if let Some(consumer) = consumer
            && remove_consumer(&consumer, peer)
        {
            let durable = peer.vhost.delete_unused_queue(&consumer.queue);
            peer.finish(durable, cancel.no_wait).await?;
        }
        // Rule: cancelling what isn't there is fine.
        let cancel_ok = BasicCancelOk { consumer_tag: cancel.consumer_tag };
        peer.reply(self.number, cancel.no_wait, cancel_ok);
        Ok(())
    }

    pub(super) async fn basic_get(
        &mut self,
        get: BasicGet,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let name = self.queue_name(&get.queue)?;
        let queue = peer.vhost.readable_queue(&name, &peer.actor)?;
        match queue.get(get.no_ack, peer.publishes.records()).await? {
            Some(got) => {
                let (channel, no_ack) = (Arc::clone(&self.shared), get.no_ack);
                peer.outbox.put(Outgoing::GetOk { channel, queue, got, no_ack });
            }
            None => {
                self.shared.sent.got_nothing.add(1);
                peer.outbox.put_method(self.number, BasicGetEmpty);
            }
        }
        Ok(())
    }

    pub(super) fn basic_qos(&mut self, qos: &BasicQos, peer: &Peer) -> Result<(), Failure> {
        if qos.prefetch_size != 0 {
            let text = format!("prefetch_size!=0 ({})", qos.prefetch_size);
            return Err(Failure::new(ReplyCode::NotImplemented, text));
        }
        if qos.global {
            self.shared.set_shared_prefetch(qos.prefetch_count);
        } else {
            self.prefetch_count = qos.prefetch_count;
            self.shared.set_prefetch(qos.prefetch_count);
        }
        peer.outbox.put_method(self.number, BasicQosOk);
        Ok(())
    }

    pub(super) fn basic_ack(&mut self, ack: &BasicAck, peer: &mut Peer) -> Result<(), Failure> {
        self.settle(ack.delivery_tag, ack.multiple, Settlement::Ack, peer)
    }

    pub(super) fn basic_nack(&mut self, nack: &BasicNack, peer: &mut Peer) -> Result<(), Failure> {
        let settlement = match nack.requeue {
            true => Settlement::Requeue(Return::Returned),
            false => Settlement::Reject,
        };
        self.settle(nack.delivery_tag, nack.multiple, settlement, peer)
    }

    pub(super) fn basic_reject(
        &mut self,
        reject: &BasicReject,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let settlement = match reject.requeue {
            true => Settlement::Requeue(Return::Failed),
            false => Settlement::Reject,
        };
        self.settle(reject.delivery_tag, false, settlement, peer)
    }

    fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        settlement: Settlement,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let Some(held) = self.shared.settle(tag, multiple) else {
            return Err(Error::precondition_failed(format!("unknown delivery tag {tag}")).into());
        };
        if settlement == Settlement::Ack {
            self.shared.sent.acked.add(held.len() as u64);
            count_acks(&held);
        }
        match &mut self.mode {
            Mode::Transaction(transaction) => {
                self.shared.shown.acks.add(held.len() as u64);
                transaction.settle(settlement, held)
            }
            Mode::Plain | Mode::Confirm => {
                settle(held, settlement, peer.publishes.records());
                Ok(())
            }
        }
    }

    pub(super) fn basic_recover(
        &mut self,
        requeue: bool,
        answer: bool,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        if !requeue {
            return Err(Failure::new(ReplyCode::NotImplemented, "requeue=false"));
        }
        let held = self.shared.settle(0, true).unwrap_or_default();
        let settlement = Settlement::Requeue(Return::Returned);
        settle(held, settlement, peer.publishes.records());
        peer.reply(self.number, !answer, BasicRecoverOk);
        Ok(())
    }
}

/// Takes a consumer out of its queue. Answers whether the queue has to go with it.
pub(super) fn remove_consumer(consumer: &Consumer, peer: &Peer) -> bool {
    let is_unused = consumer.queue.remove_consumer(consumer.id);
    peer.tell(|| Event::consumer("consumer.deleted", consumer));
    is_unused
}

/// The consumer's place among others; higher ones are served first.
fn priority_of(arguments: &FieldTable) -> Result<i64, Error> {
    Ok(integer(arguments, "x-priority")?.unwrap_or(0))
}

/// How long the consumer may take to settle a delivery: its own word is stronger than its queue's,
/// and this one's than the setting.
fn timeout_of(
    consume: &BasicConsume,
    queue: &Queue,
    peer: &Peer,
) -> Result<Option<Duration>, Error> {
    let ms = match integer(&consume.arguments, TIMEOUT)? {
        Some(own) => u64::try_from(own).map_err(|_| {
            Error::precondition_failed(format!(
                "invalid arg '{TIMEOUT}' for a consumer: {own} is below the minimum of 0"
            ))
        })?,
        None => queue.options().consumer_timeout_ms.unwrap_or(peer.consumer_timeout_ms),
    };
    Ok((ms > 0 && !consume.no_ack).then(|| Duration::from_millis(ms)))
}

fn integer(arguments: &FieldTable, name: &str) -> Result<Option<i64>, Error> {
    let Some(value) = arguments.get(name) else { return Ok(None) };
    value.as_i64().map(Some).ok_or_else(|| {
        Error::precondition_failed(format!(
            "invalid arg '{name}' for a consumer: an integer is needed, not a {}",
            value.type_name()
        ))
    })
}

fn generated_tag() -> ShortStr {
    let tag = format!("amq.ctag-{:032x}", rand::random::<u128>());
    ShortStr::try_from(tag.as_str()).unwrap_or_default()
}
