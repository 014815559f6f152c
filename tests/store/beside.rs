//! What the log keeps beside messages: notes of them, what deduplication has seen, and under which ids
//! of queues and exchanges all of it is.

use ferrymq::store::{Definition, Opened, StoreSettings};
use std::time::Duration;

use ferrymq::store::record::{Note, QueueId, Record, Seq};
use ferrymq::store::simulated::SimulatedDisk;
use tempfile::TempDir;

use crate::support::*;

const FAILED: Note = Note { failed: 1, returned: 0, due_ms: 0 };

fn moved(from: (u64, u64), to: &[(u64, u64)], body: &str) -> Record {
    let from = (QueueId(from.0), Seq(from.1));
    let to = to.iter().map(|(queue, seq)| (QueueId(*queue), Seq(*seq))).collect();
    Record::Move { from, message: message(body), to }
}

/// What is found after a kill, with sled's checkpoint and without, and after a clean end: the same.
fn survives(opened: Opened, directory: &TempDir) -> Content {
    let killed = crashed(directory.path());
    let without_catalog = crashed(directory.path());
    std::fs::remove_dir_all(without_catalog.path().join("catalog")).expect("sled's directory");
    opened.store.close();
    drop(opened);
    let found = content(directory.path());
    assert_eq!(content(killed.path()), found, "killed");
    assert_eq!(content(without_catalog.path()), found, "killed, and sled's directory lost");
    assert_eq!(content(directory.path()), found, "and once more");
    found
}

/// Fills segments with messages of queue 8 that go at once, so that nothing but the head of the newest
/// segment and sled say what was before.
fn fill_and_drain(opened: &Opened, directory: &TempDir, first: u64) {
    commit(opened, vec![declare(8)]);
    let last = first + 40;
    for seq in first..=last {
        commit(opened, vec![enqueue(&[(8, seq)], vec![b'x'; 1024])]);
    }
    commit(opened, vec![settle(8, first, last, 41 << 10)]);
    wait_until("segments go", || segments(directory.path()).len() <= 2);
}

#[test]
fn every_level_of_a_queue_and_what_an_exchange_holds_are_there_until_they_are_deleted() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare_with_levels(1, 2), declare(4), declare_exchange(9)]);
    commit(&opened, vec![enqueue(&[(1, 1), (2, 1), (3, 1), (9, 1)], "in all"), seen(9, 5, 6, 7)]);
    commit(&opened, vec![came_back(2, &[(1, FAILED)]), mark(3, 1)]);
    fill_and_drain(&opened, &directory, 1);
    let found = survives(opened, &directory);
    assert_eq!(found.definitions, ["exchange x9", "queue q1 1", "queue q4 4", "queue q8 8"]);
    for queue in [1, 2, 3, 9] {
        assert_eq!(found.bodies(queue), ["in all"], "{queue}");
    }
    assert_eq!(found.queues[&3].1, 1);
    assert_eq!(found.notes, [((2, 1), FAILED)].into());
    assert_eq!(found.seen, [(9, vec![(5, 6)])].into());
}

#[test]
fn what_is_kept_under_the_ids_of_a_definition_goes_with_it() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare_with_levels(1, 2), declare_exchange(9)]);
    for queue in [1, 2, 3, 9] {
        commit(&opened, vec![enqueue(&[(queue, 1)], "gone"), came_back(queue, &[(1, FAILED)])]);
        commit(&opened, vec![seen(queue, 5, 6, 7)]);
    }
    // A checkpoint has all of it.
    fill_and_drain(&opened, &directory, 1);
    commit(&opened, delete_with_levels(1, 2));
    commit(&opened, delete_exchange(9));
    // Late ones for what is gone are gone, too.
    commit(&opened, vec![came_back(2, &[(1, FAILED)]), seen(9, 5, 6, 7)]);
    fill_and_drain(&opened, &directory, 100);
    let found = survives(opened, &directory);
    assert_eq!(found.definitions, ["queue q8 8"]);
    assert!(found.queues.keys().eq(&[8]) && found.notes.is_empty() && found.seen.is_empty());
}

