//! A vhost: the names of exchanges and queues, and what is done to them.
//!
//! Owner of the topology. Look-ups on the message path take no lock of the vhost; changes take
//! `topology`, one at a time, and go to the log in the order in which they were made.

mod bindings;
mod counts;
mod exchanges;
mod metadata;
mod own;
mod policies;
mod publishing;
mod queues;
mod removal;
mod replays;
mod routing;
mod scheduled;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};

pub use bindings::BindRequest;
pub use counts::VhostTotals;
pub use exchanges::ExchangeDeclare;
pub use metadata::VhostMetadata;
pub use publishing::{Publish, Published};
pub use queues::{Deleted, QueueDeclare};
pub use scheduled::Delaying;

use super::ConnectionId;
use super::auth::Actor;
use super::binding::{Binding, DestinationKey};
use super::counters::{ByType, Counts, SharedCounts};
use super::error::Error;
use super::event::{EVENT_EXCHANGE, EVENT_VHOST, Event, Events};
use super::exchange::{Exchange, ExchangeKind, ExchangeProperties};
use super::limit::{Counted, Limit};
use super::policy::matching::{CurrentPolicies, Matching};
use super::queue::{Queue, QueueOptions, QueueProperties, Surroundings};
use super::replay::Replays;
use super::reply::Replies;
use super::trace::TRACE_EXCHANGE;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::Store;
use crate::store::record::QueueId;

/// Every vhost has these; they are not stored and can't be deleted.
const PREDECLARED: [(&str, ExchangeKind, bool); 7] = [
    ("", ExchangeKind::Direct, false),
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    ("amq.topic", ExchangeKind::Topic, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    (TRACE_EXCHANGE, ExchangeKind::Topic, true),
];

/// Makes queues, with ids that are unique for ever: they carry the epoch.
pub struct QueueFactory {
    pub(super) around: Arc<Surroundings>,
    next: AtomicU32,
}

impl QueueFactory {
    pub fn new(around: Surroundings) -> Self {
        Self { around: Arc::new(around), next: AtomicU32::new(1) }
    }

    /// An id for each level, of which the first is answered.
    fn next_id(&self, levels: u8) -> QueueId {
        let number = self.next.fetch_add(u32::from(levels) + 1, Ordering::Relaxed);
        QueueId(u64::from(self.around.epoch.0) << 32 | u64::from(number))
    }

    fn make(
        &self,
        properties: QueueProperties,
        (options, policies): (QueueOptions, Matching),
        vhost: &Weak<Vhost>,
    ) -> Arc<Queue> {
        let queue = Queue::new(properties, options, Arc::clone(&self.around), Weak::clone(vhost));
        queue.set_policies(policies);
        queue
    }
}

pub struct Vhost {
    pub name: ShortStr,
    /// For its queues.
    me: Weak<Self>,
    metadata: RwLock<VhostMetadata>,
    /// The open connections.
    pub connections: Arc<Counted>,
    /// Most queues.
    pub queues_max: Limit,
    /// What its clients publish and are told of it.
    pub counts: SharedCounts,
    /// What queues saw that are gone.
    gone_queues: Mutex<ByType<Counts>>,
    store: Arc<dyn Store>,
    factory: Arc<QueueFactory>,
    events: Arc<Events>,
    tracing: AtomicBool,
    /// It was deleted; set under the locks of policies and topology.
    gone: AtomicBool,
    exchanges: DashMap<ShortStr, Arc<Exchange>>,
    queues: DashMap<ShortStr, Arc<Queue>>,
    pub replies: Replies,
    replays: Replays,
    policies: CurrentPolicies,
    topology: Mutex<Topology>,
    /// Grows with every change of the topology, before whoever made it is answered.
    version: AtomicU64,
}

/// The right to change the topology; what was found by it before is stale when this is dropped.
struct TopologyGuard<'a> {
    topology: MutexGuard<'a, Topology>,
    vhost: &'a Vhost,
    /// Who makes the change, if it is a client.
    actor: Option<&'a Actor>,
}

impl Deref for TopologyGuard<'_> {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.topology
    }
}

impl DerefMut for TopologyGuard<'_> {
    fn deref_mut(&mut self) -> &mut Topology {
        &mut self.topology
    }
}

impl Drop for TopologyGuard<'_> {
    fn drop(&mut self) {
        self.vhost.version.fetch_add(1, Ordering::Release);
        let events = std::mem::take(&mut self.topology.events);
        if !events.is_empty() {
            let tell = || self.vhost.events.tell_all(self.actor, events);
            MutexGuard::unlocked(&mut self.topology, tell);
        }
    }
}

