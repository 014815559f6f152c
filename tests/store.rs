//! The store on disk: what was committed is there after every kind of end, and damage is contained.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::{
    CatalogChange, Definition, DefinitionKey, QueueDefinition, VhostDefinition,
};
use ferrymq::store::memory::{Faults, MemoryStore};
use ferrymq::store::record::{QueueId, Record, Seq, SeqRange};
use ferrymq::store::{AppendError, Batch, Opened, Store, StoreSettings, StoreState, open};
use smallvec::smallvec;

const QUEUE: QueueId = QueueId(1);
const OTHER: QueueId = QueueId(2);

fn settings() -> StoreSettings {
    StoreSettings { segment_size_bytes: 64 * 1024, ..StoreSettings::default() }
}

fn commit(store: &Arc<dyn Store>, batch: Batch) -> Result<(), AppendError> {
    let (sender, receiver) = mpsc::channel();
    store.append(batch, Box::new(move |outcome| sender.send(outcome).expect("waited for")));
    receiver.recv().expect("every batch is answered").map(|_| ())
}

fn queue_definition(id: QueueId) -> Definition {
    Definition::Queue(QueueDefinition {
        vhost: "/".to_owned(),
        name: format!("q{}", id.0),
        id,
        auto_delete: false,
        arguments: FieldTable::default(),
    })
}

fn declare(id: QueueId) -> Record {
    Record::Catalog(CatalogChange::Put(queue_definition(id)))
}

fn enqueue(body: &str, queues: &[(QueueId, Seq)]) -> Record {
    let message = Arc::new(Message {
        exchange: ShortStr::default(),
        routing_key: ShortStr::from_static("k"),
        properties: Properties::default(),
        body: Body::from(Bytes::copy_from_slice(body.as_bytes())),
        dead_lettered: false,
    });
    Record::Enqueue { message, queues: queues.iter().copied().collect() }
}

fn settle(queue: QueueId, first: u64, last: u64) -> Record {
    Record::Settle { queue, ranges: smallvec![SeqRange { first: Seq(first), last: Seq(last) }] }
}

/// What a queue holds: sequence numbers and bodies.
fn content(opened: &Opened, queue: QueueId) -> Vec<(u64, String)> {
    let found = opened.queues.iter().find(|recovered| recovered.id == queue);
    let messages = found.map(|recovered| recovered.messages.iter()).into_iter().flatten();
    messages
        .map(|(seq, message)| {
            (seq.0, String::from_utf8(message.body.to_bytes().to_vec()).expect("text"))
        })
        .collect()
}

/// A copy of a data directory as a crash would leave it: taken while it is in use.
fn crashed_copy(directory: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("created");
        for entry in std::fs::read_dir(from).expect("listed") {
            let path = entry.expect("listed").path();
            let target = to.join(path.file_name().expect("named"));
            if path.is_dir() {
                copy(&path, &target);
            } else {
                std::fs::copy(&path, &target).expect("copied");
            }
        }
    }
    let target = tempfile::tempdir().expect("a directory");
    copy(directory, target.path());
    target
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory.join("log"))
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .collect();
    paths.sort();
    paths
}

/// A directory with two queues: five messages in one, one of them settled, one shared with the
/// other.
fn filled() -> (tempfile::TempDir, Opened) {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(directory.path(), &settings()).expect("opened");
    let store = &opened.store;
    commit(store, vec![declare(QUEUE), declare(OTHER)]).expect("committed");
    for seq in 1..=4 {
        commit(store, vec![enqueue(&format!("m{seq}"), &[(QUEUE, Seq(seq))])]).expect("committed");
    }
    let shared = enqueue("shared", &[(QUEUE, Seq(5)), (OTHER, Seq(1))]);
    commit(store, vec![shared, settle(QUEUE, 2, 2)]).expect("committed");
    commit(store, vec![Record::DeliverMark { queue: QUEUE, upto: Seq(3) }]).expect("committed");
    (directory, opened)
}

fn assert_filled(opened: &Opened) {
    let expected = [(1, "m1"), (3, "m3"), (4, "m4"), (5, "shared")];
    let expected: Vec<(u64, String)> = expected.map(|(seq, text)| (seq, text.to_owned())).into();
    assert_eq!(content(opened, QUEUE), expected);
    assert_eq!(content(opened, OTHER), [(1, "shared".to_owned())]);
    let queue = opened.queues.iter().find(|queue| queue.id == QUEUE).expect("there");
    assert_eq!(queue.delivered_upto, Seq(3));
}

