//! Queues without sockets and disk: a broker on a store in memory, and consumers that keep what they
//! get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16};

use bytes::Bytes;
use ferrymq::broker::auth::Actor;
use ferrymq::broker::changes::Changes;
use ferrymq::broker::exchange::Exchange;
use ferrymq::broker::publish::PublishBatch;
use ferrymq::broker::queue::{Consumer, Entry, Lane, Queue};
use ferrymq::broker::vhost::{ExchangeDeclare, QueueDeclare, Vhost};
use ferrymq::broker::{Broker, BrokerSettings};
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::{Epoch, Opened};
use parking_lot::Mutex;

use crate::store::MemoryStore;

pub struct Fixture {
    pub store: Arc<MemoryStore>,
    pub broker: Arc<Broker>,
    vhost: Arc<Vhost>,
    actor: Actor,
}

/// Takes what it has room for.
#[derive(Default)]
pub struct Hands {
    pub held: Mutex<Vec<Entry>>,
}

impl Lane for Hands {
    fn reserve(&self, _bytes: u64, _consumer: &Arc<Consumer>) -> bool {
        true
    }

    fn deliver(self: Arc<Self>, _consumer: &Arc<Consumer>, entries: Vec<Entry>) {
        self.held.lock().extend(entries);
    }

    fn cancelled(&self, _consumer: &Arc<Consumer>) {}
}

pub fn name(name: &str) -> ShortStr {
    ShortStr::try_from(name).expect("short")
}

pub fn text(text: &str) -> FieldValue {
    FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes()))
}

impl Fixture {
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let opened = Opened {
            store: Arc::clone(&store) as Arc<_>,
            audit: Default::default(),
            epoch: Epoch(1),
            catalog: Vec::new(),
            queues: Vec::new(),
        };
        let settings = BrokerSettings { queue_memory_bytes_max: 0, ..BrokerSettings::default() };
        let broker = Broker::open(opened, settings).expect("a new broker");
        store.wait_from_now_on();
        let vhost = broker.vhost("/").expect("the default one");
        let user = broker.user("guest").expect("the default one");
        let actor = Actor {
            user,
            connection: broker.next_connection_id(),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        Self { store, broker, vhost, actor }
    }

    pub fn declare<const N: usize>(
        &self,
        queue: &str,
        arguments: [(&str, FieldValue); N],
    ) -> Arc<Queue> {
        let arguments = arguments.into_iter().map(|(argument, value)| (name(argument), value));
        let request = QueueDeclare {
            name: name(queue),
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: arguments.collect::<FieldTable>(),
        };
        let (queue, durable) = self.vhost.declare_queue(request, &self.actor).expect("valid");
        self.answer_all();
        drop(durable);
        queue
    }

    pub fn declare_exchange<const N: usize>(
        &self,
        exchange: &str,
        durable: bool,
        arguments: [(&str, FieldValue); N],
    ) -> Arc<Exchange> {
        let arguments = arguments.into_iter().map(|(argument, value)| (name(argument), value));
        let request = ExchangeDeclare {
            name: name(exchange),
            kind: "fanout".to_owned(),
            durable,
            auto_delete: false,
            internal: false,
            arguments: arguments.collect::<FieldTable>(),
        };
        let durable = self.vhost.declare_exchange(request, &self.actor).expect("valid");
        self.answer_all();
        drop(durable);
        self.vhost.exchange(&name(exchange)).expect("there")
    }

    /// Answers what the store was asked, and what comes of that.
    pub fn answer_all(&self) {
        while self.store.answer() {}
    }

    /// A consumer that takes so many messages at a time; 0 is any number.
    pub fn consume(&self, queue: &Arc<Queue>, prefetch_count: u16) -> (Arc<Consumer>, Arc<Hands>) {
        let hands = Arc::new(Hands::default());
        let consumer = Arc::new(Consumer {
            id: self.broker.next_id(),
            tag: name("c"),
            queue: Arc::clone(queue),
            connection: self.actor.connection,
            channel: 1,
            no_ack: false,
            exclusive: false,
            priority: 0,
            prefetch_count: AtomicU16::new(prefetch_count),
            first_prefetch_count: prefetch_count,
            timeout: None,
            is_ended: AtomicBool::new(false),
            arguments: FieldTable::default(),
            counts: Default::default(),
            lane: Arc::clone(&hands) as Arc<_>,
        });
        let mut batch = Changes::default();
        queue.add_consumer(Arc::clone(&consumer), || {}, &mut batch).expect("it may");
        queue.append(batch);
        (consumer, hands)
    }

    /// Publishes to a queue by its name; whether it was taken.
    pub fn publish(&self, queue: &Arc<Queue>, message: Arc<Message>) -> bool {
        let (mut batch, route) = (PublishBatch::default(), [Arc::clone(queue)].into());
        let properties = message.properties();
        let is_taken = batch.bring(message, &properties, &route);
        queue.append(batch.take());
        is_taken
    }
}

/// A message with a number for a body, padded to a length.
pub fn numbered(number: u64, len: usize, persistent: bool, priority: u8) -> Message {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(body.len().max(len), 0);
    let delivery_mode = Some(if persistent { 2 } else { 1 });
    let properties =
        BasicProperties { delivery_mode, priority: Some(priority), ..BasicProperties::default() };
    let properties = Properties::from(&properties);
    let body = Bytes::from(body).into();
    Message::new(&ShortStr::default(), &name("q"), &properties, body, false)
}

pub fn number_of(message: &Message) -> u64 {
    let body = message.to_body().to_bytes();
    let number = body.first_chunk().copied().expect("eight bytes");
    u64::from_be_bytes(number)
}
