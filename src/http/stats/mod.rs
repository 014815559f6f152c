//! Message rates: what the counters of the broker were some seconds ago, and how they change.
//!
//! ```text
//! counters (broker) ──every 5 s──▶ sampler ──▶ tracks (the last two samples of each thing,
//!                                                └▶ rings of older ones, where they are asked for)
//! ```
//!
//! Owner of the tracks. Those of the whole broker are always kept; those of queues, exchanges,
//! channels and connections only while somebody asks, and only of what has something to count.
//! All of it is bounded, and nothing of it is seen by who handles messages.

mod ages;
mod history;
mod process;
mod reading;
mod sampler;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde_json::{Map, Value, json};

pub use ages::AgesQuery;
pub use process::Use;
pub use sampler::run;

use self::ages::{Ages, Wanted};
use self::history::Track;
use self::reading::{Group, Number, Reading};
use super::listing::ListQuery;
use super::refusal::Refusal;
use super::time::utc;
use crate::broker::ConnectionId;
use crate::broker::counters::Churn;
use crate::broker::exchange::Exchange;
use crate::broker::link::{ChannelStatus, LinkStatus};
use crate::broker::queue::{Queue, QueueDetails};
use crate::broker::timers::now_ms;
use crate::broker::vhost::{Vhost, VhostTotals};
use crate::protocol::wire::ShortStr;
use crate::store::Vitals;
use crate::store::record::QueueId;

/// How long samples of single things are taken after somebody has asked for one.
const ASKED_MS: u64 = 300_000;

/// Most things whose older samples are kept; whoever asks for more gets rates only.
const RINGS_MAX: usize = 500;

/// What is sampled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    Broker,
    Vhost(ShortStr),
    Queue(QueueId),
    Exchange(ShortStr, ShortStr),
    Connection(ConnectionId),
    Channel(ConnectionId, u16),
    Node,
}

#[derive(Default)]
struct Tracks {
    all: HashMap<Of, Track>,
    round: u64,
}

/// Shared by the sampler and all handlers.
#[derive(Clone, Default)]
pub struct Stats(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tracks: RwLock<Tracks>,
    /// When somebody asked last, in milliseconds since 1970.
    asked_ms: AtomicU64,
    /// Things whose older samples are asked for, and when they were last.
    wanted: Mutex<HashMap<Of, u64>>,
}

impl Stats {
    /// The rates of this moment, unless the query says that none are wanted.
    pub fn wanted(
        &self,
        query: &ListQuery,
        ages: &AgesQuery,
    ) -> Result<Option<Rates<'_>>, Refusal> {
        query.wants_stats().then(|| self.now(ages)).transpose()
    }

    /// The rates of this moment. Refuses times and distances that can't be.
    pub fn now(&self, query: &AgesQuery) -> Result<Rates<'_>, Refusal> {
        self.0.asked_ms.store(now_ms(), Ordering::Relaxed);
        Ok(Rates { tracks: self.0.tracks.read(), wanted: query.wanted()?, stats: &self.0 })
    }
}

impl Inner {
    fn want(&self, of: Of) {
        let mut wanted = self.wanted.lock();
        if wanted.len() < RINGS_MAX || wanted.contains_key(&of) {
            wanted.insert(of, now_ms());
        }
    }
}

/// What was sampled last. Not to be held over a wait: the sampler waits for it.
pub struct Rates<'a> {
    tracks: RwLockReadGuard<'a, Tracks>,
    wanted: Wanted,
    stats: &'a Inner,
}

