//! Pressure: clients that publish without a pause, and clients that don't read what they get. What
//! others get from the broker goes on meanwhile, and its memory stays bounded.
//!
//! Each test tells which mistake it is there to catch.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferrymq::protocol::frame::{encode_body_frame, encode_content_header, encode_method};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::support::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Clients that read nothing.
const DEAF: usize = 100;

/// More than fits into the buffers between the broker's outbox and a client that reads nothing.
const DEAF_BUFFERS: usize = 12 * MIB;

/// Below the largest frame.
const LARGE_BODY: usize = 96 * KIB;

/// What a queue holds, and what may be in memory meanwhile: what is in flight to the disk, as it
/// came and as it is written, the queue's head (4 MiB), an outbox (0.5 MiB), the program itself, and
/// some more for the allocator.
const HELD: usize = 200 * MIB;
const IN_FLIGHT_MAX: usize = 8 * MIB;
const RESIDENT_MAX: usize = 80 * MIB;

/// The frames of so many publishes to a queue.
fn publishes(count: usize, queue: &str, body: &[u8], properties: &Properties) -> BytesMut {
    let mut one = BytesMut::new();
    let publish = BasicPublish { routing_key: short(queue), ..BasicPublish::default() };
    encode_method(1, &publish.into(), &mut one);
    encode_content_header(1, body.len() as u64, properties.as_bytes(), &mut one);
    encode_body_frame(1, body, &mut one);
    one.repeat(count).as_slice().into()
}

fn declare_durable(peer: &mut Peer, name: &str) {
    peer.declare(1, QueueDeclare { queue: short(name), durable: true, ..QueueDeclare::default() });
}

fn select_confirms(peer: &mut Peer) {
    assert!(matches!(peer.call(1, ConfirmSelect::default()), Method::ConfirmSelectOk(_)));
}

/// Publishes and waits for the confirm: what was published before is on disk, too.
fn publish_confirmed(peer: &mut Peer, queue: &str, body: &str) {
    peer.publish_with(1, "", queue, body.as_bytes(), &persistent());
    assert!(matches!(peer.receive(1), Method::BasicAck(_)));
}

fn set_prefetch(peer: &mut Peer, prefetch_count: u16) {
    let qos = BasicQos { prefetch_count, ..BasicQos::default() };
    assert!(matches!(peer.call(1, qos), Method::BasicQosOk(_)));
}

/// The bodies of the next deliveries, acked one by one.
fn take(peer: &mut Peer, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let (delivery_tag, _, body) = peer.delivery(1);
        peer.send(1, BasicAck { delivery_tag, multiple: false });
        bodies.push(body);
    }
    bodies
}

/// A broker with little in flight to the disk, so that whoever waits for the disk behind a flood
/// does not wait for much.
fn flooded_broker() -> TestBroker {
    TestBroker::with(|config| config.store.in_flight_bytes_max = MIB as u64)
}

/// A client that publishes persistent messages as fast as the broker takes them, without confirms,
/// until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    const AT_ONCE: usize = 100;

    fn begin(broker: &TestBroker, queue: &str) -> Self {
        let mut peer = broker.channel();
        let frames = publishes(Self::AT_ONCE, queue, &[b'.'; 500], &persistent());
        let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&published));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                peer.send_raw(&frames);
                counted.fetch_add(Self::AT_ONCE as u64, Ordering::Relaxed);
            }
        });
        Self { stop, published, thread: Some(thread) }
    }

    /// Waits until it has published so many more messages: more than what can be on its way.
    fn wait_for(&self, more: u64) {
        let enough = self.published.load(Ordering::Relaxed) + more;
        let begin = Instant::now();
        while self.published.load(Ordering::Relaxed) < enough {
            assert!(begin.elapsed() < DEADLINE, "the broker takes nothing any more");
            thread::yield_now();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "a flood has failed");
    }
}

