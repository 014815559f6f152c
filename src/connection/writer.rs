//! The one who writes to a client's socket: takes what is in the outbox, gives deliveries their
//! tags, encodes all of it and writes it in one go.
//!
//! ```text
//!   outbox ──take──▶ encode (tags, ledger) ──▶ vectored write ──▶ room for the resting
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::channel::shared::ChannelShared;
use super::outbox::{Outbox, Outgoing, delivery_cost};
use crate::broker::queue::{Consumer, Entry};
use crate::protocol::frame::{
    FRAME_END, FRAME_OVERHEAD, body_frame_head, encode_body_frame, encode_content_header,
    encode_deliver, encode_heartbeat, encode_method,
};
use crate::protocol::gather::Gather;
use crate::protocol::generated::{BasicGetOk, BasicReturn, Method};
use crate::protocol::message::{BodyRef, Message};
use crate::protocol::wire::ShortStr;

/// A buffer larger than this is given back when there is nothing to write.
const BUFFER_KEPT_MAX: usize = 16 * 1024;

pub(super) struct Writer<W> {
    socket: W,
    outbox: Arc<Outbox>,
    frame_max: usize,
    heartbeat: Option<Duration>,
    gather: Gather,
    tags: Vec<u64>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// `heartbeat` is the silence after which one is sent: half the negotiated interval.
    pub(super) fn new(
        socket: W,
        outbox: Arc<Outbox>,
        frame_max: u32,
        heartbeat: Option<Duration>,
    ) -> Self {
        let frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX);
        Self { socket, outbox, frame_max, heartbeat, gather: Gather::default(), tags: Vec::new() }
    }

    /// Writes until the outbox ends or the socket does.
    pub(super) async fn run(mut self) {
        let mut last_write = Instant::now();
        loop {
            let taken = self.outbox.take();
            if taken.items.is_empty() {
                if taken.ended || !self.wait(last_write).await {
                    break;
                }
                if self.gather.buffer().is_empty() {
                    continue;
                }
            }
            let cost = taken.items.into_iter().map(|item| self.encode(item)).sum();
            let written = self.write().await;
            self.outbox.made_room(cost);
            if written.is_err() {
                break;
            }
            last_write = Instant::now();
        }
        // The other side may be gone already.
        let _ = self.socket.shutdown().await;
    }

    /// Waits for something to write; a heartbeat when it takes long. False when there is nothing
    /// more.
    async fn wait(&mut self, last_write: Instant) -> bool {
        let Some(due) = self.heartbeat.and_then(|silence| last_write.checked_add(silence)) else {
            self.outbox.filled().await;
            return true;
        };
        if tokio::time::timeout_at(due, self.outbox.filled()).await.is_err() {
            encode_heartbeat(self.gather.buffer());
        }
        true
    }

    async fn write(&mut self) -> io::Result<()> {
        self.gather.seal();
        self.socket.write_all_buf(&mut self.gather).await?;
        self.gather.shrink(BUFFER_KEPT_MAX);
        Ok(())
    }

    /// Encodes one item; answers what it took of the delivery limit.
    fn encode(&mut self, item: Outgoing) -> usize {
        match item {
            Outgoing::Method { channel, method } => {
                encode_method(channel, &method, self.gather.buffer());
                0
            }
            Outgoing::Deliveries { channel, consumer, entries } => {
                self.encode_deliveries(&channel, &consumer, &entries)
            }
            Outgoing::GetOk { channel, queue, got, no_ack } => {
                let entry = got.entry;
                let mut tags = std::mem::take(&mut self.tags);
                channel.record(&queue, std::slice::from_ref(&entry), false, no_ack, &mut tags);
                if let Some(delivery_tag) = tags.first() {
                    let method = Method::from(BasicGetOk {
                        delivery_tag: *delivery_tag,
                        redelivered: entry.redelivered,
                        exchange: name(entry.message.exchange()),
                        routing_key: name(entry.message.routing_key()),
                        message_count: u32::try_from(got.remaining).unwrap_or(u32::MAX),
                    });
                    encode_method(channel.number, &method, self.gather.buffer());
                    self.encode_content(channel.number, &entry.message);
                }
                self.tags = tags;
                0
            }
            Outgoing::Return { channel, code, message } => {
                let method = Method::from(BasicReturn {
                    reply_code: code.code(),
                    reply_text: ShortStr::from_static(code.name()),
                    exchange: name(message.exchange()),
                    routing_key: name(message.routing_key()),
                });
                encode_method(channel, &method, self.gather.buffer());
                self.encode_content(channel, &message);
                0
            }
        }
    }

    fn encode_deliveries(
        &mut self,
        channel: &Arc<ChannelShared>,
        consumer: &Arc<Consumer>,
        entries: &[Entry],
    ) -> usize {
        let mut tags = std::mem::take(&mut self.tags);
        channel.record(&consumer.queue, entries, true, consumer.no_ack, &mut tags);
        let mut cost: usize = 0;
        for (index, Entry { message, redelivered, .. }) in entries.iter().enumerate() {
            cost = cost.saturating_add(delivery_cost(message.body_len()));
            let Some(tag) = tags.get(index) else { continue };
            let (number, address, out) = (channel.number, message.address(), self.gather.buffer());
            encode_deliver(number, &consumer.tag, *tag, *redelivered, address, out);
            self.encode_content(channel.number, message);
        }
        self.tags = tags;
        cost
    }

    /// Header and as many body frames as the client's frame_max asks for.
    fn encode_content(&mut self, channel: u16, message: &Message) {
        let (len, properties) = (message.body_len(), message.properties_bytes());
        encode_content_header(channel, len, properties, self.gather.buffer());
        let room = self.frame_max.saturating_sub(FRAME_OVERHEAD).max(1);
        match message.body() {
            BodyRef::Small(body) => {
                let out = self.gather.buffer();
                body.chunks(room).for_each(|part| encode_body_frame(channel, part, out));
            }
            BodyRef::Large(chunks) => {
                for chunk in chunks {
                    let mut rest = chunk.clone();
                    while !rest.is_empty() {
                        let part = rest.split_to(rest.len().min(room));
                        self.gather
                            .buffer()
                            .extend_from_slice(&body_frame_head(channel, part.len()));
                        self.gather.push(&part);
                        self.gather.buffer().extend_from_slice(&[FRAME_END]);
                    }
                }
            }
        }
    }
}

/// A message's own name, for a method.
fn name(text: &str) -> ShortStr {
    // It came from a short string.
    ShortStr::try_from(text).unwrap_or_default()
}
