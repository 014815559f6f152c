//! Frames: the units of the wire.
//!
//! ```text
//! type u8 | channel u16 | size u32 | payload (size bytes) | end 0xCE
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32};
use tokio_util::codec::Decoder;

use super::error::DecodeError;
use super::generated::{
    BasicPublish, FRAME_BODY, FRAME_END as END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, Method,
};
use super::properties::Properties;
use super::reply::ReplyCode;
use super::wire::{Fields, put_sized};

/// What every client sends first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

pub const FRAME_END: u8 = END;

const HEAD_LEN: usize = 7;

/// Bytes of a frame that are not payload.
pub const FRAME_OVERHEAD: usize = 8;

/// Clients miscount by 1 or by the overhead: so much more than agreed on is let pass.
const FRAME_MAX_SLACK: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// A frame whose payload shares the read buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub channel: u16,
    pub kind: FrameKind,
    pub payload: Bytes,
}

/// Why there is no next frame, and never will be on this connection.
#[derive(Debug)]
pub enum FrameError {
    Io(io::Error),
    Protocol(DecodeError),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error)
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

    fn head(&self, bytes: &[u8]) -> Result<Option<(FrameKind, u16, usize)>, DecodeError> {
        let parsed: nom::IResult<&[u8], (u8, u16, u32)> = (be_u8, be_u16, be_u32).parse(bytes);
        let Ok((_, (kind, channel, size))) = parsed else { return Ok(None) };
        let kind = match kind {
            FRAME_METHOD => FrameKind::Method,
            FRAME_HEADER => FrameKind::Header,
            FRAME_BODY => FrameKind::Body,
            FRAME_HEARTBEAT => FrameKind::Heartbeat,
            other => return Err(frame_error(format!("unknown frame type {other}"))),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let limit = self.frame_max.saturating_add(FRAME_MAX_SLACK);
        if size.saturating_add(FRAME_OVERHEAD) > limit {
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
        Ok(Some((kind, channel, size)))
    }
}

fn frame_error(text: String) -> DecodeError {
    DecodeError::new(ReplyCode::FrameError, text)
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((kind, channel, size)) = self.head(buffer)? else { return Ok(None) };
        let payload_end = HEAD_LEN.saturating_add(size);
        let Some(end) = buffer.get(payload_end) else { return Ok(None) };
        if *end != FRAME_END {
            let text = format!("a frame ends with {end:#04x}, not with {FRAME_END:#04x}");
            return Err(frame_error(text).into());
        }
        let mut frame = buffer.split_to(payload_end.saturating_add(1)).freeze();
        frame.advance(HEAD_LEN);
        frame.truncate(size);
        Ok(Some(Frame { channel, kind, payload: frame }))
    }
}

/// The frame after a method that carries a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    pub class_id: u16,
    pub body_size: u64,
    pub properties: Properties,
}

impl ContentHeader {
    /// `payload` is that of a header frame.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(payload);
        let class_id = fields.short()?;
        let weight = fields.short()?;
        if weight != 0 {
            return Err(DecodeError::new(
                ReplyCode::UnexpectedFrame,
                format!("a content header has weight {weight}, not 0"),
            ));
        }
        let body_size = fields.longlong()?;
        let properties = if class_id == BasicPublish::CLASS_ID {
            Properties::parse(fields.rest())?
        } else {
            Properties::default()
        };
        Ok(Self { class_id, body_size, properties })
    }
}

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

/// Appends the header frame of a content with a body of `body_size` bytes.
pub fn encode_content_header(
    channel: u16,
    body_size: u64,
    properties: &Properties,
    out: &mut BytesMut,
) {
    put_frame(FRAME_HEADER, channel, out, |out| {
        out.put_u16(BasicPublish::CLASS_ID);
        out.put_u16(0);
        out.put_u64(body_size);
        out.put_slice(properties.as_bytes());
    });
}

/// Appends a body frame that holds a copy of `payload`.
pub fn encode_body_frame(channel: u16, payload: &[u8], out: &mut BytesMut) {
    put_frame(FRAME_BODY, channel, out, |out| out.put_slice(payload));
}

/// The first bytes of a body frame that is not copied; the payload and [`FRAME_END`] follow.
pub fn body_frame_head(channel: u16, payload_len: usize) -> [u8; HEAD_LEN] {
    let [channel_high, channel_low] = channel.to_be_bytes();
    let [a, b, c, d] = u32::try_from(payload_len).unwrap_or(u32::MAX).to_be_bytes();
    [FRAME_BODY, channel_high, channel_low, a, b, c, d]
}

/// Appends a heartbeat.
pub fn encode_heartbeat(out: &mut BytesMut) {
    put_frame(FRAME_HEARTBEAT, 0, out, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::generated::ChannelOpen;

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, ReplyCode> {
        FrameDecoder::new(4096).decode(&mut BytesMut::from(bytes)).map_err(|error| match error {
            FrameError::Protocol(error) => error.code,
            FrameError::Io(error) => panic!("{error}"),
        })
    }

    #[test]
    fn a_method_frame_has_the_bytes_of_the_specification() {
        let mut out = BytesMut::new();
        encode_method(1, &Method::from(ChannelOpen), &mut out);
        assert_eq!(out.as_ref(), b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce");
        let frame = decode(&out).expect("valid").expect("whole");
        assert_eq!((frame.kind, frame.channel), (FrameKind::Method, 1));
        assert_eq!(Method::decode(&frame.payload).expect("valid").name(), "channel.open");
    }

    #[test]
    fn a_part_of_a_frame_is_waited_for() {
        let mut out = BytesMut::new();
        encode_heartbeat(&mut out);
        for len in 0..out.len() {
            assert_eq!(decode(&out[..len]), Ok(None), "of {len} bytes");
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_by_its_head() {
        assert_eq!(decode(b"\x03\x00\x01\x00\x00\x0f\xf8"), Ok(None));
        assert_eq!(decode(b"\x03\x00\x01\x00\x00\x10\x00"), Ok(None), "the slack");
        assert_eq!(decode(b"\x03\x00\x01\x00\x00\x10\x01"), Err(ReplyCode::FrameError));
    }

    #[test]
    fn unknown_types_wrong_ends_and_odd_heartbeats_are_refused() {
        assert_eq!(decode(b"\x07\x00\x01\x00\x00\x00\x00\xce"), Err(ReplyCode::FrameError));
        assert_eq!(decode(b"\x01\x00\x01\x00\x00\x00\x00\xcd"), Err(ReplyCode::FrameError));
        assert_eq!(decode(b"\x08\x00\x01\x00\x00\x00\x00\xce"), Err(ReplyCode::UnexpectedFrame));
        assert_eq!(decode(b"\x08\x00\x00\x00\x00\x00\x01x\xce"), Err(ReplyCode::FrameError));
    }
}
