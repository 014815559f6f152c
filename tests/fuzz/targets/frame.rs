//! Arbitrary bytes as a stream of frames: never a panic, never a frame larger than agreed on, and what
//! is left in the buffer is less than one frame.

#![no_main]

use bytes::BytesMut;
use ferrymq::protocol::frame::{ContentHeader, FrameDecoder, FrameKind};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder;

const FRAME_MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let mut decoder = FrameDecoder::new(FRAME_MAX as u32);
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(frame)) = decoder.decode(&mut buffer) {
        assert!(frame.payload.len() <= FRAME_MAX);
        if frame.kind == FrameKind::Header {
            let _ = ContentHeader::decode(&frame.payload);
        }
    }
});
