//! What it costs to find a message's queues, and to bind and unbind, by the number of bindings.
//!
//! `cargo bench --bench routing`, with a part of a name behind it for some of them. Whatever the
//! number of bindings, a message has one queue to go to; only a fanout exchange has no bindings
//! that don't match, and there a queue is what is counted. Where one of all queues is chosen, each
//! binding has its own. The figures of a row should be the same
//! from the first line to the last, but for what larger tables cost the processor's caches.

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use ferrymq::broker::auth::Actor;
use ferrymq::broker::exchange::Exchange;
use ferrymq::broker::routing_keys::{ExtraKeys, Routable, RoutingKeys};
use ferrymq::broker::vhost::{BindRequest, ExchangeDeclare, QueueDeclare, Vhost};
use ferrymq::broker::{Broker, BrokerSettings};
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::DestinationKind;
use ferrymq::store::record::{Batch, QueueId, Seq};
use ferrymq::store::{
    Committed, Epoch, OnCommit, OnRead, Opened, Page, Position, ReadLimit, Space, Store, StoreState,
};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const BINDINGS: [usize; 4] = [1, 100, 10_000, 100_000];

/// Different messages that are routed in turn.
const MESSAGES_MAX: usize = 1000;

fn main() {
    divan::main();
}

/// A disk that takes everything and forgets it.
struct NoStore(watch::Sender<StoreState>, watch::Sender<Space>);

impl Store for NoStore {
    fn append(&self, _: Batch, on_commit: Option<OnCommit>) {
        if let Some(on_commit) = on_commit {
            on_commit(Ok(Committed { position: Position(1), alone: true }));
        }
    }

    fn read(&self, _: QueueId, _: Seq, _: ReadLimit, on_read: OnRead) {
        on_read(Page::default());
    }

    fn read_each(&self, _: QueueId, _: Vec<Seq>, on_read: OnRead) {
        on_read(Page::default());
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.0.subscribe()
    }

    fn space(&self) -> watch::Receiver<Space> {
        self.1.subscribe()
    }

    fn close(&self) {}
}

/// A kind of exchange, and what its bindings and messages look like.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// By its number: a binding's key and arguments.
    binding: fn(usize) -> (ShortStr, FieldTable),
    /// By the number of the binding that matches: a message's key and properties.
    message: fn(usize) -> (ShortStr, Properties),
    /// As many queues as there are bindings, or one.
    is_a_queue_each: bool,
    /// A message goes to all of them, not to one.
    is_for_all: bool,
}

const DIRECT: Kind = Kind {
    name: "direct",
    binding: |number| (name(&format!("key.{number}")), FieldTable::default()),
    message: |number| (name(&format!("key.{number}")), Properties::default()),
    is_a_queue_each: false,
    is_for_all: false,
};

/// All of them match, so that each has a queue of its own.
const FANOUT: Kind = Kind {
    name: "fanout",
    binding: |_| Default::default(),
    message: |_| Default::default(),
    is_a_queue_each: true,
    is_for_all: true,
};

const TOPIC: Kind = Kind {
    name: "topic",
    binding: |number| (name(&format!("stock.{number}.*")), FieldTable::default()),
    message: |number| (name(&format!("stock.{number}.usd")), Properties::default()),
    is_a_queue_each: false,
    is_for_all: false,
};

/// Each needs two headers, one of which all have in common.
const HEADERS: Kind = Kind {
    name: "headers",
    binding: |number| (ShortStr::default(), headers(number)),
    message: |number| {
        let headers = Some(headers(number));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        (ShortStr::default(), Properties::from(&properties))
    },
    is_a_queue_each: false,
    is_for_all: false,
};

/// Each with a weight of 1.
const CONSISTENT_HASH: Kind = Kind {
    name: "x-consistent-hash",
    binding: |_| (name("1"), FieldTable::default()),
    message: |number| (name(&format!("key.{number}")), Properties::default()),
    is_a_queue_each: true,
    is_for_all: false,
};

