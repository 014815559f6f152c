//! A queue, and everything others may ask of it.
//!
//! Owner of its messages and consumers, under one short lock that is never held over a wait.
//! Whoever brings a message, credit or room delivers in the same step: there is no task to wake.
//! Lock order: queue, then a connection's outbox, then the store's door. No queue's lock is taken
//! while another's is held: a message that has to go to another queue leaves by [`Changes`].
//!
//! Messages come in by `arrival.rs`, go out by `delivery.rs` and come back by `settlement.rs`; what
//! happens because it is time is in `aging.rs`.

mod aging;
pub mod arguments;
mod arrival;
mod beyond;
mod browsing;
mod claim;
pub mod consumers;
mod delivery;
mod details;
pub mod entry;
mod few;
mod groups;
mod incoming;
mod lane;
mod levels;
mod mark;
pub mod memory;
mod pausing;
mod pick;
mod reading;
mod removal;
mod sample;
mod schedule;
mod seen;
mod settlement;
mod since;
pub mod state;
mod tally;
mod traits;
mod willing;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use arguments::QueueOptions;
pub use browsing::Browsed;
pub use claim::{Claim, Sight};
pub use consumers::{Activity, Consumer, Lane};
pub use delivery::Got;
pub use details::{Active, Parties, QueueDetails, QueueStatus};
pub use entry::{ENTRY_COST, Entry, Place};
pub use lane::Next;
pub use pick::{Found, Rest, Scheduled, View};
pub use reading::{Ahead, Wanted};
pub use schedule::Due;
pub(in crate::broker) use settlement::LeavingMark;
pub use settlement::Return;
pub use tally::Tally;
pub use traits::Traits;

use self::aging::STEP_MAX;
use self::arguments::{Overflow, QueueType};
use self::consumers::Consumers;
use self::groups::Groups;
use self::incoming::Incoming;
use self::memory::{Part, QueueMemory};
use self::sample::Followed;
use self::seen::Seen;
use self::state::State;
use crate::broker::ConnectionId;
use crate::broker::changes::Changes;
use crate::broker::counters::{ByType, Churn, Counts, Deaths, QueueCounts};
use crate::broker::dead_letter::Reason;
use crate::broker::error::Error;
use crate::broker::policy::matching::Matching;
use crate::broker::timers::{Timers, now_ms};
use crate::broker::timings::Timings;
use crate::broker::turn::Turns;
use crate::broker::vhost::{Vhost, VhostTotals};
use crate::protocol::message::Message;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::record::{QueueId, Seq};
use crate::store::{Epoch, RecoveredQueue, Store};

/// What a queue is, as it was declared.
///
/// What a message asks of it stands first ([`Queue`]).
#[derive(Debug, Clone)]
#[repr(C)]
pub struct QueueProperties {
    pub id: QueueId,
    /// The exchange whose own it is: it keeps what the exchange delays, and what the exchange's
    /// deduplication has seen.
    pub own_of: Option<Box<ShortStr>>,
    pub durable: bool,
    pub auto_delete: bool,
    /// The levels are from 0 to this one; the log keeps each under an id of its own.
    pub levels: u8,
    pub name: ShortStr,
    pub vhost: ShortStr,
    /// The connection that owns it, if it is exclusive.
    pub exclusive_to: Option<ConnectionId>,
    pub arguments: FieldTable,
}

/// What all queues of a broker share.
pub struct Surroundings {
    pub epoch: Epoch,
    pub store: Arc<dyn Store>,
    pub memory: Arc<QueueMemory>,
    pub timers: Arc<Timers>,
    pub churn: Churn,
    pub deaths: ByType<Deaths>,
    /// What was counted in vhosts that are gone.
    pub gone: Mutex<VhostTotals>,
    pub turns: Arc<Turns>,
    pub timings: Timings,
}

/// Its fields stand in the order in which messages ask for them, here and in what it consists of:
/// where ten thousand queues have their turn, each piece of memory that is asked for is a wait.
#[repr(C)]
pub struct Queue {
    /// What publishers have to know of the options.
    traits: AtomicU8,
    /// Messages that have left it, and the log doesn't know where to ([`LeavingMark`]).
    leaving: AtomicU32,
    around: Arc<Surroundings>,
    inner: Mutex<Inner>,
    pub properties: QueueProperties,
    vhost: Weak<Vhost>,
    /// Whoever holds it moves the next of the dead messages elsewhere. Taken before any queue's
    /// `inner`, and never two of them.
    exit: Mutex<()>,
    /// Rung when a delivery mark was answered or messages were read back.
    came_nearer: Notify,
}

type Dead = VecDeque<(Entry, Reason)>;

