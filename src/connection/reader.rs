//! Bytes from a client's socket to frames.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

use crate::protocol::error::DecodeError;
use crate::protocol::frame::{Frame, FrameDecoder, Frames};

/// Least room for a read, and all that an idle connection keeps.
const READ_MIN: usize = 4 * 1024;

/// Room for a read when the last one filled its buffer.
const READ_MAX: usize = 128 * 1024;

/// A socket that isn't read says that there is something to read all the time: between two looks at
/// whether it is the end.
const HUNG_UP_LOOK: Duration = Duration::from_millis(250);

pub(super) struct Reader<R> {
    socket: R,
    buffer: BytesMut,
    decoder: FrameDecoder,
    /// Whole frames of what was read, before what is in the buffer.
    frames: Frames,
    /// Room for the next read: grows while reads are full, shrinks when they are not.
    room: usize,
    /// So far, and in how many reads.
    pub(super) received_bytes: u64,
    pub(super) received_count: u64,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(socket: R, frame_max: u32) -> Self {
        let decoder = FrameDecoder::new(frame_max);
        Self {
            socket,
            buffer: BytesMut::new(),
            decoder,
            frames: Frames::default(),
            room: READ_MIN,
            received_bytes: 0,
            received_count: 0,
        }
    }

    pub(super) fn set_frame_max(&mut self, frame_max: u32) {
        self.decoder.set_frame_max(frame_max);
    }

    pub(super) fn socket_mut(&mut self) -> &mut R {
        &mut self.socket
    }

    /// Reads what there is; false at the end of the stream. Safe to cancel.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() && self.room == READ_MIN && self.buffer.capacity() > READ_MAX {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(self.room);
        let count = self.socket.read_buf(&mut self.buffer).await?;
        self.room = if count >= self.room {
            self.room.saturating_mul(4).min(READ_MAX)
        } else {
            count.next_power_of_two().clamp(READ_MIN, READ_MAX)
        };
        self.received_bytes = self.received_bytes.saturating_add(count as u64);
        self.received_count = self.received_count.saturating_add(1);
        Ok(count > 0)
    }

    /// The next whole frame of what was read; [`Reader::advance`] goes on behind it.
    pub(super) fn frame(&mut self) -> Result<Option<Frame<'_>>, DecodeError> {
        if self.frames.is_empty() {
            self.frames = self.decoder.take_whole(&mut self.buffer)?;
        }
        Ok(self.frames.peek())
    }

    pub(super) fn advance(&mut self) {
        self.frames.advance();
    }

    /// Takes the first `len` bytes as they are, for the protocol header.
    pub(super) fn take_raw(&mut self, len: usize) -> Option<BytesMut> {
        (self.buffer.len() >= len).then(|| self.buffer.split_to(len))
    }

    /// Throws away what was read: the stream has lost its frames.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        self.frames = Frames::default();
    }
}

impl Reader<OwnedReadHalf> {
    /// Resolves when the client has hung up, as far as that shows without reading what it sent.
    pub(super) async fn hung_up(&self) {
        loop {
            match self.socket.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => sleep(HUNG_UP_LOOK).await,
                _ => return,
            }
        }
    }
}

impl Reader<TcpStream> {
    /// Parts with the half that writes; what was read already stays.
    pub(super) fn into_split(self) -> (Reader<OwnedReadHalf>, OwnedWriteHalf) {
        let Self { socket, buffer, decoder, frames, room, received_bytes, received_count } = self;
        let (socket, write_half) = socket.into_split();
        let reader =
            Reader { socket, buffer, decoder, frames, room, received_bytes, received_count };
        (reader, write_half)
    }
}
