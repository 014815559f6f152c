//! A message's properties: kept as the bytes that came in, decoded only when a rule needs a field.

use bytes::Bytes;

/// The property flags and property list of a content header of class basic, as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties(Bytes);

impl Properties {
    /// Whether delivery_mode is 2.
    pub fn is_persistent(&self) -> bool {
        false
    }
}
