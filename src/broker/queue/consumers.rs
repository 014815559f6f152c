//! Who is next: a queue's consumers, by priority and in turn, as long as they have credit and room.
//!
//! A consumer that can take nothing leaves the ring of the willing and comes back when its credit
//! or its connection's outbox says so; choosing the next one therefore never walks over the
//! unwilling. In a queue with a single active consumer nobody but that one is ever willing. Owned
//! by the queue, under its lock.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use super::willing::Willing;
use super::{Entry, Queue};
use crate::broker::ConnectionId;
use crate::broker::counters::{Count, Counts, OwnCount};
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

    /// The consumer's queue is gone, or has taken the consumer out.
    fn cancelled(&self, consumer: &Arc<Consumer>);
}

/// A consumer, as it was when it began to consume.
///
/// In this order because a delivery asks for what stands first: where ten thousand consumers have
/// their turn, every piece of memory that it asks for is a wait.
#[repr(C)]
pub struct Consumer {
    /// Unique in the broker, never 0.
    pub id: u64,
    pub lane: Arc<dyn Lane>,
    pub no_ack: bool,
    /// Its time was over: what is still on its way to it goes back.
    pub is_ended: AtomicBool,
    /// Most unacked messages; 0 is no limit. Its channel changes it and wakes the consumer.
    pub prefetch_count: AtomicU16,
    pub queue: Arc<Queue>,
    pub counts: ConsumerCounts,
    pub tag: ShortStr,
    pub connection: ConnectionId,
    /// Higher ones are served first.
    pub priority: i64,
    /// A delivery that it hasn't settled for so long is taken back, and the consumer ends.
    pub timeout: Option<Duration>,
    pub arguments: FieldTable,
    /// Its number.
    pub channel: u16,
    /// What the limit was when the consumer came.
    pub first_prefetch_count: u16,
    pub exclusive: bool,
}

/// What has happened to a consumer's messages, each counted by one party at a time.
#[derive(Debug, Default)]
pub struct ConsumerCounts {
    /// By whoever writes to its client.
    pub delivered: OwnCount,
    /// Of them.
    pub redelivered: OwnCount,
    /// By whoever reads from its client.
    pub acked: OwnCount,
}

impl Consumer {
    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let ConsumerCounts { delivered, redelivered, acked } = &self.counts;
        let way = if self.no_ack { Count::DeliverNoAck } else { Count::Deliver };
        Counts::default()
            .with(way, delivered.get())
            .with(Count::Redeliver, redelivered.get())
            .with(Count::Ack, acked.get())
    }

    pub fn prefetch_count(&self) -> u16 {
        self.prefetch_count.load(Ordering::Relaxed)
    }
}

/// Whether a consumer gets messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Up,
    /// It is the one, in a queue that has one at a time.
    SingleActive,
    /// It waits for its turn to be the one.
    Waiting,
}

impl Activity {
    /// RabbitMQ's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::SingleActive => "single_active",
            Self::Waiting => "waiting",
        }
    }
}

struct Slot {
    id: u64,
    consumer: Arc<Consumer>,
    unacked: u32,
    /// In a ring of the willing.
    willing: bool,
}

impl Slot {
    fn has_credit(&self) -> bool {
        self.consumer.no_ack || self.credit() > 0
    }

    /// How many more may be out. For one that acks nothing: how many more it may get at a time.
    fn credit(&self) -> u64 {
        match self.consumer.prefetch_count() {
            0 => u64::from(u16::MAX),
            limit => u64::from(limit).saturating_sub(u64::from(self.unacked)),
        }
    }
}

/// Which of the consumers is the single active one.
///
/// ```text
///   the first by rank ──▶ active ──one of a higher rank comes──▶ gets nothing more
///                           ▲                                            │ what it has is settled,
///                           └──────────────── the other one ◀────────────┘ or it is gone
/// ```
#[derive(Default)]
struct SingleActive {
    /// All consumers: higher priorities first, among equals in the order in which they came.
    ranked: BTreeSet<Rank>,
    active: Option<u64>,
}

type Rank = (Reverse<i64>, u64);

fn rank_of(consumer: &Consumer) -> Rank {
    (Reverse(consumer.priority), consumer.id)
}

impl SingleActive {
    fn first(&self) -> Option<u64> {
        self.ranked.first().map(|(_, id)| *id)
    }

    /// Who may take messages now; nobody while the active one has to settle what it has.
    fn in_turn(&self) -> Option<u64> {
        self.active.filter(|active| self.first() == Some(*active))
    }
}

