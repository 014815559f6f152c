//! Group commit: one thread writes windows of batches, makes each durable with one fdatasync and
//! tells everybody in it.
//!
//! ```text
//!   inbox ──window──▶ cancel ──▶ encode ──▶ write ──▶ fdatasync ──▶ on_commit, fold ──▶ next
//! ```
//!
//! Owner of the active segment; the only one who changes the fold over the log. A failed write or
//! fsync is final: what was on its way has an unknown outcome, and nothing more is taken.

use std::io;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use parking_lot::Mutex;

use super::cancel::cancel_pairs;
use super::catalog::Checkpoint;
use super::encoding::{Encoder, LogRecord};
use super::files::Files;
use super::inbox::{Inbox, Pending, tell, tell_closed};
use super::index::{Place, SegmentIndex};
use super::ledger::SegmentNumber;
use super::segment::Segment;
use super::spares::Spares;
use super::state::LogState;
use super::upkeep::{Orders, Work};
use super::{AppendError, Committed, Epoch, OnCommit, Position, StoreState, Vitals};
use crate::protocol::gather::Gather;

/// Log that has to be written before a checkpoint, for each queue that it has to say something of:
/// with many busy queues a checkpoint costs more than the log itself.
const LOG_PER_LEDGER: u64 = 16 * 1024;

/// And however many they are, a checkpoint comes after so many segments: a start reads no more.
const UNSAVED_SEGMENTS_MAX: u64 = 4;

/// A checkpoint that isn't worth its cost yet comes when nothing was written for so long.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// The write buffer that is kept between windows.
const BUFFER_KEPT_MAX: usize = 1024 * 1024;

pub(super) struct Committer {
    pub(super) inbox: Arc<Inbox>,
    pub(super) files: Arc<dyn Files>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) epoch: Epoch,
    pub(super) segment_size_bytes: u64,
    pub(super) segment: Segment,
    pub(super) encoder: Encoder,
    pub(super) state: Arc<Mutex<LogState>>,
    /// Segments that are full and whose indexes are still to be written.
    pub(super) sealed: Vec<(SegmentNumber, Arc<SegmentIndex>)>,
    pub(super) last_position: u64,
    /// What was written since the last checkpoint.
    pub(super) unsaved_bytes: u64,
    /// There is work that isn't worth its cost yet.
    pub(super) withholds: bool,
    pub(super) orders: Orders,
    pub(super) spares: Arc<Spares>,
}

/// Batches that go to the disk together, and where their messages are.
#[derive(Default)]
struct Group {
    batches: Vec<(u64, Vec<LogRecord>)>,
    callbacks: Vec<Option<OnCommit>>,
    places: Vec<Place>,
}

type Batches = Peekable<IntoIter<Pending>>;

impl Committer {
    /// Runs until the store is closed or fails.
    pub(super) fn run(mut self) {
        let mut out = Gather::default();
        loop {
            let mut window = self.inbox.next_window(self.withholds.then_some(IDLE_WAIT));
            let is_idle = window.pending.is_empty();
            cancel_pairs(&mut window.pending);
            let mut batches = window.pending.into_iter().peekable();
            while batches.peek().is_some() {
                let mut group = Group::default();
                match self.write(&mut batches, &mut group, &mut out) {
                    Ok(()) => self.commit(group),
                    Err(error) => return self.fail(&error, group.callbacks, batches),
                }
            }
            out.shrink(BUFFER_KEPT_MAX);
            if let Err(error) = self.tidy(window.last, is_idle) {
                return self.fail(&error, Vec::new(), batches);
            }
            if window.last {
                return self.end();
            }
        }
    }

