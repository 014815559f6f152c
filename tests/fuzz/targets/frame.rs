//! Arbitrary bytes as a stream of frames: never a panic, never a payload larger than agreed on,
//! never more kept back than one frame, and the same frames however the stream is cut. The first
//! byte says how it is cut.

#![no_main]

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::frame::{ContentHead, FrameDecoder, FrameKind, encode_body_frame};
use ferrymq::protocol::reply::ReplyCode;
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: usize = 256;

/// What a frame may be larger than agreed on.
const SLACK: usize = 8;

#[derive(Debug, PartialEq)]
struct Frame {
    channel: u16,
    kind: FrameKind,
    payload: Bytes,
}

/// The frames of a stream that comes in pieces of a length, and how it ends.
fn frames(stream: &[u8], piece_len: usize) -> (Vec<Frame>, Option<ReplyCode>) {
    let decoder = FrameDecoder::new(FRAME_MAX as u32);
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for piece in stream.chunks(piece_len) {
        buffer.extend_from_slice(piece);
        loop {
            let mut frames = match decoder.take_whole(&mut buffer) {
                Ok(frames) if frames.peek().is_none() => break,
                Ok(frames) => frames,
                Err(error) => return (found, Some(error.code)),
            };
            while let Some(frame) = frames.peek() {
                let (channel, kind, payload) = (frame.channel, frame.kind, frame.shared_payload());
                found.push(Frame { channel, kind, payload });
                frames.advance();
            }
        }
        assert!(buffer.len() < FRAME_MAX + SLACK, "a whole frame was kept back");
    }
    (found, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(whole, frames(stream, usize::from(*cut).max(1)));
    for frame in whole.0 {
        assert!(frame.payload.len() <= FRAME_MAX);
        match frame.kind {
            FrameKind::Header => drop(ContentHead::decode(&frame.payload)),
            FrameKind::Heartbeat => assert!(frame.channel == 0 && frame.payload.is_empty()),
            FrameKind::Body => {
                let mut out = BytesMut::new();
                encode_body_frame(frame.channel, &frame.payload, &mut out);
                assert_eq!(frames(&out, out.len()).0, [frame]);
            }
            FrameKind::Method => {}
        }
    }
});
