//! A queue's state against a naive model: random operations, the same answers. A failing run prints
//! the operations that lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq::broker::queue::state::{Purged, State};
use ferrymq::broker::queue::{Due, ENTRY_COST, Next, Place, Wanted};
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::{Epoch, Note, Page, QueueId, RecoveredQueue, Seq, SeqRange};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Operation {
    Enqueue {
        stored: bool,
        len: usize,
    },
    /// With the mark of the batch that brought the message, or without.
    Take {
        no_ack: bool,
    },
    Settle(usize),
    Requeue(usize),
    Purge,
    AskMark(u64),
    AnswerMark(bool),
    /// So many of the newest messages are on disk.
    OnDisk(u64),
    /// What is wanted is asked for, and found as it is then.
    AskRead,
    /// What was found comes.
    AnswerRead,
    /// What the head may cost, in messages.
    HeadMax(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (any::<bool>(), 0..5usize).prop_map(|(stored, len)| Operation::Enqueue { stored, len }),
        5 => any::<bool>().prop_map(|no_ack| Operation::Take { no_ack }),
        3 => any::<usize>().prop_map(Operation::Settle),
        3 => any::<usize>().prop_map(Operation::Requeue),
        1 => Just(Operation::Purge),
        3 => (0..4u64).prop_map(Operation::AskMark),
        3 => any::<bool>().prop_map(Operation::AnswerMark),
        3 => (0..9u64).prop_map(Operation::OnDisk),
        4 => Just(Operation::AskRead),
        4 => Just(Operation::AnswerRead),
        1 => (0..6u64).prop_map(Operation::HeadMax),
    ]
}

#[derive(Debug, Clone)]
struct Expected {
    len: u64,
    stored: bool,
    redelivered: bool,
}

/// The same rules in the plainest form: two sorted maps and a mark.
#[derive(Default)]
struct Model {
    ready: BTreeMap<u64, Expected>,
    unacked: BTreeMap<u64, Expected>,
    marked: u64,
    asked: Option<u64>,
    last: u64,
    reading: Option<(Wanted, Page)>,
}

impl Model {
    fn next(&self) -> Next {
        match self.ready.first_key_value() {
            None => Next::Empty,
            Some((seq, message))
                if message.stored && !message.redelivered && *seq > self.marked =>
            {
                Next::Unmarked
            }
            Some(_) => Next::Ready,
        }
    }

    /// The number up to which everything is gone.
    fn settled_through(&self) -> u64 {
        let lowest = self.ready.keys().chain(self.unacked.keys()).min();
        lowest.map_or(self.last, |lowest| lowest - 1)
    }

    /// What a store would read back.
    fn page(&self, wanted: Wanted) -> Page {
        let stored = self.ready.range(wanted.from.0..).filter(|(_, message)| message.stored);
        let read = |(seq, expected): (&u64, &Expected)| (Seq(*seq), message(expected.len as usize));
        let messages: Vec<_> = stored.take(wanted.limit.count).map(read).collect();
        let is_all = messages.len() < wanted.limit.count;
        let last = messages.last().filter(|_| !is_all).map(|(seq, _)| *seq);
        Page { messages, through: last.unwrap_or(Seq(u64::MAX)) }
    }

    fn nth_unacked(&self, index: usize) -> Option<u64> {
        self.unacked.keys().nth(index.checked_rem(self.unacked.len())?).copied()
    }
}

fn message(len: usize) -> Arc<Message> {
    let (nowhere, body) = (ShortStr::default(), Body::from(Bytes::from(vec![0; len])));
    Arc::new(Message::new(&nowhere, &nowhere, &Properties::default(), body, false))
}

fn place(seq: u64) -> Place {
    Place { level: 0, seq: Seq(seq) }
}

/// Adds a message that its batch says nothing of but itself.
fn enqueue(state: &mut State, message: Arc<Message>, stored: bool) -> Seq {
    let enqueued = state.enqueue(0, message, stored);
    state.end_run();
    enqueued.place.seq
}

fn ask_read(state: &mut State) -> Option<Wanted> {
    state.ask_read().pop()
}

fn read(state: &mut State, wanted: Wanted, page: Page) -> u64 {
    state.read(wanted, page, 0, |_| None)
}

fn apply_purge(state: &mut State, model: &mut Model) -> Result<(), TestCaseError> {
    let (count, purged) = state.purge();
    let [Purged { level: 0, ranges, bytes }] = purged.as_slice() else { panic!("one level") };
    prop_assert_eq!(count, model.ready.len());
    let stored = model.ready.values().filter(|message| message.stored);
    prop_assert_eq!(*bytes, stored.map(|message| message.len).sum::<u64>());
    model.ready.clear();
    for seq in 1..=model.last & 0xFFFF {
        let seq = (model.last & !0xFFFF) | seq;
        let is_in = |range: &SeqRange| (range.first.0..=range.last.0).contains(&seq);
        prop_assert_eq!(ranges.iter().any(is_in), !model.unacked.contains_key(&seq));
    }
    Ok(())
}

