//! One connection to a broker with channel 1 open: the handshake, single methods, raw frames.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use url::Url;

use super::Failure;
use crate::protocol::frame::{PROTOCOL_HEADER, encode_method};
use crate::protocol::generated::{
    ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk, Method,
};
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;

const READ_LEN: usize = 256 * 1024;
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Methods that are sent before their answers are waited for.
const CALLS_MAX: usize = 500;

/// Head and end octet of a frame.
const FRAME_HEAD: usize = 7;
const FRAME_END: usize = 1;

/// Where a broker is, and who we are.
#[derive(Debug, Clone)]
pub(super) struct Target {
    address: String,
    user: String,
    password: String,
    vhost: String,
}

impl Target {
    /// From `amqp://user:password@host:port/vhost`; what is left out is as RabbitMQ's clients have
    /// it.
    pub(super) fn parse(uri: &str) -> Result<Self, Failure> {
        let example = "write it as amqp://guest:guest@127.0.0.1:5672/%2f";
        let url = Url::parse(uri).map_err(|error| format!("--uri {uri}: {error}; {example}"))?;
        if url.scheme() != "amqp" {
            return Err(format!("--uri {uri}: only amqp:// can be spoken; {example}").into());
        }
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let or_guest =
            |text: &str| if text.is_empty() { "guest".to_owned() } else { decoded(text) };
        let vhost = match url.path().strip_prefix('/') {
            None | Some("") => "/".to_owned(),
            Some(path) => decoded(path),
        };
        Ok(Self {
            address: format!(
                "{}:{}",
                url.host_str().unwrap_or("127.0.0.1"),
                url.port().unwrap_or(5672)
            ),
            user: or_guest(url.username()),
            password: or_guest(url.password().unwrap_or("")),
            vhost,
        })
    }
}

/// A frame in the buffer of a [`Link`].
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

pub(super) struct Link {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pub(super) frame_max: usize,
}

impl Link {
    /// Connects, logs in and opens channel 1.
    pub(super) fn open(target: &Target) -> Result<Self, Failure> {
        let mut link = Self::connect(target)?;
        link.call(1, ChannelOpen)?;
        Ok(link)
    }

    fn connect(target: &Target) -> Result<Self, Failure> {
        let cannot = |error: io::Error| format!("cannot connect to {}: {error}", target.address);
        let address = target.address.to_socket_addrs().map_err(cannot)?.next();
        let address = address.ok_or_else(|| format!("{} has no address", target.address))?;
        let socket = TcpStream::connect_timeout(&address, CONNECT_WAIT).map_err(cannot)?;
        socket.set_nodelay(true)?;
        let buffer = vec![0; 4096];
        let mut link = Self { socket, buffer, start: 0, end: 0, frame_max: 131_072 };
        link.socket.write_all(&PROTOCOL_HEADER)?;
        link.receive()?;
        let response = Bytes::from(format!("\0{}\0{}", target.user, target.password));
        let Method::ConnectionTune(tune) = link.call(
            0,
            ConnectionStartOk {
                client_properties: FieldTable::default(),
                mechanism: ShortStr::from_static("PLAIN"),
                response,
                locale: ShortStr::from_static("en_US"),
            },
        )?
        else {
            return Err(format!("{} does not let {} in", target.address, target.user).into());
        };
        link.frame_max = tune.frame_max as usize;
        let (channel_max, frame_max) = (tune.channel_max, tune.frame_max);
        link.send(0, ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 })?;
        link.call(0, ConnectionOpen { virtual_host: ShortStr::try_from(target.vhost.as_str())? })?;
        Ok(link)
    }

    /// The same connection for another thread that reads. What was read already stays here: to be
    /// called when nothing more is waited for.
    pub(super) fn reading_half(&self) -> io::Result<Self> {
        let (socket, buffer) = (self.socket.try_clone()?, vec![0; 4096]);
        Ok(Self { socket, buffer, start: 0, end: 0, frame_max: self.frame_max })
    }

    /// Ends the connection for both halves.
    pub(super) fn hang_up(&self) {
        // It may have ended before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(timeout))
    }

    pub(super) fn send(&mut self, channel: u16, method: impl Into<Method>) -> io::Result<()> {
        let mut out = BytesMut::new();
        encode_method(channel, &method.into(), &mut out);
        self.socket.write_all(&out)
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends a method and waits for its answer; a close is an error.
    pub(super) fn call(
        &mut self,
        channel: u16,
        method: impl Into<Method>,
    ) -> Result<Method, Failure> {
        self.send(channel, method)?;
        self.receive()
    }

    /// The same for many methods, which don't wait for one another.
    pub(super) fn call_all(
        &mut self,
        channel: u16,
        methods: impl IntoIterator<Item = impl Into<Method>>,
    ) -> Result<(), Failure> {
        let mut methods = methods.into_iter().peekable();
        while methods.peek().is_some() {
            let (mut out, mut sent) = (BytesMut::new(), 0);
            for method in methods.by_ref().take(CALLS_MAX) {
                encode_method(channel, &method.into(), &mut out);
                sent += 1;
            }
            self.send_raw(&out)?;
            for _ in 0..sent {
                self.receive()?;
            }
        }
        Ok(())
    }

    /// The next method; a close is an error.
    pub(super) fn receive(&mut self) -> Result<Method, Failure> {
        let payload = loop {
            if let Some(frame) = self.next_frame() {
                break Bytes::copy_from_slice(frame.payload);
            }
            self.fill()?;
        };
        match Method::decode(&payload).map_err(|error| error.text)? {
            Method::ConnectionClose(close) => {
                Err(format!("the broker closed the connection: {}", close.reply_text).into())
            }
            Method::ChannelClose(close) => {
                Err(format!("the broker closed the channel: {}", close.reply_text).into())
            }
            method => Ok(method),
        }
    }

    /// Reads what there is; an end is an error.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            let longer = (self.buffer.len() * 4).max(READ_LEN);
            self.buffer.resize(longer, 0);
        }
        match self.socket.read(&mut self.buffer[self.end..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up")),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The next whole frame of what was read.
    pub(super) fn next_frame(&mut self) -> Option<Frame<'_>> {
        let waiting = &self.buffer[self.start..self.end];
        let (head, rest) = waiting.split_first_chunk::<FRAME_HEAD>()?;
        let [kind, _, _, len @ ..] = *head;
        let len = u32::from_be_bytes(len) as usize;
        if rest.len() < len + FRAME_END {
            return None;
        }
        let start = self.start + FRAME_HEAD;
        self.start = start + len + FRAME_END;
        Some(Frame { kind, payload: &self.buffer[start..start + len] })
    }
}
