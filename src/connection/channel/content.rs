//! From a basic.publish, its content header and its body frames to one message.
//!
//! ```text
//!   method ──▶ Header ──▶ Body(remaining) ──▶ … ──▶ complete
//! ```
//!
//! Anything in another order is 505, too many body bytes are 501. A large body is not copied: its
//! chunks share the read buffer.

use bytes::Bytes;

use super::target::Target;
use crate::broker::error::Error;
use crate::broker::reply::{PSEUDO_QUEUE, no_requester};
use crate::broker::routing_keys::ExtraKeys;
use crate::connection::close::Failure;
use crate::protocol::error::DecodeError;
use crate::protocol::frame::{ContentHead, Frame};
use crate::protocol::generated::BasicPublish;
use crate::protocol::message::{Body, Message};
use crate::protocol::properties::Properties;
use crate::protocol::reply::ReplyCode;
use crate::protocol::wire::ShortStr;

/// A body's length field may claim more, but no broker of this protocol takes it.
const BODY_LEN_MAX: u64 = 512 * 1024 * 1024;

/// Properties longer than this are not kept for comparison.
const KEPT_MAX: usize = 1024;

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Header,
    Body {
        body: Body,
        remaining: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct ContentAssembler {
    stage: Stage,
    pub(super) target: Target,
    /// Of the message that is coming in, or came in last: the next one's are often the same.
    pub(super) came: Came,
}

/// Properties as they came, and what follows from them.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) properties: Properties,
    /// What the message keeps of them, where that isn't all.
    kept: Option<Properties>,
    /// The routing keys that they add; what is wrong with them is for who publishes to say.
    pub(super) extra_keys: Result<ExtraKeys, Error>,
}

impl Default for Came {
    fn default() -> Self {
        Self::from(Properties::default())
    }
}

impl From<Properties> for Came {
    fn from(properties: Properties) -> Self {
        let extra_keys = ExtraKeys::of(&properties);
        let kept = extra_keys.as_ref().ok().and_then(|keys| keys.without_blind(&properties));
        Self { properties, kept, extra_keys }
    }
}

impl Came {
    fn kept(&self) -> &Properties {
        self.kept.as_ref().unwrap_or(&self.properties)
    }
}

fn unexpected(text: &str) -> Failure {
    Failure::new(ReplyCode::UnexpectedFrame, text)
}

/// Rule: a request for direct replies carries the address of its channel, and is refused on a
/// channel that doesn't wait for any.
fn with_reply_address(
    properties: Properties,
    address: Option<&ShortStr>,
) -> Result<Properties, Error> {
    if properties.reply_to() != Some(PSEUDO_QUEUE.as_bytes()) {
        return Ok(properties);
    }
    address.map(|address| properties.with_reply_to(address)).ok_or_else(no_requester)
}

impl ContentAssembler {
    /// Refuses a method in the middle of a content.
    pub(super) fn check_method(&self) -> Result<(), Failure> {
        match self.stage {
            Stage::Idle => Ok(()),
            Stage::Header => Err(unexpected(
                "expected content header for class 60, got non content header frame instead",
            )),
            Stage::Body { .. } => {
                Err(unexpected("expected content body, got non content body frame instead"))
            }
        }
    }

    /// Takes the method of a publish.
    pub(super) fn begin(&mut self, frame: &Frame<'_>) -> Result<(), DecodeError> {
        self.target.set(frame)?;
        self.stage = Stage::Header;
        Ok(())
    }

    /// Takes the content header; answers the message when it has no body. `reply_address` is what
    /// the pseudo-queue for replies means on this channel.
    pub(super) fn header(
        &mut self,
        head: &ContentHead<'_>,
        message_size_max: u64,
        reply_address: Option<&ShortStr>,
    ) -> Result<Option<Message>, Failure> {
        match std::mem::take(&mut self.stage) {
            Stage::Header => {}
            Stage::Idle => {
                return Err(unexpected("expected method frame, got non method frame instead"));
            }
            Stage::Body { .. } => {
                return Err(unexpected("expected content body, got content header frame instead"));
            }
        }
        let ContentHead { class_id, body_size, .. } = *head;
        if class_id != BasicPublish::CLASS_ID {
            return Err(unexpected(&format!(
                "expected content header for class 60, got one for class {class_id} instead"
            )));
        }
        if body_size > BODY_LEN_MAX {
            return Err(Failure::new(
                ReplyCode::FrameError,
                format!("body size {body_size} is above the protocol maximum of {BODY_LEN_MAX}"),
            ));
        }
        if body_size > message_size_max {
            return Err(Failure::new(
                ReplyCode::PreconditionFailed,
                format!(
                    "message size {body_size} is larger than configured max size {message_size_max}"
                ),
            ));
        }
        if head.properties != self.came.properties.as_bytes() {
            // A copy: these stay longer than what they were read into.
            let properties = Properties::parse(Bytes::copy_from_slice(head.properties))
                .map_err(Failure::from)?;
            self.came = with_reply_address(properties, reply_address)?.into();
        }
        if body_size == 0 {
            return Ok(Some(self.complete_small(&[])));
        }
        self.stage = Stage::Body { body: Body::default(), remaining: body_size };
        Ok(None)
    }

    /// Takes a body frame; answers the message when it was the last one.
    pub(super) fn body(&mut self, frame: &Frame<'_>) -> Result<Option<Message>, Failure> {
        let Stage::Body { body, remaining } = &mut self.stage else {
            return Err(match self.stage {
                Stage::Idle => unexpected("expected method frame, got non method frame instead"),
                _ => unexpected(
                    "expected content header for class 60, got non content header frame instead",
                ),
            });
        };
        let len = frame.payload.len();
        let Some(left) = remaining.checked_sub(len as u64) else {
            return Err(Failure::new(
                ReplyCode::FrameError,
                format!("body is longer than its header said, by a frame of {len} bytes"),
            ));
        };
        *remaining = left;
        if left == 0 && body.is_empty() && len <= Message::SMALL_MAX {
            self.stage = Stage::Idle;
            return Ok(Some(self.complete_small(frame.payload)));
        }
        body.push(frame.shared_payload());
        if left > 0 {
            return Ok(None);
        }
        let body = std::mem::take(body);
        self.stage = Stage::Idle;
        let BasicPublish { exchange, routing_key, .. } = self.target.publish();
        Ok(Some(Message::new(exchange, routing_key, self.came.kept(), body, false)))
    }

    fn complete_small(&mut self, body: &[u8]) -> Message {
        let BasicPublish { exchange, routing_key, .. } = self.target.publish();
        Message::small(exchange, routing_key, self.came.kept(), body, false)
    }

    /// Lets properties go that are too long to be kept for comparison.
    pub(super) fn forget_long(&mut self) {
        if self.came.properties.as_bytes().len() > KEPT_MAX {
            self.came = Came::default();
        }
    }
}
