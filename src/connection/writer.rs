//! The one who writes to a client's socket: takes what is in the outbox, gives deliveries their
//! tags, encodes all of it and writes it in one go.
//!
//! ```text
//!   outbox ──take──▶ encode (tags, ledger) ──▶ vectored write ──▶ room for the resting
//! ```
//!
//! A task of its own, which may wait for the socket. Whoever has nothing else to do may take a turn
//! in its place ([`Writer::write_now`]) and spare the hand-over. Owner of what is encoded and not
//! yet written, under a lock that is held for one turn.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use super::channel::ledger::Recipient;
use super::channel::shared::ChannelShared;
use super::outbox::{Outbox, Outgoing, delivery_cost};
use super::view::View;
use crate::broker::queue::{Consumer, Entry};
use crate::protocol::frame::{
    FRAME_END, FRAME_OVERHEAD, body_frame_head, encode_body_frame, encode_content_header,
    encode_deliver, encode_heartbeat, encode_method,
};
use crate::protocol::gather::{Gather, SLICES_MAX};
use crate::protocol::generated::{BasicGetOk, BasicReturn, Method};
use crate::protocol::message::{BodyRef, Message};
use crate::protocol::wire::ShortStr;

/// A buffer larger than this is given back when there is nothing to write.
const BUFFER_KEPT_MAX: usize = 16 * 1024;

/// What the frames of a delivery are beside the consumer's tag and the message as it is kept, if
/// its body takes one frame.
const DELIVERY_ROOM: usize = 50;

pub(super) struct Writer {
    socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    view: Arc<View>,
    /// The silence after which a heartbeat is sent: half the negotiated interval.
    heartbeat: Option<Duration>,
    pen: Mutex<Pen>,
}

/// What is encoded and not yet written.
struct Pen {
    frame_max: usize,
    gather: Gather,
    /// What of it is deliveries, as the outbox counts them.
    cost: usize,
    tags: Vec<u64>,
    last_write: Instant,
}

/// How a turn ended.
enum Turn {
    /// Something was written; there may be more.
    Wrote,
    /// There was nothing to write.
    Idle,
    /// The socket takes no more at the moment.
    Blocked,
    /// All is written, and nothing more will come.
    Ended,
}

impl Writer {
    pub(super) fn new(
        socket: OwnedWriteHalf,
        view: Arc<View>,
        frame_max: u32,
        heartbeat: Option<Duration>,
    ) -> Self {
        let pen = Pen {
            frame_max: usize::try_from(frame_max).unwrap_or(usize::MAX),
            gather: Gather::default(),
            cost: 0,
            tags: Vec::new(),
            last_write: Instant::now(),
        };
        let outbox = Arc::clone(&view.outbox);
        Self { socket, outbox, view, heartbeat, pen: Mutex::new(pen) }
    }

    /// Writes until the outbox ends or the socket does.
    pub(super) async fn run(self: Arc<Self>) {
        while let Ok(turn) = self.turn() {
            match turn {
                Turn::Wrote => consume_budget().await,
                Turn::Idle => self.wait().await,
                // An error shows in the next turn.
                Turn::Blocked => drop(self.socket.writable().await),
                Turn::Ended => break,
            }
        }
        let unwritten = std::mem::take(&mut self.pen.lock().cost);
        self.outbox.made_room(unwritten);
        // The other side may be gone already.
        let _ = SockRef::from(self.socket.as_ref()).shutdown(Shutdown::Write);
    }

    /// Writes what there is, here and now, as far as the socket takes it; the task does the rest.
    /// For callers that may not wait and have nothing else to do.
    pub(super) fn write_now(&self) {
        // Somebody else's turn, a full socket, an error: the task will see.
        if !matches!(self.pen.try_lock().map(|mut pen| self.write(&mut pen)), Some(Ok(Turn::Wrote)))
        {
            self.outbox.ring();
        }
    }

    /// Has the task look.
    pub(super) fn ring(&self) {
        self.outbox.ring();
    }

    fn turn(&self) -> io::Result<Turn> {
        self.write(&mut self.pen.lock())
    }

