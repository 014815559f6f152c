//! The store's door: batches wait here for the thread that commits them.
//!
//! What arrives while one window is on its way to the disk is the next window: no timer, and at low
//! load nothing waits. Batches that only settle messages are worth no fsync of their own: they wait
//! for others, or for a moment.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::record::{Batch, Record};
use super::{AppendError, OnCommit, StoreState};

/// How long settlements wait for company. What is lost with them in a crash is delivered once more.
const SETTLE_WAIT: Duration = Duration::from_millis(20);

/// What a record is taken to weigh beside its message's body.
const RECORD_COST: u64 = 128;

/// A batch and whom to tell.
pub(super) struct Pending {
    pub(super) batch: Batch,
    pub(super) on_commit: OnCommit,
}

#[derive(Default)]
struct Inner {
    pending: Vec<Pending>,
    bytes: u64,
    /// Bytes in the window that is being written.
    bytes_in_window: u64,
    /// Somebody waits for a batch to be on disk.
    urgent: bool,
    closing: bool,
    /// Set when nothing more is taken, with the reason.
    refused: Option<Arc<str>>,
}

pub(super) struct Inbox {
    inner: Mutex<Inner>,
    arrived: Condvar,
    state: watch::Sender<StoreState>,
    bytes_max: u64,
}

/// What the committer is given.
pub(super) struct Window {
    pub(super) pending: Vec<Pending>,
    /// Nothing will come after it.
    pub(super) last: bool,
}

impl Inbox {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            inner: Mutex::default(),
            arrived: Condvar::new(),
            state: watch::Sender::new(StoreState::Open),
            bytes_max,
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Takes a batch. One that comes after the end is answered from a thread of its own: never on
    /// the caller's stack.
    pub(super) fn append(&self, batch: Batch, on_commit: OnCommit) {
        let urgent = !batch.iter().all(|record| matches!(record, Record::Settle { .. }));
        let cost = batch.iter().map(cost_of).sum();
        let mut inner = self.inner.lock();
        if let Some(why) = inner.refused.clone() {
            drop(inner);
            std::thread::spawn(move || on_commit(Err(AppendError::Closed(why))));
            return;
        }
        inner.bytes = inner.bytes.saturating_add(cost);
        let first_urgent = urgent && !inner.urgent;
        inner.urgent |= urgent;
        let first = inner.pending.is_empty();
        inner.pending.push(Pending { batch, on_commit });
        let congested = inner.bytes.saturating_add(inner.bytes_in_window) > self.bytes_max;
        drop(inner);
        if congested {
            self.change_state(&StoreState::Open, StoreState::Congested);
        }
        if first || first_urgent {
            self.arrived.notify_one();
        }
    }

    /// Waits for the next window; the one before it is done.
    pub(super) fn next_window(&self) -> Window {
        let mut inner = self.inner.lock();
        inner.bytes_in_window = 0;
        if inner.bytes <= self.bytes_max / 2 {
            self.change_state(&StoreState::Congested, StoreState::Open);
        }
        while !inner.urgent && !inner.closing {
            if inner.pending.is_empty() {
                self.arrived.wait(&mut inner);
            } else if self.arrived.wait_for(&mut inner, SETTLE_WAIT).timed_out() {
                break;
            }
        }
        inner.urgent = false;
        inner.bytes_in_window = std::mem::take(&mut inner.bytes);
        Window { pending: std::mem::take(&mut inner.pending), last: inner.closing }
    }

    /// Nothing more will be appended: the window after this is the last.
    pub(super) fn close(&self) {
        self.inner.lock().closing = true;
        self.arrived.notify_one();
    }

    /// Refuses what comes from now on; answers what waited.
    pub(super) fn refuse(&self, state: StoreState, why: Arc<str>) -> Vec<Pending> {
        let mut inner = self.inner.lock();
        inner.refused = Some(why);
        let pending = std::mem::take(&mut inner.pending);
        drop(inner);
        self.state.send_replace(state);
        pending
    }

    fn change_state(&self, from: &StoreState, to: StoreState) {
        self.state.send_if_modified(|state| {
            let changes = state == from;
            if changes {
                *state = to;
            }
            changes
        });
    }
}

fn cost_of(record: &Record) -> u64 {
    match record {
        Record::Enqueue { message, .. } | Record::Move { message, .. } => {
            message.body.len().saturating_add(RECORD_COST)
        }
        _ => RECORD_COST,
    }
}
