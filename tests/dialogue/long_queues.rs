//! Queues longer than what is kept of them in memory: the same to a client as short ones.

use std::time::Instant;

use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::store::simulated::SimulatedDisk;

use crate::support::*;

/// Several times what a queue's head keeps in memory.
const COUNT: u32 = 3000;
const BODY_LEN: usize = 5000;

const PREFETCH: usize = 100;

/// One in so many is not stored: it stays in memory in between.
const TRANSIENT_ONE_IN: u32 = 50;

fn body(number: u32) -> String {
    format!("{number:0BODY_LEN$}")
}

fn number_in(body: &str) -> u32 {
    body.trim_start_matches('0').parse().unwrap_or(0)
}

/// A durable queue with so many messages, all of them on disk that can be.
fn fill(peer: &mut Peer, count: u32) {
    peer.declare(1, QueueDeclare { queue: short("q"), durable: true, ..QueueDeclare::default() });
    assert!(matches!(peer.call(1, ConfirmSelect::default()), Method::ConfirmSelectOk(_)));
    for number in 0..count {
        let properties = match number % TRANSIENT_ONE_IN {
            1 => Properties::default(),
            _ => persistent(),
        };
        peer.publish_with(1, "", "q", body(number).as_bytes(), &properties);
    }
    let mut confirmed = Confirmed::default();
    while confirmed.through(count) < count {
        match peer.receive(1) {
            Method::BasicAck(ack) => confirmed.add(&ack),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(peer.ready(1, "q"), count);
}

/// Confirms come alone and for many.
#[derive(Default)]
struct Confirmed {
    alone: std::collections::BTreeSet<u64>,
    upto: u64,
}

impl Confirmed {
    fn add(&mut self, ack: &BasicAck) {
        if ack.multiple {
            self.upto = self.upto.max(ack.delivery_tag);
        } else {
            self.alone.insert(ack.delivery_tag);
        }
    }

    fn through(&self, count: u32) -> u32 {
        let is_there = |tag: &u64| *tag <= self.upto || self.alone.contains(tag);
        u32::try_from((1..=u64::from(count)).take_while(is_there).count()).expect("few")
    }
}

/// A channel that consumes the queue.
fn consumer(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    let qos = BasicQos { prefetch_count: PREFETCH as u16, ..BasicQos::default() };
    assert!(matches!(peer.call(1, qos), Method::BasicQosOk(_)));
    peer.consume(1, "q", "c");
    peer
}

/// The next messages, acked one by one: their numbers, and which were redelivered.
fn take(peer: &mut Peer, count: u32) -> Vec<(u32, bool)> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let (delivery_tag, redelivered, body) = peer.delivery(1);
        assert_eq!(body.len(), BODY_LEN);
        peer.send(1, BasicAck { delivery_tag, multiple: false });
        taken.push((number_in(&body), redelivered));
    }
    taken
}

/// Waits until so many messages are left, a prefetch of them out.
fn wait_until_acked(broker: &TestBroker, left: u32) {
    let vhost = broker.broker().vhost("/").expect("the default one");
    let queue = vhost.queue(&short("q")).expect("declared");
    let start = Instant::now();
    loop {
        let status = queue.status();
        if status.ready + status.unacked == left as usize && status.unacked == PREFETCH {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{status:?}");
    }
}

fn fresh(numbers: impl Iterator<Item = u32>) -> Vec<(u32, bool)> {
    numbers.map(|number| (number, false)).collect()
}

#[test]
fn a_long_queue_is_drained_in_order_with_exact_counts() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    fill(&mut publisher, COUNT);
    let mut peer = consumer(&broker);
    assert_eq!(take(&mut peer, 2000), fresh(0..2000));
    wait_until_acked(&broker, COUNT - 2000);
    drop(peer);
    publisher.wait_for_ready(1, "q", COUNT - 2000);
    let mut peer = consumer(&broker);
    let taken = take(&mut peer, COUNT - 2000);
    assert!(taken.iter().map(|(number, _)| *number).eq(2000..COUNT), "in order");
    // Those that were out come again as redeliveries, the others for the first time.
    assert!(taken[..PREFETCH].iter().all(|(_, redelivered)| *redelivered));
    assert!(taken[2 * PREFETCH..].iter().all(|(_, redelivered)| !redelivered));
    publisher.wait_for_ready(1, "q", 0);
}

