//! What a queue's state does, one story each; most of them were bugs once.

use std::sync::Arc;

use ferrymq::broker::queue::state::State;
use ferrymq::broker::queue::{Ahead, Due, ENTRY_COST, Found, Next, Place, Tally, Wanted};
use ferrymq::protocol::message::Message;
use ferrymq::store::{Epoch, Note, Page, RecoveredQueue, Seq};

use crate::support::{left, message};

/// Adds a message that its batch says nothing of but itself.
fn enqueue(state: &mut State, message: Arc<Message>, stored: bool) -> Seq {
    let enqueued = state.enqueue(0, message, stored);
    state.end_run();
    enqueued.place.seq
}

fn ask_read(state: &mut State) -> Option<Wanted> {
    state.ask_read(Ahead::Batch).pop()
}

fn read(state: &mut State, wanted: Wanted, page: Page) -> u64 {
    state.read(wanted, page, 0, |_| None)
}

/// A consumer waited for the disk once for each level, one after the other.
#[test]
fn marks_of_all_levels_that_are_wanted_are_asked_for_at_once() {
    let mut state = State::new(Epoch(1));
    for level in [0, 3, 3, 9] {
        state.enqueue(level, message(0), true);
        state.end_run();
    }
    let marks = state.ask_marks(3);
    assert_eq!(marks.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [9, 3]);
    assert!(state.ask_marks(3).is_empty(), "they are on their way");
    for (level, _) in marks {
        state.mark_answered(level, true);
    }
    for level in [9, 3, 3] {
        assert!(matches!(state.peek(), Next::Ready(_)));
        assert_eq!(state.take(None).map(|entry| entry.level), Some(level));
    }
    assert_eq!(state.peek(), Next::Unmarked);
}

#[test]
fn a_few_marks_are_exact_and_a_long_drain_reaches_ahead() {
    let mut state = State::new(Epoch(1));
    for _ in 0..100_000 {
        enqueue(&mut state, message(0), true);
    }
    let mut asked = Vec::new();
    while state.peek() != Next::Empty {
        let (_, upto) = state.ask_marks(1).pop().expect("nothing is on its way");
        state.mark_answered(0, true);
        let mut taken = 0u64;
        while matches!(state.peek(), Next::Ready(_)) {
            let entry = state.take(None).expect("ready");
            assert!(entry.seq <= upto);
            taken += 1;
        }
        asked.push(taken);
    }
    assert!(asked[..8].iter().all(|count| *count == 1), "{asked:?}");
    assert!(asked.len() < 40, "{} marks", asked.len());
}