/// What has to be found when something goes away.
#[derive(Default)]
struct Topology {
    /// The bindings that lead to each destination, by their address.
    leading_to: HashMap<DestinationKey, BTreeMap<usize, Arc<Binding>>>,
    /// The exclusive queues of each connection.
    exclusive: HashMap<ConnectionId, Vec<Arc<Queue>>>,
    /// What has to be told when the change is made.
    events: Vec<Event>,
}

impl Vhost {
    /// A vhost with the predeclared exchanges.
    pub fn new(
        name: ShortStr,
        store: Arc<dyn Store>,
        factory: Arc<QueueFactory>,
        events: Arc<Events>,
    ) -> Arc<Self> {
        let exchanges = DashMap::new();
        let has_events = name == EVENT_VHOST;
        let own = has_events.then_some((EVENT_EXCHANGE, ExchangeKind::Topic, true));
        for (name, kind, internal) in PREDECLARED.into_iter().chain(own) {
            let exchange = Exchange::new(ExchangeProperties {
                name: ShortStr::from_static(name),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: FieldTable::default(),
                own: None,
            });
            if let Ok(exchange) = exchange {
                exchanges.insert(ShortStr::from_static(name), exchange);
            }
        }
        let vhost = Arc::new_cyclic(|me| Self {
            name,
            me: Weak::clone(me),
            metadata: RwLock::default(),
            connections: Arc::default(),
            queues_max: Limit::default(),
            counts: SharedCounts::default(),
            gone_queues: Mutex::default(),
            store,
            factory,
            events,
            tracing: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            exchanges,
            queues: DashMap::new(),
            replies: Replies::default(),
            replays: Replays::default(),
            policies: CurrentPolicies::default(),
            topology: Mutex::new(Topology::default()),
            version: AtomicU64::new(0),
        });
        if has_events && let Some(exchange) = vhost.exchange(EVENT_EXCHANGE) {
            vhost.events.set_home(&vhost, exchange);
        }
        vhost
    }

    fn topology<'a>(&'a self, actor: Option<&'a Actor>) -> TopologyGuard<'a> {
        TopologyGuard { topology: self.topology.lock(), vhost: self, actor }
    }

    /// The same to put something in. Refuses with 320 where the vhost was deleted.
    fn growing_topology<'a>(
        &'a self,
        actor: Option<&'a Actor>,
    ) -> Result<TopologyGuard<'a>, Error> {
        let topology = self.topology(actor);
        self.check_not_gone().map(|()| topology)
    }

    /// Has copies of all messages go to the trace exchange, until it is called again or the broker
    /// stops.
    pub fn set_tracing(&self, tracing: bool, actor: Option<&Actor>) {
        let before = self.tracing.swap(tracing, Ordering::Relaxed);
        if before != tracing {
            let event = || Event::new("vhost.tracing.set").text("name", &self.name);
            let changed = || event().changed(Some(before.into()), Some(tracing.into()));
            self.events.tell(actor, || changed().flag("tracing", tracing));
        }
    }

    pub fn is_tracing(&self) -> bool {
        self.tracing.load(Ordering::Relaxed)
    }

    /// Notes what has to be told of a change, if anybody listens.
    fn note_event(&self, topology: &mut Topology, event: impl FnOnce() -> Event) {
        if self.events.are_wanted() {
            topology.events.push(event());
        }
    }

    /// What was found of exchanges, bindings and queues holds as long as this is the same. To be
    /// read before looking.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn exchange(&self, name: &str) -> Option<Arc<Exchange>> {
        self.exchanges.get(name.as_bytes()).map(|found| Arc::clone(&found))
    }

    pub fn queue(&self, name: &str) -> Option<Arc<Queue>> {
        self.queues.get(name.as_bytes()).map(|found| Arc::clone(&found))
    }

    /// The queues of the moment, in no order.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// The exchanges of the moment, in no order.
    pub fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.exchanges.iter().map(|entry| Arc::clone(&entry)).collect()
    }
}

/// A name as a client sent it, without the line ends that some clients' templates leave in it.
fn clean_name(name: &ShortStr) -> ShortStr {
    if !name.contains(['\r', '\n']) {
        return name.clone();
    }
    let cleaned: String = name.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    ShortStr::try_from(cleaned.as_str()).unwrap_or_default()
}
