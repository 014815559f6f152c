//! GENERATED from `protocol-spec/` by `cargo test --test protocol_spec`: change it there.
//!
//! The methods of AMQP 0-9-1 and of RabbitMQ's extensions, the properties of a message, the
//! constants. Reserved fields are left out; they are written as zero and not looked at.

#![allow(clippy::too_many_lines)] // one arm for each method

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::table::FieldTable;
use super::wire::{Fields, ShortStr, put_bits, put_longstr, put_shortstr};

/// Frame type: a method.
pub const FRAME_METHOD: u8 = 1;

/// Frame type: a content header.
pub const FRAME_HEADER: u8 = 2;

/// Frame type: a part of a content's body.
pub const FRAME_BODY: u8 = 3;

/// Frame type: a sign of life.
pub const FRAME_HEARTBEAT: u8 = 8;

/// The octet at the end of every frame.
pub const FRAME_END: u8 = 206;

/// The frame size that every side can take, and the least that may be agreed on.
pub const FRAME_MIN_SIZE: u32 = 4096;

/// What a close or a return says of its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCode {
    /// Nothing is wrong: an orderly end.
    ReplySuccess,
    /// A content is too large for now; unused.
    ContentTooLarge,
    /// A mandatory message found no queue.
    NoRoute,
    /// An immediate message found no consumer; unused.
    NoConsumers,
    /// An operator, or the end of the broker, closes the connection.
    ConnectionForced,
    /// An unknown vhost, by the specification; unused, as brokers answer not-allowed.
    InvalidPath,
    /// The user may not do that.
    AccessRefused,
    /// There is no such queue or exchange.
    NotFound,
    /// The thing belongs to another connection.
    ResourceLocked,
    /// A condition or an argument doesn't hold.
    PreconditionFailed,
    /// The bytes are no frame.
    FrameError,
    /// A frame's content can't be decoded.
    SyntaxError,
    /// A method that makes no sense here.
    CommandInvalid,
    /// A channel is used that isn't open, or is open already.
    ChannelError,
    /// Frames came in an order that has no meaning.
    UnexpectedFrame,
    /// The broker has run out of something.
    ResourceError,
    /// A limit or a rule of the connection was broken.
    NotAllowed,
    /// The broker doesn't do that.
    NotImplemented,
    /// Something failed inside of the broker.
    InternalError,
}

impl ReplyCode {
    pub fn code(self) -> u16 {
        match self {
            Self::ReplySuccess => 200,
            Self::ContentTooLarge => 311,
            Self::NoRoute => 312,
            Self::NoConsumers => 313,
            Self::ConnectionForced => 320,
            Self::InvalidPath => 402,
            Self::AccessRefused => 403,
            Self::NotFound => 404,
            Self::ResourceLocked => 405,
            Self::PreconditionFailed => 406,
            Self::FrameError => 501,
            Self::SyntaxError => 502,
            Self::CommandInvalid => 503,
            Self::ChannelError => 504,
            Self::UnexpectedFrame => 505,
            Self::ResourceError => 506,
            Self::NotAllowed => 530,
            Self::NotImplemented => 540,
            Self::InternalError => 541,
        }
    }

    /// As error texts begin with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplySuccess => "REPLY_SUCCESS",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether it ends the connection, not only the channel.
    pub fn is_hard(self) -> bool {
        matches!(
            self,
            Self::ConnectionForced
                | Self::InvalidPath
                | Self::FrameError
                | Self::SyntaxError
                | Self::CommandInvalid
                | Self::ChannelError
                | Self::UnexpectedFrame
                | Self::ResourceError
                | Self::NotAllowed
                | Self::NotImplemented
                | Self::InternalError
        )
    }
}

/// Any method.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    ConnectionStart(ConnectionStart),
    ConnectionStartOk(ConnectionStartOk),
    ConnectionSecure(ConnectionSecure),
    ConnectionSecureOk(ConnectionSecureOk),
    ConnectionTune(ConnectionTune),
    ConnectionTuneOk(ConnectionTuneOk),
    ConnectionOpen(ConnectionOpen),
    ConnectionOpenOk(ConnectionOpenOk),
    ConnectionClose(ConnectionClose),
    ConnectionCloseOk(ConnectionCloseOk),
    ConnectionBlocked(ConnectionBlocked),
    ConnectionUnblocked(ConnectionUnblocked),
    ConnectionUpdateSecret(ConnectionUpdateSecret),
    ConnectionUpdateSecretOk(ConnectionUpdateSecretOk),
    ChannelOpen(ChannelOpen),
    ChannelOpenOk(ChannelOpenOk),
    ChannelFlow(ChannelFlow),
    ChannelFlowOk(ChannelFlowOk),
    ChannelClose(ChannelClose),
    ChannelCloseOk(ChannelCloseOk),
    ExchangeDeclare(ExchangeDeclare),
    ExchangeDeclareOk(ExchangeDeclareOk),
    ExchangeDelete(ExchangeDelete),
    ExchangeDeleteOk(ExchangeDeleteOk),
    ExchangeBind(ExchangeBind),
    ExchangeBindOk(ExchangeBindOk),
    ExchangeUnbind(ExchangeUnbind),
    ExchangeUnbindOk(ExchangeUnbindOk),
    QueueDeclare(QueueDeclare),
    QueueDeclareOk(QueueDeclareOk),
    QueueBind(QueueBind),
    QueueBindOk(QueueBindOk),
    QueueUnbind(QueueUnbind),
    QueueUnbindOk(QueueUnbindOk),
    QueuePurge(QueuePurge),
    QueuePurgeOk(QueuePurgeOk),
    QueueDelete(QueueDelete),
    QueueDeleteOk(QueueDeleteOk),
    BasicQos(BasicQos),
    BasicQosOk(BasicQosOk),
    BasicConsume(BasicConsume),
    BasicConsumeOk(BasicConsumeOk),
    BasicCancel(BasicCancel),
    BasicCancelOk(BasicCancelOk),
    BasicPublish(BasicPublish),
    BasicReturn(BasicReturn),
    BasicDeliver(BasicDeliver),
    BasicGet(BasicGet),
    BasicGetOk(BasicGetOk),
    BasicGetEmpty(BasicGetEmpty),
    BasicAck(BasicAck),
    BasicReject(BasicReject),
    BasicRecoverAsync(BasicRecoverAsync),
    BasicRecover(BasicRecover),
    BasicRecoverOk(BasicRecoverOk),
    BasicNack(BasicNack),
    TxSelect(TxSelect),
    TxSelectOk(TxSelectOk),
    TxCommit(TxCommit),
    TxCommitOk(TxCommitOk),
    TxRollback(TxRollback),
    TxRollbackOk(TxRollbackOk),
    AccessRequest(AccessRequest),
    AccessRequestOk(AccessRequestOk),
    ConfirmSelect(ConfirmSelect),
    ConfirmSelectOk(ConfirmSelectOk),
}

