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
use ferrymq::store::definition::{QueueDefinition, VhostDefinition};
use ferrymq::store::record::{QueueId, Record, Seq, SeqRange};
use ferrymq::store::{
    self, AppendError, Batch, CatalogChange, Definition, Opened, Position, StoreSettings,
};
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Segments that are full after a few messages.
pub const SMALL_SEGMENTS: StoreSettings =
    StoreSettings { segment_size_bytes: 4096, in_flight_bytes_max: 1 << 20 };

/// What a directory holds: names of definitions, and each queue's bodies by sequence number with
/// its delivery mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub definitions: Vec<String>,
    pub queues: BTreeMap<u64, (BTreeMap<u64, Vec<u8>>, u64)>,
}

impl Content {
    pub fn of(opened: &Opened) -> Self {
        let mut definitions: Vec<String> = opened
            .catalog
            .iter()
            .map(|definition| match definition {
                Definition::Queue(queue) => format!("queue {} {}", queue.name, queue.id.0),
                Definition::Vhost(vhost) => format!("vhost {}", vhost.name),
                other => panic!("{other:?} was never put in"),
            })
            .collect();
        definitions.sort_unstable();
        let queues = opened.queues.iter().map(|queue| {
            let order: Vec<Seq> = queue.messages.iter().map(|(seq, _)| *seq).collect();
            assert!(order.is_sorted(), "messages come in their order");
            let bodies = queue
                .messages
                .iter()
                .map(|(seq, message)| (seq.0, message.body.to_bytes().to_vec()))
                .collect();
            (queue.id.0, (bodies, queue.delivered_upto.0))
        });
        Self { definitions, queues: queues.collect() }
    }

    /// The bodies in a queue, as text.
    pub fn bodies(&self, queue: u64) -> Vec<String> {
        let messages = self.queues.get(&queue).map(|(messages, _)| messages);
        let bodies = messages.into_iter().flat_map(BTreeMap::values);
        bodies.map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for temporary files")
}

pub fn open(directory: &Path) -> Opened {
    open_with(directory, &StoreSettings::default())
}

pub fn open_with(directory: &Path, settings: &StoreSettings) -> Opened {
    store::open(directory, settings).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens, looks and closes.
pub fn content(directory: &Path) -> Content {
    let opened = open(directory);
    opened.store.close();
    Content::of(&opened)
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
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    paths
}

/// Appends; the answer comes out of the receiver.
pub fn append(opened: &Opened, batch: Batch) -> Receiver<Result<Position, AppendError>> {
    let (sender, receiver) = channel();
    let answer = Box::new(move |outcome| {
        // A test that is over does not listen.
        let _ = sender.send(outcome);
    });
    opened.store.append(batch, answer);
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
    let vhost = VhostDefinition { name: name.to_owned() };
    Record::Catalog(CatalogChange::Put(Definition::Vhost(vhost)))
}

fn queue_definition(queue: u64) -> Definition {
    Definition::Queue(QueueDefinition {
        vhost: "/".to_owned(),
        name: format!("q{queue}"),
        id: QueueId(queue),
        auto_delete: false,
        arguments: FieldTable::default(),
    })
}

pub fn declare(queue: u64) -> Record {
    Record::Catalog(CatalogChange::Put(queue_definition(queue)))
}

pub fn delete(queue: u64) -> Batch {
    let key = queue_definition(queue).key();
    vec![Record::DeleteQueue { queue: QueueId(queue) }, Record::Catalog(CatalogChange::Delete(key))]
}

pub fn message(body: impl Into<Vec<u8>>) -> Arc<Message> {
    Arc::new(Message {
        exchange: ShortStr::from_static("exchange"),
        routing_key: ShortStr::from_static("key"),
        properties: Properties::default(),
        body: Body::from(Bytes::from(body.into())),
        dead_lettered: false,
    })
}

pub fn enqueue(places: &[(u64, u64)], body: impl Into<Vec<u8>>) -> Record {
    let queues = places.iter().map(|(queue, seq)| (QueueId(*queue), Seq(*seq))).collect();
    Record::Enqueue { message: message(body), queues }
}

pub fn settle(queue: u64, first: u64, last: u64) -> Record {
    let range = SeqRange { first: Seq(first), last: Seq(last) };
    Record::Settle { queue: QueueId(queue), ranges: [range].into_iter().collect() }
}

pub fn mark(queue: u64, upto: u64) -> Record {
    Record::DeliverMark { queue: QueueId(queue), upto: Seq(upto) }
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::yield_now();
    }
}
