//! What a publisher sent: where to, the properties as they came, the body as the frames cut it.
//!
//! Immutable once made and shared by reference from the socket it came in on to the log, the queues
//! and the sockets it leaves on.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::properties::Properties;
use super::wire::ShortStr;

/// Up to here a body is copied together with its properties and key: a message that stays must not
/// pin a buffer of many times its size, with messages in it that are long gone.
const COPY_MAX: u64 = 32 * 1024;

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

    /// The same message without a hold on the buffer it was read into: a small one in an allocation
    /// of its own, a large one with its body where it is.
    pub fn detached(self) -> Self {
        if self.body.len() <= COPY_MAX {
            return self.copied();
        }
        Self {
            exchange: self.exchange.detached(),
            routing_key: self.routing_key.detached(),
            properties: self.properties.detached(),
            ..self
        }
    }

    /// All parts in one allocation.
    fn copied(self) -> Self {
        let Self { exchange, routing_key, properties, body, dead_lettered } = &self;
        let parts = [exchange.as_bytes(), routing_key.as_bytes(), properties.as_bytes()];
        let len: usize = parts.iter().copied().chain(body.chunks()).map(Bytes::len).sum();
        let mut buffer = BytesMut::with_capacity(len);
        parts.iter().copied().chain(body.chunks()).for_each(|part| buffer.extend_from_slice(part));
        let mut rest = buffer.freeze();
        let [exchange, routing_key, properties_bytes] = parts.map(|part| rest.split_to(part.len()));
        Self {
            exchange: ShortStr::from_bytes(exchange).unwrap_or_default(),
            routing_key: ShortStr::from_bytes(routing_key).unwrap_or_default(),
            properties: properties.moved_to(properties_bytes),
            body: Body::from(rest),
            dead_lettered: *dead_lettered,
        }
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
