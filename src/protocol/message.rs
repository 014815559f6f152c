//! What a publisher sent: where to, the properties as they came, the body.
//!
//! Immutable once made and shared by reference from the socket it came in on to the log, the queues
//! and the sockets it leaves on. All but a large body is in one piece, in the form in which it is
//! written out again, so that neither the log nor a delivery has to put it together:
//!
//! ```text
//! flags u8 | times | exchange, routing key | length, properties | a small body
//!                  └ as in basic.deliver ┘
//! times:  arrival u64 | own expiry u64, in milliseconds since 1970; only where a rule needs them
//! length: u8, or u32 where a flag is missing: of long ones, and those of earlier versions
//! ```

use bytes::{BufMut, Bytes};

pub use super::body::Body;
use super::properties::{Facts, Properties};
use super::wire::{Fields, ShortStr};

/// The broker itself moved the message here from a queue that it died in: only then is its x-death
/// header the broker's own word.
const FLAG_DEAD_LETTERED: u8 = 1;

/// The times follow the flags.
const FLAG_TIMED: u8 = 2;

/// The length of the properties has one octet.
const FLAG_SHORT_PROPERTIES: u8 = 4;

const TIMES_LEN: usize = 16;

/// The expiry of a message that has none of its own.
const NEVER_MS: u64 = u64::MAX;

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    packed: Box<[u8]>,
    /// A large body as a list of shared chunks, one for each body frame it came in.
    chunks: Box<[Bytes]>,
    body_len: u32,
    /// Where a small body begins in `packed`, and before it the other parts.
    body_at: u32,
    properties_at: u16,
    key_at: u16,
    priority: u8,
    is_persistent: bool,
    /// As its flag says: asked of every message.
    is_timed: bool,
}

