//! Frames: the units of the wire.
//!
//! ```text
//! type u8 | channel u16 | size u32 | payload (size bytes) | end 0xCE
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::generated::{
    BasicDeliver, BasicPublish, FRAME_BODY, FRAME_END as END, FRAME_HEADER, FRAME_HEARTBEAT,
    FRAME_METHOD, Method,
};
use super::reply::ReplyCode;
use super::wire::{ShortStr, put_shortstr, put_sized};

/// What every client sends first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

pub const FRAME_END: u8 = END;

const HEAD_LEN: usize = 7;

/// Class, weight and body size of a content header, before its properties.
const CONTENT_HEAD_LEN: usize = 12;

/// Bytes of a frame that are not payload.
pub const FRAME_OVERHEAD: usize = 8;

/// Class and method of basic.deliver.
const DELIVER: u32 = (BasicDeliver::CLASS_ID as u32) << 16 | BasicDeliver::METHOD_ID as u32;

/// Clients miscount by 1 or by the overhead: so much more than agreed on is let pass.
const FRAME_MAX_SLACK: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

impl FrameKind {
    #[inline]
    fn of(octet: u8) -> Option<Self> {
        match octet {
            FRAME_METHOD => Some(Self::Method),
            FRAME_HEADER => Some(Self::Header),
            FRAME_BODY => Some(Self::Body),
            FRAME_HEARTBEAT => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// A frame where it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub channel: u16,
    pub kind: FrameKind,
    pub payload: &'a [u8],
    /// What holds the payload.
    buffer: &'a Bytes,
}

impl Frame<'_> {
    /// The payload, to be kept: a share of the buffer.
    pub fn shared_payload(&self) -> Bytes {
        self.buffer.slice_ref(self.payload)
    }
}

/// Whole frames, one behind the other.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Bytes,
    /// Where the next one begins.
    at: usize,
    /// The next one's; read once, however often it is looked at.
    next: Option<Head>,
}

impl Frames {
    fn new(bytes: Bytes) -> Self {
        let mut frames = Self { bytes, at: 0, next: None };
        frames.look();
        frames
    }

    #[inline]
    fn look(&mut self) {
        self.next = self.bytes.get(self.at..).and_then(Head::read);
    }

    pub fn is_empty(&self) -> bool {
        self.next.is_none()
    }

    /// The next one, which stays.
    #[inline]
    pub fn peek(&self) -> Option<Frame<'_>> {
        let Head { kind, channel, size } = self.next?;
        let begin = self.at.saturating_add(HEAD_LEN);
        let payload = self.bytes.get(begin..begin.saturating_add(size))?;
        Some(Frame { channel, kind, payload, buffer: &self.bytes })
    }

    /// Goes on behind the next one; when that was the last, the buffer is let go.
    #[inline]
    pub fn advance(&mut self) {
        let len = self.next.map_or(0, |next| next.size);
        self.at = self.at.saturating_add(len).saturating_add(FRAME_OVERHEAD);
        self.look();
        if self.next.is_none() {
            *self = Self::default();
        }
    }
}

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: FrameKind,
    channel: u16,
    /// Of the payload.
    size: usize,
}

impl Head {
    /// Nothing while it is not whole, or of a kind that there isn't.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let [kind, channel_high, channel_low, size @ ..] = *bytes.first_chunk::<HEAD_LEN>()?;
        let channel = u16::from_be_bytes([channel_high, channel_low]);
        let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        Some(Self { kind: FrameKind::of(kind)?, channel, size })
    }
}

/// Cuts a stream of bytes into frames. Nothing is buffered for a frame that is too large.
#[derive(Debug)]
pub struct FrameDecoder {
    frame_max: usize,
}

