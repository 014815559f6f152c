//! An exchange: its kind, its bindings, and which of them a message follows.
//!
//! Owner of its bindings, under a lock that publishers only read. Changes come from the vhost, one
//! at a time.

mod consistent_hash;
mod direct;
mod fanout;
mod headers;
mod kind;
mod list;
mod modulus_hash;
mod random;
mod recent_history;
mod stable_hash;
mod topic;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::BytesMut;
pub use kind::ExchangeKind;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::binding::{Binding, Destination, DestinationKey};
use super::counters::{Count, Counts};
use super::delayed;
use super::error::Error;
use super::publish::PublishBatch;
use super::queue::{Queue, Sight};
use super::routing_keys::Routable;
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;
use crate::store::definition::ExchangeDefinition;

/// The argument in which an exchange declared again must agree.
pub const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// The bindings of an exchange, arranged so that the cost of a message follows those it matches.
trait Router: Send + Sync {
    /// Refuses arguments that this kind can't work with.
    fn check(&self, _binding: &Binding) -> Result<(), Error> {
        Ok(())
    }

    /// Whether messages with the same keys go the same way as long as the bindings stay.
    fn routes_by_keys_only(&self) -> bool {
        true
    }

    fn add(&mut self, binding: &Arc<Binding>);

    fn remove(&mut self, binding: &Arc<Binding>);

    /// Earlier messages for a destination that was bound just now, the oldest first.
    fn recent(&self) -> Vec<Arc<Message>> {
        Vec::new()
    }

    /// Calls `visit` for each binding that the message follows; for the same one perhaps twice.
    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination));
}

/// A binding that wasn't there before.
pub(super) struct Bound {
    pub(super) binding: Arc<Binding>,
    /// Messages from before, for its destination.
    pub(super) recent: Vec<Arc<Message>>,
}

/// What an exchange is, as it was declared.
#[derive(Debug, Clone)]
pub struct ExchangeProperties {
    pub name: ShortStr,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
    /// A queue of the exchange's own, where it keeps something.
    pub own: Option<Arc<Queue>>,
}

pub struct Exchange {
    pub name: ShortStr,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
    /// Keeps what the exchange delays, and what its deduplication has seen.
    pub own: Option<Arc<Queue>>,
    /// Whether messages with the same keys go the same way as long as the bindings stay.
    pub(super) routes_by_keys_only: bool,
    /// Where messages go that find no way out of this exchange. By its argument, or by a policy:
    /// only those messages ask.
    alternate: RwLock<Option<ShortStr>>,
    deleted: AtomicBool,
    /// Messages that came in, and the queues that they went to.
    published: (AtomicU64, AtomicU64),
    bindings: RwLock<Bindings>,
}

struct Bindings {
    router: Box<dyn Router>,
    /// All of them; those in one place differ in their arguments nevertheless.
    all: HashMap<Place, SmallVec<[Arc<Binding>; 1]>>,
    count: usize,
}

/// A binding's destination, its key, and a hash of its arguments: the bindings of a headers
/// exchange often have nothing else to tell them apart.
type Place = (DestinationKey, ShortStr, u64);

