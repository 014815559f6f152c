//! The rules of AMQP: vhosts, exchanges, bindings, queues, consumers, dead letters, users.
//!
//! [`Broker`] is the front door. Here nobody has heard of a frame, a socket or a file: the client's
//! side is the trait [`queue::Lane`], the disk's side the trait [`Store`].

pub mod alarm;
pub mod audit;
pub mod auth;
pub mod binding;
pub mod changes;
pub mod counters;
pub mod dead_letter;
pub mod definitions;
mod delayed;
pub mod durable;
mod equivalence;
pub mod error;
pub mod event;
pub mod exchange;
pub mod header_filter;
pub mod limit;
pub mod link;
pub mod outstanding;
pub mod parameter;
pub mod policy;
pub mod publish;
pub mod queue;
pub mod registry;
pub mod replay;
pub mod reply;
pub mod routing_keys;
pub mod secrets;
pub mod timers;
pub mod timings;
pub mod trace;
mod transfer;
pub mod turn;
mod users;
pub mod vhost;
mod vhosts;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::alarm::{Alarms, MemoryGauge};
use self::audit::Audit;
use self::auth::attempts::{Attempts, LoginProtocol};
use self::auth::{Actor, PasswordHash, User};
use self::changes::Changes;
use self::counters::{ByType, Churn, Deaths};
use self::durable::Durable;
use self::error::Error;
use self::event::{Event, Events};
use self::limit::LimitOf;
use self::parameter::Parameters;
use self::policy::matching::PolicyKind;
use self::queue::memory::QueueMemory;
use self::queue::{Queue, Surroundings};
use self::registry::{ConnectionInfo, Registry};
use self::timers::Timers;
use self::timings::Timings;
use self::turn::Turns;
pub use self::users::{LoginRefused, UserChange};
use self::vhost::{QueueFactory, Vhost, VhostMetadata};
use crate::store::definition::{
    CatalogChange, Definition, PermissionDefinition, UserDefinition, VhostDefinition,
};
use crate::store::record::{QueueMap, Record};
use crate::store::{Opened, RecoveredQueue, Store, StoreState};

/// What a broker that is alone is called.
pub const NODE_NAME: &str = "ferrymq@localhost";

/// The version of RabbitMQ that clients may take this broker for: the last one whose
/// basic.qos(global=true) is shared by a channel's consumers, as it is here.
pub const BEHAVES_AS_VERSION: &str = "3.13.7";

/// The vhost and the user that a new data directory begins with, as RabbitMQ's does.
const DEFAULT_VHOST: &str = "/";
const DEFAULT_USER: &str = "guest";
const DEFAULT_PASSWORD: &str = "guest";

/// One client's connection while the broker runs; those of clients are never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// No connection: it owns nothing and is in no list.
    pub const NONE: Self = Self(0);

    /// No connection either: what is done for the definitions file that the broker starts with.
    pub const FILE: Self = Self(u64::MAX);
}

/// What the broker is told when it starts.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Users who may connect from this machine only.
    pub loopback_users: Vec<String>,
    /// Ready messages that the log holds are kept in memory, too, up to so many bytes.
    pub queue_memory_bytes_max: u64,
    /// Longest body of a message that doesn't come by a connection.
    pub message_size_max_bytes: u64,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            loopback_users: vec![DEFAULT_USER.to_owned()],
            queue_memory_bytes_max: 128 * 1024 * 1024,
            message_size_max_bytes: 128 * 1024 * 1024,
        }
    }
}

/// Why the broker can't start with what its store holds.
#[derive(Debug)]
pub struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

pub struct Broker {
    settings: BrokerSettings,
    store: Arc<dyn Store>,
    factory: Arc<QueueFactory>,
    vhosts: DashMap<String, Arc<Vhost>>,
    users: DashMap<String, Arc<User>>,
    parameters: Parameters,
    /// Logins by protocol.
    attempts: [Attempts; LoginProtocol::ALL.len()],
    /// Held over a change of vhosts, users, what they may do, or limits, until the log has it: one
    /// at a time.
    changing: Mutex<()>,
    next_id: AtomicU64,
    pub memory: MemoryGauge,
    pub registry: Arc<Registry>,
    pub events: Arc<Events>,
}

