//! How far a queue's stored messages may be delivered: the delivery mark.
//!
//! A stored message may only be taken once the log says that it may have been delivered (or says so
//! in the batch that brings the message itself), so that after a crash no delivered message comes
//! back without the redelivered flag. Owned by the queue's state.

use crate::store::record::Seq;

/// Most messages that one delivery mark covers beyond what can be delivered now.
const MARK_AHEAD_MAX: u64 = 16_384;

/// So many marks in a row cover nothing but what is delivered: only a queue that is really being
/// drained pays for its speed with flags on messages that nobody has seen.
const MARKS_EXACT: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Mark {
    /// Stored messages up to here may be delivered.
    upto: Seq,
    /// The mark that was asked for and is not yet on disk.
    asked: Option<Seq>,
    /// Marks asked for since the queue was empty last.
    in_a_row: u32,
}

impl Mark {
    pub(super) fn covers(&self, seq: Seq) -> bool {
        seq <= self.upto
    }

    /// The log says it, or will say it with the messages themselves.
    pub(super) fn reach(&mut self, upto: Seq) {
        self.upto = self.upto.max(upto);
    }

    /// The mark to write so that `wanted` more messages can be delivered, of which `ahead` answers
    /// the number of the last of so many that there are; none while one is on its way. While a
    /// queue is being drained, marks reach further and further ahead, so that a long drain does
    /// not wait for the disk each time.
    pub(super) fn ask(
        &mut self,
        wanted: u64,
        ahead: impl FnOnce(usize) -> Option<Seq>,
    ) -> Option<Seq> {
        if self.asked.is_some() {
            return None;
        }
        let doublings = self.in_a_row.saturating_sub(MARKS_EXACT).min(MARK_AHEAD_MAX.ilog2());
        let reach = wanted.clamp(1, MARK_AHEAD_MAX) + (1 << doublings) - 1;
        let upto = ahead(usize::try_from(reach).unwrap_or(usize::MAX))?;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.asked = Some(upto);
        Some(upto)
    }

    /// The mark that was asked for is on disk (or, when the write failed, will never be).
    pub(super) fn answered(&mut self, written: bool, is_drained: bool) {
        if let Some(upto) = self.asked.take()
            && written
        {
            self.reach(upto);
        }
        if is_drained {
            self.in_a_row = 0;
        }
    }
}