#[repr(C)]
struct Inner {
    deleted: bool,
    /// Nothing goes out until somebody resumes it.
    paused: bool,
    /// A mark could not be written: the store has failed.
    failed: bool,
    /// There may be messages that die of age.
    ages: bool,
    /// What is in force of its arguments and policies.
    options: Arc<QueueOptions>,
    /// Where messages that agree in a header go out together.
    groups: Option<Box<Groups>>,
    /// A message whose time in the queue is measured.
    followed: Option<Box<Followed>>,
    /// What of the queues' memory its messages use.
    part: Part,
    consumers: Consumers,
    state: State,
    counts: QueueCounts,
    incoming: Incoming,
    /// Only where there is deduplication.
    seen: Option<Box<Seen>>,
    /// Messages that died by themselves, on their way out in the order of their deaths. Nothing
    /// where there are none.
    dead: Option<Box<Dead>>,
    /// The policies that hold for it.
    policies: Matching,
    /// The time that the queue has told to the timers.
    alarm_ms: Option<u64>,
    /// When somebody used it last, where it expires.
    used_ms: u64,
}

/// Most queues have no options: they share these.
static NO_OPTIONS: LazyLock<Arc<QueueOptions>> = LazyLock::new(Arc::default);

fn shared(options: QueueOptions) -> Arc<QueueOptions> {
    if options == **NO_OPTIONS { Arc::clone(&NO_OPTIONS) } else { Arc::new(options) }
}

impl Inner {
    /// Takes out the message that died first, of those that have not left yet.
    fn next_dead(&mut self) -> Option<(Entry, Reason)> {
        let next = self.dead.as_mut()?.pop_front();
        self.dead.take_if(|dead| dead.is_empty());
        next
    }

    /// Another header tells groups apart from now on, or none.
    fn set_groups(&mut self, header: Option<ShortStr>) {
        if self.groups.as_ref().map(|groups| groups.header()) != header.as_ref() {
            self.put_back_aside();
            self.groups = header.map(|header| Box::new(Groups::new(header)));
        }
    }

    /// What stands aside for consumers goes back to its place.
    fn put_back_aside(&mut self) {
        let aside = self.groups.as_mut().map(|groups| groups.drain_aside());
        aside.into_iter().flatten().for_each(|entry| self.state.put_back_aside(entry));
    }

