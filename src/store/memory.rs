//! A store without a disk, with faults by script: what the broker is tested on.
//!
//! The same contract: commits come later and from another thread, in call order, and the fold is
//! the disk's. What was not committed is gone after [`MemoryStore::reopen`].

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::catalog::Kept;
use super::commit_thread::CommitThread;
use super::encoding::LogRecord;
use super::inbox::{Inbox, Pending, tell, tell_closed};
use super::recovery::Replay;
use super::segment::ReadBatch;
use super::{AppendError, Batch, Epoch, OnCommit, Opened, Position, Store, StoreState};

/// No limit worth the name: what is in memory is bounded by the test.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The batch with this number, counted from 1, fails: its outcome is unknown and the store is
    /// closed.
    pub fail_at: Option<u64>,
    /// Whether the failed batch is there after a restart all the same.
    pub failed_is_kept: bool,
    /// Commits wait for [`MemoryStore::release`].
    pub hold: bool,
}

pub struct MemoryStore {
    log: Arc<Log>,
    thread: CommitThread,
}

/// What is committed.
struct Log {
    batches: Mutex<Vec<Batch>>,
    held: Mutex<bool>,
    released: Condvar,
}

impl MemoryStore {
    /// An empty store of the first epoch.
    pub fn open(faults: Faults) -> (Arc<Self>, Opened) {
        Self::with(Vec::new(), Epoch(1), faults)
    }

    /// What a start after a crash finds: committed batches and nothing else.
    pub fn reopen(&self, epoch: Epoch, faults: Faults) -> (Arc<Self>, Opened) {
        Self::with(self.log.batches.lock().clone(), epoch, faults)
    }

    fn with(batches: Vec<Batch>, epoch: Epoch, faults: Faults) -> (Arc<Self>, Opened) {
        let mut replay = Replay::new(Kept::default());
        for (position, batch) in (1..).zip(&batches) {
            let records = batch.iter().cloned().map(LogRecord::Broker).collect();
            replay.batch(1, &ReadBatch { position, records });
        }
        let (state, queues, _) = replay.finish();
        let log = Arc::new(Log {
            batches: Mutex::new(batches),
            held: Mutex::new(faults.hold),
            released: Condvar::new(),
        });
        let inbox = Arc::new(Inbox::new(IN_FLIGHT_BYTES_MAX));
        let thread = CommitThread::start(Arc::clone(&inbox), {
            let log = Arc::clone(&log);
            move || commit(&inbox, &log, faults)
        });
        let store = Arc::new(Self { log, thread: thread.expect("a thread can be started") });
        let catalog = state.catalog.into_values().collect();
        let opened = Opened { store: Arc::clone(&store) as Arc<dyn Store>, epoch, catalog, queues };
        (store, opened)
    }

    /// Lets held commits go.
    pub fn release(&self) {
        *self.log.held.lock() = false;
        self.log.released.notify_all();
    }

    /// What is committed so far.
    pub fn committed(&self) -> Vec<Batch> {
        self.log.batches.lock().clone()
    }
}

fn commit(inbox: &Inbox, log: &Log, faults: Faults) {
    let mut number: u64 = 0;
    loop {
        let window = inbox.next_window();
        {
            let mut held = log.held.lock();
            while *held {
                log.released.wait(&mut held);
            }
        }
        let mut pending = window.pending.into_iter();
        while let Some(Pending { batch, on_commit }) = pending.next() {
            number = number.saturating_add(1);
            if faults.fail_at == Some(number) {
                if faults.failed_is_kept {
                    log.batches.lock().push(batch);
                }
                fail(inbox, on_commit, pending);
                return;
            }
            log.batches.lock().push(batch);
            tell(on_commit, Ok(Position(number)));
        }
        if window.last {
            inbox.refuse(StoreState::Closed, Arc::from("it was closed"));
            return;
        }
    }
}

fn fail(inbox: &Inbox, failed: OnCommit, rest: impl Iterator<Item = Pending>) {
    let why: Arc<str> = Arc::from("a fault was scripted");
    inbox.refuse(StoreState::Failed(Arc::clone(&why)), Arc::clone(&why));
    tell(failed, Err(AppendError::Unknown(Arc::clone(&why))));
    tell_closed(rest, &why);
}

impl Store for MemoryStore {
    fn append(&self, batch: Batch, on_commit: OnCommit) {
        self.thread.inbox().append(batch, on_commit);
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.thread.inbox().state()
    }

    fn close(&self) {
        self.release();
        self.thread.inbox().close();
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::store::definition::{CatalogChange, Definition, VhostDefinition};
    use crate::store::record::Record;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn append(store: &MemoryStore, name: &str) -> Receiver<Result<Position, AppendError>> {
        let vhost = Definition::Vhost(VhostDefinition { name: name.to_owned() });
        let (sender, receiver) = channel();
        let answer = move |outcome| sender.send(outcome).expect("the test listens");
        store.append(vec![Record::Catalog(CatalogChange::Put(vhost))], Box::new(answer));
        receiver
    }

    fn outcome(answer: &Receiver<Result<Position, AppendError>>) -> Result<Position, AppendError> {
        answer.recv_timeout(DEADLINE).expect("an answer in time")
    }

    fn vhosts(opened: &Opened) -> Vec<&str> {
        let mut names: Vec<&str> = opened
            .catalog
            .iter()
            .filter_map(|definition| match definition {
                Definition::Vhost(vhost) => Some(vhost.name.as_str()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_scripted_append_fails_and_all_after_it_are_refused() {
        for failed_is_kept in [false, true] {
            let faults = Faults { fail_at: Some(2), failed_is_kept, ..Faults::default() };
            let (store, _) = MemoryStore::open(faults);
            let answers = ["a", "b", "c"].map(|name| append(&store, name));
            assert!(outcome(&answers[0]).is_ok());
            assert!(matches!(outcome(&answers[1]), Err(AppendError::Unknown(_))));
            assert!(matches!(outcome(&answers[2]), Err(AppendError::Closed(_))));
            assert!(matches!(*store.state().borrow(), StoreState::Failed(_)));
            let (_, opened) = store.reopen(Epoch(2), Faults::default());
            let expected: &[&str] = if failed_is_kept { &["a", "b"] } else { &["a"] };
            assert_eq!(vhosts(&opened), expected);
        }
    }

    #[test]
    fn held_appends_are_lost_until_they_are_released() {
        let (store, _) = MemoryStore::open(Faults { hold: true, ..Faults::default() });
        let answer = append(&store, "a");
        assert!(answer.try_recv().is_err());
        assert!(vhosts(&store.reopen(Epoch(2), Faults::default()).1).is_empty());
        store.release();
        assert!(outcome(&answer).is_ok());
        assert_eq!(vhosts(&store.reopen(Epoch(2), Faults::default()).1), ["a"]);
    }
}
