//! What a connection shows of itself to those who ask; implemented where the sockets are.
//!
//! Read at the moment of asking: nothing is copied anywhere while nobody does.

use std::ops::AddAssign;
use std::sync::Arc;

use super::counters::Counts;
use super::queue::Consumer;
use crate::protocol::wire::ShortStr;

/// How a connection is, with RabbitMQ's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Running,
    /// It isn't read because the store has more than it can write.
    Flow,
    /// It publishes while there is an alarm, and isn't read.
    Blocked,
    Closing,
}

impl LinkState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Flow => "flow",
            Self::Blocked => "blocked",
            Self::Closing => "closing",
        }
    }
}

/// What was moved between a client and the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received_bytes: u64,
    /// Reads that brought something.
    pub received_count: u64,
    pub sent_bytes: u64,
    pub sent_count: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.received_bytes += other.received_bytes;
        self.received_count += other.received_count;
        self.sent_bytes += other.sent_bytes;
        self.sent_count += other.sent_count;
    }
}

/// How a connection is, and what it has moved so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStatus {
    pub state: LinkState,
    pub traffic: Traffic,
    /// Bytes of deliveries that wait to be written.
    pub pending_bytes: u64,
    pub channels: usize,
}

/// How a channel is, and what has happened on it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    pub number: u16,
    pub confirm: bool,
    pub transactional: bool,
    pub consumers: usize,
    /// For consumers that come; 0 is no limit.
    pub prefetch_count: u16,
    /// That all consumers share; 0 is no limit.
    pub shared_prefetch_count: u16,
    pub unacked: usize,
    /// Publishes that wait for their confirm.
    pub unconfirmed: u64,
    /// Of a transaction that is open.
    pub uncommitted_publishes: u64,
    pub uncommitted_acks: u64,
    pub counts: Counts,
}

/// A connection, to be asked. Never waits.
pub trait Link: Send + Sync {
    fn status(&self) -> LinkStatus;

    /// The open channels, by their numbers.
    fn channels(&self) -> Vec<ChannelStatus>;

    /// What a channel has published to each exchange, as far as they are told apart.
    fn publishes(&self, channel: u16) -> Vec<(ShortStr, Counts)>;

    /// The consumers of a channel; none when it isn't open.
    fn consumers(&self, channel: u16) -> Vec<Arc<Consumer>>;
}