impl FrameDecoder {
    /// `frame_max` counts the whole frame, in bytes.
    pub fn new(frame_max: u32) -> Self {
        let mut decoder = Self { frame_max: 0 };
        decoder.set_frame_max(frame_max);
        decoder
    }

    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX);
    }

    /// Takes the whole frames at the beginning of `buffer`, if there are any. What is behind a
    /// frame that breaks the rules is never a frame: an error comes when all before it are taken.
    pub fn take_whole(&self, buffer: &mut BytesMut) -> Result<Frames, DecodeError> {
        let mut at = 0usize;
        loop {
            match self.frame_len(buffer.get(at..).unwrap_or_default()) {
                Ok(Some(len)) => at = at.saturating_add(len),
                Err(error) if at == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        let bytes = if at == 0 { Bytes::new() } else { buffer.split_to(at).freeze() };
        Ok(Frames::new(bytes))
    }

    /// The length of the frame at the beginning, if it is whole.
    #[inline]
    fn frame_len(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(Head { kind, channel, size }) = Head::read(bytes) else {
            return match bytes.first_chunk::<HEAD_LEN>() {
                Some([kind, ..]) => Err(frame_error(format!("unknown frame type {kind}"))),
                None => Ok(None),
            };
        };
        let len = size.saturating_add(FRAME_OVERHEAD);
        if len > self.frame_max.saturating_add(FRAME_MAX_SLACK) {
            return Err(frame_error(format!(
                "a frame with {size} bytes of payload is above the negotiated frame_max of {}",
                self.frame_max
            )));
        }
        if kind == FrameKind::Heartbeat && channel != 0 {
            return Err(DecodeError::new(
                ReplyCode::UnexpectedFrame,
                format!("a heartbeat came on channel {channel}, not on 0"),
            ));
        }
        if kind == FrameKind::Heartbeat && size != 0 {
            return Err(frame_error(format!("a heartbeat has {size} bytes of payload")));
        }
        match bytes.get(len.saturating_sub(1)) {
            None => Ok(None),
            Some(&FRAME_END) => Ok(Some(len)),
            Some(end) => {
                Err(frame_error(format!("a frame ends with {end:#04x}, not with {FRAME_END:#04x}")))
            }
        }
    }
}

fn frame_error(text: String) -> DecodeError {
    DecodeError::new(ReplyCode::FrameError, text)
}

/// The frame after a method that carries a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHead<'a> {
    pub class_id: u16,
    pub body_size: u64,
    /// Flags and list, not looked at yet.
    pub properties: &'a [u8],
}

impl<'a> ContentHead<'a> {
    /// `payload` is that of a header frame.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((head, properties)) = payload.split_first_chunk::<CONTENT_HEAD_LEN>() else {
            return Err(DecodeError::syntax("a content header is cut short"));
        };
        let [class_high, class_low, weight_high, weight_low, size @ ..] = *head;
        let weight = u16::from_be_bytes([weight_high, weight_low]);
        if weight != 0 {
            return Err(DecodeError::new(
                ReplyCode::UnexpectedFrame,
                format!("a content header has weight {weight}, not 0"),
            ));
        }
        let class_id = u16::from_be_bytes([class_high, class_low]);
        Ok(Self { class_id, body_size: u64::from_be_bytes(size), properties })
    }
}

/// Appends a frame whose length shows when it is written.
fn put_frame(kind: u8, channel: u16, out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    out.put_u16(channel);
    put_sized(out, payload);
    out.put_u8(FRAME_END);
}

/// Appends a method frame.
pub fn encode_method(channel: u16, method: &Method, out: &mut BytesMut) {
    put_frame(FRAME_METHOD, channel, out, |out| method.encode(out));
}

/// Appends a basic.deliver frame; the address is exchange and routing key as messages keep them, so
/// that no delivery takes them apart.
pub fn encode_deliver(
    channel: u16,
    consumer_tag: &ShortStr,
    delivery_tag: u64,
    redelivered: bool,
    address: &[u8],
    out: &mut BytesMut,
) {
    // Class, method, the tag's length, delivery tag, redelivered.
    let fixed: usize = 2 + 2 + 1 + 8 + 1;
    let len = fixed.saturating_add(consumer_tag.as_bytes().len()).saturating_add(address.len());
    out.put_slice(&frame_head(FRAME_METHOD, channel, len));
    out.put_u32(DELIVER);
    put_shortstr(out, consumer_tag);
    let mut behind = [0; 9];
    let mut place = behind.as_mut_slice();
    place.put_u64(delivery_tag);
    place.put_u8(u8::from(redelivered));
    out.put_slice(&behind);
    out.put_slice(address);
    out.put_u8(FRAME_END);
}

/// Appends the header frame of a content with a body of `body_size` bytes.
pub fn encode_content_header(channel: u16, body_size: u64, properties: &[u8], out: &mut BytesMut) {
    let len = CONTENT_HEAD_LEN.saturating_add(properties.len());
    let mut head = [0; HEAD_LEN + CONTENT_HEAD_LEN];
    let mut place = head.as_mut_slice();
    place.put_slice(&frame_head(FRAME_HEADER, channel, len));
    place.put_u16(BasicPublish::CLASS_ID);
    place.put_u16(0);
    place.put_u64(body_size);
    out.put_slice(&head);
    out.put_slice(properties);
    out.put_u8(FRAME_END);
}

