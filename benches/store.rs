//! What the store costs: messages appended, settled and found again, digests seen, with the processor
//! time of it all. Most of that is spent by the store's own threads, and the rest is waiting for the
//! disk: a harness that times the calling thread would see neither, so that this one counts for itself.
//!
//! `cargo bench --bench store`; the directory to write in is `FERRYMQ_BENCH_DIR` (the system's directory
//! for temporary files without it), which has to be on a disk for the figures to mean anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::{QueueDefinition, VhostDefinition};
use ferrymq::store::record::{QueueId, Record, Seq, SeqRange, Settled};
use ferrymq::store::{self, CatalogChange, Definition, Epoch, Opened, StoreSettings};
use tempfile::TempDir;

const QUEUE: QueueId = QueueId(1);

/// Messages, and bytes of them, that wait for their confirm at any time.
const WINDOW: usize = 20_000;
const WINDOW_BYTES: usize = 64 * 1024 * 1024;

/// Messages in a batch, as one read of a busy socket brings them, and bytes that a read brings at most.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 256 * 1024;

fn main() {
    for (count, body_len) in [(2_000_000, 16), (1_000_000, 1024), (20_000, 64 * 1024)] {
        run(directory().path(), count, body_len);
    }
    one_at_a_time(directory().path(), 5000, 1024);
    reopen(directory().path(), 1_000_000, 100);
    deduplicate(directory().path(), 2_000_000, 1_000_000);
}

/// Enqueues and settles `count` messages.
fn run(directory: &Path, count: usize, body_len: usize) {
    let opened = open(directory);
    let body = Bytes::from(vec![b'x'; body_len]);
    measure(&format!("enqueue {body_len} B"), count, || enqueue(&opened, count, &body));
    measure(&format!("settle {body_len} B"), count, || {
        // Settles wait for company: a window would measure how long.
        let window = Window::new(count);
        for first in (0..count).step_by(BATCH) {
            window.enter(BATCH);
            let (first, last) = (seq(opened.epoch, first), seq(opened.epoch, first + BATCH - 1));
            let seqs = [SeqRange { first, last }].into_iter().collect();
            let settled = Settled { seqs, bytes: (BATCH * body_len) as u64, through: last };
            window.append(&opened, vec![Record::Settle { queue: QUEUE, settled }], BATCH);
        }
        window.wait_empty();
    });
    opened.store.close();
}

/// Each waits for the confirm of the one before it: what a confirm takes.
fn one_at_a_time(directory: &Path, count: usize, body_len: usize) {
    let opened = open(directory);
    let body = Bytes::from(vec![b'x'; body_len]);
    measure(&format!("single {body_len} B"), count, || {
        enqueue_in(&opened, count, &body, 1, Window::new(1));
    });
}

/// Opens a directory with a backlog.
fn reopen(directory: &Path, count: usize, body_len: usize) {
    let opened = open(directory);
    let body = Bytes::from(vec![b'x'; body_len]);
    measure(&format!("backlog {body_len} B"), count, || enqueue(&opened, count, &body));
    opened.store.close();
    drop(opened);
    measure(&format!("reopen {body_len} B"), count, || {
        let opened = open(directory);
        let found: u64 = opened.queues.iter().map(|queue| queue.count).sum();
        assert_eq!(found, count as u64);
    });
}

