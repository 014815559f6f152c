//! A crash after the n-th operation that writes, for every n: while messages are published, acked,
//! given back, moved, purged, what was seen is noted, queues deleted and declared again, segments
//! begun, removed and rewritten, indexes and checkpoints written, the store closed, and opened again.
//!
//! Each step waits for its commit. So what is found afterwards is what the confirmed steps have
//! made, or that and the step that was on its way, and nothing else.

use std::time::Duration;

use ferrymq::store::record::{Note, QueueId, Record, Seq};
use ferrymq::store::simulated::{Fault, SimulatedDisk};
use ferrymq::store::{AppendError, Batch, Opened, StoreSettings, StoreState};

use crate::support::*;

const SETTINGS: StoreSettings = StoreSettings {
    audit_bytes_max: 0,
    segment_size_bytes: 2048,
    in_flight_bytes_max: 1 << 20,
    disk_free_limit_bytes: 0,
    rewrite_after: Duration::from_millis(1),
};

/// Segments that are left when all that can go is gone.
const SEGMENTS_LEFT: usize = 3;

struct Step {
    batch: Batch,
    /// What the step makes of the content.
    apply: Box<dyn Fn(&mut Content)>,
    /// It comes when there are segments that nobody needs: one of those that follow is written over
    /// one of them.
    waits_for_spare: bool,
}

fn step(batch: Batch, apply: impl Fn(&mut Content) + 'static) -> Step {
    Step { batch, apply: Box::new(apply), waits_for_spare: false }
}

fn body(seq: u64) -> Vec<u8> {
    format!("{seq:0300}").into_bytes()
}

fn declared(queue: u64) -> Step {
    step(vec![declare(queue)], move |content| {
        content.definitions.push(format!("queue q{queue} {queue}"));
        content.definitions.sort_unstable();
        content.queues.entry(queue).or_default();
    })
}

fn published(places: &[(u64, u64)]) -> Step {
    let (seq, batch) = (places[0].1, vec![enqueue(places, body(places[0].1))]);
    let places = places.to_vec();
    step(batch, move |content| {
        for (queue, place) in &places {
            content.queues.entry(*queue).or_default().0.insert(*place, body(seq));
        }
    })
}

fn acked(queue: u64, first: u64, last: u64) -> Step {
    let bytes = (last - first + 1) * 300;
    step(vec![settle(queue, first, last, bytes)], move |content| {
        let messages = &mut content.queues.entry(queue).or_default().0;
        messages.retain(|seq, _| !(first..=last).contains(seq));
        content.notes.retain(|(of, seq), _| *of != queue || !(first..=last).contains(seq));
    })
}

fn given_back(queue: u64, seq: u64, failed: u32, due_ms: u64) -> Step {
    let note = Note { failed, returned: 1, due_ms };
    step(vec![came_back(queue, &[(seq, note)])], move |content| {
        content.notes.insert((queue, seq), note);
    })
}

/// Of the digests two are kept.
fn was_seen(queue: u64, digest: u128, until_ms: u64) -> Step {
    step(vec![seen(queue, digest, until_ms, 2)], move |content| {
        let seen = content.seen.entry(queue).or_default();
        seen.retain(|(other, _)| *other != digest);
        seen.push((digest, until_ms));
        seen.drain(..seen.len().saturating_sub(2));
    })
}

fn delivered(queue: u64, upto: u64) -> Step {
    step(vec![mark(queue, upto)], move |content| content.queues.entry(queue).or_default().1 = upto)
}

fn dead_lettered(from: (u64, u64), to: (u64, u64)) -> Step {
    let moved = Record::Move {
        from: (QueueId(from.0), Seq(from.1)),
        message: message(body(from.1)),
        to: [(QueueId(to.0), Seq(to.1))].into_iter().collect(),
    };
    step(vec![moved], move |content| {
        content.queues.entry(from.0).or_default().0.remove(&from.1);
        content.notes.remove(&from);
        content.queues.entry(to.0).or_default().0.insert(to.1, body(from.1));
    })
}