impl Method {
    /// Reads the payload of a method frame: class, method, arguments and nothing more.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(payload);
        let (class, method) = (fields.short()?, fields.short()?);
        let decoded = match (class, method) {
            (10, 10) => Self::ConnectionStart(ConnectionStart::decode(&mut fields)?),
            (10, 11) => Self::ConnectionStartOk(ConnectionStartOk::decode(&mut fields)?),
            (10, 20) => Self::ConnectionSecure(ConnectionSecure::decode(&mut fields)?),
            (10, 21) => Self::ConnectionSecureOk(ConnectionSecureOk::decode(&mut fields)?),
            (10, 30) => Self::ConnectionTune(ConnectionTune::decode(&mut fields)?),
            (10, 31) => Self::ConnectionTuneOk(ConnectionTuneOk::decode(&mut fields)?),
            (10, 40) => Self::ConnectionOpen(ConnectionOpen::decode(&mut fields)?),
            (10, 41) => Self::ConnectionOpenOk(ConnectionOpenOk::decode(&mut fields)?),
            (10, 50) => Self::ConnectionClose(ConnectionClose::decode(&mut fields)?),
            (10, 51) => Self::ConnectionCloseOk(ConnectionCloseOk::decode(&mut fields)?),
            (10, 60) => Self::ConnectionBlocked(ConnectionBlocked::decode(&mut fields)?),
            (10, 61) => Self::ConnectionUnblocked(ConnectionUnblocked::decode(&mut fields)?),
            (10, 70) => Self::ConnectionUpdateSecret(ConnectionUpdateSecret::decode(&mut fields)?),
            (10, 71) => {
                Self::ConnectionUpdateSecretOk(ConnectionUpdateSecretOk::decode(&mut fields)?)
            }
            (20, 10) => Self::ChannelOpen(ChannelOpen::decode(&mut fields)?),
            (20, 11) => Self::ChannelOpenOk(ChannelOpenOk::decode(&mut fields)?),
            (20, 20) => Self::ChannelFlow(ChannelFlow::decode(&mut fields)?),
            (20, 21) => Self::ChannelFlowOk(ChannelFlowOk::decode(&mut fields)?),
            (20, 40) => Self::ChannelClose(ChannelClose::decode(&mut fields)?),
            (20, 41) => Self::ChannelCloseOk(ChannelCloseOk::decode(&mut fields)?),
            (40, 10) => Self::ExchangeDeclare(ExchangeDeclare::decode(&mut fields)?),
            (40, 11) => Self::ExchangeDeclareOk(ExchangeDeclareOk::decode(&mut fields)?),
            (40, 20) => Self::ExchangeDelete(ExchangeDelete::decode(&mut fields)?),
            (40, 21) => Self::ExchangeDeleteOk(ExchangeDeleteOk::decode(&mut fields)?),
            (40, 30) => Self::ExchangeBind(ExchangeBind::decode(&mut fields)?),
            (40, 31) => Self::ExchangeBindOk(ExchangeBindOk::decode(&mut fields)?),
            (40, 40) => Self::ExchangeUnbind(ExchangeUnbind::decode(&mut fields)?),
            (40, 51) => Self::ExchangeUnbindOk(ExchangeUnbindOk::decode(&mut fields)?),
            (50, 10) => Self::QueueDeclare(QueueDeclare::decode(&mut fields)?),
            (50, 11) => Self::QueueDeclareOk(QueueDeclareOk::decode(&mut fields)?),
            (50, 20) => Self::QueueBind(QueueBind::decode(&mut fields)?),
            (50, 21) => Self::QueueBindOk(QueueBindOk::decode(&mut fields)?),
            (50, 50) => Self::QueueUnbind(QueueUnbind::decode(&mut fields)?),
            (50, 51) => Self::QueueUnbindOk(QueueUnbindOk::decode(&mut fields)?),
            (50, 30) => Self::QueuePurge(QueuePurge::decode(&mut fields)?),
            (50, 31) => Self::QueuePurgeOk(QueuePurgeOk::decode(&mut fields)?),
            (50, 40) => Self::QueueDelete(QueueDelete::decode(&mut fields)?),
            (50, 41) => Self::QueueDeleteOk(QueueDeleteOk::decode(&mut fields)?),
            (60, 10) => Self::BasicQos(BasicQos::decode(&mut fields)?),
            (60, 11) => Self::BasicQosOk(BasicQosOk::decode(&mut fields)?),
            (60, 20) => Self::BasicConsume(BasicConsume::decode(&mut fields)?),
            (60, 21) => Self::BasicConsumeOk(BasicConsumeOk::decode(&mut fields)?),
            (60, 30) => Self::BasicCancel(BasicCancel::decode(&mut fields)?),
            (60, 31) => Self::BasicCancelOk(BasicCancelOk::decode(&mut fields)?),
            (60, 40) => Self::BasicPublish(BasicPublish::decode(&mut fields)?),
            (60, 50) => Self::BasicReturn(BasicReturn::decode(&mut fields)?),
            (60, 60) => Self::BasicDeliver(BasicDeliver::decode(&mut fields)?),
            (60, 70) => Self::BasicGet(BasicGet::decode(&mut fields)?),
            (60, 71) => Self::BasicGetOk(BasicGetOk::decode(&mut fields)?),
            (60, 72) => Self::BasicGetEmpty(BasicGetEmpty::decode(&mut fields)?),
            (60, 80) => Self::BasicAck(BasicAck::decode(&mut fields)?),
            (60, 90) => Self::BasicReject(BasicReject::decode(&mut fields)?),
            (60, 100) => Self::BasicRecoverAsync(BasicRecoverAsync::decode(&mut fields)?),
            (60, 110) => Self::BasicRecover(BasicRecover::decode(&mut fields)?),
            (60, 111) => Self::BasicRecoverOk(BasicRecoverOk::decode(&mut fields)?),
            (60, 120) => Self::BasicNack(BasicNack::decode(&mut fields)?),
            (90, 10) => Self::TxSelect(TxSelect::decode(&mut fields)?),
            (90, 11) => Self::TxSelectOk(TxSelectOk::decode(&mut fields)?),
            (90, 20) => Self::TxCommit(TxCommit::decode(&mut fields)?),
            (90, 21) => Self::TxCommitOk(TxCommitOk::decode(&mut fields)?),
            (90, 30) => Self::TxRollback(TxRollback::decode(&mut fields)?),
            (90, 31) => Self::TxRollbackOk(TxRollbackOk::decode(&mut fields)?),
            (30, 10) => Self::AccessRequest(AccessRequest::decode(&mut fields)?),
            (30, 11) => Self::AccessRequestOk(AccessRequestOk::decode(&mut fields)?),
            (85, 10) => Self::ConfirmSelect(ConfirmSelect::decode(&mut fields)?),
            (85, 11) => Self::ConfirmSelectOk(ConfirmSelectOk::decode(&mut fields)?),
            _ => {
                let text = format!("unknown method {method} of class {class}");
                return Err(DecodeError::new(ReplyCode::CommandInvalid, text));
            }
        };
        fields.end()?;
        Ok(decoded)
    }

    /// Appends the payload of a method frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.class_id());
        out.put_u16(self.method_id());
        match self {
            Self::ConnectionStart(method) => method.encode(out),
            Self::ConnectionStartOk(method) => method.encode(out),
            Self::ConnectionSecure(method) => method.encode(out),
            Self::ConnectionSecureOk(method) => method.encode(out),
            Self::ConnectionTune(method) => method.encode(out),
            Self::ConnectionTuneOk(method) => method.encode(out),
            Self::ConnectionOpen(method) => method.encode(out),
            Self::ConnectionOpenOk(method) => method.encode(out),
            Self::ConnectionClose(method) => method.encode(out),
            Self::ConnectionCloseOk(_) => {}
            Self::ConnectionBlocked(method) => method.encode(out),
            Self::ConnectionUnblocked(_) => {}
            Self::ConnectionUpdateSecret(method) => method.encode(out),
            Self::ConnectionUpdateSecretOk(_) => {}
            Self::ChannelOpen(method) => method.encode(out),
            Self::ChannelOpenOk(method) => method.encode(out),
            Self::ChannelFlow(method) => method.encode(out),
            Self::ChannelFlowOk(method) => method.encode(out),
            Self::ChannelClose(method) => method.encode(out),
            Self::ChannelCloseOk(_) => {}
            Self::ExchangeDeclare(method) => method.encode(out),
            Self::ExchangeDeclareOk(_) => {}
            Self::ExchangeDelete(method) => method.encode(out),
            Self::ExchangeDeleteOk(_) => {}
            Self::ExchangeBind(method) => method.encode(out),
            Self::ExchangeBindOk(_) => {}
            Self::ExchangeUnbind(method) => method.encode(out),
            Self::ExchangeUnbindOk(_) => {}
            Self::QueueDeclare(method) => method.encode(out),
            Self::QueueDeclareOk(method) => method.encode(out),
            Self::QueueBind(method) => method.encode(out),
            Self::QueueBindOk(_) => {}
            Self::QueueUnbind(method) => method.encode(out),
            Self::QueueUnbindOk(_) => {}
            Self::QueuePurge(method) => method.encode(out),
            Self::QueuePurgeOk(method) => method.encode(out),
            Self::QueueDelete(method) => method.encode(out),
            Self::QueueDeleteOk(method) => method.encode(out),
            Self::BasicQos(method) => method.encode(out),
            Self::BasicQosOk(_) => {}
            Self::BasicConsume(method) => method.encode(out),
            Self::BasicConsumeOk(method) => method.encode(out),
            Self::BasicCancel(method) => method.encode(out),
            Self::BasicCancelOk(method) => method.encode(out),
            Self::BasicPublish(method) => method.encode(out),
            Self::BasicReturn(method) => method.encode(out),
            Self::BasicDeliver(method) => method.encode(out),
            Self::BasicGet(method) => method.encode(out),
            Self::BasicGetOk(method) => method.encode(out),
            Self::BasicGetEmpty(method) => method.encode(out),
            Self::BasicAck(method) => method.encode(out),
            Self::BasicReject(method) => method.encode(out),
            Self::BasicRecoverAsync(method) => method.encode(out),
            Self::BasicRecover(method) => method.encode(out),
            Self::BasicRecoverOk(_) => {}
            Self::BasicNack(method) => method.encode(out),
            Self::TxSelect(_) => {}
            Self::TxSelectOk(_) => {}
            Self::TxCommit(_) => {}
            Self::TxCommitOk(_) => {}
            Self::TxRollback(_) => {}
            Self::TxRollbackOk(_) => {}
            Self::AccessRequest(method) => method.encode(out),
            Self::AccessRequestOk(method) => method.encode(out),
            Self::ConfirmSelect(method) => method.encode(out),
            Self::ConfirmSelectOk(_) => {}
        }
    }

    pub fn class_id(&self) -> u16 {
        match self {
            Self::ConnectionStart(_) => ConnectionStart::CLASS_ID,
            Self::ConnectionStartOk(_) => ConnectionStartOk::CLASS_ID,
            Self::ConnectionSecure(_) => ConnectionSecure::CLASS_ID,
            Self::ConnectionSecureOk(_) => ConnectionSecureOk::CLASS_ID,
            Self::ConnectionTune(_) => ConnectionTune::CLASS_ID,
            Self::ConnectionTuneOk(_) => ConnectionTuneOk::CLASS_ID,
            Self::ConnectionOpen(_) => ConnectionOpen::CLASS_ID,
            Self::ConnectionOpenOk(_) => ConnectionOpenOk::CLASS_ID,
            Self::ConnectionClose(_) => ConnectionClose::CLASS_ID,
            Self::ConnectionCloseOk(_) => ConnectionCloseOk::CLASS_ID,
            Self::ConnectionBlocked(_) => ConnectionBlocked::CLASS_ID,
            Self::ConnectionUnblocked(_) => ConnectionUnblocked::CLASS_ID,
            Self::ConnectionUpdateSecret(_) => ConnectionUpdateSecret::CLASS_ID,
            Self::ConnectionUpdateSecretOk(_) => ConnectionUpdateSecretOk::CLASS_ID,
            Self::ChannelOpen(_) => ChannelOpen::CLASS_ID,
            Self::ChannelOpenOk(_) => ChannelOpenOk::CLASS_ID,
            Self::ChannelFlow(_) => ChannelFlow::CLASS_ID,
            Self::ChannelFlowOk(_) => ChannelFlowOk::CLASS_ID,
            Self::ChannelClose(_) => ChannelClose::CLASS_ID,
            Self::ChannelCloseOk(_) => ChannelCloseOk::CLASS_ID,
            Self::ExchangeDeclare(_) => ExchangeDeclare::CLASS_ID,
            Self::ExchangeDeclareOk(_) => ExchangeDeclareOk::CLASS_ID,
            Self::ExchangeDelete(_) => ExchangeDelete::CLASS_ID,
            Self::ExchangeDeleteOk(_) => ExchangeDeleteOk::CLASS_ID,
            Self::ExchangeBind(_) => ExchangeBind::CLASS_ID,
            Self::ExchangeBindOk(_) => ExchangeBindOk::CLASS_ID,
            Self::ExchangeUnbind(_) => ExchangeUnbind::CLASS_ID,
            Self::ExchangeUnbindOk(_) => ExchangeUnbindOk::CLASS_ID,
            Self::QueueDeclare(_) => QueueDeclare::CLASS_ID,
            Self::QueueDeclareOk(_) => QueueDeclareOk::CLASS_ID,
            Self::QueueBind(_) => QueueBind::CLASS_ID,
            Self::QueueBindOk(_) => QueueBindOk::CLASS_ID,
            Self::QueueUnbind(_) => QueueUnbind::CLASS_ID,
            Self::QueueUnbindOk(_) => QueueUnbindOk::CLASS_ID,
            Self::QueuePurge(_) => QueuePurge::CLASS_ID,
            Self::QueuePurgeOk(_) => QueuePurgeOk::CLASS_ID,
            Self::QueueDelete(_) => QueueDelete::CLASS_ID,
            Self::QueueDeleteOk(_) => QueueDeleteOk::CLASS_ID,
            Self::BasicQos(_) => BasicQos::CLASS_ID,
            Self::BasicQosOk(_) => BasicQosOk::CLASS_ID,
            Self::BasicConsume(_) => BasicConsume::CLASS_ID,
            Self::BasicConsumeOk(_) => BasicConsumeOk::CLASS_ID,
            Self::BasicCancel(_) => BasicCancel::CLASS_ID,
            Self::BasicCancelOk(_) => BasicCancelOk::CLASS_ID,
            Self::BasicPublish(_) => BasicPublish::CLASS_ID,
            Self::BasicReturn(_) => BasicReturn::CLASS_ID,
            Self::BasicDeliver(_) => BasicDeliver::CLASS_ID,
            Self::BasicGet(_) => BasicGet::CLASS_ID,
            Self::BasicGetOk(_) => BasicGetOk::CLASS_ID,
            Self::BasicGetEmpty(_) => BasicGetEmpty::CLASS_ID,
            Self::BasicAck(_) => BasicAck::CLASS_ID,
            Self::BasicReject(_) => BasicReject::CLASS_ID,
            Self::BasicRecoverAsync(_) => BasicRecoverAsync::CLASS_ID,
            Self::BasicRecover(_) => BasicRecover::CLASS_ID,
            Self::BasicRecoverOk(_) => BasicRecoverOk::CLASS_ID,
            Self::BasicNack(_) => BasicNack::CLASS_ID,
            Self::TxSelect(_) => TxSelect::CLASS_ID,
            Self::TxSelectOk(_) => TxSelectOk::CLASS_ID,
            Self::TxCommit(_) => TxCommit::CLASS_ID,
            Self::TxCommitOk(_) => TxCommitOk::CLASS_ID,
            Self::TxRollback(_) => TxRollback::CLASS_ID,
            Self::TxRollbackOk(_) => TxRollbackOk::CLASS_ID,
            Self::AccessRequest(_) => AccessRequest::CLASS_ID,
            Self::AccessRequestOk(_) => AccessRequestOk::CLASS_ID,
            Self::ConfirmSelect(_) => ConfirmSelect::CLASS_ID,
            Self::ConfirmSelectOk(_) => ConfirmSelectOk::CLASS_ID,
        }
    }

    pub fn method_id(&self) -> u16 {
        match self {
            Self::ConnectionStart(_) => ConnectionStart::METHOD_ID,
            Self::ConnectionStartOk(_) => ConnectionStartOk::METHOD_ID,
            Self::ConnectionSecure(_) => ConnectionSecure::METHOD_ID,
            Self::ConnectionSecureOk(_) => ConnectionSecureOk::METHOD_ID,
            Self::ConnectionTune(_) => ConnectionTune::METHOD_ID,
            Self::ConnectionTuneOk(_) => ConnectionTuneOk::METHOD_ID,
            Self::ConnectionOpen(_) => ConnectionOpen::METHOD_ID,
            Self::ConnectionOpenOk(_) => ConnectionOpenOk::METHOD_ID,
            Self::ConnectionClose(_) => ConnectionClose::METHOD_ID,
            Self::ConnectionCloseOk(_) => ConnectionCloseOk::METHOD_ID,
            Self::ConnectionBlocked(_) => ConnectionBlocked::METHOD_ID,
            Self::ConnectionUnblocked(_) => ConnectionUnblocked::METHOD_ID,
            Self::ConnectionUpdateSecret(_) => ConnectionUpdateSecret::METHOD_ID,
            Self::ConnectionUpdateSecretOk(_) => ConnectionUpdateSecretOk::METHOD_ID,
            Self::ChannelOpen(_) => ChannelOpen::METHOD_ID,
            Self::ChannelOpenOk(_) => ChannelOpenOk::METHOD_ID,
            Self::ChannelFlow(_) => ChannelFlow::METHOD_ID,
            Self::ChannelFlowOk(_) => ChannelFlowOk::METHOD_ID,
            Self::ChannelClose(_) => ChannelClose::METHOD_ID,
            Self::ChannelCloseOk(_) => ChannelCloseOk::METHOD_ID,
            Self::ExchangeDeclare(_) => ExchangeDeclare::METHOD_ID,
            Self::ExchangeDeclareOk(_) => ExchangeDeclareOk::METHOD_ID,
            Self::ExchangeDelete(_) => ExchangeDelete::METHOD_ID,
            Self::ExchangeDeleteOk(_) => ExchangeDeleteOk::METHOD_ID,
            Self::ExchangeBind(_) => ExchangeBind::METHOD_ID,
            Self::ExchangeBindOk(_) => ExchangeBindOk::METHOD_ID,
            Self::ExchangeUnbind(_) => ExchangeUnbind::METHOD_ID,
            Self::ExchangeUnbindOk(_) => ExchangeUnbindOk::METHOD_ID,
            Self::QueueDeclare(_) => QueueDeclare::METHOD_ID,
            Self::QueueDeclareOk(_) => QueueDeclareOk::METHOD_ID,
            Self::QueueBind(_) => QueueBind::METHOD_ID,
            Self::QueueBindOk(_) => QueueBindOk::METHOD_ID,
            Self::QueueUnbind(_) => QueueUnbind::METHOD_ID,
            Self::QueueUnbindOk(_) => QueueUnbindOk::METHOD_ID,
            Self::QueuePurge(_) => QueuePurge::METHOD_ID,
            Self::QueuePurgeOk(_) => QueuePurgeOk::METHOD_ID,
            Self::QueueDelete(_) => QueueDelete::METHOD_ID,
            Self::QueueDeleteOk(_) => QueueDeleteOk::METHOD_ID,
            Self::BasicQos(_) => BasicQos::METHOD_ID,
            Self::BasicQosOk(_) => BasicQosOk::METHOD_ID,
            Self::BasicConsume(_) => BasicConsume::METHOD_ID,
            Self::BasicConsumeOk(_) => BasicConsumeOk::METHOD_ID,
            Self::BasicCancel(_) => BasicCancel::METHOD_ID,
            Self::BasicCancelOk(_) => BasicCancelOk::METHOD_ID,
            Self::BasicPublish(_) => BasicPublish::METHOD_ID,
            Self::BasicReturn(_) => BasicReturn::METHOD_ID,
            Self::BasicDeliver(_) => BasicDeliver::METHOD_ID,
            Self::BasicGet(_) => BasicGet::METHOD_ID,
            Self::BasicGetOk(_) => BasicGetOk::METHOD_ID,
            Self::BasicGetEmpty(_) => BasicGetEmpty::METHOD_ID,
            Self::BasicAck(_) => BasicAck::METHOD_ID,
            Self::BasicReject(_) => BasicReject::METHOD_ID,
            Self::BasicRecoverAsync(_) => BasicRecoverAsync::METHOD_ID,
            Self::BasicRecover(_) => BasicRecover::METHOD_ID,
            Self::BasicRecoverOk(_) => BasicRecoverOk::METHOD_ID,
            Self::BasicNack(_) => BasicNack::METHOD_ID,
            Self::TxSelect(_) => TxSelect::METHOD_ID,
            Self::TxSelectOk(_) => TxSelectOk::METHOD_ID,
            Self::TxCommit(_) => TxCommit::METHOD_ID,
            Self::TxCommitOk(_) => TxCommitOk::METHOD_ID,
            Self::TxRollback(_) => TxRollback::METHOD_ID,
            Self::TxRollbackOk(_) => TxRollbackOk::METHOD_ID,
            Self::AccessRequest(_) => AccessRequest::METHOD_ID,
            Self::AccessRequestOk(_) => AccessRequestOk::METHOD_ID,
            Self::ConfirmSelect(_) => ConfirmSelect::METHOD_ID,
            Self::ConfirmSelectOk(_) => ConfirmSelectOk::METHOD_ID,
        }
    }

    /// As the specification names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConnectionStart(_) => "connection.start",
            Self::ConnectionStartOk(_) => "connection.start-ok",
            Self::ConnectionSecure(_) => "connection.secure",
            Self::ConnectionSecureOk(_) => "connection.secure-ok",
            Self::ConnectionTune(_) => "connection.tune",
            Self::ConnectionTuneOk(_) => "connection.tune-ok",
            Self::ConnectionOpen(_) => "connection.open",
            Self::ConnectionOpenOk(_) => "connection.open-ok",
            Self::ConnectionClose(_) => "connection.close",
            Self::ConnectionCloseOk(_) => "connection.close-ok",
            Self::ConnectionBlocked(_) => "connection.blocked",
            Self::ConnectionUnblocked(_) => "connection.unblocked",
            Self::ConnectionUpdateSecret(_) => "connection.update-secret",
            Self::ConnectionUpdateSecretOk(_) => "connection.update-secret-ok",
            Self::ChannelOpen(_) => "channel.open",
            Self::ChannelOpenOk(_) => "channel.open-ok",
            Self::ChannelFlow(_) => "channel.flow",
            Self::ChannelFlowOk(_) => "channel.flow-ok",
            Self::ChannelClose(_) => "channel.close",
            Self::ChannelCloseOk(_) => "channel.close-ok",
            Self::ExchangeDeclare(_) => "exchange.declare",
            Self::ExchangeDeclareOk(_) => "exchange.declare-ok",
            Self::ExchangeDelete(_) => "exchange.delete",
            Self::ExchangeDeleteOk(_) => "exchange.delete-ok",
            Self::ExchangeBind(_) => "exchange.bind",
            Self::ExchangeBindOk(_) => "exchange.bind-ok",
            Self::ExchangeUnbind(_) => "exchange.unbind",
            Self::ExchangeUnbindOk(_) => "exchange.unbind-ok",
            Self::QueueDeclare(_) => "queue.declare",
            Self::QueueDeclareOk(_) => "queue.declare-ok",
            Self::QueueBind(_) => "queue.bind",
            Self::QueueBindOk(_) => "queue.bind-ok",
            Self::QueueUnbind(_) => "queue.unbind",
            Self::QueueUnbindOk(_) => "queue.unbind-ok",
            Self::QueuePurge(_) => "queue.purge",
            Self::QueuePurgeOk(_) => "queue.purge-ok",
            Self::QueueDelete(_) => "queue.delete",
            Self::QueueDeleteOk(_) => "queue.delete-ok",
            Self::BasicQos(_) => "basic.qos",
            Self::BasicQosOk(_) => "basic.qos-ok",
            Self::BasicConsume(_) => "basic.consume",
            Self::BasicConsumeOk(_) => "basic.consume-ok",
            Self::BasicCancel(_) => "basic.cancel",
            Self::BasicCancelOk(_) => "basic.cancel-ok",
            Self::BasicPublish(_) => "basic.publish",
            Self::BasicReturn(_) => "basic.return",
            Self::BasicDeliver(_) => "basic.deliver",
            Self::BasicGet(_) => "basic.get",
            Self::BasicGetOk(_) => "basic.get-ok",
            Self::BasicGetEmpty(_) => "basic.get-empty",
            Self::BasicAck(_) => "basic.ack",
            Self::BasicReject(_) => "basic.reject",
            Self::BasicRecoverAsync(_) => "basic.recover-async",
            Self::BasicRecover(_) => "basic.recover",
            Self::BasicRecoverOk(_) => "basic.recover-ok",
            Self::BasicNack(_) => "basic.nack",
            Self::TxSelect(_) => "tx.select",
            Self::TxSelectOk(_) => "tx.select-ok",
            Self::TxCommit(_) => "tx.commit",
            Self::TxCommitOk(_) => "tx.commit-ok",
            Self::TxRollback(_) => "tx.rollback",
            Self::TxRollbackOk(_) => "tx.rollback-ok",
            Self::AccessRequest(_) => "access.request",
            Self::AccessRequestOk(_) => "access.request-ok",
            Self::ConfirmSelect(_) => "confirm.select",
            Self::ConfirmSelectOk(_) => "confirm.select-ok",
        }
    }

    /// Whether a content header and a body follow.
    pub fn carries_content(&self) -> bool {
        matches!(
            self,
            Self::BasicPublish(_)
                | Self::BasicReturn(_)
                | Self::BasicDeliver(_)
                | Self::BasicGetOk(_)
        )
    }
}

