//! What becomes of deliveries that a client has settled.

use std::sync::Arc;

use super::ledger::Held;
use crate::broker::changes::Changes;
use crate::broker::queue::{Place, Queue, Return};

/// A client's word about deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    Ack,
    Requeue(Return),
    /// Dead-lettered, if the queue says where to.
    Reject,
}

/// Carries it out; what the log has to know is added to `batch`.
pub(super) fn settle(held: Vec<(u64, Held)>, settlement: Settlement, batch: &mut Changes) {
    for (queue, places) in by_queue(held) {
        match settlement {
            Settlement::Ack => drop(queue.ack(&places, batch)),
            Settlement::Requeue(why) => queue.requeue(places, why, batch),
            Settlement::Reject => queue.reject(&places, batch),
        }
    }
}

/// Counts what a client acks for the consumers that had it, each once for all that it had in a row.
pub(super) fn count_acks(held: &[(u64, Held)]) {
    let consumer = |held: &Held| held.recipient.consumer().map(|consumer| consumer.id);
    for run in held.chunk_by(|(_, one), (_, next)| consumer(one) == consumer(next)) {
        if let Some(consumer) = run.first().and_then(|(_, held)| held.recipient.consumer()) {
            consumer.counts.acked.add(run.len() as u64);
        }
    }
}

/// Groups what comes one after another from the same queue.
pub(super) fn by_queue(held: Vec<(u64, Held)>) -> Vec<(Arc<Queue>, Vec<Place>)> {
    let mut groups: Vec<(Arc<Queue>, Vec<Place>)> = Vec::new();
    for (_, Held { recipient, place }) in held {
        let queue = recipient.queue();
        match groups.last_mut() {
            Some((last, places)) if Arc::ptr_eq(last, queue) => places.push(place),
            _ => groups.push((Arc::clone(queue), vec![place])),
        }
    }
    groups
}
