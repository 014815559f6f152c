//! A queue, and everything others may ask of it.
//!
//! Owner of its messages and consumers, under one short lock that is never held over a wait.
//! Whoever brings a message, credit or room delivers in the same step: there is no task to wake.
//! Lock order: queue, then a connection's outbox, then the store's door. No queue's lock is taken
//! while another's is held.

pub mod arguments;
pub mod consumers;
pub mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::Notify;

pub use arguments::QueueOptions;
pub use consumers::{Consumer, Lane};
pub use state::Entry;

use self::consumers::Consumers;
use self::state::{Next, State};
use crate::broker::ConnectionId;
use crate::broker::error::Error;
use crate::protocol::message::Message;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::record::{Batch, QueueId, Ranges, Record, Seq, SeqRange, ranges_of};
use crate::store::{Epoch, RecoveredQueue, Store};

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
    pub options: QueueOptions,
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
    store: Arc<dyn Store>,
    inner: Mutex<Inner>,
    /// Rung when a delivery mark was answered.
    mark_answered: Notify,
}

struct Inner {
    state: State,
    consumers: Consumers,
    deleted: bool,
    /// A mark could not be written: the store has failed.
    failed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl Queue {
    pub fn new(properties: QueueProperties, epoch: Epoch, store: Arc<dyn Store>) -> Arc<Self> {
        let inner = Inner {
            state: State::new(epoch),
            consumers: Consumers::default(),
            deleted: false,
            failed: false,
        };
        Arc::new(Self { properties, store, inner: Mutex::new(inner), mark_answered: Notify::new() })
    }

    /// Puts in what the last run left. Only for a queue that nobody has seen yet.
    pub fn restore(&self, recovered: RecoveredQueue) {
        self.inner.lock().state.restore(recovered.messages, recovered.delivered_upto);
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
    pub fn enqueue(self: &Arc<Self>, messages: &[Arc<Message>], batch: &mut Batch) -> Option<Seq> {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return None;
        }
        let first = inner.state.next_seq();
        for message in messages {
            let stored = self.stores(message);
            inner.state.enqueue(Arc::clone(message), stored);
        }
        self.deliver_ready(&mut inner, first, batch);
        Some(first)
    }

    /// Messages came back for good (basic.ack). Answers how many were out.
    pub fn ack(self: &Arc<Self>, seqs: &[Seq], batch: &mut Batch) -> usize {
        let mut inner = self.inner.lock();
        let mut settled = 0;
        let mut stored: SmallVec<[Seq; 8]> = SmallVec::new();
        for seq in seqs {
            let Some((entry, consumer)) = inner.state.settle(*seq) else { continue };
            settled += 1;
            inner.consumers.give_back_credit(consumer);
            if entry.stored {
                stored.push(*seq);
            }
        }
        self.note_settled(&inner.state, &mut stored, batch);
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        settled
    }

    /// Takes a message back that its consumer refused, to be moved elsewhere. The queue has settled
    /// it; the log is told by the caller.
    pub fn take_back(self: &Arc<Self>, seq: Seq, batch: &mut Batch) -> Option<Entry> {
        let mut inner = self.inner.lock();
        let (entry, consumer) = inner.state.settle(seq)?;
        inner.consumers.give_back_credit(consumer);
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        Some(entry)
    }

    /// Messages came back to be delivered again, each to its old place.
    pub fn requeue(self: &Arc<Self>, seqs: impl IntoIterator<Item = Seq>, batch: &mut Batch) {
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
        batch: &mut Batch,
    ) -> Result<Option<Got>, Error> {
        loop {
            let mut answered = std::pin::pin!(self.mark_answered.notified());
            answered.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                match inner.state.peek(Seq(u64::MAX)) {
                    Next::Empty => return Ok(None),
                    Next::Ready => return Ok(self.take_one(&mut inner, no_ack, batch)),
                    Next::Unmarked if inner.failed => return Err(self.store_failed()),
                    Next::Unmarked => self.ask_mark(&mut inner, 1),
                }
            }
            answered.await;
        }
    }

