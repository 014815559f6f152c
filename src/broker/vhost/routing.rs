//! From an exchange and a routing key to queues, each once.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Vhost;
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::binding::Destination;
use crate::broker::error::Error;
use crate::broker::exchange::Exchange;
use crate::broker::publish::Route;
use crate::broker::routing_keys::Routable;
use crate::protocol::wire::ShortStr;

/// Up to here a list is searched, above it a set.
const LIST_MAX: usize = 16;

/// Shared things in the order they were found, each once.
struct Distinct<T> {
    found: SmallVec<[Arc<T>; 1]>,
    addresses: HashSet<*const T>,
}

impl<T> Distinct<T> {
    fn new() -> Self {
        Self { found: SmallVec::new(), addresses: HashSet::new() }
    }

    fn insert(&mut self, thing: &Arc<T>) {
        if self.found.len() < LIST_MAX {
            if self.found.iter().any(|other| Arc::ptr_eq(other, thing)) {
                return;
            }
        } else {
            if self.addresses.is_empty() {
                self.addresses.extend(self.found.iter().map(Arc::as_ptr));
            }
            if !self.addresses.insert(Arc::as_ptr(thing)) {
                return;
            }
        }
        self.found.push(Arc::clone(thing));
    }
}

/// Where a message goes.
#[derive(Debug)]
pub struct Routed {
    pub queues: Route,
    /// Every message with this routing key and no other key goes there, until the topology changes.
    pub by_key_only: bool,
}

impl Vhost {
    /// The exchange that a client publishes to, if it is there and the client may.
    pub fn publish_target(&self, name: &ShortStr, actor: &Actor) -> Result<Arc<Exchange>, Error> {
        let exchange = self.existing_exchange(name)?;
        actor.check(Access::Write, &self.name, Resource::Exchange(name))?;
        if exchange.internal {
            return Err(Error::access_refused(format!(
                "cannot publish to internal {}",
                Exchange::described(name, &self.name)
            )));
        }
        Ok(exchange)
    }

    /// The queues that a message goes to. An exchange that finds no way passes the message to its
    /// alternate; nothing is visited twice.
    pub fn route(&self, from: &Arc<Exchange>, message: &Routable<'_>) -> Routed {
        let mut by_key_only = message.keys.is_one();
        if from.name.is_empty() && by_key_only {
            let queues = self.queue(message.keys.first()).into_iter().collect();
            return Routed { queues, by_key_only };
        }
        let mut queues = Distinct::new();
        let mut exchanges = Distinct::new();
        exchanges.insert(from);
        let mut next = 0;
        while let Some(exchange) = exchanges.found.get(next).cloned() {
            next += 1;
            let mut matched = false;
            by_key_only &= exchange.routes_by_keys_only;
            if exchange.name.is_empty() {
                for queue in message.keys.iter().filter_map(|key| self.queue(key)) {
                    matched = true;
                    queues.insert(&queue);
                }
            }
            if let Some(own) = exchange.delays(message) {
                queues.insert(own);
                continue;
            }
            exchange.route(message, &mut |destination| {
                matched = true;
                match destination {
                    Destination::Queue(queue) => queues.insert(queue),
                    Destination::Exchange(exchange) => exchanges.insert(exchange),
                }
            });
            let alternate = if matched { None } else { exchange.alternate() };
            if let Some(alternate) = alternate.and_then(|name| self.exchange(&name)) {
                exchanges.insert(&alternate);
            }
        }
        Routed { queues: queues.found, by_key_only }
    }
}
