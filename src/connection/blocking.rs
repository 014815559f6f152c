//! A client's publishing while the disk is nearly full: what it is told, and until when it rests.
//!
//! ```text
//!               low, and it publishes             space again
//!   not told ─────────────────────────▶ blocked ───────────────▶ unblocked (not told)
//! ```
//!
//! Owned by the connection's reader, which holds the first publish that comes while space is low,
//! and reads nothing behind it. So no more is stored than was being handled at that moment, however
//! many the publishers, and however large a message that is still on its way. Clients that don't
//! publish go on, and with them the consumers whose acks make space.

use std::sync::Arc;

use tokio::sync::watch;

use super::outbox::Outbox;
use crate::protocol::frame::{Frame, FrameKind};
use crate::protocol::generated::{BasicPublish, ConnectionBlocked, ConnectionUnblocked, TxCommit};
use crate::protocol::wire::ShortStr;
use crate::store::Space;

/// What the payload of a basic.publish begins with.
pub(super) const BASIC_PUBLISH: [u8; 4] =
    method_head(BasicPublish::CLASS_ID, BasicPublish::METHOD_ID);

/// RabbitMQ's words, which clients show and compare.
const REASON: &str = "low on disk";

pub(super) struct Blocking {
    space: watch::Receiver<Space>,
    outbox: Arc<Outbox>,
    /// The client understands connection.blocked.
    can_be_told: bool,
    is_told: bool,
}

impl Blocking {
    pub(super) fn new(
        space: watch::Receiver<Space>,
        outbox: Arc<Outbox>,
        can_be_told: bool,
    ) -> Self {
        Self { space, outbox, can_be_told, is_told: false }
    }

    pub(super) fn is_low(&self) -> bool {
        *self.space.borrow() != Space::Enough
    }

    /// Tells the client what has changed for it, if it publishes and wants to hear of it.
    pub(super) fn tell(&mut self, publishes: bool) {
        if !self.can_be_told || !publishes || self.is_told == self.is_low() {
            return;
        }
        self.is_told = !self.is_told;
        if self.is_told {
            let reason = ShortStr::from_static(REASON);
            self.outbox.put_method(0, ConnectionBlocked { reason });
        } else {
            self.outbox.put_method(0, ConnectionUnblocked);
        }
    }

    /// Waits for a change. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        if self.space.changed().await.is_err() {
            // Nobody is left who could change it.
            std::future::pending().await
        }
    }

    /// Waits until there is space. Safe to cancel.
    pub(super) async fn over(&mut self) {
        while self.is_low() {
            self.changed().await;
        }
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
