//! Messages read back: from the active segment, from indexes in memory and in files, without them,
//! and after they were carried elsewhere.

use std::path::Path;

use ferrymq::store::simulated::SimulatedDisk;
use ferrymq::store::{Opened, READ_EACH_MAX, Seq};

use crate::support::*;

const COUNT: u64 = 60;

fn body(seq: u64) -> Vec<u8> {
    format!("{seq:0600}").into_bytes()
}

/// Two queues whose messages alternate, over many small segments.
fn fill(opened: &Opened) {
    commit(opened, vec![declare(1), declare(2)]);
    for seq in 1..=COUNT {
        commit(opened, vec![enqueue(&[(1, seq)], body(seq)), enqueue(&[(2, seq)], "other")]);
    }
}

fn assert_all(opened: &Opened, expected: impl Iterator<Item = u64>) {
    let found = read_all(&*opened.store, 1);
    assert!(found == expected.map(|seq| (seq, body(seq))).collect(), "{:?}", found.keys());
}

fn indexes(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory.join("log")).expect("a log");
    let is_index = |path: &Path| path.extension().is_some_and(|extension| extension == "idx");
    names.filter(|entry| entry.as_ref().is_ok_and(|entry| is_index(&entry.path()))).count()
}

#[test]
fn a_queue_is_read_back_over_all_its_segments() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    assert!(segments(directory.path()).len() > 8);
    assert_all(&opened, 1..=COUNT);
    assert!(read_all(&*opened.store, 2).values().all(|body| body == b"other"));
    assert!(read_all(&*opened.store, 3).is_empty(), "a queue that isn't there");
    commit(&opened, vec![settle(1, 1, 7, 7 * 600), settle(1, 20, 31, 12 * 600)]);
    assert_all(&opened, (8..20).chain(32..=COUNT));
}

#[test]
fn messages_are_read_by_their_numbers_each_once_if_it_lives() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    commit(&opened, vec![settle(1, 1, 7, 7 * 600), settle(1, 20, 31, 12 * 600)]);
    let check = |opened: &Opened| {
        let read = |seqs: &[u64]| read_each(&*opened.store, 1, seqs);
        assert_eq!(read(&[7, 8, 9, 19, 20, 32, 59, 60, 61, 99]), (vec![8, 9, 19, 32, 59, 60], 99));
        assert_eq!(read(&[33]), (vec![33], 33));
        assert_eq!(read(&[25]), (vec![], 25));
        assert_eq!(read(&[]), (vec![], 0));
        let all: Vec<u64> = (1..=COUNT).collect();
        assert_eq!(read(&all).0, (8..20).chain(32..=COUNT).collect::<Vec<_>>());
        assert_eq!(read_each(&*opened.store, 3, &[1, 5]), (vec![], 5), "a queue that isn't there");
    };
    check(&opened);
    opened.store.close();
    drop(opened);
    check(&open_with(directory.path(), &SMALL_SEGMENTS));
}

#[test]
fn no_more_messages_are_read_by_their_numbers_than_the_limit_allows() {
    let directory = directory();
    let opened = open(directory.path());
    let last = READ_EACH_MAX as u64 + 10;
    commit(&opened, vec![declare(1)]);
    commit(&opened, (1..=last).map(|seq| enqueue(&[(1, seq)], "m")).collect());
    let all: Vec<u64> = (1..=last).collect();
    let (found, through) = read_each(&*opened.store, 1, &all);
    assert_eq!((found.len(), through), (READ_EACH_MAX, READ_EACH_MAX as u64));
}

#[test]
fn who_was_told_of_a_commit_finds_it() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare(1)]);
    for seq in 1..=200 {
        commit(&opened, vec![enqueue(&[(1, seq)], body(seq))]);
        assert_eq!(read(&*opened.store, 1, Seq(seq)).messages.len(), 1, "number {seq}");
    }
}

#[test]
fn numbers_that_reached_the_log_out_of_order_are_read_in_order() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(1)]);
    for seq in [3, 1, 2, 6, 5, 4] {
        commit(&opened, vec![enqueue(&[(1, seq)], body(seq))]);
    }
    assert_all(&opened, 1..=6);
    opened.store.close();
    drop(opened);
    assert_all(&open(directory.path()), 1..=6);
}

#[test]
fn indexes_that_are_damaged_or_gone_are_made_again() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    opened.store.close();
    drop(opened);
    let log = directory.path().join("log");
    assert_eq!(indexes(directory.path()), segments(directory.path()).len());
    let entries = std::fs::read_dir(&log).expect("a log").map(|entry| entry.expect("one").path());
    let files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .collect();
    for (number, file) in files.iter().enumerate() {
        let mut bytes = std::fs::read(file).expect("readable");
        match number % 3 {
            0 => std::fs::remove_file(file).expect("it was there"),
            1 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(file, bytes).expect("writable");
            }
            _ => std::fs::write(file, &bytes[..bytes.len() / 3]).expect("writable"),
        }
    }
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    assert_all(&opened, 1..=COUNT);
}

#[test]
fn a_few_messages_are_carried_away_from_their_segments_and_are_still_there() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    let stuck: Vec<u64> = (1..=COUNT).filter(|seq| seq % 12 == 5).collect();
    let gone: Vec<u64> = (1..=COUNT).filter(|seq| seq % 12 != 5).collect();
    let settles = gone.iter().map(|seq| settle(1, *seq, *seq, 600)).collect();
    commit(&opened, settles);
    commit(&opened, vec![settle(2, 1, COUNT, COUNT * 5)]);
    // Five messages of 600 bytes fit into two segments; one more is active.
    wait_until("the others go", || segments(directory.path()).len() <= 3);
    assert_all(&opened, stuck.iter().copied());
    for without_catalog in [false, true] {
        let left = crashed(directory.path());
        if without_catalog {
            std::fs::remove_dir_all(left.path().join("catalog")).expect("sled's directory");
        }
        let found = content(left.path());
        assert!(found.queues[&1].0.keys().eq(&stuck), "{without_catalog}");
    }
    opened.store.close();
    drop(opened);
    assert!(content(directory.path()).queues[&1].0.keys().eq(&stuck));
}

