//! What a channel's client holds: its deliveries by tag, until they are settled.
//!
//! Tags are given in the order in which deliveries are written. Shared by the writer, who records,
//! and the reader, who settles.

use std::sync::Arc;

use crate::broker::outstanding::Outstanding;
use crate::broker::queue::{Place, Queue};

/// One delivery that the client has to settle.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) queue: Arc<Queue>,
    pub(crate) place: Place,
    /// Delivered to a consumer, and so counted by the channel's prefetch limit; not basic.get.
    pub(crate) from_consumer: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    last_tag: u64,
    held: Outstanding<Held>,
    /// The channel is gone: nothing is recorded any more.
    closed: bool,
}

impl Ledger {
    /// Gives the next tag to a delivery that needs no settling; none when the channel is gone.
    pub(super) fn pass(&mut self) -> Option<u64> {
        if self.closed {
            return None;
        }
        self.last_tag = self.last_tag.saturating_add(1);
        Some(self.last_tag)
    }

    /// Gives the next tag to a delivery and remembers it. When the channel is gone, gives it back.
    pub(super) fn record(&mut self, held: Held) -> Result<u64, Held> {
        match self.pass() {
            Some(tag) => {
                self.held.insert(tag, held);
                Ok(tag)
            }
            None => Err(held),
        }
    }

    /// Takes out what an ack, nack or reject means. Rule: tag 0 with `multiple` is all; otherwise
    /// the tag must be outstanding itself.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) -> Option<Vec<(u64, Held)>> {
        match (tag, multiple) {
            (0, true) => Some(self.held.drain().collect()),
            (tag, true) if self.held.contains(tag) => Some(self.held.remove_through(tag)),
            (_, true) => None,
            (tag, false) => self.held.remove(tag).map(|held| vec![(tag, held)]),
        }
    }

    /// Puts back what a rolled-back transaction had settled.
    pub(super) fn restore(&mut self, settled: Vec<(u64, Held)>) {
        for (tag, held) in settled {
            self.held.insert(tag, held);
        }
    }

    /// Takes out everything, and records nothing more.
    pub(super) fn close(&mut self) -> Vec<(u64, Held)> {
        self.closed = true;
        self.held.drain().collect()
    }
}
