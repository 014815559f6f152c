//! What others see of a connection: its traffic, its state and its channels.
//!
//! The reader counts what it reads, whoever writes what it writes; both once for many frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use super::channel::shared::ChannelShared;
use super::outbox::Outbox;
use crate::broker::counters::{Counts, OwnCount};
use crate::broker::link::{ChannelStatus, Link, LinkState, LinkStatus, Traffic};
use crate::broker::queue::Consumer;
use crate::protocol::wire::ShortStr;

/// Bytes that went one way, and in how many goes.
#[derive(Default)]
pub(super) struct OneWay {
    pub(super) bytes: OwnCount,
    pub(super) count: OwnCount,
}

#[derive(Default)]
pub(super) struct View {
    pub(super) received: OneWay,
    pub(super) sent: OneWay,
    state: AtomicU8,
    pub(super) outbox: Arc<Outbox>,
    /// The open ones, in no order.
    channels: Mutex<Vec<Arc<ChannelShared>>>,
}

const STATES: [LinkState; 4] =
    [LinkState::Running, LinkState::Flow, LinkState::Blocked, LinkState::Closing];

impl View {
    pub(super) fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn opened(&self, channel: &Arc<ChannelShared>) {
        self.channels.lock().push(Arc::clone(channel));
    }

    pub(super) fn closed(&self, channel: &Arc<ChannelShared>) {
        let mut channels = self.channels.lock();
        channels.retain(|other| !Arc::ptr_eq(other, channel));
        if channels.is_empty() {
            *channels = Vec::new();
        }
    }
}

impl Link for View {
    fn status(&self) -> LinkStatus {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        LinkStatus {
            state: STATES.get(state).copied().unwrap_or(LinkState::Running),
            traffic: Traffic {
                received_bytes: self.received.bytes.get(),
                received_count: self.received.count.get(),
                sent_bytes: self.sent.bytes.get(),
                sent_count: self.sent.count.get(),
            },
            pending_bytes: self.outbox.pending_bytes(),
            channels: self.channels.lock().len(),
        }
    }

    fn channels(&self) -> Vec<ChannelStatus> {
        let channels = self.channels.lock().clone();
        let mut shown: Vec<_> = channels.iter().map(|channel| channel.status()).collect();
        shown.sort_unstable_by_key(|channel| channel.number);
        shown
    }

    fn publishes(&self, channel: u16) -> Vec<(ShortStr, Counts)> {
        let channels = self.channels.lock();
        let found = channels.iter().find(|open| open.number == channel);
        found.map(|found| found.sent.publishes.list()).unwrap_or_default()
    }

    fn consumers(&self, channel: u16) -> Vec<Arc<Consumer>> {
        let channels = self.channels.lock();
        let found = channels.iter().find(|open| open.number == channel);
        found.map(|found| found.consumers()).unwrap_or_default()
    }
}
