//! Clean ends, crashes, segments that come and go.

use ferrymq::store::record::{QueueId, Record, Seq};

use crate::support::*;

/// Two queues with messages of every fate.
fn a_bit_of_everything() -> Vec<Vec<Record>> {
    vec![
        vec![vhost("/"), declare(1), declare(2)],
        vec![enqueue(&[(1, 1), (2, 1)], "both"), enqueue(&[(1, 2)], "settled")],
        vec![enqueue(&[(1, 3)], "dead"), enqueue(&[(2, 2)], "purged")],
        vec![settle(1, 2, 2, 7)],
        vec![Record::Move {
            from: (QueueId(1), Seq(3)),
            message: message("dead"),
            to: [(QueueId(2), Seq(4))].into_iter().collect(),
        }],
        vec![settle(2, 1, 2, 10)],
        vec![Record::DeliverMark { queue: QueueId(1), upto: Seq(7) }],
        vec![declare(3), enqueue(&[(3, 1)], "of a queue that goes")],
        delete(3),
    ]
}

fn its_content() -> Content {
    let mut expected = Content {
        definitions: vec!["queue q1 1".to_owned(), "queue q2 2".to_owned(), "vhost /".to_owned()],
        ..Content::default()
    };
    expected.queues.insert(1, ([(1, b"both".to_vec())].into(), 7));
    expected.queues.insert(2, ([(4, b"dead".to_vec())].into(), 0));
    expected
}

#[test]
fn what_was_committed_is_there_after_a_clean_end() {
    let directory = directory();
    let opened = open(directory.path());
    commit_all(&opened, a_bit_of_everything());
    opened.store.close();
    drop(opened);
    assert_eq!(content(directory.path()), its_content());
    assert_eq!(content(directory.path()), its_content(), "and once more");
}

#[test]
fn what_was_committed_is_there_after_a_crash() {
    let directory = directory();
    let opened = open(directory.path());
    commit_all(&opened, a_bit_of_everything());
    let left = crashed(directory.path());
    assert_eq!(content(left.path()), its_content());
    let twice = crashed(left.path());
    assert_eq!(content(twice.path()), its_content(), "and after a second one");
}

#[test]
fn a_settle_that_comes_before_its_enqueue_wins() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(1)]);
    commit(&opened, vec![settle(1, 1, 2, 13), enqueue(&[(1, 3)], "stays")]);
    commit(&opened, vec![enqueue(&[(1, 1)], "gone"), enqueue(&[(1, 2)], "gone, too")]);
    opened.store.close();
    drop(opened);
    assert_eq!(content(directory.path()).bodies(1), ["stays"]);
}

#[test]
fn messages_of_queues_that_are_not_defined_are_dropped_and_their_segments_with_them() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    for seq in 1..=20 {
        commit(&opened, vec![enqueue(&[(9, seq)], vec![b'x'; 1024])]);
    }
    wait_until("segments of nobody go", || segments(directory.path()).len() <= 2);
    opened.store.close();
    drop(opened);
    assert!(content(directory.path()).queues.is_empty());
}

#[test]
fn a_body_is_written_once_however_many_queues_it_goes_to() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, (1..=10).map(declare).collect());
    let places: Vec<(u64, u64)> = (1..=10).map(|queue| (queue, 1)).collect();
    commit(&opened, vec![enqueue(&places, vec![b'x'; 100_000])]);
    opened.store.close();
    drop(opened);
    let log: u64 = segments(directory.path())
        .iter()
        .map(|path| std::fs::metadata(path).expect("a segment").len())
        .sum();
    assert!(log < 110_000, "{log} bytes");
    let found = content(directory.path());
    assert!((1..=10).all(|queue| found.bodies(queue) == ["x".repeat(100_000)]));
}

#[test]
fn large_bodies_and_empty_ones_come_back_as_they_were() {
    let directory = directory();
    let opened = open(directory.path());
    let large: Vec<u8> = (0..3_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
    commit(&opened, vec![declare(1), enqueue(&[(1, 1)], large.clone()), enqueue(&[(1, 2)], "")]);
    let left = crashed(directory.path());
    let found = content(left.path());
    assert!(found.queues[&1].0[&1] == large);
    assert!(found.queues[&1].0[&2].is_empty());
}

#[test]
fn segments_without_messages_go_and_one_message_keeps_its_own() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![vhost("/"), declare(1)]);
    for seq in 1..=40 {
        commit(&opened, vec![enqueue(&[(1, seq)], format!("{seq:01024}"))]);
    }
    assert!(segments(directory.path()).len() >= 8, "{:?}", segments(directory.path()));
    commit(&opened, vec![settle(1, 1, 16, 16 << 10), settle(1, 18, 40, 23 << 10)]);
    // The one with the message and the active one; that message may be carried to the active one.
    wait_until("two segments", || segments(directory.path()).len() <= 2);
    let left = crashed(directory.path());
    assert_eq!(content(left.path()).bodies(1), [format!("{:01024}", 17)]);
    commit(&opened, vec![settle(1, 17, 17, 1024)]);
    wait_until("one segment", || segments(directory.path()).len() == 1);
    let left = crashed(directory.path());
    assert_eq!(content(left.path()).definitions, ["queue q1 1", "vhost /"]);
}

#[test]
fn settled_messages_stay_settled_when_the_segment_that_says_so_is_gone() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare(1), declare(2)]);
    commit(&opened, vec![enqueue(&[(1, 1)], "stuck"), enqueue(&[(1, 2)], "settled")]);
    let mut seq = 0;
    let mut fill = || {
        for _ in 0..8 {
            seq += 1;
            commit(&opened, vec![enqueue(&[(2, seq)], vec![b'x'; 1024])]);
        }
        seq
    };
    fill();
    commit(&opened, vec![settle(1, 2, 2, 7)]);
    let last = fill();
    commit(&opened, vec![settle(2, 1, last, last << 10)]);
    wait_until("the segments between go", || segments(directory.path()).len() <= 2);
    let left = crashed(directory.path());
    std::fs::remove_dir_all(left.path().join("catalog")).expect("sled's directory");
    assert_eq!(content(left.path()).bodies(1), ["stuck"]);
}

#[test]
fn every_opening_begins_a_higher_epoch() {
    let directory = directory();
    let mut last = 0;
    for round in 0..4 {
        let opened = open(directory.path());
        assert!(opened.epoch.0 > last, "round {round}");
        last = opened.epoch.0;
        commit(&opened, vec![vhost("/")]);
        let left = crashed(directory.path());
        std::fs::remove_dir_all(left.path().join("catalog")).expect("sled's directory");
        let after_crash = open(left.path());
        assert!(after_crash.epoch.0 > last, "round {round}, after a crash");
    }
}
