//! Field tables: the typed key-value lists of AMQP arguments and headers.

use bytes::Bytes;

use super::wire::ShortStr;

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
    /// `S`: bytes, by custom UTF-8 text.
    LongStr(Bytes),
    /// `x`
    ByteArray(Bytes),
    /// `A`
    Array(Vec<FieldValue>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(FieldTable),
    /// `V`
    Void,
}

/// Field names and values in the order they came. A repeated name keeps its first place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldTable(pub(crate) Vec<(ShortStr, FieldValue)>);