impl From<ConnectionStart> for Method {
    fn from(method: ConnectionStart) -> Self {
        Self::ConnectionStart(method)
    }
}

impl From<ConnectionStartOk> for Method {
    fn from(method: ConnectionStartOk) -> Self {
        Self::ConnectionStartOk(method)
    }
}

impl From<ConnectionSecure> for Method {
    fn from(method: ConnectionSecure) -> Self {
        Self::ConnectionSecure(method)
    }
}

impl From<ConnectionSecureOk> for Method {
    fn from(method: ConnectionSecureOk) -> Self {
        Self::ConnectionSecureOk(method)
    }
}

impl From<ConnectionTune> for Method {
    fn from(method: ConnectionTune) -> Self {
        Self::ConnectionTune(method)
    }
}

impl From<ConnectionTuneOk> for Method {
    fn from(method: ConnectionTuneOk) -> Self {
        Self::ConnectionTuneOk(method)
    }
}

impl From<ConnectionOpen> for Method {
    fn from(method: ConnectionOpen) -> Self {
        Self::ConnectionOpen(method)
    }
}

impl From<ConnectionOpenOk> for Method {
    fn from(method: ConnectionOpenOk) -> Self {
        Self::ConnectionOpenOk(method)
    }
}

impl From<ConnectionClose> for Method {
    fn from(method: ConnectionClose) -> Self {
        Self::ConnectionClose(method)
    }
}