#[test]
fn a_long_queue_is_got_one_by_one() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    fill(&mut peer, COUNT);
    for number in 0..COUNT {
        let got = peer.get(1, "q", true).expect("there");
        let Method::BasicGetOk(ok) = &got.method else { panic!("{:?}", got.method) };
        assert_eq!(ok.message_count, COUNT - number - 1);
        assert_eq!(number_in(&String::from_utf8(got.body).expect("text")), number);
    }
    assert!(peer.get(1, "q", true).is_none());
}

#[test]
fn a_long_queue_is_purged_while_it_is_read_back() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    fill(&mut publisher, COUNT);
    let mut peer = consumer(&broker);
    take(&mut peer, 900);
    let purge = QueuePurge { queue: short("q"), no_wait: false };
    let Method::QueuePurgeOk(purged) = publisher.call(1, purge) else { panic!("not purged") };
    // But for what the consumer has.
    assert!((COUNT - 1000..=COUNT - 900).contains(&purged.message_count), "{purged:?}");
    assert_eq!(publisher.ready(1, "q"), 0);
    publisher.publish_with(1, "", "q", body(COUNT).as_bytes(), &persistent());
    let left = COUNT - 900 - purged.message_count;
    let taken = take(&mut peer, left + 1);
    assert_eq!(taken.last(), Some(&(COUNT, false)));
}

#[test]
fn a_long_queue_is_deleted_while_it_is_read_back() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    fill(&mut publisher, COUNT);
    let mut peer = consumer(&broker);
    take(&mut peer, 900);
    let delete = QueueDelete { queue: short("q"), ..QueueDelete::default() };
    let deleted = publisher.call(1, delete);
    assert!(matches!(deleted, Method::QueueDeleteOk(_)), "{deleted:?}");
    drop(publisher);
    fill(&mut broker.channel(), 10);
    let mut peer = consumer(&broker);
    assert_eq!(take(&mut peer, 10), fresh(0..10));
}

#[test]
fn a_long_queue_survives_a_restart_without_what_was_not_stored() {
    let disk = SimulatedDisk::new();
    let mut broker = TestBroker::on(&disk);
    let mut publisher = broker.channel();
    fill(&mut publisher, COUNT);
    let mut peer = consumer(&broker);
    take(&mut peer, 100);
    wait_until_acked(&broker, COUNT - 100);
    drop((peer, publisher));
    broker.restart();
    let stored = |number: &u32| *number >= 100 && number % TRANSIENT_ONE_IN != 1;
    let expected: Vec<u32> = (0..COUNT).filter(stored).collect();
    let mut publisher = broker.channel();
    assert_eq!(publisher.ready(1, "q") as usize, expected.len());
    let mut peer = consumer(&broker);
    let taken = take(&mut peer, u32::try_from(expected.len()).expect("few"));
    assert!(taken.iter().map(|(number, _)| number).eq(&expected));
    assert!(taken[taken.len() - 500..].iter().all(|(_, redelivered)| !redelivered));
}

/// The queue is read back while a message of it is damaged: the others come, and the counts are
/// theirs.
#[test]
fn a_damaged_message_costs_no_other() {
    let disk = SimulatedDisk::new();
    let mut broker = TestBroker::on(&disk);
    fill(&mut broker.channel(), 300);
    broker.stop();
    let damaged = body(77);
    disk.change_files(|_, bytes| {
        let found = bytes.windows(BODY_LEN).position(|window| window == damaged.as_bytes());
        if let Some(place) = found {
            bytes[place + 10] ^= 1;
        }
    });
    broker.restart();
    let left = |number: &u32| *number != 77 && number % TRANSIENT_ONE_IN != 1;
    let expected: Vec<u32> = (0..300).filter(left).collect();
    let mut peer = consumer(&broker);
    let taken = take(&mut peer, u32::try_from(expected.len()).expect("few"));
    assert!(taken.iter().map(|(number, _)| number).eq(&expected));
    broker.channel().wait_for_ready(1, "q", 0);
}
