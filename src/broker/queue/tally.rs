//! How many messages there are in a place of a queue, and how large they are.
//!
//! Pure; kept by whoever puts messages in and takes them out, so that asking costs nothing.

use super::entry::Entry;
use crate::protocol::message::Message;

/// Messages, and the bytes of their bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub bytes: u64,
}

impl Tally {
    #[inline]
    pub(super) fn one(message: &Message) -> Self {
        Self { count: 1, bytes: message.body_len() }
    }

    /// With others.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }

    /// Without others; what can't be read may have been counted otherwise.
    #[inline]
    pub fn without(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, other: Self) {
        *self = self.and(other);
    }

    #[inline]
    pub(super) fn remove(&mut self, other: Self) {
        *self = self.without(other);
    }
}

/// Messages, and those of them that the log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) all: Tally,
    pub(super) stored: Tally,
}

impl Holding {
    #[inline]
    pub(super) fn add(&mut self, entry: &Entry) {
        let one = Tally::one(&entry.message);
        self.all.add(one);
        if entry.stored {
            self.stored.add(one);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, entry: &Entry) {
        debug_assert!(self.all.count > 0, "a message goes that was not there");
        let one = Tally::one(&entry.message);
        self.all.remove(one);
        if entry.stored {
            self.stored.remove(one);
        }
    }

    /// Messages that are on disk only.
    pub(super) fn add_stored(&mut self, others: Tally) {
        self.all.add(others);
        self.stored.add(others);
    }

    pub(super) fn remove_stored(&mut self, others: Tally) {
        self.all.remove(others);
        self.stored.remove(others);
    }

    pub(super) fn count(&self) -> usize {
        usize::try_from(self.all.count).unwrap_or(usize::MAX)
    }
}