impl From<ConnectionCloseOk> for Method {
    fn from(method: ConnectionCloseOk) -> Self {
        Self::ConnectionCloseOk(method)
    }
}

impl From<ConnectionBlocked> for Method {
    fn from(method: ConnectionBlocked) -> Self {
        Self::ConnectionBlocked(method)
    }
}

impl From<ConnectionUnblocked> for Method {
    fn from(method: ConnectionUnblocked) -> Self {
        Self::ConnectionUnblocked(method)
    }
}

impl From<ConnectionUpdateSecret> for Method {
    fn from(method: ConnectionUpdateSecret) -> Self {
        Self::ConnectionUpdateSecret(method)
    }
}

impl From<ConnectionUpdateSecretOk> for Method {
    fn from(method: ConnectionUpdateSecretOk) -> Self {
        Self::ConnectionUpdateSecretOk(method)
    }
}

impl From<ChannelOpen> for Method {
    fn from(method: ChannelOpen) -> Self {
        Self::ChannelOpen(method)
    }
}

impl From<ChannelOpenOk> for Method {
    fn from(method: ChannelOpenOk) -> Self {
        Self::ChannelOpenOk(method)
    }
}

impl From<ChannelFlow> for Method {
    fn from(method: ChannelFlow) -> Self {
        Self::ChannelFlow(method)
    }
}

