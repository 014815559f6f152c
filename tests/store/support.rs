//! A store in a directory of its own, and short ways to say what happens in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::{ExchangeDefinition, QueueDefinition, VhostDefinition};
use ferrymq::store::record::{Note, QueueId, Ranges, Record, Seq, SeqRange, Settled};
use ferrymq::store::{
    self, AppendError, Batch, CatalogChange, Committed, Definition, Opened, Page, Position,
    ReadLimit, Store, StoreSettings,
};
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Segments that are full after a few messages.
pub const SMALL_SEGMENTS: StoreSettings = StoreSettings {
    audit_bytes_max: 0,
    segment_size_bytes: 4096,
    in_flight_bytes_max: 1 << 20,
    disk_free_limit_bytes: 0,
    rewrite_after: Duration::from_millis(5),
};

/// What a directory holds: names of definitions, each queue's bodies by sequence number with its
/// delivery mark, what is noted of messages by queue and number, and what each queue has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub definitions: Vec<String>,
    pub queues: BTreeMap<u64, (BTreeMap<u64, Vec<u8>>, u64)>,
    pub notes: BTreeMap<(u64, u64), Note>,
    pub seen: BTreeMap<u64, Vec<(u128, u64)>>,
}

impl Content {
    pub fn of(opened: &Opened) -> Self {
        let mut definitions: Vec<String> = opened
            .catalog
            .iter()
            .map(|definition| match definition {
                Definition::Queue(queue) => format!("queue {} {}", queue.name, queue.id.0),
                Definition::Vhost(vhost) => format!("vhost {}", vhost.name),
                Definition::Exchange(exchange) => format!("exchange {}", exchange.name),
                other => panic!("{other:?} was never put in"),
            })
            .collect();
        definitions.sort_unstable();
        let queues = opened.queues.iter().map(|queue| {
            let bodies = read_all(&*opened.store, queue.id.0);
            let bytes: usize = bodies.values().map(Vec::len).sum();
            assert_eq!((queue.count, queue.bytes), (bodies.len() as u64, bytes as u64), "the sums");
            if let (Some((first, _)), Some((last, _))) =
                (bodies.first_key_value(), bodies.last_key_value())
            {
                assert!(queue.first.0 <= *first && queue.last.0 >= *last);
            }
            (queue.id.0, (bodies, queue.delivered_upto.0))
        });
        let queues = queues.collect();
        let notes = opened.queues.iter().flat_map(|queue| {
            assert!(queue.notes.is_sorted_by_key(|(seq, _)| *seq), "{:?}", queue.notes);
            queue.notes.iter().map(|(seq, note)| ((queue.id.0, seq.0), *note))
        });
        let with_seen = opened.queues.iter().filter(|queue| !queue.seen.is_empty());
        let seen = with_seen.map(|queue| (queue.id.0, queue.seen.clone()));
        Self { definitions, queues, notes: notes.collect(), seen: seen.collect() }
    }

