//! Field tables looked through where they are: field by field, without decoding or copying.
//!
//! For rules that ask every message for one or two headers. The bytes were checked when they came
//! in; where they are no table after all, it ends.

/// The fields of a table, without its length, in the order they came.
#[derive(Debug, Clone, Copy)]
pub struct RawTable<'a>(&'a [u8]);

/// A value as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawValue<'a> {
    tag: u8,
    bytes: &'a [u8],
}

/// The values of an array, without its length.
#[derive(Debug, Clone, Copy)]
pub struct RawValues<'a>(&'a [u8]);

impl<'a> RawTable<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of a field. Of a repeated name the first one counts.
    pub fn get(mut self, name: &str) -> Option<RawValue<'a>> {
        self.find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }
}

impl<'a> Iterator for RawTable<'a> {
    type Item = (&'a [u8], RawValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        let (value, rest) = RawValue::split_from(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl<'a> Iterator for RawValues<'a> {
    type Item = RawValue<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = RawValue::split_from(self.0)?;
        self.0 = rest;
        Some(value)
    }
}

impl<'a> RawValue<'a> {
    fn split_from(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (tag, rest) = bytes.split_first()?;
        let len = match tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'S' | b'x' | b'A' | b'F' => {
                let len = u32::from_be_bytes(*rest.first_chunk()?);
                usize::try_from(len).ok()?.checked_add(4)?
            }
            _ => return None,
        };
        let (bytes, rest) = rest.split_at_checked(len)?;
        Some((Self { tag: *tag, bytes }, rest))
    }

    /// Tells values of different types and bytes apart.
    pub fn identity(self) -> (u8, &'a [u8]) {
        (self.tag, self.bytes)
    }

    pub fn as_bool(self) -> Option<bool> {
        (self.tag == b't').then(|| self.bytes != [0])
    }

    /// An integer of any width, as [`FieldValue::as_i64`] reads it.
    pub fn as_i64(self) -> Option<i64> {
        match (self.tag, self.bytes) {
            (b'b', [byte]) => Some(i64::from(byte.cast_signed())),
            (b'B', [byte]) => Some(i64::from(*byte)),
            (b's', bytes) => Some(i64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
            (b'u', bytes) => Some(i64::from(u16::from_be_bytes(bytes.try_into().ok()?))),
            (b'I', bytes) => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
            (b'i', bytes) => Some(i64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
            (b'l' | b'L', bytes) => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// The bytes of a long string.
    pub fn as_text(self) -> Option<&'a [u8]> {
        if self.tag == b'S' { self.bytes.get(4..) } else { None }
    }

    pub fn as_array(self) -> Option<RawValues<'a>> {
        if self.tag == b'A' { self.bytes.get(4..).map(RawValues) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::table::{FieldTable, FieldValue};
    use crate::protocol::wire::ShortStr;

    fn encoded(fields: &[(&'static str, FieldValue)]) -> Bytes {
        let table: FieldTable = fields
            .iter()
            .map(|(name, value)| (ShortStr::from_static(name), value.clone()))
            .collect();
        let mut out = BytesMut::new();
        table.encode(&mut out);
        out.freeze()
    }

    fn text(text: &'static str) -> FieldValue {
        FieldValue::LongStr(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_field_is_found_behind_values_of_every_type() {
        let inner = FieldTable::from_iter([(ShortStr::from_static("found"), text("inside"))]);
        let bytes = encoded(&[
            ("t", FieldValue::Bool(true)),
            ("b", FieldValue::I8(1)),
            ("B", FieldValue::U8(1)),
            ("s", FieldValue::I16(1)),
            ("u", FieldValue::U16(1)),
            ("I", FieldValue::I32(1)),
            ("i", FieldValue::U32(1)),
            ("l", FieldValue::I64(1)),
            ("L", FieldValue::LongLong(1)),
            ("f", FieldValue::F32(1.0)),
            ("d", FieldValue::F64(1.0)),
            ("D", FieldValue::Decimal { scale: 1, value: 1 }),
            ("S", text("a")),
            ("x", FieldValue::ByteArray(Bytes::from_static(b"a"))),
            ("A", FieldValue::Array(vec![text("one"), FieldValue::I32(2), text("three")])),
            ("T", FieldValue::Timestamp(1)),
            ("F", FieldValue::Table(inner)),
            ("V", FieldValue::Void),
            ("found", text("outside")),
            ("found", text("again")),
        ]);
        let table = RawTable::new(&bytes[4..]);
        assert_eq!(table.count(), 20);
        assert_eq!(table.get("found").and_then(RawValue::as_text), Some(&b"outside"[..]));
        assert_eq!(table.get("t").and_then(RawValue::as_bool), Some(true));
        assert_eq!(table.get("x").and_then(RawValue::as_text), None);
        assert_eq!(table.get("missing"), None);
        let array = table.get("A").and_then(RawValue::as_array).expect("it is one");
        let texts: Vec<_> = array.map(RawValue::as_text).collect();
        assert_eq!(texts, [Some(&b"one"[..]), None, Some(&b"three"[..])]);
    }

    #[test]
    fn integers_of_every_width_are_read_as_in_a_table() {
        let values = [
            FieldValue::I8(-7),
            FieldValue::U8(200),
            FieldValue::I16(-300),
            FieldValue::U16(60_000),
            FieldValue::I32(-70_000),
            FieldValue::U32(4_000_000_000),
            FieldValue::I64(-5_000_000_000),
            FieldValue::LongLong(5_000_000_000),
            FieldValue::F64(1.0),
            text("1"),
        ];
        for value in values {
            let bytes = encoded(&[("n", value.clone())]);
            let raw = RawTable::new(&bytes[4..]).get("n").expect("it is there");
            assert_eq!(raw.as_i64(), value.as_i64(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_end_somewhere(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(RawTable::new(&bytes).count() <= bytes.len());
            prop_assert!(RawValues(&bytes).count() <= bytes.len());
        }
    }
}
