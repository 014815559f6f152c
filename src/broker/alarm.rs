//! Alarms: what the broker runs out of. While there is one, publishers are held back.
//!
//! ```text
//! store ─── Space ───┐
//!                    ├──▶ Alarms ──▶ connections (blocked), health checks, events
//! server ── Memory ──┘
//! ```
//!
//! Each alarm is judged by who measures: the disk by the store, the memory here, from what the
//! server reads of the process. An [`Alarms`] is one follower's view of both.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::Broker;
use super::event::Event;
use crate::store::Space;

/// Whether the process may use more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Enough,
    /// Publishers rest until there is less.
    High {
        used_bytes: u64,
        limit_bytes: u64,
    },
}

/// Judges what is measured of the process's memory.
#[derive(Debug)]
pub struct MemoryGauge {
    /// 0 is no limit.
    limit_bytes: AtomicU64,
    memory: watch::Sender<Memory>,
}

impl Default for MemoryGauge {
    fn default() -> Self {
        Self { limit_bytes: AtomicU64::new(0), memory: watch::Sender::new(Memory::Enough) }
    }
}

impl MemoryGauge {
    /// What the process may use before publishers rest, in bytes; 0 is no limit.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Holds for what is measured from now on.
    pub fn set_limit_bytes(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// The process uses so much.
    pub fn measured(&self, used_bytes: u64) {
        let limit_bytes = self.limit_bytes();
        let before = *self.memory.borrow();
        let now = judge(before, used_bytes, limit_bytes);
        match (before, now) {
            (Memory::Enough, Memory::High { .. }) => tracing::warn!(
                used_bytes,
                limit_bytes,
                "much of the memory is used: publishers are held back until there is less; consume \
                 messages, close connections, or raise memory.high_watermark"
            ),
            (Memory::High { .. }, Memory::Enough) => {
                tracing::info!(used_bytes, "less memory is used again: publishers go on");
            }
            _ => return,
        }
        self.memory.send_replace(now);
    }
}

/// Enough again is a twentieth below the limit, so that the alarm doesn't come and go.
fn judge(before: Memory, used_bytes: u64, limit_bytes: u64) -> Memory {
    let enough = match before {
        Memory::Enough => limit_bytes,
        Memory::High { .. } => limit_bytes - limit_bytes / 20,
    };
    if limit_bytes > 0 && used_bytes > enough {
        return Memory::High { used_bytes, limit_bytes };
    }
    Memory::Enough
}

/// What the broker has run out of, with the figures of the moment when it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    Memory { used_bytes: u64, limit_bytes: u64 },
    Disk { free_bytes: u64, limit_bytes: u64 },
}

impl Alarm {
    /// RabbitMQ's word for it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Disk { .. } => "disk",
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { used_bytes, limit_bytes } => {
                write!(
                    f,
                    "the process used {used_bytes} bytes of memory, the limit is {limit_bytes}"
                )
            }
            Self::Disk { free_bytes, limit_bytes } => {
                write!(f, "the disk had {free_bytes} bytes left, the limit is {limit_bytes}")
            }
        }
    }
}

/// The alarms, followed by one.
#[derive(Debug)]
pub struct Alarms {
    space: watch::Receiver<Space>,
    memory: watch::Receiver<Memory>,
}

impl Alarms {
    pub(super) fn new(space: watch::Receiver<Space>, gauge: &MemoryGauge) -> Self {
        Self { space, memory: gauge.memory.subscribe() }
    }

    pub fn is_any(&self) -> bool {
        *self.space.borrow() != Space::Enough || *self.memory.borrow() != Memory::Enough
    }

    /// Those of the moment.
    pub fn now(&self) -> Vec<Alarm> {
        let memory = match *self.memory.borrow() {
            Memory::Enough => None,
            Memory::High { used_bytes, limit_bytes } => {
                Some(Alarm::Memory { used_bytes, limit_bytes })
            }
        };
        let disk = match *self.space.borrow() {
            Space::Enough => None,
            Space::Low { free_bytes, limit_bytes } => Some(Alarm::Disk { free_bytes, limit_bytes }),
        };
        memory.into_iter().chain(disk).collect()
    }

    /// Waits for a change. Safe to cancel.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = changed(&mut self.space) => {}
            () = changed(&mut self.memory) => {}
        }
    }
}

async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        // Nobody is left who could change it.
        pending().await
    }
}

/// Tells of alarms that come and go on the event exchange, for ever.
pub async fn tell_events(broker: Arc<Broker>) {
    let mut alarms = broker.alarms();
    let mut told: Vec<&str> = Vec::new();
    loop {
        let now: Vec<&str> = alarms.now().into_iter().map(Alarm::resource).collect();
        let tell = |key, resource| {
            broker.events.tell(None, || Event::new(key).text("resource", resource));
        };
        let news = |from: &[&'static str], to: &[&'static str]| -> Vec<&'static str> {
            to.iter().filter(|resource| !from.contains(resource)).copied().collect()
        };
        news(&told, &now).into_iter().for_each(|resource| tell("alarm.set", resource));
        news(&now, &told).into_iter().for_each(|resource| tell("alarm.cleared", resource));
        told = now;
        alarms.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_alarm_is_over_when_a_twentieth_less_is_used() {
        let high = judge(Memory::Enough, 1001, 1000);
        assert_eq!(high, Memory::High { used_bytes: 1001, limit_bytes: 1000 });
        assert_eq!(judge(Memory::Enough, 1000, 1000), Memory::Enough);
        assert!(matches!(judge(high, 951, 1000), Memory::High { .. }));
        assert_eq!(judge(high, 950, 1000), Memory::Enough);
    }

    #[test]
    fn without_a_limit_there_is_no_alarm() {
        assert_eq!(judge(Memory::Enough, u64::MAX, 0), Memory::Enough);
        let high = Memory::High { used_bytes: 2, limit_bytes: 1 };
        assert_eq!(judge(high, u64::MAX, 0), Memory::Enough);
    }

    #[test]
    fn followers_hear_of_changes_only() {
        let gauge = MemoryGauge::default();
        let space = watch::Sender::new(Space::Enough);
        let alarms = Alarms::new(space.subscribe(), &gauge);
        gauge.set_limit_bytes(1000);
        gauge.measured(999);
        assert!(!alarms.is_any() && !alarms.memory.has_changed().expect("open"));
        gauge.measured(2000);
        gauge.measured(3000);
        space.send_replace(Space::Low { free_bytes: 1, limit_bytes: 2 });
        let memory = Alarm::Memory { used_bytes: 2000, limit_bytes: 1000 };
        let disk = Alarm::Disk { free_bytes: 1, limit_bytes: 2 };
        assert_eq!(alarms.now(), [memory, disk]);
    }
}
