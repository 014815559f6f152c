//! What stands behind a level's head, when there are more messages than the head has room for.
//!
//! From the next to the newest:
//!
//! ```text
//!   cold: ranges that are on disk only │ tail: on its way to the disk
//! ```
//!
//! Every number in `cold` is smaller than every number in `tail`. Only a stored message that is
//! known to be on disk is paged out; one that isn't stored stands in `cold` itself. Pure; owned by
//! the level, which has one only as long as there is something in it.

use std::collections::VecDeque;

use super::entry::Entry;
use super::few::Few;
use super::lane::shrink;
use super::tally::Tally;
use crate::store::record::Seq;

/// Messages that are on disk only; all that live there with numbers from `first` to `last`.
#[derive(Debug)]
pub(super) struct Paged {
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) tally: Tally,
}

#[derive(Debug)]
pub(super) enum Cold {
    Entry(Entry),
    Paged(Box<Paged>),
}

#[derive(Debug)]
pub(super) struct Newest {
    pub(super) entry: Entry,
    on_disk: bool,
}

#[derive(Debug, Default)]
pub(super) struct Beyond {
    pub(super) cold: VecDeque<Cold>,
    pub(super) tail: VecDeque<Newest>,
    /// Messages in `cold`, in memory or not.
    pub(super) cold_count: u64,
    /// Of them, those that are on disk only.
    pub(super) paged_out: Tally,
    /// Up to here what is asked for will be read back.
    pub(super) reading: Option<Seq>,
    pub(super) unreadable: bool,
    /// Of the ranges on disk, now or later, what doesn't stand there.
    pub(super) picked: Few,
}

impl Cold {
    pub(super) fn first(&self) -> Seq {
        match self {
            Self::Entry(entry) => entry.seq,
            Self::Paged(paged) => paged.first,
        }
    }

    pub(super) fn last(&self) -> Seq {
        match self {
            Self::Entry(entry) => entry.seq,
            Self::Paged(paged) => paged.last,
        }
    }
}

impl Beyond {
    /// Puts in what the last run left: the first that there is.
    pub(super) fn restore(&mut self, first: Seq, last: Seq, tally: Tally) {
        self.cold.push_back(Cold::Paged(Box::new(Paged { first, last, tally })));
        self.paged_out = tally;
        self.cold_count = tally.count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cold.is_empty() && self.tail.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.tail.len() + usize::try_from(self.cold_count).unwrap_or(usize::MAX)
    }

    pub(super) fn cold_first(&self) -> Option<Seq> {
        self.cold.front().map(Cold::first)
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<Seq> {
        self.cold_first().or_else(|| Some(self.tail.front()?.entry.seq))
    }

    /// The range that the next messages are in, if they are on disk.
    pub(super) fn first_paged(&self) -> Option<&Paged> {
        match self.cold.front()? {
            Cold::Paged(paged) => Some(paged),
            Cold::Entry(_) => None,
        }
    }

    /// Those that are in memory.
    pub(super) fn in_memory(&self) -> impl Iterator<Item = &Entry> {
        let in_cold = self.cold.iter().filter_map(|cold| match cold {
            Cold::Entry(entry) => Some(entry),
            Cold::Paged(_) => None,
        });
        in_cold.chain(self.tail.iter().map(|newest| &newest.entry))
    }

    /// Adds the newest.
    pub(super) fn push(&mut self, entry: Entry) {
        self.tail.push_back(Newest { entry, on_disk: false });
    }

    /// Takes out the next, if it is in memory.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        match self.cold.pop_front() {
            Some(Cold::Entry(entry)) => {
                self.cold_count -= 1;
                Some(entry)
            }
            Some(paged) => {
                self.cold.push_front(paged);
                None
            }
            None => self.tail.pop_front().map(|newest| newest.entry),
        }
    }

    /// Messages from `first` to `last` are on disk: those in the tail leave the memory, when all
    /// before them have.
    pub(super) fn on_disk(&mut self, first: Seq, last: Seq) {
        let start = self.tail.partition_point(|newest| newest.entry.seq < first);
        for newest in self.tail.range_mut(start..) {
            if newest.entry.seq > last {
                break;
            }
            newest.on_disk = true;
        }
        while let Some(newest) = self.tail.pop_front_if(|next| next.on_disk || !next.entry.stored) {
            self.cold_count += 1;
            self.page_out(newest.entry);
        }
        shrink(&mut self.tail);
    }

    fn page_out(&mut self, entry: Entry) {
        if !entry.stored {
            return self.cold.push_back(Cold::Entry(entry));
        }
        let (seq, one) = (entry.seq, Tally::one(&entry.message));
        self.paged_out.add(one);
        if let Some(Cold::Paged(paged)) = self.cold.back_mut() {
            paged.last = seq;
            paged.tally.add(one);
        } else {
            self.cold.push_back(Cold::Paged(Box::new(Paged { first: seq, last: seq, tally: one })));
        }
    }

    /// One that was picked has left, and the log says so.
    pub(super) fn forget_picked(&mut self, seq: Seq) {
        // Otherwise it may be in what is being read.
        if self.reading.is_none() {
            self.picked.remove(seq);
        }
    }
}
