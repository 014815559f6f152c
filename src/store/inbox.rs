//! The store's door: batches wait here for the thread that commits them.
//!
//! What arrives while one window is on its way to the disk is the next window: no timer, and at low
//! load nothing waits. Batches that only settle messages are worth no fsync of their own: they wait
//! for others, or for a moment.
//!
//! ```text
//!   serving ──close()──▶ closing ──last window──▶ refused ──abandon()──▶ (the thread ends)
//!      └──────────── a write failed ─────────────▶ │  ▲ appends are answered: closed
//!                                                  └──┘
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::encoding::LogRecord;
use super::record::{Batch, Record};
use super::{AppendError, Committed, OnCommit, StoreState};

/// How long what nobody waits for waits for company. Settles that a crash takes away bring their
/// messages back; publishes without a confirm were promised nothing.
const COMPANY_WAIT: Duration = Duration::from_millis(20);

/// What a record is taken to weigh beside its message's body.
const RECORD_COST: u64 = 128;

/// A batch and whom to tell.
pub(super) struct Pending {
    pub(super) batch: Vec<LogRecord>,
    pub(super) on_commit: Option<OnCommit>,
}

/// Tells one who waits. A panic of theirs ends neither the thread nor the confirms of others.
pub(super) fn tell(on_commit: Option<OnCommit>, outcome: Result<Committed, AppendError>) {
    let Some(on_commit) = on_commit else { return };
    if catch_unwind(AssertUnwindSafe(|| on_commit(outcome))).is_err() {
        tracing::error!("what was to be told of a commit panicked; the store goes on");
    }
}

/// Tells that these batches were certainly not written.
pub(super) fn tell_closed(pending: impl IntoIterator<Item = Pending>, why: &Arc<str>) {
    for Pending { on_commit, .. } in pending {
        tell(on_commit, Err(AppendError::Closed(Arc::clone(why))));
    }
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
    /// Set when nothing more is written, with the reason.
    refused: Option<Arc<str>>,
    /// Nobody is left who could append.
    abandoned: bool,
}

