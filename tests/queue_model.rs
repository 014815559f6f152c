//! A queue's state against a naive model: random operations, the same answers. A failing run prints
//! the operations that lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq::broker::queue::state::{Next, State};
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::{Epoch, Seq};
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

    fn nth_unacked(&self, index: usize) -> Option<u64> {
        self.unacked.keys().nth(index.checked_rem(self.unacked.len())?).copied()
    }
}

fn message(len: usize) -> Arc<Message> {
    Arc::new(Message {
        exchange: ShortStr::default(),
        routing_key: ShortStr::default(),
        properties: Properties::default(),
        body: Body::from(Bytes::from(vec![0; len])),
        dead_lettered: false,
    })
}

fn apply(state: &mut State, model: &mut Model, operation: &Operation) -> Result<(), TestCaseError> {
    match operation {
        Operation::Enqueue { stored, len } => {
            let seq = state.enqueue(message(*len), *stored).0;
            prop_assert!(seq > model.last);
            model.last = seq;
            let expected = Expected { len: *len as u64, stored: *stored, redelivered: false };
            model.ready.insert(seq, expected);
        }
        Operation::Take { no_ack } => {
            if state.peek(Seq(u64::MAX)) != Next::Ready {
                return Ok(());
            }
            let entry = state.take(7, *no_ack).expect("it is ready");
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
            let (entry, consumer) = state.settle(Seq(seq)).expect("it is out");
            prop_assert_eq!((entry.seq.0, consumer), (seq, 7));
            prop_assert!(state.settle(Seq(seq)).is_none());
        }
        Operation::Requeue(index) => {
            let Some(seq) = model.nth_unacked(*index) else { return Ok(()) };
            let expected = model.unacked.remove(&seq).expect("it is out");
            model.ready.insert(seq, Expected { redelivered: true, ..expected });
            prop_assert_eq!(state.requeue(Seq(seq)), Some(7));
        }
        Operation::Purge => {
            let (count, upto, others) = state.purge();
            prop_assert_eq!(count, model.ready.len());
            model.ready.clear();
            for seq in 1..=model.last & 0xFFFF {
                let seq = (model.last & !0xFFFF) | seq;
                let is_gone = seq <= upto.0
                    || others.iter().any(|range| (range.first.0..=range.last.0).contains(&seq));
                prop_assert_eq!(is_gone, !model.unacked.contains_key(&seq));
            }
        }
        Operation::AskMark(wanted) => {
            let asked = state.ask_mark(*wanted);
            prop_assert!(asked.is_none() || model.asked.is_none());
            model.asked = model.asked.or(asked.map(|seq| seq.0));
        }
        Operation::AnswerMark(written) => {
            state.mark_answered(*written);
            if let Some(upto) = model.asked.take()
                && *written
            {
                model.marked = model.marked.max(upto);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_queue_behaves_as_its_model(operations in prop::collection::vec(operation(), 0..200)) {
        let mut state = State::new(Epoch(3));
        let mut model = Model { last: state.next_seq().0 - 1, ..Model::default() };
        for operation in &operations {
            apply(&mut state, &mut model, operation)?;
            prop_assert_eq!(state.ready_count(), model.ready.len());
            prop_assert_eq!(state.unacked_count(), model.unacked.len());
            prop_assert_eq!(state.ready_bytes(), model.ready.values().map(|m| m.len).sum::<u64>());
            prop_assert_eq!(state.peek(Seq(u64::MAX)), model.next());
            prop_assert_eq!(state.settled_through().0, model.settled_through());
        }
    }
}

#[test]
fn a_few_marks_are_exact_and_a_long_drain_reaches_ahead() {
    let mut state = State::new(Epoch(1));
    for _ in 0..100_000 {
        state.enqueue(message(0), true);
    }
    let mut asked = Vec::new();
    while state.peek(Seq(u64::MAX)) != Next::Empty {
        let upto = state.ask_mark(1).expect("nothing is on its way");
        state.mark_answered(true);
        let mut taken = 0u64;
        while state.peek(Seq(u64::MAX)) == Next::Ready {
            let entry = state.take(1, true).expect("ready");
            assert!(entry.seq <= upto);
            taken += 1;
        }
        asked.push(taken);
    }
    assert!(asked[..8].iter().all(|count| *count == 1), "{asked:?}");
    assert!(asked.len() < 40, "{} marks", asked.len());
}