const MODULUS_HASH: Kind = Kind { name: "x-modulus-hash", ..CONSISTENT_HASH };

const RANDOM: Kind = Kind { name: "x-random", ..CONSISTENT_HASH };

fn name(text: &str) -> ShortStr {
    ShortStr::try_from(text).expect("short")
}

fn headers(number: usize) -> FieldTable {
    let number = FieldValue::I64(i64::try_from(number).expect("small"));
    let kind = FieldValue::LongStr(Bytes::from_static(b"order"));
    FieldTable::from_iter([
        (ShortStr::from_static("kind"), kind),
        (ShortStr::from_static("number"), number),
    ])
}

/// A vhost with one exchange and its bindings.
struct Topology {
    vhost: Arc<Vhost>,
    actor: Actor,
    exchange: Arc<Exchange>,
    kind: Kind,
}

impl Topology {
    fn new(kind: Kind, bindings: usize) -> Self {
        let store =
            NoStore(watch::Sender::new(StoreState::Open), watch::Sender::new(Space::Enough));
        let opened = Opened {
            store: Arc::new(store),
            audit: Default::default(),
            epoch: Epoch(1),
            catalog: Vec::new(),
            queues: Vec::new(),
        };
        let broker = Broker::open(opened, BrokerSettings::default()).expect("an empty store");
        let vhost = broker.vhost("/").expect("a new store has it");
        let user = broker.user("guest").expect("a new store has it");
        let actor = Actor {
            user,
            connection: broker.next_connection_id(),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let request = ExchangeDeclare {
            name: name(kind.name),
            kind: kind.name.to_owned(),
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::default(),
        };
        vhost.declare_exchange(request, &actor).expect("new").wait_blocking().expect("no disk");
        let exchange = vhost.exchange(kind.name).expect("just made");
        let topology = Self { vhost, actor, exchange, kind };
        for number in 0..bindings {
            topology.bind(number);
        }
        topology
    }

    /// What one binding is in a request; its queue is there afterwards.
    fn request(&self, number: usize) -> BindRequest {
        let queue = if self.kind.is_a_queue_each { format!("q{number}") } else { "q".to_owned() };
        let request = QueueDeclare {
            name: name(&queue),
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: FieldTable::default(),
        };
        drop(self.vhost.declare_queue(request, &self.actor).expect("a fine name"));
        let (key, arguments) = (self.kind.binding)(number);
        BindRequest {
            source: self.exchange.name.clone(),
            destination_kind: DestinationKind::Queue,
            destination: name(&queue),
            key,
            arguments,
        }
    }

    fn bind(&self, number: usize) {
        drop(self.vhost.bind(self.request(number), &self.actor).expect("both ends are there"));
    }
}

/// Routes messages in turn, each with another of the bindings.
fn route(bencher: Bencher<'_, '_>, kind: Kind, bindings: usize) {
    let topology = Topology::new(kind, bindings);
    let Topology { vhost, exchange, .. } = &topology;
    let many = bindings.min(MESSAGES_MAX);
    let messages: Vec<_> = (0..many)
        .map(|number| {
            let (key, properties) = (kind.message)(number * bindings / many);
            let message = Message::small(&exchange.name, &key, &properties, &[], false);
            (key, properties, Arc::new(message))
        })
        .collect();
    let matches = if kind.is_for_all { bindings } else { 1 };
    let mut next = 0;
    bencher.counter(ItemsCount::new(matches)).bench_local(|| {
        let (key, properties, message) = &messages[next % many];
        next += 1;
        let keys = RoutingKeys::only(key);
        let routed = vhost.route(exchange, &Routable { keys, properties, message });
        assert_eq!(routed.queues.len(), matches);
        routed
    });
}

/// Binds once more and takes that binding away again.
fn bind_and_unbind(bencher: Bencher<'_, '_>, kind: Kind, bindings: usize) {
    let topology = Topology::new(kind, bindings);
    let Topology { vhost, actor, .. } = &topology;
    let request = topology.request(bindings);
    bencher.with_inputs(|| (request.clone(), request.clone())).bench_local_values(
        |(bind, unbind)| {
            drop(vhost.bind(bind, actor).expect("both ends are there"));
            drop(vhost.unbind(unbind, actor).expect("it is there"));
        },
    );
}

/// Deletes an exchange with so many bindings. An item is a binding.
fn delete(bencher: Bencher<'_, '_>, kind: Kind, bindings: usize) {
    bencher
        .counter(ItemsCount::new(bindings))
        .with_inputs(|| Topology::new(kind, bindings))
        .bench_local_refs(|topology| {
            let Topology { vhost, actor, exchange, .. } = topology;
            drop(vhost.delete_exchange(&exchange.name, false, actor).expect("it is there"));
        });
}

/// Looking for the keys that headers add: once for properties that came before unchanged.
mod extra_keys {
    use super::*;