impl From<ChannelFlowOk> for Method {
    fn from(method: ChannelFlowOk) -> Self {
        Self::ChannelFlowOk(method)
    }
}

impl From<ChannelClose> for Method {
    fn from(method: ChannelClose) -> Self {
        Self::ChannelClose(method)
    }
}

impl From<ChannelCloseOk> for Method {
    fn from(method: ChannelCloseOk) -> Self {
        Self::ChannelCloseOk(method)
    }
}

impl From<ExchangeDeclare> for Method {
    fn from(method: ExchangeDeclare) -> Self {
        Self::ExchangeDeclare(method)
    }
}

impl From<ExchangeDeclareOk> for Method {
    fn from(method: ExchangeDeclareOk) -> Self {
        Self::ExchangeDeclareOk(method)
    }
}

impl From<ExchangeDelete> for Method {
    fn from(method: ExchangeDelete) -> Self {
        Self::ExchangeDelete(method)
    }
}

impl From<ExchangeDeleteOk> for Method {
    fn from(method: ExchangeDeleteOk) -> Self {
        Self::ExchangeDeleteOk(method)
    }
}

impl From<ExchangeBind> for Method {
    fn from(method: ExchangeBind) -> Self {
        Self::ExchangeBind(method)
    }
}

impl From<ExchangeBindOk> for Method {
    fn from(method: ExchangeBindOk) -> Self {
        Self::ExchangeBindOk(method)
    }
}

impl From<ExchangeUnbind> for Method {
    fn from(method: ExchangeUnbind) -> Self {
        Self::ExchangeUnbind(method)
    }
}

impl From<ExchangeUnbindOk> for Method {
    fn from(method: ExchangeUnbindOk) -> Self {
        Self::ExchangeUnbindOk(method)
    }
}

impl From<QueueDeclare> for Method {
    fn from(method: QueueDeclare) -> Self {
        Self::QueueDeclare(method)
    }
}

impl From<QueueDeclareOk> for Method {
    fn from(method: QueueDeclareOk) -> Self {
        Self::QueueDeclareOk(method)
    }
}

impl From<QueueBind> for Method {
    fn from(method: QueueBind) -> Self {
        Self::QueueBind(method)
    }
}

impl From<QueueBindOk> for Method {
    fn from(method: QueueBindOk) -> Self {
        Self::QueueBindOk(method)
    }
}

impl From<QueueUnbind> for Method {
    fn from(method: QueueUnbind) -> Self {
        Self::QueueUnbind(method)
    }
}

impl From<QueueUnbindOk> for Method {
    fn from(method: QueueUnbindOk) -> Self {
        Self::QueueUnbindOk(method)
    }
}

impl From<QueuePurge> for Method {
    fn from(method: QueuePurge) -> Self {
        Self::QueuePurge(method)
    }
}

impl From<QueuePurgeOk> for Method {
    fn from(method: QueuePurgeOk) -> Self {
        Self::QueuePurgeOk(method)
    }
}

impl From<QueueDelete> for Method {
    fn from(method: QueueDelete) -> Self {
        Self::QueueDelete(method)
    }
}

impl From<QueueDeleteOk> for Method {
    fn from(method: QueueDeleteOk) -> Self {
        Self::QueueDeleteOk(method)
    }
}

impl From<BasicQos> for Method {
    fn from(method: BasicQos) -> Self {
        Self::BasicQos(method)
    }
}

impl From<BasicQosOk> for Method {
    fn from(method: BasicQosOk) -> Self {
        Self::BasicQosOk(method)
    }
}

impl From<BasicConsume> for Method {
    fn from(method: BasicConsume) -> Self {
        Self::BasicConsume(method)
    }
}

impl From<BasicConsumeOk> for Method {
    fn from(method: BasicConsumeOk) -> Self {
        Self::BasicConsumeOk(method)
    }
}

impl From<BasicCancel> for Method {
    fn from(method: BasicCancel) -> Self {
        Self::BasicCancel(method)
    }
}

impl From<BasicCancelOk> for Method {
    fn from(method: BasicCancelOk) -> Self {
        Self::BasicCancelOk(method)
    }
}

impl From<BasicPublish> for Method {
    fn from(method: BasicPublish) -> Self {
        Self::BasicPublish(method)
    }
}

impl From<BasicReturn> for Method {
    fn from(method: BasicReturn) -> Self {
        Self::BasicReturn(method)
    }
}

impl From<BasicDeliver> for Method {
    fn from(method: BasicDeliver) -> Self {
        Self::BasicDeliver(method)
    }
}

impl From<BasicGet> for Method {
    fn from(method: BasicGet) -> Self {
        Self::BasicGet(method)
    }
}

impl From<BasicGetOk> for Method {
    fn from(method: BasicGetOk) -> Self {
        Self::BasicGetOk(method)
    }
}

impl From<BasicGetEmpty> for Method {
    fn from(method: BasicGetEmpty) -> Self {
        Self::BasicGetEmpty(method)
    }
}

impl From<BasicAck> for Method {
    fn from(method: BasicAck) -> Self {
        Self::BasicAck(method)
    }
}

impl From<BasicReject> for Method {
    fn from(method: BasicReject) -> Self {
        Self::BasicReject(method)
    }
}

impl From<BasicRecoverAsync> for Method {
    fn from(method: BasicRecoverAsync) -> Self {
        Self::BasicRecoverAsync(method)
    }
}

impl From<BasicRecover> for Method {
    fn from(method: BasicRecover) -> Self {
        Self::BasicRecover(method)
    }
}

impl From<BasicRecoverOk> for Method {
    fn from(method: BasicRecoverOk) -> Self {
        Self::BasicRecoverOk(method)
    }
}

impl From<BasicNack> for Method {
    fn from(method: BasicNack) -> Self {
        Self::BasicNack(method)
    }
}

impl From<TxSelect> for Method {
    fn from(method: TxSelect) -> Self {
        Self::TxSelect(method)
    }
}

impl From<TxSelectOk> for Method {
    fn from(method: TxSelectOk) -> Self {
        Self::TxSelectOk(method)
    }
}

impl From<TxCommit> for Method {
    fn from(method: TxCommit) -> Self {
        Self::TxCommit(method)
    }
}

impl From<TxCommitOk> for Method {
    fn from(method: TxCommitOk) -> Self {
        Self::TxCommitOk(method)
    }
}

impl From<TxRollback> for Method {
    fn from(method: TxRollback) -> Self {
        Self::TxRollback(method)
    }
}

impl From<TxRollbackOk> for Method {
    fn from(method: TxRollbackOk) -> Self {
        Self::TxRollbackOk(method)
    }
}

impl From<AccessRequest> for Method {
    fn from(method: AccessRequest) -> Self {
        Self::AccessRequest(method)
    }
}

impl From<AccessRequestOk> for Method {
    fn from(method: AccessRequestOk) -> Self {
        Self::AccessRequestOk(method)
    }
}

impl From<ConfirmSelect> for Method {
    fn from(method: ConfirmSelect) -> Self {
        Self::ConfirmSelect(method)
    }
}

impl From<ConfirmSelectOk> for Method {
    fn from(method: ConfirmSelectOk) -> Self {
        Self::ConfirmSelectOk(method)
    }
}

// Class connection: The socket as a whole: who the two sides are, what they agree on, how they
// part.

/// connection.start, from the broker. The broker says who it is and how a client may log in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionStart {
    pub version_major: u8,
    pub version_minor: u8,
    pub server_properties: FieldTable,
    pub mechanisms: Bytes,
    pub locales: Bytes,
}

impl ConnectionStart {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let version_major = fields.octet()?;
        let version_minor = fields.octet()?;
        let server_properties = FieldTable::decode(fields)?;
        let mechanisms = fields.longstr()?;
        let locales = fields.longstr()?;
        Ok(Self { version_major, version_minor, server_properties, mechanisms, locales })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.version_major);
        out.put_u8(self.version_minor);
        self.server_properties.encode(out);
        put_longstr(out, &self.mechanisms);
        put_longstr(out, &self.locales);
    }
}

