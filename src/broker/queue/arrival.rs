//! Messages come into a queue.

use std::slice;
use std::sync::Arc;

use smallvec::SmallVec;

use super::arguments::Overflow;
use super::state::Enqueued;
use super::{Inner, Place, Queue, QueueProperties, seen};
use crate::broker::changes::{Arrival, Changes, Leaving};
use crate::broker::dead_letter::{self, Reason};
use crate::broker::delayed;
use crate::broker::timers::{coarse_now_ms, now_ms};
use crate::broker::transfer::Why;
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::store::record::{Places, Record, Seq};

/// What became of messages that came.
#[derive(PartialEq, Eq)]
enum Intake {
    /// They are in, or have been before.
    In,
    Refused,
    /// The queue is gone.
    Nowhere,
}

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
        self.take_in(messages, places, false, batch) != Intake::Refused
    }

    /// Adds a message that `batch` moves here from another queue. With `is_moved` it is in the log
    /// there until the batch is on disk: so it is not delivered before. Answers whether it is in.
    pub(in crate::broker) fn enqueue_moved(
        self: &Arc<Self>,
        message: &Arc<Message>,
        places: &mut Places,
        is_moved: bool,
        batch: &mut Changes,
    ) -> bool {
        let (messages, places) = (slice::from_ref(message), slice::from_mut(places));
        self.take_in(messages, places, is_moved, batch) == Intake::In
    }

    fn take_in(
        self: &Arc<Self>,
        messages: &[Arc<Message>],
        places: &mut [Places],
        is_moved: bool,
        batch: &mut Changes,
    ) -> Intake {
        let mut inner = self.inner.lock();
        if inner.deleted {
            return Intake::Nowhere;
        }
        if self.traits().refuses()
            && let [message] = messages
        {
            let digest = self.digest_of(&inner, message);
            if digest.is_some_and(|digest| self.has_seen(&mut inner, digest, batch)) {
                return Intake::In;
            }
            if self.refuses(&inner, message, batch) {
                return Intake::Refused;
            }
            if let Some(digest) = digest {
                self.note_seen(&mut inner, digest, batch);
            }
        }
        let counted = inner.counts.publish;
        inner.counts.publish += messages.len() as u64;
        inner.incoming.count(messages);
        let mut waiting = Waiting::new();
        let mut noted = None;
        for (message, places) in messages.iter().zip(places) {
            let stored = self.stores(message);
            let Enqueued { place, waits } = self.put(&mut inner, Arc::clone(message), stored);
            if noted != Some(place.level) {
                noted = Some(place.level);
                inner.state.came(place, coarse_now_ms());
                inner.follow(place, counted);
            }
            if stored {
                places.push((self.id_of(place.level), place.seq));
            }
            if is_moved {
                self.hold(&mut inner, place, stored, batch);
            }
            if waits {
                note(&mut waiting, place.level, place.seq);
            }
        }
        for (level, first, last) in waiting {
            batch.arrived(Arrival { queue: Arc::clone(self), level, first, last });
        }
        self.deliver_ready(&mut inner, batch);
        Intake::In
    }

    /// Keeps a message from being delivered until `batch` is on disk, which brings the mark, too,
    /// if somebody will want it.
    fn hold(self: &Arc<Self>, inner: &mut Inner, place: Place, stored: bool, batch: &mut Changes) {
        inner.state.hold(place);
        let marked = stored && !inner.consumers.is_empty();
        if marked {
            let (queue, upto) = (self.id_of(place.level), place.seq);
            batch.push(Record::DeliverMark { queue, upto });
        }
        batch.holds(self, place, marked);
    }

    #[inline]
    fn put(&self, inner: &mut Inner, message: Arc<Message>, stored: bool) -> Enqueued {
        let Inner { state, options, ages, .. } = inner;
        *ages |= message.is_timed();
        if self.properties.own_of.is_some() {
            let due_ms = delayed::due_ms(&message);
            return state.enqueue_delayed(message, stored, due_ms);
        }
        let level = message.priority().min(options.max_priority);
        state.enqueue(level, message, stored)
    }

    /// What deduplication tells a message apart by; none where there is no deduplication, and none
    /// for a message that died here and comes back: it is still the same one.
    fn digest_of(&self, inner: &Inner, message: &Message) -> Option<u128> {
        let digest = digest_in(inner, &message.properties())?;
        (!dead_letter::has_died_in(message, self.name())).then_some(digest)
    }

    /// Whether a message with this digest has come before. Then it is the newest from now on: so
    /// the log is told something that a confirm can wait for, behind the message that came first.
    pub(super) fn has_seen(&self, inner: &mut Inner, digest: u128, batch: &mut Changes) -> bool {
        let Some(seen) = &inner.seen else { return false };
        let Some(until_ms) = seen.until(digest, now_ms()) else { return false };
        if let Some(sign) = seen.coming(digest) {
            batch.turn(&self.around.turns).rely_on(sign);
        }
        self.see(inner, digest, until_ms, batch);
        true
    }

    pub(super) fn note_seen(&self, inner: &mut Inner, digest: u128, batch: &mut Changes) {
        if let Some(rule) = &inner.options.deduplication {
            let until_ms = seen::until_of(rule, now_ms());
            self.see(inner, digest, until_ms, batch);
        }
    }

    fn see(&self, inner: &mut Inner, digest: u128, until_ms: u64, batch: &mut Changes) {
        let Some(rule) = &inner.options.deduplication else { return };
        let QueueProperties { durable, own_of, .. } = &self.properties;
        // An exchange that isn't durable leads to queues that may be.
        let by = (*durable || own_of.is_some()).then(|| batch.turn(&self.around.turns).sign());
        inner.seen.get_or_insert_default().see(digest, until_ms, rule.size, by);
        if *durable {
            batch.push(seen::record(self.id_of(0), digest, until_ms, rule));
        }
    }

    /// Whether a message that came now would come back.
    pub(in crate::broker) fn would_refuse(&self, message: &Message) -> bool {
        let inner = self.inner.lock();
        inner.deleted || is_full(&inner, message)
    }

    /// Rule: what would make the queue longer than it may be is refused, whether or not a consumer
    /// waits for it.
    fn refuses(
        self: &Arc<Self>,
        inner: &Inner,
        message: &Arc<Message>,
        batch: &mut Changes,
    ) -> bool {
        if !is_full(inner, message) {
            return false;
        }
        if inner.options.overflow == Overflow::RejectPublishDlx {
            let entry = super::Entry::refused(Arc::clone(message));
            let why = Why::Died(Reason::MaxLen);
            batch.leaves(Leaving { queue: Arc::clone(self), entry, why });
        }
        true
    }
}

/// Whether the queue would refuse a message, rather than drop another one for it.
fn is_full(inner: &Inner, message: &Message) -> bool {
    let options = &inner.options;
    let (count, bytes) = (inner.state.ready_count() as u64, inner.state.ready_bytes());
    let has_no_room = options.max_length.is_some_and(|max| count + 1 > max)
        || options.max_length_bytes.is_some_and(|max| bytes + message.body_len() > max);
    has_no_room && options.overflow != Overflow::DropHead
}

/// What deduplication tells a message with these properties apart by, if it does.
pub(super) fn digest_in(inner: &Inner, properties: &Properties) -> Option<u128> {
    let rule = inner.options.deduplication.as_ref()?;
    seen::digest_of(properties.raw_headers(), rule)
}

fn note(waiting: &mut Waiting, level: u8, seq: Seq) {
    match waiting.iter_mut().find(|(other, ..)| *other == level) {
        Some((_, _, last)) => *last = seq,
        None => waiting.push((level, seq, seq)),
    }
}
