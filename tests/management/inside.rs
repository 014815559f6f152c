//! What tests do in the broker itself, as a client of AMQP would, without a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16};

use bytes::Bytes;
use ferrymq::broker::auth::Actor;
use ferrymq::broker::changes::Changes;
use ferrymq::broker::durable::Durable;
use ferrymq::broker::publish::PublishBatch;
use ferrymq::broker::queue::{Consumer, Entry, Got, Lane, Queue};
use ferrymq::broker::routing_keys::{Routable, RoutingKeys};
use ferrymq::broker::vhost::{BindRequest, ExchangeDeclare, QueueDeclare, Vhost};
use ferrymq::broker::{Broker, ConnectionId};
use ferrymq::protocol::json;
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::DestinationKind;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::support::TestBroker;

pub fn name(name: &str) -> ShortStr {
    ShortStr::try_from(name).expect("short")
}

/// `guest` in the vhost `/`.
pub struct Inside {
    pub vhost: Arc<Vhost>,
    broker: Arc<Broker>,
    actor: Actor,
    runtime: Runtime,
}

/// Keeps what it gets.
#[derive(Default)]
pub struct Hands(pub Mutex<Vec<Entry>>);

impl Lane for Hands {
    fn reserve(&self, _bytes: u64, _consumer: &Arc<Consumer>) -> bool {
        true
    }

    fn deliver(self: Arc<Self>, _consumer: &Arc<Consumer>, entries: Vec<Entry>) {
        self.0.lock().extend(entries);
    }

    fn cancelled(&self, _consumer: &Arc<Consumer>) {}
}

impl Hands {
    pub fn bodies(&self) -> Vec<String> {
        self.0.lock().iter().map(|entry| body_of(&entry.message)).collect()
    }
}

pub fn body_of(message: &Message) -> String {
    String::from_utf8_lossy(&message.to_body().to_bytes()).into_owned()
}

/// Persistent, with these headers.
pub fn with_headers(headers: &Value) -> BasicProperties {
    let headers = json::to_table(headers.as_object().expect("an object")).expect("fields");
    BasicProperties { delivery_mode: Some(2), headers: Some(headers), ..Default::default() }
}

impl TestBroker {
    pub fn inside(&self) -> Inside {
        let broker = Arc::clone(self.broker());
        let user = broker.user("guest").expect("the default one");
        let actor = Actor { user, connection: ConnectionId(7), peer: ([127, 0, 0, 1], 1).into() };
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        Inside { vhost: broker.vhost("/").expect("the default one"), broker, actor, runtime }
    }
}

impl Inside {
    /// A durable queue.
    pub fn declare(&self, queue: &str, arguments: &Value) -> Arc<Queue> {
        self.declare_as(queue, true, arguments)
    }

    pub fn declare_as(&self, queue: &str, durable: bool, arguments: &Value) -> Arc<Queue> {
        let request = QueueDeclare {
            name: name(queue),
            durable,
            exclusive: false,
            auto_delete: false,
            arguments: json::to_table(arguments.as_object().expect("an object")).expect("fields"),
        };
        let (queue, durable) = self.vhost.declare_queue(request, &self.actor).expect("valid");
        durable.wait_blocking().expect("stored");
        queue
    }

    pub fn declare_exchange(&self, exchange: &str, kind: &str, arguments: &Value) {
        let request = ExchangeDeclare {
            name: name(exchange),
            kind: kind.to_owned(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: json::to_table(arguments.as_object().expect("an object")).expect("fields"),
        };
        let durable = self.vhost.declare_exchange(request, &self.actor).expect("valid");
        durable.wait_blocking().expect("stored");
    }

    pub fn delete_exchange(&self, exchange: &str) {
        let deleted = self.vhost.delete_exchange(&name(exchange), false, &self.actor);
        deleted.expect("it is there").wait_blocking().expect("stored");
    }

    pub fn bind(&self, source: &str, queue: &str, key: &str) {
        let request = BindRequest {
            source: name(source),
            destination_kind: DestinationKind::Queue,
            destination: name(queue),
            key: name(key),
            arguments: Default::default(),
        };
        let bound = self.vhost.bind(request, &self.actor).expect("both are there");
        bound.wait_blocking().expect("stored");
    }

    /// Publishes a persistent message and waits for its confirm.
    pub fn publish(&self, exchange: &str, key: &str, body: &str) {
        let properties = BasicProperties { delivery_mode: Some(2), ..Default::default() };
        self.publish_with(exchange, key, body, &properties);
    }

    pub fn publish_with(&self, to: &str, key: &str, body: &str, properties: &BasicProperties) {
        let batch = self.brought(to, key, body, properties);
        Durable::append(&**self.broker.store(), batch).wait_blocking().expect("confirmed");
    }

    fn brought(&self, to: &str, key: &str, body: &str, properties: &BasicProperties) -> Changes {
        let exchange = self.vhost.publish_target(&name(to), &self.actor).expect("it is there");
        let (key, properties) = (name(key), Properties::from(properties));
        let body = Bytes::copy_from_slice(body.as_bytes()).into();
        let message = Arc::new(Message::new(&exchange.name, &key, &properties, body, false));
        let keys = RoutingKeys::only(&key);
        let routable = Routable { keys, properties: &properties, message: &message };
        let route = self.vhost.route(&exchange, &routable).queues;
        let mut batch = PublishBatch::default();
        batch.bring(message, &properties, &route);
        batch.take()
    }

    /// Publishes many and waits for the last confirm only.
    pub fn publish_all(&self, exchange: &str, key: &str, bodies: impl Iterator<Item = String>) {
        let properties = BasicProperties { delivery_mode: Some(2), ..Default::default() };
        let store = &**self.broker.store();
        let durables: Vec<_> = bodies
            .map(|body| Durable::append(store, self.brought(exchange, key, &body, &properties)))
            .collect();
        durables.into_iter().for_each(|durable| durable.wait_blocking().expect("confirmed"));
    }

    pub fn get(&self, queue: &Arc<Queue>, no_ack: bool) -> Option<Got> {
        let mut batch = Changes::default();
        let got = self.runtime.block_on(queue.get(no_ack, &mut batch)).expect("it can be read");
        queue.append(batch);
        got
    }

    /// Takes the next message and refuses it for good.
    pub fn reject(&self, queue: &Arc<Queue>) {
        let got = self.get(queue, false).expect("there is one");
        let mut batch = Changes::default();
        queue.reject(&[got.entry.place()], &mut batch);
        Durable::append(&**self.broker.store(), batch).wait_blocking().expect("stored");
    }

    /// Takes all messages; their bodies.
    pub fn drain(&self, queue: &Arc<Queue>) -> Vec<String> {
        let bodies = std::iter::from_fn(|| self.get(queue, true));
        bodies.map(|got| body_of(&got.entry.message)).collect()
    }

    /// A consumer without limit.
    pub fn consume(&self, queue: &Arc<Queue>) -> Arc<Hands> {
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
            prefetch_count: AtomicU16::new(0),
            first_prefetch_count: 0,
            timeout: None,
            is_ended: AtomicBool::new(false),
            arguments: Default::default(),
            counts: Default::default(),
            lane: Arc::clone(&hands) as Arc<_>,
        });
        let mut batch = Changes::default();
        queue.add_consumer(consumer, || {}, &mut batch).expect("it may");
        queue.append(batch);
        hands
    }
}
