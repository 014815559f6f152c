//! A message's properties: kept as the bytes that came in, decoded only when a rule needs a field.
//!
//! ```text
//! flags u16 (content-type in the highest bit, ... ; the lowest says that more flags follow)
//! the values of the flagged properties, in the order of their flags
//! ```

use bytes::{Bytes, BytesMut};

pub use super::generated::BasicProperties;

use super::error::DecodeError;
use super::table::FieldTable;
use super::wire::Fields;

const FLAG_CONTENT_TYPE: u16 = 1 << 15;
const FLAG_CONTENT_ENCODING: u16 = 1 << 14;
const FLAG_HEADERS: u16 = 1 << 13;
const FLAG_DELIVERY_MODE: u16 = 1 << 12;
const FLAG_PRIORITY: u16 = 1 << 11;
const FLAG_TIMESTAMP: u16 = 1 << 6;

/// The short strings among the properties: those before the headers, and those after the priority.
const FLAGS_TEXT_FIRST: [u16; 2] = [FLAG_CONTENT_TYPE, FLAG_CONTENT_ENCODING];
const FLAGS_TEXT_MIDDLE: [u16; 4] = [1 << 10, 1 << 9, 1 << 8, 1 << 7];
const FLAGS_TEXT_LAST: [u16; 4] = [1 << 5, 1 << 4, 1 << 3, 1 << 2];

/// No property has this flag; more flags would have to follow.
const FLAG_MORE: u16 = 1;

/// delivery_mode of a persistent message.
const PERSISTENT: u8 = 2;

/// The property flags and property list of a content header of class basic, as they travel. Checked
/// when they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    bytes: Bytes,
    delivery_mode: u8,
}

impl Default for Properties {
    /// No properties.
    fn default() -> Self {
        Self { bytes: Bytes::from_static(&[0, 0]), delivery_mode: 0 }
    }
}

impl Properties {
    /// Checks all of it, values within headers included, without decoding.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(&bytes);
        let flags = fields.short()?;
        if flags & FLAG_MORE != 0 {
            return Err(DecodeError::syntax("there are more property flags than properties"));
        }
        skip_texts(&mut fields, flags, &FLAGS_TEXT_FIRST)?;
        if flags & FLAG_HEADERS != 0 {
            FieldTable::check(&mut fields)?;
        }
        let delivery_mode = if flags & FLAG_DELIVERY_MODE != 0 { fields.octet()? } else { 0 };
        if flags & FLAG_PRIORITY != 0 {
            fields.octet()?;
        }
        skip_texts(&mut fields, flags, &FLAGS_TEXT_MIDDLE)?;
        if flags & FLAG_TIMESTAMP != 0 {
            fields.timestamp()?;
        }
        skip_texts(&mut fields, flags, &FLAGS_TEXT_LAST)?;
        fields.end()?;
        Ok(Self { bytes, delivery_mode })
    }

    /// As they travel: flags and list.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether delivery_mode is 2.
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == PERSISTENT
    }

    /// The headers, if there are any.
    pub fn headers(&self) -> Option<FieldTable> {
        let mut fields = Fields::new(&self.bytes);
        let flags = fields.short().ok()?;
        if flags & FLAG_HEADERS == 0 {
            return None;
        }
        skip_texts(&mut fields, flags, &FLAGS_TEXT_FIRST).ok()?;
        FieldTable::decode(&mut fields).ok()
    }

    /// All of them, decoded.
    pub fn decode(&self) -> Result<BasicProperties, DecodeError> {
        BasicProperties::decode(&mut Fields::new(&self.bytes))
    }

    /// The same properties kept in `bytes`, which hold a copy of them.
    pub fn moved_to(&self, bytes: Bytes) -> Self {
        debug_assert_eq!(self.bytes, bytes);
        Self { bytes, delivery_mode: self.delivery_mode }
    }

    /// A copy that no longer pins the buffer it was read from.
    pub fn detached(&self) -> Self {
        self.moved_to(Bytes::copy_from_slice(&self.bytes))
    }
}

fn skip_texts(fields: &mut Fields<'_>, flags: u16, texts: &[u16]) -> Result<(), DecodeError> {
    for text in texts {
        if flags & text != 0 {
            fields.shortstr()?;
        }
    }
    Ok(())
}

impl From<&BasicProperties> for Properties {
    fn from(properties: &BasicProperties) -> Self {
        let mut out = BytesMut::new();
        properties.encode(&mut out);
        Self { bytes: out.freeze(), delivery_mode: properties.delivery_mode.unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::table::FieldValue;
    use crate::protocol::wire::ShortStr;

    fn all() -> BasicProperties {
        let text = |text| Some(ShortStr::from_static(text));
        let headers = [(ShortStr::from_static("n"), FieldValue::I16(-3))];
        BasicProperties {
            content_type: text("text/plain"),
            content_encoding: text("utf-8"),
            headers: Some(FieldTable::from_iter(headers)),
            delivery_mode: Some(2),
            priority: Some(7),
            correlation_id: text("c"),
            reply_to: text("r"),
            expiration: text("1000"),
            message_id: text("m"),
            timestamp: Some(1_700_000_000),
            kind: text("t"),
            user_id: text("u"),
            app_id: text("a"),
            reserved: text("z"),
        }
    }

    #[test]
    fn all_properties_come_back_as_they_were() {
        let properties = Properties::from(&all());
        let parsed = Properties::parse(properties.as_bytes().clone()).expect("own bytes");
        assert_eq!(parsed, properties);
        assert_eq!(parsed.decode().expect("own bytes"), all());
        assert!(parsed.is_persistent());
        assert_eq!(parsed.headers(), all().headers);
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = Properties::from(&all()).as_bytes().clone();
        for len in 0..bytes.len() {
            assert!(Properties::parse(bytes.slice(..len)).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn no_properties_are_two_zero_octets() {
        assert_eq!(Properties::from(&BasicProperties::default()), Properties::default());
    }
}
