//! One AMQP channel: its state, and a handler for each method, named as the specification names it.
//!
//! Owned by the connection's reader; what others hold of it is in `shared.rs`.

mod ages;
mod basic;
mod confirm;
pub(super) mod confirms;
mod content;
mod exchange;
pub(super) mod ledger;
mod overdue;
pub(super) mod publishes;
mod queue;
mod reply;
mod settlement;
pub(super) mod shared;
mod target;
mod tx;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::basic::remove_consumer;
use self::content::ContentAssembler;
use self::reply::ReplyConsumer;
use self::settlement::by_queue;
use self::shared::{ChannelShared, requeue};
use self::tx::Transaction;
use super::close::Failure;
use super::peer::Peer;
use crate::broker::counters::one_more;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::queue::{Queue, Return};
use crate::protocol::frame::{ContentHead, Frame};
use crate::protocol::generated::{AccessRequestOk, ChannelFlowOk, ChannelOpenOk, Method};
use crate::protocol::reply::ReplyCode;
use crate::protocol::wire::ShortStr;

/// How publishes are answered.
enum Mode {
    Plain,
    Confirm,
    Transaction(Transaction),
}

pub(super) struct Channel {
    number: u16,
    shared: Arc<ChannelShared>,
    mode: Mode,
    content: ContentAssembler,
    /// The queue declared last, which an empty queue name means.
    last_queue: ShortStr,
    /// Of its consumers, and for those that come; 0 is no limit.
    prefetch_count: u16,
    /// Publishes so far, in confirm mode.
    published: u64,
    reply: Option<ReplyConsumer>,
}

impl Channel {
    /// channel.open
    pub(super) fn open(number: u16, peer: &Peer) -> Self {
        let outbox = Arc::clone(&peer.outbox);
        peer.outbox.put_method(number, ChannelOpenOk);
        one_more(&peer.broker.churn().channels_created);
        peer.tell(|| Event::channel("channel.created", number, &peer.vhost.name));
        let shared = ChannelShared::new(
            number,
            outbox,
            Arc::clone(&peer.tracer),
            Arc::clone(&peer.vhost),
            peer.tell_cancelled,
        );
        peer.view.opened(&shared);
        Self {
            number,
            shared,
            mode: Mode::Plain,
            content: ContentAssembler::default(),
            last_queue: ShortStr::default(),
            prefetch_count: 0,
            published: 0,
            reply: None,
        }
    }

    /// Handles a frame with a basic.publish.
    pub(super) fn publish(&mut self, frame: &Frame<'_>) -> Result<(), Failure> {
        self.content.check_method()?;
        Ok(self.content.begin(frame)?)
    }

    /// Handles another method of this channel.
    pub(super) async fn method(&mut self, method: Method, peer: &mut Peer) -> Result<(), Failure> {
        self.content.check_method()?;
        match method {
            Method::BasicAck(ack) => self.basic_ack(&ack, peer),
            Method::BasicNack(nack) => self.basic_nack(&nack, peer),
            Method::BasicReject(reject) => self.basic_reject(&reject, peer),
            other => {
                // What was published before takes effect before.
                peer.flush();
                let done = self.control_method(other, peer).await;
                self.show();
                done
            }
        }
    }

    /// Shows others what a method may have changed.
    fn show(&self) {
        let shown = &self.shared.shown;
        shown.is_confirming.store(matches!(self.mode, Mode::Confirm), Ordering::Relaxed);
        let is_transactional = matches!(self.mode, Mode::Transaction(_));
        shown.is_transactional.store(is_transactional, Ordering::Relaxed);
        shown.prefetch_count.store(self.prefetch_count, Ordering::Relaxed);
        if let Mode::Transaction(transaction) = &self.mode {
            shown.publishes.set(transaction.publish_count());
            shown.acks.set(transaction.settled_count());
        }
    }