    /// A consumer is gone: what stands aside for it can go to others.
    fn forget_groups_of(&mut self, consumer: u64) {
        let aside = self.groups.as_mut().map(|groups| groups.consumer_left(consumer));
        aside.into_iter().flatten().for_each(|entry| self.state.put_back_aside(entry));
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl Queue {
    pub fn new(
        properties: QueueProperties,
        options: QueueOptions,
        around: Arc<Surroundings>,
        vhost: Weak<Vhost>,
    ) -> Arc<Self> {
        let mut state = State::new(around.epoch);
        Part::begin(&mut state);
        let inner = Inner {
            state,
            counts: QueueCounts::default(),
            incoming: Incoming::default(),
            followed: None,
            dead: None,
            part: Part::default(),
            consumers: Consumers::default(),
            groups: None,
            seen: None,
            options: Arc::clone(&NO_OPTIONS),
            policies: Matching::default(),
            ages: false,
            alarm_ms: None,
            used_ms: 0,
            deleted: false,
            paused: false,
            failed: false,
        };
        let (inner, exit, came_nearer) = (Mutex::new(inner), Mutex::new(()), Notify::new());
        let traits = AtomicU8::new(0);
        let leaving = AtomicU32::new(0);
        let queue =
            Arc::new(Self { properties, around, vhost, traits, leaving, inner, exit, came_nearer });
        queue.set_options(options);
        queue
    }

    /// Puts in what the last run left of a level. Only for a queue that nobody has seen yet.
    pub fn restore(&self, level: u8, left: &RecoveredQueue) {
        let mut inner = self.inner.lock();
        inner.ages |= left.count > 0;
        if level == 0 {
            let seen = (!left.seen.is_empty()).then(|| Box::new(Seen::restore(&left.seen)));
            inner.seen = seen;
        }
        inner.state.restore(level, left);
        inner.state.came(Place { level, seq: Seq(0) }, now_ms());
    }

    /// Begins to look after what the last run left.
    pub(in crate::broker) fn begin(self: &Arc<Self>) {
        let mut batch = Changes::default();
        self.tidy(&mut self.inner.lock(), STEP_MAX, &mut batch);
        self.append(batch);
    }

    /// What is in force of its arguments and policies.
    pub fn options(&self) -> Arc<QueueOptions> {
        Arc::clone(&self.inner.lock().options)
    }

    /// Other options are in force from now on: what they forbid goes at once.
    pub fn set_options(self: &Arc<Self>, options: QueueOptions) {
        let is_own = self.properties.own_of.is_some();
        let deduplicates = options.deduplication.is_some() && !is_own;
        let refuses = options.overflow != Overflow::DropHead || deduplicates;
        let ages = options.message_ttl_ms.is_some() || is_own;
        self.traits.store(Traits::new(refuses, ages).0, Ordering::Release);
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.consumers.set_single_active(options.single_active_consumer);
            inner.set_groups(options.group_header.clone());
            inner.options = shared(options);
            inner.used_ms = now_ms();
            self.deliver_ready(&mut inner, &mut batch);
        }
        self.append(batch);
    }

    /// Other policies hold for it from now on; what they say is told by [`Queue::set_options`].
    pub(in crate::broker) fn set_policies(&self, policies: Matching) {
        self.inner.lock().policies = policies;
    }

    /// What publishers have to know of its options.
    #[inline]
    pub fn traits(&self) -> Traits {
        Traits(self.traits.load(Ordering::Acquire))
    }

    /// What all queues of the broker share.
    pub(in crate::broker) fn around(&self) -> &Surroundings {
        &self.around
    }

    pub fn queue_type(&self) -> QueueType {
        QueueType::of(&self.properties.arguments)
    }

    /// The vhost that it is in, unless that is gone.
    pub fn vhost(&self) -> Option<Arc<Vhost>> {
        self.vhost.upgrade()
    }

    /// The id under which the log keeps a level.
    pub fn id_of(&self, level: u8) -> QueueId {
        QueueId(self.properties.id.0 + u64::from(level))
    }

    pub fn name(&self) -> &ShortStr {
        &self.properties.name
    }

    /// `queue 'name' in vhost 'vhost'`, the way errors name it.
    pub fn described(&self) -> String {
        format!("queue '{}' in vhost '{}'", self.properties.name, self.properties.vhost)
    }

    /// Refuses all but the owner of an exclusive queue.
    pub fn check_exclusive(&self, connection: ConnectionId) -> Result<(), Error> {
        match self.properties.exclusive_to {
            Some(owner) if owner != connection => Err(self.locked()),
            _ => Ok(()),
        }
    }

    /// What others than the owner of an exclusive queue are told.
    pub fn locked(&self) -> Error {
        Error::resource_locked(format!(
            "cannot obtain exclusive access to locked {}. It could be originally declared on another \
             connection or the exclusive property value does not match that of the original \
             declaration.",
            self.described()
        ))
    }

    /// What has happened in it so far.
    pub fn counts(&self) -> Counts {
        self.inner.lock().counts.read()
    }

    /// Somebody has declared it again.
    pub fn touch(&self) {
        self.inner.lock().used_ms = now_ms();
    }

    /// Whether the log keeps this message for this queue.
    pub fn stores(&self, message: &Message) -> bool {
        self.properties.durable && message.is_persistent()
    }

    /// Adds a consumer. `announce` runs when it is certain that there will be one and before the
    /// first delivery to it.
    pub fn add_consumer(
        self: &Arc<Self>,
        consumer: Arc<Consumer>,
        announce: impl FnOnce(),
        batch: &mut Changes,
    ) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return Err(Error::not_found(format!("no {}", self.described())));
        }
        let taken = !inner.consumers.is_empty() || inner.consumers.is_single_active();
        if (taken && consumer.exclusive) || inner.consumers.is_exclusive() {
            return Err(Error::access_refused(format!("{} in exclusive use", self.described())));
        }
        announce();
        inner.consumers.add(consumer);
        self.deliver_ready(&mut inner, batch);
        Ok(())
    }

    /// Takes a consumer out; what it has stays out. Answers whether the queue has to go with it.
    pub fn remove_consumer(self: &Arc<Self>, id: u64) -> bool {
        let mut batch = Changes::default();
        let is_unused = {
            let mut inner = self.inner.lock();
            let was_there = inner.consumers.remove(id).is_some();
            inner.forget_groups_of(id);
            inner.used_ms = now_ms();
            // Another one may have become the single active consumer.
            self.deliver_ready(&mut inner, &mut batch);
            was_there && inner.consumers.is_empty() && self.properties.auto_delete && !inner.deleted
        };
        self.append(batch);
        is_unused
    }

    /// A consumer has room or credit again.
    pub fn wake(self: &Arc<Self>, consumer: u64) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.consumers.wake(consumer);
            self.deliver_ready(&mut inner, &mut batch);
        }
        self.append(batch);
    }

    /// Tells what the head costs, and learns what it may.
    fn tell_memory(&self, inner: &mut Inner) {
        let Inner { part, state, .. } = inner;
        part.tell(&self.around.memory, state);
    }

    /// Appends what nobody waits for.
    pub fn append(&self, batch: Changes) {
        batch.append(&*self.around.store, None);
    }
}