    /// Writes as many batches as the segment takes and makes them durable.
    fn write(
        &mut self,
        batches: &mut Batches,
        group: &mut Group,
        out: &mut Gather,
    ) -> io::Result<()> {
        if self.is_full() {
            self.roll()?;
        }
        let room = self.segment_size_bytes.saturating_sub(self.segment.written());
        while (out.len() as u64) < room
            && let Some(Pending { batch, on_commit }) = batches.next()
        {
            group.callbacks.push(on_commit);
            if !batch.is_empty() {
                self.encode(&batch, group, out)?;
            }
            group.batches.push((self.last_position, batch));
        }
        if out.is_empty() {
            return Ok(());
        }
        let len = out.len() as u64;
        self.unsaved_bytes = self.unsaved_bytes.saturating_add(len);
        self.segment.append(out)?;
        let written = Instant::now();
        self.segment.sync()?;
        self.vitals.sync.record(written.elapsed());
        self.vitals.writes.fetch_add(1, Ordering::Relaxed);
        self.vitals.written_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn encode(
        &mut self,
        batch: &[LogRecord],
        group: &mut Group,
        out: &mut Gather,
    ) -> io::Result<()> {
        self.last_position = self.last_position.saturating_add(1);
        let (base, position) = (self.segment.len, self.last_position);
        self.encoder.put_batch(out, base, position, batch, &mut group.places)
    }

    /// Applies what was written and then tells everybody: who was told of a commit and reads finds
    /// it.
    fn commit(&mut self, group: Group) {
        let Group { batches, callbacks, places } = group;
        self.apply(&batches, places);
        let alone = callbacks.iter().flatten().count() == 1;
        for ((position, _), on_commit) in batches.iter().zip(callbacks) {
            tell(on_commit, Ok(Committed { position: Position(*position), alone }));
        }
    }

    fn apply(&self, batches: &[(u64, Vec<LogRecord>)], places: Vec<Place>) {
        let (number, len) = (self.segment.number, self.segment.len);
        let mut state = self.state.lock();
        let mut places = places.into_iter();
        for record in batches.iter().flat_map(|(_, records)| records) {
            let place = record.message().and_then(|_| places.next());
            state.apply(record, number, place);
        }
        state.wrote(number, len, self.last_position);
    }

    fn is_full(&self) -> bool {
        self.segment.written() >= self.segment_size_bytes
    }

    /// After a window: work for the upkeep, and all of it at the end.
    fn tidy(&mut self, last: bool, is_idle: bool) -> io::Result<()> {
        if last {
            self.segment.finish()?;
            let index = self.state.lock().seal(self.segment.number);
            self.sealed.extend(index.map(|index| (self.segment.number, index)));
            self.give_work();
            return Ok(());
        }
        if self.is_full() {
            self.roll()?;
        }
        let (is_due, cost) = {
            let state = self.state.lock();
            let is_due =
                !self.sealed.is_empty() || state.has_empty() || state.has_changed_definitions();
            (is_due, LOG_PER_LEDGER.saturating_mul(state.changed_queues() as u64))
        };
        let cost_max = UNSAVED_SEGMENTS_MAX.saturating_mul(self.segment_size_bytes);
        let is_worth = is_idle || self.unsaved_bytes >= cost.min(cost_max);
        self.withholds = is_due && !is_worth;
        if is_due && is_worth && self.orders.wants() {
            self.give_work();
        }
        Ok(())
    }

    /// Begins a segment. It begins with all that the segments before it say, but for the messages,
    /// so that those without messages can go.
    fn roll(&mut self) -> io::Result<()> {
        let full = self.segment.number;
        self.segment.finish()?;
        let (number, spare) = (full.saturating_add(1), self.spares.take());
        let next = Segment::create(&*self.files, number, self.epoch.0, spare)?;
        let snapshot = self.state.lock().snapshot();
        let salt = next.salt;
        (self.segment, self.encoder) = (next, Encoder::new(salt));
        self.last_position = self.last_position.saturating_add(1);
        let mut out = Gather::default();
        let (base, position) = (self.segment.len, self.last_position);
        self.encoder.put_batch(&mut out, base, position, &snapshot, &mut Vec::new())?;
        self.segment.begin(&mut out)?;
        let mut state = self.state.lock();
        state.begin_segment(number, salt);
        state.wrote(number, self.segment.len, position);
        let index = state.seal(full);
        drop(state);
        self.sealed.extend(index.map(|index| (full, index)));
        Ok(())
    }

    /// Has indexes written, sled told what has changed, and segments without messages removed.
    /// Their settles are in the window that was just synced, all else they say is at the head of
    /// the active segment.
    fn give_work(&mut self) {
        let mut state = self.state.lock();
        let empty = state.take_empty(self.segment.number);
        let (position, epoch) = (self.last_position, self.epoch);
        let checkpoint = Checkpoint { position, epoch, changes: state.take_changes() };
        drop(state);
        self.unsaved_bytes = 0;
        let sealed = std::mem::take(&mut self.sealed);
        self.orders.give(Work { sealed, checkpoint, empty });
    }

    fn end(self) {
        self.inbox.refuse(StoreState::Closed, Arc::from("it was closed"));
    }

    fn fail(self, error: &io::Error, unknown: Vec<Option<OnCommit>>, unwritten: Batches) {
        let why: Arc<str> = Arc::from(format!("writing the log failed: {error}"));
        tracing::error!(
            segment = self.segment.number,
            offset = self.segment.len,
            %error,
            "the log can't be written: nothing is confirmed any more; restart after the cause is mended"
        );
        self.inbox.refuse(StoreState::Failed(Arc::clone(&why)), Arc::clone(&why));
        for on_commit in unknown {
            tell(on_commit, Err(AppendError::Unknown(Arc::clone(&why))));
        }
        tell_closed(unwritten, &why);
    }
}
