//! The part of a channel that its reader, its writer, the queues and the store all hold.
//!
//! It is the [`Lane`] by which queues reach the channel's consumers. Lock order: `ledger`,
//! `confirms` and `resting` are each taken alone or before the outbox's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::confirms::{Confirms, Numbers, count};
use super::ledger::{Held, Ledger, Recipient};
use super::publishes::Publishes;
use crate::broker::changes::Changes;
use crate::broker::counters::{Count, Counts, OwnCount};
use crate::broker::link::ChannelStatus;
use crate::broker::queue::{Consumer, Entry, Lane, Place, Queue, Return};
use crate::broker::reply::Requester;
use crate::broker::trace::Tracer;
use crate::broker::vhost::Vhost;
use crate::connection::outbox::{Outbox, Outgoing};
use crate::connection::resting::Resting;
use crate::protocol::generated::BasicCancel;
use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;

/// What a channel's client has sent so far, counted by the connection's reader.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) published: OwnCount,
    /// Of them, those that found no queue.
    pub(crate) returned: OwnCount,
    pub(crate) dropped: OwnCount,
    /// By exchange.
    pub(crate) publishes: Publishes,
    pub(crate) acked: OwnCount,
    /// A basic.get that found nothing.
    pub(crate) got_nothing: OwnCount,
}

/// What the reader alone knows of the channel, for those who look at it.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) is_confirming: AtomicBool,
    pub(super) is_transactional: AtomicBool,
    pub(super) prefetch_count: AtomicU16,
    /// In the open transaction.
    pub(super) publishes: OwnCount,
    pub(super) acks: OwnCount,
}

pub(crate) struct ChannelShared {
    pub(crate) number: u16,
    pub(super) outbox: Arc<Outbox>,
    tracer: Arc<Tracer>,
    vhost: Arc<Vhost>,
    pub(crate) sent: Sent,
    ledger: Mutex<Ledger>,
    confirms: Mutex<Confirms>,
    /// By tag. A queue that goes away takes its consumers out.
    pub(super) consumers: Mutex<HashMap<ShortStr, Arc<Consumer>>>,
    /// The client wants to hear of consumers that the broker cancels.
    tell_cancelled: bool,
    /// The limit on unacked deliveries that all consumers of the channel share; 0 is none.
    shared_prefetch: AtomicU32,
    /// Deliveries to consumers that are reserved or out.
    consumer_unacked: AtomicU32,
    /// Consumers that wait for the shared limit.
    resting: Resting,
    /// The limit of consumers that are there may not be what they came with.
    is_prefetch_changed: AtomicBool,
    pub(super) shown: Shown,
}

