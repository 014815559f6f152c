//! The store on disk: opening a data directory, and the threads that serve it.
//!
//! ```text
//! DIR/lock       held by the process that has the directory open
//! DIR/log/       segments, their indexes and spares, see `segment.rs`, `index.rs`, `spares.rs`
//! DIR/catalog/   sled, see `catalog.rs`
//! DIR/audit/     who changed what, see `audit.rs`
//! ```

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::audit::AuditLog;
use super::catalog::{Catalog, Kept, SledCatalog};
use super::commit_thread::CommitThread;
use super::committer::Committer;
use super::encoding::Encoder;
use super::files::{Directory, Files, sync_directory};
use super::inbox::Inbox;
use super::reader::{LogReader, ReadRequests, Wanted};
use super::record::{QueueId, Seq};
use super::recovery::{Recovered, look, recover};
use super::segment::Segment;
use super::space::SpaceWatch;
use super::spares::Spares;
use super::state::LogState;
use super::upkeep::Upkeep;
use super::vitals::{size_of_directory, size_of_files};
use super::{
    Batch, Epoch, OnCommit, OnRead, OpenError, Opened, READ_EACH_MAX, ReadLimit, Space, Store,
    StoreSettings, StoreState, Usage, Vitals,
};
use crate::protocol::gather::Gather;

pub(super) struct DiskStore {
    thread: CommitThread,
    reads: ReadRequests,
    /// Ends after the last commit, and with it the lock of the directory.
    upkeep: Mutex<Option<JoinHandle<()>>>,
    space: watch::Receiver<Space>,
    vitals: Arc<Vitals>,
    files: Arc<dyn Files>,
    /// Where all of it is, if it is on a disk of the system.
    directory: Option<PathBuf>,
    /// Dropped, it ends the watch over the space.
    _space_watch: Option<SyncSender<()>>,
}

/// What a store stands on.
pub(super) struct Ground {
    pub(super) files: Arc<dyn Files>,
    pub(super) catalog: Box<dyn Catalog>,
    pub(super) space: watch::Sender<Space>,
    /// The directory whose file system is watched, and its lock.
    pub(super) directory: Option<(PathBuf, File)>,
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
    let files: Arc<dyn Files> = Arc::new(Directory(log));
    // Before the catalog is touched: a directory of another version is left as it is.
    let found = look(&*files)?;
    let (catalog, kept) = open_catalog(directory)?;
    let recovered = recover(&*files, &found, kept)?;
    let ground = Ground {
        files,
        catalog: Box::new(catalog),
        space: watch::Sender::new(Space::Enough),
        directory: Some((directory.to_owned(), lock)),
    };
    let audit = open_audit(directory, settings.audit_bytes_max)?;
    Ok(Opened { audit, ..begin(ground, settings, recovered)? })
}

