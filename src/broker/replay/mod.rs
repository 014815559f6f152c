//! Replay: an operator has the messages of a dead-letter queue sent back to where they came from.
//!
//! A task moves them in small steps, each message as a dead letter is moved: by one record of the
//! log, so that a crash leaves it in the one queue or in the others. It holds no lock while it
//! waits and keeps no more than a step in memory. A message that can't go stays where it is, and is
//! counted with the reason. The vhost owns the last replay of each of its queues.

mod route;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::auth::Actor;
use super::error::Error;
use super::header_filter::HeaderFilter;
use super::queue::{Place, Queue};
use super::timers::now_ms;
use crate::protocol::wire::ShortStr;
use crate::store::record::QueueId;

/// Which messages of the queue.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those that are ready when it begins, and whose headers fit.
    Ready(HeaderFilter),
    /// These.
    Places(Vec<Place>),
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    pub selection: Selection,
    /// Most messages that are moved.
    pub count_max: Option<u64>,
    /// Messages per second, at most.
    pub rate_max: Option<u32>,
    /// Instead of the exchange that each came from.
    pub exchange: Option<ShortStr>,
    /// Instead of the routing keys that each came with.
    pub routing_key: Option<ShortStr>,
}

/// Why a message stays in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// It didn't come here by dying elsewhere: nobody knows where it came from.
    NotDeadLettered,
    NoExchange,
    /// Whoever asked may not publish there.
    NotPermitted,
    Unroutable,
    /// It would only come back to this queue.
    LeadsBack,
    /// The queue that it belongs to is full and refuses it, or was deleted just now.
    Refused,
    /// It is not ready in the queue: it was consumed, say.
    Gone,
}

impl Skip {
    pub fn name(self) -> &'static str {
        match self {
            Self::NotDeadLettered => "not_dead_lettered",
            Self::NoExchange => "no_exchange",
            Self::NotPermitted => "not_permitted",
            Self::Unroutable => "unroutable",
            Self::LeadsBack => "leads_back",
            Self::Refused => "refused",
            Self::Gone => "gone",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayState {
    Running,
    Done,
    Cancelled,
    /// For this reason; what was moved has moved.
    Failed(String),
}

impl ReplayState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// How far a replay is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub state: ReplayState,
    pub moved: u64,
    /// Messages that were looked at; some may not have been asked for.
    pub examined: u64,
    pub skipped: BTreeMap<Skip, u64>,
    pub ended_ms: Option<u64>,
}

/// One replay of a queue.
#[derive(Debug)]
pub struct Replay {
    pub request: ReplayRequest,
    pub vhost: ShortStr,
    pub queue: ShortStr,
    pub started_by: String,
    pub started_ms: u64,
    /// Messages to look at.
    pub total: u64,
    progress: Mutex<Progress>,
    cancelled: AtomicBool,
    /// Rung when it is cancelled.
    ended: Notify,
}

impl Replay {
    fn new(queue: &Queue, request: ReplayRequest, actor: &Actor) -> Self {
        let total = match &request.selection {
            Selection::Ready(_) => queue.status().ready,
            Selection::Places(places) => places.len(),
        };
        Self {
            request,
            vhost: queue.properties.vhost.clone(),
            queue: queue.name().clone(),
            started_by: actor.user.name.clone(),
            started_ms: now_ms(),
            total: total as u64,
            progress: Mutex::new(Progress {
                state: ReplayState::Running,
                moved: 0,
                examined: 0,
                skipped: BTreeMap::new(),
                ended_ms: None,
            }),
            cancelled: AtomicBool::new(false),
            ended: Notify::new(),
        }
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// For the audit log: what was asked for, and how far it is.
    pub(super) fn account(&self) -> Value {
        let Progress { state, moved, .. } = self.progress();
        let ReplayRequest { count_max, rate_max, exchange, routing_key, .. } = &self.request;
        json!({
            "state": state.name(), "total": self.total, "moved": moved, "count_limit": count_max,
            "rate_limit": rate_max, "exchange": exchange.as_deref(),
            "routing_key": routing_key.as_deref(),
        })
    }

    /// Messages per second so far.
    pub fn rate(&self, progress: &Progress) -> f64 {
        let until_ms = progress.ended_ms.unwrap_or_else(now_ms);
        let elapsed_ms = until_ms.saturating_sub(self.started_ms).max(1);
        progress.moved as f64 * 1000.0 / elapsed_ms as f64
    }

    pub fn is_running(&self) -> bool {
        self.progress.lock().state == ReplayState::Running
    }

    /// It ends after the step that it is in.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.ended.notify_one();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// The last replay of each queue that has had one.
#[derive(Debug, Default)]
pub(super) struct Replays(DashMap<QueueId, Arc<Replay>>);

impl Replays {
    pub(super) fn get(&self, queue: &Queue) -> Option<Arc<Replay>> {
        self.0.get(&queue.properties.id).map(|found| Arc::clone(&found))
    }

    /// One at a time: two would look at what the other has just taken.
    pub(super) fn begin(
        &self,
        queue: &Queue,
        request: ReplayRequest,
        actor: &Actor,
    ) -> Result<Arc<Replay>, Error> {
        let slot = self.0.entry(queue.properties.id);
        if let Slot::Occupied(last) = &slot
            && last.get().is_running()
        {
            return Err(Error::resource_locked(format!(
                "a replay of {} is running: wait for its end, or cancel it",
                queue.described()
            )));
        }
        let replay = Arc::new(Replay::new(queue, request, actor));
        slot.insert(Arc::clone(&replay));
        Ok(replay)
    }

    /// The queue is gone; what runs finds that out.
    pub(super) fn forget(&self, queue: &Queue) {
        if let Some((_, replay)) = self.0.remove(&queue.properties.id) {
            replay.cancel();
        }
    }
}