/// connection.start-ok, from the client. The client says who it is and logs in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionStartOk {
    pub client_properties: FieldTable,
    pub mechanism: ShortStr,
    pub response: Bytes,
    pub locale: ShortStr,
}

impl ConnectionStartOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 11;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let client_properties = FieldTable::decode(fields)?;
        let mechanism = fields.shortstr()?;
        let response = fields.longstr()?;
        let locale = fields.shortstr()?;
        Ok(Self { client_properties, mechanism, response, locale })
    }

    fn encode(&self, out: &mut BytesMut) {
        self.client_properties.encode(out);
        put_shortstr(out, &self.mechanism);
        put_longstr(out, &self.response);
        put_shortstr(out, &self.locale);
    }
}

/// connection.secure, from the broker. The broker asks for more in the course of a login.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionSecure {
    pub challenge: Bytes,
}

impl ConnectionSecure {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 20;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let challenge = fields.longstr()?;
        Ok(Self { challenge })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_longstr(out, &self.challenge);
    }
}

/// connection.secure-ok, from the client. The client's answer to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionSecureOk {
    pub response: Bytes,
}

impl ConnectionSecureOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 21;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let response = fields.longstr()?;
        Ok(Self { response })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_longstr(out, &self.response);
    }
}

/// connection.tune, from the broker. The broker offers limits; 0 stands for none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionTune {
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}

impl ConnectionTune {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 30;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let channel_max = fields.short()?;
        let frame_max = fields.long()?;
        let heartbeat = fields.short()?;
        Ok(Self { channel_max, frame_max, heartbeat })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.channel_max);
        out.put_u32(self.frame_max);
        out.put_u16(self.heartbeat);
    }
}

/// connection.tune-ok, from the client. The limits that the client chose, none above the offer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionTuneOk {
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}

impl ConnectionTuneOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 31;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let channel_max = fields.short()?;
        let frame_max = fields.long()?;
        let heartbeat = fields.short()?;
        Ok(Self { channel_max, frame_max, heartbeat })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.channel_max);
        out.put_u32(self.frame_max);
        out.put_u16(self.heartbeat);
    }
}

/// connection.open, from the client. The client chooses a vhost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionOpen {
    pub virtual_host: ShortStr,
}

impl ConnectionOpen {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 40;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let virtual_host = fields.shortstr()?;
        fields.shortstr()?;
        fields.bit()?;
        Ok(Self { virtual_host })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.virtual_host);
        out.put_u8(0);
        put_bits(out, [false]);
    }
}

/// connection.open-ok, from the broker. The vhost is open; channels may follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionOpenOk;

impl ConnectionOpenOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 41;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.shortstr()?;
        Ok(Self)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0);
    }
}

/// connection.close, from either side. One side ends the connection and says why; class and method
/// name the cause, if a method was it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionClose {
    pub reply_code: u16,
    pub reply_text: ShortStr,
    pub class_id: u16,
    pub method_id: u16,
}

impl ConnectionClose {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 50;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let reply_code = fields.short()?;
        let reply_text = fields.shortstr()?;
        let class_id = fields.short()?;
        let method_id = fields.short()?;
        Ok(Self { reply_code, reply_text, class_id, method_id })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.reply_code);
        put_shortstr(out, &self.reply_text);
        out.put_u16(self.class_id);
        out.put_u16(self.method_id);
    }
}

/// connection.close-ok, from either side. The other side has heard it; the socket may go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionCloseOk;

impl ConnectionCloseOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 51;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// connection.blocked, from the broker. The broker takes no more publishes for now, and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionBlocked {
    pub reason: ShortStr,
}

impl ConnectionBlocked {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 60;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let reason = fields.shortstr()?;
        Ok(Self { reason })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.reason);
    }
}

/// connection.unblocked, from the broker. It takes them again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionUnblocked;

impl ConnectionUnblocked {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 61;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// connection.update-secret, from the client. The client renews what it logged in with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionUpdateSecret {
    pub new_secret: Bytes,
    pub reason: ShortStr,
}

impl ConnectionUpdateSecret {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 70;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let new_secret = fields.longstr()?;
        let reason = fields.shortstr()?;
        Ok(Self { new_secret, reason })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_longstr(out, &self.new_secret);
        put_shortstr(out, &self.reason);
    }
}

/// connection.update-secret-ok, from the broker. The new one holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionUpdateSecretOk;

impl ConnectionUpdateSecretOk {
    pub const CLASS_ID: u16 = 10;
    pub const METHOD_ID: u16 = 71;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

// Class channel: One of many independent conversations on a connection.

/// channel.open, from the client. The client begins a channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelOpen;

impl ChannelOpen {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.shortstr()?;
        Ok(Self)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0);
    }
}

/// channel.open-ok, from the broker. The channel is open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelOpenOk;

impl ChannelOpenOk {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 11;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.longstr()?;
        Ok(Self)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32(0);
    }
}

/// channel.flow, from either side. Asks the other side to pause or resume contents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelFlow {
    pub active: bool,
}

impl ChannelFlow {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 20;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let active = fields.bit()?;
        Ok(Self { active })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_bits(out, [self.active]);
    }
}

/// channel.flow-ok, from either side. Says what is in force now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelFlowOk {
    pub active: bool,
}

impl ChannelFlowOk {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 21;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let active = fields.bit()?;
        Ok(Self { active })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_bits(out, [self.active]);
    }
}

/// channel.close, from either side. One side ends the channel and says why.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelClose {
    pub reply_code: u16,
    pub reply_text: ShortStr,
    pub class_id: u16,
    pub method_id: u16,
}

impl ChannelClose {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 40;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let reply_code = fields.short()?;
        let reply_text = fields.shortstr()?;
        let class_id = fields.short()?;
        let method_id = fields.short()?;
        Ok(Self { reply_code, reply_text, class_id, method_id })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.reply_code);
        put_shortstr(out, &self.reply_text);
        out.put_u16(self.class_id);
        out.put_u16(self.method_id);
    }
}

/// channel.close-ok, from either side. The other side has heard it; the number is free.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelCloseOk;

impl ChannelCloseOk {
    pub const CLASS_ID: u16 = 20;
    pub const METHOD_ID: u16 = 41;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

// Class exchange: Where messages come in and are routed.

/// exchange.declare, from the client. Creates an exchange or checks that it is as described.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeDeclare {
    pub exchange: ShortStr,
    pub kind: ShortStr,
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl ExchangeDeclare {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let exchange = fields.shortstr()?;
        let kind = fields.shortstr()?;
        let passive = fields.bit()?;
        let durable = fields.bit()?;
        let auto_delete = fields.bit()?;
        let internal = fields.bit()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { exchange, kind, passive, durable, auto_delete, internal, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.kind);
        put_bits(out, [self.passive, self.durable, self.auto_delete, self.internal, self.no_wait]);
        self.arguments.encode(out);
    }
}

/// exchange.declare-ok, from the broker. The exchange is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeDeclareOk;

impl ExchangeDeclareOk {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 11;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// exchange.delete, from the client. Removes an exchange and its bindings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeDelete {
    pub exchange: ShortStr,
    pub if_unused: bool,
    pub no_wait: bool,
}

impl ExchangeDelete {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 20;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let exchange = fields.shortstr()?;
        let if_unused = fields.bit()?;
        let no_wait = fields.bit()?;
        Ok(Self { exchange, if_unused, no_wait })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.exchange);
        put_bits(out, [self.if_unused, self.no_wait]);
    }
}

/// exchange.delete-ok, from the broker. The exchange is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeDeleteOk;

impl ExchangeDeleteOk {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 21;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// exchange.bind, from the client. Has an exchange pass messages to another exchange.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeBind {
    pub destination: ShortStr,
    pub source: ShortStr,
    pub routing_key: ShortStr,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl ExchangeBind {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 30;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let destination = fields.shortstr()?;
        let source = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { destination, source, routing_key, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.destination);
        put_shortstr(out, &self.source);
        put_shortstr(out, &self.routing_key);
        put_bits(out, [self.no_wait]);
        self.arguments.encode(out);
    }
}

/// exchange.bind-ok, from the broker. The binding is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeBindOk;

impl ExchangeBindOk {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 31;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// exchange.unbind, from the client. Ends a binding between exchanges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeUnbind {
    pub destination: ShortStr,
    pub source: ShortStr,
    pub routing_key: ShortStr,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl ExchangeUnbind {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 40;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let destination = fields.shortstr()?;
        let source = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { destination, source, routing_key, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.destination);
        put_shortstr(out, &self.source);
        put_shortstr(out, &self.routing_key);
        put_bits(out, [self.no_wait]);
        self.arguments.encode(out);
    }
}

/// exchange.unbind-ok, from the broker. The binding is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExchangeUnbindOk;

