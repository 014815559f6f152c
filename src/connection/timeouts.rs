//! When to look for consumers that don't settle what they have.
//!
//! ```text
//!   off ──a consumer with a timeout──▶ every eighth of the shortest ──the last is gone──▶ off
//! ```
//!
//! One timer for all consumers of a connection. Owned by the connection's reader, which looks while
//! it waits for the client; while it doesn't read, what the client says isn't heard, and no time
//! passes here.

use std::time::Duration;

use tokio::time::Instant;

/// So many looks in a timeout: one to see that a delivery is there, and one to see that its time is
/// over, so that it is taken back at most a quarter late.
const LOOKS: u32 = 8;

/// Nobody is looked after more often, or more rarely, than that.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(10);

pub(super) struct Timeouts {
    /// Moves on while the client isn't heard.
    begin: Instant,
    /// None while no consumer has a timeout.
    next: Option<Next>,
}

struct Next {
    shortest: Duration,
    due: Instant,
}

impl Timeouts {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), next: None }
    }

    /// A consumer has come.
    pub(super) fn watch(&mut self, timeout: Option<Duration>) {
        if let Some(timeout) = timeout
            && self.shortest().is_none_or(|shortest| timeout < shortest)
        {
            self.look_again(Some(timeout));
        }
    }

    /// Sets when to look, from the shortest timeout that there is.
    pub(super) fn look_again(&mut self, shortest: Option<Duration>) {
        self.next = shortest.and_then(|shortest| {
            let interval = shortest.checked_div(LOOKS)?.clamp(INTERVAL_MIN, INTERVAL_MAX);
            Some(Next { shortest, due: Instant::now().checked_add(interval)? })
        });
    }

    pub(super) fn shortest(&self) -> Option<Duration> {
        self.next.as_ref().map(|next| next.shortest)
    }

    /// The time of this clock.
    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// From now on the client isn't heard. Answers what [`Timeouts::go_on`] needs.
    pub(super) fn stand_still(&self) -> Option<Instant> {
        self.next.as_ref().map(|_| Instant::now())
    }

    pub(super) fn go_on(&mut self, since: Option<Instant>) {
        let moved = since.and_then(|since| self.begin.checked_add(since.elapsed()));
        self.begin = moved.unwrap_or(self.begin);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.due)
    }
}
