//! Random operations on a queue's state and on its model, and what has to be the same after each.

use std::collections::BTreeSet;

use ferrymq::broker::queue::state::{Purged, State};
use ferrymq::broker::queue::{Ahead, Due, ENTRY_COST, Entry, Next, Place};
use ferrymq::store::{Epoch, Seq, SeqRange};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};

use crate::model::{DueReading, Expected, FIRST, Model};
use crate::operation::{LEVELS, Operation, Start, operation, start};
use crate::support::message;

/// So many runs of each of two kinds make a million operations in all.
const RUNS: u32 = 5_000;
const RUN_MAX: usize = 200;

/// Has messages; nobody else has.
const CONSUMER: u64 = 7;

pub type Checked = Result<(), TestCaseError>;

pub struct Pair {
    pub state: State,
    /// What is kept for consumers.
    pub aside: Vec<Entry>,
    /// What was picked and is out.
    pub picked: BTreeSet<Place>,
    /// Whether anything was ever picked.
    pub is_picked_from: bool,
    pub model: Model,
}

impl Pair {
    fn new(start: &Start) -> Self {
        let (model, left) = Model::of(start);
        let mut state = State::new(Epoch(u32::try_from(FIRST >> 40).expect("an epoch")));
        for (level, left) in LEVELS.into_iter().zip(&left) {
            state.restore(level, left);
        }
        let (aside, picked) = (Vec::new(), BTreeSet::new());
        Self { state, aside, picked, is_picked_from: false, model }
    }

    fn apply(&mut self, operation: &Operation) -> Checked {
        use Operation::*;
        match *operation {
            Enqueue { level, stored, len, wait_ms } => {
                self.enqueue(LEVELS[level], stored, len, wait_ms)
            }
            EndRun => {
                self.state.end_run();
                self.model.levels.values_mut().for_each(|level| level.fresh_from = None);
                Ok(())
            }
            Take { no_ack } => self.take(no_ack),
            TakeFrom(level) => self.take_from(LEVELS[level]),
            TakeLowest => self.take_lowest(),
            SetAside => self.set_aside(),
            HandOutAside { index, no_ack } => self.hand_out_aside(index, no_ack),
            PutBackAside(index) => {
                if let Some((entry, expected)) = self.take_aside(index) {
                    self.model.ready.insert(entry.place(), expected);
                    self.state.put_back_aside(entry);
                }
                Ok(())
            }
            Settle(index) => self.settle_for_good(index),
            Pick(index) => self.pick(index),
            View(step) => self.view(step),
            PutBack(index) => self.put_back(index),
            Delay { index, failed, wait_ms } => self.delay(index, failed, wait_ms),
            Purge => self.purge(),
            AskMarks(wanted) => self.ask_marks(wanted),
            AnswerMark { level, written } => self.answer_mark(LEVELS[level], written),
            OnDisk { level, count } => {
                let level = LEVELS[level];
                if let Some((first, last)) = self.model.tell_on_disk(level, count) {
                    self.state.on_disk(level, first, last, self.model.now_ms);
                }
                Ok(())
            }
            AskRead => self.ask_read(),
            AnswerRead(level) => self.answer_read(LEVELS[level]),
            HeadMax(messages) => {
                self.state.set_head_max(messages * ENTRY_COST);
                Ok(())
            }
            Pass(ms) => {
                self.model.now_ms += ms;
                Ok(())
            }
            TakeDue => self.take_due(),
            AnswerDue { lost } => self.answer_due(lost),
        }
    }

    fn enqueue(&mut self, level: u8, stored: bool, len: u64, wait_ms: u64) -> Checked {
        let expected = Expected { len, stored, ..Expected::default() };
        if !self.model.delays {
            let place = self.model.number(level);
            prop_assert_eq!(self.state.enqueue(level, message(len), stored).place, place);
            self.model.ready.insert(place, expected);
            return Ok(());
        }
        let due_ms = self.model.now_ms.saturating_add(wait_ms);
        let enqueued = self.state.enqueue_delayed(message(len), stored, due_ms);
        prop_assert_eq!((enqueued.place, enqueued.waits), (self.model.number(0), stored));
        self.model.delay(enqueued.place, due_ms, expected);
        Ok(())
    }