#[derive(Default)]
pub struct Consumers {
    /// By id, which mostly grows: those who come stand at the end.
    slots: SmallVec<[Slot; 1]>,
    willing: Willing,
    /// For a queue that has one active consumer at a time.
    single_active: Option<Box<SingleActive>>,
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
        matches!(&*self.slots, [slot] if slot.consumer.exclusive)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.slots.iter().map(|slot| &slot.consumer)
    }

    /// Whether one consumer at a time gets messages, and the others wait to take its place.
    pub fn set_single_active(&mut self, single_active: bool) {
        if self.single_active.is_some() == single_active {
            return;
        }
        self.clear_ring();
        let ids: Vec<u64> = self.slots.iter().map(|slot| slot.id).collect();
        self.single_active = single_active.then(|| {
            let ranked = self.slots.iter().map(|slot| rank_of(&slot.consumer)).collect();
            Box::new(SingleActive { ranked, active: None })
        });
        self.elect();
        ids.into_iter().for_each(|id| self.wake(id));
    }

    pub fn is_single_active(&self) -> bool {
        self.single_active.is_some()
    }

    /// The single active consumer, if the queue is one with, and there is any.
    pub fn active(&self) -> Option<&Arc<Consumer>> {
        let active = self.single_active.as_ref()?.active?;
        self.slot(active).map(|slot| &slot.consumer)
    }

    /// All of them, and what they do.
    pub fn activities(&self) -> impl Iterator<Item = (&Arc<Consumer>, Activity)> {
        self.iter().map(|consumer| match &self.single_active {
            None => (consumer, Activity::Up),
            Some(single) if single.active == Some(consumer.id) => {
                (consumer, Activity::SingleActive)
            }
            Some(_) => (consumer, Activity::Waiting),
        })
    }

    pub fn add(&mut self, consumer: Arc<Consumer>) {
        let id = consumer.id;
        if let Some(single) = &mut self.single_active {
            single.ranked.insert(rank_of(&consumer));
        }
        let slot = Slot { id, consumer, unacked: 0, willing: false };
        match self.position(id) {
            Ok(index) => self.slots[index] = slot,
            Err(index) => self.slots.insert(index, slot),
        }
        self.elect();
        self.wake(id);
    }

    pub fn remove(&mut self, id: u64) -> Option<Arc<Consumer>> {
        let slot = self.slots.remove(self.position(id).ok()?);
        if slot.willing {
            self.willing.remove(slot.consumer.priority, id);
        }
        if let Some(single) = &mut self.single_active {
            single.ranked.remove(&rank_of(&slot.consumer));
        }
        self.elect();
        Some(slot.consumer)
    }

    /// Takes all of them out, for a queue that goes away.
    pub fn drain(&mut self) -> Vec<Arc<Consumer>> {
        self.willing = Willing::default();
        self.single_active = self.single_active.as_ref().map(|_| Box::default());
        std::mem::take(&mut self.slots).into_iter().map(|slot| slot.consumer).collect()
    }

    /// The consumer may be able to take messages again.
    pub fn wake(&mut self, id: u64) {
        if let Some(single) = &self.single_active
            && single.in_turn() != Some(id)
        {
            return;
        }
        if let Some(slot) = slot_of(&mut self.slots, id)
            && !slot.willing
            && slot.has_credit()
        {
            slot.willing = true;
            self.willing.push(slot.consumer.priority, id);
        }
    }

    /// A message that the consumer had came back.
    pub fn give_back_credit(&mut self, id: u64) {
        if let Some(slot) = slot_of(&mut self.slots, id) {
            slot.unacked = slot.unacked.saturating_sub(1);
            if slot.unacked == 0 {
                self.elect();
            }
            self.wake(id);
        }
    }

    /// Makes the first by rank the active one, unless the one that is has still something to
    /// settle: then nobody gets anything until it has.
    fn elect(&mut self) {
        let Some(single) = &mut self.single_active else { return };
        let first = single.first();
        if single.active != first {
            let active = single.active.and_then(|id| slot_of(&mut self.slots, id));
            if active.is_none_or(|slot| slot.unacked == 0) {
                single.active = first;
            }
            self.clear_ring();
        }
        if let Some(first) = first {
            self.wake(first);
        }
    }

    /// Chooses who gets the next message, with a body of `bytes`, and takes the credit for it.
    pub fn pick(&mut self, bytes: u64) -> Option<&Arc<Consumer>> {
        loop {
            let id = self.willing.first()?;
            let Ok(index) = self.position(id) else {
                self.willing.pop();
                continue;
            };
            let slot = &mut self.slots[index];
            // It may have been given a lower limit since it came into the ring.
            slot.willing = slot.has_credit() && slot.consumer.lane.reserve(bytes, &slot.consumer);
            if !slot.willing {
                self.willing.pop();
                continue;
            }
            if !slot.consumer.no_ack {
                slot.unacked += 1;
                slot.willing = slot.has_credit();
            }
            match slot.willing {
                true => self.willing.turn(),
                false => self.willing.pop(),
            }
            return self.slots.get(index).map(|slot| &slot.consumer);
        }
    }

    /// Takes the credit of this consumer for the next message, with a body of `bytes`, if it can
    /// have it.
    pub fn pick_this(&mut self, id: u64, bytes: u64) -> Option<&Arc<Consumer>> {
        let slot = slot_of(&mut self.slots, id).filter(|slot| slot.willing)?;
        let takes = slot.has_credit() && slot.consumer.lane.reserve(bytes, &slot.consumer);
        if takes && !slot.consumer.no_ack {
            slot.unacked += 1;
        }
        if !takes || !slot.has_credit() {
            slot.willing = false;
            self.willing.remove(slot.consumer.priority, id);
        }
        takes.then_some(&slot.consumer)
    }

    /// Whether somebody may be able to take a message.
    pub fn has_willing(&self) -> bool {
        !self.willing.is_empty()
    }

    pub fn contains(&self, id: u64) -> bool {
        self.slot(id).is_some()
    }

    /// How many messages the willing could take now by their own limits; bounded, for the delivery
    /// mark.
    pub fn credit(&self) -> u64 {
        let willing = self.willing.iter().filter_map(|id| self.slot(id));
        willing.take(64).fold(0, |sum: u64, slot| sum.saturating_add(slot.credit()))
    }

    fn clear_ring(&mut self) {
        for id in std::mem::take(&mut self.willing).iter() {
            if let Some(slot) = slot_of(&mut self.slots, id) {
                slot.willing = false;
            }
        }
    }

    /// Where a consumer is, or where it would have to be inserted.
    #[inline]
    fn position(&self, id: u64) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&id, |slot| slot.id)
    }

    fn slot(&self, id: u64) -> Option<&Slot> {
        self.position(id).ok().map(|index| &self.slots[index])
    }
}

/// Beside the other fields, which its users change, too.
fn slot_of(slots: &mut [Slot], id: u64) -> Option<&mut Slot> {
    let index = slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
    slots.get_mut(index)
}
