//! The one sideways road between queues: a message leaves its queue and enters others.
//!
//! It never waits: the targets take the message in memory, and one record of the log moves it, so
//! that a crash leaves it in the source or in the targets.

use std::sync::Arc;

use smallvec::SmallVec;

use super::changes::{Changes, Leaving};
use super::dead_letter::{self, Reason};
use super::delayed;
use super::publish::{Route, timed};
use super::queue::{Entry, Queue};
use crate::protocol::message::Message;
use crate::store::record::{Places, Record, Seq, SeqRange, Settled};

/// Why a message leaves its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Died(Reason),
    /// It was published for later, and it is time.
    Due,
}

/// A message and the queues that it enters.
pub(super) struct Arriving {
    pub(super) message: Arc<Message>,
    pub(super) route: Route,
}

/// Moves a message that left its queue to where it belongs, or nowhere.
pub(super) fn transfer(leaving: Leaving, now_ms: u64, batch: &mut Changes) {
    let Leaving { queue, entry, why } = leaving;
    let arriving = queue.vhost().and_then(|vhost| match why {
        Why::Died(reason) => {
            queue.around().deaths.of(queue.queue_type()).count(reason);
            dead_letter::arriving(&vhost, &queue, &entry, reason, now_ms)
        }
        Why::Due => delayed::arriving(&vhost, &queue, &entry),
    });
    if !arriving.is_some_and(|arriving| enter(&queue, &entry, arriving, batch)) {
        note_gone(&queue, &entry, batch);
    }
}

/// Has a message enter other queues, and the log hear that it left its own. Answers whether any has
/// taken it; otherwise nothing has happened.
pub(super) fn enter(
    source: &Arc<Queue>,
    entry: &Entry,
    Arriving { message, route }: Arriving,
    batch: &mut Changes,
) -> bool {
    let properties = message.properties();
    let message = timed(message, &properties, &route);
    let (mut to, mut is_in) = (Places::new(), false);
    for target in &route {
        is_in |= target.enqueue_moved(&message, &mut to, entry.stored, batch);
    }
    match (entry.stored, to.is_empty()) {
        (_, true) if !is_in => {}
        (_, true) => note_gone(source, entry, batch),
        (true, false) => {
            let from = (source.id_of(entry.level), entry.seq);
            batch.push(Record::Move { from, message, to });
        }
        (false, false) => batch.push(Record::Enqueue { message, queues: to }),
    }
    is_in
}

/// Tells the log that a message has left its queue for good.
pub(super) fn note_gone(source: &Arc<Queue>, entry: &Entry, batch: &mut Changes) {
    if entry.stored {
        let range = SeqRange { first: entry.seq, last: entry.seq };
        let seqs = SmallVec::from_slice(&[range]);
        let bytes = entry.message.body_len();
        let settled = Settled { seqs, bytes, through: Seq(0) };
        batch.push(Record::Settle { queue: source.id_of(entry.level), settled });
    }
}
