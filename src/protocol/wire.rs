//! Primitives of the wire: octets, integers, short and long strings, bits, timestamps.
//!
//! All integers are big-endian. Consecutive bits share an octet, the first in its lowest place:
//!
//! ```text
//! short string: length u8  | bytes (UTF-8)
//! long string:  length u32 | bytes
//! table:        length u32 | name (short string), type u8, value | ...
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};

use bytes::{BufMut, Bytes, BytesMut};
use nom::bytes::complete::take;
use nom::multi::{length_data, length_value};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};
use smol_str::SmolStr;

use super::error::DecodeError;

/// An AMQP short string: at most 255 bytes of UTF-8. Up to 23 of them stand in it, so that most
/// names are found where their owner is; longer ones are shared by reference.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShortStr(SmolStr);

/// Why bytes are not a short string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortStrError {
    TooLong,
    NotUtf8,
}

impl fmt::Display for ShortStrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a name is longer than 255 bytes",
            Self::NotUtf8 => "a name is not UTF-8",
        })
    }
}

impl std::error::Error for ShortStrError {}

impl ShortStr {
    pub const MAX_LEN: usize = 255;

    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= Self::MAX_LEN);
        Self(SmolStr::new_static(text))
    }

    /// Checks length and encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShortStrError> {
        str::from_utf8(bytes).map_err(|_| ShortStrError::NotUtf8)?.try_into()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<&str> for ShortStr {
    type Error = ShortStrError;

    fn try_from(text: &str) -> Result<Self, ShortStrError> {
        match text.len() {
            ..=Self::MAX_LEN => Ok(Self(SmolStr::new(text))),
            _ => Err(ShortStrError::TooLong),
        }
    }
}

impl Deref for ShortStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// That of its bytes, so that it is found by them.
impl Hash for ShortStr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for ShortStr {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for ShortStr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ShortStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
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

/// Reads fields one after another from shared bytes. Long strings share those bytes; names are
/// copied.
pub struct Fields<'a> {
    owner: &'a Bytes,
    rest: &'a [u8],
    /// Bits of the octet in hand that are not read yet, and how many.
    bits: u8,
    bits_left: u8,
}

impl<'a> Fields<'a> {
    pub fn new(owner: &'a Bytes) -> Self {
        Self { owner, rest: owner, bits: 0, bits_left: 0 }
    }

    /// Those in a part of shared bytes; none when there is no such part.
    pub fn within(owner: &'a Bytes, part: Range<usize>) -> Self {
        Self { owner, rest: owner.get(part).unwrap_or_default(), bits: 0, bits_left: 0 }
    }

    /// The rest of the bytes, as they are.
    pub fn rest(&self) -> Bytes {
        self.owner.slice_ref(self.rest)
    }

    /// The rest of the bytes, without a share in them.
    pub fn as_slice(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    fn parse<T>(
        &mut self,
        what: &str,
        mut parser: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
    ) -> Result<T, DecodeError> {
        self.bits_left = 0;
        let parsed: IResult<&'a [u8], T> = parser.parse(self.rest);
        match parsed {
            Ok((rest, value)) => {
                self.rest = rest;
                Ok(value)
            }
            Err(_) => {
                let offset = self.owner.len().saturating_sub(self.rest.len());
                Err(DecodeError::syntax(format!("{what} is cut short at byte {offset}")))
            }
        }
    }

    pub fn octet(&mut self) -> Result<u8, DecodeError> {
        self.parse("octet", be_u8)
    }

    pub fn short(&mut self) -> Result<u16, DecodeError> {
        self.parse("short", be_u16)
    }

    pub fn long(&mut self) -> Result<u32, DecodeError> {
        self.parse("long", be_u32)
    }

    pub fn longlong(&mut self) -> Result<u64, DecodeError> {
        self.parse("longlong", be_u64)
    }

    pub fn timestamp(&mut self) -> Result<u64, DecodeError> {
        self.longlong()
    }

    /// The next bit; those of one octet are read one after another.
    pub fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.bits_left == 0 {
            self.bits = self.octet()?;
            self.bits_left = 8;
        }
        let bit = self.bits & 1 == 1;
        self.bits >>= 1;
        self.bits_left = self.bits_left.saturating_sub(1);
        Ok(bit)
    }

