//! Deduplication by an exchange, whose own queue remembers what has come.
//!
//! A message has been seen when it is in its queues. Until that is known it is claimed: it may get
//! nowhere, so that a duplicate is neither let through nor confirmed meanwhile.

use std::sync::Arc;

use super::{Queue, arrival};
use crate::broker::changes::Changes;
use crate::protocol::properties::Properties;

/// What the deduplication of an exchange makes of a message.
pub enum Sight {
    /// It goes on, with what has to be kept when it has got to its queues.
    New(Option<Claim>),
    /// It has come before, and is not needed.
    Known,
    /// Another one like it is on its way to its queues: this one is refused, to be sent again.
    Undecided,
}

/// A digest that is seen if its message gets to its queues.
pub struct Claim {
    own: Arc<Queue>,
    digest: u128,
}

impl Claim {
    /// The message is in its queues, to which `batch` brings it.
    pub fn keep(self, batch: &mut Changes) {
        self.own.note_seen(&mut self.own.inner.lock(), self.digest, batch);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.own.inner.lock();
        if let Some(seen) = &mut inner.seen {
            seen.unclaim(self.digest);
        }
    }
}

impl Queue {
    /// What the queue, which is an exchange's own, says of a message with these properties.
    pub(in crate::broker) fn sight_of(
        self: &Arc<Self>,
        properties: &Properties,
        batch: &mut Changes,
    ) -> Sight {
        let mut inner = self.inner.lock();
        let Some(digest) = arrival::digest_in(&inner, properties) else { return Sight::New(None) };
        if self.has_seen(&mut inner, digest, batch) {
            return Sight::Known;
        }
        match inner.seen.get_or_insert_default().claim(digest) {
            true => Sight::New(Some(Claim { own: Arc::clone(self), digest })),
            false => Sight::Undecided,
        }
    }
}