#[test]
fn what_many_starts_leave_is_put_together() {
    let directory = directory();
    let mut settings = SMALL_SEGMENTS;
    settings.segment_size_bytes = 1 << 20;
    for round in 1..=8 {
        let opened = open_with(directory.path(), &settings);
        commit(&opened, vec![declare(1), enqueue(&[(1, round)], body(round))]);
        opened.store.close();
    }
    let opened = open_with(directory.path(), &settings);
    wait_until("one segment is left", || segments(directory.path()).len() == 1);
    assert_all(&opened, 1..=8);
}

/// With so many queues a checkpoint isn't worth its cost after each segment. It comes when nothing
/// is written any more, or the disk would stay full of what is gone.
#[test]
fn segments_of_many_queues_go_when_nothing_is_written_any_more() {
    const QUEUES: u64 = 300;
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, (1..=QUEUES).map(declare).collect());
    for queue in 1..=QUEUES {
        commit(&opened, vec![enqueue(&[(queue, 1)], body(queue))]);
    }
    assert!(segments(directory.path()).len() > 4);
    commit(&opened, (1..=QUEUES).map(|queue| settle(queue, 1, 1, 600)).collect());
    wait_until("one segment is left", || segments(directory.path()).len() == 1);
    opened.store.close();
    drop(opened);
    let left = content(directory.path());
    assert_eq!(left.queues.len() as u64, QUEUES);
    assert!(left.queues.values().all(|(messages, ..)| messages.is_empty()));
}

#[test]
fn a_damaged_message_is_passed_over_when_it_is_read() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    opened.store.close();
    drop(opened);
    for path in segments(directory.path()) {
        let mut bytes = std::fs::read(&path).expect("readable");
        let wanted = body(30);
        if let Some(found) = bytes.windows(600).position(|window| window == wanted) {
            bytes[found + 300] ^= 4;
            std::fs::write(&path, bytes).expect("writable");
        }
    }
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    assert_all(&opened, (1..30).chain(31..=COUNT));
}

#[test]
fn what_comes_and_goes_while_the_disk_is_busy_is_confirmed_and_not_written() {
    let disk = SimulatedDisk::new();
    let opened = disk.open_store(&SMALL_SEGMENTS).expect("an empty disk");
    commit(&opened, vec![declare(1), declare(2)]);
    disk.hold();
    let busy = append(&opened, vec![vhost("keeps the disk busy")]);
    wait_until("it is on its way, and the next window begins", || disk.is_waited_for());
    let both = append(&opened, vec![enqueue(&[(1, 1), (2, 1)], "stays in one queue")]);
    let gone = append(&opened, vec![enqueue(&[(1, 2)], "came and went"), mark(1, 2)]);
    opened.store.append(vec![settle(1, 1, 1, 18), settle(1, 2, 2, 13)], None);
    disk.release();
    for answer in [busy, both, gone] {
        assert!(answer.recv_timeout(DEADLINE).expect("an answer").is_ok());
    }
    opened.store.close();
    let is_written = |text: &str| {
        let mut found = false;
        disk.change_files(|_, bytes| {
            found |= bytes.windows(text.len()).any(|window| window == text.as_bytes());
        });
        found
    };
    assert!(is_written("stays in one queue") && !is_written("came and went"));
    let opened = disk.open_store(&SMALL_SEGMENTS).expect("whole");
    let content = Content::of(&opened);
    assert!(content.bodies(1).is_empty());
    assert_eq!(content.bodies(2), ["stays in one queue"]);
}

/// It was carried again and again, at every look, with nothing to show for it.
#[test]
fn a_segment_whose_last_message_is_damaged_stays_and_is_left_in_peace() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    fill(&opened);
    opened.store.close();
    drop(opened);
    let wanted = body(30);
    let has = |path: &Path| {
        let bytes = std::fs::read(path).expect("readable");
        bytes.windows(600).position(|window| window == wanted)
    };
    let damaged = segments(directory.path()).into_iter().find(|path| has(path).is_some());
    let damaged = damaged.expect("it is in one of them");
    let (mut bytes, place) = (std::fs::read(&damaged).expect("readable"), has(&damaged));
    bytes[place.expect("there")] ^= 4;
    std::fs::write(&damaged, bytes).expect("writable");
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    let others = [settle(1, 1, 29, 29 * 600), settle(1, 31, COUNT, (COUNT - 30) * 600)];
    commit(&opened, [others.to_vec(), vec![settle(2, 1, COUNT, COUNT * 5)]].concat());
    wait_until("the others go", || segments(directory.path()).len() <= 2);
    // Rewriting would write: after many looks the log is as long as it was.
    let len = || {
        segments(directory.path())
            .iter()
            .map(|path| path.metadata().map_or(0, |m| m.len()))
            .sum::<u64>()
    };
    let (before, start) = (len(), std::time::Instant::now());
    while start.elapsed() < SMALL_SEGMENTS.rewrite_after * 20 {
        std::thread::yield_now();
    }
    assert_eq!((len(), damaged.exists()), (before, true));
}