    /// Takes out what there is, encodes and writes it; or first what a turn before has left.
    fn write(&self, pen: &mut Pen) -> io::Result<Turn> {
        if pen.gather.is_empty() {
            let taken = self.outbox.take();
            if taken.items.is_empty() {
                self.outbox.made_room(0);
                pen.gather.shrink(BUFFER_KEPT_MAX);
                return Ok(if taken.ended { Turn::Ended } else { Turn::Idle });
            }
            let cost: usize = taken.items.into_iter().map(|item| pen.encode(item)).sum();
            pen.cost = pen.cost.saturating_add(cost);
        }
        pen.gather.seal();
        while pen.gather.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = pen.gather.chunks_vectored(&mut slices);
            match self.socket.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.view.sent.bytes.add(written as u64);
                    self.view.sent.count.add(1);
                    pen.gather.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Turn::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        pen.last_write = Instant::now();
        self.outbox.made_room(std::mem::take(&mut pen.cost));
        Ok(Turn::Wrote)
    }

    /// Waits for something to write; a heartbeat when it takes long.
    async fn wait(&self) {
        let due = |pen: &Pen| pen.last_write.checked_add(self.heartbeat?);
        let Some(next) = due(&self.pen.lock()) else { return self.outbox.filled().await };
        if tokio::time::timeout_at(next, self.outbox.filled()).await.is_ok() {
            return;
        }
        let mut pen = self.pen.lock();
        // Somebody else may have written meanwhile.
        if due(&pen).is_some_and(|due| due <= Instant::now()) {
            encode_heartbeat(pen.gather.buffer());
        }
    }
}

impl Pen {
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
                let recipient = Recipient::Get(queue);
                channel.record(&recipient, std::slice::from_ref(&entry), no_ack, &mut tags);
                if let Some(delivery_tag) = tags.first() {
                    channel.trace(recipient.queue(), std::slice::from_ref(&entry));
                    let method = Method::from(BasicGetOk {
                        delivery_tag: *delivery_tag,
                        redelivered: entry.redelivered,
                        exchange: name(entry.message.exchange()),
                        routing_key: name(entry.message.routing_key()),
                        message_count: u32::try_from(got.remaining).unwrap_or(u32::MAX),
                    });
                    encode_method(channel.number, &method, self.gather.buffer());
                    self.encode_entry(channel.number, &entry);
                }
                self.tags = tags;
                0
            }
            Outgoing::Reply { channel, consumer_tag, message } => {
                if let Some(tag) = channel.pass() {
                    let (address, out) = (message.address(), self.gather.buffer());
                    encode_deliver(channel.number, &consumer_tag, tag, false, address, out);
                    self.encode_content(channel.number, &message, message.properties_bytes());
                }
                delivery_cost(message.body_len())
            }
            Outgoing::Return { channel, code, message } => {
                let method = Method::from(BasicReturn {
                    reply_code: code.code(),
                    reply_text: ShortStr::from_static(code.name()),
                    exchange: name(message.exchange()),
                    routing_key: name(message.routing_key()),
                });
                encode_method(channel, &method, self.gather.buffer());
                self.encode_content(channel, &message, message.properties_bytes());
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
        let recipient = Recipient::Consumer(Arc::clone(consumer));
        channel.record(&recipient, entries, consumer.no_ack, &mut tags);
        channel.trace(&consumer.queue, entries.get(..tags.len()).unwrap_or_default());
        let frames = DELIVERY_ROOM.saturating_add(consumer.tag.len());
        let room = entries.iter().map(|entry| entry.message.packed().len().saturating_add(frames));
        self.gather.buffer().reserve(room.sum());
        let mut cost: usize = 0;
        for (index, entry) in entries.iter().enumerate() {
            let Entry { message, redelivered, .. } = entry;
            cost = cost.saturating_add(delivery_cost(message.body_len()));
            let Some(tag) = tags.get(index) else { continue };
            let (number, address, out) = (channel.number, message.address(), self.gather.buffer());
            encode_deliver(number, &consumer.tag, *tag, *redelivered, address, out);
            self.encode_entry(channel.number, entry);
        }
        self.tags = tags;
        cost
    }

    /// The content of a delivery. One that has failed before says how often.
    fn encode_entry(&mut self, channel: u16, entry: &Entry) {
        let message = &entry.message;
        match entry.counted_properties() {
            None => self.encode_content(channel, message, message.properties_bytes()),
            Some(counted) => self.encode_content(channel, message, counted.as_bytes()),
        }
    }

    /// Header and as many body frames as the client's frame_max asks for.
    fn encode_content(&mut self, channel: u16, message: &Message, properties: &[u8]) {
        let len = message.body_len();
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
