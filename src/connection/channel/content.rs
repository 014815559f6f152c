//! From a basic.publish, its content header and its body frames to one message.
//!
//! ```text
//!   method ──▶ Header ──▶ Body(remaining) ──▶ … ──▶ complete
//! ```
//!
//! Anything in another order is 505, too many body bytes are 501. The body is not copied: its
//! chunks share the read buffer, but for a small one, which would pin a large buffer.

use bytes::Bytes;

use crate::connection::close::Failure;
use crate::protocol::frame::ContentHeader;
use crate::protocol::generated::BasicPublish;
use crate::protocol::message::{Body, Message};
use crate::protocol::properties::Properties;
use crate::protocol::reply::ReplyCode;

/// A body's length field may claim more, but no broker of this protocol takes it.
const BODY_LEN_MAX: u64 = 512 * 1024 * 1024;

/// A publish with all its content.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) mandatory: bool,
    pub(super) immediate: bool,
    pub(super) message: Message,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Header(BasicPublish),
    Body {
        publish: BasicPublish,
        properties: Properties,
        body: Body,
        remaining: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct ContentAssembler {
    stage: Stage,
}

fn unexpected(text: &str) -> Failure {
    Failure::new(ReplyCode::UnexpectedFrame, text)
}

impl ContentAssembler {
    /// Refuses a method in the middle of a content.
    pub(super) fn check_method(&self) -> Result<(), Failure> {
        match self.stage {
            Stage::Idle => Ok(()),
            Stage::Header(_) => Err(unexpected(
                "expected content header for class 60, got non content header frame instead",
            )),
            Stage::Body { .. } => {
                Err(unexpected("expected content body, got non content body frame instead"))
            }
        }
    }

    pub(super) fn begin(&mut self, publish: BasicPublish) {
        self.stage = Stage::Header(publish);
    }

    /// Takes the content header; answers the message when it has no body.
    pub(super) fn header(
        &mut self,
        header: ContentHeader,
        message_size_max: u64,
    ) -> Result<Option<Published>, Failure> {
        let publish = match std::mem::take(&mut self.stage) {
            Stage::Header(publish) => publish,
            Stage::Idle => {
                return Err(unexpected("expected method frame, got non method frame instead"));
            }
            Stage::Body { .. } => {
                return Err(unexpected("expected content body, got content header frame instead"));
            }
        };
        if header.class_id != BasicPublish::CLASS_ID {
            return Err(unexpected(&format!(
                "expected content header for class 60, got one for class {} instead",
                header.class_id
            )));
        }
        if header.body_size > BODY_LEN_MAX {
            return Err(Failure::new(
                ReplyCode::FrameError,
                format!(
                    "body size {} is above the protocol maximum of {BODY_LEN_MAX}",
                    header.body_size
                ),
            ));
        }
        if header.body_size > message_size_max {
            return Err(Failure::new(
                ReplyCode::PreconditionFailed,
                format!(
                    "message size {} is larger than configured max size {message_size_max}",
                    header.body_size
                ),
            ));
        }
        let (properties, remaining) = (header.properties, header.body_size);
        if remaining == 0 {
            return Ok(Some(complete(publish, properties, Body::default())));
        }
        self.stage = Stage::Body { publish, properties, body: Body::default(), remaining };
        Ok(None)
    }

    /// Takes a body frame; answers the message when it was the last one.
    pub(super) fn body(&mut self, chunk: Bytes) -> Result<Option<Published>, Failure> {
        let Stage::Body { body, remaining, .. } = &mut self.stage else {
            return Err(match self.stage {
                Stage::Idle => unexpected("expected method frame, got non method frame instead"),
                _ => unexpected(
                    "expected content header for class 60, got non content header frame instead",
                ),
            });
        };
        let Some(left) = remaining.checked_sub(chunk.len() as u64) else {
            return Err(Failure::new(
                ReplyCode::FrameError,
                format!("body is longer than its header said, by a frame of {} bytes", chunk.len()),
            ));
        };
        body.push(chunk);
        *remaining = left;
        if left > 0 {
            return Ok(None);
        }
        match std::mem::take(&mut self.stage) {
            Stage::Body { publish, properties, body, .. } => {
                Ok(Some(complete(publish, properties, body)))
            }
            Stage::Idle | Stage::Header(_) => Ok(None),
        }
    }
}

fn complete(publish: BasicPublish, properties: Properties, body: Body) -> Published {
    let BasicPublish { exchange, routing_key, mandatory, immediate } = publish;
    let message = Message { exchange, routing_key, properties, body, dead_lettered: false };
    Published { mandatory, immediate, message: message.detached() }
}
