//! What a level asks the log for of its messages that are on disk only, and what comes of it.

use super::beyond::{Beyond, Cold, Paged};
use super::entry::{ENTRY_COST, Entry};
use super::lane::Lane;
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
        let next_is_known = ahead == Ahead::Next && self.next().is_some();
        let Self { beyond: Some(beyond), head_cost, head_max, .. } = self else { return None };
        let paged = beyond.first_paged()?;
        let (bytes, is_enough) = match ahead {
            Ahead::Batch => (*head_max / 2, *head_cost > *head_max / 2),
            Ahead::Next => (NEXT_BYTES.min(*head_max / 2), next_is_known),
        };
        if beyond.reading.is_some() || beyond.unreadable || is_enough {
            return None;
        }
        let (from, last) = (paged.first, paged.last);
        beyond.reading = Some(last);
        let count = usize::try_from(bytes / ENTRY_COST).unwrap_or(usize::MAX).max(1);
        let limit = ReadLimit { count, bytes: bytes.max(1) };
        Some(Wanted { level: self.level(), from, limit, round: self.read_round })
    }

    /// Takes messages that were read back. `sift` may take one for itself.
    pub fn read(
        &mut self,
        round: u64,
        page: Page,
        mut sift: impl FnMut(Entry) -> Option<Entry>,
    ) -> Read {
        let mut read = Read::default();
        let is_wanted = |beyond: &mut Box<Beyond>| beyond.reading.is_some();
        let beyond = if round == self.read_round { self.beyond.take_if(is_wanted) } else { None };
        let Some(mut beyond) = beyond else { return read };
        if let Some(asked) = beyond.reading.take()
            && let Some(Cold::Paged(paged)) = beyond.cold.pop_front()
        {
            read.lost = self.read_range(&mut beyond, paged, asked, page, &mut sift);
        }
        self.beyond = Some(beyond);
        self.refill();
        read
    }

    /// Takes from a range what was read of it, and answers what of it can't be read. The rest of
    /// it stands in front again.
    fn read_range(
        &mut self,
        beyond: &mut Beyond,
        mut paged: Box<Paged>,
        asked: Seq,
        page: Page,
        sift: &mut impl FnMut(Entry) -> Option<Entry>,
    ) -> Tally {
        let from = paged.first;
        // What was paged out since it was asked may be missing, and is not lost.
        let through = page.through.min(asked);
        for (seq, message) in page.messages {
            if seq < from || seq > through {
                break;
            }
            if beyond.picked.contains(seq) {
                continue;
            }
            let one = Tally::one(&message);
            paged.tally.remove(one);
            beyond.paged_out.remove(one);
            beyond.cold_count -= 1;
            if let Some(entry) = sift(self.entry_of(seq, message)) {
                self.push_head(entry);
            }
        }
        beyond.picked.remove_through(through);
        // All behind it may have been picked.
        if through < paged.last && paged.tally.count > 0 {
            beyond.unreadable = through < from;
            paged.first = paged.first.max(Seq(through.0 + 1));
            beyond.cold.push_front(Cold::Paged(paged));
            return Tally::default();
        }
        beyond.unreadable = false;
        beyond.cold_count -= paged.tally.count;
        beyond.paged_out.remove(paged.tally);
        paged.tally
    }
}