#[test]
fn everything_is_there_after_an_orderly_end() {
    let (directory, opened) = filled();
    let epoch = opened.epoch;
    opened.store.close();
    let again = open(directory.path(), &settings()).expect("opened");
    assert_filled(&again);
    assert!(again.epoch > epoch);
}

#[test]
fn everything_is_there_after_a_crash_and_after_another_one() {
    let (directory, _opened) = filled();
    let copy = crashed_copy(directory.path());
    let again = open(copy.path(), &settings()).expect("opened");
    assert_filled(&again);
    let copy = crashed_copy(copy.path());
    assert_filled(&open(copy.path(), &settings()).expect("opened"));
}

#[test]
fn a_torn_end_loses_the_last_batch_and_nothing_else() {
    let (directory, opened) = filled();
    let whole = crashed_copy(directory.path());
    let before = std::fs::read(&segments(whole.path())[0]).expect("read").len();
    let last = vec![enqueue("torn", &[(QUEUE, Seq(6)), (OTHER, Seq(2))])];
    commit(&opened.store, last).expect("committed");
    let all = std::fs::read(&segments(directory.path())[0]).expect("read");
    assert!(all.len() > before);
    for len in before..all.len() {
        let copy = crashed_copy(whole.path());
        std::fs::write(&segments(copy.path())[0], &all[..len]).expect("written");
        assert_filled(&open(copy.path(), &settings()).expect("opened"));
    }
}

#[test]
fn a_flipped_bit_costs_its_batch_and_no_other() {
    let (directory, opened) = filled();
    let before = std::fs::read(&segments(directory.path())[0]).expect("read").len();
    commit(&opened.store, vec![enqueue("hit", &[(QUEUE, Seq(6))])]).expect("committed");
    commit(&opened.store, vec![enqueue("after", &[(OTHER, Seq(2))])]).expect("committed");
    let copy = crashed_copy(directory.path());
    let segment = &segments(copy.path())[0];
    let mut bytes = std::fs::read(segment).expect("read");
    bytes[before + 30] ^= 4;
    std::fs::write(segment, bytes).expect("written");
    let again = open(copy.path(), &settings()).expect("opened");
    assert!(!content(&again, QUEUE).iter().any(|(seq, _)| *seq == 6));
    assert_eq!(content(&again, OTHER), [(1, "shared".to_owned()), (2, "after".to_owned())]);
}

#[test]
fn sled_is_never_the_only_copy() {
    let damages: [fn(&Path); 3] = [
        |catalog| std::fs::remove_dir_all(catalog).expect("removed"),
        |catalog| {
            let file =
                std::fs::OpenOptions::new().write(true).open(catalog.join("db")).expect("opened");
            file.set_len(100).expect("cut");
        },
        |catalog| {
            let path = catalog.join("db");
            let mut bytes = std::fs::read(&path).expect("read");
            bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
            std::fs::write(path, bytes).expect("written");
        },
    ];
    for damage in damages {
        let (directory, opened) = filled();
        opened.store.close();
        damage(&directory.path().join("catalog"));
        let again = open(directory.path(), &settings()).expect("opened all the same");
        assert_filled(&again);
        assert_eq!(again.catalog.len(), 2);
    }
}

#[test]
fn a_segment_without_messages_goes_and_a_needed_one_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(directory.path(), &settings()).expect("opened");
    commit(&opened.store, vec![declare(QUEUE)]).expect("committed");
    let body = "x".repeat(10_000);
    for seq in 1..=100 {
        commit(&opened.store, vec![enqueue(&body, &[(QUEUE, Seq(seq))])]).expect("committed");
    }
    let full = segments(directory.path()).len();
    assert!(full > 10, "{full} segments");
    // A settle alone may wait for company: the mark behind it brings it to the disk.
    let mark = Record::DeliverMark { queue: QUEUE, upto: Seq(100) };
    commit(&opened.store, vec![settle(QUEUE, 1, 99), mark]).expect("committed");
    // The segments are removed behind the answer: the next one is given when that is done.
    commit(&opened.store, vec![Record::DeliverMark { queue: QUEUE, upto: Seq(101) }])
        .expect("committed");
    assert!(segments(directory.path()).len() <= 2, "{:?}", segments(directory.path()));
    opened.store.close();
    let again = open(directory.path(), &settings()).expect("opened");
    assert_eq!(content(&again, QUEUE), [(100, body)]);
}