impl ExchangeUnbindOk {
    pub const CLASS_ID: u16 = 40;
    pub const METHOD_ID: u16 = 51;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

// Class queue: Where messages wait for consumers.

/// queue.declare, from the client. Creates a queue or checks that it is as described.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueDeclare {
    pub queue: ShortStr,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl QueueDeclare {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let passive = fields.bit()?;
        let durable = fields.bit()?;
        let exclusive = fields.bit()?;
        let auto_delete = fields.bit()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { queue, passive, durable, exclusive, auto_delete, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_bits(out, [self.passive, self.durable, self.exclusive, self.auto_delete, self.no_wait]);
        self.arguments.encode(out);
    }
}

/// queue.declare-ok, from the broker. The queue is there; its name, and what it holds at the
/// moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueDeclareOk {
    pub queue: ShortStr,
    pub message_count: u32,
    pub consumer_count: u32,
}

impl QueueDeclareOk {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 11;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let queue = fields.shortstr()?;
        let message_count = fields.long()?;
        let consumer_count = fields.long()?;
        Ok(Self { queue, message_count, consumer_count })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.queue);
        out.put_u32(self.message_count);
        out.put_u32(self.consumer_count);
    }
}

/// queue.bind, from the client. Has an exchange pass messages to a queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueBind {
    pub queue: ShortStr,
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl QueueBind {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 20;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { queue, exchange, routing_key, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
        put_bits(out, [self.no_wait]);
        self.arguments.encode(out);
    }
}

/// queue.bind-ok, from the broker. The binding is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueBindOk;

impl QueueBindOk {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 21;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// queue.unbind, from the client. Ends a binding of a queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueUnbind {
    pub queue: ShortStr,
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub arguments: FieldTable,
}

impl QueueUnbind {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 50;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { queue, exchange, routing_key, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
        self.arguments.encode(out);
    }
}

/// queue.unbind-ok, from the broker. The binding is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueUnbindOk;

impl QueueUnbindOk {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 51;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// queue.purge, from the client. Drops the messages of a queue that are not out with a consumer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueuePurge {
    pub queue: ShortStr,
    pub no_wait: bool,
}

impl QueuePurge {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 30;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let no_wait = fields.bit()?;
        Ok(Self { queue, no_wait })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_bits(out, [self.no_wait]);
    }
}

/// queue.purge-ok, from the broker. How many were dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueuePurgeOk {
    pub message_count: u32,
}

impl QueuePurgeOk {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 31;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let message_count = fields.long()?;
        Ok(Self { message_count })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.message_count);
    }
}

/// queue.delete, from the client. Removes a queue with its messages and bindings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueDelete {
    pub queue: ShortStr,
    pub if_unused: bool,
    pub if_empty: bool,
    pub no_wait: bool,
}

impl QueueDelete {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 40;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let if_unused = fields.bit()?;
        let if_empty = fields.bit()?;
        let no_wait = fields.bit()?;
        Ok(Self { queue, if_unused, if_empty, no_wait })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_bits(out, [self.if_unused, self.if_empty, self.no_wait]);
    }
}

/// queue.delete-ok, from the broker. How many messages went with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueDeleteOk {
    pub message_count: u32,
}

impl QueueDeleteOk {
    pub const CLASS_ID: u16 = 50;
    pub const METHOD_ID: u16 = 41;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let message_count = fields.long()?;
        Ok(Self { message_count })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.message_count);
    }
}

// Class basic: Messages: publishing, consuming, settling.

/// basic.qos, from the client. Limits how many deliveries may be unsettled; 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicQos {
    pub prefetch_size: u32,
    pub prefetch_count: u16,
    pub global: bool,
}

impl BasicQos {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let prefetch_size = fields.long()?;
        let prefetch_count = fields.short()?;
        let global = fields.bit()?;
        Ok(Self { prefetch_size, prefetch_count, global })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.prefetch_size);
        out.put_u16(self.prefetch_count);
        put_bits(out, [self.global]);
    }
}

/// basic.qos-ok, from the broker. The limit holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicQosOk;

impl BasicQosOk {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 11;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// basic.consume, from the client. Asks for the messages of a queue as they come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicConsume {
    pub queue: ShortStr,
    pub consumer_tag: ShortStr,
    pub no_local: bool,
    pub no_ack: bool,
    pub exclusive: bool,
    pub no_wait: bool,
    pub arguments: FieldTable,
}

impl BasicConsume {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 20;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let consumer_tag = fields.shortstr()?;
        let no_local = fields.bit()?;
        let no_ack = fields.bit()?;
        let exclusive = fields.bit()?;
        let no_wait = fields.bit()?;
        let arguments = FieldTable::decode(fields)?;
        Ok(Self { queue, consumer_tag, no_local, no_ack, exclusive, no_wait, arguments })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_shortstr(out, &self.consumer_tag);
        put_bits(out, [self.no_local, self.no_ack, self.exclusive, self.no_wait]);
        self.arguments.encode(out);
    }
}

/// basic.consume-ok, from the broker. The consumer is there, under this tag.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicConsumeOk {
    pub consumer_tag: ShortStr,
}

impl BasicConsumeOk {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 21;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let consumer_tag = fields.shortstr()?;
        Ok(Self { consumer_tag })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.consumer_tag);
    }
}

/// basic.cancel, from either side. Ends a consumer; what it has stays with it. The broker sends it
/// when the queue is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicCancel {
    pub consumer_tag: ShortStr,
    pub no_wait: bool,
}

impl BasicCancel {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 30;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let consumer_tag = fields.shortstr()?;
        let no_wait = fields.bit()?;
        Ok(Self { consumer_tag, no_wait })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.consumer_tag);
        put_bits(out, [self.no_wait]);
    }
}

/// basic.cancel-ok, from either side. The consumer is gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicCancelOk {
    pub consumer_tag: ShortStr,
}

impl BasicCancelOk {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 31;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let consumer_tag = fields.shortstr()?;
        Ok(Self { consumer_tag })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.consumer_tag);
    }
}

/// basic.publish, from the client. Brings a message to an exchange; header and body follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicPublish {
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub mandatory: bool,
    pub immediate: bool,
}

impl BasicPublish {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 40;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let mandatory = fields.bit()?;
        let immediate = fields.bit()?;
        Ok(Self { exchange, routing_key, mandatory, immediate })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
        put_bits(out, [self.mandatory, self.immediate]);
    }
}

/// basic.return, from the broker. A mandatory message that found no queue comes back; header and
/// body follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicReturn {
    pub reply_code: u16,
    pub reply_text: ShortStr,
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
}

impl BasicReturn {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 50;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let reply_code = fields.short()?;
        let reply_text = fields.shortstr()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        Ok(Self { reply_code, reply_text, exchange, routing_key })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.reply_code);
        put_shortstr(out, &self.reply_text);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
    }
}

/// basic.deliver, from the broker. A message for a consumer; header and body follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicDeliver {
    pub consumer_tag: ShortStr,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
}

impl BasicDeliver {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 60;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let consumer_tag = fields.shortstr()?;
        let delivery_tag = fields.longlong()?;
        let redelivered = fields.bit()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        Ok(Self { consumer_tag, delivery_tag, redelivered, exchange, routing_key })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.consumer_tag);
        out.put_u64(self.delivery_tag);
        put_bits(out, [self.redelivered]);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
    }
}

/// basic.get, from the client. Asks for one message of a queue, now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicGet {
    pub queue: ShortStr,
    pub no_ack: bool,
}

impl BasicGet {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 70;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.short()?;
        let queue = fields.shortstr()?;
        let no_ack = fields.bit()?;
        Ok(Self { queue, no_ack })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(0);
        put_shortstr(out, &self.queue);
        put_bits(out, [self.no_ack]);
    }
}

/// basic.get-ok, from the broker. The message; header and body follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicGetOk {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: ShortStr,
    pub routing_key: ShortStr,
    pub message_count: u32,
}

impl BasicGetOk {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 71;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let delivery_tag = fields.longlong()?;
        let redelivered = fields.bit()?;
        let exchange = fields.shortstr()?;
        let routing_key = fields.shortstr()?;
        let message_count = fields.long()?;
        Ok(Self { delivery_tag, redelivered, exchange, routing_key, message_count })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.delivery_tag);
        put_bits(out, [self.redelivered]);
        put_shortstr(out, &self.exchange);
        put_shortstr(out, &self.routing_key);
        out.put_u32(self.message_count);
    }
}

/// basic.get-empty, from the broker. The queue has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicGetEmpty;

impl BasicGetEmpty {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 72;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        fields.shortstr()?;
        Ok(Self)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0);
    }
}

/// basic.ack, from either side. From a client: deliveries are dealt with. From the broker:
/// publishes are safe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicAck {
    pub delivery_tag: u64,
    pub multiple: bool,
}

impl BasicAck {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 80;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let delivery_tag = fields.longlong()?;
        let multiple = fields.bit()?;
        Ok(Self { delivery_tag, multiple })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.delivery_tag);
        put_bits(out, [self.multiple]);
    }
}