    /// The bodies in a queue, as text.
    pub fn bodies(&self, queue: u64) -> Vec<String> {
        let messages = self.queues.get(&queue).map(|(messages, _)| messages);
        let bodies = messages.into_iter().flat_map(BTreeMap::values);
        bodies.map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

/// All messages of a queue, read back in small parts.
pub fn read_all(store: &dyn Store, queue: u64) -> BTreeMap<u64, Vec<u8>> {
    let (mut bodies, mut from) = (BTreeMap::new(), Seq(0));
    loop {
        let page = read(store, queue, from);
        let order: Vec<Seq> = page.messages.iter().map(|(seq, _)| *seq).collect();
        assert!(order.is_sorted() && order.first().is_none_or(|first| *first >= from), "{order:?}");
        for (seq, message) in page.messages {
            let before = bodies.insert(seq.0, message.to_body().to_bytes().to_vec());
            assert!(before.is_none(), "each once");
        }
        if page.through == Seq(u64::MAX) {
            return bodies;
        }
        from = Seq(page.through.0 + 1);
    }
}

/// Messages read back by their numbers, and the last number that the page goes through.
pub fn read_each(store: &dyn Store, queue: u64, seqs: &[u64]) -> (Vec<u64>, u64) {
    let (sender, page) = channel();
    let on_read = Box::new(move |page| sender.send(page).expect("the test listens"));
    store.read_each(QueueId(queue), seqs.iter().copied().map(Seq).collect(), on_read);
    let page: Page = page.recv_timeout(DEADLINE).expect("an answer in time");
    (page.messages.iter().map(|(seq, _)| seq.0).collect(), page.through.0)
}

pub fn read(store: &dyn Store, queue: u64, from: Seq) -> Page {
    let (sender, page) = channel();
    let limit = ReadLimit { count: 3, bytes: 2000 };
    let on_read = Box::new(move |page| sender.send(page).expect("the test listens"));
    store.read(QueueId(queue), from, limit, on_read);
    page.recv_timeout(DEADLINE).expect("an answer in time")
}

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for temporary files")
}

pub fn open(directory: &Path) -> Opened {
    open_with(directory, &StoreSettings::default())
}

/// A process that another test is starting has copies of all open files for a moment, and with them
/// the lock of a directory whose store was closed.
pub fn open_with(directory: &Path, settings: &StoreSettings) -> Opened {
    let start = Instant::now();
    loop {
        match store::open(directory, settings) {
            Ok(opened) => return opened,
            Err(error) if error.to_string().contains("in use by another") => {
                assert!(start.elapsed() < DEADLINE, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Opens, looks and closes.
pub fn content(directory: &Path) -> Content {
    let opened = open(directory);
    let content = Content::of(&opened);
    opened.store.close();
    content
}

/// What is on disk at this moment, in a directory of its own: what a crash would leave.
pub fn crashed(directory: &Path) -> TempDir {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        let copy = self::directory();
        let before = segments(directory);
        copy_all(directory, copy.path());
        // Segments that come and go meanwhile would make it something that never was.
        if segments(directory) == before {
            return copy;
        }
    }
    panic!("segments come and go all the time");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("writable");
    for entry in std::fs::read_dir(from).expect("readable") {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("readable");
        if path.is_dir() {
            copy_all(&path, &to.join(name));
        } else {
            // A segment may just have been removed.
            let _ = std::fs::copy(&path, to.join(name));
        }
    }
}

/// The segments of the log, oldest first.
pub fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("log")).expect("a log");
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(is_segment).collect();
    paths.sort_unstable();
    paths
}

/// Where what was written in a segment ends: behind it are zeros that were reserved. No batch of
/// these tests ends with one.
pub fn written_len(segment: &Path) -> usize {
    let bytes = std::fs::read(segment).expect("a segment");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Appends; the answer comes out of the receiver.
pub fn append(opened: &Opened, batch: Batch) -> Receiver<Result<Position, AppendError>> {
    let (sender, receiver) = channel();
    let answer = Box::new(move |outcome: Result<Committed, AppendError>| {
        // A test that is over does not listen.
        let _ = sender.send(outcome.map(|committed| committed.position));
    });
    opened.store.append(batch, Some(answer));
    receiver
}

/// Appends and waits until it is on disk.
pub fn commit(opened: &Opened, batch: Batch) -> Position {
    let answer = append(opened, batch).recv_timeout(DEADLINE);
    answer.expect("an answer in time").unwrap_or_else(|error| panic!("{error}"))
}

pub fn commit_all(opened: &Opened, batches: Vec<Batch>) {
    for batch in batches {
        commit(opened, batch);
    }
}

pub fn vhost(name: &str) -> Record {
    let vhost = VhostDefinition { name: name.to_owned(), ..VhostDefinition::default() };
    Record::catalog(CatalogChange::Put(Definition::Vhost(vhost)))
}

fn queue_definition(queue: u64, levels: u8) -> Definition {
    Definition::Queue(QueueDefinition {
        vhost: "/".to_owned(),
        name: format!("q{queue}"),
        id: QueueId(queue),
        auto_delete: false,
        arguments: FieldTable::default(),
        levels,
        paused: false,
    })
}

pub fn declare(queue: u64) -> Record {
    declare_with_levels(queue, 0)
}

/// A queue with priorities: `levels` more ids are its own.
pub fn declare_with_levels(queue: u64, levels: u8) -> Record {
    Record::catalog(CatalogChange::Put(queue_definition(queue, levels)))
}

pub fn delete(queue: u64) -> Batch {
    delete_with_levels(queue, 0)
}

/// A queue that was declared with so many levels.
pub fn delete_with_levels(queue: u64, levels: u8) -> Batch {
    let definition = queue_definition(queue, levels);
    let gone = definition.queue_ids().map(|queue| Record::DeleteQueue { queue });
    gone.chain([Record::catalog(CatalogChange::Delete(definition.key()))]).collect()
}

fn exchange_definition(id: u64) -> Definition {
    Definition::Exchange(ExchangeDefinition {
        vhost: "/".to_owned(),
        name: format!("x{id}"),
        kind: "fanout".to_owned(),
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
        queue: Some(QueueId(id)),
    })
}

/// An exchange under whose id the log keeps something.
pub fn declare_exchange(id: u64) -> Record {
    Record::catalog(CatalogChange::Put(exchange_definition(id)))
}

pub fn delete_exchange(id: u64) -> Batch {
    let gone = CatalogChange::Delete(exchange_definition(id).key());
    vec![Record::DeleteQueue { queue: QueueId(id) }, Record::catalog(gone)]
}

pub fn message(body: impl Into<Vec<u8>>) -> Arc<Message> {
    let (exchange, key) = (ShortStr::from_static("exchange"), ShortStr::from_static("key"));
    let body = Body::from(Bytes::from(body.into()));
    Arc::new(Message::new(&exchange, &key, &Properties::default(), body, false))
}

pub fn enqueue(places: &[(u64, u64)], body: impl Into<Vec<u8>>) -> Record {
    let queues = places.iter().map(|(queue, seq)| (QueueId(*queue), Seq(*seq))).collect();
    Record::Enqueue { message: message(body), queues }
}

/// All in the range are messages, with so many bytes.
pub fn settle(queue: u64, first: u64, last: u64, bytes: u64) -> Record {
    let range = SeqRange { first: Seq(first), last: Seq(last) };
    settle_of(queue, [range].into_iter().collect(), bytes)
}

pub fn settle_of(queue: u64, seqs: Ranges, bytes: u64) -> Record {
    Record::Settle { queue: QueueId(queue), settled: Settled { seqs, bytes, through: Seq(0) } }
}

pub fn mark(queue: u64, upto: u64) -> Record {
    Record::DeliverMark { queue: QueueId(queue), upto: Seq(upto) }
}

pub fn came_back(queue: u64, notes: &[(u64, Note)]) -> Record {
    let notes = notes.iter().map(|(seq, note)| (Seq(*seq), *note)).collect();
    Record::Return { queue: QueueId(queue), notes }
}

pub fn seen(queue: u64, digest: u128, until_ms: u64, keep: u32) -> Record {
    Record::Seen { queue: QueueId(queue), digest, until_ms, keep }
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::yield_now();
    }
}