#[test]
fn a_settle_that_comes_before_its_message_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(directory.path(), &settings()).expect("opened");
    commit(&opened.store, vec![declare(QUEUE), settle(QUEUE, 1, 1)]).expect("committed");
    commit(&opened.store, vec![enqueue("late", &[(QUEUE, Seq(1))])]).expect("committed");
    let copy = crashed_copy(directory.path());
    assert_eq!(content(&open(copy.path(), &settings()).expect("opened"), QUEUE), []);
}

#[test]
fn a_moved_message_is_in_one_place_and_a_deleted_queue_stays_away() {
    let (directory, opened) = filled();
    let message = match enqueue("moved", &[]) {
        Record::Enqueue { message, .. } => message,
        other => panic!("{other:?}"),
    };
    let to = smallvec![(OTHER, Seq(2))];
    commit(&opened.store, vec![Record::Move { from: (QUEUE, Seq(1)), message, to }])
        .expect("committed");
    let copy = crashed_copy(directory.path());
    let again = open(copy.path(), &settings()).expect("opened");
    assert!(!content(&again, QUEUE).iter().any(|(seq, _)| *seq == 1));
    assert_eq!(content(&again, OTHER)[1], (2, "moved".to_owned()));

    let key = DefinitionKey::Queue { vhost: "/".to_owned(), name: "q1".to_owned() };
    let gone =
        vec![Record::Catalog(CatalogChange::Delete(key)), Record::DeleteQueue { queue: QUEUE }];
    commit(&opened.store, gone).expect("committed");
    let copy = crashed_copy(directory.path());
    let again = open(copy.path(), &settings()).expect("opened");
    assert_eq!(content(&again, QUEUE), []);
    assert_eq!(again.catalog, [queue_definition(OTHER)]);
}

#[test]
fn a_data_directory_belongs_to_one_store() {
    let (directory, opened) = filled();
    let error = open(directory.path(), &settings()).err().expect("refused").to_string();
    assert!(error.contains("in use by another ferrymq process"), "{error}");
    opened.store.close();
    assert!(open(directory.path(), &settings()).is_ok());
}

#[test]
fn a_newer_format_is_refused_with_words() {
    let (directory, opened) = filled();
    opened.store.close();
    let segment = &segments(directory.path())[0];
    let mut bytes = std::fs::read(segment).expect("read");
    bytes[11] = 9;
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(segment, bytes).expect("written");
    let error = open(directory.path(), &settings()).err().expect("refused").to_string();
    assert!(error.contains("format version 9, which is newer"), "{error}");
}

#[test]
fn a_closed_store_refuses_and_says_so() {
    let (_directory, opened) = filled();
    opened.store.close();
    let refused = commit(&opened.store, vec![declare(QUEUE)]);
    assert!(matches!(refused, Err(AppendError::Closed(_))));
    assert_eq!(*opened.store.state().borrow(), StoreState::Closed);
}

#[test]
fn a_scripted_fault_is_unknown_and_final() {
    for failed_is_kept in [false, true] {
        let faults = Faults { fail_at: Some(2), failed_is_kept, ..Faults::default() };
        let (memory, opened) = MemoryStore::open(faults);
        let vhost = Definition::Vhost(VhostDefinition { name: "/".to_owned() });
        let put = |definition| vec![Record::Catalog(CatalogChange::Put(definition))];
        commit(&opened.store, put(vhost)).expect("committed");
        let failed = commit(&opened.store, put(queue_definition(QUEUE)));
        assert!(matches!(failed, Err(AppendError::Unknown(_))));
        let later = commit(&opened.store, put(queue_definition(OTHER)));
        assert!(matches!(later, Err(AppendError::Closed(_))));
        let (_, again) = memory.reopen(ferrymq::store::Epoch(2), Faults::default());
        assert_eq!(again.catalog.len(), if failed_is_kept { 2 } else { 1 });
    }
}
