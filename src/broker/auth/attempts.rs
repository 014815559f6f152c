//! How many logins there were, and how many of them were refused.
//!
//! Owner of the counts, which begin anew with the broker.

use std::sync::atomic::{AtomicU64, Ordering};

/// What somebody comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginProtocol {
    Amqp,
    Http,
}

impl LoginProtocol {
    pub const ALL: [Self; 2] = [Self::Amqp, Self::Http];

    /// RabbitMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amqp => "amqp091",
            Self::Http => "http",
        }
    }
}

/// The logins by one protocol.
#[derive(Debug, Default)]
pub struct Attempts {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Attempts {
    pub(in crate::broker) fn count(&self, has_succeeded: bool) {
        let counter = if has_succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.succeeded.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
    }
}
