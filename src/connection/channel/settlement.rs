//! What becomes of deliveries that a client has settled.

use std::sync::Arc;

use super::ledger::Held;
use crate::broker::changes::Changes;
use crate::broker::queue::Queue;
use crate::broker::vhost::Vhost;
use crate::store::Seq;

/// A client's word about deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    Ack,
    Requeue,
    /// Dead-lettered, if the queue says where to.
    Reject,
}

/// Carries it out; what the log has to know is added to `batch`.
pub(super) fn settle(
    held: Vec<(u64, Held)>,
    settlement: Settlement,
    vhost: &Vhost,
    batch: &mut Changes,
) {
    for (queue, seqs) in by_queue(held) {
        match settlement {
            Settlement::Ack => drop(queue.ack(&seqs, batch)),
            Settlement::Requeue => queue.requeue(seqs, batch),
            Settlement::Reject => vhost.reject(&queue, &seqs, batch),
        }
    }
}

/// Groups what comes one after another from the same queue.
pub(super) fn by_queue(held: Vec<(u64, Held)>) -> Vec<(Arc<Queue>, Vec<Seq>)> {
    let mut groups: Vec<(Arc<Queue>, Vec<Seq>)> = Vec::new();
    for (_, Held { recipient, seq }) in held {
        let queue = recipient.queue();
        match groups.last_mut() {
            Some((last, seqs)) if Arc::ptr_eq(last, queue) => seqs.push(seq),
            _ => groups.push((Arc::clone(queue), vec![seq])),
        }
    }
    groups
}