    fn take(&mut self, no_ack: bool) -> Checked {
        let next = self.state.next().map(Entry::place);
        if !matches!(self.state.peek(), Next::Ready(_)) {
            return Ok(());
        }
        let entry = self.state.take((!no_ack).then_some(CONSUMER)).expect("it is ready");
        let place = entry.place();
        prop_assert_eq!(Some(place), next);
        let expected = self.may_be_delivered(&entry)?;
        if !no_ack {
            self.model.unacked.insert(place, expected);
        }
        Ok(())
    }

    /// The next message has left its place; the batch that brings it says that it may be delivered.
    fn may_be_delivered(&mut self, entry: &Entry) -> Result<Expected, TestCaseError> {
        let place = entry.place();
        let is_fresh = self.state.is_fresh(place);
        prop_assert_eq!(is_fresh, self.model.is_fresh(place));
        if is_fresh && entry.stored {
            self.state.mark_with_batch(place.level, place.seq);
            let level = self.model.level(place.level);
            level.marked = level.marked.max(place.seq.0);
        }
        let level = self.model.highest().expect("the model has some, too");
        self.goes(level, entry)
    }

    fn set_aside(&mut self) -> Checked {
        if !matches!(self.state.peek(), Next::Ready(_)) {
            return Ok(());
        }
        let entry = self.state.set_aside().expect("it is ready");
        let expected = self.may_be_delivered(&entry)?;
        self.model.aside.insert(entry.place(), expected);
        self.aside.push(entry);
        Ok(())
    }

    fn take_aside(&mut self, index: usize) -> Option<(Entry, Expected)> {
        let index = index.checked_rem(self.aside.len())?;
        let entry = self.aside.swap_remove(index);
        let expected = self.model.aside.remove(&entry.place()).expect("it is aside");
        Some((entry, expected))
    }

    fn hand_out_aside(&mut self, index: usize, no_ack: bool) -> Checked {
        let Some((entry, expected)) = self.take_aside(index) else { return Ok(()) };
        self.state.hand_out_aside(&entry, (!no_ack).then_some(CONSUMER));
        if !no_ack {
            self.model.unacked.insert(entry.place(), expected);
        }
        Ok(())
    }

    /// The oldest message of a level leaves the ready ones.
    fn goes(&mut self, level: u8, entry: &Entry) -> Result<Expected, TestCaseError> {
        let front = self.model.front(level).map(|(place, _)| *place);
        prop_assert_eq!(front, Some(entry.place()));
        let expected = self.model.ready.remove(&entry.place()).expect("it is the front");
        prop_assert!(expected.is(entry), "{:?} is not {:?}", entry, expected);
        prop_assert_eq!(expected.unread_until, None, "it was read");
        Ok(expected)
    }

    fn take_from(&mut self, level: u8) -> Checked {
        let front = self.state.fronts().find(|front| front.level == level).map(Entry::place);
        let entry = self.state.take_from(level);
        prop_assert_eq!(entry.as_ref().map(Entry::place), front);
        entry.map_or(Ok(()), |entry| self.goes(level, &entry).map(|_| ()))
    }

    fn take_lowest(&mut self) -> Checked {
        let lowest = self.model.lowest();
        let Some(entry) = self.state.take_lowest() else { return Ok(()) };
        self.goes(lowest.expect("the model has some, too"), &entry).map(|_| ())
    }

    pub fn settle(&mut self, index: usize) -> Result<Option<(Entry, Expected)>, TestCaseError> {
        let Some(place) = Model::nth(&self.model.unacked, index) else { return Ok(None) };
        let expected = self.model.unacked.remove(&place).expect("it is out");
        let (entry, consumer) = self.state.settle(place).expect("it is out");
        let expected_consumer = if self.picked.remove(&place) { 0 } else { CONSUMER };
        prop_assert_eq!((entry.place(), consumer), (place, expected_consumer));
        prop_assert!(expected.is(&entry), "{:?} is not {:?}", entry, expected);
        prop_assert!(self.state.settle(place).is_none());
        Ok(Some((entry, expected)))
    }

    fn put_back(&mut self, index: usize) -> Checked {
        let Some((mut entry, mut expected)) = self.settle(index)? else { return Ok(()) };
        (entry.redelivered, expected.redelivered) = (true, true);
        self.model.ready.insert(entry.place(), expected);
        self.state.put_back(entry);
        Ok(())
    }

