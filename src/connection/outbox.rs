//! The lane from everybody who has something for a client to the one who writes it.
//!
//! What is put here leaves in this order. Deliveries are bounded by [`Outbox::reserve`]: a full
//! outbox makes the consumer rest until the writer has caught up. Replies are bounded by their
//! cause: the reader takes no more requests while too many replies wait. Owner of the waiting
//! items, under a lock that is held for a push or a swap only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::channel::ledger::Recipient;
use super::channel::shared::ChannelShared;
use super::resting::Resting;
use crate::broker::queue::{Consumer, Entry, Got, Queue};
use crate::protocol::generated::Method;
use crate::protocol::message::Message;
use crate::protocol::reply::ReplyCode;
use crate::protocol::wire::ShortStr;

/// Bytes of deliveries on their way to one client, beyond which its consumers rest. Large enough
/// for a full write, small enough that a slow client holds little.
const DELIVERY_BYTES_MAX: usize = 512 * 1024;

/// Beyond this direct replies, which can't rest, are dropped. Large enough for those that come in
/// one burst to a client that reads.
const DIRECT_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Resting consumers are rung when no more than this is left.
const DELIVERY_BYTES_LOW: usize = DELIVERY_BYTES_MAX / 2;

/// Bytes of replies waiting to be written, beyond which no more requests are read.
const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a delivery costs beside its body: frames, names, properties. An estimate for the limit.
const DELIVERY_OVERHEAD: usize = 256;

/// One thing to be written.
pub(super) enum Outgoing {
    /// Apart: deliveries, of which there are more, are small beside a method.
    Method {
        channel: u16,
        method: Box<Method>,
    },
    Deliveries {
        channel: Arc<ChannelShared>,
        consumer: Arc<Consumer>,
        entries: Vec<Entry>,
    },
    GetOk {
        channel: Arc<ChannelShared>,
        queue: Arc<Queue>,
        got: Got,
        no_ack: bool,
    },
    /// A direct reply, which comes from no queue.
    Reply {
        channel: Arc<ChannelShared>,
        consumer_tag: ShortStr,
        message: Arc<Message>,
    },
    Return {
        channel: u16,
        code: ReplyCode,
        message: Arc<Message>,
    },
}

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    delivery_bytes: AtomicUsize,
    resting: Resting,
    /// Rung when there is something to write.
    filled: Notify,
    /// Rung when the writer has caught up with the replies.
    caught_up: Notify,
}

#[derive(Default)]
struct Inner {
    items: Vec<Outgoing>,
    reply_bytes: usize,
    /// Nothing comes after what is in here.
    ended: bool,
}

/// What the writer took out.
pub(super) struct Taken {
    pub(super) items: Vec<Outgoing>,
    pub(super) ended: bool,
}

/// Bytes that a delivery with such a body takes of the limit.
pub(super) fn delivery_cost(body_len: u64) -> usize {
    usize::try_from(body_len).unwrap_or(usize::MAX).saturating_add(DELIVERY_OVERHEAD)
}

impl Outgoing {
    /// Bytes that a reply takes of its limit.
    fn reply_cost(&self) -> usize {
        match self {
            Self::GetOk { got, .. } => delivery_cost(got.entry.message.body_len()),
            Self::Return { message, .. } => delivery_cost(message.body_len()),
            Self::Method { .. } | Self::Deliveries { .. } | Self::Reply { .. } => DELIVERY_OVERHEAD,
        }
    }
}

impl Outbox {
    /// Puts a reply at the end.
    pub(super) fn put(&self, item: Outgoing) {
        self.put_unrung(item);
        self.ring();
    }

    /// Puts a reply at the end, for callers that ring when they have put everything, or write it
    /// themselves.
    pub(super) fn put_unrung(&self, item: Outgoing) {
        let mut inner = self.inner.lock();
        inner.reply_bytes = inner.reply_bytes.saturating_add(item.reply_cost());
        inner.items.push(item);
    }

    /// Has the writer's task look.
    pub(super) fn ring(&self) {
        self.filled.notify_one();
    }

    pub(super) fn put_method(&self, channel: u16, method: impl Into<Method>) {
        self.put(Outgoing::Method { channel, method: Box::new(method.into()) });
    }