    /// A short string, whatever its bytes are.
    pub fn short_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.parse("short string", length_data(be_u8))
    }

    /// A short string that is only looked at.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.short_bytes()?)
            .map_err(|_| DecodeError::syntax("a short string is not UTF-8"))
    }

    pub fn shortstr(&mut self) -> Result<ShortStr, DecodeError> {
        ShortStr::from_bytes(self.short_bytes()?)
            .map_err(|_| DecodeError::syntax("a short string is not UTF-8"))
    }

    /// A long string that is only looked at.
    pub fn long_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.parse("long string", length_data(be_u32))
    }

    pub fn longstr(&mut self) -> Result<Bytes, DecodeError> {
        let bytes = self.long_bytes()?;
        Ok(self.owner.slice_ref(bytes))
    }

    /// The bytes that `read` passes over.
    pub fn span(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<&'a [u8], DecodeError> {
        let before = self.rest;
        read(self)?;
        let len = before.len().saturating_sub(self.rest.len());
        Ok(before.get(..len).unwrap_or_default())
    }

    /// The inside of something that carries its length in front: a table or an array.
    pub fn sized(&mut self) -> Result<Self, DecodeError> {
        let all = nom::combinator::rest;
        let rest = self.parse("table", length_value(be_u32, all))?;
        Ok(Fields { owner: self.owner, rest, bits: 0, bits_left: 0 })
    }

    /// As [`Fields::sized`], with a length of one octet.
    pub fn short_sized(&mut self) -> Result<Self, DecodeError> {
        let all = nom::combinator::rest;
        let rest = self.parse("short part", length_value(be_u8, all))?;
        Ok(Fields { owner: self.owner, rest, bits: 0, bits_left: 0 })
    }

    pub fn skip(&mut self, count: u32) -> Result<(), DecodeError> {
        self.parse("value", take(count)).map(|_| ())
    }

    /// Rule: nothing may follow the last field.
    pub fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(DecodeError::syntax(format!("{more} bytes follow the last field"))),
        }
    }
}

/// Up to eight bits in one octet, the first in the lowest place.
pub fn put_bits<const N: usize>(out: &mut BytesMut, bits: [bool; N]) {
    let octet = bits.iter().rev().fold(0u8, |octet, bit| octet << 1 | u8::from(*bit));
    out.put_u8(octet);
}

pub fn put_shortstr(out: &mut BytesMut, text: &ShortStr) {
    // At most 255 bytes, by its type.
    out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.put_slice(text.as_bytes());
}

/// A long string. What can be said in a frame is far shorter than what its length can say.
pub fn put_longstr(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// Writes something that carries its length in front.
pub fn put_sized(out: &mut BytesMut, inside: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    inside(out);
    let len = out.len().saturating_sub(start).saturating_sub(4);
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..).and_then(|written| written.first_chunk_mut::<4>()) {
        *place = len.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_fill_an_octet_from_its_lowest_place() {
        let mut out = BytesMut::new();
        put_bits(&mut out, [true, false, true, true, false]);
        assert_eq!(out.as_ref(), [0b0000_1101]);
        let bytes = out.freeze();
        let mut fields = Fields::new(&bytes);
        let read: Vec<bool> = (0..5).map(|_| fields.bit().expect("there")).collect();
        assert_eq!(read, [true, false, true, true, false]);
    }

    #[test]
    fn a_short_string_outlives_the_bytes_it_was_read_from() {
        for len in [0, 23, 24, ShortStr::MAX_LEN] {
            let expected = "n".repeat(len);
            let bytes =
                Bytes::from([&[u8::try_from(len).expect("short")], expected.as_bytes()].concat());
            let text = Fields::new(&bytes).shortstr().expect("there");
            assert!(bytes.try_into_mut().is_ok(), "a name of {len} bytes pins them");
            assert_eq!(text, *expected);
        }
    }

    #[test]
    fn a_short_string_is_at_most_255_bytes_of_utf_8() {
        let long = "n".repeat(ShortStr::MAX_LEN + 1);
        assert_eq!(ShortStr::try_from(&*long), Err(ShortStrError::TooLong));
        assert_eq!(ShortStr::from_bytes(b"caf\xe9"), Err(ShortStrError::NotUtf8));
        assert_eq!(ShortStr::from_bytes("café".as_bytes()).expect("a name"), "café");
    }

    #[test]
    fn what_is_cut_short_is_a_syntax_error() {
        let bytes = Bytes::from_static(b"\x05hell");
        let error = Fields::new(&bytes).shortstr().expect_err("cut");
        assert_eq!(error.code, crate::protocol::reply::ReplyCode::SyntaxError);
    }
}
