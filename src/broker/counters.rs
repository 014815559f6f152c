//! What has happened so far, as numbers that only grow until their object goes.
//!
//! Whoever sees a thing happen counts it where it holds a lock or a batch anyway: a queue under its
//! lock, a channel in its ledger and its confirms, an exchange and a vhost once for all that one
//! read brought. Sums are made by those who ask. The names are RabbitMQ's.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dead_letter::Reason;
use super::queue::arguments::QueueType;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Messages that came in: from a publisher, or into a queue.
    Publish,
    /// Into an exchange.
    PublishIn,
    /// From an exchange to queues, once for each of them.
    PublishOut,
    Confirm,
    /// Found no queue, and went back.
    ReturnUnroutable,
    /// Found no queue, and were dropped.
    DropUnroutable,
    /// To consumers that ack.
    Deliver,
    DeliverNoAck,
    /// By basic.get, to be acked.
    Get,
    GetNoAck,
    /// A basic.get found nothing.
    GetEmpty,
    Ack,
    /// Of those that were delivered or got, the ones that had been before.
    Redeliver,
}

impl Count {
    pub const ALL: [Self; 13] = [
        Self::Publish,
        Self::PublishIn,
        Self::PublishOut,
        Self::Confirm,
        Self::ReturnUnroutable,
        Self::DropUnroutable,
        Self::Deliver,
        Self::DeliverNoAck,
        Self::Get,
        Self::GetNoAck,
        Self::GetEmpty,
        Self::Ack,
        Self::Redeliver,
    ];

    /// What a client sends with its publishes, and is told of them.
    pub const OF_PUBLISHER: [Self; 4] =
        [Self::Publish, Self::Confirm, Self::ReturnUnroutable, Self::DropUnroutable];

    /// What happens to messages that are there.
    pub const OF_CONSUMER: [Self; 7] = [
        Self::Deliver,
        Self::DeliverNoAck,
        Self::Get,
        Self::GetNoAck,
        Self::GetEmpty,
        Self::Ack,
        Self::Redeliver,
    ];

    pub const OF_EXCHANGE: [Self; 2] = [Self::PublishIn, Self::PublishOut];

    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::PublishIn => "publish_in",
            Self::PublishOut => "publish_out",
            Self::Confirm => "confirm",
            Self::ReturnUnroutable => "return_unroutable",
            Self::DropUnroutable => "drop_unroutable",
            Self::Deliver => "deliver",
            Self::DeliverNoAck => "deliver_no_ack",
            Self::Get => "get",
            Self::GetNoAck => "get_no_ack",
            Self::GetEmpty => "get_empty",
            Self::Ack => "ack",
            Self::Redeliver => "redeliver",
        }
    }
}

/// The counts of one thing at one moment. What isn't counted there is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Count::ALL.len()]);

impl Counts {
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub fn add(&mut self, count: Count, by: u64) {
        self.0[count as usize] += by;
    }

    /// With another thing's.
    pub fn and(mut self, other: &Self) -> Self {
        self += *other;
        self
    }

    /// These alone.
    pub fn only(&self, counts: &[Count]) -> Self {
        counts.iter().fold(Self::default(), |sum, count| sum.with(*count, self.get(*count)))
    }

    /// With this many more.
    pub fn with(mut self, count: Count, by: u64) -> Self {
        self.add(count, by);
        self
    }

    /// All messages that went out, whichever way.
    pub fn deliver_get(&self) -> u64 {
        let ways = [Count::Deliver, Count::DeliverNoAck, Count::Get, Count::GetNoAck];
        ways.into_iter().map(|way| self.get(way)).sum()
    }

    /// Whether nothing has happened yet.
    pub fn are_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, by)| *count += by);
    }
}

/// One for each type of queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByType<T>([T; QueueType::ALL.len()]);

impl<T> ByType<T> {
    pub fn of(&self, queue_type: QueueType) -> &T {
        &self.0[queue_type as usize]
    }
}

impl ByType<Counts> {
    pub fn add(&mut self, queue_type: QueueType, counts: Counts) {
        self.0[queue_type as usize] += counts;
    }

    pub fn sum(&self) -> Counts {
        self.0.iter().fold(Counts::default(), |sum, counts| sum.and(counts))
    }
}