/// A body where it is.
#[derive(Debug, Clone, Copy)]
pub enum BodyRef<'a> {
    Small(&'a [u8]),
    /// None of the chunks is empty.
    Large(&'a [Bytes]),
}

impl Message {
    /// Up to here a body is kept with the rest of its message. A larger one is shared, not copied,
    /// on its way out.
    pub const SMALL_MAX: usize = 8 * 1024;

    /// A message without a hold on the buffer its parts were read into, but for those of a body
    /// that fill most of it. `exchange` and `routing_key` are what the consumer is told in
    /// basic.deliver.
    pub fn new(
        exchange: &ShortStr,
        routing_key: &ShortStr,
        properties: &Properties,
        body: Body,
        dead_lettered: bool,
    ) -> Self {
        if body.len() <= Self::SMALL_MAX as u64 {
            let body = body.to_bytes();
            return Self::small(exchange, routing_key, properties, &body, dead_lettered);
        }
        let mut message = Self::small(exchange, routing_key, properties, &[], dead_lettered);
        message.body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        message.chunks = body.into_chunks();
        message
    }

    /// A message with a body in one piece, which is copied.
    pub fn small(
        exchange: &ShortStr,
        routing_key: &ShortStr,
        properties: &Properties,
        body: &[u8],
        dead_lettered: bool,
    ) -> Self {
        let properties_len = properties.as_bytes().len();
        let lens = [exchange.as_bytes().len(), routing_key.as_bytes().len(), properties_len];
        // Flags and the lengths of the three.
        let len =
            lens.iter().fold(body.len().saturating_add(7), |sum, len| sum.saturating_add(*len));
        let mut packed = Vec::with_capacity(len);
        let short_len = u8::try_from(properties_len).ok();
        let dead_lettered = if dead_lettered { FLAG_DEAD_LETTERED } else { 0 };
        packed.push(dead_lettered | short_len.map_or(0, |_| FLAG_SHORT_PROPERTIES));
        put_short(&mut packed, exchange);
        let key_at = packed.len();
        put_short(&mut packed, routing_key);
        let properties_at = packed.len();
        match short_len {
            Some(len) => packed.put_u8(len),
            None => packed.put_u32(u32::try_from(properties_len).unwrap_or(u32::MAX)),
        }
        packed.put_slice(properties.as_bytes());
        let body_at = packed.len();
        packed.put_slice(body);
        Self {
            packed: packed.into_boxed_slice(),
            chunks: Box::default(),
            // Bodies and frames are bounded far below where they come in, short strings by their
            // type.
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_at: u32::try_from(body_at).unwrap_or(u32::MAX),
            properties_at: u16::try_from(properties_at).unwrap_or(u16::MAX),
            key_at: u16::try_from(key_at).unwrap_or(u16::MAX),
            priority: properties.priority().unwrap_or(0),
            is_persistent: properties.is_persistent(),
            is_timed: false,
        }
    }

    /// A message from its packed form: all of it but for a large body in `fields`, and the rest of
    /// a large body in any number of pieces. Nothing when it is none. That names are text was seen
    /// to before they were packed.
    pub fn unpack(mut fields: Fields<'_>, others: &[Bytes]) -> Option<Self> {
        let first = fields.as_slice();
        let place = |fields: &Fields<'_>| first.len().saturating_sub(fields.len());
        let flags = skip_times(&mut fields)?;
        fields.short_bytes().ok()?;
        let key_at = place(&fields);
        fields.short_bytes().ok()?;
        let properties_at = place(&fields);
        let facts = Facts::check(&mut sized_properties(&mut fields, flags)?).ok()?;
        let body_at = place(&fields);
        let is_small = others.is_empty() && fields.len() <= Self::SMALL_MAX;
        let mut body = Body::default();
        let packed = if is_small {
            first
        } else {
            body.push(fields.rest());
            others.iter().for_each(|piece| body.push(piece.clone()));
            first.get(..body_at)?
        };
        Some(Self {
            packed: packed.into(),
            body_len: u32::try_from(if is_small { fields.len() as u64 } else { body.len() })
                .ok()?,
            chunks: body.into_chunks(),
            body_at: u32::try_from(body_at).ok()?,
            properties_at: u16::try_from(properties_at).ok()?,
            key_at: u16::try_from(key_at).ok()?,
            priority: facts.priority(),
            is_persistent: facts.is_persistent(),
            is_timed: flags & FLAG_TIMED != 0,
        })
    }

    /// The length of the body in a packed form that has all of it. Nothing when it is none.
    pub fn body_len_in(mut fields: Fields<'_>) -> Option<u64> {
        let flags = skip_times(&mut fields)?;
        fields.short_bytes().ok()?;
        fields.short_bytes().ok()?;
        sized_properties(&mut fields, flags)?;
        Some(fields.len() as u64)
    }

    /// The packed form, with a small body and without a large one.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The chunks of a large body, which follow the packed form.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    fn part(&self, from: usize, to: usize) -> &[u8] {
        self.packed.get(from..to).unwrap_or_default()
    }

    fn address_at(&self) -> usize {
        if self.is_timed { TIMES_LEN.saturating_add(1) } else { 1 }
    }

    /// Exchange and routing key as they stand in methods that carry a content.
    pub fn address(&self) -> &[u8] {
        self.part(self.address_at(), usize::from(self.properties_at))
    }

    pub fn exchange(&self) -> &str {
        text(self.exchange_bytes())
    }

    /// The exchange's name, for comparison.
    pub fn exchange_bytes(&self) -> &[u8] {
        self.part(self.address_at().saturating_add(1), usize::from(self.key_at))
    }

    pub fn routing_key(&self) -> &str {
        text(self.part(usize::from(self.key_at).saturating_add(1), usize::from(self.properties_at)))
    }

    /// Flags and list, as they travel.
    pub fn properties_bytes(&self) -> &[u8] {
        let len = if has_flag(&self.packed, FLAG_SHORT_PROPERTIES) { 1 } else { 4 };
        let at = usize::from(self.properties_at).saturating_add(len);
        self.part(at, usize::try_from(self.body_at).unwrap_or(usize::MAX))
    }

    /// A copy of the properties, for rules that read them.
    pub fn properties(&self) -> Properties {
        // They were checked before they were packed.
        Properties::parse(Bytes::copy_from_slice(self.properties_bytes())).unwrap_or_default()
    }

    pub fn body_len(&self) -> u64 {
        u64::from(self.body_len)
    }

    pub fn body(&self) -> BodyRef<'_> {
        if self.chunks.is_empty() {
            let at = usize::try_from(self.body_at).unwrap_or(usize::MAX);
            return BodyRef::Small(self.packed.get(at..).unwrap_or_default());
        }
        BodyRef::Large(&self.chunks)
    }

    /// A body of its own: a copy of a small one, a share of a large one.
    pub fn to_body(&self) -> Body {
        match self.body() {
            BodyRef::Small(body) => Body::from(Bytes::copy_from_slice(body)),
            BodyRef::Large(chunks) => {
                Body { chunks: chunks.iter().cloned().collect(), len: self.body_len() }
            }
        }
    }

    /// Whether the publisher asked for the message to survive a restart (delivery_mode 2).
    pub fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// Whether the broker itself moved it here from a queue that it died in.
    pub fn is_dead_lettered(&self) -> bool {
        has_flag(&self.packed, FLAG_DEAD_LETTERED)
    }

    /// Whether its times were noted ([`Message::arrived_at`]).
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    fn time(&self, at: usize) -> Option<u64> {
        if !self.is_timed {
            return None;
        }
        let bytes = self.part(at, at.saturating_add(8));
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// When it came, in milliseconds since 1970, where that was noted ([`Message::arrived_at`]).
    pub fn arrived_ms(&self) -> Option<u64> {
        self.time(1)
    }

    /// When it dies by its own expiration, in milliseconds since 1970, where that was noted.
    pub fn expires_ms(&self) -> Option<u64> {
        self.time(9).filter(|expires_ms| *expires_ms != NEVER_MS)
    }

    /// The same message with the time of its arrival, and of its expiry, if it has an expiration
    /// that is a number.
    pub fn arrived_at(&self, now_ms: u64, properties: &Properties) -> Self {
        let ttl = properties.expiration().and_then(|ttl| ttl.parse::<u64>().ok());
        let expires_ms = ttl.map_or(NEVER_MS, |ttl| now_ms.saturating_add(ttl));
        let rest = self.packed.get(self.address_at()..).unwrap_or_default();
        let flags = self.packed.first().copied().unwrap_or_default() | FLAG_TIMED;
        let (arrived, expires) = (now_ms.to_be_bytes(), expires_ms.to_be_bytes());
        let packed = [&[flags], arrived.as_slice(), expires.as_slice(), rest].concat();
        let added = packed.len().saturating_sub(self.packed.len());
        let (short, long) = (u16::try_from(added).unwrap_or(0), u32::try_from(added).unwrap_or(0));
        Self {
            packed: packed.into(),
            chunks: self.chunks.clone(),
            key_at: self.key_at.saturating_add(short),
            properties_at: self.properties_at.saturating_add(short),
            body_at: self.body_at.saturating_add(long),
            is_timed: true,
            ..*self
        }
    }

    /// The publisher's priority; 0 without.
    pub fn priority(&self) -> u8 {
        self.priority
    }
}

