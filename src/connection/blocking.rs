//! A client's publishing while the disk is nearly full or too much memory is used: what it is told,
//! and until when it rests.
//!
//! ```text
//!               alarm, and it publishes             all are over
//!   not told ───────────────────────────▶ blocked ────────────────▶ unblocked (not told)
//! ```
//!
//! Owned by the connection's reader, which holds the first publish that comes during an alarm, and
//! reads nothing behind it. So no more is taken in than was being handled at that moment, however
//! many the publishers, and however large a message that is still on its way. Clients that don't
//! publish go on, and with them the consumers whose acks make room.

use std::sync::Arc;

use super::outbox::Outbox;
use crate::broker::alarm::{Alarm, Alarms};
use crate::protocol::frame::{Frame, FrameKind};
use crate::protocol::generated::{BasicPublish, ConnectionBlocked, ConnectionUnblocked, TxCommit};
use crate::protocol::wire::ShortStr;

/// What the payload of a basic.publish begins with.
pub(super) const BASIC_PUBLISH: [u8; 4] =
    method_head(BasicPublish::CLASS_ID, BasicPublish::METHOD_ID);

pub(super) struct Blocking {
    alarms: Alarms,
    outbox: Arc<Outbox>,
    /// The client understands connection.blocked.
    can_be_told: bool,
    is_told: bool,
}

impl Blocking {
    pub(super) fn new(alarms: Alarms, outbox: Arc<Outbox>, can_be_told: bool) -> Self {
        Self { alarms, outbox, can_be_told, is_told: false }
    }

    pub(super) fn is_on(&self) -> bool {
        self.alarms.is_any()
    }

    /// Tells the client what has changed for it, if it publishes and wants to hear of it. Another
    /// alarm that joins the first is not told.
    pub(super) fn tell(&mut self, publishes: bool) {
        if !self.can_be_told || !publishes || self.is_told == self.is_on() {
            return;
        }
        self.is_told = !self.is_told;
        if self.is_told {
            let reason = ShortStr::from_static(reason(&self.alarms.now()));
            self.outbox.put_method(0, ConnectionBlocked { reason });
        } else {
            self.outbox.put_method(0, ConnectionUnblocked);
        }
    }

    /// Waits for a change. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        self.alarms.changed().await;
    }

    /// Waits until there is no alarm. Safe to cancel.
    pub(super) async fn over(&mut self) {
        while self.is_on() {
            self.changed().await;
        }
    }
}

/// RabbitMQ's words, which clients show and compare.
fn reason(alarms: &[Alarm]) -> &'static str {
    match alarms {
        [Alarm::Memory { .. }, Alarm::Disk { .. }, ..] => "low on memory & disk",
        [Alarm::Memory { .. }, ..] => "low on memory",
        _ => "low on disk",
    }
}

/// Whether a frame brings messages: a part of a publish, or the commit of some. A client that never
/// published commits acks, which make space.
pub(super) fn brings_messages(frame: &Frame<'_>, has_published: bool) -> bool {
    const COMMIT: [u8; 4] = method_head(TxCommit::CLASS_ID, TxCommit::METHOD_ID);
    match frame.kind {
        FrameKind::Method => {
            frame.payload.starts_with(&BASIC_PUBLISH)
                || (has_published && frame.payload.starts_with(&COMMIT))
        }
        FrameKind::Header | FrameKind::Body => true,
        FrameKind::Heartbeat => false,
    }
}

/// What a method's payload begins with.
const fn method_head(class: u16, method: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (class.to_be_bytes(), method.to_be_bytes());
    [a, b, c, d]
}
