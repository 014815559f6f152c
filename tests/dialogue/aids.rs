//! What the tests of queues' options share: queues by their options, messages by their properties,
//! the clock, and what a dead letter tells.
//!
//! Times are compared on the broker's own clock, in whole milliseconds: so "never early" holds to
//! the millisecond, and nothing is said of how late a busy machine may be but [`DEADLINE`].

use std::sync::Arc;
use std::time::Instant;

use ferrymq::broker::queue::Queue;
pub use ferrymq::broker::timers::now_ms;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};

use crate::support::*;

/// Declarations are put together step by step.
pub trait Options: Sized {
    fn with(self, argument: &str, value: FieldValue) -> Self;

    fn with_number(self, argument: &str, number: i64) -> Self {
        self.with(argument, FieldValue::I64(number))
    }

    /// What dies in it goes to that queue.
    fn dying_into(self, queue: &str) -> Self {
        let to_default = self.with("x-dead-letter-exchange", long(""));
        to_default.with("x-dead-letter-routing-key", long(queue))
    }

    fn durable(self) -> Self;
}

impl Options for QueueDeclare {
    fn with(mut self, argument: &str, value: FieldValue) -> Self {
        self.arguments.insert(short(argument), value);
        self
    }

    fn durable(self) -> Self {
        Self { durable: true, ..self }
    }
}

pub fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: short(name), ..QueueDeclare::default() }
}

pub fn passive(name: &str) -> QueueDeclare {
    QueueDeclare { passive: true, ..queue(name) }
}

pub fn expiring(ttl: &str) -> Properties {
    (&BasicProperties { expiration: Some(short(ttl)), ..BasicProperties::default() }).into()
}

pub fn ranked(priority: u8) -> Properties {
    (&BasicProperties { priority: Some(priority), ..BasicProperties::default() }).into()
}

/// The queue itself: to look at it without being one who uses it.
pub fn queue_of(broker: &TestBroker, name: &str) -> Option<Arc<Queue>> {
    broker.broker().vhost("/").expect("the default one").queue(&short(name))
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "it never came that {what}");
        std::thread::yield_now();
    }
}

/// Waits until the clock shows at least this.
pub fn wait_for_clock(time_ms: u64) {
    wait_until("the time came", || now_ms() >= time_ms);
}

pub fn confirming(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    assert!(matches!(peer.call(1, ConfirmSelect::default()), Method::ConfirmSelectOk(_)));
    peer
}

/// Whether the broker takes a message of a publisher that publishes one at a time.
pub fn is_taken(peer: &mut Peer) -> bool {
    match peer.receive(1) {
        Method::BasicAck(_) => true,
        Method::BasicNack(_) => false,
        other => panic!("{other:?}"),
    }
}

pub fn prefetch(peer: &mut Peer, prefetch_count: u16) {
    let qos = BasicQos { prefetch_count, ..BasicQos::default() };
    assert!(matches!(peer.call(1, qos), Method::BasicQosOk(_)));
}

pub fn reject(peer: &mut Peer, delivery_tag: u64, requeue: bool) {
    peer.send(1, BasicReject { delivery_tag, requeue });
}

pub fn nack(peer: &mut Peer, delivery_tag: u64, requeue: bool) {
    peer.send(1, BasicNack { delivery_tag, requeue, multiple: false });
}

pub fn ack(peer: &mut Peer, delivery_tag: u64) {
    peer.send(1, BasicAck { delivery_tag, multiple: false });
}

/// The bodies of the ready messages, in order.
pub fn drain(peer: &mut Peer, queue: &str) -> Vec<String> {
    let next = |peer: &mut Peer| Some(text(&peer.get(1, queue, true)?));
    std::iter::from_fn(|| next(peer)).collect()
}

pub fn text(content: &Content) -> String {
    String::from_utf8(content.body.clone()).expect("text")
}

pub fn header(content: &Content, name: &str) -> Option<FieldValue> {
    content.properties.headers()?.get(name).cloned()
}

/// The account of its deaths, most recent first.
pub fn deaths(content: &Content) -> Vec<FieldTable> {
    let Some(FieldValue::Array(deaths)) = header(content, "x-death") else { return Vec::new() };
    deaths.iter().map(|death| death.as_table().expect("a table").clone()).collect()
}

/// The same in short: queue, reason, count.
pub fn deaths_in_short(content: &Content) -> Vec<(String, String, i64)> {
    let field = |death: &FieldTable, name| death.get(name).cloned().expect("every death has it");
    let text = |value: FieldValue| value.as_str().expect("text").to_owned();
    let one = |death: &FieldTable| {
        let count = field(death, "count").as_i64().expect("a number");
        (text(field(death, "queue")), text(field(death, "reason")), count)
    };
    deaths(content).iter().map(one).collect()
}

/// What [`deaths_in_short`] answers for these.
pub fn short_deaths<const N: usize>(of: [(&str, &str, i64); N]) -> Vec<(String, String, i64)> {
    of.map(|(queue, reason, count)| (queue.to_owned(), reason.to_owned(), count)).to_vec()
}
