//! A store in memory that keeps what the records say and answers when it is told to: so that a run
//! depends on nothing but its operations, and what a crash would leave can be looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ferrymq::protocol::message::Message;
use ferrymq::store::{
    Batch, Committed, OnCommit, OnRead, Page, Position, QueueId, ReadLimit, Record, Seq, SeqRange,
    Space, Store, StoreState,
};
use parking_lot::Mutex;
use tokio::sync::watch;

type Answer = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    messages: BTreeMap<(QueueId, Seq), Arc<Message>>,
    seen: BTreeSet<(QueueId, u128)>,
    answers: VecDeque<Answer>,
    /// Nobody tells it to answer yet.
    answers_at_once: bool,
}

pub struct MemoryStore {
    inner: Mutex<Inner>,
    state: watch::Sender<StoreState>,
    space: watch::Sender<Space>,
}

impl MemoryStore {
    /// A store that answers at once, until [`MemoryStore::wait_from_now_on`].
    pub fn new() -> Arc<Self> {
        let inner = Mutex::new(Inner { answers_at_once: true, ..Inner::default() });
        let (state, space) =
            (watch::Sender::new(StoreState::Open), watch::Sender::new(Space::Enough));
        Arc::new(Self { inner, state, space })
    }

    pub fn wait_from_now_on(&self) {
        self.inner.lock().answers_at_once = false;
    }

    /// Answers the oldest that waits for it; whether there was one.
    pub fn answer(&self) -> bool {
        let answer = self.inner.lock().answers.pop_front();
        answer.is_some_and(|answer| {
            answer();
            true
        })
    }

    /// What a crash would leave of a queue.
    pub fn left(&self, queue: QueueId) -> Vec<(Seq, Arc<Message>)> {
        let inner = self.inner.lock();
        let all = inner.messages.range((queue, Seq(0))..=(queue, Seq(u64::MAX)));
        all.map(|((_, seq), message)| (*seq, Arc::clone(message))).collect()
    }

    /// How many digests a crash would leave of a queue.
    pub fn seen(&self, queue: QueueId) -> usize {
        self.inner.lock().seen.range((queue, 0)..=(queue, u128::MAX)).count()
    }

    fn answer_later(&self, answer: Answer) {
        let mut inner = self.inner.lock();
        if inner.answers_at_once {
            drop(inner);
            return answer();
        }
        inner.answers.push_back(answer);
    }
}

impl Inner {
    fn keep(&mut self, record: Record) {
        match record {
            Record::Enqueue { message, queues } => self.put(&message, &queues),
            Record::Move { from, message, to } => {
                self.messages.remove(&from);
                self.put(&message, &to);
            }
            Record::Settle { queue, settled } => {
                settled.seqs.iter().for_each(|range| self.remove(queue, *range));
                self.remove(queue, SeqRange { first: Seq(0), last: settled.through });
            }
            Record::Purge { queue, ranges, .. } => {
                ranges.iter().for_each(|range| self.remove(queue, *range));
            }
            Record::Seen { queue, digest, .. } => {
                self.seen.insert((queue, digest));
            }
            _ => {}
        }
    }

    fn put(&mut self, message: &Arc<Message>, places: &[(QueueId, Seq)]) {
        for place in places {
            self.messages.insert(*place, Arc::clone(message));
        }
    }

    fn remove(&mut self, queue: QueueId, range: SeqRange) {
        let in_range = self.messages.range((queue, range.first)..=(queue, range.last));
        let keys: Vec<_> = in_range.map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| drop(self.messages.remove(key)));
    }
}

impl Store for MemoryStore {
    fn append(&self, batch: Batch, on_commit: Option<OnCommit>) {
        {
            let mut inner = self.inner.lock();
            // What comes with a settle comes before it.
            let (settles, others): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|record| matches!(record, Record::Settle { .. }));
            others.into_iter().chain(settles).for_each(|record| inner.keep(record));
        }
        if let Some(on_commit) = on_commit {
            let committed = Committed { position: Position(1), alone: false };
            self.answer_later(Box::new(move || on_commit(Ok(committed))));
        }
    }

    fn read(&self, queue: QueueId, from: Seq, limit: ReadLimit, on_read: OnRead) {
        let mut messages = self.left(queue);
        messages.retain(|(seq, _)| *seq >= from);
        let is_all = messages.len() < limit.count;
        messages.truncate(limit.count);
        let last = messages.last().filter(|_| !is_all).map(|(seq, _)| *seq);
        let page = Page { messages, through: last.unwrap_or(Seq(u64::MAX)) };
        self.answer_later(Box::new(move || on_read(page)));
    }

    fn read_each(&self, queue: QueueId, seqs: Vec<Seq>, on_read: OnRead) {
        let mut messages = self.left(queue);
        messages.retain(|(seq, _)| seqs.contains(seq));
        let page = Page { messages, through: seqs.last().copied().unwrap_or_default() };
        self.answer_later(Box::new(move || on_read(page)));
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    fn space(&self) -> watch::Receiver<Space> {
        self.space.subscribe()
    }

    fn close(&self) {
        self.state.send_replace(StoreState::Closed);
    }
}
