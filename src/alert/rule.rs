//! What is watched for, and who is told.

use regex::Regex;

use crate::broker::queue::{Queue, QueueStatus};

/// What is looked at in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages that are in it, ready or not: for a queue that should have none.
    DeadLetters,
    /// Messages that wait for a consumer.
    Backlog,
    /// Seconds that the oldest of those has waited.
    OldestAge,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadLetters => "dead_letters",
            Self::Backlog => "backlog",
            Self::OldestAge => "oldest_age",
        }
    }

    pub(super) fn value_of(self, status: &QueueStatus, now_ms: u64) -> u64 {
        match self {
            Self::DeadLetters => (status.ready + status.unacked) as u64,
            Self::Backlog => status.ready as u64,
            Self::OldestAge => {
                status.oldest_ms.map_or(0, |came_ms| now_ms.saturating_sub(came_ms) / 1000)
            }
        }
    }
}

/// Where a notice goes as a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToExchange {
    pub vhost: String,
    pub exchange: String,
    pub routing_key: String,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    /// `None` is all of them.
    pub vhost: Option<String>,
    /// What the names of the queues match.
    pub queue: Regex,
    pub kind: Kind,
    /// From here on it stands: messages, or seconds.
    pub threshold: u64,
    /// It fires when it has stood for so long.
    pub for_ms: u64,
    /// And again whenever so much time has passed; 0 is never.
    pub repeat_ms: u64,
    pub to_log: bool,
    pub to_exchange: Option<ToExchange>,
    /// A URL.
    pub to_webhook: Option<String>,
}

impl Rule {
    /// An exchange's own queue is nobody's.
    pub(super) fn applies_to(&self, queue: &Queue) -> bool {
        let properties = &queue.properties;
        properties.own_of.is_none()
            && self.vhost.as_ref().is_none_or(|vhost| *vhost == *properties.vhost)
            && self.queue.is_match(&properties.name)
    }
}
