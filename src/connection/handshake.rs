//! From the first byte of a client to an open vhost.
//!
//! ```text
//!   client                          broker
//!   "AMQP" 0 0 9 1          ──▶
//!                           ◀──     connection.start
//!   start-ok (credentials)  ──▶
//!                           ◀──     tune
//!   tune-ok, open (vhost)   ──▶
//!                           ◀──     open-ok
//! ```
//!
//! Nothing is shared yet: one task reads and writes the socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::ConnectionSettings;
use super::close::{Failure, MethodId};
use super::reader::Reader;
use crate::broker::auth::User;
use crate::broker::auth::attempts::LoginProtocol;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::limit::Admission;
use crate::broker::vhost::Vhost;
use crate::broker::{BEHAVES_AS_VERSION, Broker, LoginRefused};
use crate::protocol::frame::{FrameKind, PROTOCOL_HEADER, encode_method};
use crate::protocol::generated::{
    ConnectionCloseOk, ConnectionOpen, ConnectionOpenOk, ConnectionStart, ConnectionStartOk,
    ConnectionTune, ConnectionTuneOk, Method,
};
use crate::protocol::reply::ReplyCode;
use crate::protocol::sasl::{Credentials, parse_amqplain, parse_plain};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// Largest frame before the two sides have agreed on one: room for long tokens.
const INITIAL_FRAME_MAX: u32 = 64 * 1024;

/// The least a client may ask for, by the specification.
pub(super) const FRAME_MAX_MIN: u32 = 4096;

/// How long a refused client that doesn't understand a close is kept waiting, so that it cannot try
/// passwords quickly.
const SILENT_CLOSE_DELAY: Duration = Duration::from_secs(1);

/// How long the answer to a close is waited for.
const CLOSE_OK_WAIT: Duration = Duration::from_secs(3);

/// The protocol headers that mean 0-9-1.
const ACCEPTED_HEADERS: [[u8; 8]; 2] = [PROTOCOL_HEADER, *b"AMQP\x01\x01\x00\x09"];

/// What client and broker have agreed on.
pub(super) struct Agreed {
    pub(super) user: Arc<User>,
    pub(super) vhost: Arc<Vhost>,
    pub(super) client_properties: FieldTable,
    pub(super) mechanism: ShortStr,
    pub(super) channel_max: u16,
    pub(super) frame_max: u32,
    /// 0 is none.
    pub(super) heartbeat_seconds: u16,
    pub(super) admission: Admission,
}