fn has_flag(packed: &[u8], flag: u8) -> bool {
    packed.first().is_some_and(|flags| flags & flag != 0)
}

/// Reads on to a packed message's address; answers its flags.
fn skip_times(fields: &mut Fields<'_>) -> Option<u8> {
    let flags = fields.octet().ok()?;
    if flags & FLAG_TIMED != 0 {
        fields.longlong().ok()?;
        fields.longlong().ok()?;
    }
    Some(flags)
}

fn sized_properties<'a>(fields: &mut Fields<'a>, flags: u8) -> Option<Fields<'a>> {
    match flags & FLAG_SHORT_PROPERTIES {
        0 => fields.sized().ok(),
        _ => fields.short_sized().ok(),
    }
}

fn put_short(out: &mut Vec<u8>, short: &ShortStr) {
    // At most 255 bytes, by its type.
    out.push(u8::try_from(short.as_bytes().len()).unwrap_or(u8::MAX));
    out.extend_from_slice(short.as_bytes());
}

fn text(bytes: &[u8]) -> &str {
    // Checked before it was packed; an empty name is the harmless answer to the impossible.
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Messages are equal when their bytes are, however a large body is cut.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.packed == other.packed
            && self.body_len == other.body_len
            && self.chunks.concat() == other.chunks.concat()
    }
}

impl Eq for Message {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::properties::BasicProperties;
    use crate::protocol::table::FieldValue;

    fn properties() -> Properties {
        let delivery_mode = Some(2);
        Properties::from(&BasicProperties { delivery_mode, ..BasicProperties::default() })
    }

    fn message(body: &[Bytes]) -> Message {
        let mut chunks = Body::default();
        body.iter().for_each(|chunk| chunks.push(chunk.clone()));
        let (exchange, key) = (ShortStr::from_static("orders"), ShortStr::from_static("eu.new"));
        Message::new(&exchange, &key, &properties(), chunks, true)
    }

    fn bytes(len: usize) -> Bytes {
        (0..len).map(|place| place as u8).collect()
    }

    #[test]
    fn the_parts_come_out_as_they_went_in_whatever_the_length() {
        for len in
            [0, 1, Message::SMALL_MAX, Message::SMALL_MAX + 1, 32 * 1024, 32 * 1024 + 1, 300_000]
        {
            let body = bytes(len);
            let message = message(&[body.slice(..len / 3), body.slice(len / 3..)]);
            assert_eq!((message.exchange(), message.routing_key()), ("orders", "eu.new"));
            assert_eq!(message.address(), b"\x06orders\x06eu.new");
            assert_eq!(message.properties(), properties());
            assert_eq!(message.properties_bytes(), properties().as_bytes());
            assert_eq!(message.body_len(), len as u64);
            assert_eq!(message.to_body().to_bytes(), body);
            assert!(message.is_persistent() && message.is_dead_lettered());
        }
    }

