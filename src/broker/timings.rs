//! How long things take, all over the broker.
//!
//! A confirm's time is recorded once for all that one commit confirms, by the connection. The time
//! in a queue is that of samples: of one message in [`SAMPLE_EVERY`] of each queue, one at a time.

use std::sync::atomic::AtomicU64;

use crate::metrics::{Histogram, LATENCY, WAITING};

/// Messages that come into a queue before one is followed again.
pub(super) const SAMPLE_EVERY: u64 = 64;

#[derive(Debug)]
pub struct Timings {
    /// From the moment when a publish was read until its confirm is on its way to the client.
    pub confirm: Histogram,
    /// From a message's arrival in a queue until it goes out to a consumer or by basic.get.
    pub in_queue: Histogram,
    /// By how much tasks that wait for a moment come later; measured by the server.
    pub event_loop: Histogram,
    /// Publishes that asked for a confirm.
    pub confirms_wanted: AtomicU64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            confirm: Histogram::new(LATENCY),
            in_queue: Histogram::new(WAITING),
            event_loop: Histogram::new(LATENCY),
            confirms_wanted: AtomicU64::new(0),
        }
    }
}