/// What deduplication sees, of which so many digests are kept, and found again.
fn deduplicate(directory: &Path, count: usize, keep: u32) {
    let opened = open(directory);
    measure("seen", count, || {
        let window = Window::new(WINDOW);
        for first in (0..count).step_by(BATCH) {
            window.enter(BATCH);
            let seen = |number: usize| {
                // Far apart, as digests are.
                let digest =
                    (number as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                Record::Seen { queue: QUEUE, digest, until_ms: u64::MAX, keep }
            };
            window.append(&opened, (first..first + BATCH).map(seen).collect(), BATCH);
        }
        window.wait_empty();
    });
    opened.store.close();
    drop(opened);
    measure("seen, reopen", keep as usize, || {
        let opened = open(directory);
        let found: usize = opened.queues.iter().map(|queue| queue.seen.len()).sum();
        assert_eq!(found, keep as usize);
    });
}

fn open(directory: &Path) -> Opened {
    let opened = store::open(directory, &StoreSettings::default()).expect("an empty directory");
    if opened.catalog.is_empty() {
        let vhost =
            Definition::Vhost(VhostDefinition { name: "/".to_owned(), ..Default::default() });
        let queue = Definition::Queue(QueueDefinition {
            vhost: "/".to_owned(),
            name: "q".to_owned(),
            id: QUEUE,
            auto_delete: false,
            arguments: FieldTable::default(),
            levels: 0,
            paused: false,
        });
        let records = [vhost, queue].map(|new| Record::catalog(CatalogChange::Put(new)));
        let window = Window::new(1);
        window.enter(1);
        window.append(&opened, records.into(), 1);
        window.wait_empty();
    }
    opened
}

fn enqueue(opened: &Opened, count: usize, body: &Bytes) {
    let batch = BATCH.min(BATCH_BYTES / body.len());
    let window = WINDOW.min(WINDOW_BYTES / body.len());
    enqueue_in(opened, count, body, batch, Window::new(window));
}

fn enqueue_in(opened: &Opened, count: usize, body: &Bytes, batch: usize, window: Window) {
    for first in (0..count).step_by(batch) {
        window.enter(batch);
        // As they come from a socket: a buffer for the read, shared by its messages.
        let mut read = BytesMut::with_capacity(batch * body.len());
        (0..batch).for_each(|_| read.extend_from_slice(body));
        let mut read = read.freeze();
        let records = (first..first + batch)
            .map(|number| {
                let (exchange, key) = (ShortStr::default(), ShortStr::from_static("q"));
                let body = Body::from(read.split_to(body.len()));
                let message = Message::new(&exchange, &key, &Properties::default(), body, false);
                let queues = [(QUEUE, seq(opened.epoch, number))].into_iter().collect();
                Record::Enqueue { message: Arc::new(message), queues }
            })
            .collect();
        window.append(opened, records, batch);
    }
    window.wait_empty();
}

fn seq(epoch: Epoch, number: usize) -> Seq {
    Seq(u64::from(epoch.0) << 40 | (number as u64 + 1))
}

/// What is on its way, and how much of it there may be.
#[derive(Clone)]
struct Window(Arc<(Mutex<usize>, Condvar)>, usize);

impl Window {
    fn new(max: usize) -> Self {
        Self(Arc::default(), max)
    }

    fn enter(&self, count: usize) {
        let (waiting, left) = &*self.0;
        let mut waiting = waiting.lock().expect("nobody panics");
        while *waiting + count > self.1 {
            waiting = left.wait(waiting).expect("nobody panics");
        }
        *waiting += count;
    }

    fn append(&self, opened: &Opened, batch: Vec<Record>, count: usize) {
        let window = Self::clone(self);
        let told = move |outcome: Result<_, _>| {
            outcome.expect("the disk works");
            let (waiting, left) = &*window.0;
            *waiting.lock().expect("nobody panics") -= count;
            left.notify_all();
        };
        opened.store.append(batch, Some(Box::new(told)));
    }

    fn wait_empty(&self) {
        let (waiting, left) = &*self.0;
        let mut waiting = waiting.lock().expect("nobody panics");
        while *waiting > 0 {
            waiting = left.wait(waiting).expect("nobody panics");
        }
    }
}

fn measure(what: &str, count: usize, run: impl FnOnce()) {
    let (start, before) = (Instant::now(), processor_seconds());
    run();
    let (elapsed, used) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
    let millions = count as f64 / 1e6;
    println!(
        "{what:>16}: {:>9.0} messages/s, {:>5.2} CPU s per million, {:>6.1} ms, {:>5} MiB resident",
        count as f64 / elapsed,
        used / millions,
        elapsed * 1e3,
        resident_mib(),
    );
}

/// User and system time of this process; Linux counts it in hundredths of a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(12) + ticks(13)) / 100.0
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * 4096 / (1024 * 1024)
}

fn directory() -> TempDir {
    let parent = std::env::var_os("FERRYMQ_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::tempdir_in::<PathBuf>(parent).expect("a writable directory")
}