    fn delay(&mut self, index: usize, failed: bool, wait_ms: u64) -> Checked {
        let Some((mut entry, mut expected)) = self.settle(index)? else { return Ok(()) };
        (entry.redelivered, expected.redelivered) = (true, true);
        if failed {
            (entry.failed, expected.failed) = (entry.failed + 1, expected.failed + 1);
        } else {
            (entry.returned, expected.returned) = (entry.returned + 1, expected.returned + 1);
        }
        let due_ms = self.model.now_ms.saturating_add(wait_ms);
        self.model.delay(entry.place(), due_ms, expected);
        self.state.delay(entry, due_ms);
        Ok(())
    }

    fn purge(&mut self) -> Checked {
        while let Some((entry, expected)) = self.take_aside(0) {
            self.model.ready.insert(entry.place(), expected);
            self.state.put_back_aside(entry);
        }
        let round = self.state.due_round();
        let (count, purged) = self.state.purge();
        prop_assert_ne!(self.state.due_round(), round);
        for Purged { level, ranges, bytes } in purged {
            let Some(known) = self.model.levels.get(&level) else {
                prop_assert_eq!(bytes, 0);
                continue;
            };
            prop_assert_eq!(bytes, self.model.purged_bytes(level), "bytes of level {}", level);
            let is_in = |seq| {
                let holds = |range: &SeqRange| (range.first.0..=range.last.0).contains(&seq);
                ranges.iter().any(holds)
            };
            for seq in (1..13).chain(FIRST + 1..=known.last) {
                let place = Place { level, seq: Seq(seq) };
                prop_assert_eq!(is_in(seq), !self.model.unacked.contains_key(&place));
            }
        }
        prop_assert_eq!(count, self.model.purge());
        Ok(())
    }

    fn ask_marks(&mut self, wanted: u64) -> Checked {
        let is_needed = self.state.peek() == Next::Unmarked;
        let next = self.state.next().map(Entry::place);
        let marks = self.state.ask_marks(wanted);
        let of_next = marks.iter().find(|(level, _)| Some(*level) == self.model.highest());
        if let Some((_, upto)) = of_next {
            prop_assert!(is_needed && next.is_some_and(|next| *upto >= next.seq), "it is of use");
        }
        for (level, upto) in marks {
            let asked = &mut self.model.level(level).asked;
            prop_assert_eq!(asked.replace(upto.0), None, "one at a time");
        }
        Ok(())
    }

    fn answer_mark(&mut self, level: u8, written: bool) -> Checked {
        self.state.mark_answered(level, written);
        let known = self.model.level(level);
        if let Some(upto) = known.asked.take()
            && written
        {
            known.marked = known.marked.max(upto);
        }
        Ok(())
    }

    fn ask_read(&mut self) -> Checked {
        for wanted in self.state.ask_read(Ahead::Batch) {
            let page = self.model.page(wanted);
            self.model.level(wanted.level).reading = Some((wanted, page));
        }
        prop_assert!(self.state.ask_read(Ahead::Batch).is_empty(), "one at a time");
        Ok(())
    }

    fn answer_read(&mut self, level: u8) -> Checked {
        let Some((wanted, page)) = self.model.level(level).reading.take() else { return Ok(()) };
        let (through, delays) = (page.through, self.model.delays);
        let dues: Vec<_> = self.model.ready.iter().map(|(p, m)| (*p, m.unread_until)).collect();
        let due_ms = |entry: &Entry| {
            let known = dues.iter().find(|(place, _)| *place == entry.place());
            known.and_then(|(_, due_ms)| *due_ms).filter(|_| delays)
        };
        let lost = self.state.read(wanted, page, self.model.now_ms, due_ms);
        self.model.was_read(wanted, through);
        if lost > 0 {
            prop_assert_eq!(lost, self.model.forget_passed(level));
        }
        Ok(())
    }

    fn take_due(&mut self) -> Checked {
        let Model { now_ms, .. } = self.model;
        let first = self.model.delayed.first_entry();
        let expected = first.filter(|first| first.key().0 <= now_ms);
        let expected = expected.map(|first| first.remove_entry());
        match (self.state.take_due(now_ms), expected) {
            (None, None) => {}
            (Some(Due::Here(entry)), Some(((_, place), expected))) => {
                prop_assert_eq!(entry.place(), place);
                prop_assert!(expected.is(&entry), "{:?} is not {:?}", entry, expected);
                self.is_due(entry, expected);
            }
            (Some(Due::OnDisk(place)), Some(((_, expected_place), message))) => {
                prop_assert_eq!(place, expected_place);
                prop_assert!(message.on_disk, "{:?} is on disk", place);
                let round = self.state.due_round();
                self.model.due_reading.push(DueReading { round, place, message });
            }
            (found, expected) => prop_assert!(false, "{:?} is not {:?}", found, expected),
        }
        Ok(())
    }

