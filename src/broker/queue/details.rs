//! What displays say of a queue beyond its counts.

use std::sync::Arc;

use super::state::State;
use super::{Consumer, Queue};

/// What a queue without messages takes in memory, in bytes. Measured.
const EMPTY_COST: u64 = 4 * 1024;

/// Of one moment.
pub struct QueueDetails {
    /// Bytes of the bodies of messages that are out with consumers.
    pub unacked_bytes: u64,
    /// What the queue takes in memory, in bytes, not to the byte.
    pub memory_bytes: u64,
    /// The timestamp property of the next message, if it has one and is in memory.
    pub head_timestamp: Option<u64>,
    /// When somebody last declared, consumed or got something, in milliseconds since 1970.
    pub used_ms: u64,
    /// There are consumers, and one of them could take a message at once, or none is ready.
    pub keeps_up: bool,
    /// There are consumers.
    pub is_used: bool,
    /// The only one that gets messages, where the queue has one at a time.
    pub single_active: Option<Arc<Consumer>>,
    /// The only one that there may be, because it asked for that.
    pub exclusive: Option<Arc<Consumer>>,
}

impl Queue {
    pub fn details(&self) -> QueueDetails {
        let inner = self.inner.lock();
        let (state, consumers) = (&inner.state, &inner.consumers);
        let is_free = state.ready_count() == 0 || consumers.has_willing();
        QueueDetails {
            unacked_bytes: state.unacked_bytes(),
            memory_bytes: EMPTY_COST + state.head_cost() + state.unacked_bytes(),
            head_timestamp: timestamp_of_head(state),
            used_ms: inner.used_ms,
            keeps_up: !consumers.is_empty() && is_free,
            is_used: !consumers.is_empty(),
            single_active: consumers.active().cloned(),
            exclusive: consumers.iter().next().filter(|_| consumers.is_exclusive()).cloned(),
        }
    }
}

fn timestamp_of_head(state: &State) -> Option<u64> {
    state.next()?.message.properties().timestamp()
}
