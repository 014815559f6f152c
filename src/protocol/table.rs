//! Field tables: the typed key-value lists of AMQP arguments and headers.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::wire::{Fields, ShortStr, put_longstr, put_shortstr, put_sized};

/// How deep tables and arrays may stand in one another, so that few bytes can't exhaust the stack.
const DEPTH_MAX: u32 = 32;

/// One value of a field table, with the exact wire type it came in, so that it leaves as it came.
/// The letter is the type's tag on the wire, as RabbitMQ and its clients use them.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `L`: the specification's own tag for a signed 64-bit integer; few clients send it.
    LongLong(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: decimal digits after the point, and the unscaled value.
    Decimal { scale: u8, value: u32 },
    /// `S`: bytes, by convention UTF-8 text.
    LongStr(Bytes),
    /// `x`
    ByteArray(Bytes),
    /// `A`
    Array(Vec<Self>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(FieldTable),
    /// `V`
    Void,
}

/// Field names and values in the order they came. Of a repeated name the first one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldTable(Vec<(ShortStr, FieldValue)>);

impl FieldTable {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Sets a field: in its place, or at the end.
    pub fn insert(&mut self, name: ShortStr, value: FieldValue) {
        match self.0.iter_mut().find(|(found, _)| *found == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes a field out, and what stands under its name again.
    pub fn remove(&mut self, name: &str) -> Option<FieldValue> {
        let place = self.0.iter().position(|(found, _)| *found == name)?;
        let (_, value) = self.0.remove(place);
        self.0.retain(|(found, _)| *found != name);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ShortStr, &FieldValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the table with its length.
    pub fn encode(&self, out: &mut BytesMut) {
        put_sized(out, |out| {
            for (name, value) in &self.0 {
                put_shortstr(out, name);
                value.encode(out);
            }
        });
    }

    /// Reads a table with its length.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Self::decode_at(fields, 0)
    }

    fn decode_at(fields: &mut Fields<'_>, depth: u32) -> Result<Self, DecodeError> {
        check_depth(depth)?;
        let mut inside = fields.sized()?;
        let mut table = Vec::new();
        while !inside.is_empty() {
            table.push((inside.shortstr()?, FieldValue::decode_at(&mut inside, depth)?));
        }
        Ok(Self(table))
    }

    /// Passes over a table, checking all of it.
    pub fn check(fields: &mut Fields<'_>) -> Result<(), DecodeError> {
        Self::check_at(fields, 0)
    }

    fn check_at(fields: &mut Fields<'_>, depth: u32) -> Result<(), DecodeError> {
        check_depth(depth)?;
        let mut inside = fields.sized()?;
        while !inside.is_empty() {
            inside.text()?;
            FieldValue::check_at(&mut inside, depth)?;
        }
        Ok(())
    }
}

impl FromIterator<(ShortStr, FieldValue)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (ShortStr, FieldValue)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

fn check_depth(depth: u32) -> Result<(), DecodeError> {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(DecodeError::syntax(format!("tables stand in one another more than {DEPTH_MAX} deep")))
}

impl FieldValue {
    /// Text, if it is that.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::LongStr(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// An integer of any width. One above the range of i64 is none.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I8(value) => Some(i64::from(*value)),
            Self::U8(value) => Some(i64::from(*value)),
            Self::I16(value) => Some(i64::from(*value)),
            Self::U16(value) => Some(i64::from(*value)),
            Self::I32(value) => Some(i64::from(*value)),
            Self::U32(value) => Some(i64::from(*value)),
            Self::I64(value) | Self::LongLong(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_table(&self) -> Option<&FieldTable> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The value in an error text.
    pub fn plain_text(&self) -> String {
        match (self.as_str(), self.as_i64(), self.as_bool()) {
            (Some(text), _, _) => text.to_owned(),
            (_, Some(number), _) => number.to_string(),
            (_, _, Some(truth)) => truth.to_string(),
            _ => format!("{self:?}"),
        }
    }

    /// The type's name in RabbitMQ's error texts, which clients' tests match on.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::I8(_) => "byte",
            Self::U8(_) => "unsignedbyte",
            Self::I16(_) => "short",
            Self::U16(_) => "unsignedshort",
            Self::I32(_) => "signedint",
            Self::U32(_) => "unsignedint",
            Self::I64(_) | Self::LongLong(_) => "long",
            Self::F32(_) => "float",
            Self::F64(_) => "double",
            Self::Decimal { .. } => "decimal",
            Self::LongStr(_) => "longstr",
            Self::ByteArray(_) => "binary",
            Self::Array(_) => "array",
            Self::Timestamp(_) => "timestamp",
            Self::Table(_) => "table",
            Self::Void => "void",
        }
    }

    /// Appends the type's tag and the value.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.tag());
        match self {
            Self::Bool(value) => out.put_u8(u8::from(*value)),
            Self::I8(value) => out.put_i8(*value),
            Self::U8(value) => out.put_u8(*value),
            Self::I16(value) => out.put_i16(*value),
            Self::U16(value) => out.put_u16(*value),
            Self::I32(value) => out.put_i32(*value),
            Self::U32(value) => out.put_u32(*value),
            Self::I64(value) | Self::LongLong(value) => out.put_i64(*value),
            Self::F32(value) => out.put_f32(*value),
            Self::F64(value) => out.put_f64(*value),
            Self::Decimal { scale, value } => {
                out.put_u8(*scale);
                out.put_u32(*value);
            }
            Self::LongStr(bytes) | Self::ByteArray(bytes) => put_longstr(out, bytes),
            Self::Array(values) => put_sized(out, |out| {
                values.iter().for_each(|value| value.encode(out));
            }),
            Self::Timestamp(value) => out.put_u64(*value),
            Self::Table(table) => table.encode(out),
            Self::Void => {}
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Bool(_) => b't',
            Self::I8(_) => b'b',
            Self::U8(_) => b'B',
            Self::I16(_) => b's',
            Self::U16(_) => b'u',
            Self::I32(_) => b'I',
            Self::U32(_) => b'i',
            Self::I64(_) => b'l',
            Self::LongLong(_) => b'L',
            Self::F32(_) => b'f',
            Self::F64(_) => b'd',
            Self::Decimal { .. } => b'D',
            Self::LongStr(_) => b'S',
            Self::ByteArray(_) => b'x',
            Self::Array(_) => b'A',
            Self::Timestamp(_) => b'T',
            Self::Table(_) => b'F',
            Self::Void => b'V',
        }
    }

    fn decode_at(fields: &mut Fields<'_>, depth: u32) -> Result<Self, DecodeError> {
        let inner = depth.saturating_add(1);
        Ok(match fields.octet()? {
            b't' => Self::Bool(fields.octet()? != 0),
            b'b' => Self::I8(fields.octet()?.cast_signed()),
            b'B' => Self::U8(fields.octet()?),
            b's' => Self::I16(fields.short()?.cast_signed()),
            b'u' => Self::U16(fields.short()?),
            b'I' => Self::I32(fields.long()?.cast_signed()),
            b'i' => Self::U32(fields.long()?),
            b'l' => Self::I64(fields.longlong()?.cast_signed()),
            b'L' => Self::LongLong(fields.longlong()?.cast_signed()),
            b'f' => Self::F32(f32::from_bits(fields.long()?)),
            b'd' => Self::F64(f64::from_bits(fields.longlong()?)),
            b'D' => Self::Decimal { scale: fields.octet()?, value: fields.long()? },
            b'S' => Self::LongStr(fields.longstr()?),
            b'x' => Self::ByteArray(fields.longstr()?),
            b'A' => Self::Array(Self::decode_array(fields, inner)?),
            b'T' => Self::Timestamp(fields.timestamp()?),
            b'F' => Self::Table(FieldTable::decode_at(fields, inner)?),
            b'V' => Self::Void,
            tag => return Err(unknown_tag(tag)),
        })
    }

    fn decode_array(fields: &mut Fields<'_>, depth: u32) -> Result<Vec<Self>, DecodeError> {
        check_depth(depth)?;
        let mut inside = fields.sized()?;
        let mut values = Vec::new();
        while !inside.is_empty() {
            values.push(Self::decode_at(&mut inside, depth)?);
        }
        Ok(values)
    }

    /// Passes over a value, checking all of it.
    fn check_at(fields: &mut Fields<'_>, depth: u32) -> Result<(), DecodeError> {
        let inner = depth.saturating_add(1);
        match fields.octet()? {
            b'V' => Ok(()),
            b't' | b'b' | b'B' => fields.skip(1),
            b's' | b'u' => fields.skip(2),
            b'I' | b'i' | b'f' => fields.skip(4),
            b'D' => fields.skip(5),
            b'l' | b'L' | b'd' | b'T' => fields.skip(8),
            b'S' | b'x' => fields.long_bytes().map(|_| ()),
            b'F' => FieldTable::check_at(fields, inner),
            b'A' => {
                check_depth(inner)?;
                let mut inside = fields.sized()?;
                while !inside.is_empty() {
                    Self::check_at(&mut inside, inner)?;
                }
                Ok(())
            }
            tag => Err(unknown_tag(tag)),
        }
    }
}

fn unknown_tag(tag: u8) -> DecodeError {
    DecodeError::syntax(format!("unknown field type {:?} in a table", char::from(tag)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::reply::ReplyCode;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn name() -> impl Strategy<Value = ShortStr> {
        "[a-zé]{0,12}".prop_map(|text| ShortStr::try_from(text.as_str()).expect("short"))
    }

    fn value() -> impl Strategy<Value = FieldValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(FieldValue::Bool),
            any::<i8>().prop_map(FieldValue::I8),
            any::<u8>().prop_map(FieldValue::U8),
            any::<i16>().prop_map(FieldValue::I16),
            any::<u16>().prop_map(FieldValue::U16),
            any::<i32>().prop_map(FieldValue::I32),
            any::<u32>().prop_map(FieldValue::U32),
            any::<i64>().prop_map(FieldValue::I64),
            any::<i64>().prop_map(FieldValue::LongLong),
            (-1e6f32..1e6).prop_map(FieldValue::F32),
            (-1e9f64..1e9).prop_map(FieldValue::F64),
            any::<(u8, u32)>().prop_map(|(scale, value)| FieldValue::Decimal { scale, value }),
            bytes().prop_map(FieldValue::LongStr),
            bytes().prop_map(FieldValue::ByteArray),
            any::<u64>().prop_map(FieldValue::Timestamp),
            Just(FieldValue::Void),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let fields = prop::collection::vec((name(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(FieldValue::Array),
                fields.prop_map(|fields| FieldValue::Table(fields.into_iter().collect())),
            ]
        })
    }

    fn encoded(table: &FieldTable) -> Bytes {
        let mut out = BytesMut::new();
        table.encode(&mut out);
        out.freeze()
    }

    proptest! {
        #[test]
        fn every_value_comes_back_with_its_type(
            fields in prop::collection::vec((name(), value()), 0..8)
        ) {
            let table: FieldTable = fields.into_iter().collect();
            let bytes = encoded(&table);
            let mut read = Fields::new(&bytes);
            prop_assert_eq!(FieldTable::decode(&mut read).expect("own bytes"), table);
            prop_assert!(read.is_empty());
            prop_assert!(FieldTable::check(&mut Fields::new(&bytes)).is_ok());
        }

        #[test]
        fn checking_and_decoding_agree_on_arbitrary_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let bytes = Bytes::from(bytes);
            let checked = FieldTable::check(&mut Fields::new(&bytes)).is_ok();
            prop_assert_eq!(checked, FieldTable::decode(&mut Fields::new(&bytes)).is_ok());
        }
    }

    fn one_name_twice() -> FieldTable {
        let field = |value| (ShortStr::from_static("n"), FieldValue::I32(value));
        FieldTable::from_iter([field(1), field(2)])
    }

    #[test]
    fn of_a_repeated_name_the_first_counts_and_both_leave_as_they_came() {
        let table = one_name_twice();
        assert_eq!(table.get("n"), Some(&FieldValue::I32(1)));
        let read = FieldTable::decode(&mut Fields::new(&encoded(&table))).expect("own bytes");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn a_removed_name_is_gone_however_often_it_stood_there() {
        let mut table = one_name_twice();
        assert_eq!(table.remove("n"), Some(FieldValue::I32(1)));
        assert!(table.is_empty());
        assert_eq!(table.remove("n"), None);
    }

    #[test]
    fn an_inserted_field_takes_the_place_of_the_one_it_replaces() {
        let mut table = FieldTable::new();
        table.insert(ShortStr::from_static("a"), FieldValue::Void);
        table.insert(ShortStr::from_static("b"), FieldValue::Void);
        table.insert(ShortStr::from_static("a"), FieldValue::Bool(true));
        let names: Vec<&str> = table.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(table.get("a"), Some(&FieldValue::Bool(true)));
    }

    #[test]
    fn bytes_that_are_no_text_survive_in_a_long_string() {
        let bytes = Bytes::from_static(b"\x00\x00\x00\x09\x01nS\x00\x00\x00\x02\xff\xfe");
        let table = FieldTable::decode(&mut Fields::new(&bytes)).expect("valid");
        assert_eq!(table.get("n").and_then(FieldValue::as_str), None);
        assert_eq!(encoded(&table), bytes);
    }

    fn nested(levels: u32) -> FieldTable {
        (1..levels).fold(FieldTable::default(), |inner, _| {
            FieldTable::from_iter([(ShortStr::from_static("t"), FieldValue::Table(inner))])
        })
    }

    #[test]
    fn tables_may_be_nested_to_the_limit_and_no_deeper() {
        let bytes = encoded(&nested(DEPTH_MAX));
        assert!(FieldTable::decode(&mut Fields::new(&bytes)).is_ok());
        let bytes = encoded(&nested(DEPTH_MAX + 1));
        let error = FieldTable::decode(&mut Fields::new(&bytes)).expect_err("too deep");
        assert_eq!(error.code, ReplyCode::SyntaxError);
        assert_eq!(FieldTable::check(&mut Fields::new(&bytes)), Err(error));
    }
}
