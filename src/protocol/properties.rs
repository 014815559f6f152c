//! A message's properties: kept as the bytes that came in, decoded only when a rule needs a field.
//!
//! ```text
//! flags u16 (content-type in the highest bit, ... ; the lowest says that more flags follow)
//! the values of the flagged properties, in the order of their flags
//! ```

use bytes::{BufMut, Bytes, BytesMut};

pub use super::generated::BasicProperties;

use super::error::DecodeError;
use super::raw_table::RawTable;
use super::table::FieldTable;
use super::wire::{Fields, ShortStr, put_shortstr};

const FLAG_HEADERS: u16 = 1 << 13;
const FLAG_DELIVERY_MODE: u16 = 1 << 12;
const FLAG_PRIORITY: u16 = 1 << 11;
const FLAG_REPLY_TO: u16 = 1 << 9;
const FLAG_CORRELATION_ID: u16 = 1 << 10;
const FLAG_EXPIRATION: u16 = 1 << 8;
const FLAG_MESSAGE_ID: u16 = 1 << 7;
const FLAG_TIMESTAMP: u16 = 1 << 6;
const FLAG_USER_ID: u16 = 1 << 4;

/// No property has this flag; more flags would have to follow.
const FLAG_MORE: u16 = 1;

/// All properties by their flags, in the order of their values.
const LAYOUT: [(u16, Kind); 14] = [
    (1 << 15, Kind::Carried),
    (1 << 14, Kind::Carried),
    (FLAG_HEADERS, Kind::Table),
    (FLAG_DELIVERY_MODE, Kind::Octet),
    (FLAG_PRIORITY, Kind::Octet),
    (FLAG_CORRELATION_ID, Kind::Carried),
    (FLAG_REPLY_TO, Kind::Carried),
    (FLAG_EXPIRATION, Kind::Text),
    (FLAG_MESSAGE_ID, Kind::Carried),
    (FLAG_TIMESTAMP, Kind::Timestamp),
    (1 << 5, Kind::Carried),
    (FLAG_USER_ID, Kind::Text),
    (1 << 3, Kind::Carried),
    (1 << 2, Kind::Carried),
];

/// How a property's value is written, and how closely it is looked at.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A short string that rules of the broker read: it must be UTF-8, or a rule would miss it.
    Text,
    /// A short string that only travels along. Some clients put bytes there that are no text, as a
    /// UUID into correlation_id, and other brokers let them pass.
    Carried,
    Table,
    Octet,
    Timestamp,
}

impl Kind {
    /// Passes over a value from outside, checking all of it.
    fn check(self, fields: &mut Fields<'_>) -> Result<(), DecodeError> {
        match self {
            Self::Text => fields.text().map(|_| ()),
            Self::Table => FieldTable::check(fields),
            Self::Carried | Self::Octet | Self::Timestamp => self.skip(fields),
        }
    }

    /// Passes over a value that was checked before.
    fn skip(self, fields: &mut Fields<'_>) -> Result<(), DecodeError> {
        match self {
            Self::Text | Self::Carried => fields.short_bytes().map(|_| ()),
            Self::Table => fields.long_bytes().map(|_| ()),
            Self::Octet => fields.octet().map(|_| ()),
            Self::Timestamp => fields.timestamp().map(|_| ()),
        }
    }
}

fn present(flags: u16) -> impl Iterator<Item = (u16, Kind)> {
    let mut left = flags;
    std::iter::from_fn(move || {
        // The highest flag is the first of the layout, and none of the next is left out.
        let (flag, kind) = *LAYOUT.get(usize::try_from(left.leading_zeros()).ok()?)?;
        left &= !flag;
        Some((flag, kind))
    })
}

/// delivery_mode of a persistent message.
const PERSISTENT: u8 = 2;

/// The property flags and property list of a content header of class basic, as they travel. Checked
/// when they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    bytes: Bytes,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
}

/// What is remembered of properties that were checked.
pub(super) struct Facts {
    delivery_mode: Option<u8>,
    priority: Option<u8>,
}

impl Facts {
    /// Reads flags and list to their end.
    pub(super) fn check(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let flags = fields.short()?;
        if flags & FLAG_MORE != 0 {
            return Err(DecodeError::syntax("there are more property flags than properties"));
        }
        let (mut delivery_mode, mut priority) = (None, None);
        for (flag, kind) in present(flags) {
            match flag {
                FLAG_DELIVERY_MODE => delivery_mode = Some(fields.octet()?),
                FLAG_PRIORITY => priority = Some(fields.octet()?),
                _ => kind.check(fields)?,
            }
        }
        fields.end()?;
        Ok(Self { delivery_mode, priority })
    }

