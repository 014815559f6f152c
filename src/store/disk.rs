//! The store on disk: opening a data directory, and the threads that serve it.
//!
//! ```text
//! DIR/lock       held by the process that has the directory open
//! DIR/log/       segments, see `segment.rs`
//! DIR/catalog/   sled, see `catalog.rs`
//! ```

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::catalog::{Catalog, Kept};
use super::commit_thread::CommitThread;
use super::committer::Committer;
use super::encoding::put_batch;
use super::inbox::Inbox;
use super::recovery::{Recovered, recover};
use super::segment::{Segment, sync_directory};
use super::upkeep::Upkeep;
use super::{Batch, Epoch, OnCommit, OpenError, Opened, Store, StoreSettings, StoreState};
use crate::protocol::gather::Gather;

pub(super) struct DiskStore {
    thread: CommitThread,
    /// Ends after the last commit, and with it the lock of the directory.
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

/// Opens a data directory, which is created when it isn't there. Blocks until it is read and can be
/// written.
pub fn open(directory: &Path, settings: &StoreSettings) -> Result<Opened, OpenError> {
    let log = directory.join("log");
    std::fs::create_dir_all(&log).map_err(|error| {
        OpenError::new(format!(
            "cannot create the data directory {}: {error}; choose another one with --data-dir or make \
             its parent writable",
            directory.display()
        ))
    })?;
    sync_names(directory).map_err(|error| {
        OpenError::new(format!(
            "cannot make the data directory {} durable: {error}; choose another one with --data-dir",
            directory.display()
        ))
    })?;
    let lock = lock(directory)?;
    let (catalog, kept) = open_catalog(directory)?;
    let recovered = recover(&log, kept)?;
    let epoch = Epoch(recovered.last_epoch.saturating_add(1));
    begin(log, settings, catalog, recovered, epoch, lock)
}

/// Makes the names durable that lead to what is written: those in the directory and its own.
fn sync_names(directory: &Path) -> io::Result<()> {
    let directory = directory.canonicalize()?;
    sync_directory(&directory)?;
    match directory.parent().map(sync_directory) {
        // It may be somebody else's, who made the directory for us.
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(|error| {
        OpenError::new(format!(
            "cannot write in the data directory {}: {error}; give this user the right to, or choose \
             another one with --data-dir",
            directory.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(format!(
            "the data directory {} is in use by another ferrymq process; stop that one, or choose \
             another directory with --data-dir",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(OpenError::new(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// Opens sled. When it can't be, it is put aside and begun anew: the log says everything again.
fn open_catalog(directory: &Path) -> Result<(Catalog, Kept), OpenError> {
    let path = directory.join("catalog");
    let why = match Catalog::open(&path) {
        Ok(opened) => return Ok(opened),
        Err(why) => why,
    };
    let aside = directory.join("catalog.damaged");
    tracing::error!(
        catalog = %path.display(),
        aside = %aside.display(),
        why,
        "the catalog can't be opened: it is put aside and rebuilt from the log"
    );
    let moved = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::rename(&path, &aside),
    };
    moved.map_err(|error| {
        OpenError::new(format!("cannot put {} aside: {error}; remove it", path.display()))
    })?;
    Catalog::open(&path).map_err(|why| {
        OpenError::new(format!("cannot create a catalog in {}: {why}", path.display()))
    })
}

fn begin(
    log: PathBuf,
    settings: &StoreSettings,
    catalog: Catalog,
    recovered: Recovered,
    epoch: Epoch,
    lock: File,
) -> Result<Opened, OpenError> {
    let Recovered { state, queues, segments, last_segment, last_position, .. } = recovered;
    let position = last_position.saturating_add(1);
    let number = last_segment.saturating_add(1);
    let segment =
        begin_segment(&log, number, epoch, position, &state.snapshot()).map_err(|error| {
            OpenError::new(format!(
                "cannot write the log in {}: {error}; make room or give this user the right to",
                log.display()
            ))
        })?;
    let definitions = state.catalog.values().cloned().collect();
    let inbox = Arc::new(Inbox::new(settings.in_flight_bytes_max));
    let (orders, upkeep) = Upkeep::new(catalog, log.clone(), lock);
    let committer = Committer {
        inbox: Arc::clone(&inbox),
        directory: log,
        epoch,
        segment_size_bytes: settings.segment_size_bytes,
        segment,
        sealed: segments,
        state,
        next_position: position.saturating_add(1),
        orders,
    };
    let no_thread = |error| OpenError::new(format!("cannot start a thread: {error}"));
    let upkeep = std::thread::Builder::new()
        .name("store-upkeep".to_owned())
        .spawn(move || upkeep.run())
        .map_err(no_thread)?;
    let thread = CommitThread::start(inbox, move || committer.run()).map_err(no_thread)?;
    let store = Arc::new(DiskStore { thread, upkeep: Mutex::new(Some(upkeep)) });
    Ok(Opened { store, epoch, catalog: definitions, queues })
}

/// The first segment of a run says again all that was found, before anything is served.
fn begin_segment(
    log: &Path,
    number: u64,
    epoch: Epoch,
    position: u64,
    snapshot: &[super::encoding::LogRecord],
) -> io::Result<Segment> {
    let mut segment = Segment::create(log, number, epoch.0)?;
    let mut out = Gather::default();
    put_batch(&mut out, &mut Gather::default(), segment.salt, position, snapshot);
    segment.append(&mut out)?;
    segment.sync()?;
    Ok(segment)
}

impl Store for DiskStore {
    fn append(&self, batch: Batch, on_commit: OnCommit) {
        self.thread.inbox().append(batch, on_commit);
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.thread.inbox().state()
    }

    fn close(&self) {
        self.thread.inbox().close();
        if let Some(upkeep) = self.upkeep.lock().take() {
            // When sled has panicked it said so; the log is whole without it.
            let _ = upkeep.join();
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // A callback that held the last reference can't wait for itself; the thread ends on its
        // own.
        if !self.thread.is_current() {
            self.close();
        }
    }
}
