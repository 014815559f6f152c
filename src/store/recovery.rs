//! What a run left, read back: sled's state, then the log behind it.
//!
//! A torn tail is cut off at the last good batch. Damage elsewhere is reported with file and
//! offset, and what stands behind it is still read.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::catalog::Kept;
use super::encoding::LogRecord;
use super::ledger::SegmentNumber;
use super::record::{QueueId, Record, Seq, SeqRange};
use super::segment::{self, ReadBatch, SegmentContent, SegmentError};
use super::state::LogState;
use super::{OpenError, RecoveredQueue};
use crate::protocol::message::Message;

/// Messages by queue and sequence number.
type Messages = HashMap<QueueId, BTreeMap<Seq, Arc<Message>>>;

/// What was found.
pub(super) struct Recovered {
    pub(super) state: LogState,
    pub(super) queues: Vec<RecoveredQueue>,
    pub(super) segments: Vec<SegmentNumber>,
    pub(super) last_segment: SegmentNumber,
    pub(super) last_position: u64,
    pub(super) last_epoch: u32,
}

/// The fold over what is read, and the messages it brings.
pub(super) struct Replay {
    state: LogState,
    messages: Messages,
    /// Up to here batches were committed, and their definitions are in the state already.
    known_position: u64,
    /// The highest that was read.
    read_position: u64,
}

impl Replay {
    /// Begins with what sled has kept.
    pub(super) fn new(kept: Kept) -> Self {
        let mut state = LogState::recovering();
        for definition in kept.definitions {
            state.put_definition(definition);
        }
        for (queue, ledger) in kept.ledgers {
            state.restore_ledger(queue, ledger);
        }
        let known_position = kept.position;
        Self { state, messages: Messages::new(), known_position, read_position: 0 }
    }

    /// Applies a batch of a segment.
    pub(super) fn batch(&mut self, segment: SegmentNumber, batch: &ReadBatch) {
        let known = batch.position <= self.known_position;
        self.read_position = self.read_position.max(batch.position);
        for record in &batch.records {
            let is_definition =
                matches!(record, LogRecord::Snapshot | LogRecord::Broker(Record::Catalog(_)));
            if known && is_definition {
                continue;
            }
            let messages = &mut self.messages;
            self.state.apply(record, segment, |queue, seq| {
                if let LogRecord::Broker(
                    Record::Enqueue { message, .. } | Record::Move { message, .. },
                ) = record
                {
                    messages.entry(queue).or_default().insert(seq, Arc::clone(message));
                }
            });
            self.forget_settled(record);
        }
    }

    /// Lets go of messages that turn out to be settled, so that a long log with few of them left
    /// takes little memory.
    fn forget_settled(&mut self, record: &LogRecord) {
        let all_upto = |last: Seq| SeqRange { first: Seq(0), last };
        match record {
            LogRecord::QueueState { queue, settled, .. } => self.forget(*queue, settled),
            LogRecord::Broker(Record::Settle { queue, ranges }) => self.forget(*queue, ranges),
            LogRecord::Broker(Record::Purge { queue, upto }) => {
                self.forget(*queue, &[all_upto(*upto)]);
            }
            LogRecord::Broker(Record::Move { from: (queue, seq), .. }) => {
                self.forget(*queue, &[SeqRange { first: *seq, last: *seq }]);
            }
            LogRecord::Broker(Record::DeleteQueue { queue }) => {
                self.messages.remove(queue);
            }
            _ => {}
        }
    }

    fn forget(&mut self, queue: QueueId, ranges: &[SeqRange]) {
        let Some(messages) = self.messages.get_mut(&queue) else { return };
        for range in ranges.iter().filter(|range| range.first <= range.last) {
            while let Some((seq, _)) = messages.range(range.first..=range.last).next() {
                let seq = *seq;
                messages.remove(&seq);
            }
        }
    }

    /// Ends the replay: answers the state, the content of the queues and the last position.
    pub(super) fn finish(mut self) -> (LogState, Vec<RecoveredQueue>, u64) {
        self.state.end_recovery();
        let mut queues = Vec::new();
        for (id, ledger) in &self.state.ledgers {
            let messages = self.messages.remove(id).unwrap_or_default().into_iter().collect();
            let delivered_upto = ledger.delivered_upto();
            queues.push(RecoveredQueue { id: *id, messages, delivered_upto });
        }
        (self.state, queues, self.read_position.max(self.known_position))
    }
}

/// Reads all segments of the log.
pub(super) fn recover(directory: &Path, kept: Kept) -> Result<Recovered, OpenError> {
    let cannot = |what: &str, error: io::Error| {
        OpenError::new(format!("cannot {what} {}: {error}", directory.display()))
    };
    let numbers = segment::list(directory).map_err(|error| cannot("list", error))?;
    let last_segment = numbers.last().copied().unwrap_or(0);
    let mut last_epoch = kept.epoch;
    let mut replay = Replay::new(kept);
    let mut segments = Vec::new();
    for number in numbers {
        let path = segment::path_of(directory, number);
        let is_last = number == last_segment;
        match segment::read(&path, |batch| replay.batch(number, &batch)) {
            Ok(content) => {
                last_epoch = last_epoch.max(content.epoch);
                report_damage(&path, &content, is_last);
                if is_last && content.good_len < content.len {
                    cut(&path, content.good_len)
                        .map_err(|error| cannot("cut a segment in", error))?;
                }
                segments.push(number);
            }
            Err(SegmentError::NewerFormat(version)) => {
                return Err(OpenError::new(format!(
                    "{} has format version {version}, which is newer than this program; start the \
                     version of FerryMQ that wrote it, or a newer one",
                    path.display()
                )));
            }
            Err(SegmentError::Io(error)) => {
                return Err(OpenError::new(format!("cannot read {}: {error}", path.display())));
            }
            Err(SegmentError::Unfinished) => {
                tracing::warn!(file = %path.display(), "an unfinished segment is removed");
                std::fs::remove_file(&path)
                    .map_err(|error| cannot("remove a segment of", error))?;
            }
            Err(SegmentError::DamagedHead) => {
                // It may have begun an epoch, and none may be used again.
                last_epoch = last_epoch.saturating_add(1);
                tracing::error!(
                    file = %path.display(),
                    offset = 0,
                    "the head of a segment is damaged: its messages can't be read; the file is left \
                     alone"
                );
            }
        }
    }
    if replay.read_position < replay.known_position {
        tracing::error!(
            log = %directory.display(),
            found = replay.read_position,
            committed = replay.known_position,
            "the log ends before what was committed: confirmed messages are missing"
        );
    }
    let (state, queues, last_position) = replay.finish();
    Ok(Recovered { state, queues, segments, last_segment, last_position, last_epoch })
}

fn report_damage(path: &Path, content: &SegmentContent, is_last: bool) {
    for damage in &content.damages {
        tracing::error!(
            file = %path.display(),
            offset = damage.offset,
            bytes = damage.len,
            "a part of the log is damaged and passed over"
        );
    }
    let torn = content.len.saturating_sub(content.good_len);
    if torn == 0 {
        return;
    }
    let (file, offset) = (path.display(), content.good_len);
    if is_last {
        tracing::warn!(%file, offset, bytes = torn, "the unfinished end of the log is cut off");
    } else {
        tracing::error!(%file, offset, bytes = torn, "the end of a segment is damaged");
    }
}

fn cut(path: &Path, len: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len as u64)?;
    file.sync_all()
}
