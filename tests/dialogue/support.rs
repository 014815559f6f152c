//! A peer that speaks frames to the broker in this process.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::frame::{
    ContentHead, FrameDecoder, FrameKind, Frames, PROTOCOL_HEADER, encode_body_frame,
    encode_content_header, encode_method,
};
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::ShortStr;

pub use crate::test_broker::TestBroker;

/// Longer than any answer takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Nothing in this time is taken for silence.
const SILENCE: Duration = Duration::from_millis(300);

pub const FRAME_MAX: u32 = 131_072;

impl TestBroker {
    /// A socket that has said nothing yet.
    pub fn socket(&self) -> Peer {
        Peer::connect(self.amqp_address())
    }

    /// A connection of `guest` to `/`.
    pub fn peer(&self) -> Peer {
        let mut peer = self.socket();
        peer.open("guest");
        peer
    }

    /// A connection with channel 1 open.
    pub fn channel(&self) -> Peer {
        let mut peer = self.peer();
        peer.open_channel(1);
        peer
    }
}

/// A message with its content, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    pub method: Method,
    pub properties: Properties,
    pub body: Vec<u8>,
}

/// A frame that the broker sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub channel: u16,
    pub kind: FrameKind,
    pub payload: Bytes,
}

pub struct Peer {
    socket: TcpStream,
    buffer: BytesMut,
    decoder: FrameDecoder,
    frames: Frames,
    pub waiting: VecDeque<Frame>,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let decoder = FrameDecoder::new(FRAME_MAX);
        let (buffer, frames, waiting) = (BytesMut::new(), Frames::default(), VecDeque::new());
        Self { socket, buffer, decoder, frames, waiting }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the broker reads");
    }

    pub fn send(&mut self, channel: u16, method: impl Into<Method>) {
        let mut out = BytesMut::new();
        encode_method(channel, &method.into(), &mut out);
        self.send_raw(&out);
    }

    pub fn send_header(&mut self, channel: u16, body_size: u64, properties: &Properties) {
        let mut out = BytesMut::new();
        encode_content_header(channel, body_size, properties.as_bytes(), &mut out);
        self.send_raw(&out);
    }

    pub fn send_body(&mut self, channel: u16, body: &[u8]) {
        let mut out = BytesMut::new();
        encode_body_frame(channel, body, &mut out);
        self.send_raw(&out);
    }

    /// The next frame, or nothing at the end of the stream.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some(frame);
        }
        loop {
            if self.frames.peek().is_none() {
                let whole = self.decoder.take_whole(&mut self.buffer);
                self.frames = whole.expect("the broker's frames");
            }
            if let Some(frame) = self.frames.peek() {
                let (channel, kind, payload) = (frame.channel, frame.kind, frame.shared_payload());
                self.frames.advance();
                return Some(Frame { channel, kind, payload });
            }
            let mut chunk = [0; 65_536];
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the broker did not answer in time: {error}"),
            }
        }
    }

    /// The next method on a channel; heartbeats are passed over.
    pub fn receive(&mut self, channel: u16) -> Method {
        loop {
            let frame = self.next_frame().expect("the connection is open");
            match frame.kind {
                FrameKind::Heartbeat => {}
                FrameKind::Method => {
                    assert_eq!(frame.channel, channel, "{frame:?}");
                    return Method::decode(&frame.payload).expect("the broker's methods");
                }
                other => panic!("a method was expected, not {other:?}"),
            }
        }
    }

    /// Sends a method and answers the one that comes back.
    pub fn call(&mut self, channel: u16, method: impl Into<Method>) -> Method {
        self.send(channel, method);
        self.receive(channel)
    }

    /// The next method with its content.
    pub fn receive_content(&mut self, channel: u16) -> Content {
        let method = self.receive(channel);
        let frame = self.next_frame().expect("a header");
        assert_eq!(frame.kind, FrameKind::Header, "after {method:?}");
        let head = ContentHead::decode(&frame.payload).expect("the broker's header");
        let mut body = Vec::new();
        while (body.len() as u64) < head.body_size {
            let frame = self.next_frame().expect("a body");
            assert_eq!(frame.kind, FrameKind::Body);
            body.extend_from_slice(&frame.payload);
        }
        let properties = Properties::parse(Bytes::copy_from_slice(head.properties));
        Content { method, properties: properties.expect("the broker's properties"), body }
    }

    /// The next bytes as they are.
    pub fn receive_raw(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.socket.read_exact(&mut bytes).expect("the broker answers");
        bytes
    }

    /// Expects the broker to say nothing, for long enough to tell it from an answer.
    pub fn expect_silence(&mut self) {
        assert!(self.waiting.is_empty() && self.frames.peek().is_none() && self.buffer.is_empty());
        self.socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
        let mut byte = [0; 1];
        let error = self.socket.read(&mut byte).expect_err("the broker says something");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        self.socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    }

    /// Expects the broker to close the socket.
    pub fn expect_end(&mut self) {
        assert_eq!(self.next_frame(), None);
    }

    /// The same for a client that says nothing of what it can do.
    pub fn open_without_capabilities(&mut self) {
        self.expect_start();
        let login = start_ok("PLAIN", Bytes::from_static(b"\0guest\0guest"));
        self.send(0, ConnectionStartOk { client_properties: FieldTable::default(), ..login });
        let Method::ConnectionTune(tune) = self.receive(0) else { panic!("no tune") };
        let ConnectionTune { channel_max, frame_max, .. } = tune;
        self.send(0, ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        let opened = self.call(0, ConnectionOpen { virtual_host: short("/") });
        assert!(matches!(opened, Method::ConnectionOpenOk(_)), "{opened:?}");
    }

    pub fn expect_start(&mut self) -> ConnectionStart {
        self.send_raw(&PROTOCOL_HEADER);
        match self.receive(0) {
            Method::ConnectionStart(start) => start,
            other => panic!("{other:?}"),
        }
    }

    /// Logs in; the next method is the broker's answer.
    pub fn start_ok(&mut self, user: &str, password: &str) {
        let response = Bytes::from(format!("\0{user}\0{password}"));
        self.send(0, start_ok("PLAIN", response));
    }

    /// The handshake up to the broker's offer of limits.
    fn expect_tune(&mut self, user: &str) -> ConnectionTune {
        self.expect_start();
        self.start_ok(user, if user == "guest" { "guest" } else { "secret" });
        match self.receive(0) {
            Method::ConnectionTune(tune) => tune,
            other => panic!("{other:?}"),
        }
    }

    /// The handshake up to the answer to open, with these limits instead of those offered.
    pub fn open_with(&mut self, user: &str, vhost: &str, tune_ok: ConnectionTuneOk) {
        self.expect_tune(user);
        self.send(0, tune_ok);
        self.send(0, ConnectionOpen { virtual_host: short(vhost) });
    }

    /// The whole handshake, with the limits that are offered and without heartbeats.
    pub fn open(&mut self, user: &str) {
        let ConnectionTune { channel_max, frame_max, .. } = self.expect_tune(user);
        self.send(0, ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        let opened = self.call(0, ConnectionOpen { virtual_host: short("/") });
        assert!(matches!(opened, Method::ConnectionOpenOk(_)), "{opened:?}");
    }

    pub fn open_channel(&mut self, channel: u16) {
        let opened = self.call(channel, ChannelOpen);
        assert!(matches!(opened, Method::ChannelOpenOk(_)), "{opened:?}");
    }

    /// Expects the channel to be closed, answers it, and tells code and text.
    pub fn expect_channel_close(&mut self, channel: u16) -> (u16, String) {
        let Method::ChannelClose(close) = self.receive(channel) else { panic!("no channel.close") };
        self.send(channel, ChannelCloseOk);
        (close.reply_code, close.reply_text.to_string())
    }

    /// What a refused operation on channel 1 says; the channel is open again afterwards.
    pub fn refused(&mut self, method: impl Into<Method>) -> (u16, String) {
        self.send(1, method);
        let answer = self.expect_channel_close(1);
        self.open_channel(1);
        answer
    }

    /// Expects the connection to be closed, answers it, and tells code and text.
    pub fn expect_connection_close(&mut self) -> (u16, String) {
        let close = self.connection_close();
        (close.reply_code, close.reply_text.to_string())
    }

    pub fn connection_close(&mut self) -> ConnectionClose {
        let Method::ConnectionClose(close) = self.receive(0) else { panic!("no connection.close") };
        self.send(0, ConnectionCloseOk);
        self.expect_end();
        close
    }

    pub fn close(&mut self) {
        let close = ConnectionClose { reply_code: 200, ..ConnectionClose::default() };
        assert!(matches!(self.call(0, close), Method::ConnectionCloseOk(_)));
    }

    pub fn publish(&mut self, channel: u16, exchange: &str, key: &str, body: &str) {
        self.publish_with(channel, exchange, key, body.as_bytes(), &Properties::default());
    }

    pub fn publish_with(
        &mut self,
        channel: u16,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: &Properties,
    ) {
        let (exchange, routing_key) = (short(exchange), short(key));
        self.send(channel, BasicPublish { exchange, routing_key, ..BasicPublish::default() });
        self.send_header(channel, body.len() as u64, properties);
        if !body.is_empty() {
            self.send_body(channel, body);
        }
    }

    pub fn declare_queue(&mut self, channel: u16, name: &str) -> QueueDeclareOk {
        self.declare(channel, QueueDeclare { queue: short(name), ..QueueDeclare::default() })
    }

    pub fn declare(&mut self, channel: u16, declare: QueueDeclare) -> QueueDeclareOk {
        match self.call(channel, declare) {
            Method::QueueDeclareOk(declared) => declared,
            other => panic!("{other:?}"),
        }
    }

    /// Ready messages of a queue.
    pub fn ready(&mut self, channel: u16, name: &str) -> u32 {
        let declare = QueueDeclare { queue: short(name), passive: true, ..QueueDeclare::default() };
        self.declare(channel, declare).message_count
    }

    pub fn wait_for_ready(&mut self, channel: u16, name: &str, count: u32) {
        let begin = Instant::now();
        while self.ready(channel, name) != count {
            assert!(begin.elapsed() < DEADLINE, "{name} never had {count} messages");
        }
    }

    pub fn bind(&mut self, channel: u16, queue: &str, exchange: &str, key: &str) {
        let (queue, exchange, routing_key) = (short(queue), short(exchange), short(key));
        let bind = QueueBind { queue, exchange, routing_key, ..QueueBind::default() };
        let bound = self.call(channel, bind);
        assert!(matches!(bound, Method::QueueBindOk(_)), "{bound:?}");
    }

    pub fn get(&mut self, channel: u16, queue: &str, no_ack: bool) -> Option<Content> {
        self.send(channel, BasicGet { queue: short(queue), no_ack });
        let frame = self.next_frame().expect("an answer");
        let method = Method::decode(&frame.payload).expect("a method");
        if matches!(method, Method::BasicGetEmpty(_)) {
            return None;
        }
        self.waiting.push_front(frame);
        Some(self.receive_content(channel))
    }

    pub fn consume(&mut self, channel: u16, queue: &str, tag: &str) {
        let (queue, consumer_tag) = (short(queue), short(tag));
        let consume = BasicConsume { queue, consumer_tag, ..BasicConsume::default() };
        let consuming = self.call(channel, consume);
        assert!(matches!(consuming, Method::BasicConsumeOk(_)), "{consuming:?}");
    }

    /// The next delivery: tag, redelivered, body.
    pub fn delivery(&mut self, channel: u16) -> (u64, bool, String) {
        let content = self.receive_content(channel);
        let Method::BasicDeliver(deliver) = content.method else { panic!("{:?}", content.method) };
        let body = String::from_utf8(content.body).expect("text");
        (deliver.delivery_tag, deliver.redelivered, body)
    }

    /// A round trip: everything that was sent before has been looked at.
    pub fn sync(&mut self, channel: u16) {
        let answer = self.call(channel, ChannelFlow { active: true });
        assert!(matches!(answer, Method::ChannelFlowOk(_)), "{answer:?}");
    }
}

/// start-ok of a client with the usual capabilities.
pub fn start_ok(mechanism: &str, response: Bytes) -> ConnectionStartOk {
    let capability = |name| (ShortStr::from_static(name), FieldValue::Bool(true));
    let capabilities = [
        capability("authentication_failure_close"),
        capability("consumer_cancel_notify"),
        capability("connection.blocked"),
    ];
    let capabilities = FieldValue::Table(FieldTable::from_iter(capabilities));
    let client_properties =
        FieldTable::from_iter([(ShortStr::from_static("capabilities"), capabilities)]);
    let (mechanism, locale) = (short(mechanism), ShortStr::from_static("en_US"));
    ConnectionStartOk { client_properties, mechanism, response, locale }
}

pub fn short(text: &str) -> ShortStr {
    ShortStr::try_from(text).expect("short")
}

pub fn long(text: &str) -> FieldValue {
    FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn table<const N: usize>(fields: [(&str, FieldValue); N]) -> FieldTable {
    fields.into_iter().map(|(name, value)| (short(name), value)).collect()
}

pub fn persistent() -> Properties {
    (&BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() }).into()
}
