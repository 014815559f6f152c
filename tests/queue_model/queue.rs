//! Random operations on a queue with random options, a consumer, and a queue for its dead letters:
//! what goes in is in exactly one of them until somebody takes it, in memory and in the log.
//!
//! Messages come as old as they have to be, and the time at which delayed ones are looked for is
//! handed in, hours away; so the clock itself decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrymq::broker::changes::Changes;
use ferrymq::broker::queue::{Entry, Queue, Return};
use ferrymq::broker::timers::now_ms;
use ferrymq::protocol::table::FieldValue;
use proptest::prelude::*;

use crate::fixture::{Fixture, Hands, number_of, numbered, text};
use crate::state::config;

const HOUR_MS: u64 = 3_600_000;

const RUNS: u32 = 600;

#[derive(Debug, Clone)]
struct Options {
    max_length: Option<u64>,
    overflow: &'static str,
    priorities: bool,
    delivery_limit: u16,
    /// What waits, an hour more each time.
    retry: &'static str,
    prefetch_count: u16,
}

fn options() -> impl Strategy<Value = Options> {
    let max_length = prop_oneof![Just(None), (0..6u64).prop_map(Some)];
    let overflow = prop::sample::select(vec!["drop-head", "reject-publish", "reject-publish-dlx"]);
    let retry = prop::sample::select(vec!["disabled", "all", "failed", "returned"]);
    (max_length, overflow, any::<bool>(), 0..3u16, retry, 1..5u16).prop_map(
        |(max_length, overflow, priorities, delivery_limit, retry, prefetch_count)| Options {
            max_length,
            overflow,
            priorities,
            delivery_limit,
            retry,
            prefetch_count,
        },
    )
}

#[derive(Debug, Clone)]
enum Operation {
    Publish {
        persistent: bool,
        priority: u8,
        is_old: bool,
    },
    Ack(usize),
    Reject(usize),
    Requeue(usize, Return),
    Purge,
    /// The store answers once.
    Answer,
    /// So many hours from now what is due is looked for.
    Look {
        hours: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let why = prop::sample::select(vec![Return::Unsent, Return::Returned, Return::Failed]);
    prop_oneof![
        8 => (any::<bool>(), 0..5u8, any::<u8>()).prop_map(|(persistent, priority, chance)| {
            Publish { persistent, priority, is_old: chance < 32 }
        }),
        3 => any::<usize>().prop_map(Ack),
        2 => any::<usize>().prop_map(Reject),
        6 => (any::<usize>(), why).prop_map(|(index, why)| Requeue(index, why)),
        1 => any::<u8>().prop_map(|chance| if chance < 64 { Purge } else { Answer }),
        6 => Just(Answer),
        3 => (0..4u64).prop_map(|hours| Look { hours }),
    ]
}

#[derive(Debug, Default)]
struct Known {
    persistent: bool,
    failed: u16,
    returned: u16,
    came_back: bool,
    /// It waits for so many hours.
    waits: u64,
}

struct Run {
    fixture: Fixture,
    options: Options,
    queue: Arc<Queue>,
    dead: Arc<Queue>,
    hands: Arc<Hands>,
    /// What is in one of the queues, by its number.
    known: BTreeMap<u64, Known>,
    /// Those that are known to be out.
    out: BTreeSet<u64>,
    next: u64,
}

type Checked = Result<(), TestCaseError>;

impl Run {
    fn new(options: Options) -> Self {
        let fixture = Fixture::new();
        let dead = fixture.declare("dead", []);
        let hours = |hours: u64| FieldValue::I64((hours * HOUR_MS) as i64);
        let queue = fixture.declare(
            "q",
            [
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text("dead")),
                ("x-message-ttl", hours(1)),
                (
                    "x-max-length",
                    FieldValue::I64(options.max_length.map_or(1_000, |max| max as i64)),
                ),
                ("x-overflow", text(options.overflow)),
                ("x-max-priority", FieldValue::I64(if options.priorities { 3 } else { 0 })),
                ("x-delivery-limit", FieldValue::I64(options.delivery_limit.into())),
                ("x-delayed-retry-type", text(options.retry)),
                ("x-delayed-retry-min", hours(1)),
                ("x-delayed-retry-max", hours(100)),
            ],
        );
        let (_, hands) = fixture.consume(&queue, options.prefetch_count);
        let (known, out) = (BTreeMap::new(), BTreeSet::new());
        Self { fixture, options, queue, dead, hands, known, out, next: 0 }
    }

