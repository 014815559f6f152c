//! The order in which batches go to the log where one relies on another.
//!
//! A duplicate is dropped because of a message that another batch brings: its own batch is not in
//! the log before that one, so that a crash leaves neither or the message. Batches that rely on one
//! another in a circle go as one. Only what says what deduplication has seen has a turn; others
//! pass by here.
//!
//! Batches that wait are owned by [`Turns`], one of each broker. They wait for a moment: a client
//! whose batch others rely on has it written before its next message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::changes::Changes;
use crate::store::{Committed, OnCommit, Store};

/// The batches that wait for others.
pub struct Turns {
    store: Arc<dyn Store>,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    batch: Changes,
    on_commit: Option<OnCommit>,
    turn: Turn,
}

/// A batch's turn: it is over when the log has got the batch.
pub(super) struct Turn {
    turns: Arc<Turns>,
    sign: Arc<Sign>,
    /// What it relies on.
    behind: Vec<Arc<Sign>>,
}

/// What others know of a batch. In one order for all: who sets one of them looks at the other, so
/// that either the batch is found in the log or who waits for it is found.
#[derive(Debug, Default)]
pub(super) struct Sign {
    is_logged: AtomicBool,
    /// Others rely on it.
    is_wanted: AtomicBool,
}

impl Sign {
    pub(super) fn is_logged(&self) -> bool {
        self.is_logged.load(Ordering::SeqCst)
    }

    fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }
}

impl Turn {
    pub(super) fn new(turns: &Arc<Turns>) -> Self {
        Self { turns: Arc::clone(turns), sign: Arc::default(), behind: Vec::new() }
    }

    pub(super) fn sign(&self) -> &Arc<Sign> {
        &self.sign
    }

    /// Others rely on the batch: the sooner it is in the log, the better.
    pub(super) fn is_wanted(&self) -> bool {
        self.sign.is_wanted()
    }

    /// The batch has to be in the log no sooner than this one.
    pub(super) fn rely_on(&mut self, sign: Arc<Sign>) {
        let is_same = |other: &Arc<Sign>| Arc::ptr_eq(other, &sign);
        if !is_same(&self.sign) && !self.behind.iter().any(is_same) {
            sign.is_wanted.store(true, Ordering::SeqCst);
            self.behind.push(sign);
        }
    }

    /// Appends the batch when what it relies on is in the log.
    pub(super) fn append(self, batch: Changes, on_commit: Option<OnCommit>) {
        let turns = Arc::clone(&self.turns);
        if self.behind.iter().all(|sign| sign.is_logged()) {
            return batch.write(&*turns.store, on_commit);
        }
        turns.waiting.lock().push(Waiting { batch, on_commit, turn: self });
        turns.append_ready();
    }
}

/// Also of a batch that never comes, because of a panic: nobody waits for ever.
impl Drop for Turn {
    fn drop(&mut self) {
        self.sign.is_logged.store(true, Ordering::SeqCst);
        if self.is_wanted() {
            self.turns.append_ready();
        }
    }
}

impl Turns {
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, waiting: Mutex::default() })
    }

    /// Appends those that need wait no longer, as one batch.
    fn append_ready(&self) {
        let ready = take_ready(&mut self.waiting.lock());
        if ready.is_empty() {
            return;
        }
        let (mut whole, mut waited, mut turns) = (Changes::default(), Vec::new(), Vec::new());
        for Waiting { batch, on_commit, turn } in ready {
            whole.join(batch);
            waited.extend(on_commit);
            turns.push(turn);
        }
        whole.write(&*self.store, tell_all(waited));
        // What came meanwhile and waits for them goes now.
        drop(turns);
    }
}

/// Takes out those that rely on nothing but what is in the log and one another.
fn take_ready(waiting: &mut Vec<Waiting>) -> Vec<Waiting> {
    let mut ready = std::mem::take(waiting);
    loop {
        let signs: Vec<_> = ready.iter().map(|one| Arc::clone(&one.turn.sign)).collect();
        let goes = |sign: &Arc<Sign>| {
            sign.is_logged() || signs.iter().any(|other| Arc::ptr_eq(other, sign))
        };
        waiting.extend(ready.extract_if(.., |one| !one.turn.behind.iter().all(goes)));
        if ready.len() == signs.len() {
            return ready;
        }
    }
}

fn tell_all(mut waited: Vec<OnCommit>) -> Option<OnCommit> {
    if waited.len() <= 1 {
        return waited.pop();
    }
    Some(Box::new(move |outcome| {
        let outcome = outcome.map(|committed| Committed { alone: false, ..committed });
        waited.into_iter().for_each(|on_commit| on_commit(outcome.clone()));
    }))
}
