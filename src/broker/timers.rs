//! The clock, and the queues that want to be told when it reaches a time.
//!
//! One thread for all of them. A queue tells its next time when that becomes earlier than what it
//! told before; a time that has lost its reason is found out when it comes. So that a queue in
//! which nothing waits for the clock never comes here.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use rustix::time::ClockId;

use super::queue::Queue;
use crate::store::record::QueueId;

/// Ten years in milliseconds, RabbitMQ's bound for every time that somebody asks for.
pub const TIME_MS_MAX: u64 = 315_360_000_000;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 as of the system's last tick, some milliseconds ago at most. For the
/// path of a message: a fraction of what [`now_ms`] costs.
pub(super) fn coarse_now_ms() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let part_ms = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1000).saturating_add(part_ms)
}

/// How long the thread sleeps at most: a clock that is set forward is noticed then.
const SLEEP_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<(u64, QueueId), Weak<Queue>>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// Whoever holds this keeps the thread.
pub struct Timers(Arc<Shared>);

impl Timers {
    /// Begins the thread. Fails when the system has no more of them.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("timers".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self(shared))
    }

    /// Has [`Queue::on_time`] called when it is `due_ms`. The time that the queue told before, if
    /// it has not come yet, no longer counts.
    pub(super) fn set(&self, queue: &Arc<Queue>, before_ms: Option<u64>, due_ms: u64) {
        let id = queue.properties.id;
        let mut inner = self.0.inner.lock();
        if let Some(before_ms) = before_ms {
            inner.waiting.remove(&(before_ms, id));
        }
        inner.waiting.insert((due_ms, id), Arc::downgrade(queue));
        let is_first = inner.waiting.first_key_value().is_some_and(|(key, _)| *key == (due_ms, id));
        drop(inner);
        if is_first {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.0.inner.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut inner = self.inner.lock();
        while !inner.ended {
            let now_ms = now_ms();
            let due: Vec<Weak<Queue>> = {
                let later = inner.waiting.split_off(&(now_ms + 1, QueueId(0)));
                std::mem::replace(&mut inner.waiting, later).into_values().collect()
            };
            if due.is_empty() {
                let next_ms = inner.waiting.first_key_value().map(|((due_ms, _), _)| *due_ms);
                let wait = next_ms.map(|next_ms| Duration::from_millis(next_ms - now_ms));
                match wait {
                    Some(wait) => drop(self.changed.wait_for(&mut inner, wait.min(SLEEP_MAX))),
                    None => self.changed.wait(&mut inner),
                }
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut inner, || {
                for queue in due.into_iter().filter_map(|queue| queue.upgrade()) {
                    queue.on_time(now_ms);
                }
            });
        }
    }
}
