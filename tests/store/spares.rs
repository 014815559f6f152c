//! Segments that are written over old ones: what a crash leaves in them, and where the old ones go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrymq::store::offline::{self, Report};
use ferrymq::store::simulated::SimulatedDisk;
use ferrymq::store::{Opened, Space};
use tempfile::TempDir;

use crate::support::*;

/// The body of what nobody needs any more.
const OLD: [u8; 400] = [b'x'; 400];

fn spares(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory.join("log")).expect("a log");
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names.filter(|path| path.extension().is_some_and(|extension| extension == "spare")).count()
}

/// Segments that are full, and of which nobody needs any but the last.
fn emptied(opened: &Opened) {
    commit(opened, vec![declare(1)]);
    for seq in 1..=60 {
        commit(opened, vec![enqueue(&[(1, seq)], OLD)]);
    }
    commit(opened, vec![settle(1, 1, 60, 60 * 400)]);
}

/// A log whose newest segment was begun over an old one, with some messages in it, and what is in
/// the queue.
fn written_over() -> (TempDir, Opened, BTreeMap<u64, Vec<u8>>) {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    emptied(&opened);
    // The first is to be had when the second comes.
    wait_until("two segments are spare", || spares(directory.path()) > 1);
    let is_over = || {
        let newest = segments(directory.path()).pop().expect("a segment");
        let bytes = std::fs::read(newest).expect("a segment");
        bytes.windows(OLD.len()).any(|window| window == OLD)
    };
    let mut seq = 100;
    while !is_over() {
        assert!(seq < 200, "no segment was written over an old one");
        commit(&opened, vec![enqueue(&[(1, seq)], [b'y'; 400])]);
        seq += 1;
    }
    for seq in seq..seq + 3 {
        commit(&opened, vec![enqueue(&[(1, seq)], format!("last {seq}"))]);
    }
    wait_until("indexes are written", || {
        let mut segments = segments(directory.path());
        segments.pop();
        segments.iter().all(|segment| segment.with_extension("idx").exists())
    });
    let content = read_all(&*opened.store, 1);
    (directory, opened, content)
}

fn content_of(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    content(directory).queues[&1].0.clone()
}

fn checked(directory: &Path) -> Report {
    offline::check(directory, &mut |_, _| {}).expect("a directory of ours")
}

#[test]
fn a_crash_in_a_segment_over_an_old_one_leaves_what_was_confirmed_and_nothing_to_complain_of() {
    let (directory, _opened, expected) = written_over();
    let left = crashed(directory.path());
    let report = checked(left.path());
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(content_of(left.path()), expected);
    // What stood behind the end was cut off: what comes after it is found, too.
    let again = open(left.path());
    commit(&again, vec![enqueue(&[(1, 1 << 40)], "new")]);
    let mut with_new = expected.clone();
    with_new.insert(1 << 40, b"new".to_vec());
    assert_eq!(content_of(crashed(left.path()).path()), with_new);
    let without_catalog = crashed(directory.path());
    std::fs::remove_dir_all(without_catalog.path().join("catalog")).expect("sled's directory");
    assert_eq!(content_of(without_catalog.path()), expected);
}

#[test]
fn damage_in_a_segment_over_an_old_one_costs_its_batch_and_is_told() {
    let (directory, _opened, mut expected) = written_over();
    let left = crashed(directory.path());
    let newest = segments(left.path()).pop().expect("a segment");
    let (last, _) = expected.pop_last().expect("messages");
    let (_, body) = expected.pop_last().expect("messages");
    let mut bytes = std::fs::read(&newest).expect("readable");
    let at = bytes.windows(body.len()).position(|window| window == body);
    bytes[at.expect("it is there")] ^= 1;
    std::fs::write(&newest, bytes).expect("writable");
    assert!(!checked(left.path()).is_whole());
    expected.insert(last, format!("last {last}").into_bytes());
    assert_eq!(content_of(left.path()), expected);
}

#[test]
fn spares_are_few_go_at_the_end_and_are_taken_up_after_a_crash() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    emptied(&opened);
    wait_until("segments go", || segments(directory.path()).len() <= 2);
    assert_eq!(spares(directory.path()), 2);
    let left = crashed(directory.path());
    let again = open_with(left.path(), &SMALL_SEGMENTS);
    assert_eq!(spares(left.path()), 2);
    again.store.close();
    assert_eq!(spares(left.path()), 0);
    opened.store.close();
    assert_eq!(spares(directory.path()), 0);
}

/// An operator who makes room on a full disk, say.
#[test]
fn spares_that_somebody_removes_are_not_missed() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    emptied(&opened);
    wait_until("two segments are spare", || spares(directory.path()) > 1);
    for entry in std::fs::read_dir(directory.path().join("log")).expect("a log") {
        let path = entry.expect("a name").path();
        if path.extension().is_some_and(|extension| extension == "spare") {
            std::fs::remove_file(path).expect("it is there");
        }
    }
    for seq in 100..140 {
        commit(&opened, vec![enqueue(&[(1, seq)], [b'y'; 400])]);
    }
    assert_eq!(read_all(&*opened.store, 1).len(), 40);
    opened.store.close();
}

/// A segment that is being read may go and be written over: what is read then is another's.
#[test]
fn who_reads_while_segments_are_written_over_finds_all_that_lives() {
    const COUNT: u64 = 1500;
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare(1)]);
    let (living, newest) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while newest.load(Ordering::SeqCst) < COUNT {
                let before = living.lock().expect("no panic").clone();
                let found = read_all(&*opened.store, 1);
                let is_lost = |seq: &&u64| !found.contains_key(*seq);
                let lost: Vec<&u64> = before.iter().filter(is_lost).collect();
                assert!(lost.is_empty(), "{lost:?} live and were not found");
                reads += 1;
            }
            reads
        });
        for seq in 1..=COUNT {
            commit(&opened, vec![enqueue(&[(1, seq)], [b'x'; 400])]);
            if seq % 25 == 0 {
                living.lock().expect("no panic").push(seq);
            } else {
                commit(&opened, vec![settle(1, seq, seq, 400)]);
            }
            newest.store(seq, Ordering::SeqCst);
        }
        reader.join().expect("no panic")
    });
    assert!(reads > 10, "{reads} reads");
    opened.store.close();
}

#[test]
fn while_the_disk_is_nearly_full_none_are_kept() {
    let disk = SimulatedDisk::new();
    let opened = disk.open_store(&SMALL_SEGMENTS).expect("an empty disk");
    let has =
        |extension: &str| disk.names().iter().filter(|name| name.ends_with(extension)).count();
    emptied(&opened);
    wait_until("a segment is spare", || has(".spare") > 0);
    disk.set_space(Space::Low { free_bytes: 1, limit_bytes: 2 });
    wait_until("spares go", || has(".spare") == 0);
    emptied(&opened);
    wait_until("segments go", || has(".seg") <= 2);
    assert_eq!(has(".spare"), 0);
    opened.store.close();
}