impl Bindings {
    fn place(&self, destination: DestinationKey, key: &ShortStr, arguments: &FieldTable) -> Place {
        if arguments.is_empty() {
            return (destination, key.clone(), 0);
        }
        let mut encoded = BytesMut::new();
        arguments.encode(&mut encoded);
        (destination, key.clone(), self.all.hasher().hash_one(encoded))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Exchange {
    pub fn new(properties: ExchangeProperties) -> Result<Arc<Self>, Error> {
        let ExchangeProperties { name, kind, durable, auto_delete, internal, arguments, own } =
            properties;
        let alternate = alternate_of(&name, &arguments)?;
        let router = kind.router(&arguments)?;
        let routes_by_keys_only = router.routes_by_keys_only() && kind != ExchangeKind::Delayed;
        let bindings = Bindings { router, all: HashMap::new(), count: 0 };
        Ok(Arc::new(Self {
            name,
            kind,
            durable,
            auto_delete,
            internal,
            arguments,
            own,
            routes_by_keys_only,
            alternate: RwLock::new(alternate),
            deleted: AtomicBool::new(false),
            published: Default::default(),
            bindings: RwLock::new(bindings),
        }))
    }

    /// `exchange 'name' in vhost 'vhost'`, the way errors name it.
    pub fn described(name: &str, vhost: &str) -> String {
        format!("exchange '{name}' in vhost '{vhost}'")
    }

    pub fn definition(&self, vhost: &str) -> ExchangeDefinition {
        ExchangeDefinition {
            vhost: vhost.to_owned(),
            name: self.name.to_string(),
            kind: self.kind.name().to_owned(),
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: self.arguments.clone(),
            queue: self.own.as_ref().map(|own| own.properties.id),
        }
    }

    /// The queue in which a message has to wait first, if it asks for that here.
    pub(super) fn delays(&self, message: &Routable<'_>) -> Option<&Arc<Queue>> {
        let own = self.own.as_ref().filter(|_| self.kind == ExchangeKind::Delayed)?;
        delayed::is_asked(message.headers()).then_some(own)
    }

    /// What deduplication makes of a message that is published here.
    pub fn sight_of(&self, properties: &Properties, batch: &mut PublishBatch) -> Sight {
        match &self.own {
            Some(own) => own.sight_of(properties, batch.records()),
            None => Sight::New(None),
        }
    }

    /// Where messages go that find no way out of this exchange.
    pub fn alternate(&self) -> Option<ShortStr> {
        self.alternate.read().clone()
    }

    /// Another alternate from now on. What was routed by the old one is stale: the vhost's version
    /// has to grow.
    pub(super) fn set_alternate(&self, alternate: Option<ShortStr>) {
        *self.alternate.write() = alternate;
    }

    /// Messages were published to it, to go to so many queues together.
    pub(super) fn count(&self, messages: u64, queues: u64) {
        self.published.0.fetch_add(messages, Ordering::Relaxed);
        self.published.1.fetch_add(queues, Ordering::Relaxed);
    }

    /// What was published to it so far.
    pub fn counts(&self) -> Counts {
        let (came, went) = &self.published;
        Counts::default()
            .with(Count::PublishIn, came.load(Ordering::Relaxed))
            .with(Count::PublishOut, went.load(Ordering::Relaxed))
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(super) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    pub fn binding_count(&self) -> usize {
        self.bindings.read().count
    }

    /// All bindings of the moment, in no order.
    pub fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.read().all.values().flatten().cloned().collect()
    }

    /// Adds a binding; answers it, or nothing when it was there already.
    pub(super) fn bind(&self, binding: Binding) -> Result<Option<Bound>, Error> {
        let mut bindings = self.bindings.write();
        bindings.router.check(&binding)?;
        let place = bindings.place(binding.destination.key(), &binding.key, &binding.arguments);
        let here = bindings.all.entry(place).or_default();
        if here.iter().any(|other| other.arguments == binding.arguments) {
            return Ok(None);
        }
        let binding = Arc::new(binding);
        here.push(Arc::clone(&binding));
        bindings.count += 1;
        bindings.router.add(&binding);
        let recent = bindings.router.recent();
        Ok(Some(Bound { binding, recent }))
    }

    /// Removes a binding; answers it, or nothing when there was none.
    pub(super) fn unbind(
        &self,
        destination: DestinationKey,
        key: &ShortStr,
        arguments: &FieldTable,
    ) -> Option<Arc<Binding>> {
        let mut bindings = self.bindings.write();
        let place = bindings.place(destination, key, arguments);
        let here = bindings.all.get_mut(&place)?;
        let index = here.iter().position(|other| other.arguments == *arguments)?;
        let binding = here.remove(index);
        if here.is_empty() {
            bindings.all.remove(&place);
        }
        bindings.count -= 1;
        bindings.router.remove(&binding);
        Some(binding)
    }

    /// Calls `visit` for each destination that the message reaches from here; perhaps twice for
    /// one.
    pub(super) fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        self.bindings.read().router.route(message, visit);
    }
}

fn alternate_of(name: &ShortStr, arguments: &FieldTable) -> Result<Option<ShortStr>, Error> {
    let Some(value) = arguments.get(ALTERNATE_EXCHANGE) else { return Ok(None) };
    let alternate = value.as_str().and_then(|text| ShortStr::try_from(text).ok());
    alternate.map(Some).ok_or_else(|| {
        Error::precondition_failed(format!(
            "invalid arg '{ALTERNATE_EXCHANGE}' for exchange '{name}': a string of at most 255 bytes \
             is needed, not a {}",
            FieldValue::type_name(value)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::routing_keys::RoutingKeys;
    use crate::protocol::properties::Properties;

    /// A binding to an exchange that is called what its key says.
    pub(super) fn binding_of(key: &str, arguments: FieldTable) -> Arc<Binding> {
        binding_to(key, key, arguments)
    }

    /// A binding to an exchange of that name.
    pub(super) fn binding_to(name: &str, key: &str, arguments: FieldTable) -> Arc<Binding> {
        let short = |text| ShortStr::try_from(text).expect("short");
        let properties = ExchangeProperties {
            name: short(name),
            kind: ExchangeKind::Fanout,
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::default(),
            own: None,
        };
        let destination = Destination::Exchange(Exchange::new(properties).expect("valid"));
        let (source, key) = (ShortStr::default(), short(key));
        Arc::new(Binding { source, destination, key, arguments })
    }

    /// Routes a message with one key.
    pub(super) fn route(
        router: &dyn Router,
        key: &str,
        properties: &Properties,
        body: &[u8],
        visit: &mut dyn FnMut(&Destination),
    ) {
        let short = ShortStr::try_from(key).expect("short");
        let message = Message::small(&ShortStr::default(), &short, properties, body, false);
        let message = &Arc::new(message);
        router.route(&Routable { keys: RoutingKeys::only(key), properties, message }, visit);
    }

    /// The names of the destinations that a message reaches.
    pub(super) fn routed_to(
        router: &dyn Router,
        key: &str,
        properties: &Properties,
    ) -> Vec<String> {
        let mut found = Vec::new();
        route(router, key, properties, b"", &mut |destination| {
            found.push(destination.key().1.to_string());
        });
        found
    }
}
