//! What can be done beside the confirms: sled kept up to date, segments without messages removed.
//!
//! One thread, one piece of work at a time; while it is busy, changes gather in the fold. Owner of
//! sled and of the directory's lock, because it is the last to write in it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::catalog::{Catalog, Checkpoint};
use super::ledger::SegmentNumber;
use super::segment;

/// A piece of work.
pub(super) struct Work {
    pub(super) checkpoint: Checkpoint,
    /// Segments without messages; what else they say is said again, durably, by a later one.
    pub(super) empty: Vec<SegmentNumber>,
}

/// The committer's end.
pub(super) struct Orders {
    work: SyncSender<Work>,
    busy: Arc<AtomicBool>,
}

impl Orders {
    /// Whether work that is given now would have to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Gives work; waits when it is busy.
    pub(super) fn give(&self, work: Work) {
        self.busy.store(true, Ordering::Release);
        // Nobody takes it when sled has panicked: the log goes on without it.
        let _ = self.work.send(work);
    }
}

/// The thread's end.
pub(super) struct Upkeep {
    catalog: Catalog,
    log: PathBuf,
    work: Receiver<Work>,
    busy: Arc<AtomicBool>,
    _lock: File,
}

impl Upkeep {
    pub(super) fn new(catalog: Catalog, log: PathBuf, lock: File) -> (Orders, Self) {
        let (sender, work) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let orders = Orders { work: sender, busy: Arc::clone(&busy) };
        (orders, Self { catalog, log, work, busy, _lock: lock })
    }

    /// Runs until the committer has ended.
    pub(super) fn run(self) {
        let mut catalog_failed = false;
        for Work { checkpoint, empty } in &self.work {
            if !catalog_failed && let Err(error) = self.catalog.write(&checkpoint) {
                catalog_failed = true;
                tracing::error!(
                    %error,
                    "the catalog can't be written; the next start reads more of the log"
                );
            }
            empty.into_iter().for_each(|number| self.remove(number));
            self.busy.store(false, Ordering::Release);
        }
    }

    fn remove(&self, number: SegmentNumber) {
        let path = segment::path_of(&self.log, number);
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::debug!(file = %path.display(), "removed a segment without messages"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                file = %path.display(),
                %error,
                "a segment without messages can't be removed; the next start tries again"
            ),
        }
    }
}