fn apply(state: &mut State, model: &mut Model, operation: &Operation) -> Result<(), TestCaseError> {
    match operation {
        Operation::Enqueue { stored, len } => {
            let seq = enqueue(state, message(*len), *stored).0;
            prop_assert!(seq > model.last);
            model.last = seq;
            let expected = Expected { len: *len as u64, stored: *stored, redelivered: false };
            model.ready.insert(seq, expected);
        }
        Operation::Take { no_ack } => {
            if state.peek() != Next::Ready {
                return Ok(());
            }
            let entry = state.take((!no_ack).then_some(7)).expect("it is ready");
            let (seq, expected) = model.ready.pop_first().expect("the model has it, too");
            prop_assert_eq!(entry.seq.0, seq);
            prop_assert_eq!(entry.redelivered, expected.redelivered);
            prop_assert_eq!(entry.stored, expected.stored);
            if !no_ack {
                model.unacked.insert(seq, expected);
            }
        }
        Operation::Settle(index) => {
            let Some(seq) = model.nth_unacked(*index) else { return Ok(()) };
            model.unacked.remove(&seq);
            let (entry, consumer) = state.settle(place(seq)).expect("it is out");
            prop_assert_eq!((entry.seq.0, consumer), (seq, 7));
            prop_assert!(state.settle(place(seq)).is_none());
        }
        Operation::Requeue(index) => {
            let Some(seq) = model.nth_unacked(*index) else { return Ok(()) };
            let expected = model.unacked.remove(&seq).expect("it is out");
            model.ready.insert(seq, Expected { redelivered: true, ..expected });
            let (mut entry, consumer) = state.settle(place(seq)).expect("it is out");
            prop_assert_eq!(consumer, 7);
            entry.redelivered = true;
            state.put_back(entry);
        }
        Operation::Purge => {
            apply_purge(state, model)?;
        }
        Operation::AskMark(wanted) => {
            let asked = state.ask_mark(*wanted).map(|(_, upto)| upto);
            prop_assert!(asked.is_none() || model.asked.is_none());
            model.asked = model.asked.or(asked.map(|seq| seq.0));
        }
        Operation::AnswerMark(written) => {
            state.mark_answered(0, *written);
            if let Some(upto) = model.asked.take()
                && *written
            {
                model.marked = model.marked.max(upto);
            }
        }
        Operation::OnDisk(count) => {
            state.on_disk(0, Seq(model.last.saturating_sub(*count)), Seq(model.last), 0);
        }
        Operation::AskRead => {
            if let Some(wanted) = ask_read(state) {
                prop_assert_eq!(ask_read(state), None, "one at a time");
                model.reading = Some((wanted, model.page(wanted)));
            }
        }
        Operation::AnswerRead => {
            if let Some((wanted, page)) = model.reading.take() {
                prop_assert_eq!(read(state, wanted, page), 0, "nothing is lost");
            }
        }
        Operation::HeadMax(messages) => state.set_head_max(messages * ENTRY_COST),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_queue_behaves_as_its_model(operations in prop::collection::vec(operation(), 0..200)) {
        let mut state = State::new(Epoch(3));
        let mut model = Model { last: 3 << 40, ..Model::default() };
        for operation in &operations {
            apply(&mut state, &mut model, operation)?;
            prop_assert_eq!(state.ready_count(), model.ready.len());
            prop_assert_eq!(state.unacked_count(), model.unacked.len());
            prop_assert_eq!(state.ready_bytes(), model.ready.values().map(|m| m.len).sum::<u64>());
            match state.peek() {
                Next::Paged => prop_assert!(state.head_cost() == 0 && !model.ready.is_empty()),
                next => prop_assert_eq!(next, model.next()),
            }
            prop_assert_eq!(state.settled_through(0).0, model.settled_through());
        }
    }
}

#[test]
fn a_few_marks_are_exact_and_a_long_drain_reaches_ahead() {
    let mut state = State::new(Epoch(1));
    for _ in 0..100_000 {
        enqueue(&mut state, message(0), true);
    }
    let mut asked = Vec::new();
    while state.peek() != Next::Empty {
        let (_, upto) = state.ask_mark(1).expect("nothing is on its way");
        state.mark_answered(0, true);
        let mut taken = 0u64;
        while state.peek() == Next::Ready {
            let entry = state.take(None).expect("ready");
            assert!(entry.seq <= upto);
            taken += 1;
        }
        asked.push(taken);
    }
    assert!(asked[..8].iter().all(|count| *count == 1), "{asked:?}");
    assert!(asked.len() < 40, "{} marks", asked.len());
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

/// Messages that a last run left, some of them delivered by it, all with one byte.
fn left(count: u64, delivered: u64) -> RecoveredQueue {
    let id = QueueId(1);
    RecoveredQueue {
        id,
        first: Seq(1),
        last: Seq(count),
        count,
        bytes: count,
        delivered_upto: Seq(delivered),
        notes: Vec::new(),
        seen: Vec::new(),
    }
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
    enqueue(&mut state, message(1), true);
    let mut taken = Vec::new();
    while state.ready_count() > 0 {
        if let Some(wanted) = ask_read(&mut state) {
            let last = (wanted.from.0 + 1).min(10);
            let through = if last == 10 { u64::MAX } else { last };
            assert_eq!(read(&mut state, wanted, page(wanted.from.0, last, through)), 0);
        }
        let _ = state.ask_mark(1);
        state.mark_answered(0, true);
        taken.extend(state.take(None).map(|entry| (entry.seq.0 & 0xFF, entry.redelivered)));
    }
    let expected = (1..=10).map(|seq| (seq, seq <= 3)).chain([(1, false)]);
    assert_eq!(taken, expected.collect::<Vec<_>>());
    assert_eq!(state.ready_bytes(), 0);
}

#[test]
fn messages_that_cannot_be_read_are_counted_out_and_the_others_come() {
    let mut state = State::new(Epoch(2));
    state.set_head_max(100 * ENTRY_COST);
    state.restore(0, &left(10, 0));
    let wanted = ask_read(&mut state).expect("the head is empty");
    assert_eq!(read(&mut state, wanted, page(4, 8, u64::MAX)), 5);
    assert_eq!((state.ready_count(), state.ready_bytes()), (5, 5));
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