    pub(super) fn is_persistent(&self) -> bool {
        is_persistent(self.delivery_mode)
    }

    pub(super) fn priority(&self) -> u8 {
        self.priority.unwrap_or(0)
    }
}

fn is_persistent(delivery_mode: Option<u8>) -> bool {
    delivery_mode == Some(PERSISTENT)
}

impl Default for Properties {
    /// No properties.
    fn default() -> Self {
        Self { bytes: Bytes::from_static(&[0, 0]), delivery_mode: None, priority: None }
    }
}

impl Properties {
    /// Checks all of it, values within headers included, without decoding.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        let Facts { delivery_mode, priority } = Facts::check(&mut Fields::new(&bytes))?;
        Ok(Self { bytes, delivery_mode, priority })
    }

    /// As they travel: flags and list.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether delivery_mode is 2.
    pub fn is_persistent(&self) -> bool {
        is_persistent(self.delivery_mode)
    }

    pub fn delivery_mode(&self) -> Option<u8> {
        self.delivery_mode
    }

    pub fn priority(&self) -> Option<u8> {
        self.priority
    }

    pub fn headers(&self) -> Option<FieldTable> {
        FieldTable::decode(&mut self.value(FLAG_HEADERS)?).ok()
    }

    /// Whether there is an expiration.
    pub fn has_expiration(&self) -> bool {
        self.has(FLAG_EXPIRATION)
    }

    /// Whether there are headers.
    pub fn has_headers(&self) -> bool {
        self.has(FLAG_HEADERS)
    }

    /// Asked of every message: read where they are, without a parser.
    #[inline]
    fn has(&self, flag: u16) -> bool {
        self.bytes.first_chunk().is_some_and(|flags| u16::from_be_bytes(*flags) & flag != 0)
    }

    /// The headers where they are; none where there are no headers.
    pub fn raw_headers(&self) -> RawTable<'_> {
        let table = self.value(FLAG_HEADERS).and_then(|mut fields| fields.long_bytes().ok());
        RawTable::new(table.unwrap_or_default())
    }

    /// Bytes that needn't be text.
    pub fn correlation_id(&self) -> Option<&[u8]> {
        self.value(FLAG_CORRELATION_ID)?.short_bytes().ok()
    }

    /// Bytes that needn't be text.
    pub fn message_id(&self) -> Option<&[u8]> {
        self.value(FLAG_MESSAGE_ID)?.short_bytes().ok()
    }

    /// Seconds since 1970, by convention.
    pub fn timestamp(&self) -> Option<u64> {
        self.value(FLAG_TIMESTAMP)?.timestamp().ok()
    }

    /// Milliseconds as decimal text, if the publisher kept to the rule.
    pub fn expiration(&self) -> Option<ShortStr> {
        self.value(FLAG_EXPIRATION)?.shortstr().ok()
    }

    /// Where replies go, as the bytes that came: other than a queue's name it may be anything.
    pub fn reply_to(&self) -> Option<&[u8]> {
        self.value(FLAG_REPLY_TO)?.short_bytes().ok()
    }

    pub fn user_id(&self) -> Option<ShortStr> {
        self.value(FLAG_USER_ID)?.shortstr().ok()
    }

    /// All of them, decoded. Fails where a text that only travels along is not UTF-8.
    pub fn decode(&self) -> Result<BasicProperties, DecodeError> {
        BasicProperties::decode(&mut Fields::new(&self.bytes))
    }

    /// The same properties with these headers in place of any others.
    pub fn with_headers(&self, headers: &FieldTable) -> Self {
        let mut value = BytesMut::new();
        headers.encode(&mut value);
        self.changed(FLAG_HEADERS, Some(&value))
    }

    /// The same properties with replies going there.
    pub fn with_reply_to(&self, reply_to: &ShortStr) -> Self {
        let mut value = BytesMut::new();
        put_shortstr(&mut value, reply_to);
        self.changed(FLAG_REPLY_TO, Some(&value))
    }

    /// The same properties without an expiration.
    pub fn without_expiration(&self) -> Self {
        self.changed(FLAG_EXPIRATION, None)
    }

    /// What stands from a property's value on, if it has one.
    fn value(&self, wanted: u16) -> Option<Fields<'_>> {
        if !self.has(wanted) {
            return None;
        }
        let mut fields = Fields::new(&self.bytes);
        let flags = fields.short().ok()?;
        for (flag, kind) in present(flags) {
            if flag == wanted {
                return Some(fields);
            }
            kind.skip(&mut fields).ok()?;
        }
        None
    }

    /// A copy with another value of one property, or without it. The others keep their bytes, so
    /// that what only travels along needn't be understood. Not for those that are remembered.
    fn changed(&self, changed: u16, value: Option<&[u8]>) -> Self {
        let added = value.map_or(0, <[u8]>::len);
        let mut out = BytesMut::with_capacity(self.bytes.len().saturating_add(added));
        let mut fields = Fields::new(&self.bytes);
        let flags = fields.short().unwrap_or_default();
        out.put_u16(if value.is_some() { flags | changed } else { flags & !changed });
        for (flag, kind) in LAYOUT {
            let own = if flags & flag != 0 {
                // Checked when it was made.
                fields.span(|fields| kind.skip(fields)).unwrap_or_default()
            } else {
                &[]
            };
            out.put_slice(if flag == changed { value.unwrap_or_default() } else { own });
        }
        Self { bytes: out.freeze(), ..*self }
    }
}