/// How a handshake ends that doesn't lead to an open connection.
enum Ended {
    /// The socket is gone, or the client said goodbye.
    Gone,
    /// The client has to be told by connection.close.
    Refused(Failure),
    /// The client is dropped without a word.
    Silently,
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

pub(super) struct Handshake<'a> {
    reader: Reader<TcpStream>,
    peer: SocketAddr,
    broker: &'a Broker,
    settings: &'a ConnectionSettings,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        broker: &'a Broker,
        settings: &'a ConnectionSettings,
    ) -> Self {
        Self { reader: Reader::new(socket, INITIAL_FRAME_MAX), peer, broker, settings }
    }

    /// Carries the handshake through; nothing when it came to none, and the client has been told.
    pub(super) async fn run(mut self) -> Option<(Agreed, Reader<TcpStream>)> {
        let limit = Duration::from_secs(u64::from(self.settings.handshake_timeout_seconds));
        let ended = match tokio::time::timeout(limit, self.negotiate()).await {
            Ok(Ok(agreed)) => return Some((agreed, self.reader)),
            Ok(Err(ended)) => ended,
            Err(_) => {
                tracing::warn!(peer = %self.peer, "handshake took too long");
                Ended::Gone
            }
        };
        match ended {
            Ended::Gone => {}
            Ended::Silently => tokio::time::sleep(SILENT_CLOSE_DELAY).await,
            Ended::Refused(failure) => self.refuse(&failure).await,
        }
        None
    }

    async fn negotiate(&mut self) -> Result<Agreed, Ended> {
        self.read_protocol_header().await?;
        self.send(self.start()).await?;
        let Method::ConnectionStartOk(start_ok) = self.receive().await? else {
            return Err(wrong_state("start").into());
        };
        let user = self.authenticate(&start_ok)?;
        self.send(Method::from(ConnectionTune {
            channel_max: self.settings.channel_max,
            frame_max: self.settings.frame_max_bytes,
            heartbeat: self.settings.heartbeat_seconds,
        }))
        .await?;
        let Method::ConnectionTuneOk(tune_ok) = self.receive().await? else {
            return Err(wrong_state("tune").into());
        };
        self.check_tune(&tune_ok)?;
        self.reader.set_frame_max(tune_ok.frame_max);
        let Method::ConnectionOpen(open) = self.receive().await? else {
            return Err(wrong_state("open").into());
        };
        let (vhost, admission) = self.open(&open, &user).map_err(|error| {
            let by = MethodId::from(&Method::from(open));
            tracing::warn!(peer = %self.peer, user = user.name, %error, "vhost refused");
            Failure::from(error).by(by)
        })?;
        self.send(Method::from(ConnectionOpenOk)).await?;
        Ok(Agreed {
            user,
            vhost,
            client_properties: start_ok.client_properties,
            mechanism: start_ok.mechanism,
            channel_max: tune_ok.channel_max,
            frame_max: tune_ok.frame_max,
            heartbeat_seconds: tune_ok.heartbeat,
            admission,
        })
    }

    fn open(&self, open: &ConnectionOpen, user: &User) -> Result<(Arc<Vhost>, Admission), Error> {
        let vhost = self.broker.open_vhost(&open.virtual_host, user)?;
        let admission = Admission::enter(&vhost, user)?;
        Ok((vhost, admission))
    }

    /// Rule: a client with another protocol is told ours and let go.
    async fn read_protocol_header(&mut self) -> Result<(), Ended> {
        let header = loop {
            if let Some(header) = self.reader.take_raw(PROTOCOL_HEADER.len()) {
                break header;
            }
            if !self.reader.fill().await? {
                return Err(Ended::Gone);
            }
        };
        if ACCEPTED_HEADERS.iter().any(|accepted| accepted == header.as_ref()) {
            return Ok(());
        }
        tracing::warn!(peer = %self.peer, "not AMQP 0-9-1: {}", header.escape_ascii());
        self.reader.socket_mut().write_all(&PROTOCOL_HEADER).await?;
        self.reader.socket_mut().shutdown().await?;
        Err(Ended::Gone)
    }

    fn start(&self) -> Method {
        Method::from(ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: server_properties(&self.broker.cluster_name()),
            mechanisms: Bytes::from_static(b"PLAIN AMQPLAIN"),
            locales: Bytes::from_static(b"en_US"),
        })
    }

    fn authenticate(&self, start_ok: &ConnectionStartOk) -> Result<Arc<User>, Ended> {
        let by = MethodId { class: 10, method: 11 };
        let Credentials { user, password } = credentials(start_ok).map_err(|f| f.by(by))?;
        let address = self.peer.ip();
        let authenticated =
            self.broker.authenticate(&user, &password, address, LoginProtocol::Amqp);
        let error = authenticated.as_ref().err().map(LoginRefused::to_string);
        self.broker
            .events
            .tell(None, || Event::login(&user, &start_ok.mechanism, self.peer, error.as_deref()));
        authenticated.map_err(|refused| {
            tracing::warn!(peer = %self.peer, user, "login refused: {refused}");
            if !has_capability(&start_ok.client_properties, "authentication_failure_close") {
                return Ended::Silently;
            }
            let text = format!(
                "Login was refused using authentication mechanism {}. For details see the broker \
                 logfile.",
                start_ok.mechanism
            );
            Ended::Refused(Failure::new(ReplyCode::AccessRefused, text).by(by))
        })
    }

    /// Rule: a client may lower what the broker offers, not raise it; 0 means no limit, which is
    /// more.
    fn check_tune(&self, tune_ok: &ConnectionTuneOk) -> Result<(), Failure> {
        let refuse = |name: &str, value: u32, word: &str, bound: u32| {
            let text = format!("negotiated {name} = {value} is {word} allowed value ({bound})");
            let by = MethodId { class: 10, method: 31 };
            Err(Failure::new(ReplyCode::NotAllowed, text).by(by))
        };
        let (frame, frame_limit) = (tune_ok.frame_max, self.settings.frame_max_bytes);
        let (channels, channel_limit) = (tune_ok.channel_max, self.settings.channel_max);
        if frame == 0 || frame > frame_limit {
            return refuse("frame_max", frame, "higher than the maximum", frame_limit);
        }
        if frame < FRAME_MAX_MIN {
            return refuse("frame_max", frame, "lower than the minimum", FRAME_MAX_MIN);
        }
        if channels == 0 || channels > channel_limit {
            let (value, bound) = (u32::from(channels), u32::from(channel_limit));
            return refuse("channel_max", value, "higher than the maximum", bound);
        }
        Ok(())
    }

    async fn send(&mut self, method: Method) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        encode_method(0, &method, &mut out);
        Ok(self.reader.socket_mut().write_all(&out).await?)
    }

    /// The next method. A close is answered here, heartbeats are passed over.
    async fn receive(&mut self) -> Result<Method, Ended> {
        loop {
            let Some(frame) = self.reader.frame().map_err(Failure::from)? else {
                if !self.reader.fill().await? {
                    return Err(Ended::Gone);
                }
                continue;
            };
            let method = match (frame.kind, frame.channel) {
                (FrameKind::Heartbeat, _) => None,
                (FrameKind::Method, 0) => Some(frame.shared_payload()),
                _ => return Err(wrong_state("handshake").into()),
            };
            self.reader.advance();
            let Some(payload) = method else { continue };
            match Method::decode(&payload).map_err(Failure::from)? {
                Method::ConnectionClose(_) => {
                    self.send(Method::from(ConnectionCloseOk)).await?;
                    return Err(Ended::Gone);
                }
                method => return Ok(method),
            }
        }
    }

    /// Says why, and waits a moment for the client to have read it.
    async fn refuse(&mut self, failure: &Failure) {
        tracing::warn!(peer = %self.peer, "handshake refused: {}", failure.text);
        if self.send(failure.connection_close()).await.is_err() {
            return;
        }
        let answered = async {
            loop {
                let payload = match self.reader.frame() {
                    Ok(frame) => frame.map(|frame| frame.shared_payload()),
                    Err(_) => return,
                };
                let Some(payload) = payload else {
                    if !self.reader.fill().await.unwrap_or(false) {
                        return;
                    }
                    continue;
                };
                self.reader.advance();
                if matches!(Method::decode(&payload), Ok(Method::ConnectionCloseOk(_))) {
                    return;
                }
            }
        };
        // Whoever doesn't answer in time is let go all the same.
        let _ = tokio::time::timeout(CLOSE_OK_WAIT, answered).await;
    }
}