#[test]
fn notes_and_what_was_seen_outlive_the_segments_that_say_them() {
    let directory = directory();
    let opened = open_with(directory.path(), &SMALL_SEGMENTS);
    commit(&opened, vec![declare(1), enqueue(&[(1, 1)], "stuck"), enqueue(&[(1, 2)], "goes")]);
    let later = Note { failed: 2, returned: 0, due_ms: 77 };
    commit(&opened, vec![came_back(1, &[(1, FAILED), (2, FAILED)]), seen(1, 3, 4, 5)]);
    commit(&opened, vec![came_back(1, &[(1, later)])]);
    commit(&opened, vec![came_back(1, &[(1, FAILED)]), settle(1, 2, 2, 4)]);
    // The one that stays is carried.
    fill_and_drain(&opened, &directory, 1);
    let found = survives(opened, &directory);
    assert_eq!(found.bodies(1), ["stuck"]);
    assert_eq!(found.notes, [((1, 1), later)].into(), "counts never go down");
    assert_eq!(found.seen[&1], [(3, 4)]);
}

/// The oldest segment says them still, and the one that let the last of them go is gone: a snapshot
/// that had none to say once brought them back.
#[test]
fn digests_that_were_let_go_do_not_come_back_with_an_older_segment() {
    let directory = directory();
    let settings = StoreSettings { rewrite_after: Duration::from_secs(3600), ..SMALL_SEGMENTS };
    let opened = open_with(directory.path(), &settings);
    commit(&opened, vec![declare(1), enqueue(&[(1, 1)], "stuck"), seen(1, 3, 4, 5)]);
    fill_and_drain(&opened, &directory, 1);
    commit(&opened, vec![seen(1, 6, 7, 0)]);
    fill_and_drain(&opened, &directory, 100);
    let found = survives(opened, &directory);
    assert_eq!((found.bodies(1), found.seen.len()), (vec!["stuck".to_owned()], 0));
}

/// A checkpoint writes a part of them, a start reads all.
#[test]
fn the_newest_of_many_digests_are_kept_in_order_over_many_checkpoints_and_starts() {
    const KEEP: u32 = 3000;
    let directory = directory();
    let mut model: Vec<(u128, u64)> = Vec::new();
    for round in 0..4 {
        let opened = open_with(directory.path(), &SMALL_SEGMENTS);
        commit(&opened, vec![declare(1)]);
        let found = Content::of(&opened).seen.remove(&1).unwrap_or_default();
        assert_eq!(found, model, "round {round}");
        let aside = directory.path().join("catalog.damaged");
        assert!(!aside.exists(), "what checkpoints have written fits together, round {round}");
        for part in 0..10 {
            // Some of those of the last round are seen again.
            let first = round * 1900 + part * 200;
            let digests = (first..first + 200).map(|number| u128::from(number) << 70);
            let all = digests.map(|digest| (digest, round)).collect::<Vec<_>>();
            model.retain(|(digest, _)| all.iter().all(|(other, _)| other != digest));
            model.extend(&all);
            model.drain(..model.len().saturating_sub(KEEP as usize));
            commit(
                &opened,
                all.iter().map(|(digest, until)| seen(1, *digest, *until, KEEP)).collect(),
            );
        }
        // A crash every other time.
        if round % 2 == 0 {
            let left = crashed(directory.path());
            assert_eq!(content(left.path()).seen[&1], model, "round {round}, killed");
        }
        opened.store.close();
    }
    let opened = open(directory.path());
    let found = survives(opened, &directory);
    assert_eq!(found.seen[&1], model);
}

