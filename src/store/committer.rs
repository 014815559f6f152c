//! Group commit: one thread writes windows of batches, makes each durable with one fdatasync and
//! tells everybody in it.
//!
//! ```text
//!   inbox ──window──▶ encode ──▶ write ──▶ fdatasync ──▶ on_commit ──▶ fold ──▶ next window
//! ```
//!
//! Owner of the active segment and of the fold over the log. A failed write or fsync is final: what
//! was on its way has an unknown outcome, and nothing more is taken.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Checkpoint;
use super::encoding::{LogRecord, put_batch};
use super::inbox::{Inbox, Pending, tell};
use super::ledger::SegmentNumber;
use super::segment::Segment;
use super::state::LogState;
use super::upkeep::{Orders, Work};
use super::{AppendError, Epoch, OnCommit, Position, StoreState};
use crate::protocol::gather::Gather;

/// The write buffer that is kept between windows.
const BUFFER_KEPT_MAX: usize = 1024 * 1024;

pub(super) struct Committer {
    pub(super) inbox: Arc<Inbox>,
    pub(super) directory: PathBuf,
    pub(super) epoch: Epoch,
    pub(super) segment_size_bytes: u64,
    pub(super) segment: Segment,
    /// Older segments that hold messages, or did.
    pub(super) sealed: Vec<SegmentNumber>,
    pub(super) state: LogState,
    pub(super) next_position: u64,
    pub(super) orders: Orders,
}

impl Committer {
    /// Runs until the store is closed or fails.
    pub(super) fn run(mut self) {
        let (mut out, mut scratch) = (Gather::default(), Gather::default());
        loop {
            let window = self.inbox.next_window();
            let (batches, callbacks): (Vec<_>, Vec<_>) = window
                .pending
                .into_iter()
                .map(|Pending { batch, on_commit }| {
                    (batch.into_iter().map(LogRecord::Broker).collect::<Vec<_>>(), on_commit)
                })
                .unzip();
            let first_position = self.next_position;
            if !batches.is_empty()
                && let Err(error) = self.write(&batches, &mut out, &mut scratch)
            {
                self.fail(&error, callbacks);
                return;
            }
            for (position, on_commit) in (first_position..).zip(callbacks) {
                tell(on_commit, Ok(Position(position)));
            }
            self.fold(&batches);
            out.shrink(BUFFER_KEPT_MAX);
            if let Err(error) = self.tidy(window.last) {
                self.fail(&error, Vec::new());
                return;
            }
            if window.last {
                self.end();
                return;
            }
        }
    }

    fn write(
        &mut self,
        batches: &[Vec<LogRecord>],
        out: &mut Gather,
        scratch: &mut Gather,
    ) -> io::Result<()> {
        for records in batches {
            put_batch(out, scratch, self.segment.salt, self.next_position, records);
            self.next_position = self.next_position.saturating_add(1);
        }
        self.segment.append(out)?;
        self.segment.sync()
    }

    fn fold(&mut self, batches: &[Vec<LogRecord>]) {
        for record in batches.iter().flatten() {
            self.state.apply(record, self.segment.number, |_, _| {});
        }
    }

    /// After a window: a new segment when this one is full, and work for the upkeep.
    fn tidy(&mut self, last: bool) -> io::Result<()> {
        let full = self.segment.len >= self.segment_size_bytes;
        if full && !last {
            self.roll()?;
        }
        let state = &self.state;
        let has_empty = self.sealed.iter().any(|number| !state.lives_in(*number));
        let is_due = full || has_empty || state.has_changed_definitions();
        if last || (is_due && !self.orders.is_busy()) {
            self.give_work();
        }
        Ok(())
    }

    /// Begins a segment. It begins with all that the segments before it say, but for the messages,
    /// so that those without messages can go.
    fn roll(&mut self) -> io::Result<()> {
        let number = self.segment.number.saturating_add(1);
        let next = Segment::create(&self.directory, number, self.epoch.0)?;
        self.sealed.push(self.segment.number);
        self.segment = next;
        let snapshot = self.state.snapshot();
        self.write(&[snapshot], &mut Gather::default(), &mut Gather::default())
    }

    /// Has sled told what has changed and segments without messages removed. Their settles are in
    /// the window that was just synced, all else they say is at the head of the active segment.
    fn give_work(&mut self) {
        let state = &self.state;
        let (empty, sealed): (Vec<_>, Vec<_>) =
            self.sealed.drain(..).partition(|number| !state.lives_in(*number));
        self.sealed = sealed;
        let position = self.next_position.saturating_sub(1);
        let changes = self.state.take_changes();
        let checkpoint = Checkpoint { position, epoch: self.epoch, changes };
        self.orders.give(Work { checkpoint, empty });
    }

    fn end(self) {
        self.inbox.refuse(StoreState::Closed, Arc::from("it was closed"));
    }

    fn fail(self, error: &io::Error, callbacks: Vec<OnCommit>) {
        let why: Arc<str> = Arc::from(format!("writing the log failed: {error}"));
        tracing::error!(
            segment = self.segment.number,
            offset = self.segment.len,
            %error,
            "the log can't be written: nothing is confirmed any more; restart after the cause is mended"
        );
        self.inbox.refuse(StoreState::Failed(Arc::clone(&why)), Arc::clone(&why));
        for on_commit in callbacks {
            tell(on_commit, Err(AppendError::Unknown(Arc::clone(&why))));
        }
    }
}