pub(super) struct Inbox {
    inner: Mutex<Inner>,
    arrived: Condvar,
    ended: Condvar,
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
            ended: Condvar::new(),
            state: watch::Sender::new(StoreState::Open),
            bytes_max,
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Bytes that wait to be written or are being written.
    pub(super) fn in_flight_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        inner.bytes.saturating_add(inner.bytes_in_window)
    }

    /// Takes a batch of the broker's.
    pub(super) fn append(&self, batch: Batch, on_commit: Option<OnCommit>) {
        let batch = batch.into_iter().map(LogRecord::Broker).collect();
        self.push(Pending { batch, on_commit });
    }

    /// Takes a batch of the store's own.
    pub(super) fn append_own(&self, batch: Vec<LogRecord>, on_commit: OnCommit) {
        self.push(Pending { batch, on_commit: Some(on_commit) });
    }

    fn push(&self, pending: Pending) {
        let cost = pending.batch.iter().map(cost_of).fold(0, u64::saturating_add);
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_add(cost);
        // What nobody waits for must not fill the memory either.
        let urgent = pending.on_commit.is_some() || inner.bytes > self.bytes_max / 4;
        let first_urgent = urgent && !inner.urgent;
        inner.urgent |= urgent;
        let first = inner.pending.is_empty();
        inner.pending.push(pending);
        if inner.bytes.saturating_add(inner.bytes_in_window) > self.bytes_max {
            // Under the lock: the committer, too, changes the state by what it sees under it.
            self.change_state(&StoreState::Open, StoreState::Congested);
        }
        drop(inner);
        if first || first_urgent {
            self.arrived.notify_one();
        }
    }

    /// Has the committer look around, with nothing to write.
    pub(super) fn nudge(&self) {
        self.inner.lock().urgent = true;
        self.arrived.notify_one();
    }

    /// Waits for the next window; the one before it is done. With `patience` an empty one comes
    /// when nothing has come for so long.
    pub(super) fn next_window(&self, patience: Option<Duration>) -> Window {
        let mut inner = self.inner.lock();
        inner.bytes_in_window = 0;
        if inner.bytes <= self.bytes_max / 2 {
            self.change_state(&StoreState::Congested, StoreState::Open);
        }
        while !inner.urgent && !inner.closing {
            let wait = if inner.pending.is_empty() { patience } else { Some(COMPANY_WAIT) };
            match wait {
                None => self.arrived.wait(&mut inner),
                Some(wait) if self.arrived.wait_for(&mut inner, wait).timed_out() => break,
                Some(_) => {}
            }
        }
        inner.urgent = false;
        inner.bytes_in_window = std::mem::take(&mut inner.bytes);
        Window { pending: std::mem::take(&mut inner.pending), last: inner.closing }
    }

    /// What waits is the last window. Returns when it is done.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.arrived.notify_one();
        while inner.refused.is_none() {
            self.ended.wait(&mut inner);
        }
    }

    /// Nothing more is written: what waits and what still comes is answered by
    /// [`Inbox::answer_rest`]. A second reason doesn't replace the first.
    pub(super) fn refuse(&self, state: StoreState, why: Arc<str>) {
        let mut inner = self.inner.lock();
        if inner.refused.is_none() {
            inner.refused = Some(why);
            self.state.send_replace(state);
            self.ended.notify_all();
        }
    }

    /// After [`Inbox::refuse`]: answers what waits and what comes, until nobody is left who could
    /// append.
    pub(super) fn answer_rest(&self) {
        let mut inner = self.inner.lock();
        loop {
            let pending = std::mem::take(&mut inner.pending);
            if pending.is_empty() {
                if inner.abandoned {
                    return;
                }
                self.arrived.wait(&mut inner);
                continue;
            }
            let why = inner.refused.clone().unwrap_or_default();
            MutexGuard::unlocked(&mut inner, || tell_closed(pending, &why));
        }
    }

    /// Nobody is left who could append: what waits is the last window, and then the thread ends.
    pub(super) fn abandon(&self) {
        let mut inner = self.inner.lock();
        (inner.closing, inner.abandoned) = (true, true);
        self.arrived.notify_one();
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

fn cost_of(record: &LogRecord) -> u64 {
    let message = record.message().map_or(0, |message| {
        let properties = message.properties_bytes().len() as u64;
        message.body_len().saturating_add(properties)
    });
    let notes = match record {
        LogRecord::Broker(Record::Return { notes, .. }) => std::mem::size_of_val(notes.as_slice()),
        _ => 0,
    };
    message.saturating_add(notes as u64).saturating_add(RECORD_COST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{QueueId, Seq};

    const BYTES_MAX: u64 = 10 * RECORD_COST;

    fn append(inbox: &Inbox, count: usize) {
        let record = Record::DeliverMark { queue: QueueId(1), upto: Seq(1) };
        inbox.append(vec![record; count], Some(Box::new(|_| {})));
    }

    #[test]
    fn congestion_ends_when_half_of_the_limit_is_free_again() {
        let inbox = Inbox::new(BYTES_MAX);
        let state = inbox.state();
        append(&inbox, 10);
        assert_eq!(*state.borrow(), StoreState::Open);
        append(&inbox, 1);
        assert_eq!(*state.borrow(), StoreState::Congested);
        assert_eq!(inbox.next_window(None).pending.len(), 2);
        append(&inbox, 6);
        assert_eq!(*state.borrow(), StoreState::Congested, "a window is on its way");
        inbox.next_window(None);
        assert_eq!(*state.borrow(), StoreState::Congested, "more than half waited");
        append(&inbox, 1);
        inbox.next_window(None);
        assert_eq!(*state.borrow(), StoreState::Open);
    }

    #[test]
    fn what_is_in_the_window_counts_until_it_is_written() {
        let inbox = Inbox::new(BYTES_MAX);
        append(&inbox, 8);
        inbox.next_window(None);
        append(&inbox, 3);
        assert_eq!(*inbox.state().borrow(), StoreState::Congested);
    }

    #[test]
    fn the_first_reason_to_refuse_stays() {
        let inbox = Inbox::new(BYTES_MAX);
        let failed = StoreState::Failed(Arc::from("the disk"));
        inbox.refuse(failed.clone(), Arc::from("the disk"));
        inbox.refuse(StoreState::Closed, Arc::from("it was closed"));
        assert_eq!(*inbox.state().borrow(), failed);
    }
}