impl Broker {
    /// Takes up what the store holds; a new one gets the default vhost and user. Blocks until those
    /// are on disk.
    pub fn open(opened: Opened, settings: BrokerSettings) -> Result<Arc<Self>, OpenError> {
        let is_new = opened.catalog.is_empty();
        let registry = Arc::new(Registry::default());
        let timers = Timers::start().map_err(|error| {
            OpenError(format!("the thread of the timers cannot start: {error}"))
        })?;
        let around = Surroundings {
            epoch: opened.epoch,
            store: Arc::clone(&opened.store),
            memory: Arc::new(QueueMemory::new(settings.queue_memory_bytes_max)),
            timers: Arc::new(timers),
            churn: Churn::default(),
            deaths: ByType::default(),
            gone: Mutex::default(),
            turns: Turns::new(Arc::clone(&opened.store)),
            timings: Timings::default(),
        };
        let broker = Arc::new(Self {
            settings,
            store: opened.store,
            factory: Arc::new(QueueFactory::new(around)),
            vhosts: DashMap::new(),
            users: DashMap::new(),
            parameters: Parameters::default(),
            attempts: Default::default(),
            changing: Mutex::new(()),
            next_id: AtomicU64::new(1),
            memory: MemoryGauge::default(),
            events: Arc::new(Events::new(Arc::clone(&registry), Audit::new(opened.audit))),
            registry,
        });
        broker.restore(opened.catalog, opened.queues);
        if is_new {
            broker.bootstrap().map_err(|error| {
                OpenError(format!("the default vhost and user cannot be stored: {error}"))
            })?;
        }
        for vhost in broker.vhosts() {
            vhost.queues().iter().for_each(Queue::begin);
            let exchanges = vhost.exchanges();
            exchanges.iter().filter_map(|exchange| exchange.own.as_ref()).for_each(Queue::begin);
        }
        Ok(broker)
    }

    fn bootstrap(&self) -> Result<(), Error> {
        let permissions = PermissionDefinition {
            user: DEFAULT_USER.to_owned(),
            vhost: DEFAULT_VHOST.to_owned(),
            configure: ".*".to_owned(),
            write: ".*".to_owned(),
            read: ".*".to_owned(),
        };
        let user = UserChange {
            password: Some(PasswordHash::of(DEFAULT_PASSWORD)),
            tags: Some(vec!["administrator".to_owned()]),
        };
        let changes = [
            self.put_vhost(DEFAULT_VHOST, None)?,
            self.put_user(DEFAULT_USER, user, None)?,
            self.set_permissions(permissions, None)?,
        ];
        changes.into_iter().try_for_each(Durable::wait_blocking)
    }

    /// Takes up definitions in the order in which they need one another. One that can't be taken up
    /// is reported and left alone: it must not keep the others from being served.
    fn restore(&self, catalog: Vec<Definition>, contents: Vec<RecoveredQueue>) {
        let mut contents: QueueMap<_> =
            contents.into_iter().map(|queue| (queue.id, queue)).collect();
        let mut later = Vec::new();
        for definition in catalog {
            match definition {
                Definition::Vhost(vhost) => self.restore_vhost(&vhost),
                Definition::User(user) => self.restore_user(&user),
                other => later.push(other),
            }
        }
        later.sort_by_key(|definition| match definition {
            Definition::Exchange(_) | Definition::Queue(_) => 1,
            Definition::Binding(_) => 2,
            _ => 0,
        });
        for definition in later {
            if let Err(error) = self.restore_one(definition, &mut contents) {
                tracing::error!(%error, "a stored definition cannot be taken up again");
            }
        }
    }

