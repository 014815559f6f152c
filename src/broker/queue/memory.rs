//! The memory that ready messages of all queues share.
//!
//! As long as there is room, each queue keeps a long head in memory; beyond it, a short one. What
//! is behind the head is on disk only.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::State;

/// What the head of a queue may cost: enough for consumers while the next batch is read.
const HEAD_MAX: u64 = 4 * 1024 * 1024;

/// And when the memory is used up: so that every queue still delivers.
const HEAD_MAX_SHORT: u64 = 4 * 1024;

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

    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One queue's part of it.
#[derive(Debug, Default)]
pub(super) struct Part {
    told: u64,
}

impl Part {
    /// Tells what the queue uses, and the queue what it may.
    pub(super) fn tell(&mut self, memory: &QueueMemory, state: &mut State) {
        let cost = state.head_cost();
        if cost.abs_diff(self.told) < STEP && !(cost == 0 && self.told > 0) {
            return;
        }
        let before = std::mem::replace(&mut self.told, cost);
        let used = memory.used.fetch_add(cost.wrapping_sub(before), Ordering::Relaxed);
        let used = used.wrapping_add(cost).wrapping_sub(before);
        state.set_head_max(if used < memory.max { HEAD_MAX } else { HEAD_MAX_SHORT });
    }

    /// What a queue without messages may use.
    pub(super) fn begin(state: &mut State) {
        state.set_head_max(HEAD_MAX);
    }
}