impl Rates<'_> {
    /// `messages`, `messages_ready`, `messages_unacknowledged` with their `_details`, and
    /// `message_stats`.
    pub fn queue(&self, queue: &Queue, details: &QueueDetails) -> Map<String, Value> {
        self.show(Of::Queue(queue.properties.id), &Reading::of_queue(details))
    }

    /// `message_stats`, if anything was published to it.
    pub fn exchange(&self, vhost: &Vhost, exchange: &Exchange) -> Map<String, Value> {
        let of = Of::Exchange(vhost.name.clone(), exchange.name.clone());
        self.show(of, &Reading::of_exchange(exchange))
    }

    /// `recv_oct`, `send_oct` and their `_details`, and how often it was read and written.
    pub fn connection(&self, id: ConnectionId, status: &LinkStatus) -> Map<String, Value> {
        self.show(Of::Connection(id), &Reading::of_connection(status))
    }

    /// `message_stats`, if anything has happened on it, and `idle_since`, if nothing does.
    pub fn channel(&self, id: ConnectionId, status: &ChannelStatus) -> Map<String, Value> {
        let of = Of::Channel(id, status.number);
        let idle_ms = self.tracks.all.get(&of).and_then(Track::idle_since_ms);
        let mut shown = self.show(of, &Reading::of_counts(&status.counts));
        if let Some(since) = idle_ms.and_then(utc) {
            shown.insert("idle_since".to_owned(), since.into());
        }
        shown
    }

    /// What the process uses, what was read and written, and what came and went in it, with
    /// `_details`.
    pub fn node(&self, use_of: &Use, vitals: &Vitals, churn: &Churn) -> Map<String, Value> {
        self.show(Of::Node, &Reading::of_node(use_of, vitals, churn))
    }

    /// As [`Rates::queue`], of all queues of a vhost together, with what publishers are told.
    pub fn vhost(&self, vhost: &Vhost) -> Map<String, Value> {
        self.show(Of::Vhost(vhost.name.clone()), &Reading::of_totals(&vhost.totals()))
    }

    /// The same of several vhosts.
    pub fn vhosts(&self, vhosts: &[Arc<Vhost>], totals: &VhostTotals) -> Map<String, Value> {
        let of = |vhost: &Arc<Vhost>| self.tracks.all.get(&Of::Vhost(vhost.name.clone()));
        let tracks: Vec<&Track> = vhosts.iter().filter_map(of).collect();
        let rate = |place, _| {
            let rates = tracks.iter().map(|track| track.rate(place));
            json!({ "rate": rates.sum::<f64>() })
        };
        put(&Reading::of_totals(totals), rate)
    }

    /// The same of the whole broker, and `churn_rates`.
    pub fn broker(&self, totals: &VhostTotals, churn: &Churn) -> Map<String, Value> {
        self.show(Of::Broker, &Reading::of_totals(totals).with_churn(Group::Churn, churn))
    }

    fn show(&self, of: Of, reading: &Reading) -> Map<String, Value> {
        let track = self.tracks.all.get(&of);
        let details = |place, group| match track {
            Some(track) => track.details(place, self.wanted_of(group)),
            None => Track::default().details(place, None),
        };
        let shown = put(reading, details);
        if self.wanted.is_any() {
            self.stats.want(of);
        }
        shown
    }
    fn wanted_of(&self, group: Group) -> Option<Ages> {
        match group {
            Group::Lengths => self.wanted.lengths,
            Group::Messages => self.wanted.messages,
            Group::Data => self.wanted.data,
            Group::Churn | Group::Process => None,
        }
    }
}

/// The numbers under their names, each with the details of its place.
fn put(reading: &Reading, details: impl Fn(usize, Group) -> Value) -> Map<String, Value> {
    let (mut shown, mut messages, mut churn) = (Map::new(), Map::new(), Map::new());
    for (place, number) in reading.numbers().iter().enumerate() {
        let Number { group, name, value } = *number;
        let into = match group {
            Group::Lengths | Group::Data | Group::Process => &mut shown,
            Group::Messages => &mut messages,
            Group::Churn => &mut churn,
        };
        into.insert(name.to_owned(), value.into());
        into.insert(format!("{name}_details"), details(place, group));
    }
    if reading.has_any(Group::Messages) {
        shown.insert("message_stats".to_owned(), messages.into());
    }
    if !churn.is_empty() {
        shown.insert("churn_rates".to_owned(), churn.into());
    }
    shown
}
