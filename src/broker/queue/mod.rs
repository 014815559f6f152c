//! A queue, and everything others may ask of it.
//!
//! Owner of its messages and consumers, under one short lock that is never held over a wait.
//! Whoever brings a message, credit or room delivers in the same step: there is no task to wake.
//! Lock order: queue, then a connection's outbox, then the store's door. No queue's lock is taken
//! while another's is held.

pub mod arguments;
pub mod consumers;
mod mark;
pub mod memory;
pub mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;
use tokio::sync::Notify;

pub use arguments::QueueOptions;
pub use consumers::{Consumer, Lane};
pub use state::Entry;

use self::consumers::Consumers;
use self::memory::{Part, QueueMemory};
use self::state::{Next, State};
use crate::broker::ConnectionId;
use crate::broker::changes::Changes;
use crate::broker::error::Error;
use crate::protocol::message::Message;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::record::{QueueId, Record, Seq, Settled, ranges_of};
use crate::store::{Epoch, Page, RecoveredQueue, Store};

/// What a queue is, as it was declared.
#[derive(Debug, Clone)]
pub struct QueueProperties {
    pub id: QueueId,
    pub name: ShortStr,
    pub vhost: ShortStr,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that owns it, if it is exclusive.
    pub exclusive_to: Option<ConnectionId>,
    pub arguments: FieldTable,
}

/// Counts of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    pub ready: usize,
    pub unacked: usize,
    pub ready_bytes: u64,
    pub consumers: usize,
}

/// A message that basic.get took.
#[derive(Debug)]
pub struct Got {
    pub entry: Entry,
    /// Ready messages that are left.
    pub remaining: usize,
}

pub struct Queue {
    pub properties: QueueProperties,
    /// What is in force of its arguments and policies.
    options: RwLock<Arc<QueueOptions>>,
    store: Arc<dyn Store>,
    memory: Arc<QueueMemory>,
    inner: Mutex<Inner>,
    /// Rung when a delivery mark was answered or messages were read back.
    came_nearer: Notify,
}

struct Inner {
    state: State,
    /// What of the queues' memory its messages use.
    part: Part,
    consumers: Consumers,
    deleted: bool,
    /// A mark could not be written: the store has failed.
    failed: bool,
}

/// Stored messages that left the queue for good.
#[derive(Default)]
struct Gone {
    seqs: SmallVec<[Seq; 8]>,
    bytes: u64,
}

impl Gone {
    fn add(&mut self, entry: &Entry) {
        if entry.stored {
            self.seqs.push(entry.seq);
            self.bytes += entry.message.body_len();
        }
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
        epoch: Epoch,
        store: Arc<dyn Store>,
        memory: Arc<QueueMemory>,
    ) -> Arc<Self> {
        let mut state = State::new(epoch);
        Part::begin(&mut state);
        let mut consumers = Consumers::default();
        consumers.set_single_active(options.single_active_consumer);
        let inner =
            Inner { state, part: Part::default(), consumers, deleted: false, failed: false };
        let (inner, came_nearer) = (Mutex::new(inner), Notify::new());
        let options = RwLock::new(Arc::new(options));
        Arc::new(Self { properties, options, store, memory, inner, came_nearer })
    }

    /// What is in force of its arguments and policies.
    pub fn options(&self) -> Arc<QueueOptions> {
        Arc::clone(&self.options.read())
    }

    /// Other policies match the queue from now on.
    pub fn set_options(&self, options: QueueOptions) {
        *self.options.write() = Arc::new(options);
    }

    /// Puts in what the last run left. Only for a queue that nobody has seen yet.
    pub fn restore(&self, left: &RecoveredQueue) {
        self.inner.lock().state.restore(left);
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

    pub fn status(&self) -> QueueStatus {
        let inner = self.inner.lock();
        QueueStatus {
            ready: inner.state.ready_count(),
            unacked: inner.state.unacked_count(),
            ready_bytes: inner.state.ready_bytes(),
            consumers: inner.consumers.len(),
        }
    }

    /// Whether the log keeps this message for this queue.
    pub fn stores(&self, message: &Message) -> bool {
        self.properties.durable && message.is_persistent()
    }

    /// Adds messages in order and delivers what can be delivered. Answers the first one's sequence
    /// number (the others follow without a gap), or nothing when the queue is gone. What the log
    /// has to know beside the messages themselves is added to `batch`, which must bring them, too.
    pub fn enqueue(
        self: &Arc<Self>,
        messages: &[Arc<Message>],
        batch: &mut Changes,
    ) -> Option<Seq> {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return None;
        }
        let first = inner.state.next_seq();
        let mut waits = false;
        for message in messages {
            let stored = self.stores(message);
            waits |= inner.state.enqueue(Arc::clone(message), stored);
        }
        if waits {
            batch.arrived(self, first, Seq(inner.state.next_seq().0 - 1));
        }
        self.deliver_ready(&mut inner, first, batch);
        Some(first)
    }