    fn apply(&mut self, operation: &Operation) -> Checked {
        match *operation {
            Operation::Publish { persistent, priority, is_old } => {
                // What is old behind what makes room goes a moment later, by the timers' thread.
                let is_old = is_old && self.options.overflow != "drop-head";
                self.publish(persistent, priority, is_old)?;
            }
            Operation::Ack(index) => {
                if let Some(entry) = self.take_held(index) {
                    self.known.remove(&number_of(&entry.message));
                    self.change(|queue, batch| assert_eq!(queue.ack(&[entry.place()], batch), 1));
                }
            }
            Operation::Reject(index) => {
                if let Some(entry) = self.take_held(index) {
                    self.change(|queue, batch| queue.reject(&[entry.place()], batch));
                }
            }
            Operation::Requeue(index, why) => {
                if let Some(entry) = self.take_held(index) {
                    self.requeue(&entry, why);
                }
            }
            Operation::Purge => {
                self.fixture.answer_all();
                self.notice_deliveries()?;
                let dead = self.numbers_in_dead();
                let ready = self.queue.status().ready;
                self.change(|queue, batch| assert!(queue.purge(batch) >= ready));
                let status = self.queue.status();
                prop_assert_eq!((status.ready, status.delayed), (0, 0));
                // What is dead and transient is not told from what was purged.
                self.known.retain(|number, known| {
                    self.out.contains(number) || (known.persistent && dead.contains(number))
                });
            }
            Operation::Answer => drop(self.fixture.store.answer()),
            Operation::Look { hours } => {
                for known in self.known.values_mut().filter(|known| known.waits <= hours) {
                    known.waits = 0;
                }
                self.queue.on_time(now_ms() + hours * HOUR_MS + HOUR_MS / 2);
            }
        }
        self.notice_deliveries()?;
        self.compare()
    }

    fn change(&self, change: impl FnOnce(&Arc<Queue>, &mut Changes)) {
        let mut batch = Changes::default();
        change(&self.queue, &mut batch);
        self.queue.append(batch);
    }

    fn take_held(&mut self, index: usize) -> Option<Entry> {
        let mut held = self.hands.held.lock();
        let index = index.checked_rem(held.len())?;
        let entry = held.swap_remove(index);
        self.out.remove(&number_of(&entry.message));
        Some(entry)
    }

    fn publish(&mut self, persistent: bool, priority: u8, is_old: bool) -> Checked {
        self.next += 1;
        let message = numbered(self.next, 0, persistent, priority);
        let arrived_ms = if is_old { now_ms() - 2 * HOUR_MS } else { now_ms() };
        let message = message.arrived_at(arrived_ms, &message.properties());
        let is_full =
            self.options.max_length.is_some_and(|max| self.queue.status().ready as u64 >= max);
        let is_taken = self.fixture.publish(&self.queue, Arc::new(message));
        let refuses = self.options.overflow != "drop-head";
        prop_assert_eq!(is_taken, !(refuses && is_full));
        if is_taken || self.options.overflow == "reject-publish-dlx" {
            self.known.insert(self.next, Known { persistent, ..Known::default() });
        }
        Ok(())
    }

    fn requeue(&mut self, entry: &Entry, why: Return) {
        let known = self.known.get_mut(&number_of(&entry.message)).expect("it was out");
        known.came_back = true;
        match why {
            Return::Unsent => {}
            Return::Returned => known.returned += 1,
            Return::Failed => known.failed += 1,
        }
        let waits = match self.options.retry {
            "all" => why != Return::Unsent,
            "failed" => why == Return::Failed,
            "returned" => why == Return::Returned,
            _ => false,
        };
        known.waits = if waits { u64::from(known.failed + known.returned) } else { 0 };
        self.change(|queue, batch| queue.requeue([entry.place()], why, batch));
    }

    /// What was delivered since the last time is what it has to be.
    fn notice_deliveries(&mut self) -> Checked {
        for entry in self.hands.held.lock().iter() {
            let number = number_of(&entry.message);
            if !self.out.insert(number) {
                continue;
            }
            let Some(known) = self.known.get(&number) else {
                prop_assert!(false, "{} is gone, and was delivered", number);
                continue;
            };
            prop_assert_eq!(entry.redelivered, known.came_back, "{}", number);
            prop_assert_eq!((entry.failed, entry.returned), (known.failed, known.returned));
            prop_assert!(entry.failed <= self.options.delivery_limit, "{} had to die", number);
            prop_assert_eq!(known.waits, 0, "{} came too early", number);
        }
        Ok(())
    }

    fn numbers_in_dead(&self) -> BTreeSet<u64> {
        let left = self.fixture.store.left(self.dead.id_of(0));
        left.iter().map(|(_, message)| number_of(message)).collect()
    }

    fn compare(&self) -> Checked {
        let (status, dead) = (self.queue.status(), self.dead.status());
        prop_assert_eq!(status.unacked, self.out.len());
        prop_assert!(status.unacked <= usize::from(self.options.prefetch_count));
        if let Some(max) = self.options.max_length.filter(|_| self.options.overflow == "drop-head")
        {
            prop_assert!(status.ready as u64 <= max, "{} are ready, of {}", status.ready, max);
        }
        let levels = 0..=self.queue.properties.levels;
        let left = levels.flat_map(|level| self.fixture.store.left(self.queue.id_of(level)));
        let mut stored: Vec<u64> = left.map(|(_, message)| number_of(&message)).collect();
        prop_assert!(stored.len() <= status.ready + status.unacked + status.delayed);
        stored.extend(self.numbers_in_dead());
        stored.sort_unstable();
        let persistent = self.known.iter().filter(|(_, known)| known.persistent);
        prop_assert_eq!(stored, persistent.map(|(number, _)| *number).collect::<Vec<_>>());
        let count = status.ready + status.unacked + status.delayed + dead.ready;
        prop_assert!(count >= self.known.len(), "{} of {} are there", count, self.known.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(RUNS))]

    #[test]
    fn a_message_is_in_one_queue_until_somebody_takes_it(
        options in options(),
        operations in prop::collection::vec(operation(), 0..=200),
    ) {
        let mut run = Run::new(options);
        for operation in &operations {
            run.apply(operation)?;
        }
    }
}
