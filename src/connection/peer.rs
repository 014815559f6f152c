//! What all channels of a connection share: the broker's side of the client, and what one read of
//! its socket has brought so far.
//!
//! Owned by the connection's session and lent to each handler.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ConnectionSettings;
use super::channel::confirms::{Numbers, add, count};
use super::channel::publishes::ToExchange;
use super::channel::shared::ChannelShared;
use super::close::Failure;
use super::outbox::{Outbox, Outgoing};
use super::timeouts::Timeouts;
use super::view::View;
use super::writer::Writer;
use crate::broker::Broker;
use crate::broker::auth::Actor;
use crate::broker::counters::{Count, Counts};
use crate::broker::durable::Durable;
use crate::broker::event::Event;
use crate::broker::publish::PublishBatch;
use crate::broker::trace::Tracer;
use crate::broker::vhost::Vhost;
use crate::protocol::generated::Method;
use crate::protocol::message::Message;
use crate::protocol::reply::ReplyCode;
use crate::store::{Committed, OnCommit};

/// What all channels of a connection share, and what a handler needs beside its channel.
pub(super) struct Peer {
    pub(super) broker: Arc<Broker>,
    pub(super) vhost: Arc<Vhost>,
    pub(super) actor: Actor,
    pub(super) outbox: Arc<Outbox>,
    pub(super) view: Arc<View>,
    writer: Arc<Writer>,
    /// What this read has brought so far.
    pub(super) publishes: PublishBatch,
    /// The client is a publisher: it is told when the disk is nearly full.
    pub(super) has_published: bool,
    owed: Vec<OwedConfirms>,
    /// When what is being handled was read.
    pub(super) read_at: Instant,
    /// What of this read the vhost has not been told.
    counts: Counts,
    pub(super) message_size_max: u64,
    pub(super) consumers_per_channel_max: usize,
    /// For consumers and queues that say nothing else; 0 is none.
    pub(super) consumer_timeout_ms: u64,
    pub(super) timeouts: Timeouts,
    pub(super) tracer: Arc<Tracer>,
    /// What is published is traced; looked at once a read.
    pub(super) is_tracing: bool,
    /// The client wants to hear of consumers that the broker cancels.
    pub(super) tell_cancelled: bool,
}

/// Confirms of one channel for what this read has brought.
struct OwedConfirms {
    channel: Arc<ChannelShared>,
    /// Once the batch is on disk.
    when_stored: Numbers,
    /// Once the batch is in its queues.
    at_once: Numbers,
    /// A queue was full: they are told no.
    refused: Numbers,
}

/// When a publish is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Once it is on disk.
    Stored,
    /// Once it is in its queues.
    Queued,
    /// It isn't in all of its queues: it is answered with no.
    Refused,
}

impl Peer {
    pub(super) fn new(
        broker: Arc<Broker>,
        vhost: Arc<Vhost>,
        actor: Actor,
        view: Arc<View>,
        writer: Arc<Writer>,
        settings: &ConnectionSettings,
        tell_cancelled: bool,
    ) -> Self {
        let info = broker.registry.get(actor.connection);
        let name = info.map(|info| info.name()).unwrap_or_default();
        let tracer = Tracer::new(Arc::clone(&vhost), name, actor.user.name.clone());
        Self {
            broker,
            vhost,
            actor,
            outbox: Arc::clone(&view.outbox),
            view,
            writer,
            publishes: PublishBatch::default(),
            has_published: false,
            owed: Vec::new(),
            read_at: Instant::now(),
            counts: Counts::default(),
            message_size_max: settings.message_size_max_bytes,
            consumers_per_channel_max: settings.consumers_per_channel_max,
            consumer_timeout_ms: settings.consumer_timeout_ms,
            timeouts: Timeouts::new(),
            tracer: Arc::new(tracer),
            is_tracing: false,
            tell_cancelled,
        }
    }