impl ChannelShared {
    pub(super) fn new(
        number: u16,
        outbox: Arc<Outbox>,
        tracer: Arc<Tracer>,
        vhost: Arc<Vhost>,
        tell_cancelled: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            outbox,
            tracer,
            vhost,
            sent: Sent::default(),
            ledger: Mutex::default(),
            confirms: Mutex::default(),
            consumers: Mutex::default(),
            tell_cancelled,
            shared_prefetch: AtomicU32::new(0),
            consumer_unacked: AtomicU32::new(0),
            resting: Resting::default(),
            is_prefetch_changed: AtomicBool::new(false),
            shown: Shown::default(),
        })
    }

    /// Gives tags to deliveries that are about to be written. What will not be written any more,
    /// because channel or consumer have ended, goes back to its queue.
    pub(crate) fn record(
        &self,
        recipient: &Recipient,
        entries: &[Entry],
        no_ack: bool,
        tags: &mut Vec<u64>,
    ) {
        tags.clear();
        let mut refused = Vec::new();
        {
            let mut ledger = self.ledger.lock();
            let mut redelivered: u64 = 0;
            for entry in entries {
                redelivered = redelivered.saturating_add(u64::from(entry.redelivered));
                if no_ack {
                    tags.extend(ledger.pass());
                    continue;
                }
                let held = Held { recipient: recipient.clone(), place: entry.place() };
                match ledger.record(held) {
                    Ok(tag) => tags.push(tag),
                    Err(held) => refused.push(held.place),
                }
            }
            let (count, tagged) = (recipient.count(no_ack), tags.len() as u64);
            ledger.counts.add(count, tagged);
            ledger.counts.add(Count::Redeliver, redelivered);
            if let Some(consumer) = recipient.consumer() {
                consumer.counts.delivered.add(tagged);
                consumer.counts.redelivered.add(redelivered);
            }
        }
        if let Recipient::Consumer(_) = recipient {
            self.release_shared(u32::try_from(refused.len()).unwrap_or(u32::MAX));
        }
        requeue(recipient.queue(), refused, Return::Unsent);
    }

    /// Copies deliveries that are about to be written, if the vhost is traced.
    pub(crate) fn trace(&self, queue: &Queue, entries: &[Entry]) {
        if self.tracer.is_on() {
            self.tracer.delivered(self.number, queue, entries);
        }
    }

    /// Gives a tag to a delivery that comes from no queue; none when the channel is closed.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut ledger = self.ledger.lock();
        ledger.counts.add(Count::DeliverNoAck, 1);
        ledger.pass()
    }

    /// Takes out of the ledger what a settling method means; nothing when the tag is unknown.
    pub(super) fn settle(&self, tag: u64, multiple: bool) -> Option<Vec<(u64, Held)>> {
        let settled = self.ledger.lock().settle(tag, multiple)?;
        self.release_shared(consumed(&settled));
        Some(settled)
    }

    /// Undoes [`ChannelShared::settle`].
    pub(super) fn restore(&self, settled: Vec<(u64, Held)>) {
        self.consumer_unacked.fetch_add(consumed(&settled), Ordering::SeqCst);
        self.ledger.lock().restore(settled);
    }

    /// The consumers that have had something for longer than their timeout, each once; see
    /// [`Ledger::overdue`].
    pub(super) fn overdue(&self, now: Duration) -> Vec<Arc<Consumer>> {
        self.ledger.lock().overdue(now)
    }

    /// How the channel is, and what has happened on it so far.
    pub(crate) fn status(&self) -> ChannelStatus {
        let Shown { is_confirming, is_transactional, prefetch_count, publishes, acks } =
            &self.shown;
        let (unacked, counts) = {
            let ledger = self.ledger.lock();
            (ledger.len(), ledger.counts)
        };
        let (unconfirmed, confirmed) = {
            let confirms = self.confirms.lock();
            (confirms.pending_count(), confirms.confirmed)
        };
        let shared_limit = self.shared_prefetch.load(Ordering::SeqCst);
        ChannelStatus {
            number: self.number,
            confirm: is_confirming.load(Ordering::Relaxed),
            transactional: is_transactional.load(Ordering::Relaxed),
            consumers: self.consumers.lock().len(),
            prefetch_count: prefetch_count.load(Ordering::Relaxed),
            shared_prefetch_count: u16::try_from(shared_limit).unwrap_or(u16::MAX),
            unacked,
            unconfirmed,
            uncommitted_publishes: publishes.get(),
            uncommitted_acks: acks.get(),
            counts: self.with_sent(counts.with(Count::Confirm, confirmed)),
        }
    }

    pub(crate) fn consumers(&self) -> Vec<Arc<Consumer>> {
        self.consumers.lock().values().cloned().collect()
    }

    fn with_sent(&self, counts: Counts) -> Counts {
        let Sent { published, returned, dropped, acked, got_nothing, .. } = &self.sent;
        counts
            .with(Count::Publish, published.get())
            .with(Count::ReturnUnroutable, returned.get())
            .with(Count::DropUnroutable, dropped.get())
            .with(Count::Ack, acked.get())
            .with(Count::GetEmpty, got_nothing.get())
    }

    /// Whether consumers have something out.
    pub(super) fn has_unacked(&self) -> bool {
        self.consumer_unacked.load(Ordering::SeqCst) > 0
    }

    /// Takes out of the ledger all that a consumer has.
    pub(super) fn take_back(&self, consumer: &Consumer) -> Vec<(u64, Held)> {
        let held = self.ledger.lock().take_back(consumer.id);
        self.release_shared(consumed(&held));
        held
    }

    /// Closes the ledger; what the client held has to go back to its queues.
    pub(super) fn close(&self) -> Vec<(u64, Held)> {
        self.ledger.lock().close()
    }

    /// Sets the limit of each consumer that there is. What a lower one forbids and is out already
    /// stays out.
    pub(super) fn set_prefetch(&self, limit: u16) {
        self.is_prefetch_changed.store(true, Ordering::Relaxed);
        self.change_prefetch(|_| limit);
    }

    /// A consumer comes: a limit that was set since the others came was meant for it. They have
    /// again what they came with, as clients expect that give each consumer its own.
    pub(super) fn restore_prefetch(&self) {
        // Not looked through for each of many consumers that come to one channel.
        if self.is_prefetch_changed.swap(false, Ordering::Relaxed) {
            self.change_prefetch(|consumer| consumer.first_prefetch_count);
        }
    }

    fn change_prefetch(&self, limit_of: impl Fn(&Consumer) -> u16) {
        let consumers: Vec<_> = self.consumers.lock().values().cloned().collect();
        for consumer in consumers {
            let limit = limit_of(&consumer);
            if consumer.prefetch_count.swap(limit, Ordering::Relaxed) != limit {
                consumer.queue.wake(consumer.id);
            }
        }
    }

    pub(super) fn set_shared_prefetch(&self, limit: u16) {
        self.shared_prefetch.store(u32::from(limit), Ordering::SeqCst);
        self.wake_resting();
    }

    fn release_shared(&self, consumed: u32) {
        if consumed > 0 {
            self.consumer_unacked.fetch_sub(consumed, Ordering::SeqCst);
            self.wake_resting();
        }
    }

    fn wake_resting(&self) {
        self.resting.wake(|| self.consumer_unacked.load(Ordering::SeqCst) < self.shared_limit());
    }

    fn reserve_shared(&self, consumer: &Arc<Consumer>) -> bool {
        self.try_reserve_shared() || self.resting.rest(consumer, || self.try_reserve_shared())
    }

    fn shared_limit(&self) -> u32 {
        match self.shared_prefetch.load(Ordering::SeqCst) {
            0 => u32::MAX,
            limit => limit,
        }
    }

    fn try_reserve_shared(&self) -> bool {
        let limit = self.shared_limit();
        let take = |unacked: u32| (unacked < limit).then(|| unacked.saturating_add(1));
        self.consumer_unacked.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// These publishes are confirmed once they are on disk.
    pub(crate) fn wait_for_disk(&self, numbers: &Numbers) {
        self.confirms.lock().wait_for(numbers);
    }

    /// Tells the publisher about these publishes, which were read at `read_at`, as soon as somebody
    /// rings or writes. The lock
    /// spans the outbox's, so that what was decided first is said first.
    pub(crate) fn complete_confirms(&self, numbers: &Numbers, stored: bool, read_at: Instant) {
        if numbers.is_empty() {
            return;
        }
        let mut confirms = self.confirms.lock();
        if stored {
            let count = count(numbers);
            confirms.confirmed = confirms.confirmed.saturating_add(count);
            self.vhost.counts.add(Count::Confirm, count);
            self.vhost.timings().confirm.record_many(read_at.elapsed(), count);
        }
        for method in confirms.complete(numbers, stored) {
            self.outbox
                .put_unrung(Outgoing::Method { channel: self.number, method: Box::new(method) });
        }
    }
}

