//! Messages come into a queue.

use std::sync::Arc;

use smallvec::SmallVec;

use super::arguments::Overflow;
use super::state::Enqueued;
use super::{Inner, Queue};
use crate::broker::changes::{Arrival, Changes, Leaving};
use crate::broker::dead_letter::Reason;
use crate::broker::delayed;
use crate::broker::transfer::Why;
use crate::protocol::message::Message;
use crate::store::record::{Places, Seq};

/// Messages of each level that can be paged out when they are on disk: from, to.
type Waiting = SmallVec<[(u8, Seq, Seq); 1]>;

impl Queue {
    /// Adds messages in order and delivers what can be delivered. What the log has to keep of each
    /// is added to its `places`; what it has to know beside the messages, to `batch`, which must
    /// bring them, too. Answers whether all were taken: one that is refused has to be the only one.
    /// A queue that is gone takes them to nowhere.
    pub fn enqueue(
        self: &Arc<Self>,
        messages: &[Arc<Message>],
        places: &mut [Places],
        batch: &mut Changes,
    ) -> bool {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return true;
        }
        if self.may_refuse()
            && let [message] = messages
            && self.refuses(&inner, message, batch)
        {
            return false;
        }
        let mut waiting = Waiting::new();
        for (message, places) in messages.iter().zip(places) {
            let stored = self.stores(message);
            let Enqueued { place, waits } = self.put(&mut inner, message, stored);
            if stored {
                places.push((self.id_of(place.level), place.seq));
            }
            if waits {
                note(&mut waiting, place.level, place.seq);
            }
        }
        for (level, first, last) in waiting {
            batch.arrived(Arrival { queue: Arc::clone(self), level, first, last });
        }
        self.deliver_ready(&mut inner, batch);
        true
    }

    fn put(&self, inner: &mut Inner, message: &Arc<Message>, stored: bool) -> Enqueued {
        let Inner { state, options, ages, .. } = inner;
        *ages |= message.arrived_ms().is_some();
        if self.properties.delays_for.is_some()
            && let Some(due_ms) = delayed::due_ms(message)
        {
            return state.enqueue_delayed(Arc::clone(message), stored, due_ms);
        }
        let level = match options.max_priority {
            0 => 0,
            max => message.priority().min(max),
        };
        state.enqueue(level, Arc::clone(message), stored)
    }

    /// Rule: what would make the queue longer than it may be is refused, whether or not a consumer
    /// waits for it.
    fn refuses(
        self: &Arc<Self>,
        inner: &Inner,
        message: &Arc<Message>,
        batch: &mut Changes,
    ) -> bool {
        let options = &inner.options;
        let (count, bytes) = (inner.state.ready_count() as u64, inner.state.ready_bytes());
        let is_full = options.max_length.is_some_and(|max| count + 1 > max)
            || options.max_length_bytes.is_some_and(|max| bytes + message.body_len() > max);
        if !is_full || options.overflow == Overflow::DropHead {
            return false;
        }
        if options.overflow == Overflow::RejectPublishDlx {
            let entry = super::Entry::refused(Arc::clone(message));
            let why = Why::Died(Reason::MaxLen);
            batch.leaves(Leaving { queue: Arc::clone(self), entry, why });
        }
        true
    }
}

fn note(waiting: &mut Waiting, level: u8, seq: Seq) {
    match waiting.iter_mut().find(|(other, ..)| *other == level) {
        Some((_, _, last)) => *last = seq,
        None => waiting.push((level, seq, seq)),
    }
}