    /// The methods that are not the path of messages.
    async fn control_method(&mut self, method: Method, peer: &mut Peer) -> Result<(), Failure> {
        match method {
            Method::BasicGet(get) => self.basic_get(get, peer).await,
            Method::BasicConsume(consume) => self.basic_consume(consume, peer),
            Method::BasicCancel(cancel) => self.basic_cancel(cancel, peer).await,
            // The client's answer to our basic.cancel.
            Method::BasicCancelOk(_) => Ok(()),
            Method::BasicQos(qos) => self.basic_qos(&qos, peer),
            Method::BasicRecover(recover) => self.basic_recover(recover.requeue, true, peer),
            Method::BasicRecoverAsync(recover) => self.basic_recover(recover.requeue, false, peer),
            Method::QueueDeclare(declare) => self.queue_declare(declare, peer).await,
            Method::QueueBind(bind) => self.queue_bind(bind, peer).await,
            Method::QueueUnbind(unbind) => self.queue_unbind(unbind, peer).await,
            Method::QueuePurge(purge) => self.queue_purge(&purge, peer).await,
            Method::QueueDelete(delete) => self.queue_delete(&delete, peer).await,
            Method::ExchangeDeclare(declare) => self.exchange_declare(declare, peer).await,
            Method::ExchangeDelete(delete) => self.exchange_delete(&delete, peer).await,
            Method::ExchangeBind(bind) => self.exchange_bind(bind, peer).await,
            Method::ExchangeUnbind(unbind) => self.exchange_unbind(unbind, peer).await,
            Method::ConfirmSelect(select) => self.confirm_select(&select, peer),
            Method::TxSelect(_) => self.tx_select(peer),
            Method::TxCommit(_) => self.tx_commit(peer).await,
            Method::TxRollback(_) => self.tx_rollback(peer),
            Method::ChannelFlow(flow) => self.channel_flow(flow.active, peer),
            Method::ChannelOpen(_) => {
                Err(Failure::new(ReplyCode::ChannelError, "second 'channel.open' seen"))
            }
            Method::AccessRequest(_) => {
                peer.outbox.put_method(self.number, AccessRequestOk { ticket: 1 });
                Ok(())
            }
            other => Err(Failure::new(
                ReplyCode::CommandInvalid,
                format!("unimplemented method '{}' on a channel", other.name()),
            )),
        }
    }

    /// Handles a content header frame.
    pub(super) fn header(&mut self, frame: &Frame<'_>, peer: &mut Peer) -> Result<(), Failure> {
        let head = ContentHead::decode(frame.payload)?;
        let reply_address = self.reply.as_ref().map(|reply| &reply.address);
        match self.content.header(&head, peer.message_size_max, reply_address)? {
            Some(message) => self.published(message, peer),
            None => Ok(()),
        }
    }

    /// Handles a body frame.
    pub(super) fn body(&mut self, frame: &Frame<'_>, peer: &mut Peer) -> Result<(), Failure> {
        match self.content.body(frame)? {
            Some(message) => self.published(message, peer),
            None => Ok(()),
        }
    }

    /// Rule: the broker never pauses a consumer at a client's word; RabbitMQ refuses this, too.
    fn channel_flow(&self, active: bool, peer: &Peer) -> Result<(), Failure> {
        if !active {
            return Err(Failure::new(ReplyCode::NotImplemented, "active=false"));
        }
        peer.outbox.put_method(self.number, ChannelFlowOk { active });
        Ok(())
    }

    /// The queue that a method means: an empty name is the one declared last on this channel.
    fn queue_name(&self, name: &ShortStr) -> Result<ShortStr, Error> {
        match (name.is_empty(), self.last_queue.is_empty()) {
            (false, _) => Ok(name.clone()),
            (true, false) => Ok(self.last_queue.clone()),
            (true, true) => Err(Error::not_found("no previously declared queue")),
        }
    }

    /// Ends the channel: its consumers go, what its client holds goes back. Auto-delete queues go
    /// with their last consumer.
    pub(super) fn close(&mut self, peer: &mut Peer) {
        self.cancel_replies(peer);
        let consumers = std::mem::take(&mut *self.shared.consumers.lock());
        let mut unused: Vec<Arc<Queue>> = Vec::new();
        for consumer in consumers.into_values() {
            if remove_consumer(&consumer, peer) {
                unused.push(Arc::clone(&consumer.queue));
            }
        }
        let mut held = self.shared.close();
        if let Mode::Transaction(transaction) = &mut self.mode {
            held.extend(transaction.take_settled());
            held.sort_by_key(|(tag, _)| *tag);
        }
        for (queue, places) in by_queue(held) {
            requeue(&queue, places, Return::Failed);
        }
        for queue in unused {
            // The client doesn't wait for it, and neither does the broker.
            drop(peer.vhost.delete_unused_queue(&queue));
        }
        peer.view.closed(&self.shared);
        one_more(&peer.broker.churn().channels_closed);
        peer.tell(|| Event::channel("channel.closed", self.number, &peer.vhost.name));
    }
}