impl From<&BasicProperties> for Properties {
    fn from(properties: &BasicProperties) -> Self {
        let mut out = BytesMut::new();
        properties.encode(&mut out);
        let BasicProperties { delivery_mode, priority, .. } = *properties;
        Self { bytes: out.freeze(), delivery_mode, priority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::table::FieldValue;

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
        assert_eq!(parsed.delivery_mode(), Some(2));
        assert_eq!(parsed.priority(), Some(7));
        assert_eq!(parsed.headers(), all().headers);
        assert_eq!(parsed.expiration(), all().expiration);
        assert_eq!(parsed.user_id(), all().user_id);
        assert_eq!(parsed.correlation_id(), Some(&b"c"[..]));
        assert_eq!(parsed.message_id(), Some(&b"m"[..]));
        assert_eq!(parsed.timestamp(), all().timestamp);
        assert!(parsed.raw_headers().get("n").is_some());
    }

    #[test]
    fn a_property_that_is_not_there_has_no_value() {
        let none = Properties::default();
        assert_eq!((none.delivery_mode(), none.priority()), (None, None));
        assert_eq!((none.headers(), none.expiration(), none.user_id()), (None, None, None));
        assert_eq!(
            (none.correlation_id(), none.message_id(), none.timestamp()),
            (None, None, None)
        );
        assert_eq!(none.raw_headers().count(), 0);
        assert!(!none.is_persistent());
    }

    #[test]
    fn changing_a_property_leaves_the_others_as_they_were() {
        let headers = FieldTable::from_iter([(ShortStr::from_static("x"), FieldValue::Void)]);
        let changed = Properties::from(&all()).without_expiration().with_headers(&headers);
        let expected = BasicProperties { headers: Some(headers), expiration: None, ..all() };
        assert_eq!(changed.decode().expect("own bytes"), expected);
        assert_eq!(changed, Properties::from(&expected));
    }

    #[test]
    fn replies_can_be_sent_elsewhere() {
        let there = ShortStr::from_static("there");
        let changed = Properties::from(&all()).with_reply_to(&there);
        assert_eq!(changed.reply_to(), Some(b"there".as_slice()));
        let expected = BasicProperties { reply_to: Some(there), ..all() };
        assert_eq!(changed, Properties::from(&expected));
        assert_eq!(Properties::default().reply_to(), None);
    }

    #[test]
    fn headers_can_be_put_where_none_were() {
        let headers = FieldTable::from_iter([(ShortStr::from_static("x"), FieldValue::Void)]);
        let changed = Properties::default().with_headers(&headers);
        assert_eq!(changed.headers(), Some(headers));
        assert_eq!(Properties::parse(changed.as_bytes().clone()), Ok(changed));
    }

    /// A raw UUID as correlation_id once ended the connection that published it.
    #[test]
    fn a_correlation_id_of_any_bytes_travels_along() {
        let bytes = Bytes::from_static(b"\x05\x00\x02\xff\xfe\x0510000");
        let properties = Properties::parse(bytes.clone()).expect("carried, not read");
        assert_eq!(properties.as_bytes(), &bytes);
        assert_eq!(properties.expiration(), Some(ShortStr::from_static("10000")));
        assert!(properties.decode().is_err());
        assert_eq!(properties.without_expiration().as_bytes().as_ref(), b"\x04\x00\x02\xff\xfe");
    }

    #[test]
    fn text_that_rules_read_must_be_utf_8() {
        assert!(Properties::parse(Bytes::from_static(b"\x01\x00\x02\xff\xfe")).is_err());
        assert!(Properties::parse(Bytes::from_static(b"\x00\x10\x02\xff\xfe")).is_err());
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
