//! Many delayed messages: none is early, none is lost, and they come in the order of their times.

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldValue;
use ferrymq::store::simulated::SimulatedDisk;

use crate::aids::*;
use crate::delayed::{own_of, publish, set_up};
use crate::support::*;

/// Times at random, in no order: what they say is in the body. Answers the due time of each that
/// came, in the order in which they came; none is early.
fn due_times(peer: &mut Peer, count: usize) -> Vec<u64> {
    let mut came = Vec::with_capacity(count);
    for number in 1..=count {
        let (tag, _, body) = peer.delivery(1);
        let due_ms = body.parse().expect("a time");
        assert!(now_ms() >= due_ms);
        came.push(due_ms);
        if number % 1000 == 0 {
            peer.send(1, BasicAck { delivery_tag: tag, multiple: true });
        }
    }
    came
}

/// By how much a message that was due earlier came behind another one, at most.
fn disorder_ms(came: &[u64]) -> u64 {
    let mut latest_ms = 0;
    let mut behind = |due_ms: &u64| {
        latest_ms = latest_ms.max(*due_ms);
        latest_ms - due_ms
    };
    came.iter().map(&mut behind).max().unwrap_or(0)
}

struct Random(u32);

impl Random {
    fn below(&mut self, end: u32) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from((self.0 >> 8) % end)
    }
}

fn publish_at(peer: &mut Peer, due_ms: u64, delivery_mode: u8) {
    let headers = table([("x-deliver-at", FieldValue::I64(due_ms.cast_signed()))]);
    let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
    let properties = BasicProperties { delivery_mode: Some(delivery_mode), ..properties };
    publish(peer, &due_ms.to_string(), &Properties::from(&properties));
}

/// The last of so many publishes has been confirmed; it is one that waits for the disk.
fn wait_for_confirms(peer: &mut Peer, upto: u64) {
    while !matches!(peer.receive(1), Method::BasicAck(ack) if ack.delivery_tag == upto) {}
}

/// Those that are long on disk when they are due were once released in the order of their numbers.
#[test]
fn what_has_waited_on_disk_comes_in_the_order_of_its_times() {
    const COUNT: usize = 2_000;
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    let mut consumer = broker.channel();
    consumer.consume(1, "q", "c");
    let (first_ms, mut random) = (now_ms() + 4_000, Random(1));
    (0..COUNT).for_each(|_| publish_at(&mut peer, first_ms + random.below(200), 2));
    wait_for_confirms(&mut peer, COUNT as u64);
    // A broker that is so slow that they are due at once has them in memory.
    let slow_ms = (now_ms() + 2_000).saturating_sub(first_ms);
    let came = due_times(&mut consumer, COUNT);
    assert!(disorder_ms(&came) <= slow_ms, "{} ms, {slow_ms} ms", disorder_ms(&came));
}

/// The order is that of the times but for two things: a message that the broker gets when its time
/// is over comes as late as it got there, and one that waited on disk has to be read back, for which
/// others that are in memory don't wait.
#[test]
fn a_hundred_thousand_messages_come_none_too_early_and_in_the_order_of_their_times() {
    const COUNT: usize = 100_000;
    const WINDOW: usize = 1_000;
    const READ_MS: u64 = 1_000;
    let broker = TestBroker::start();
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    let mut consumer = broker.channel();
    consumer.consume(1, "q", "c");
    let reading = std::thread::spawn(move || due_times(&mut consumer, COUNT));
    let (mut random, mut slowest_ms, mut published) = (Random(1), 0, Vec::new());
    for window in 1..=COUNT / WINDOW {
        let before_ms = now_ms();
        for number in 0..WINDOW {
            let due_ms = now_ms() + random.below(3_000);
            published.push(due_ms);
            publish_at(&mut peer, due_ms, if number % 2 == 0 { 1 } else { 2 });
        }
        wait_for_confirms(&mut peer, (window * WINDOW) as u64);
        slowest_ms = slowest_ms.max(now_ms() - before_ms);
    }
    let mut came = reading.join().expect("all came");
    let (behind_ms, most_ms) = (disorder_ms(&came), slowest_ms + READ_MS);
    assert!(behind_ms <= most_ms, "{behind_ms} ms behind, {most_ms} ms at most");
    came.sort_unstable();
    published.sort_unstable();
    assert!(came == published);
    let status = own_of(&broker, "later").status();
    assert_eq!((status.delayed, status.ready), (0, 0));
}

/// What is due moves in one record of the log: it is in one place or in the other.
#[test]
fn a_power_cut_while_messages_are_due_neither_loses_nor_doubles_any() {
    const COUNT: usize = 3_000;
    let disk = SimulatedDisk::new();
    let broker = TestBroker::on(&disk);
    let mut peer = confirming(&broker);
    set_up(&mut peer, "direct");
    let (first_ms, mut published) = (now_ms() + 2_500, Vec::new());
    for number in 0..COUNT {
        published.push(first_ms + (number * 7 % COUNT) as u64);
        publish_at(&mut peer, published[number], 2);
    }
    wait_for_confirms(&mut peer, COUNT as u64);
    let q = queue_of(&broker, "q").expect("there");
    wait_until("some have come", || q.status().ready >= COUNT / 3);
    let cut = disk.power_cut(0);
    drop((peer, broker));
    let broker = TestBroker::on(&cut);
    let q = queue_of(&broker, "q").expect("there");
    wait_until("all have come", || q.status().ready == COUNT);
    let mut peer = broker.channel();
    peer.consume(1, "q", "c");
    let mut came = due_times(&mut peer, COUNT);
    came.sort_unstable();
    published.sort_unstable();
    assert!(came == published);
    assert_eq!(own_of(&broker, "later").status().delayed, 0);
}