    fn find(bencher: Bencher<'_, '_>, headers: Option<FieldTable>) {
        let properties =
            Properties::from(&BasicProperties { headers, ..BasicProperties::default() });
        bencher.bench_local(|| ExtraKeys::of(&properties).expect("arrays"));
    }

    #[divan::bench]
    fn without_headers(bencher: Bencher<'_, '_>) {
        find(bencher, None);
    }

    #[divan::bench]
    fn two_headers(bencher: Bencher<'_, '_>) {
        find(bencher, Some(headers(1)));
    }

    #[divan::bench]
    fn two_headers_and_two_keys(bencher: Bencher<'_, '_>) {
        let mut headers = headers(1);
        let keys = [&b"audit"[..], b"copy"].map(|key| FieldValue::LongStr(key.into()));
        headers.insert(ShortStr::from_static("CC"), FieldValue::Array(keys.into()));
        find(bencher, Some(headers));
    }
}

mod message {
    use super::*;

    #[divan::bench(args = BINDINGS)]
    fn direct(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, DIRECT, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn fanout(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, FANOUT, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn topic(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, TOPIC, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn headers(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, HEADERS, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn consistent_hash(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, CONSISTENT_HASH, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn modulus_hash(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, MODULUS_HASH, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn random(bencher: Bencher<'_, '_>, bindings: usize) {
        route(bencher, RANDOM, bindings);
    }
}

mod binding {
    use super::*;

    #[divan::bench(args = BINDINGS)]
    fn direct(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, DIRECT, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn fanout(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, FANOUT, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn topic(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, TOPIC, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn headers(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, HEADERS, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn consistent_hash(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, CONSISTENT_HASH, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn modulus_hash(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, MODULUS_HASH, bindings);
    }

    #[divan::bench(args = BINDINGS)]
    fn random(bencher: Bencher<'_, '_>, bindings: usize) {
        bind_and_unbind(bencher, RANDOM, bindings);
    }
}

mod deleting {
    use super::*;

    #[divan::bench(args = BINDINGS, sample_count = 3, sample_size = 1)]
    fn direct(bencher: Bencher<'_, '_>, bindings: usize) {
        delete(bencher, DIRECT, bindings);
    }

    #[divan::bench(args = BINDINGS, sample_count = 3, sample_size = 1)]
    fn fanout(bencher: Bencher<'_, '_>, bindings: usize) {
        delete(bencher, FANOUT, bindings);
    }

    #[divan::bench(args = BINDINGS, sample_count = 3, sample_size = 1)]
    fn topic(bencher: Bencher<'_, '_>, bindings: usize) {
        delete(bencher, TOPIC, bindings);
    }

    #[divan::bench(args = BINDINGS, sample_count = 3, sample_size = 1)]
    fn headers(bencher: Bencher<'_, '_>, bindings: usize) {
        delete(bencher, HEADERS, bindings);
    }
}
