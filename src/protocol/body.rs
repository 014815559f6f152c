//! A message's body on its way in: the frames that it came in, shared and not copied.

use bytes::Bytes;
use smallvec::SmallVec;

/// Up to here a body that came in is copied: a message that stays must not pin a buffer of many
/// times its size, with messages in it that are long gone.
const COPY_MAX: u64 = 32 * 1024;

/// A message body on its way in, as a list of shared chunks, one for each body frame.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub(super) chunks: SmallVec<[Bytes; 1]>,
    pub(super) len: u64,
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

    /// The chunks to keep: copied, if they fill too little of what they were read into.
    pub(super) fn into_chunks(self) -> Box<[Bytes]> {
        match self.len {
            0 => Box::default(),
            1..=COPY_MAX => Box::new([Bytes::from(self.chunks.concat())]),
            _ => self.chunks.into_boxed_slice(),
        }
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