fn purged(queue: u64, upto: u64, count: u64) -> Step {
    let all = ferrymq::store::SeqRange { first: Seq(0), last: Seq(upto) };
    let ranges = [all].into_iter().collect();
    let purge = Record::Purge { queue: QueueId(queue), ranges, bytes: count * 300 };
    step(vec![purge], move |content| {
        content.queues.entry(queue).or_default().0.retain(|seq, _| *seq > upto);
        content.notes.retain(|(of, seq), _| *of != queue || *seq > upto);
    })
}

fn deleted(queue: u64) -> Step {
    step(delete(queue), move |content| {
        content.definitions.retain(|name| *name != format!("queue q{queue} {queue}"));
        content.queues.remove(&queue);
        content.notes.retain(|(of, _), _| *of != queue);
        content.seen.remove(&queue);
    })
}

/// A bit of everything; the messages of queue 1 with numbers from 101 on fill segments, of which
/// two messages are left in the end.
fn steps() -> Vec<Step> {
    let mut steps = vec![
        declared(1),
        declared(2),
        published(&[(1, 1), (2, 1)]),
        published(&[(1, 2)]),
        delivered(1, 2),
        given_back(1, 1, 1, 0),
        acked(1, 1, 1),
        given_back(1, 2, 1, 99),
        dead_lettered((1, 2), (2, 2)),
        published(&[(2, 3)]),
        given_back(2, 3, 0, 7),
        purged(2, 3, 3),
        was_seen(1, 7, u64::MAX),
        declared(3),
        published(&[(3, 1), (1, 4)]),
        given_back(3, 1, 1, 0),
        was_seen(3, 7, 1),
        deleted(3),
        // The same name again would be another id.
        declared(4),
        published(&[(4, 1)]),
    ];
    steps.extend((101..=114).map(|seq| published(&[(1, seq)])));
    steps.extend([
        given_back(1, 104, 1, 50),
        was_seen(1, 8, 2),
        acked(1, 101, 103),
        given_back(1, 104, 2, 0),
        given_back(1, 106, 1, 0),
        was_seen(1, 7, 3),
        acked(1, 105, 111),
        acked(1, 113, 113),
        was_seen(1, 9, 4),
        acked(1, 4, 4),
        // One that a crash may leave without its message.
        given_back(4, 9, 1, 5),
    ]);
    let again = (201..=214).map(|seq| published(&[(1, seq)]));
    steps.push(Step { waits_for_spare: true, ..delivered(1, 200) });
    steps.extend(again);
    steps.push(acked(1, 201, 214));
    steps
}

/// What is there after so many steps.
fn content_after(count: usize) -> Content {
    let mut content = Content::default();
    steps().iter().take(count).for_each(|step| (step.apply)(&mut content));
    content
}

/// Runs the steps one after the other, then waits for what the store does by itself and closes it.
/// Answers how many steps were confirmed.
fn run(disk: &SimulatedDisk) -> usize {
    let Ok(opened) = disk.open_store(&SETTINGS) else { return 0 };
    let failed = || matches!(*opened.store.state().borrow(), StoreState::Failed(_));
    let named = |extension| -> Vec<String> {
        disk.names().into_iter().filter(|name| name.ends_with(extension)).collect()
    };
    // The upkeep leaves what has failed once to the next start.
    let is_left = || !disk.has_power() || failed() || disk.fault_is_behind();
    let (mut confirmed, mut spares) = (0, Vec::new());
    for Step { batch, waits_for_spare, .. } in steps() {
        if waits_for_spare {
            // The first is to be had when the second comes.
            wait_until("two segments are spare", || is_left() || named(".spare").len() > 1);
            spares = named(".spare");
        }
        match append(&opened, batch).recv_timeout(DEADLINE).expect("an answer") {
            Ok(_) => confirmed += 1,
            Err(AppendError::Unknown(_) | AppendError::Closed(_)) => break,
        }
    }
    if confirmed < steps().len() {
        assert!(failed(), "a store that has answered with an error has failed");
        let late = append(&opened, vec![mark(1, 1)]).recv_timeout(DEADLINE);
        assert!(matches!(late, Ok(Err(AppendError::Closed(_)))), "{late:?}");
    } else {
        let is_used = |spare: &String| !disk.names().contains(spare);
        assert!(is_left() || spares.iter().any(is_used), "{spares:?} are left");
        wait_until("segments go", || is_left() || named(".seg").len() <= SEGMENTS_LEFT);
    }
    opened.store.close();
    confirmed
}