/// Large messages fill the head long before there are as many of them as consumers will take: each
/// head full of them waited for a mark of its own, and so for the disk, while publishers went on.
#[test]
fn a_long_drain_reaches_beyond_what_is_in_memory() {
    let mut state = State::new(Epoch(1));
    state.set_head_max(ENTRY_COST);
    let seqs: Vec<Seq> = (0..10_000).map(|_| enqueue(&mut state, message(0), true)).collect();
    state.on_disk(0, seqs[0], seqs[9_999], 0);
    let (mut marks, mut taken) = (0, 0);
    while state.peek() != Next::Empty {
        match state.peek() {
            Next::Ready(_) => taken += u64::from(state.take(None).is_some()),
            Next::Unmarked => {
                marks += state.ask_marks(100).len();
                state.mark_answered(0, true);
            }
            Next::Paged => {
                let wanted = ask_read(&mut state).expect("the head is empty");
                let (from, last) = (wanted.from, Seq(wanted.from.0 + 3).min(seqs[9_999]));
                let messages = (from.0..=last.0).map(|seq| (Seq(seq), message(0))).collect();
                read(&mut state, wanted, Page { messages, through: last });
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 10_000);
    assert!(marks < 40, "{marks} marks");
}

/// What was paged out between the question and the answer was once taken for lost.
#[test]
fn what_is_paged_out_while_others_are_read_back_is_not_lost() {
    let mut state = State::new(Epoch(1));
    // A few messages may cost four times as much.
    state.set_head_max(ENTRY_COST);
    let seqs: Vec<Seq> = (0..8).map(|_| enqueue(&mut state, message(0), true)).collect();
    state.on_disk(0, seqs[0], seqs[7], 0);
    state.mark_with_batch(0, seqs[7]);
    (0..4).for_each(|_| drop(state.take(None)));
    let wanted = ask_read(&mut state).expect("the head is empty");
    let later = enqueue(&mut state, message(0), true);
    state.on_disk(0, later, later, 0);
    let messages = seqs[4..].iter().map(|seq| (*seq, message(0))).collect();
    assert_eq!(read(&mut state, wanted, Page { messages, through: Seq(u64::MAX) }), 0);
    assert_eq!(state.ready_count(), 5);
}

/// A later batch that was written first took it out of memory, too.
#[test]
fn a_delayed_message_stays_in_memory_until_its_own_batch_is_on_disk() {
    let mut state = State::new(Epoch(1));
    let mut enqueue = || state.enqueue_delayed(message(1), true, 60_000).place.seq;
    let (first, second) = (enqueue(), enqueue());
    state.end_run();
    state.on_disk(0, second, second, 0);
    assert!(matches!(state.take_due(60_000), Some(Due::Here(entry)) if entry.seq == first));
    assert!(matches!(state.take_due(60_000), Some(Due::OnDisk(place)) if place.seq == second));
}

fn page(first: u64, last: u64, through: u64) -> Page {
    let messages = (first..=last).map(|seq| (Seq(seq), message(1))).collect();
    Page { messages, through: Seq(through) }
}

#[test]
fn what_a_last_run_left_comes_back_in_order_and_flagged_as_it_was() {
    let mut state = State::new(Epoch(2));
    state.set_head_max(4 * ENTRY_COST);
    state.restore(0, &left(10, 3));
    assert_eq!((state.ready_count(), state.ready_bytes()), (10, 10));
    assert_eq!(state.paged_out(), Tally { count: 10, bytes: 10 });
    enqueue(&mut state, message(1), true);
    let mut taken = Vec::new();
    while state.ready_count() > 0 {
        if let Some(wanted) = ask_read(&mut state) {
            let last = (wanted.from.0 + 1).min(10);
            let through = if last == 10 { u64::MAX } else { last };
            assert_eq!(read(&mut state, wanted, page(wanted.from.0, last, through)), 0);
        }
        let _ = state.ask_marks(1);
        state.mark_answered(0, true);
        taken.extend(state.take(None).map(|entry| (entry.seq.0 & 0xFF, entry.redelivered)));
    }
    let expected = (1..=10).map(|seq| (seq, seq <= 3)).chain([(1, false)]);
    assert_eq!(taken, expected.collect::<Vec<_>>());
    assert_eq!((state.ready_bytes(), state.paged_out()), (0, Tally::default()));
}

#[test]
fn messages_that_cannot_be_read_are_counted_out_and_the_others_come() {
    let mut state = State::new(Epoch(2));
    state.set_head_max(100 * ENTRY_COST);
    state.restore(0, &left(10, 0));
    let wanted = ask_read(&mut state).expect("the head is empty");
    assert_eq!(read(&mut state, wanted, page(4, 8, u64::MAX)), 5);
    assert_eq!((state.ready_count(), state.ready_bytes()), (5, 5));
    assert_eq!((state.stored(), state.paged_out().count), (Tally { count: 5, bytes: 5 }, 0));
}

#[test]
fn a_store_that_reads_nothing_is_asked_once() {
    let mut state = State::new(Epoch(2));
    state.restore(0, &left(10, 0));
    let wanted = ask_read(&mut state).expect("the head is empty");
    read(&mut state, wanted, Page::default());
    assert_eq!((ask_read(&mut state), state.peek()), (None, Next::Unreadable));
    assert_eq!(state.ready_count(), 10, "they are still there");
    state.purge();
    assert_eq!(state.peek(), Next::Empty);
}

#[test]
fn an_answer_that_a_purge_has_overtaken_is_dropped() {
    let mut state = State::new(Epoch(2));
    state.restore(0, &left(10, 0));
    let wanted = ask_read(&mut state).expect("the head is empty");
    assert_eq!(state.purge().0, 10);
    read(&mut state, wanted, page(1, 10, u64::MAX));
    assert_eq!((state.ready_count(), state.peek()), (0, Next::Empty));
}

/// The bytes were taken from the lowest level, wherever the messages stood.
#[test]
fn a_purge_tells_the_bytes_of_delayed_messages_by_level() {
    let mut state = State::new(Epoch(1));
    state.enqueue(3, message(4), true);
    let entry = state.take(None).expect("it is fresh");
    state.delay(entry, 1_000);
    let (count, purged) = state.purge();
    let bytes: Vec<_> = purged.iter().map(|purged| (purged.level, purged.bytes)).collect();
    assert_eq!((count, bytes), (1, vec![(0, 0), (1, 0), (2, 0), (3, 4)]));
}

/// Three messages that were delivered, of which these are noted.
fn left_noted(notes: &[(u64, Note)]) -> RecoveredQueue {
    let notes = notes.iter().map(|(seq, note)| (Seq(*seq), *note)).collect();
    RecoveredQueue { notes, ..left(3, 3) }
}

fn waits(due_ms: u64) -> Note {
    Note { failed: 2, returned: 1, due_ms }
}

/// It was counted from nothing again, and so had more attempts than its queue allows.
#[test]
fn a_message_that_waits_on_disk_keeps_its_counts() {
    let mut state = State::new(Epoch(2));
    state.restore(0, &left_noted(&[(2, waits(60_000))]));
    let wanted = ask_read(&mut state).expect("the head is empty");
    assert_eq!(read(&mut state, wanted, page(1, 3, u64::MAX)), 0);
    assert!(matches!(state.take_due(60_000), Some(Due::OnDisk(place)) if place.seq == Seq(2)));
    let entry = state.due_was_read(Place { level: 0, seq: Seq(2) }, message(1));
    assert_eq!((entry.failed, entry.returned, entry.redelivered), (2, 1, true));
}

/// It came before what stood before it, which the log was then told is gone.
#[test]
fn what_waited_through_a_restart_comes_back_to_its_old_place() {
    let mut state = State::new(Epoch(2));
    state.restore(0, &left_noted(&[(2, waits(1_000))]));
    let wanted = ask_read(&mut state).expect("the head is empty");
    assert_eq!(read(&mut state, wanted, page(1, 3, u64::MAX)), 0);
    let Some(Due::Here(entry)) = state.take_due(1_000) else { panic!("it is due") };
    state.put_back(entry);
    assert_eq!(state.settled_through(0), Seq(0));
    let taken = std::iter::from_fn(|| state.take(None)).map(|entry| entry.seq.0);
    assert_eq!(taken.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_is_held_back_keeps_its_place_and_those_behind_it() {
    let mut state = State::new(Epoch(1));
    let seqs: Vec<Seq> = (0..3).map(|_| enqueue(&mut state, message(0), false)).collect();
    let place = |seq: Seq| Place { level: 0, seq };
    state.hold(place(seqs[1]));
    assert_eq!(state.take(Some(1)).map(|entry| entry.seq), Some(seqs[0]));
    assert_eq!((state.peek(), state.ready_count()), (Next::Unwritten, 2));
    let (first, _) = state.settle(place(seqs[0])).expect("it is out");
    state.hold(first.place());
    state.put_back(first);
    state.release(0, &seqs[1..2]);
    assert_eq!(state.peek(), Next::Unwritten, "the first one is held, too");
    state.release(0, &seqs[..1]);
    let taken: Vec<Seq> = std::iter::from_fn(|| {
        (matches!(state.peek(), Next::Ready(_))).then(|| state.take(None))?
    })
    .map(|entry| entry.seq)
    .collect();
    assert_eq!(taken, seqs);
}

/// A transient message among stored ones, picked and put back, could be picked twice once what came
/// behind it had been paged out: it was then looked for on disk, too.
#[test]
fn what_was_picked_between_paged_messages_is_there_once_when_it_is_back() {
    let mut state = State::new(Epoch(1));
    state.set_head_max(ENTRY_COST);
    let before: Vec<Seq> = (0..8).map(|_| enqueue(&mut state, message(0), true)).collect();
    let wanted = Place { level: 0, seq: enqueue(&mut state, message(0), false) };
    state.on_disk(0, before[0], before[7], 0);
    let Found::Here(entry) = state.find(wanted) else { panic!("it is transient") };
    assert!(state.pick(&entry).is_some());
    let behind = enqueue(&mut state, message(0), true);
    state.on_disk(0, behind, behind, 0);
    let (entry, _) = state.settle(wanted).expect("it is out");
    state.put_back(entry.clone());
    assert!(state.pick(&entry).is_some());
    assert!(state.pick(&entry).is_none(), "it is not there any more");
    assert_eq!(state.ready_count(), 9);
}