/// basic.reject, from the client. A delivery is refused: back to the queue, or away from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicReject {
    pub delivery_tag: u64,
    pub requeue: bool,
}

impl BasicReject {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 90;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let delivery_tag = fields.longlong()?;
        let requeue = fields.bit()?;
        Ok(Self { delivery_tag, requeue })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.delivery_tag);
        put_bits(out, [self.requeue]);
    }
}

/// basic.recover-async, from the client. As recover, without an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicRecoverAsync {
    pub requeue: bool,
}

impl BasicRecoverAsync {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 100;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let requeue = fields.bit()?;
        Ok(Self { requeue })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_bits(out, [self.requeue]);
    }
}

/// basic.recover, from the client. Has all unsettled deliveries of the channel delivered again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicRecover {
    pub requeue: bool,
}

impl BasicRecover {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 110;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let requeue = fields.bit()?;
        Ok(Self { requeue })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_bits(out, [self.requeue]);
    }
}

/// basic.recover-ok, from the broker. They are back in their queues.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicRecoverOk;

impl BasicRecoverOk {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 111;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// basic.nack, from either side. As reject, for several at once. From the broker: publishes may be
/// lost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicNack {
    pub delivery_tag: u64,
    pub multiple: bool,
    pub requeue: bool,
}

impl BasicNack {
    pub const CLASS_ID: u16 = 60;
    pub const METHOD_ID: u16 = 120;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let delivery_tag = fields.longlong()?;
        let multiple = fields.bit()?;
        let requeue = fields.bit()?;
        Ok(Self { delivery_tag, multiple, requeue })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.delivery_tag);
        put_bits(out, [self.multiple, self.requeue]);
    }
}

// Class tx: Publishes and settlements that take effect together.

/// tx.select, from the client. Makes the channel transactional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxSelect;

impl TxSelect {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 10;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// tx.select-ok, from the broker. It is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxSelectOk;

impl TxSelectOk {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 11;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// tx.commit, from the client. Has everything since the last commit take effect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxCommit;

impl TxCommit {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 20;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// tx.commit-ok, from the broker. It has, and is safe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxCommitOk;

impl TxCommitOk {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 21;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// tx.rollback, from the client. Drops everything since the last commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxRollback;

impl TxRollback {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 30;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// tx.rollback-ok, from the broker. It is dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TxRollbackOk;

impl TxRollbackOk {
    pub const CLASS_ID: u16 = 90;
    pub const METHOD_ID: u16 = 31;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

// Class access: Tickets of earlier versions of the protocol.

/// access.request, from the client. Asks for a ticket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessRequest {
    pub realm: ShortStr,
    pub exclusive: bool,
    pub passive: bool,
    pub active: bool,
    pub write: bool,
    pub read: bool,
}

impl AccessRequest {
    pub const CLASS_ID: u16 = 30;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let realm = fields.shortstr()?;
        let exclusive = fields.bit()?;
        let passive = fields.bit()?;
        let active = fields.bit()?;
        let write = fields.bit()?;
        let read = fields.bit()?;
        Ok(Self { realm, exclusive, passive, active, write, read })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_shortstr(out, &self.realm);
        put_bits(out, [self.exclusive, self.passive, self.active, self.write, self.read]);
    }
}

/// access.request-ok, from the broker. A ticket, which nobody looks at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessRequestOk {
    pub ticket: u16,
}

impl AccessRequestOk {
    pub const CLASS_ID: u16 = 30;
    pub const METHOD_ID: u16 = 11;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let ticket = fields.short()?;
        Ok(Self { ticket })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.ticket);
    }
}

// Class confirm: Publishes that the broker answers once they are safe.

/// confirm.select, from the client. Has the broker confirm every publish of the channel from now
/// on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfirmSelect {
    pub nowait: bool,
}

impl ConfirmSelect {
    pub const CLASS_ID: u16 = 85;
    pub const METHOD_ID: u16 = 10;

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let nowait = fields.bit()?;
        Ok(Self { nowait })
    }

    fn encode(&self, out: &mut BytesMut) {
        put_bits(out, [self.nowait]);
    }
}

/// confirm.select-ok, from the broker. It will.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfirmSelectOk;

impl ConfirmSelectOk {
    pub const CLASS_ID: u16 = 85;
    pub const METHOD_ID: u16 = 11;

    fn decode(_: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// The properties of a content of class basic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicProperties {
    /// MIME type of the body.
    pub content_type: Option<ShortStr>,
    /// MIME encoding of the body.
    pub content_encoding: Option<ShortStr>,
    /// The application's own fields, and what the headers exchange looks at.
    pub headers: Option<FieldTable>,
    /// 1: may be lost with the broker; 2: persistent.
    pub delivery_mode: Option<u8>,
    /// 0 to 255; higher ones go first in queues with priorities.
    pub priority: Option<u8>,
    /// Joins an answer to its question.
    pub correlation_id: Option<ShortStr>,
    /// Where an answer is to be sent.
    pub reply_to: Option<ShortStr>,
    /// Milliseconds until the message expires, as decimal text.
    pub expiration: Option<ShortStr>,
    /// The application's name for the message.
    pub message_id: Option<ShortStr>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// What kind of message it is, to the application.
    pub kind: Option<ShortStr>,
    /// The user who published it.
    pub user_id: Option<ShortStr>,
    /// The application that published it.
    pub app_id: Option<ShortStr>,
    /// Was cluster-id; travels along.
    pub reserved: Option<ShortStr>,
}

impl BasicProperties {
    /// Reads the property flags and the list.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let flags = fields.short()?;
        Ok(Self {
            content_type: if flags & 1 << 15 != 0 { Some(fields.shortstr()?) } else { None },
            content_encoding: if flags & 1 << 14 != 0 { Some(fields.shortstr()?) } else { None },
            headers: if flags & 1 << 13 != 0 { Some(FieldTable::decode(fields)?) } else { None },
            delivery_mode: if flags & 1 << 12 != 0 { Some(fields.octet()?) } else { None },
            priority: if flags & 1 << 11 != 0 { Some(fields.octet()?) } else { None },
            correlation_id: if flags & 1 << 10 != 0 { Some(fields.shortstr()?) } else { None },
            reply_to: if flags & 1 << 9 != 0 { Some(fields.shortstr()?) } else { None },
            expiration: if flags & 1 << 8 != 0 { Some(fields.shortstr()?) } else { None },
            message_id: if flags & 1 << 7 != 0 { Some(fields.shortstr()?) } else { None },
            timestamp: if flags & 1 << 6 != 0 { Some(fields.timestamp()?) } else { None },
            kind: if flags & 1 << 5 != 0 { Some(fields.shortstr()?) } else { None },
            user_id: if flags & 1 << 4 != 0 { Some(fields.shortstr()?) } else { None },
            app_id: if flags & 1 << 3 != 0 { Some(fields.shortstr()?) } else { None },
            reserved: if flags & 1 << 2 != 0 { Some(fields.shortstr()?) } else { None },
        })
    }

    /// Appends the property flags and the list.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut flags = 0u16;
        if self.content_type.is_some() {
            flags |= 1 << 15;
        }
        if self.content_encoding.is_some() {
            flags |= 1 << 14;
        }
        if self.headers.is_some() {
            flags |= 1 << 13;
        }
        if self.delivery_mode.is_some() {
            flags |= 1 << 12;
        }
        if self.priority.is_some() {
            flags |= 1 << 11;
        }
        if self.correlation_id.is_some() {
            flags |= 1 << 10;
        }
        if self.reply_to.is_some() {
            flags |= 1 << 9;
        }
        if self.expiration.is_some() {
            flags |= 1 << 8;
        }
        if self.message_id.is_some() {
            flags |= 1 << 7;
        }
        if self.timestamp.is_some() {
            flags |= 1 << 6;
        }
        if self.kind.is_some() {
            flags |= 1 << 5;
        }
        if self.user_id.is_some() {
            flags |= 1 << 4;
        }
        if self.app_id.is_some() {
            flags |= 1 << 3;
        }
        if self.reserved.is_some() {
            flags |= 1 << 2;
        }
        out.put_u16(flags);
        if let Some(value) = &self.content_type {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.content_encoding {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.headers {
            value.encode(out);
        }
        if let Some(value) = &self.delivery_mode {
            out.put_u8(*value);
        }
        if let Some(value) = &self.priority {
            out.put_u8(*value);
        }
        if let Some(value) = &self.correlation_id {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.reply_to {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.expiration {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.message_id {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.timestamp {
            out.put_u64(*value);
        }
        if let Some(value) = &self.kind {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.user_id {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.app_id {
            put_shortstr(out, value);
        }
        if let Some(value) = &self.reserved {
            put_shortstr(out, value);
        }
    }
}