/// How many of them the prefetch limit counts.
fn consumed(held: &[(u64, Held)]) -> u32 {
    let is_consumed = |held: &Held| matches!(held.recipient, Recipient::Consumer(_));
    let count = held.iter().filter(|(_, held)| is_consumed(held)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Gives deliveries back to their queue, oldest first.
pub(crate) fn requeue(queue: &Arc<Queue>, places: Vec<Place>, why: Return) {
    if !places.is_empty() {
        let mut batch = Changes::default();
        queue.requeue(places, why, &mut batch);
        queue.append(batch);
    }
}

impl Requester for ChannelShared {
    fn reply(self: Arc<Self>, consumer_tag: &ShortStr, message: &Arc<Message>) {
        let outbox = Arc::clone(&self.outbox);
        if outbox.reserve_reply(message.body_len()) {
            let (consumer_tag, message) = (consumer_tag.clone(), Arc::clone(message));
            outbox.put_deliveries(Outgoing::Reply { channel: self, consumer_tag, message });
        } else {
            tracing::debug!(channel = self.number, "a reply is dropped: the client is too slow");
        }
    }
}

impl Lane for ChannelShared {
    fn reserve(&self, bytes: u64, consumer: &Arc<Consumer>) -> bool {
        if !consumer.no_ack && !self.reserve_shared(consumer) {
            return false;
        }
        let reserved = self.outbox.reserve(bytes, consumer);
        if !reserved && !consumer.no_ack {
            self.consumer_unacked.fetch_sub(1, Ordering::SeqCst);
            // Others may rest because this one had the last of the limit for a moment. They must
            // not be woken here: let them wait for the room that has to come first.
            self.outbox.take_over(&self.resting);
        }
        reserved
    }

    fn deliver(self: Arc<Self>, consumer: &Arc<Consumer>, entries: Vec<Entry>) {
        let outbox = Arc::clone(&self.outbox);
        let consumer = Arc::clone(consumer);
        outbox.put_deliveries(Outgoing::Deliveries { channel: self, consumer, entries });
    }

    fn cancelled(&self, consumer: &Arc<Consumer>) {
        self.consumers.lock().remove(&consumer.tag);
        if self.tell_cancelled {
            let cancel = BasicCancel { consumer_tag: consumer.tag.clone(), no_wait: true };
            self.outbox.put_method(self.number, cancel);
        }
    }
}
