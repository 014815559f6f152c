//! Messages on their way from one client's read to the queues and the log.
//!
//! Consecutive messages with the same queues are a run: each queue is entered once for all of them,
//! and everything that one read brought goes to the log as one batch.

use std::borrow::Borrow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::changes::Changes;
use super::error::Error;
use super::exchange::Exchange;
use super::queue::{Queue, Sight, Traits};
use super::timers::{TIME_MS_MAX, now_ms};
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::store::record::{Places, Record};

/// The queues a message goes to, each once.
pub type Route = SmallVec<[Arc<Queue>; 1]>;

/// Most messages in a run, so that a queue is not held for long.
const RUN_MAX: usize = 1024;

/// What one read of a client, or one transaction, does to queues.
#[derive(Default)]
pub struct PublishBatch {
    run: Vec<Arc<Message>>,
    /// Where the log keeps each of them.
    places: Vec<Places>,
    route: Route,
    /// Of the queues of the route, when the run began.
    traits: Traits,
    records: Changes,
    counted: Option<Counted>,
}

/// What was published to one exchange, and it has not been told.
struct Counted {
    exchange: Arc<Exchange>,
    messages: u64,
    queues: u64,
}

/// What became of a message that was published.
#[must_use = "its publisher may want to know"]
pub enum Fate {
    /// Its queues have it; it is theirs once it is on disk, if `is_stored`.
    Taken { is_stored: bool },
    /// There was no queue for it.
    Unrouted(Arc<Message>),
    /// It repeats one that has found its way.
    Known,
    /// A queue was full, or a message that it may repeat is on its way.
    Refused,
}

impl PublishBatch {
    /// Takes a message that was published to an exchange to the queues of its route, which is asked
    /// for unless the exchange has seen the message before.
    pub fn publish<R: Borrow<Route>>(
        &mut self,
        exchange: &Arc<Exchange>,
        message: Arc<Message>,
        properties: &Properties,
        route: impl FnOnce(&Arc<Message>) -> R,
    ) -> Fate {
        let claim = match exchange.sight_of(properties, self) {
            Sight::New(claim) => claim,
            sight => {
                self.count(exchange, &Route::new());
                return if matches!(sight, Sight::Known) { Fate::Known } else { Fate::Refused };
            }
        };
        let route = route(&message);
        let route = route.borrow();
        self.count(exchange, route);
        if route.is_empty() {
            return Fate::Unrouted(message);
        }
        let is_stored = message.is_persistent() && route.iter().any(|queue| queue.stores(&message));
        if !self.bring(message, properties, route) {
            return Fate::Refused;
        }
        if let Some(claim) = claim {
            claim.keep(self.records());
        }
        Fate::Taken { is_stored }
    }

    /// Begins another run, unless there is one with these queues that has room.
    fn turn_to(&mut self, route: &Route) {
        let is_same = same_queues(route, &self.route);
        if is_same && (1..RUN_MAX).contains(&self.run.len()) {
            return;
        }
        self.enqueue_run();
        if !is_same {
            self.route.clone_from(route);
        }
        self.traits = traits_of(route);
    }

    /// Adds a message for these queues. It may stay in the run until
    /// [`PublishBatch::enqueue_run`]. Answers whether its queues take it, which is known at once
    /// where one may refuse it ([`Traits::refuses`]).
    pub fn bring(&mut self, message: Arc<Message>, properties: &Properties, route: &Route) -> bool {
        if route.is_empty() {
            return true;
        }
        self.turn_to(route);
        self.run.push(timed_for(self.traits, message, properties));
        // Where one may refuse a message, it is a run of its own.
        !self.traits.refuses() || self.enqueue_run()
    }

    /// Counts a message that was published to an exchange, and goes to these queues.
    fn count(&mut self, exchange: &Arc<Exchange>, route: &Route) {
        let queues = route.len() as u64;
        match &mut self.counted {
            Some(counted) if Arc::ptr_eq(&counted.exchange, exchange) => {
                counted.messages += 1;
                counted.queues += queues;
            }
            _ => {
                self.tell_exchange();
                let exchange = Arc::clone(exchange);
                self.counted = Some(Counted { exchange, messages: 1, queues });
            }
        }
    }

    fn tell_exchange(&mut self) {
        if let Some(Counted { exchange, messages, queues }) = self.counted.take() {
            exchange.count(messages, queues);
        }
    }

    /// Brings the run into its queues. To be called before anything else is asked of a queue.
    /// Answers whether the queues have taken all of it.
    pub fn enqueue_run(&mut self) -> bool {
        if self.run.is_empty() {
            return true;
        }
        let mut is_taken = true;
        self.places.resize_with(self.run.len(), Places::new);
        for queue in &self.route {
            is_taken &= queue.enqueue(&self.run, &mut self.places, &mut self.records);
        }
        self.records.reserve(self.run.len());
        for (message, queues) in self.run.drain(..).zip(self.places.drain(..)) {
            if !queues.is_empty() {
                self.records.push(Record::Enqueue { message, queues });
            }
        }
        is_taken
    }

    /// What the log has to know; other operations of the same read add theirs.
    pub fn records(&mut self) -> &mut Changes {
        self.enqueue_run();
        &mut self.records
    }

    /// Whether another batch waits until the log has got this one.
    pub fn is_wanted(&self) -> bool {
        self.records.is_wanted()
    }

    /// Ends the batch and answers what has to be appended.
    pub fn take(&mut self) -> Changes {
        self.enqueue_run();
        self.tell_exchange();
        self.records.move_leaving();
        self.route.clear();
        std::mem::take(&mut self.records)
    }
}

/// Notes the time of a message's arrival, where it matters to it or to one of its queues.
pub fn timed(message: Arc<Message>, properties: &Properties, route: &Route) -> Arc<Message> {
    timed_for(traits_of(route), message, properties)
}

fn timed_for(traits: Traits, message: Arc<Message>, properties: &Properties) -> Arc<Message> {
    if !traits.looks_at_times() && !properties.has_expiration() {
        return message;
    }
    Arc::new(message.arrived_at(now_ms(), properties))
}

/// What any of the queues does.
fn traits_of(route: &Route) -> Traits {
    route.iter().map(|queue| queue.traits()).fold(Traits::default(), Traits::or)
}

/// Rule: a message's expiration is a number of milliseconds, of ten years at most.
pub fn check_expiration(properties: &Properties) -> Result<(), Error> {
    let Some(text) = properties.expiration() else { return Ok(()) };
    let why = match text.parse::<u64>() {
        Ok(ttl_ms) if ttl_ms <= TIME_MS_MAX => return Ok(()),
        Ok(_) => format!("more than ten years, {TIME_MS_MAX} ms"),
        Err(_) => "a number of milliseconds is needed".to_owned(),
    };
    Err(Error::precondition_failed(format!("invalid expiration '{text}': {why}")))
}

fn same_queues(a: &Route, b: &Route) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