/// The broker as a process, so that its memory is its own.
struct Daemon {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq"));
        command.env_clear().stdin(Stdio::null()).arg("--data-dir").arg(directory.path());
        command.args(["--http-listen", "127.0.0.1:0", "--metrics-listen", "none"]);
        command.args(["--log-level", "error"]);
        // What the allocator keeps of freed memory for a moment is not the broker's.
        command.env("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");
        command.args(["--amqp-listen", &address.to_string()]);
        command.args(["--store-in-flight-bytes-max", &IN_FLIGHT_MAX.to_string()]);
        let child = command.spawn().expect("the program runs");
        let daemon = Self { child, address, _directory: directory };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < DEADLINE, "it does not start");
            thread::sleep(Duration::from_millis(1));
        }
        daemon
    }

    fn channel(&self) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.open("guest");
        peer.open_channel(1);
        peer
    }

    /// The most that it ever had in memory.
    fn resident_peak(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * KIB
    }

    /// Publishes 200 MiB to a durable queue as fast as they are taken, until they are on disk.
    fn fill(&self, queue: &str) {
        let mut publisher = self.channel();
        let body = vec![b'.'; 16 * KIB];
        let frames = publishes(64, queue, &body, &persistent());
        for _ in 0..HELD / (64 * body.len()) {
            publisher.send_raw(&frames);
        }
        select_confirms(&mut publisher);
        publish_confirmed(&mut publisher, queue, "the last");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Catches a queue that isn't paged out, and publishers that aren't held back while the disk is
/// slower than they are: both keep all 200 MiB in memory.
#[test]
fn a_long_queue_is_not_kept_in_memory_however_fast_it_is_filled() {
    let daemon = Daemon::start();
    let mut peer = daemon.channel();
    declare_durable(&mut peer, "q");
    daemon.fill("q");
    assert_eq!(peer.ready(1, "q") as usize, HELD / (16 * KIB) + 1);
    let peak = daemon.resident_peak();
    assert!(peak < RESIDENT_MAX, "{} MiB were resident", peak / MIB);
}

/// Catches an outbox without a limit, into which all 200 MiB are moved for a consumer without a
/// prefetch.
#[test]
fn a_consumer_that_reads_nothing_is_not_given_the_queue_in_memory() {
    let daemon = Daemon::start();
    let mut deaf = daemon.channel();
    declare_durable(&mut deaf, "q");
    deaf.consume(1, "q", "deaf");
    daemon.fill("q");
    let ready = daemon.channel().ready(1, "q") as usize;
    assert!(ready * 16 * KIB > HELD - DEAF_BUFFERS, "only {ready} messages are left in the queue");
    let peak = daemon.resident_peak();
    assert!(peak < RESIDENT_MAX, "{} MiB were resident", peak / MIB);
}

/// Catches deliveries that wait for a pause of the publishers: on the queue's lock, for the mark or
/// the read that a long queue needs in order to deliver, behind all that is to be written.
#[test]
fn a_backlog_is_consumed_in_order_while_two_publishers_publish_without_a_pause() {
    // More than a queue keeps in memory, so that it is read back under pressure, too.
    const BACKLOG: usize = 1500;
    let body = |number: usize| format!("{number:05000}");
    let broker = flooded_broker();
    let mut peer = broker.channel();
    declare_durable(&mut peer, "q");
    for number in 0..BACKLOG {
        peer.publish_with(1, "", "q", body(number).as_bytes(), &persistent());
    }
    peer.wait_for_ready(1, "q", BACKLOG as u32);
    let floods = [Flood::begin(&broker, "q"), Flood::begin(&broker, "q")];
    for flood in &floods {
        flood.wait_for(Flood::AT_ONCE as u64);
    }
    set_prefetch(&mut peer, 50);
    peer.consume(1, "q", "c");
    for (number, taken) in take(&mut peer, BACKLOG).into_iter().enumerate() {
        assert!(taken == body(number), "{} came, not {number}", taken.trim_start_matches('0'));
    }
    // And the consumer has not stopped them either.
    for flood in &floods {
        flood.wait_for(1);
    }
}

/// Catches a reader that keeps its thread as long as its client goes on publishing: there are more
/// floods than threads. And a log that serves who brings most.
#[test]
fn connections_get_their_answers_while_others_publish_without_a_pause() {
    let broker = flooded_broker();
    let mut peer = broker.channel();
    declare_durable(&mut peer, "flooded");
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let floods: Vec<_> = (0..=threads).map(|_| Flood::begin(&broker, "flooded")).collect();
    for flood in &floods {
        flood.wait_for(Flood::AT_ONCE as u64);
    }
    select_confirms(&mut peer);
    for round in 0..10 {
        let queue = format!("q{round}");
        declare_durable(&mut peer, &queue);
        publish_confirmed(&mut peer, &queue, "asked");
        let got = peer.get(1, &queue, true).expect("the one that was confirmed");
        assert_eq!(got.body, b"asked");
        assert_eq!(broker.channel().ready(1, &queue), 0, "to a client that comes meanwhile");
    }
    for flood in &floods {
        flood.wait_for(1);
    }
}

/// Catches a queue that waits for a consumer that has had its one message and does not ack it.
#[test]
fn a_consumer_gets_all_beside_a_hundred_that_hold_one_message_each() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    publisher.declare_queue(1, "q");
    let deaf: Vec<Peer> = (0..DEAF)
        .map(|_| {
            let mut deaf = broker.channel();
            set_prefetch(&mut deaf, 1);
            deaf.consume(1, "q", "deaf");
            deaf
        })
        .collect();
    let mut quick = broker.channel();
    for number in 0..DEAF {
        publisher.publish(1, "", "q", &format!("theirs {number}"));
    }
    publisher.sync(1);
    quick.consume(1, "q", "quick");
    for number in 0..1000 {
        publisher.publish(1, "", "q", &format!("{number}"));
    }
    assert!(take(&mut quick, 1000).into_iter().eq((0..1000).map(|number| number.to_string())));
    drop(deaf);
    // What they held goes to the one that is left.
    assert_eq!(take(&mut quick, DEAF).len(), DEAF);
}

