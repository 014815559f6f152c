//! How long messages are in a queue, by samples: one message at a time is followed from its arrival
//! until it goes out.
//!
//! What isn't followed costs a comparison for all that come, and one for all that go, together.

use std::time::Duration;

use super::{Entry, Inner, Place};
use crate::broker::timers::now_us;
use crate::broker::timings::SAMPLE_EVERY;

/// A message that is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    place: Place,
    /// Microseconds since 1970.
    came_us: u64,
}

impl Inner {
    /// Messages came, the first of them to this place, as the queue had counted so many.
    #[inline]
    pub(super) fn follow(&mut self, place: Place, counted_before: u64) {
        let is_due = counted_before / SAMPLE_EVERY != self.counts.publish / SAMPLE_EVERY;
        if is_due && self.followed.is_none() {
            self.followed = Some(Box::new(Followed { place, came_us: now_us() }));
        }
    }

    /// Messages go out. Answers how long the one that is followed was here, if it is among them.
    #[inline]
    pub(super) fn went_out(&mut self, entries: &[Entry]) -> Option<Duration> {
        let Followed { place, came_us } = **self.followed.as_ref()?;
        // They go in order within a level; one that died on the way is missed by the next.
        let last = entries.iter().rfind(|entry| entry.level == place.level)?;
        if last.seq < place.seq {
            return None;
        }
        self.followed = None;
        Some(Duration::from_micros(now_us().saturating_sub(came_us)))
    }

    /// Messages die or are purged: one that may be among them is no longer followed.
    pub(super) fn lose_track(&mut self) {
        self.followed = None;
    }
}