impl AddAssign for ByType<Counts> {
    fn add_assign(&mut self, other: Self) {
        QueueType::ALL.into_iter().for_each(|of| self.add(of, *other.of(of)));
    }
}

/// Counts that many add to, each once for many messages.
#[derive(Debug, Default)]
pub struct SharedCounts([AtomicU64; Count::ALL.len()]);

impl SharedCounts {
    pub fn add(&self, count: Count, by: u64) {
        if by > 0 {
            self.0[count as usize].fetch_add(by, Ordering::Relaxed);
        }
    }

    pub fn add_all(&self, counts: &Counts) {
        Count::ALL.into_iter().for_each(|count| self.add(count, counts.get(count)));
    }

    pub fn read(&self) -> Counts {
        let read = |count| (count, self.0[count as usize].load(Ordering::Relaxed));
        let counts = Count::ALL.into_iter().map(read);
        counts.fold(Counts::default(), |counts, (count, by)| counts.with(count, by))
    }
}

/// What has come and gone in the broker since its start.
#[derive(Debug, Default)]
pub struct Churn {
    pub connections_created: AtomicU64,
    pub connections_closed: AtomicU64,
    pub channels_created: AtomicU64,
    pub channels_closed: AtomicU64,
    /// Declared again, too.
    pub queues_declared: AtomicU64,
    pub queues_created: AtomicU64,
    pub queues_deleted: AtomicU64,
}

/// Counts one more.
pub fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Messages that died in a queue with a dead-letter exchange, by their reasons.
#[derive(Debug, Default)]
pub struct Deaths([AtomicU64; Reason::ALL.len()]);

impl Deaths {
    pub(super) fn count(&self, reason: Reason) {
        one_more(&self.0[reason as usize]);
    }

    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

/// What one queue has seen, under its lock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueCounts {
    pub(super) publish: u64,
    pub(super) deliver: u64,
    pub(super) deliver_no_ack: u64,
    pub(super) get: u64,
    pub(super) get_no_ack: u64,
    pub(super) get_empty: u64,
    pub(super) ack: u64,
    pub(super) redeliver: u64,
}

impl QueueCounts {
    /// Messages went to a consumer.
    pub(super) fn delivered(&mut self, no_ack: bool, messages: usize) {
        let count = if no_ack { &mut self.deliver_no_ack } else { &mut self.deliver };
        *count += messages as u64;
    }

    /// A message went out by basic.get.
    pub(super) fn got(&mut self, no_ack: bool, redelivered: bool) {
        let count = if no_ack { &mut self.get_no_ack } else { &mut self.get };
        *count += 1;
        self.redeliver += u64::from(redelivered);
    }

    pub(super) fn read(&self) -> Counts {
        Counts::default()
            .with(Count::Publish, self.publish)
            .with(Count::Deliver, self.deliver)
            .with(Count::DeliverNoAck, self.deliver_no_ack)
            .with(Count::Get, self.get)
            .with(Count::GetNoAck, self.get_no_ack)
            .with(Count::GetEmpty, self.get_empty)
            .with(Count::Ack, self.ack)
            .with(Count::Redeliver, self.redeliver)
    }
}

/// A number that one party adds to and others read. Costs what a plain one does.
#[derive(Debug, Default)]
pub struct OwnCount(AtomicU64);

impl OwnCount {
    /// Not to be called by two at a time: one of them would be lost.
    pub fn add(&self, by: u64) {
        self.0.store(self.get().wrapping_add(by), Ordering::Relaxed);
    }

    /// What it is by its owner's own counting.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_a_place_of_its_own() {
        for (index, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, index);
            let shared = SharedCounts::default();
            shared.add(count, 3);
            let mut counts = Counts::default().with(count, 4);
            counts += shared.read();
            let others = Count::ALL.into_iter().filter(|other| *other != count);
            assert!(others.into_iter().all(|other| counts.get(other) == 0));
            assert_eq!(counts.get(count), 7);
        }
    }

    #[test]
    fn what_went_out_is_the_sum_of_the_ways() {
        let ways = [Count::Deliver, Count::DeliverNoAck, Count::Get, Count::GetNoAck];
        let counts = ways.into_iter().fold(Counts::default(), |counts, way| counts.with(way, 2));
        assert_eq!(counts.with(Count::GetEmpty, 9).with(Count::Ack, 9).deliver_get(), 8);
    }
}
