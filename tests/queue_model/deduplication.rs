//! Deduplication between clients: each gathers a batch, and any of them may be written first.
//!
//! What a crash would leave is looked at after each step: a duplicate is confirmed only when the
//! message that it repeats is in the log, and no digest is there without its message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use ferrymq::broker::exchange::Exchange;
use ferrymq::broker::publish::PublishBatch;
use ferrymq::broker::queue::{Queue, Sight};
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::fixture::{Fixture, Hands, name, number_of, numbered, text};
use crate::state::config;

const RUNS: u32 = 600;

const CLIENTS: usize = 3;

const IDS: u64 = 6;

const DEDUPLICATES: (&str, FieldValue) = ("x-message-deduplication", FieldValue::Bool(true));

/// A persistent message that is told apart by its number.
fn message(id: u64) -> Arc<Message> {
    let properties = properties(id);
    let plain = numbered(id, 0, true, 0);
    let body = plain.to_body();
    Arc::new(Message::new(&name(""), &name("q"), &properties, body, false))
}

fn properties(id: u64) -> Properties {
    let header = (name("x-deduplication-header"), FieldValue::I64(id.cast_signed()));
    let headers = Some(FieldTable::from_iter([header]));
    let properties = BasicProperties { headers, ..BasicProperties::default() };
    (&BasicProperties { delivery_mode: Some(2), ..properties }).into()
}

/// A publish that waits for its confirm: of which message, and to which queues.
type Publish = (u64, Vec<Arc<Queue>>);

#[derive(Default)]
struct Client {
    batch: PublishBatch,
    waiting: Vec<Publish>,
    confirmed: Arc<Mutex<Vec<Publish>>>,
}

impl Client {
    fn publish(&mut self, id: u64, queues: &[&Arc<Queue>]) {
        let message = message(id);
        let route = queues.iter().map(|queue| Arc::clone(queue)).collect();
        assert!(self.batch.bring(Arc::clone(&message), &message.properties(), &route));
        self.waiting.push((id, route.into_iter().collect()));
    }

    /// Has the batch written, and the store answer.
    fn flush(&mut self, fixture: &Fixture) {
        self.hand_over(fixture);
        fixture.answer_all();
    }

    fn hand_over(&mut self, fixture: &Fixture) {
        let (waiting, confirmed) = (std::mem::take(&mut self.waiting), Arc::clone(&self.confirmed));
        let on_commit = move |outcome: Result<_, _>| {
            outcome.expect("the store is well");
            confirmed.lock().extend(waiting);
        };
        self.batch.take().append(&*fixture.store, Some(Box::new(on_commit)));
    }

    fn confirmed(&self) -> Vec<u64> {
        self.confirmed.lock().iter().map(|(id, _)| *id).collect()
    }
}

/// What a crash would leave of a queue.
fn left(fixture: &Fixture, queue: &Arc<Queue>) -> Vec<u64> {
    let left = fixture.store.left(queue.id_of(0));
    left.iter().map(|(_, message)| number_of(message)).collect()
}

/// The duplicate was confirmed, and a power cut took the message.
#[test]
fn a_duplicate_waits_for_the_batch_that_brings_what_it_repeats() {
    let fixture = Fixture::new();
    let (queue, plain) = (fixture.declare("q", [DEDUPLICATES]), fixture.declare("plain", []));
    let (mut first, mut second, mut third) = <(Client, Client, Client)>::default();
    first.publish(1, &[&queue]);
    assert!(!first.batch.is_wanted());
    second.publish(1, &[&queue]);
    second.publish(2, &[&plain]);
    assert!(first.batch.is_wanted() && !second.batch.is_wanted());
    second.flush(&fixture);
    // Another one repeats the duplicate.
    third.publish(1, &[&queue]);
    third.flush(&fixture);
    assert_eq!((second.confirmed(), third.confirmed()), (vec![], vec![]));
    assert_eq!((left(&fixture, &queue), left(&fixture, &plain)), (vec![], vec![]));
    first.hand_over(&fixture);
    assert_eq!((left(&fixture, &queue), left(&fixture, &plain)), (vec![1], vec![2]));
    fixture.answer_all();
    assert_eq!(first.confirmed(), [1]);
    assert_eq!((second.confirmed(), third.confirmed()), (vec![1, 2], vec![1]));
    // What is in the log already keeps nobody waiting.
    second.publish(1, &[&queue]);
    second.flush(&fixture);
    assert_eq!(second.confirmed(), [1, 2, 1]);
}

#[test]
fn batches_that_repeat_one_another_are_written_together() {
    let fixture = Fixture::new();
    let queue = fixture.declare("q", [DEDUPLICATES]);
    let mut clients = <[Client; CLIENTS]>::default();
    for (client, id) in clients.iter_mut().zip(0..) {
        client.publish(id, &[&queue]);
    }
    for (client, id) in clients.iter_mut().zip([1, 2, 0]) {
        client.publish(id, &[&queue]);
    }
    for client in &mut clients {
        assert_eq!(left(&fixture, &queue), [0; 0]);
        client.flush(&fixture);
    }
    assert_eq!(left(&fixture, &queue), [0, 1, 2]);
    let confirmed = clients.each_ref().map(Client::confirmed);
    assert_eq!(confirmed, [[0, 1], [1, 2], [2, 0]]);
}

