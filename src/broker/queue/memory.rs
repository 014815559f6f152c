//! The memory that ready messages of all queues share.
//!
//! As long as there is room, each queue keeps a long head in memory; beyond it, a short one. What
//! is behind the head is on disk only.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::State;

/// What the head of a queue may cost that nobody consumes: enough to begin with.
const HEAD_MAX: u64 = 4 * 1024 * 1024;

/// And of one that is consumed: what will go out in a moment isn't worth the way to the disk and
/// back.
const HEAD_MAX_CONSUMED: u64 = 16 * 1024 * 1024;

/// And when the memory is used up: so that every queue still delivers.
const HEAD_MAX_SHORT: u64 = 16 * 1024;

/// Differences below this are not worth telling the others.
const STEP: u64 = 4 * 1024;

/// Bytes of ready messages in memory, and how many there should be at most.
#[derive(Debug)]
pub struct QueueMemory {
    used: AtomicU64,
    max: u64,
}

impl QueueMemory {
    pub fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }
}

/// One queue's part of it.
#[derive(Debug, Default)]
pub(super) struct Part {
    told: u64,
    consumed: bool,
}

impl Part {
    /// Tells what the queue uses, and the queue what it may; `consumed` when it has consumers.
    pub(super) fn tell(&mut self, memory: &QueueMemory, state: &mut State, consumed: bool) {
        let cost = state.head_cost();
        let is_near = cost.abs_diff(self.told) < STEP && (cost > 0 || self.told == 0);
        if is_near && consumed == self.consumed {
            return;
        }
        self.consumed = consumed;
        let before = std::mem::replace(&mut self.told, cost);
        let used = memory.used.fetch_add(cost.wrapping_sub(before), Ordering::Relaxed);
        let used = used.wrapping_add(cost).wrapping_sub(before);
        state.set_head_max(match (used < memory.max, consumed) {
            (false, _) => HEAD_MAX_SHORT,
            (true, false) => HEAD_MAX,
            (true, true) => HEAD_MAX_CONSUMED,
        });
    }

    /// What a queue without messages may use.
    pub(super) fn begin(state: &mut State) {
        state.set_head_max(HEAD_MAX);
    }
}
