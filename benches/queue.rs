//! What a message costs a queue's state, by the number of messages in the queue.
//!
//! `cargo bench --bench queue`, with a part of a name behind it for some of them. An iteration is a
//! run of messages, as one read of a busy connection brings them. The figures of a row should be
//! the same from the first line to the last.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use ferrymq::broker::queue::state::State;
use ferrymq::broker::queue::{Ahead, ENTRY_COST, Next, Place};
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::{Epoch, Page, QueueId, RecoveredQueue, Seq};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const LENS: [usize; 5] = [1, 1000, 100_000, 1_000_000, 10_000_000];

/// Messages that are out: consumers with a prefetch have fewer than a queue may have messages.
const OUT: [usize; 4] = [1, 1000, 100_000, 1_000_000];

/// Messages in a run.
const RUN: usize = 100;

const CONSUMER: u64 = 1;

/// What the head of a long queue may cost.
const HEAD_MAX: u64 = 10_000 * ENTRY_COST;

fn main() {
    divan::main();
}

fn message() -> Arc<Message> {
    let nowhere = ShortStr::default();
    Arc::new(Message::small(&nowhere, &nowhere, &Properties::default(), &[b'x'; 100], false))
}

/// A queue with so many messages in memory.
fn filled(len: usize) -> State {
    let (mut state, message) = (State::new(Epoch(1)), message());
    for _ in 0..len {
        state.enqueue(0, Arc::clone(&message), false);
    }
    state
}

fn enqueue_run(state: &mut State, message: &Arc<Message>, stored: bool) -> Seq {
    let mut first = None;
    for _ in 0..RUN {
        let enqueued = state.enqueue(0, Arc::clone(message), stored);
        first.get_or_insert(enqueued.place.seq);
    }
    state.end_run();
    first.expect("a run is not empty")
}

fn take_run(state: &mut State, taken: &mut Vec<Place>) {
    taken.clear();
    while taken.len() < RUN && matches!(state.peek(), Next::Ready(_)) {
        taken.extend(state.take(Some(CONSUMER)).map(|entry| entry.place()));
    }
}

fn give_back(state: &mut State, place: Place) {
    let (entry, _) = state.settle(place).expect("it is out");
    state.put_back(entry);
}

fn settle(state: &mut State, places: &[Place]) -> Seq {
    for place in places {
        state.settle(*place).expect("it is out");
    }
    // What the log is told with each ack.
    state.settled_through(0)
}

/// Messages that come, go out and are acked, behind others that are in memory.
#[divan::bench(args = LENS)]
fn in_memory(bencher: Bencher<'_, '_>, len: usize) {
    let (mut state, message) = (filled(len), message());
    let mut taken: Vec<Place> = Vec::with_capacity(RUN);
    bencher.counter(ItemsCount::new(RUN)).bench_local(|| {
        enqueue_run(&mut state, &message, false);
        take_run(&mut state, &mut taken);
        settle(&mut state, &taken)
    });
}

/// The same with stored messages, which are on disk only but for the first ones: they are paged out
/// at the end and read back at the head.
#[divan::bench(args = LENS)]
fn on_disk(bencher: Bencher<'_, '_>, len: usize) {
    let (mut state, message) = (State::new(Epoch(1)), message());
    let (count, body_len) = (len as u64, message.body_len());
    state.set_head_max(HEAD_MAX);
    state.restore(
        0,
        &RecoveredQueue {
            id: QueueId(1),
            first: Seq(1),
            last: Seq(count),
            count,
            bytes: count * body_len,
            delivered_upto: Seq(u64::MAX),
            notes: Vec::new(),
            seen: Vec::new(),
        },
    );
    let mut taken: Vec<Place> = Vec::with_capacity(RUN);
    bencher.counter(ItemsCount::new(RUN)).bench_local(|| {
        let first = enqueue_run(&mut state, &message, true);
        let end = first.0 + RUN as u64;
        state.on_disk(0, first, Seq(end - 1), 0);
        read_back(&mut state, &message, count, end);
        take_run(&mut state, &mut taken);
        settle(&mut state, &taken)
    });
}

/// Answers what the queue asks for, as a store would. Behind the `restored` messages of the last
/// run comes the first number of this one.
fn read_back(state: &mut State, message: &Arc<Message>, restored: u64, end: u64) {
    let Some(wanted) = state.ask_read(Ahead::Batch).pop() else { return };
    let begin = State::new(Epoch(1)).enqueue(0, Arc::clone(message), false).place.seq.0;
    let old = wanted.from.0..=restored;
    let new = wanted.from.0.max(begin)..end;
    let seqs = old.chain(new).take(wanted.limit.count);
    let messages: Vec<_> = seqs.map(|seq| (Seq(seq), Arc::clone(message))).collect();
    let is_all = messages.len() < wanted.limit.count;
    let through = messages.last().filter(|_| !is_all).map_or(Seq(u64::MAX), |(seq, _)| *seq);
    let lost = state.read(wanted, Page { messages, through }, 0, |_| None);
    assert_eq!(lost, 0, "nothing is lost");
}

/// Messages that come back to be delivered again, from among many that are out.
#[divan::bench(args = OUT)]
fn requeue(bencher: Bencher<'_, '_>, out: usize) {
    let mut state = filled(out + RUN);
    let seqs: Vec<Place> = (0..out + RUN)
        .filter_map(|_| state.take(Some(CONSUMER)).map(|entry| entry.place()))
        .collect();
    let returned = &seqs[out / 2..out / 2 + RUN];
    let mut taken: Vec<Place> = Vec::with_capacity(RUN);
    bencher.counter(ItemsCount::new(RUN)).bench_local(|| {
        for seq in returned {
            give_back(&mut state, *seq);
        }
        take_run(&mut state, &mut taken);
        assert_eq!(taken, returned);
    });
}

/// A consumer that is gone: all it had comes back at once, and goes out again.
#[divan::bench(args = OUT)]
fn requeue_all(bencher: Bencher<'_, '_>, out: usize) {
    let mut state = filled(out);
    bencher.counter(ItemsCount::new(out)).bench_local(|| {
        let mut taken = Vec::with_capacity(out);
        while let Some(entry) = state.take(Some(CONSUMER)) {
            taken.push(entry.place());
        }
        for seq in &taken {
            give_back(&mut state, *seq);
        }
    });
}

/// Acks in no order, of all that is out.
#[divan::bench(args = OUT, sample_size = 1)]
fn ack_in_no_order(bencher: Bencher<'_, '_>, out: usize) {
    let mut random = StdRng::seed_from_u64(1);
    bencher
        .counter(ItemsCount::new(out))
        .with_inputs(|| {
            let mut state = filled(out);
            let mut seqs: Vec<Place> = (0..out)
                .filter_map(|_| state.take(Some(CONSUMER)).map(|entry| entry.place()))
                .collect();
            seqs.shuffle(&mut random);
            (state, seqs)
        })
        .bench_local_refs(|(state, seqs)| settle(state, seqs));
}
