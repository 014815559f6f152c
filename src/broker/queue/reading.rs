//! What a level asks the log for of its messages that are on disk only, and what comes of it.

use super::entry::{ENTRY_COST, Entry};
use super::lane::{Cold, Lane};
use super::tally::Tally;
use crate::store::record::Seq;
use crate::store::{Page, ReadLimit};

/// What is read to know the next message, where nobody consumes: ten thousand queues do so at
/// once when the broker starts.
pub(super) const NEXT_BYTES: u64 = 8 * 1024;

/// How much to read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// So much that consumers don't wait for the disk.
    Batch,
    /// So much that it is known how old the next one is.
    Next,
}

/// A batch of messages to be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub level: u8,
    pub from: Seq,
    pub limit: ReadLimit,
    /// Tells an answer that came too late, after a purge.
    pub round: u64,
}

/// What a batch that was read back has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Messages that were counted and can't be read.
    pub lost: Tally,
}

impl Lane {
    /// What to read back now, so that the head doesn't run dry; nothing while a batch is being
    /// read.
    pub fn ask_read(&mut self, ahead: Ahead) -> Option<Wanted> {
        let Some(Cold::Paged(paged)) = self.cold.front() else { return None };
        let (bytes, is_enough) = match ahead {
            Ahead::Batch => (self.head_max / 2, self.head_cost > self.head_max / 2),
            Ahead::Next => (NEXT_BYTES.min(self.head_max / 2), self.next().is_some()),
        };
        if self.reading.is_some() || self.unreadable || is_enough {
            return None;
        }
        self.reading = Some(paged.last);
        let count = usize::try_from(bytes / ENTRY_COST).unwrap_or(usize::MAX).max(1);
        let limit = ReadLimit { count, bytes: bytes.max(1) };
        Some(Wanted { level: self.level(), from: paged.first, limit, round: self.read_round })
    }

    /// Takes messages that were read back. `sift` may take one for itself.
    pub fn read(
        &mut self,
        round: u64,
        page: Page,
        mut sift: impl FnMut(Entry) -> Option<Entry>,
    ) -> Read {
        let mut read = Read::default();
        if round != self.read_round {
            return read;
        }
        let Some(asked) = self.reading.take() else { return read };
        let Some(Cold::Paged(mut paged)) = self.cold.pop_front() else { return read };
        let from = paged.first;
        // What was paged out since it was asked may be missing, and is not lost.
        let through = page.through.min(asked);
        for (seq, message) in page.messages {
            if seq < from || seq > through {
                break;
            }
            if self.picked.contains(seq) {
                continue;
            }
            let one = Tally::one(&message);
            paged.tally.remove(one);
            self.paged_out.remove(one);
            self.cold_count -= 1;
            if let Some(entry) = sift(self.entry_of(seq, message)) {
                self.push_head(entry);
            }
        }
        self.unreadable = through < from;
        if through >= paged.last {
            read.lost = paged.tally;
            self.cold_count -= read.lost.count;
            self.paged_out.remove(read.lost);
        } else {
            paged.first = paged.first.max(Seq(through.0 + 1));
            self.cold.push_front(Cold::Paged(paged));
        }
        self.picked.remove_through(through);
        self.refill();
        read
    }
}
