//! Consumers that rest until there is room for them: each once, woken in the order in which they
//! began to rest, and no more of them than there is room for.
//!
//! So whoever makes room pays for those who use it, not for all who wait, and a consumer with much
//! to take goes behind the others when it has had its share. Owned by what has the room.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::broker::queue::Consumer;

#[derive(Default)]
pub(super) struct Resting(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    in_turn: VecDeque<Arc<Consumer>>,
    /// The same by their ids: one that is woken by something else meanwhile may rest again.
    ids: HashSet<u64>,
}

impl Resting {
    /// Has the consumer rest, unless there is room after all: whoever makes some may have looked
    /// for the resting since it was asked for. Answers whether there was.
    pub(super) fn rest(&self, consumer: &Arc<Consumer>, try_reserve: impl Fn() -> bool) -> bool {
        let mut waiting = self.0.lock();
        if try_reserve() {
            return true;
        }
        if waiting.ids.insert(consumer.id) {
            waiting.in_turn.push_back(Arc::clone(consumer));
        }
        false
    }

    /// Wakes those that rest now as long as there is room. To be called whenever some was made: who
    /// is left over waits for the next time.
    pub(super) fn wake(&self, has_room: impl Fn() -> bool) {
        let count = self.0.lock().in_turn.len();
        for _ in 0..count {
            if !has_room() {
                return;
            }
            let Some(consumer) = self.next() else { return };
            consumer.queue.wake(consumer.id);
        }
    }

    /// Has those who rest here rest there. Answers whether there were any.
    pub(super) fn move_to(&self, other: &Self) -> bool {
        let moved = std::mem::take(&mut *self.0.lock()).in_turn;
        let any = !moved.is_empty();
        for consumer in &moved {
            other.rest(consumer, || false);
        }
        any
    }

    fn next(&self) -> Option<Arc<Consumer>> {
        let mut waiting = self.0.lock();
        let consumer = waiting.in_turn.pop_front()?;
        waiting.ids.remove(&consumer.id);
        if waiting.in_turn.is_empty() {
            // What many have left.
            *waiting = Waiting::default();
        }
        Some(consumer)
    }
}