    /// Puts deliveries at the end for which room was reserved.
    pub(super) fn put_deliveries(&self, item: Outgoing) {
        self.inner.lock().items.push(item);
        self.ring();
    }

    /// Reserves room for a delivery, or remembers that the consumer rests.
    pub(super) fn reserve(&self, body_len: u64, consumer: &Arc<Consumer>) -> bool {
        self.try_reserve(body_len) || self.resting.rest(consumer, || self.try_reserve(body_len))
    }

    /// Reserves room for a direct reply, if there is some.
    pub(super) fn reserve_reply(&self, body_len: u64) -> bool {
        self.try_reserve_below(DIRECT_REPLY_BYTES_MAX, body_len)
    }

    /// Has consumers rest until there is room that rested for something else. The writer looks
    /// after them if some was made meanwhile.
    pub(super) fn take_over(&self, resting: &Resting) {
        if resting.move_to(&self.resting) {
            self.ring();
        }
    }

    /// Bytes of deliveries that are not written yet.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.delivery_bytes.load(Ordering::Relaxed) as u64
    }

    fn has_room(&self) -> bool {
        self.delivery_bytes.load(Ordering::SeqCst) < DELIVERY_BYTES_MAX
    }

    fn try_reserve(&self, body_len: u64) -> bool {
        self.try_reserve_below(DELIVERY_BYTES_MAX, body_len)
    }

    fn try_reserve_below(&self, max: usize, body_len: u64) -> bool {
        if self.delivery_bytes.load(Ordering::SeqCst) >= max {
            return false;
        }
        self.delivery_bytes.fetch_add(delivery_cost(body_len), Ordering::SeqCst);
        true
    }

    /// Everything is in: the writer ends when it has written it.
    pub(super) fn end(&self) {
        self.inner.lock().ended = true;
        self.ring();
    }

    /// Waits until there is something to write or the end.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes out what there is.
    pub(super) fn take(&self) -> Taken {
        let mut inner = self.inner.lock();
        inner.reply_bytes = 0;
        let taken = Taken { items: std::mem::take(&mut inner.items), ended: inner.ended };
        drop(inner);
        self.caught_up.notify_one();
        taken
    }

    /// Deliveries of that cost are written (or will never be): rings resting consumers. Those that
    /// rest on are rung when what fills the room now is written.
    pub(super) fn made_room(&self, cost: usize) {
        let before = self.delivery_bytes.fetch_sub(cost, Ordering::SeqCst);
        if before.saturating_sub(cost) > DELIVERY_BYTES_LOW {
            return;
        }
        self.resting.wake(|| self.has_room());
    }

    /// After the end: gives deliveries that nobody will write back to their queues. Their channels
    /// are closed, and so refuse to record them.
    pub(super) fn give_back(&self) {
        for item in self.take().items {
            match item {
                Outgoing::Deliveries { channel, consumer, entries } => {
                    let no_ack = consumer.no_ack;
                    let recipient = Recipient::Consumer(consumer);
                    channel.record(&recipient, &entries, no_ack, &mut Vec::new());
                }
                Outgoing::GetOk { channel, queue, got, no_ack } => {
                    let recipient = Recipient::Get(queue);
                    channel.record(&recipient, &[got.entry], no_ack, &mut Vec::new());
                }
                Outgoing::Method { .. } | Outgoing::Reply { .. } | Outgoing::Return { .. } => {}
            }
        }
    }

    /// Waits while too many replies wait to be written.
    pub(super) async fn wait_for_room(&self) {
        while self.inner.lock().reply_bytes > REPLY_BYTES_MAX {
            self.caught_up.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_replies_have_more_room_than_deliveries_and_not_without_end() {
        const LEN: u64 = 1024 * 1024;
        let outbox = Outbox::default();
        let taken = (0..1000).take_while(|_| outbox.reserve_reply(LEN)).count();
        assert_eq!(taken, 64);
        assert!(!outbox.try_reserve(1), "deliveries wait for the replies to be written");
        outbox.made_room(taken * delivery_cost(LEN));
        assert!(outbox.try_reserve(1) && outbox.reserve_reply(LEN));
    }
}
