//! What a publisher sent: where to, the properties as they came, the body as the frames cut it.
//!
//! Immutable once made and shared by reference from the socket it came in on to the log, the queues
//! and the sockets it leaves on.

use bytes::Bytes;
use smallvec::SmallVec;

use super::properties::Properties;
use super::wire::ShortStr;

/// One message. `exchange` and `routing_key` are what the consumer is told in basic.deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub properties: Properties,
    pub body: Body,
    /// Whether the broker itself moved it here from a queue that it died in: only then is its
    /// x-death header the broker's own word.
    pub dead_lettered: bool,
}

impl Message {
    /// Whether the publisher asked for the message to survive a restart (delivery_mode 2).
    pub fn is_persistent(&self) -> bool {
        self.properties.is_persistent()
    }
}

/// A message body as a list of shared chunks, one for each body frame it came in.
#[derive(Debug, Clone, Default)]
pub struct Body {
    chunks: SmallVec<[Bytes; 1]>,
    len: u64,
}

impl Body {
    /// Adds a chunk at the end. Empty chunks are not kept.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len = self.len.saturating_add(chunk.len() as u64);
            self.chunks.push(chunk);
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks in order; none of them is empty.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The whole body in one piece; copies only when it came in several.
    pub fn to_bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(chunk: Bytes) -> Self {
        let mut body = Self::default();
        body.push(chunk);
        body
    }
}

/// Bodies are equal when their bytes are, however they are cut.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Body {}
