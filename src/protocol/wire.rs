//! Primitives of the wire: octets, integers, short and long strings, bits, timestamps.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// An AMQP short string: at most 255 bytes of UTF-8, shared by reference.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortStr(Bytes);

/// Why bytes are not a short string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortStrError {
    TooLong,
    NotUtf8,
}

impl ShortStr {
    pub const MAX_LEN: usize = 255;

    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= Self::MAX_LEN);
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Checks length and encoding; shares the bytes.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, ShortStrError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(ShortStrError::TooLong);
        }
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(ShortStrError::NotUtf8),
        }
    }

    pub fn as_str(&self) -> &str {
        // Checked when it was made; an empty name is the harmless answer to the impossible.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy that no longer shares (and so no longer pins) the buffer it was read from.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl TryFrom<&str> for ShortStr {
    type Error = ShortStrError;

    fn try_from(text: &str) -> Result<Self, ShortStrError> {
        Self::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for ShortStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Hash and equality of a `Bytes` are those of its bytes, and so are those of `[u8]`.
impl Borrow<[u8]> for ShortStr {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for ShortStr {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortStr {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