/// Appends a body frame that holds a copy of `payload`.
pub fn encode_body_frame(channel: u16, payload: &[u8], out: &mut BytesMut) {
    out.put_slice(&body_frame_head(channel, payload.len()));
    out.put_slice(payload);
    out.put_u8(FRAME_END);
}

/// The first bytes of a body frame that is not copied; the payload and [`FRAME_END`] follow.
pub fn body_frame_head(channel: u16, payload_len: usize) -> [u8; HEAD_LEN] {
    frame_head(FRAME_BODY, channel, payload_len)
}

#[inline]
fn frame_head(kind: u8, channel: u16, payload_len: usize) -> [u8; HEAD_LEN] {
    let [channel_high, channel_low] = channel.to_be_bytes();
    let [a, b, c, d] = u32::try_from(payload_len).unwrap_or(u32::MAX).to_be_bytes();
    [kind, channel_high, channel_low, a, b, c, d]
}

/// Appends a heartbeat.
pub fn encode_heartbeat(out: &mut BytesMut) {
    put_frame(FRAME_HEARTBEAT, 0, out, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::generated::ChannelOpen;

    fn whole(bytes: &[u8]) -> Result<Frames, ReplyCode> {
        FrameDecoder::new(4096).take_whole(&mut BytesMut::from(bytes)).map_err(|error| error.code)
    }

    fn refused(bytes: &[u8]) -> ReplyCode {
        whole(bytes).expect_err("it breaks a rule")
    }

    fn is_waited_for(bytes: &[u8]) -> bool {
        whole(bytes).expect("no fault").peek().is_none()
    }

    #[test]
    fn a_method_frame_has_the_bytes_of_the_specification() {
        let mut out = BytesMut::new();
        encode_method(1, &Method::from(ChannelOpen), &mut out);
        assert_eq!(out.as_ref(), b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce");
        let frames = whole(&out).expect("valid");
        let frame = frames.peek().expect("whole");
        assert_eq!((frame.kind, frame.channel), (FrameKind::Method, 1));
        let method = Method::decode(&frame.shared_payload()).expect("valid");
        assert_eq!(method.name(), "channel.open");
    }

    #[test]
    fn a_delivery_has_the_bytes_of_its_method() {
        let short = ShortStr::from_static;
        for redelivered in [false, true] {
            let method = Method::from(BasicDeliver {
                consumer_tag: short("c"),
                delivery_tag: 1 << 40,
                redelivered,
                exchange: short("orders"),
                routing_key: short("eu"),
            });
            let (mut expected, mut out) = (BytesMut::new(), BytesMut::new());
            encode_method(7, &method, &mut expected);
            encode_deliver(7, &short("c"), 1 << 40, redelivered, b"\x06orders\x02eu", &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_part_of_a_frame_is_waited_for() {
        let mut out = BytesMut::new();
        encode_heartbeat(&mut out);
        for len in 0..out.len() {
            assert!(is_waited_for(&out[..len]), "of {len} bytes");
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_by_its_head() {
        assert!(is_waited_for(b"\x03\x00\x01\x00\x00\x0f\xf8"));
        assert!(is_waited_for(b"\x03\x00\x01\x00\x00\x10\x00"), "the slack");
        assert_eq!(refused(b"\x03\x00\x01\x00\x00\x10\x01"), ReplyCode::FrameError);
    }

    #[test]
    fn unknown_types_wrong_ends_and_odd_heartbeats_are_refused() {
        assert_eq!(refused(b"\x07\x00\x01\x00\x00\x00\x00\xce"), ReplyCode::FrameError);
        assert_eq!(refused(b"\x01\x00\x01\x00\x00\x00\x00\xcd"), ReplyCode::FrameError);
        assert_eq!(refused(b"\x08\x00\x01\x00\x00\x00\x00\xce"), ReplyCode::UnexpectedFrame);
        assert_eq!(refused(b"\x08\x00\x00\x00\x00\x00\x01x\xce"), ReplyCode::FrameError);
    }

    #[test]
    fn what_came_before_a_broken_frame_is_taken_first() {
        let mut out = BytesMut::new();
        (1..=3).for_each(|channel| encode_method(channel, &Method::from(ChannelOpen), &mut out));
        out.extend_from_slice(b"\x07\x00\x01\x00\x00\x00\x00\xce");
        let decoder = FrameDecoder::new(4096);
        let mut frames = decoder.take_whole(&mut out).expect("three are valid");
        for channel in 1..=3 {
            assert_eq!(frames.peek().map(|frame| frame.channel), Some(channel));
            frames.advance();
        }
        assert_eq!(frames.peek(), None);
        assert!(decoder.take_whole(&mut out).is_err());
    }
}