    /// What becomes of a message that no queue takes: it is a reply, or its publisher may want it
    /// back.
    pub(super) fn publish_without_queue(
        &mut self,
        channel: &ChannelShared,
        message: Arc<Message>,
        mandatory: bool,
    ) {
        if self.vhost.replies.deliver(&message) {
            return;
        }
        let counted = channel.sent.publishes.to(message.exchange());
        if mandatory {
            let (channel, code) = (channel.number, ReplyCode::NoRoute);
            self.outbox.put(Outgoing::Return { channel, code, message });
        }
        let (of_channel, of_exchange, count) = match mandatory {
            true => (&channel.sent.returned, &counted.returned, Count::ReturnUnroutable),
            false => (&channel.sent.dropped, &counted.dropped, Count::DropUnroutable),
        };
        of_channel.add(1);
        of_exchange.add(1);
        self.counts.add(count, 1);
    }

    /// A message was published on a channel, to an exchange.
    pub(super) fn count_publish(&mut self, channel: &ChannelShared, to: &ToExchange) {
        channel.sent.published.add(1);
        to.published.add(1);
        self.counts.add(Count::Publish, 1);
    }

    /// Tells of something that this client did.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        self.broker.events.mention(Some(&self.actor), event);
    }

    /// Notes that a publish has to be confirmed.
    pub(super) fn owe_confirm(&mut self, channel: &Arc<ChannelShared>, number: u64, when: When) {
        // Mostly the channel that published before.
        let known = self.owed.iter().rposition(|owed| Arc::ptr_eq(&owed.channel, channel));
        let index = known.unwrap_or_else(|| {
            let channel = Arc::clone(channel);
            let (when_stored, at_once, refused) = (Vec::new(), Vec::new(), Vec::new());
            self.owed.push(OwedConfirms { channel, when_stored, at_once, refused });
            self.owed.len().saturating_sub(1)
        });
        if let Some(owed) = self.owed.get_mut(index) {
            let numbers = match when {
                When::Stored => &mut owed.when_stored,
                When::Queued => &mut owed.at_once,
                When::Refused => &mut owed.refused,
            };
            add(numbers, number);
        }
    }

    /// Brings what was read into the queues and to the log, and has it confirmed.
    pub(super) fn flush(&mut self) {
        let batch = self.publishes.take();
        if !self.counts.are_zero() {
            self.vhost.counts.add_all(&std::mem::take(&mut self.counts));
        }
        let mut waiting = Vec::new();
        let read_at = self.read_at;
        let mut wanted: u64 = 0;
        for owed in self.owed.drain(..) {
            let numbers = [&owed.when_stored, &owed.at_once, &owed.refused];
            wanted = numbers.into_iter().map(count).fold(wanted, u64::saturating_add);
            owed.channel.wait_for_disk(&owed.when_stored);
            owed.channel.complete_confirms(&owed.at_once, true, read_at);
            owed.channel.complete_confirms(&owed.refused, false, read_at);
            self.outbox.ring();
            if batch.is_empty() {
                // The queues went away meanwhile: there is nothing to wait for.
                owed.channel.complete_confirms(&owed.when_stored, true, read_at);
            } else if !owed.when_stored.is_empty() {
                waiting.push((owed.channel, owed.when_stored));
            }
        }
        if wanted > 0 {
            self.vhost.timings().confirms_wanted.fetch_add(wanted, Ordering::Relaxed);
        }
        if batch.is_empty() {
            return;
        }
        let on_commit: Option<OnCommit> = match waiting.is_empty() {
            true => None,
            false => {
                let writer = Arc::downgrade(&self.writer);
                Some(Box::new(move |outcome| {
                    for (channel, numbers) in waiting {
                        channel.complete_confirms(&numbers, outcome.is_ok(), read_at);
                    }
                    let Some(writer) = writer.upgrade() else { return };
                    match outcome {
                        Ok(Committed { alone: true, .. }) => writer.write_now(),
                        _ => writer.ring(),
                    }
                }))
            }
        };
        batch.append(&**self.broker.store(), on_commit);
    }

    /// Waits for a change to be on disk, unless the client doesn't.
    pub(super) async fn finish(&self, durable: Durable, no_wait: bool) -> Result<(), Failure> {
        if no_wait {
            return Ok(());
        }
        Ok(durable.wait().await?)
    }

    /// Answers a method, unless the client doesn't want it.
    pub(super) fn reply(&self, channel: u16, no_wait: bool, method: impl Into<Method>) {
        if !no_wait {
            self.outbox.put_method(channel, method);
        }
    }
}