/// It was settled where it died, and what it was taken for had not been written.
#[test]
fn a_dead_message_stays_where_it_died_until_what_it_repeats_is_written() {
    let fixture = Fixture::new();
    let mut run = Run::new(fixture);
    run.clients[0].publish(1, &[&run.queues[0]]);
    run.reject(1, 1);
    run.clients[1].flush(&run.fixture);
    assert!(left(&run.fixture, &run.source).contains(&1));
    run.clients[0].flush(&run.fixture);
    assert!(!left(&run.fixture, &run.source).contains(&1));
    assert_eq!(left(&run.fixture, &run.queues[0]), [1]);
}

/// A panic took it, and what it had brought is in memory only, as without deduplication.
#[test]
fn a_batch_that_never_comes_keeps_nobody_waiting() {
    let fixture = Fixture::new();
    let queue = fixture.declare("q", [DEDUPLICATES]);
    let (mut first, mut second) = <(Client, Client)>::default();
    first.publish(1, &[&queue]);
    second.publish(1, &[&queue]);
    second.flush(&fixture);
    assert_eq!(second.confirmed(), [0; 0]);
    drop(first);
    fixture.answer_all();
    assert_eq!(second.confirmed(), [1]);
}

/// Each client on a thread of its own: none is left waiting, whoever is written first.
#[test]
fn clients_that_publish_the_same_at_the_same_moment_are_all_confirmed() {
    const COUNT: u64 = 1_000;
    let fixture = Fixture::new();
    let queues = ["q", "other"].map(|queue| {
        fixture.declare(queue, [DEDUPLICATES, ("x-cache-size", FieldValue::I64(10_000))])
    });
    let mut clients = <[Client; CLIENTS]>::default();
    thread::scope(|scope| {
        for (client, step) in clients.iter_mut().zip(1..) {
            let (fixture, [first, second]) = (&fixture, &queues);
            scope.spawn(move || {
                for id in 0..COUNT {
                    match id % 3 {
                        0 => client.publish(id, &[first, second]),
                        _ => client.publish(id, &[second, first]),
                    }
                    if client.batch.is_wanted() || id % step == 0 {
                        client.hand_over(fixture);
                    }
                }
                client.hand_over(fixture);
            });
        }
    });
    fixture.answer_all();
    let mut in_first = left(&fixture, &queues[0]);
    in_first.sort_unstable();
    assert!(in_first.into_iter().eq(0..COUNT), "each is there once");
    for client in &clients {
        let mut confirmed = client.confirmed();
        confirmed.sort_unstable();
        assert!(confirmed.into_iter().eq(0..COUNT));
    }
}

fn exchange(fixture: &Fixture, durable: bool) -> Arc<Exchange> {
    fixture.declare_exchange("x", durable, [DEDUPLICATES])
}

/// The exchange had seen it: its duplicate was confirmed, and then a full queue refused it.
#[test]
fn what_an_exchange_may_yet_fail_to_bring_to_a_queue_is_refused_meanwhile() {
    let fixture = Fixture::new();
    let exchange = exchange(&fixture, true);
    let (mut first, mut second) = <(PublishBatch, PublishBatch)>::default();
    let Sight::New(Some(claim)) = exchange.sight_of(&properties(1), &mut first) else {
        panic!("it is new");
    };
    let sight = exchange.sight_of(&properties(1), &mut second);
    assert!(matches!(sight, Sight::Undecided));
    drop(claim);
    let Sight::New(Some(claim)) = exchange.sight_of(&properties(1), &mut second) else {
        panic!("it may come again");
    };
    claim.keep(second.records());
    assert!(matches!(exchange.sight_of(&properties(1), &mut first), Sight::Known));
    assert!(second.is_wanted());
}

/// Such an exchange remembers in memory only, but leads to queues that are on disk.
#[test]
fn a_duplicate_at_an_exchange_that_isnt_durable_waits_too() {
    let fixture = Fixture::new();
    let (exchange, queue) = (exchange(&fixture, false), fixture.declare("q", []));
    let (mut first, mut second) = <(Client, Client)>::default();
    let Sight::New(Some(claim)) = exchange.sight_of(&properties(1), &mut first.batch) else {
        panic!("it is new");
    };
    first.publish(1, &[&queue]);
    claim.keep(first.batch.records());
    let sight = exchange.sight_of(&properties(1), &mut second.batch);
    assert!(matches!(sight, Sight::Known));
    second.waiting.push((1, vec![Arc::clone(&queue)]));
    second.flush(&fixture);
    assert_eq!(second.confirmed(), [0; 0]);
    first.hand_over(&fixture);
    assert_eq!(left(&fixture, &queue), [1]);
    fixture.answer_all();
    assert_eq!((first.confirmed(), second.confirmed()), (vec![1], vec![1]));
}

