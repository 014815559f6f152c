//! A message in a queue: where it stands there and what has become of it so far.

use std::sync::Arc;

use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::protocol::table::FieldValue;
use crate::protocol::wire::ShortStr;
use crate::store::record::{Note, Seq};

/// What a ready message in memory is taken to cost beside its body: the message, its allocations,
/// its place in the queue. Measured.
pub const ENTRY_COST: u64 = 400;

/// The header that says how often the delivery of a message has failed.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// Where a message stands in its queue: its level, which is its priority, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub level: u8,
    pub seq: Seq,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub level: u8,
    pub redelivered: bool,
    /// Whether the log holds it in this queue, so that its end must be noted there.
    pub stored: bool,
    /// How often its delivery has failed.
    pub failed: u16,
    /// How often a consumer gave it back.
    pub returned: u16,
    pub message: Arc<Message>,
}

impl Entry {
    /// A message that comes into a queue.
    pub(super) fn new(place: Place, message: Arc<Message>, stored: bool) -> Self {
        let Place { level, seq } = place;
        Self { seq, level, redelivered: false, stored, failed: 0, returned: 0, message }
    }

    /// A message that its queue doesn't take.
    pub(super) fn refused(message: Arc<Message>) -> Self {
        Self::new(Place { level: 0, seq: Seq(0) }, message, false)
    }

    pub fn place(&self) -> Place {
        Place { level: self.level, seq: self.seq }
    }

    /// What the log remembers of it, when it waits until `due_ms` (0: it doesn't).
    pub fn note(&self, due_ms: u64) -> Note {
        Note { failed: u32::from(self.failed), returned: u32::from(self.returned), due_ms }
    }

    /// Takes up what the log remembers.
    pub fn set_note(&mut self, note: Note) {
        self.failed = u16::try_from(note.failed).unwrap_or(u16::MAX);
        self.returned = u16::try_from(note.returned).unwrap_or(u16::MAX);
    }

    /// When it dies of age, in milliseconds since 1970: by its own expiration or the queue's
    /// `ttl_ms`, whichever comes first.
    pub fn expires_ms(&self, ttl_ms: Option<u64>) -> Option<u64> {
        let arrived_ms = self.message.arrived_ms()?;
        let by_queue = ttl_ms.map(|ttl_ms| arrived_ms.saturating_add(ttl_ms));
        self.message.expires_ms().into_iter().chain(by_queue).min()
    }

    /// The properties with which it is delivered where these aren't the message's own: once its
    /// delivery has failed, they say how often.
    pub fn counted_properties(&self) -> Option<Properties> {
        if self.failed == 0 {
            return None;
        }
        let properties = self.message.properties();
        let mut headers = properties.headers().unwrap_or_default();
        let count = FieldValue::I64(i64::from(self.failed));
        headers.insert(ShortStr::from_static(DELIVERY_COUNT), count);
        Some(properties.with_headers(&headers))
    }

    /// What it costs in memory that it need not have, because it is on disk, too.
    pub(super) fn cost(&self) -> u64 {
        if self.stored { self.message.body_len() + ENTRY_COST } else { 0 }
    }
}