fn open_audit(directory: &Path, size_bytes_max: u64) -> Result<AuditLog, OpenError> {
    if size_bytes_max == 0 {
        return Ok(AuditLog::default());
    }
    let path = directory.join("audit");
    let opened = std::fs::create_dir_all(&path)
        .and_then(|()| sync_directory(directory))
        .and_then(|()| AuditLog::open(Arc::new(Directory(path.clone())), size_bytes_max));
    opened.map_err(|error| {
        OpenError::new(format!(
            "cannot open the audit log in {}: {error}; give this user the right to, or set \
             store.audit_bytes_max to 0",
            path.display()
        ))
    })
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
fn open_catalog(directory: &Path) -> Result<(SledCatalog, Kept), OpenError> {
    let path = directory.join("catalog");
    let why = match SledCatalog::open(&path) {
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
    SledCatalog::open(&path).map_err(|why| {
        OpenError::new(format!("cannot create a catalog in {}: {why}", path.display()))
    })
}

/// Starts to serve what was recovered.
pub(super) fn begin(
    ground: Ground,
    settings: &StoreSettings,
    recovered: Recovered,
) -> Result<Opened, OpenError> {
    let Ground { files, catalog, space, directory } = ground;
    let Recovered { mut state, last_segment, last_position, last_epoch } = recovered;
    let epoch = Epoch(last_epoch.saturating_add(1));
    let position = last_position.saturating_add(1);
    let (segment, encoder) = begin_segment(&*files, last_segment, epoch, position, &mut state)
        .map_err(|error| {
            OpenError::new(format!(
                "cannot write the log in {}: {error}; make room or give this user the right to",
                files.described("").display()
            ))
        })?;
    let sealed = state.seal_all_but(segment.number);
    let (definitions, queues) = (state.catalog.values().cloned().collect(), state.queues());
    let state = Arc::new(Mutex::new(state));
    let inbox = Arc::new(Inbox::new(settings.in_flight_bytes_max));
    let spares = Arc::new(Spares::new(&files, settings, space.subscribe()));
    let (orders, upkeep) = Upkeep::new(
        catalog,
        Arc::clone(&files),
        Arc::clone(&state),
        Arc::clone(&inbox),
        Arc::clone(&spares),
        settings,
    );
    let vitals = Arc::new(Vitals::default());
    let (reads, reader) =
        LogReader::new(Arc::clone(&files), Arc::clone(&state), Arc::clone(&vitals));
    let committer = Committer {
        inbox: Arc::clone(&inbox),
        files: Arc::clone(&files),
        vitals: Arc::clone(&vitals),
        epoch,
        segment_size_bytes: settings.segment_size_bytes,
        segment,
        encoder,
        state,
        sealed,
        last_position: position,
        unsaved_bytes: 0,
        withholds: false,
        orders,
        spares,
    };
    let (room, lock) = (space.subscribe(), directory);
    let directory = lock.as_ref().map(|(path, _)| path.clone());
    let space_watch = match &directory {
        Some(directory) => {
            watch_space(directory.clone(), settings.disk_free_limit_bytes, &inbox, space)?
        }
        None => None,
    };
    let upkeep = spawn("store-upkeep", move || {
        upkeep.run();
        drop(lock);
    })?;
    spawn("store-read", move || reader.run())?;
    // What the last run left to do is begun with.
    inbox.nudge();
    let thread = CommitThread::start(inbox, move || committer.run()).map_err(no_thread)?;
    let store = DiskStore {
        thread,
        reads,
        upkeep: Mutex::new(Some(upkeep)),
        space: room,
        vitals,
        files,
        directory,
        _space_watch: space_watch,
    };
    let (store, audit) = (Arc::new(store), AuditLog::default());
    Ok(Opened { store, audit, epoch, catalog: definitions, queues })
}

/// Unless there is no limit.
fn watch_space(
    directory: PathBuf,
    limit_bytes: u64,
    inbox: &Arc<Inbox>,
    space: watch::Sender<Space>,
) -> Result<Option<SyncSender<()>>, OpenError> {
    if limit_bytes == 0 {
        return Ok(None);
    }
    let (sender, end) = sync_channel(1);
    let watch = SpaceWatch { directory, limit_bytes, inbox: Arc::clone(inbox), space };
    spawn("store-space", move || watch.run(&end))?;
    Ok(Some(sender))
}

fn no_thread(error: io::Error) -> OpenError {
    OpenError::new(format!("cannot start a thread: {error}"))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(no_thread)
}

/// The first segment of a run says again all that was found, before anything is served.
pub(super) fn begin_segment(
    files: &dyn Files,
    last: u64,
    epoch: Epoch,
    position: u64,
    state: &mut LogState,
) -> io::Result<(Segment, Encoder)> {
    let mut segment = Segment::create(files, last.saturating_add(1), epoch.0, None)?;
    let (mut out, mut encoder) = (Gather::default(), Encoder::new(segment.salt));
    let (len, snapshot) = (segment.len, state.snapshot());
    encoder.put_batch(&mut out, len, position, &snapshot, &mut Vec::new())?;
    segment.begin(&mut out)?;
    state.begin_segment(segment.number, segment.salt);
    state.wrote(segment.number, segment.len, position);
    Ok((segment, encoder))
}

impl Store for DiskStore {
    fn append(&self, batch: Batch, on_commit: Option<OnCommit>) {
        self.thread.inbox().append(batch, on_commit);
    }

    fn read(&self, queue: QueueId, from: Seq, limit: ReadLimit, on_read: OnRead) {
        self.reads.ask(queue, Wanted::From(from, limit), on_read);
    }

    fn read_each(&self, queue: QueueId, mut seqs: Vec<Seq>, on_read: OnRead) {
        seqs.truncate(READ_EACH_MAX);
        self.reads.ask(queue, Wanted::Each(seqs), on_read);
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.thread.inbox().state()
    }

    fn space(&self) -> watch::Receiver<Space> {
        self.space.clone()
    }

    fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    fn usage(&self) -> io::Result<Usage> {
        let in_flight_bytes = self.thread.inbox().in_flight_bytes();
        let size_bytes = match &self.directory {
            Some(directory) => size_of_directory(directory)?,
            None => size_of_files(&*self.files)?,
        };
        Ok(Usage { size_bytes, in_flight_bytes })
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