    fn restore_one(
        &self,
        definition: Definition,
        contents: &mut QueueMap<RecoveredQueue>,
    ) -> Result<(), Error> {
        match definition {
            Definition::Exchange(stored) => {
                let content = stored.queue.and_then(|id| contents.remove(&id));
                self.existing_vhost(&stored.vhost)?.restore_exchange(stored, content)
            }
            Definition::Queue(stored) => {
                let levels = (0..=stored.levels).zip(stored.ids());
                let content = levels.filter_map(|(level, id)| Some((level, contents.remove(&id)?)));
                let content = content.collect();
                self.existing_vhost(&stored.vhost)?.restore_queue(stored, content)
            }
            Definition::Binding(stored) => {
                self.existing_vhost(&stored.vhost)?.restore_binding(stored)
            }
            Definition::Permission(stored) => self.grant(&stored),
            Definition::TopicPermission(stored) => self.grant_topic(stored),
            Definition::Policy(stored) => {
                self.existing_vhost(&stored.vhost)?.restore_policy(PolicyKind::User, stored)
            }
            Definition::OperatorPolicy(stored) => {
                self.existing_vhost(&stored.vhost)?.restore_policy(PolicyKind::Operator, stored)
            }
            Definition::Parameter(stored) => {
                self.restore_parameter(stored);
                Ok(())
            }
            Definition::GlobalParameter(stored) => {
                self.restore_global_parameter(stored);
                Ok(())
            }
            Definition::VhostLimit(stored) => {
                self.restore_limit(LimitOf::Vhost(&stored.owner), &stored)
            }
            Definition::UserLimit(stored) => {
                self.restore_limit(LimitOf::User(&stored.owner), &stored)
            }
            Definition::Vhost(_) | Definition::User(_) => Ok(()),
        }
    }

    fn existing_vhost(&self, name: &str) -> Result<Arc<Vhost>, Error> {
        self.vhost(name).ok_or_else(|| Error::not_allowed(format!("vhost {name} not found")))
    }

    fn restore_vhost(&self, stored: &VhostDefinition) {
        let put = self.add_vhost(&stored.name).and_then(|vhost| {
            vhost.set_metadata(VhostMetadata::parse(stored)?);
            Ok(())
        });
        if let Err(error) = put {
            tracing::error!(%error, "a stored vhost cannot be taken up as it was");
        }
    }

    fn restore_user(&self, stored: &UserDefinition) {
        match User::from_definition(stored) {
            Some(user) => drop(self.users.insert(stored.name.clone(), user)),
            None => tracing::warn!(
                user = stored.name,
                algorithm = stored.hashing_algorithm,
                "the stored password hash is unknown here: the user cannot log in"
            ),
        }
    }

    /// A number that nothing else has while the broker runs.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn next_connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_id())
    }

    /// Has clients told 320 with these words, and ends their connections.
    pub fn close_connections(
        &self,
        is_meant: impl Fn(&ConnectionInfo) -> bool,
        reason: &str,
        actor: &Actor,
    ) {
        for info in self.registry.close_all(is_meant, reason) {
            let (connection, by) = (info.name(), &actor.user.name);
            tracing::info!(connection, by, reason, "closed by force");
            let event = || Event::connection("connection.close.requested", &info);
            self.events.tell(Some(actor), || event().text("reason", reason));
        }
    }

    /// Refuses with 406 a body that is longer than messages may be.
    pub fn check_message_size(&self, len: usize) -> Result<(), Error> {
        let max = self.settings.message_size_max_bytes;
        if len as u64 <= max {
            return Ok(());
        }
        Err(Error::precondition_failed(format!(
            "message size {len} is larger than configured max size {max}"
        )))
    }

    /// What has come and gone.
    pub fn churn(&self) -> &Churn {
        &self.factory.around.churn
    }

    /// How long things take.
    pub fn timings(&self) -> &Timings {
        &self.factory.around.timings
    }

    /// Bytes of ready messages in memory that the log has, too.
    pub fn queue_memory_bytes(&self) -> u64 {
        self.factory.around.memory.used_bytes()
    }

    /// What has died, by the type of the queue that it died in.
    pub fn deaths(&self) -> &ByType<Deaths> {
        &self.factory.around.deaths
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the broker runs out of, to be followed.
    pub fn alarms(&self) -> Alarms {
        Alarms::new(self.store.space(), &self.memory)
    }

    pub fn store_state(&self) -> watch::Receiver<StoreState> {
        self.store.state()
    }

    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.get(name).map(|found| Arc::clone(&found))
    }

    /// The vhosts of the moment, in no order.
    pub fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.vhosts.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// The vhost that a user opens. A missing one and a forbidden one are both 530.
    pub fn open_vhost(&self, name: &str, user: &User) -> Result<Arc<Vhost>, Error> {
        let vhost = self.existing_vhost(name)?;
        if !user.may_open(name) {
            return Err(Error::not_allowed(format!(
                "access to vhost '{name}' refused for user '{}'",
                user.name
            )));
        }
        Ok(vhost)
    }

    fn store_change(&self, change: CatalogChange) -> Durable {
        Durable::append(&*self.store, Changes::from(Record::catalog(change)))
    }
}
