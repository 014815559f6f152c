//! What publishers have to know of a queue, in one byte that is read without its lock.

/// What publishers have to know of a queue's options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits(pub(super) u8);

impl Traits {
    const REFUSES: u8 = 1;
    const LOOKS_AT_TIMES: u8 = 2;

    pub(super) fn new(refuses: bool, looks_at_times: bool) -> Self {
        let times = if looks_at_times { Self::LOOKS_AT_TIMES } else { 0 };
        Self(times | if refuses { Self::REFUSES } else { 0 })
    }

    /// A message may come back: the queue has to be asked about each.
    pub fn refuses(self) -> bool {
        self.0 & Self::REFUSES != 0
    }

    /// Messages have to bring the time of their arrival.
    pub fn looks_at_times(self) -> bool {
        self.0 & Self::LOOKS_AT_TIMES != 0
    }

    /// Those of two queues together.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