/// As an exchange does that held it back: from its own id, to all queues at once.
#[test]
fn a_message_is_moved_from_an_exchange_to_its_queues_in_the_window_that_brought_it() {
    let disk = SimulatedDisk::new();
    let opened = disk.open_store(&SMALL_SEGMENTS).expect("an empty disk");
    commit(&opened, vec![declare_with_levels(1, 1), declare(3), declare_exchange(9)]);
    disk.hold();
    let busy = append(&opened, vec![vhost("keeps the disk busy")]);
    wait_until("it is on its way, and the next window begins", || disk.is_waited_for());
    let came = append(&opened, vec![enqueue(&[(9, 1)], "due"), came_back(9, &[(1, FAILED)])]);
    let went = append(&opened, vec![moved((9, 1), &[(2, 1), (3, 1)], "due")]);
    opened.store.append(vec![settle(3, 1, 1, 3)], None);
    disk.release();
    for answer in [busy, came, went] {
        assert!(answer.recv_timeout(DEADLINE).expect("an answer").is_ok());
    }
    for left in [disk.killed(), disk.power_cut(1)] {
        for without_checkpoint in [false, true] {
            if without_checkpoint {
                left.lose_checkpoint();
            }
            let found = Content::of(&left.open_store(&SMALL_SEGMENTS).expect("whole"));
            assert_eq!((found.bodies(2), found.bodies(3)), (vec!["due".to_owned()], vec![]));
            assert!(found.bodies(9).is_empty() && found.notes.is_empty());
        }
    }
}

#[test]
fn a_note_of_what_came_and_went_while_the_disk_was_busy_is_confirmed_and_not_written() {
    let disk = SimulatedDisk::new();
    let opened = disk.open_store(&SMALL_SEGMENTS).expect("an empty disk");
    commit(&opened, vec![declare(1)]);
    disk.hold();
    let busy = append(&opened, vec![vhost("keeps the disk busy")]);
    wait_until("it is on its way, and the next window begins", || disk.is_waited_for());
    let came = append(&opened, vec![enqueue(&[(1, 1)], "rejected"), mark(1, 1)]);
    let back = append(&opened, vec![came_back(1, &[(1, FAILED)])]);
    let was_seen = append(&opened, vec![enqueue(&[(1, 2)], "seen"), seen(1, 7, 8, 9)]);
    let mut all = settle(1, 2, 2, 4);
    if let Record::Settle { settled, .. } = &mut all {
        settled.through = Seq(2);
    }
    opened.store.append(vec![settle(1, 1, 1, 8), all], None);
    disk.release();
    for answer in [busy, came, back, was_seen] {
        assert!(answer.recv_timeout(DEADLINE).expect("an answer").is_ok());
    }
    let found = Content::of(&disk.killed().open_store(&SMALL_SEGMENTS).expect("whole"));
    assert_eq!((found.queues[&1].0.len(), found.queues[&1].1), (0, 0), "not its mark either");
    assert!(found.notes.is_empty());
    assert_eq!(found.seen[&1], [(7, 8)]);
}

fn ids_of(text: &str) -> Vec<u64> {
    let definition: Definition = serde_json::from_str(text).expect("a definition");
    definition.queue_ids().map(|queue| queue.0).collect()
}

#[test]
fn a_definition_from_before_there_were_levels_is_read_and_has_one_id_or_none() {
    let queue = r#"{"queue":{"vhost":"/","name":"q","id":7,"auto_delete":false,
        "arguments":"AAAAAA=="}}"#;
    let exchange = r#"{"exchange":{"vhost":"/","name":"x","kind":"fanout","auto_delete":false,
        "internal":false,"arguments":"AAAAAA=="}}"#;
    assert_eq!(ids_of(queue), [7]);
    assert_eq!(ids_of(exchange), [0; 0]);
}

#[test]
fn every_level_has_an_id_and_an_exchange_its_own() {
    let queue = r#"{"queue":{"vhost":"/","name":"q","id":7,"auto_delete":false,
        "arguments":"AAAAAA==","levels":2}}"#;
    let exchange = r#"{"exchange":{"vhost":"/","name":"x","kind":"fanout","auto_delete":false,
        "internal":false,"arguments":"AAAAAA==","queue":9}}"#;
    assert_eq!(ids_of(queue), [7, 8, 9]);
    assert_eq!(ids_of(exchange), [9]);
    assert_eq!(ids_of(r#"{"vhost":{"name":"/"}}"#), [0; 0]);
}
