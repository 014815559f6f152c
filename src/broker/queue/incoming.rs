//! By which exchanges messages come into a queue, for displays. Owned by the queue.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;

/// Most exchanges that are told apart; what comes from others is in the queue's counts only.
const EXCHANGES_MAX: usize = 16;

/// Most queues get their messages by one exchange, which stands here itself.
#[derive(Debug, Default)]
pub(super) struct Incoming(SmallVec<[(ShortStr, u64); 1]>);

impl Incoming {
    /// Messages came. Those that come together mostly come from the same exchange.
    #[inline]
    pub(super) fn count(&mut self, messages: &[Arc<Message>]) {
        for run in messages.chunk_by(|one, next| one.exchange_bytes() == next.exchange_bytes()) {
            let Some(first) = run.first() else { continue };
            let count = run.len() as u64;
            match self.0.iter_mut().find(|(name, _)| **name == *first.exchange()) {
                Some((_, counted)) => *counted += count,
                None => self.add(first.exchange(), count),
            }
        }
    }

    fn add(&mut self, exchange: &str, count: u64) {
        if self.0.len() < EXCHANGES_MAX
            && let Ok(name) = ShortStr::try_from(exchange)
        {
            self.0.push((name, count));
        }
    }

    pub(super) fn list(&self) -> Vec<(ShortStr, u64)> {
        self.0.to_vec()
    }
}