fn wrong_state(state: &str) -> Failure {
    let text = format!("unexpected method in connection state {state}");
    Failure::new(ReplyCode::ChannelError, text)
}

fn credentials(start_ok: &ConnectionStartOk) -> Result<Credentials, Failure> {
    match start_ok.mechanism.as_str() {
        "PLAIN" => Ok(parse_plain(&start_ok.response)?),
        "AMQPLAIN" => Ok(parse_amqplain(&start_ok.response)?),
        other => Err(Failure::new(
            ReplyCode::CommandInvalid,
            format!("unknown authentication mechanism '{other}'"),
        )),
    }
}

/// Whether a client says that it understands an extension.
pub(super) fn has_capability(client_properties: &FieldTable, name: &str) -> bool {
    let capabilities = client_properties.get("capabilities").and_then(FieldValue::as_table);
    capabilities.and_then(|table| table.get(name)?.as_bool()).unwrap_or(false)
}

/// What the broker says of itself. Clients take `product` and `version` for a promise of behaviour:
/// for any other product, or from version 4 on, Celery's library does without a shared prefetch
/// limit, and workers with many delayed tasks stand still. So these two say what is behaved like,
/// and `platform` what it is.
fn server_properties(cluster_name: &str) -> FieldTable {
    const CAPABILITIES: [&str; 9] = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let capabilities = CAPABILITIES
        .into_iter()
        .map(|name| (ShortStr::from_static(name), FieldValue::Bool(true)))
        .collect();
    let text = |text: &'static str| FieldValue::LongStr(Bytes::from_static(text.as_bytes()));
    FieldTable::from_iter([
        (ShortStr::from_static("capabilities"), FieldValue::Table(capabilities)),
        (
            ShortStr::from_static("cluster_name"),
            FieldValue::LongStr(Bytes::copy_from_slice(cluster_name.as_bytes())),
        ),
        (ShortStr::from_static("copyright"), text("The FerryMQ authors")),
        (ShortStr::from_static("information"), text("Licensed under the Apache License 2.0")),
        (ShortStr::from_static("platform"), text(concat!("FerryMQ ", env!("CARGO_PKG_VERSION")))),
        (ShortStr::from_static("product"), text("RabbitMQ")),
        (ShortStr::from_static("version"), text(BEHAVES_AS_VERSION)),
    ])
}
