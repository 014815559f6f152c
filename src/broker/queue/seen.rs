//! What deduplication has seen in a queue: digests of messages, each until its time.
//!
//! The log is told of each and folds them in the same way: a digest that is seen again is the
//! newest, and only the newest stay. Of those that the log has not been told yet it is known which
//! batch will tell it. Owned by the queue, under its lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::arguments::Deduplication;
use crate::broker::timers::TIME_MS_MAX;
use crate::broker::turn::Sign;
use crate::protocol::raw_table::RawTable;
use crate::store::record::{QueueId, Record};

/// Places that were given up are kept without thought up to so many.
const STALE_MAX_SMALL: usize = 64;

/// Until when a digest holds that has no time: longer than any that somebody can ask for.
const FOR_EVER_MS: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Until when each holds, in milliseconds since 1970, and its number.
    held: HashMap<u128, (u64, u64)>,
    /// By number, oldest first. One that was seen again stands here twice.
    order: VecDeque<(u128, u64)>,
    next_number: u64,
    /// The batches that bring them to the log, each with the first number that is in it: up to that
    /// of the next one. Those that are there already are left out, at the front.
    coming: VecDeque<(u64, Arc<Sign>)>,
    /// Of messages of which it isn't known whether they get to a queue; one of each thread at most.
    claimed: Vec<u128>,
}

impl Seen {
    /// Takes up what the last run left, oldest first.
    pub(super) fn restore(digests: &[(u128, u64)]) -> Self {
        let mut seen = Self::default();
        digests.iter().for_each(|(digest, until_ms)| seen.see(*digest, *until_ms, u32::MAX, None));
        seen
    }

    /// Until when a digest holds; nothing when it has not been seen, or too long ago.
    pub(super) fn until(&self, digest: u128, now_ms: u64) -> Option<u64> {
        let (until_ms, _) = self.held.get(&digest)?;
        Some(*until_ms).filter(|until_ms| *until_ms > now_ms)
    }

    /// The batch that brings a digest to the log, as long as it isn't there.
    pub(super) fn coming(&self, digest: u128) -> Option<Arc<Sign>> {
        let (_, number) = self.held.get(&digest)?;
        let behind = self.coming.partition_point(|(first, _)| first <= number);
        let (_, sign) = self.coming.get(behind.checked_sub(1)?)?;
        (!sign.is_logged()).then(|| Arc::clone(sign))
    }

    /// A message with this digest was seen, which the log is told by that batch, if at all. Only
    /// the newest `keep` stay.
    pub(super) fn see(&mut self, digest: u128, until_ms: u64, keep: u32, by: Option<&Arc<Sign>>) {
        self.note_coming(by);
        self.held.insert(digest, (until_ms, self.next_number));
        self.order.push_back((digest, self.next_number));
        self.next_number += 1;
        while self.held.len() > keep as usize
            && let Some((oldest, number)) = self.order.pop_front()
        {
            if self.is_at(oldest, number) {
                self.held.remove(&oldest);
            }
        }
        if self.order.len() > 2 * self.held.len() + STALE_MAX_SMALL {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(digest, number)| self.is_at(*digest, *number));
            self.order = order;
        }
    }

    fn note_coming(&mut self, by: Option<&Arc<Sign>>) {
        while self.coming.pop_front_if(|(_, sign)| sign.is_logged()).is_some() {}
        let Some(sign) = by else { return };
        if !self.coming.back().is_some_and(|(_, last)| Arc::ptr_eq(last, sign)) {
            self.coming.push_back((self.next_number, Arc::clone(sign)));
        }
    }

    /// Whether nobody else has claimed the digest.
    pub(super) fn claim(&mut self, digest: u128) -> bool {
        let is_free = !self.claimed.contains(&digest);
        if is_free {
            self.claimed.push(digest);
        }
        is_free
    }

    pub(super) fn unclaim(&mut self, digest: u128) {
        self.claimed.retain(|claimed| *claimed != digest);
    }

    fn is_at(&self, digest: u128, number: u64) -> bool {
        self.held.get(&digest).is_some_and(|(_, current)| *current == number)
    }
}

/// What a message is told apart by, in fixed length; nothing for one without the header.
pub(super) fn digest_of(headers: RawTable<'_>, rule: &Deduplication) -> Option<u128> {
    let (tag, value) = headers.get(&rule.header)?.identity();
    let digest = Sha256::new().chain_update([tag]).chain_update(value).finalize();
    digest.first_chunk().copied().map(u128::from_be_bytes)
}

/// Until when a message that is seen now holds.
pub(super) fn until_of(rule: &Deduplication, now_ms: u64) -> u64 {
    rule.ttl_ms.map_or(FOR_EVER_MS, |ttl_ms| now_ms.saturating_add(ttl_ms.min(TIME_MS_MAX)))
}

/// What the log is told.
pub(super) fn record(queue: QueueId, digest: u128, until_ms: u64, rule: &Deduplication) -> Record {
    Record::Seen { queue, digest, until_ms, keep: rule.size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_stay_and_one_that_is_seen_again_is_new() {
        let mut seen = Seen::default();
        for digest in [1, 2, 1, 3] {
            seen.see(digest, FOR_EVER_MS, 2, None);
        }
        assert_eq!([1, 2, 3].map(|digest| seen.until(digest, 0).is_some()), [true, false, true]);
    }

    #[test]
    fn a_digest_holds_until_its_time() {
        let mut seen = Seen::default();
        seen.see(1, 100, 10, None);
        assert_eq!((seen.until(1, 99), seen.until(1, 100)), (Some(100), None));
    }

    #[test]
    fn what_is_seen_again_and_again_takes_no_more_room() {
        let mut seen = Seen::default();
        (0..10_000).for_each(|number| seen.see(number % 3, FOR_EVER_MS, 10, None));
        assert!(seen.order.len() <= 2 * 3 + STALE_MAX_SMALL);
    }

    #[test]
    fn what_the_last_run_left_is_known_in_its_order() {
        let mut seen = Seen::restore(&[(7, 50), (8, 60)]);
        assert_eq!((seen.until(7, 0), seen.until(8, 0)), (Some(50), Some(60)));
        seen.see(9, 70, 2, None);
        assert_eq!((seen.until(7, 0), seen.until(8, 0)), (None, Some(60)));
    }
}