#[derive(Debug, Clone)]
enum Operation {
    /// To one of the queues or to both.
    Publish {
        client: usize,
        id: u64,
        to: usize,
    },
    /// A message dies in another queue and comes to the first one.
    Reject {
        client: usize,
        id: u64,
    },
    Flush {
        client: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        6 => (0..CLIENTS, 0..IDS, 0..3usize).prop_map(|(client, id, to)| {
            Publish { client, id, to }
        }),
        1 => (0..CLIENTS, 0..IDS).prop_map(|(client, id)| Reject { client, id }),
        3 => (0..CLIENTS).prop_map(|client| Flush { client }),
    ]
}

struct Run {
    fixture: Fixture,
    clients: [Client; CLIENTS],
    queues: [Arc<Queue>; 2],
    /// Has one of each message, out with a consumer, whose dead go to the first queue.
    source: Arc<Queue>,
    hands: Arc<Hands>,
    /// What is in each queue in memory.
    taken: [BTreeSet<u64>; 2],
}

type Checked = Result<(), TestCaseError>;

impl Run {
    fn new(fixture: Fixture) -> Self {
        let queues = ["q", "other"].map(|queue| fixture.declare(queue, [DEDUPLICATES]));
        let dead_letter =
            [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("q"))];
        let source = fixture.declare("source", dead_letter);
        (0..IDS).for_each(|id| assert!(fixture.publish(&source, message(id))));
        let (_, hands) = fixture.consume(&source, 0);
        fixture.answer_all();
        let (clients, taken) = Default::default();
        Self { fixture, clients, queues, source, hands, taken }
    }

    fn apply(&mut self, operation: &Operation) -> Checked {
        match *operation {
            Operation::Publish { client, id, to } => {
                let [first, second] = &self.queues;
                let to: &[_] = match to {
                    0 => &[first],
                    1 => &[second],
                    _ => &[first, second],
                };
                self.clients[client].publish(id, to);
                for (queue, taken) in self.queues.iter().zip(&mut self.taken) {
                    if to.iter().any(|target| Arc::ptr_eq(target, queue)) {
                        taken.insert(id);
                    }
                }
            }
            Operation::Reject { client, id } => self.reject(client, id),
            Operation::Flush { client } => self.clients[client].flush(&self.fixture),
        }
        self.compare()
    }

    fn reject(&mut self, client: usize, id: u64) {
        let mut held = self.hands.held.lock();
        let Some(index) = held.iter().position(|entry| number_of(&entry.message) == id) else {
            return;
        };
        let entry = held.swap_remove(index);
        self.source.reject(&[entry.place()], self.clients[client].batch.records());
        self.taken[0].insert(id);
    }

    fn compare(&self) -> Checked {
        for queue in &self.queues {
            let left = left(&self.fixture, queue);
            let ids: BTreeSet<u64> = left.iter().copied().collect();
            prop_assert_eq!(left.len(), ids.len(), "each is there once");
            prop_assert_eq!(self.fixture.store.seen(queue.id_of(0)), ids.len());
        }
        for (id, queues) in self.clients.iter().flat_map(|client| client.confirmed.lock().clone()) {
            for queue in queues {
                prop_assert!(left(&self.fixture, &queue).contains(&id), "{} is confirmed", id);
            }
        }
        let mut dead = left(&self.fixture, &self.source);
        dead.extend(left(&self.fixture, &self.queues[0]));
        prop_assert!((0..IDS).all(|id| dead.contains(&id)), "{:?} are left of all", dead);
        Ok(())
    }

    /// With all batches written, all is in the log that is in memory, and all are confirmed.
    fn end(&mut self) -> Checked {
        for client in &mut self.clients {
            client.flush(&self.fixture);
            prop_assert!(client.waiting.is_empty());
        }
        for (queue, taken) in self.queues.iter().zip(&self.taken) {
            let left: BTreeSet<u64> = left(&self.fixture, queue).into_iter().collect();
            prop_assert_eq!(&left, taken);
        }
        self.compare()
    }
}

proptest! {
    #![proptest_config(config(RUNS))]

    #[test]
    fn a_confirmed_message_is_in_the_log_whoever_has_brought_it(
        operations in prop::collection::vec(operation(), 0..=60),
    ) {
        let mut run = Run::new(Fixture::new());
        let mut published = 0;
        for operation in &operations {
            published += usize::from(matches!(operation, Operation::Publish { .. }));
            run.apply(operation)?;
        }
        run.end()?;
        let confirmed = run.clients.iter().map(|client| client.confirmed.lock().len());
        prop_assert_eq!(confirmed.sum::<usize>(), published);
    }
}