    fn is_due(&mut self, entry: Entry, expected: Expected) {
        self.model.is_due(entry.place(), expected);
        if !self.model.delays {
            self.state.put_back(entry);
        }
    }

    fn answer_due(&mut self, lost: bool) -> Checked {
        let Some(DueReading { round, place, message: expected }) = self.model.due_reading.pop()
        else {
            return Ok(());
        };
        prop_assert_eq!(round, self.state.due_round());
        if lost {
            self.state.due_were_lost(1);
            self.model.due_was_lost(place, &expected);
            return Ok(());
        }
        let entry = self.state.due_was_read(place, message(expected.len));
        prop_assert!(expected.is(&entry), "{:?} is not {:?}", entry, expected);
        self.is_due(entry, expected);
        Ok(())
    }

    fn compare(&self) -> Checked {
        let Self { state, model, .. } = self;
        prop_assert_eq!(state.ready_count(), model.ready_count());
        prop_assert_eq!(state.ready_bytes(), model.ready_bytes());
        prop_assert_eq!(state.stored(), model.stored());
        let (paged_out, stored) = (state.paged_out(), state.stored());
        prop_assert!(paged_out.count <= stored.count && paged_out.bytes <= stored.bytes);
        prop_assert_eq!(state.unacked_count(), model.unacked.len());
        prop_assert_eq!(state.delayed_count(), model.delayed_count());
        let next_due_ms = model.delayed.first_key_value().map(|((due_ms, _), _)| *due_ms);
        prop_assert_eq!(state.next_due_ms(), next_due_ms);
        for level in LEVELS {
            let (through, expected) =
                (state.settled_through(level).0, model.settled_through(level));
            // Nothing is between the numbers of the last run and those of this one.
            let is_between = expected == FIRST && (1..FIRST).contains(&through);
            // What was picked out of the middle may be known to be gone later only.
            let is_late = self.is_picked_from && through <= expected;
            prop_assert!(
                through == expected || is_between || is_late,
                "{} is not {}",
                through,
                expected
            );
        }
        for front in state.fronts() {
            let expected = model.front(front.level).map(|(place, _)| *place);
            prop_assert_eq!(Some(front.place()), expected);
        }
        self.compare_next()
    }

    fn compare_next(&self) -> Checked {
        let next = self.state.peek();
        let Some(level) = self.model.highest() else {
            prop_assert_eq!(next, Next::Empty);
            return Ok(());
        };
        let front = self.model.front(level);
        match next {
            Next::Paged => {
                prop_assert!(self.state.next().is_none());
                // Only what can't be read may be left of what was picked from.
                let is_there = front.is_none_or(|(_, message)| message.on_disk);
                prop_assert!(is_there || self.is_picked_from);
            }
            Next::Ready(_) | Next::Unmarked => {
                let (place, message) = front.expect("the model has it, too");
                let is_marked = self.model.is_marked(*place, message);
                prop_assert_eq!(matches!(next, Next::Ready(_)), is_marked);
            }
            // Nothing is held here: that is in the stories.
            Next::Empty | Next::Unreadable | Next::Unwritten => {
                prop_assert!(false, "{:?} with {:?}", next, front);
            }
        }
        Ok(())
    }
}

/// Another seed each time. A run that fails shows it, and `PROPTEST_RNG_SEED` repeats it.
pub fn config(runs: u32) -> ProptestConfig {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("PROPTEST_RNG_SEED={seed}");
    let rng_seed = RngSeed::Fixed(seed);
    let rng_algorithm = RngAlgorithm::XorShift;
    ProptestConfig {
        rng_seed,
        rng_algorithm,
        failure_persistence: None,
        ..ProptestConfig::with_cases(runs)
    }
}

fn run(start: &Start, operations: &[Operation]) -> Checked {
    let mut pair = Pair::new(start);
    pair.compare()?;
    for operation in operations {
        pair.apply(operation)?;
        pair.compare()?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(RUNS))]

    #[test]
    fn a_queues_state_behaves_as_its_model(
        start in start(false),
        operations in prop::collection::vec(operation(), 0..=RUN_MAX),
    ) {
        run(&start, &operations)?;
    }

    #[test]
    fn a_state_that_delays_what_comes_behaves_as_its_model(
        start in start(true),
        operations in prop::collection::vec(operation(), 0..=RUN_MAX),
    ) {
        run(&start, &operations)?;
    }
}