    /// Messages came back for good (basic.ack). Answers how many were out.
    pub fn ack(self: &Arc<Self>, seqs: &[Seq], batch: &mut Changes) -> usize {
        let mut inner = self.inner.lock();
        let mut count = 0;
        let mut gone = Gone::default();
        for seq in seqs {
            let Some((entry, consumer)) = inner.state.settle(*seq) else { continue };
            count += 1;
            inner.consumers.give_back_credit(consumer);
            gone.add(&entry);
        }
        self.note_settled(&inner.state, gone, batch);
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        count
    }

    /// Takes a message back that its consumer refused, to be moved elsewhere. The queue has settled
    /// it; the log is told by the caller.
    pub fn take_back(self: &Arc<Self>, seq: Seq, batch: &mut Changes) -> Option<Entry> {
        let mut inner = self.inner.lock();
        let (entry, consumer) = inner.state.settle(seq)?;
        inner.consumers.give_back_credit(consumer);
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        Some(entry)
    }

    /// Messages came back to be delivered again, each to its old place.
    pub fn requeue(self: &Arc<Self>, seqs: impl IntoIterator<Item = Seq>, batch: &mut Changes) {
        let mut inner = self.inner.lock();
        for seq in seqs {
            if let Some(consumer) = inner.state.requeue(seq) {
                inner.consumers.give_back_credit(consumer);
            }
        }
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
    }