    #[test]
    fn the_packed_form_is_the_whole_message() {
        for len in [0, 100, Message::SMALL_MAX + 1, 100_000] {
            let message = message(&[bytes(len)]);
            let packed = Bytes::copy_from_slice(message.packed());
            let pieces: Vec<Bytes> =
                [packed].into_iter().chain(message.chunks().iter().cloned()).collect();
            let unpacked = Message::unpack(Fields::new(&pieces[0]), &pieces[1..]);
            assert_eq!(unpacked.as_ref(), Some(&message));
            let in_one = Bytes::from(pieces.concat());
            assert_eq!(Message::unpack(Fields::new(&in_one), &[]), Some(message));
            assert_eq!(Message::body_len_in(Fields::new(&in_one)), Some(len as u64));
        }
    }

    #[test]
    fn the_times_of_a_message_go_where_it_goes() {
        let expiration = Some(ShortStr::from_static("250"));
        let dying = BasicProperties { expiration, priority: Some(3), ..BasicProperties::default() };
        for (properties, expires_ms) in
            [(Properties::from(&dying), Some(1_250)), (Properties::default(), None)]
        {
            let (exchange, key) = (ShortStr::from_static("e"), ShortStr::from_static("k"));
            let plain = Message::small(&exchange, &key, &properties, b"body", false);
            assert_eq!((plain.arrived_ms(), plain.expires_ms()), (None, None));
            let again = plain.arrived_at(7, &properties);
            let timed = plain.arrived_at(1_000, &properties);
            assert_eq!(again.arrived_at(1_000, &properties), timed);
            let packed = Bytes::copy_from_slice(timed.packed());
            assert_eq!(Message::body_len_in(Fields::new(&packed)), Some(4));
            let timed = Message::unpack(Fields::new(&packed), &[]).expect("own bytes");
            assert_eq!((timed.arrived_ms(), timed.expires_ms()), (Some(1_000), expires_ms));
            assert_eq!((timed.exchange(), timed.routing_key()), ("e", "k"));
            assert_eq!(timed.address(), plain.address());
            assert_eq!(timed.properties(), properties);
            assert_eq!(timed.to_body().to_bytes(), "body");
            assert_eq!(timed.priority(), plain.priority());
        }
    }

    #[test]
    fn properties_of_any_length_are_read_and_so_are_short_ones_as_they_were_written_once() {
        for len in [0, 1, 200, 255, 256, 70_000] {
            let text = FieldValue::LongStr(Bytes::from(vec![b'x'; len]));
            let headers = [(ShortStr::from_static("h"), text)].into_iter().collect();
            let headers = (len > 0).then_some(headers);
            let properties =
                Properties::from(&BasicProperties { headers, ..BasicProperties::default() });
            let name = ShortStr::from_static("n");
            let message = Message::small(&name, &name, &properties, b"body", false);
            let packed = Bytes::copy_from_slice(message.packed());
            assert_eq!(Message::unpack(Fields::new(&packed), &[]), Some(message.clone()), "{len}");
            let once = [
                b"\0\x01n\x01n".as_slice(),
                &(properties.as_bytes().len() as u32).to_be_bytes(),
                properties.as_bytes(),
                b"body",
            ];
            let once = Bytes::from(once.concat());
            let message = Message::unpack(Fields::new(&once), &[]).expect("a message");
            assert_eq!(message.properties(), properties, "{len}");
            assert_eq!((message.address(), message.body_len()), (&b"\x01n\x01n"[..], 4));
            assert_eq!(Message::body_len_in(Fields::new(&once)), Some(4));
        }
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let message = message(&[]);
        let packed = Bytes::copy_from_slice(message.packed());
        for len in 0..packed.len() {
            let fields = Fields::within(&packed, 0..len);
            assert_eq!(Message::unpack(fields, &[]), None, "of {len} bytes");
        }
    }

    #[test]
    fn a_small_body_holds_no_buffer_and_a_large_one_is_shared() {
        let buffer = bytes(200_000);
        let large = message(&[buffer.slice(..100_000)]);
        assert!(
            matches!(large.body(), BodyRef::Large([chunk]) if chunk.as_ptr() == buffer.as_ptr())
        );
        let medium = message(&[buffer.slice(..20_000)]);
        assert!(
            matches!(medium.body(), BodyRef::Large([chunk]) if chunk.as_ptr() != buffer.as_ptr())
        );
        assert!(matches!(message(&[buffer.slice(..100)]).body(), BodyRef::Small(_)));
    }
}
