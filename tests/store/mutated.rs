//! A log whose bytes were changed at will: opening it never panics and never invents a message.
//!
//! The input says what is changed: it is used by the fuzz target `log` and by a short random test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::QueueDefinition;
use ferrymq::store::record::{Note, QueueId, Record, Seq, SeqRange, Settled};
use ferrymq::store::simulated::SimulatedDisk;
use ferrymq::store::{CatalogChange, Definition, Opened, ReadLimit, RecoveredQueue, StoreSettings};

const WAIT: Duration = Duration::from_secs(60);

const SETTINGS: StoreSettings = StoreSettings {
    audit_bytes_max: 0,
    segment_size_bytes: 1024,
    in_flight_bytes_max: 1 << 20,
    disk_free_limit_bytes: 0,
    // Nothing is rewritten while it is looked at.
    rewrite_after: Duration::from_secs(3600),
};

const QUEUES: u64 = 3;
const MESSAGES: u64 = 24;

type Messages = BTreeMap<(u64, u64), Bytes>;

/// What is noted of messages, and seen.
type Beside = BTreeSet<(u64, u64, u64)>;

/// A disk with some segments, and every message that was ever in one of them.
struct Written {
    disk: SimulatedDisk,
    messages: Messages,
    beside: Beside,
    queues: BTreeSet<String>,
}

fn body(seq: u64) -> Bytes {
    Bytes::from(format!("{seq}").repeat(1 + (seq as usize * 7) % 60))
}

fn commit(opened: &Opened, batch: Vec<Record>) {
    let (sender, answer) = channel();
    let told = move |outcome: Result<_, _>| sender.send(outcome.is_ok()).expect("it is waited for");
    opened.store.append(batch, Some(Box::new(told)));
    assert!(answer.recv_timeout(WAIT).expect("an answer"), "nothing fails here");
}

fn declare(queue: u64) -> Record {
    Record::catalog(CatalogChange::Put(Definition::Queue(QueueDefinition {
        vhost: "/".to_owned(),
        name: format!("q{queue}"),
        id: QueueId(queue),
        auto_delete: false,
        arguments: FieldTable::default(),
        levels: 0,
        paused: false,
    })))
}

fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let opened = disk.open_store(&SETTINGS).expect("an empty disk");
        commit(&opened, (1..=QUEUES).map(declare).collect());
        let (mut messages, mut beside) = (Messages::new(), Beside::new());
        for seq in 1..=MESSAGES {
            let places = (1..=1 + seq % QUEUES).map(|queue| (QueueId(queue), Seq(seq)));
            let (exchange, key) = (ShortStr::from_static("exchange"), ShortStr::from_static("key"));
            let body_of_seq = Body::from(body(seq));
            let message = Message::new(&exchange, &key, &Properties::default(), body_of_seq, false);
            messages.extend(places.clone().map(|(queue, seq)| ((queue.0, seq.0), body(seq.0))));
            let queues = places.collect();
            commit(&opened, vec![Record::Enqueue { message: Arc::new(message), queues }]);
            let (queue, until_ms) = (QueueId(1), 1 << 40 | seq);
            let note = Note { failed: 1, returned: 0, due_ms: until_ms };
            let digest = u128::from(seq) << 64;
            commit(&opened, vec![Record::Return { queue, notes: vec![(Seq(seq), note)] }]);
            commit(&opened, vec![Record::Seen { queue, digest, until_ms, keep: 9 }]);
            beside.insert((queue.0, seq, until_ms));
            if seq % 5 == 0 {
                let seqs =
                    [SeqRange { first: Seq(seq - 2), last: Seq(seq - 1) }].into_iter().collect();
                let bytes = body(seq - 2).len() + body(seq - 1).len();
                let settled = Settled { seqs, bytes: bytes as u64, through: Seq(0) };
                commit(&opened, vec![Record::Settle { queue: QueueId(1), settled }]);
            }
        }
        let disk = disk.killed();
        let queues = (1..=QUEUES).map(|queue| format!("q{queue}")).collect();
        Written { disk, messages, beside, queues }
    })
}

/// Changes bytes as the input says: each five bytes are a file, an offset, what to do and with what.
fn change(disk: &SimulatedDisk, input: &[u8]) {
    let names = disk.names();
    for step in input.chunks_exact(5) {
        let [file, high, low, what, value] = step else { continue };
        let Some(wanted) = names.get(usize::from(*file) % names.len().max(1)) else { return };
        let offset = usize::from(*high) << 8 | usize::from(*low);
        disk.change_files(|name, bytes| {
            if name != wanted || bytes.is_empty() {
                return;
            }
            let offset = offset % bytes.len();
            match what % 5 {
                0 => bytes[offset] ^= value | 1,
                1 => bytes.truncate(offset),
                2 => bytes.insert(offset, *value),
                3 => drop(bytes.remove(offset)),
                _ => bytes.extend_from_slice(input),
            }
        });
    }
}

fn read_all(opened: &Opened) -> Messages {
    let mut messages = Messages::new();
    for queue in &opened.queues {
        let (sender, page) = channel();
        let limit = ReadLimit { count: usize::MAX, bytes: u64::MAX };
        let on_read = move |page| sender.send(page).expect("it is waited for");
        opened.store.read(queue.id, Seq(0), limit, Box::new(on_read));
        let page: ferrymq::store::Page = page.recv_timeout(WAIT).expect("an answer");
        let of_queue = page.messages.into_iter();
        messages.extend(
            of_queue.map(|(seq, message)| ((queue.id.0, seq.0), message.to_body().to_bytes())),
        );
    }
    messages
}

fn beside(opened: &Opened) -> Beside {
    let of_queue = |queue: &RecoveredQueue| {
        let notes = queue.notes.iter().map(|(seq, note)| (seq.0, note.due_ms));
        let seen = queue.seen.iter().map(|(digest, until_ms)| ((digest >> 64) as u64, *until_ms));
        let id = queue.id.0;
        notes.chain(seen).map(move |(seq, time)| (id, seq, time)).collect::<Vec<_>>()
    };
    opened.queues.iter().flat_map(of_queue).collect()
}

/// Opens a log that was changed as the input says.
pub fn check(input: &[u8]) {
    let written = written();
    let disk = written.disk.killed();
    let (first, steps) = input.split_first().unwrap_or((&0, &[]));
    if first % 2 == 1 {
        disk.lose_checkpoint();
    }
    change(&disk, steps);
    // Words instead of a store are an answer, too.
    let Ok(opened) = disk.open_store(&SETTINGS) else { return };
    for definition in &opened.catalog {
        let Definition::Queue(queue) = definition else { panic!("{definition:?} was never there") };
        assert!(written.queues.contains(&queue.name), "{queue:?} was never declared");
    }
    let found = read_all(&opened);
    for (place, body) in &found {
        assert_eq!(written.messages.get(place), Some(body), "{place:?} was never written so");
    }
    let beside_found = beside(&opened);
    assert!(beside_found.is_subset(&written.beside), "{beside_found:?} was never written so");
    opened.store.close();
    let again = disk.killed().open_store(&SETTINGS).expect("it opened before");
    assert_eq!((read_all(&again), beside(&again)), (found, beside_found), "opened again");
    again.store.close();
}
