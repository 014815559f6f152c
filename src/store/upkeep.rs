//! What can be done beside the confirms: sled kept up to date, indexes written, segments without
//! messages removed or kept as spares, segments with few of them rewritten.
//!
//! One thread, one piece of work at a time; while it is busy, changes gather in the fold. Owner of
//! the catalog.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::carry::carry;
use super::catalog::{Catalog, Checkpoint};
use super::files::Files;
use super::inbox::Inbox;
use super::index::SegmentIndex;
use super::index_file;
use super::ledger::SegmentNumber;
use super::spares::Spares;
use super::state::LogState;
use super::{StoreSettings, segment};
use crate::protocol::gather::Gather;

/// A segment is short when it has less than one in so many parts of its full length.
const SHORT: u64 = 16;

/// A spare that wasn't needed for so long goes.
const SPARES_KEPT_FOR: Duration = Duration::from_secs(60);

/// A piece of work, in its order.
pub(super) struct Work {
    /// Segments that are full: their indexes go to their files.
    pub(super) sealed: Vec<(SegmentNumber, Arc<SegmentIndex>)>,
    pub(super) checkpoint: Checkpoint,
    /// Segments without messages; what else they say is said again, durably, by a later one.
    pub(super) empty: Vec<SegmentNumber>,
}

/// The committer's end.
pub(super) struct Orders {
    work: SyncSender<Work>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    busy: AtomicBool,
    /// There is more to do when it isn't busy any more.
    wanted: AtomicBool,
}

impl Orders {
    /// Whether work can be given now. If not, the committer is woken when it can.
    pub(super) fn wants(&self) -> bool {
        // First the wish, then the look: whoever comes second of the two sees the other's.
        self.shared.wanted.store(true, Ordering::SeqCst);
        let is_free = !self.shared.busy.load(Ordering::SeqCst);
        if is_free {
            self.shared.wanted.store(false, Ordering::SeqCst);
        }
        is_free
    }

    /// Gives work. Never waits when it is not busy, and at the end.
    pub(super) fn give(&self, work: Work) {
        self.shared.busy.store(true, Ordering::SeqCst);
        // Nobody takes it when sled has panicked: the log goes on without it.
        let _ = self.work.send(work);
    }
}

/// The thread's end.
pub(super) struct Upkeep {
    pub(super) catalog: Box<dyn Catalog>,
    pub(super) files: Arc<dyn Files>,
    pub(super) state: Arc<Mutex<LogState>>,
    /// Where messages of rewritten segments go.
    pub(super) inbox: Arc<Inbox>,
    /// Where segments without messages go.
    spares: Arc<Spares>,
    /// How often it looks for segments to be rewritten.
    look_every: Duration,
    /// Segments that a stop has left shorter than this are rewritten as well.
    short_len: u64,
    work: Receiver<Work>,
    shared: Arc<Shared>,
}

impl Upkeep {
    pub(super) fn new(
        catalog: Box<dyn Catalog>,
        files: Arc<dyn Files>,
        state: Arc<Mutex<LogState>>,
        inbox: Arc<Inbox>,
        spares: Arc<Spares>,
        settings: &StoreSettings,
    ) -> (Orders, Self) {
        let (look_every, short_len) = (settings.rewrite_after, settings.segment_size_bytes / SHORT);
        // One piece while it isn't busy and the last one: the committer never waits.
        let (sender, work) = sync_channel(2);
        let shared = Arc::<Shared>::default();
        let orders = Orders { work: sender, shared: Arc::clone(&shared) };
        let upkeep =
            Self { catalog, files, state, inbox, spares, look_every, short_len, work, shared };
        (orders, upkeep)
    }

    /// Runs until the committer has ended.
    pub(super) fn run(self) {
        let (mut catalog_failed, mut looked, mut tidied) = (false, Instant::now(), Instant::now());
        // Segments to be rewritten: one between two pieces of work.
        let mut pinned = VecDeque::new();
        loop {
            let wait = match pinned.is_empty() {
                true => self.look_every.saturating_sub(looked.elapsed()),
                false => Duration::ZERO,
            };
            match self.work.recv_timeout(wait) {
                Ok(work) => {
                    self.do_work(work, &mut catalog_failed);
                    self.shared.busy.store(false, Ordering::SeqCst);
                    if self.shared.wanted.swap(false, Ordering::SeqCst) {
                        self.inbox.nudge();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.spares.remove(),
            }
            if pinned.is_empty() && looked.elapsed() >= self.look_every {
                self.spares.make_room();
                pinned = self.pinned();
                looked = Instant::now();
            }
            if tidied.elapsed() >= SPARES_KEPT_FOR {
                self.spares.remove_unused();
                tidied = Instant::now();
            }
            if let Some(number) = pinned.pop_front() {
                self.rewrite(number);
            }
        }
    }

    fn do_work(&self, work: Work, catalog_failed: &mut bool) {
        let Work { sealed, checkpoint, empty } = work;
        for (number, index) in sealed {
            let facts = self.state.lock().segments.get(&number).map(|segment| segment.facts);
            let Some(facts) = facts else { continue };
            match write_index(&*self.files, number, &index, facts.salt, facts.len) {
                Ok(()) => self.state.lock().index_written(number),
                Err(error) => tracing::warn!(
                    file = %self.files.described(&segment::index_file_name(number)).display(),
                    %error,
                    "an index can't be written: it stays in memory"
                ),
            }
        }
        if !*catalog_failed && let Err(error) = self.catalog.write(&checkpoint) {
            *catalog_failed = true;
            tracing::error!(
                %error,
                "the catalog can't be written; the next start reads more of the log"
            );
        }
        empty.into_iter().for_each(|number| self.remove(number));
    }

    /// The index goes first: one without its segment means nothing, a segment without its index
    /// would have to be read.
    fn remove(&self, number: SegmentNumber) {
        self.remove_file(&segment::index_file_name(number));
        match self.spares.keep(number) {
            Ok(true) => tracing::debug!(segment = number, "kept a segment to be written over"),
            Ok(false) => {
                self.remove_file(&segment::file_name(number));
                tracing::debug!(segment = number, "removed a segment without messages");
            }
            Err(error) => {
                tracing::warn!(segment = number, %error, "a segment can't be kept as a spare");
                self.remove_file(&segment::file_name(number));
            }
        }
    }

    fn remove_file(&self, name: &str) {
        match self.files.remove(name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                file = %self.files.described(name).display(),
                %error,
                "a file without messages can't be removed; the next start tries again"
            ),
        }
    }

    fn pinned(&self) -> VecDeque<SegmentNumber> {
        let mut state = self.state.lock();
        let active = state.segments.keys().next_back().copied().unwrap_or(0);
        state.pinned(active, self.short_len)
    }

    fn rewrite(&self, number: SegmentNumber) {
        if let Err(error) = carry(&*self.files, &self.state, &self.inbox, number) {
            tracing::warn!(
                segment = number,
                %error,
                "a segment with few messages can't be rewritten: it stays as it is"
            );
        }
    }
}

/// Writes the index of a segment in the place of one that is there.
pub(super) fn write_index(
    files: &dyn Files,
    number: SegmentNumber,
    index: &SegmentIndex,
    salt: u64,
    segment_len: u64,
) -> io::Result<()> {
    let name = segment::index_file_name(number);
    match files.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = Gather::default();
    out.buffer().extend_from_slice(&index_file::encode(index, salt, segment_len));
    let mut file = files.create(&name)?;
    file.append(&mut out)?;
    file.sync()
}