fn check(opened: &Opened, confirmed: usize, what: &str) -> Content {
    let found = Content::of(opened);
    let possible = [content_after(confirmed), content_after(confirmed + 1)];
    assert!(
        possible.contains(&found),
        "{what}: after {confirmed} confirmed steps there is {found:?}, not {possible:?}"
    );
    found
}

/// Opens what a crash has left, twice, and once with a crash in the first opening.
fn check_left(left: &SimulatedDisk, confirmed: usize, what: &str) {
    let opened = left.open_store(&SETTINGS).unwrap_or_else(|error| panic!("{what}: {error}"));
    let first = check(&opened, confirmed, what);
    opened.store.close();
    let again = left.killed().open_store(&SETTINGS).expect("it opened before");
    assert_eq!(Content::of(&again), first, "{what}, opened again");
    again.store.close();
}

fn operations_of_a_run() -> u64 {
    let disk = SimulatedDisk::new();
    assert_eq!(run(&disk), steps().len());
    let left = disk.killed().open_store(&SETTINGS).expect("a whole disk");
    check(&left, steps().len(), "without a crash");
    disk.operations()
}

#[test]
fn a_power_cut_at_any_operation_leaves_what_was_confirmed() {
    let operations = operations_of_a_run();
    assert!(operations > 60, "{operations} operations");
    for at in 0..operations {
        let disk = SimulatedDisk::new();
        disk.script(at, Fault::PowerCut);
        let confirmed = run(&disk);
        for seed in 0..4 {
            for without_checkpoint in [false, true] {
                let what =
                    format!("operation {at}, seed {seed}, checkpoint lost: {without_checkpoint}");
                let left = disk.power_cut(seed);
                if without_checkpoint {
                    left.lose_checkpoint();
                }
                check_left(&left, confirmed, &what);
            }
        }
        check_left(&disk.killed(), confirmed, &format!("operation {at}, killed"));
    }
}

#[test]
fn a_power_cut_while_the_store_is_opened_changes_nothing() {
    let operations = operations_of_a_run();
    for at in (0..operations).step_by(7) {
        let disk = SimulatedDisk::new();
        disk.script(at, Fault::PowerCut);
        let confirmed = run(&disk);
        for in_recovery in 0..12 {
            let left = disk.power_cut(at);
            left.script(in_recovery, Fault::PowerCut);
            if let Ok(opened) = left.open_store(&SETTINGS) {
                opened.store.close();
            }
            let what = format!("operation {at}, then {in_recovery} in the opening");
            check_left(&left.power_cut(in_recovery), confirmed, &what);
        }
    }
}

#[test]
fn a_failure_at_any_operation_is_final_or_harmless() {
    let operations = operations_of_a_run();
    for fault in [Fault::Fails, Fault::FailsAfterwards] {
        for at in 0..operations {
            let disk = SimulatedDisk::new();
            disk.script(at, fault);
            let confirmed = run(&disk);
            let what = format!("{fault:?} at {at}");
            check_left(&disk.killed(), confirmed, &format!("{what}, killed"));
            check_left(&disk.power_cut(at), confirmed, &format!("{what}, power cut"));
        }
    }
}