    fn take_one(&self, inner: &mut Inner, no_ack: bool, batch: &mut Batch) -> Option<Got> {
        let entry = inner.state.take(0, no_ack)?;
        if no_ack && entry.stored {
            self.note_settled(&inner.state, &mut [entry.seq], batch);
        }
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
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return Err(Error::not_found(format!("no {}", self.described())));
        }
        let taken = !inner.consumers.is_empty() && consumer.exclusive;
        if taken || inner.consumers.is_exclusive() {
            return Err(Error::access_refused(format!("{} in exclusive use", self.described())));
        }
        announce();
        inner.consumers.add(consumer);
        self.deliver_ready(&mut inner, Seq(u64::MAX), batch);
        Ok(())
    }

    /// Takes a consumer out; what it has stays out. Answers whether the queue has to go with it.
    pub fn remove_consumer(&self, id: u64) -> bool {
        let mut inner = self.inner.lock();
        inner.consumers.remove(id).is_some()
            && inner.consumers.is_empty()
            && self.properties.auto_delete
            && !inner.deleted
    }

    /// A consumer has room or credit again.
    pub fn wake(self: &Arc<Self>, consumer: u64) {
        let mut batch = Batch::new();
        {
            let mut inner = self.inner.lock();
            inner.consumers.wake(consumer);
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
        }
        self.append(batch);
    }

    /// Drops the ready messages. Answers how many; `batch` gets what the log has to know.
    pub fn purge(&self, batch: &mut Batch) -> usize {
        let mut inner = self.inner.lock();
        let (count, upto, others) = inner.state.purge();
        if self.properties.durable {
            let queue = self.properties.id;
            batch.push(Record::Purge { queue, upto });
            if !others.is_empty() {
                batch.push(Record::Settle { queue, ranges: others });
            }
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
        Ok((count, inner.consumers.drain()))
    }

    pub fn is_deleted(&self) -> bool {
        self.inner.lock().deleted
    }

    /// Gives ready messages to willing consumers. Messages from `fresh_from` on are brought to the
    /// log by `batch` itself, so that their delivery mark goes with them.
    fn deliver_ready(self: &Arc<Self>, inner: &mut Inner, fresh_from: Seq, batch: &mut Batch) {
        let mut deliveries: SmallVec<[(Arc<Consumer>, Vec<Entry>); 1]> = SmallVec::new();
        let mut mark = None;
        let mut settled: SmallVec<[Seq; 8]> = SmallVec::new();
        loop {
            match inner.state.peek(fresh_from) {
                Next::Ready => {}
                Next::Empty => break,
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
            if entry.stored && consumer.no_ack {
                settled.push(entry.seq);
            }
            match deliveries.iter_mut().rev().find(|(other, _)| other.id == consumer.id) {
                Some((_, entries)) => entries.push(entry),
                None => deliveries.push((consumer, vec![entry])),
            }
        }
        if let Some(upto) = mark {
            inner.state.mark_with_batch(upto);
            batch.push(Record::DeliverMark { queue: self.properties.id, upto });
        }
        self.note_settled(&inner.state, &mut settled, batch);
        for (consumer, entries) in deliveries {
            Arc::clone(&consumer.lane).deliver(&consumer, entries);
        }
    }

    /// Tells the log which stored messages are gone. What is gone from the front on is one range
    /// from 0, so that numbers of messages that the log never saw leave no gaps in what it
    /// remembers.
    fn note_settled(&self, state: &State, seqs: &mut [Seq], batch: &mut Batch) {
        if seqs.is_empty() {
            return;
        }
        seqs.sort_unstable();
        let through = state.settled_through();
        let above = seqs.partition_point(|seq| *seq <= through);
        let mut ranges = Ranges::new();
        if above > 0 {
            ranges.push(SeqRange { first: Seq(0), last: through });
        }
        ranges.extend(ranges_of(&seqs[above..]));
        batch.push(Record::Settle { queue: self.properties.id, ranges });
    }

    /// Has a delivery mark written and delivers on once it is on disk.
    fn ask_mark(self: &Arc<Self>, inner: &mut Inner, wanted: u64) {
        let Some(upto) = inner.state.ask_mark(wanted) else { return };
        let queue = Arc::downgrade(self);
        let record = Record::DeliverMark { queue: self.properties.id, upto };
        self.store.append(
            vec![record],
            Box::new(move |outcome| {
                if let Some(queue) = queue.upgrade() {
                    queue.on_mark_answered(outcome.is_ok());
                }
            }),
        );
    }

    fn on_mark_answered(self: &Arc<Self>, written: bool) {
        let mut batch = Batch::new();
        {
            let mut inner = self.inner.lock();
            inner.failed |= !written;
            inner.state.mark_answered(written);
            self.deliver_ready(&mut inner, Seq(u64::MAX), &mut batch);
        }
        self.mark_answered.notify_waiters();
        self.append(batch);
    }

    /// Appends what nobody waits for.
    pub fn append(&self, batch: Batch) {
        if !batch.is_empty() {
            self.store.append(batch, Box::new(|_| {}));
        }
    }

    /// For tests and for displays: the consumers of the moment.
    pub fn consumers(&self) -> Vec<Arc<Consumer>> {
        let inner: MutexGuard<'_, Inner> = self.inner.lock();
        inner.consumers.iter().cloned().collect()
    }
}
