//! Who is next: a queue's consumers, by priority and in turn, as long as they have credit and room.
//!
//! A consumer that can take nothing leaves the ring of the willing and comes back when its credit
//! or its connection's outbox says so; choosing the next one therefore never walks over the
//! unwilling. Owned by the queue, under its lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Entry, Queue};
use crate::broker::ConnectionId;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;

/// The way from a queue to a client: one for each channel, implemented where the sockets are.
/// Nothing here may wait, nor call back into a queue.
pub trait Lane: Send + Sync {
    /// Reserves room for one delivery with a body of `bytes`. When there is none it is remembered
    /// that the consumer rests, and [`Queue::wake`] is called when there is.
    fn reserve(&self, bytes: u64, consumer: &Arc<Consumer>) -> bool;

    /// Takes deliveries to one consumer, all of them reserved.
    fn deliver(self: Arc<Self>, consumer: &Arc<Consumer>, entries: Vec<Entry>);

    /// The consumer's queue is gone.
    fn cancelled(&self, consumer: &Arc<Consumer>);
}

/// A consumer, as it was when it began to consume.
pub struct Consumer {
    /// Unique in the broker, never 0.
    pub id: u64,
    pub tag: ShortStr,
    pub queue: Arc<Queue>,
    pub connection: ConnectionId,
    pub no_ack: bool,
    pub exclusive: bool,
    /// Higher ones are served first.
    pub priority: i64,
    /// Most unacked messages; 0 is no limit.
    pub prefetch_count: u16,
    pub arguments: FieldTable,
    pub lane: Arc<dyn Lane>,
}

struct Slot {
    consumer: Arc<Consumer>,
    unacked: u32,
    /// In the ring of the willing.
    willing: bool,
}

impl Slot {
    fn has_credit(&self) -> bool {
        let consumer = &self.consumer;
        consumer.no_ack
            || consumer.prefetch_count == 0
            || self.unacked < u32::from(consumer.prefetch_count)
    }
}

#[derive(Default)]
pub struct Consumers {
    slots: BTreeMap<u64, Slot>,
    willing: BTreeMap<Reverse<i64>, VecDeque<u64>>,
}

impl Consumers {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there is a consumer that has the queue for itself; then it is the only one.
    pub fn is_exclusive(&self) -> bool {
        self.slots.len() == 1 && self.slots.values().any(|slot| slot.consumer.exclusive)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.slots.values().map(|slot| &slot.consumer)
    }

    pub fn add(&mut self, consumer: Arc<Consumer>) {
        let id = consumer.id;
        self.slots.insert(id, Slot { consumer, unacked: 0, willing: false });
        self.wake(id);
    }

    pub fn remove(&mut self, id: u64) -> Option<Arc<Consumer>> {
        let slot = self.slots.remove(&id)?;
        if slot.willing {
            self.leave_ring(slot.consumer.priority, id);
        }
        Some(slot.consumer)
    }

    /// Takes all of them out, for a queue that goes away.
    pub fn drain(&mut self) -> Vec<Arc<Consumer>> {
        self.willing.clear();
        std::mem::take(&mut self.slots).into_values().map(|slot| slot.consumer).collect()
    }

    /// The consumer may be able to take messages again.
    pub fn wake(&mut self, id: u64) {
        if let Some(slot) = self.slots.get_mut(&id)
            && !slot.willing
            && slot.has_credit()
        {
            slot.willing = true;
            self.willing.entry(Reverse(slot.consumer.priority)).or_default().push_back(id);
        }
    }

    /// A message that the consumer had came back.
    pub fn give_back_credit(&mut self, id: u64) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.unacked = slot.unacked.saturating_sub(1);
            self.wake(id);
        }
    }

    /// Chooses who gets the next message, with a body of `bytes`, and takes the credit for it.
    pub fn pick(&mut self, bytes: u64) -> Option<&Arc<Consumer>> {
        loop {
            let mut level = self.willing.first_entry()?;
            let Some(id) = level.get_mut().pop_front() else {
                level.remove();
                continue;
            };
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if !slot.consumer.lane.reserve(bytes, &slot.consumer) {
                slot.willing = false;
                continue;
            }
            if !slot.consumer.no_ack {
                slot.unacked += 1;
            }
            slot.willing = slot.has_credit();
            if slot.willing {
                level.get_mut().push_back(id);
            }
            return self.slots.get(&id).map(|slot| &slot.consumer);
        }
    }

    /// How many messages the willing could take now by their own limits; bounded, for the delivery
    /// mark.
    pub fn credit(&self) -> u64 {
        let willing = self.willing.values().flatten().filter_map(|id| self.slots.get(id));
        willing.take(64).fold(0, |sum: u64, slot| {
            let limit = match slot.consumer.prefetch_count {
                0 => u64::from(u16::MAX),
                limit => u64::from(limit).saturating_sub(u64::from(slot.unacked)),
            };
            sum.saturating_add(limit)
        })
    }

    fn leave_ring(&mut self, priority: i64, id: u64) {
        if let Some(level) = self.willing.get_mut(&Reverse(priority)) {
            level.retain(|other| *other != id);
            if level.is_empty() {
                self.willing.remove(&Reverse(priority));
            }
        }
    }
}