/// Catches a queue that waits for room in the outbox of a client that reads nothing.
#[test]
fn a_consumer_gets_its_messages_beside_a_hundred_whose_sockets_are_full() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    publisher.declare_queue(1, "q");
    let deaf: Vec<Peer> = (0..DEAF)
        .map(|_| {
            let mut deaf = broker.channel();
            deaf.consume(1, "q", "deaf");
            deaf
        })
        .collect();
    let frames = publishes(8, "q", &[b'.'; LARGE_BODY], &Properties::default());
    let mut published = 0;
    // What none of them has room for stays in the queue.
    while publisher.ready(1, "q") < 100 {
        publisher.send_raw(&frames);
        published += frames.len();
        assert!(published < DEAF * DEAF_BUFFERS, "the consumers take all that comes");
    }
    let mut quick = broker.channel();
    quick.consume(1, "q", "quick");
    assert_eq!(take(&mut quick, 100).len(), 100);
    drop(deaf);
}

/// Catches an exchange whose messages wait for the slowest of their queues.
#[test]
fn a_queue_of_a_fanout_gets_all_beside_a_hundred_whose_consumers_read_nothing() {
    let broker = TestBroker::start();
    let mut publisher = broker.channel();
    let deaf: Vec<Peer> = (0..DEAF)
        .map(|number| {
            let (mut deaf, queue) = (broker.channel(), format!("deaf {number}"));
            deaf.declare_queue(1, &queue);
            deaf.bind(1, &queue, "amq.fanout", "");
            deaf.consume(1, &queue, "deaf");
            deaf
        })
        .collect();
    let mut quick = broker.channel();
    quick.declare_queue(1, "quick");
    quick.bind(1, "quick", "amq.fanout", "");
    quick.consume(1, "quick", "quick");
    let body = ".".repeat(LARGE_BODY);
    let reader = thread::spawn(move || take(&mut quick, DEAF_BUFFERS / LARGE_BODY).len());
    for _ in 0..DEAF_BUFFERS / LARGE_BODY {
        publisher.publish(1, "amq.fanout", "", &body);
    }
    assert_eq!(reader.join().expect("all came"), DEAF_BUFFERS / LARGE_BODY);
    // So the others are full, and have been passed over.
    for number in 0..DEAF {
        assert!(publisher.ready(1, &format!("deaf {number}")) > 0, "queue {number} is not full");
    }
    drop(deaf);
}