    /// Takes one message for basic.get. Waits for the delivery mark where one is needed.
    pub async fn get(
        self: &Arc<Self>,
        no_ack: bool,
        batch: &mut Changes,
    ) -> Result<Option<Got>, Error> {
        if self.options().single_active_consumer {
            return Err(Error::resource_locked(format!(
                "cannot obtain access to locked {}. basic.get operations are not supported by quorum \
                 queues with single active consumer",
                self.described()
            )));
        }
        loop {
            let mut came_nearer = std::pin::pin!(self.came_nearer.notified());
            came_nearer.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                match inner.state.peek(Seq(u64::MAX)) {
                    Next::Empty => return Ok(None),
                    Next::Ready => return Ok(self.take_one(&mut inner, no_ack, batch)),
                    Next::Unmarked if inner.failed => return Err(self.store_failed()),
                    Next::Unreadable => return Err(self.store_failed()),
                    Next::Unmarked => self.ask_mark(&mut inner, 1),
                    Next::Paged => self.ask_read(&mut inner),
                }
            }
            came_nearer.await;
        }
    }

    fn take_one(&self, inner: &mut Inner, no_ack: bool, batch: &mut Changes) -> Option<Got> {
        let entry = inner.state.take(0, no_ack)?;
        if no_ack {
            let mut gone = Gone::default();
            gone.add(&entry);
            self.note_settled(&inner.state, gone, batch);
        }
        self.tell_memory(inner);
        Some(Got { entry, remaining: inner.state.ready_count() })
    }

    fn store_failed(&self) -> Error {
        Error::new(
            crate::protocol::reply::ReplyCode::InternalError,
            format!("{} cannot be read: its store has failed", self.described()),
        )
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
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        Ok(())
    }

    /// Takes a consumer out; what it has stays out. Answers whether the queue has to go with it.
    pub fn remove_consumer(self: &Arc<Self>, id: u64) -> bool {
        let mut batch = Changes::default();
        let is_unused = {
            let mut inner = self.inner.lock();
            let was_there = inner.consumers.remove(id).is_some();
            // Another one may have become the single active consumer.
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
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
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
        }
        self.append(batch);
    }

    /// Drops the ready messages. Answers how many; `batch` gets what the log has to know.
    pub fn purge(&self, batch: &mut Changes) -> usize {
        let mut inner = self.inner.lock();
        let (count, ranges, bytes) = inner.state.purge();
        self.tell_memory(&mut inner);
        if self.properties.durable {
            batch.push(Record::Purge { queue: self.properties.id, ranges, bytes });
        }
        count
    }

    /// Marks the queue as gone, if the conditions hold, and answers the number of ready messages
    /// that go with it and its consumers, who have to be told.
    pub fn delete(
        &self,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<(usize, Vec<Arc<Consumer>>), Error> {
        let mut inner = self.inner.lock();
        if if_unused && !inner.consumers.is_empty() {
            return Err(Error::precondition_failed(format!("{} in use", self.described())));
        }
        if if_empty && inner.state.ready_count() > 0 {
            return Err(Error::precondition_failed(format!("{} not empty", self.described())));
        }
        inner.deleted = true;
        let count = inner.state.ready_count();
        inner.state = State::new(Epoch(0));
        self.tell_memory(&mut inner);
        Ok((count, inner.consumers.drain()))
    }

    pub fn is_deleted(&self) -> bool {
        self.inner.lock().deleted
    }

    /// Gives ready messages to willing consumers. Messages from `fresh_from` on are brought to the
    /// log by `batch` itself, so that their delivery mark goes with them.
    fn deliver_ready(self: &Arc<Self>, inner: &mut Inner, fresh_from: Seq, batch: &mut Changes) {
        let mut deliveries: SmallVec<[(Arc<Consumer>, Vec<Entry>); 1]> = SmallVec::new();
        let mut mark = None;
        let mut gone = Gone::default();
        loop {
            match inner.state.peek(fresh_from) {
                Next::Ready => {}
                Next::Empty | Next::Paged | Next::Unreadable => break,
                Next::Unmarked => {
                    let wanted = inner.consumers.credit();
                    if wanted > 0 && !inner.failed {
                        self.ask_mark(inner, wanted);
                    }
                    break;
                }
            }
            let Some(consumer) = inner.consumers.pick(inner.state.next_len()) else { break };
            let Some(entry) = inner.state.take(consumer.id, consumer.no_ack) else { break };
            if entry.stored && entry.seq >= fresh_from {
                mark = Some(entry.seq);
            }
            if consumer.no_ack {
                gone.add(&entry);
            }
            match deliveries.iter_mut().rev().find(|(other, _)| other.id == consumer.id) {
                Some((_, entries)) => entries.push(entry),
                None => deliveries.push((Arc::clone(consumer), vec![entry])),
            }
        }
        if let Some(upto) = mark {
            inner.state.mark_with_batch(upto);
            batch.push(Record::DeliverMark { queue: self.properties.id, upto });
        }
        self.note_settled(&inner.state, gone, batch);
        for (consumer, entries) in deliveries {
            Arc::clone(&consumer.lane).deliver(&consumer, entries);
        }
        if !inner.consumers.is_empty() {
            self.ask_read(inner);
        }
        self.tell_memory(inner);
    }

    /// Tells what the head costs, and learns what it may.
    fn tell_memory(&self, inner: &mut Inner) {
        let Inner { part, state, .. } = inner;
        part.tell(&self.memory, state);
    }

    /// Tells the log which stored messages are gone.
    fn note_settled(&self, state: &State, gone: Gone, batch: &mut Changes) {
        let Gone { mut seqs, bytes } = gone;
        if seqs.is_empty() {
            return;
        }
        seqs.sort_unstable();
        let settled = Settled { seqs: ranges_of(&seqs), bytes, through: state.settled_through() };
        batch.push(Record::Settle { queue: self.properties.id, settled });
    }

    /// Has a delivery mark written and delivers on once it is on disk.
    fn ask_mark(self: &Arc<Self>, inner: &mut Inner, wanted: u64) {
        let Some(upto) = inner.state.ask_mark(wanted) else { return };
        let queue = Arc::downgrade(self);
        let record = Record::DeliverMark { queue: self.properties.id, upto };
        let answered = move |outcome: Result<_, _>| {
            if let Some(queue) = queue.upgrade() {
                queue.on_mark_answered(outcome.is_ok());
            }
        };
        self.store.append(vec![record], Some(Box::new(answered)));
    }

    /// Has messages read back, if the head runs dry, and delivers on once they are there.
    fn ask_read(self: &Arc<Self>, inner: &mut Inner) {
        let Some(wanted) = inner.state.ask_read() else { return };
        let queue = Arc::downgrade(self);
        let on_read = move |page| {
            if let Some(queue) = queue.upgrade() {
                queue.on_read(wanted.round, page);
            }
        };
        self.store.read(self.properties.id, wanted.from, wanted.limit, Box::new(on_read));
    }

    fn on_read(self: &Arc<Self>, round: u64, page: Page) {
        let mut batch = Changes::default();
        let lost = {
            let mut inner = self.inner.lock();
            let lost = inner.state.read(round, page);
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
            lost
        };
        if lost > 0 {
            tracing::error!(
                queue = %self.name(),
                vhost = %self.properties.vhost,
                messages = lost,
                "messages of a queue can't be read: it goes on without them"
            );
        }
        self.came_nearer.notify_waiters();
        self.append(batch);
    }

    /// New messages are on disk: those of a long queue leave the memory.
    pub(in crate::broker) fn on_disk(&self, first: Seq, last: Seq) {
        self.inner.lock().state.on_disk(first, last);
    }

    fn on_mark_answered(self: &Arc<Self>, written: bool) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.failed |= !written;
            inner.state.mark_answered(written);
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
        }
        self.came_nearer.notify_waiters();
        self.append(batch);
    }

    /// Appends what nobody waits for.
    pub fn append(&self, batch: Changes) {
        batch.append(&*self.store, None);
    }

    /// For tests and for displays: the consumers of the moment.
    pub fn consumers(&self) -> Vec<Arc<Consumer>> {
        let inner: MutexGuard<'_, Inner> = self.inner.lock();
        inner.consumers.iter().cloned().collect()
    }
}
