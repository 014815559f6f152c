//! queue.bind, exchange.bind and their reverse.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exchanges::refuse_default;
use super::{Topology, Vhost, clean_name};
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::binding::{Binding, Destination, DestinationKey};
use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::exchange::{Bound, Exchange};
use crate::broker::publish::{PublishBatch, Route};
use crate::broker::routing_keys::Stored;
use crate::protocol::message::Message;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{
    BindingDefinition, CatalogChange, Definition, DefinitionKey, DestinationKind,
};
use crate::store::record::Record;

/// What a client binds or unbinds.
#[derive(Debug, Clone)]
pub struct BindRequest {
    pub source: ShortStr,
    pub destination_kind: DestinationKind,
    pub destination: ShortStr,
    pub key: ShortStr,
    pub arguments: FieldTable,
}

impl Vhost {
    /// Binds a destination to an exchange; once more is as good as once.
    pub fn bind(&self, request: BindRequest, actor: &Actor) -> Result<Durable, Error> {
        let request = self.check_bind_request(request, actor)?;
        let mut topology = self.growing_topology(Some(actor))?;
        let source = self.existing_exchange(&request.source)?;
        let destination = self.existing_destination(&request, actor)?;
        let binding = Binding {
            source: source.name.clone(),
            destination,
            key: request.key,
            arguments: request.arguments,
        };
        let Some(Bound { binding, recent }) = source.bind(binding)? else {
            return Ok(Durable::already());
        };
        topology.note(&binding);
        let created = || Event::binding("binding.created", &binding, &self.name);
        self.note_event(&mut topology, created);
        let mut batch = Changes::default();
        if is_durable(&source, &binding) {
            let definition = Definition::Binding(binding.definition(&self.name));
            batch.push(Record::catalog(CatalogChange::Put(definition)));
        }
        let durable = Durable::append(&*self.store, batch);
        drop(topology);
        // The log keeps the order: with what comes later, the binding is on disk, too.
        Ok(self.send(&recent, &binding.destination).unwrap_or(durable))
    }

    /// Brings earlier messages to a destination that was bound just now. Answers what is to be
    /// waited for, if anything is.
    fn send(&self, messages: &[Arc<Message>], destination: &Destination) -> Option<Durable> {
        let mut batch = PublishBatch::default();
        for message in messages {
            let route = match destination {
                Destination::Queue(queue) => Route::from_iter([Arc::clone(queue)]),
                Destination::Exchange(exchange) => {
                    self.route(exchange, &Stored::new(message).routable()).queues
                }
            };
            // What a full queue refuses, nobody hears of.
            batch.bring(Arc::clone(message), &message.properties(), &route);
        }
        let batch = batch.take();
        (!batch.is_empty()).then(|| Durable::append(&*self.store, batch))
    }

    /// Takes a binding away; one that isn't there is gone already.
    pub fn unbind(&self, request: BindRequest, actor: &Actor) -> Result<Durable, Error> {
        let request = self.check_bind_request(request, actor)?;
        let mut topology = self.topology(Some(actor));
        let Some(source) = self.exchange(&request.source) else { return Ok(Durable::already()) };
        if let Some(queue) = self.queue(&request.destination)
            && request.destination_kind == DestinationKind::Queue
        {
            queue.check_exclusive(actor.connection)?;
        }
        let destination = (request.destination_kind, request.destination);
        let removed = source.unbind(destination, &request.key, &request.arguments);
        let mut batch = Changes::default();
        if let Some(binding) = removed {
            self.after_unbind(&mut topology, &source, &binding, &mut batch);
        }
        Ok(Durable::append(&*self.store, batch))
    }

    /// Puts in a binding that the last run left; without its ends it has no meaning any more.
    pub(in crate::broker) fn restore_binding(
        &self,
        stored: BindingDefinition,
    ) -> Result<(), Error> {
        let name = |text: &str| ShortStr::try_from(text).unwrap_or_default();
        let source = self.existing_exchange(&name(&stored.source))?;
        let destination = match stored.destination_kind {
            DestinationKind::Queue => {
                Destination::Queue(self.existing_queue(&name(&stored.destination))?)
            }
            DestinationKind::Exchange => {
                Destination::Exchange(self.existing_exchange(&name(&stored.destination))?)
            }
        };
        let (key, arguments) = (name(&stored.binding_key), stored.arguments);
        let binding = Binding { source: source.name.clone(), destination, key, arguments };
        // Before anything was published there is nothing to send.
        if let Some(Bound { binding, .. }) = source.bind(binding)? {
            self.topology(None).note(&binding);
        }
        Ok(())
    }

    /// The bindings of the moment that lead to a destination, in no order.
    pub fn bindings_to(&self, destination: &DestinationKey) -> Vec<Arc<Binding>> {
        let topology = self.topology.lock();
        let leading = topology.leading_to.get(destination);
        leading.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    fn check_bind_request(
        &self,
        request: BindRequest,
        actor: &Actor,
    ) -> Result<BindRequest, Error> {
        let request = BindRequest {
            source: clean_name(&request.source),
            destination: clean_name(&request.destination),
            ..request
        };
        refuse_default(&request.source)?;
        let destination = match request.destination_kind {
            DestinationKind::Queue => Resource::Queue(&request.destination),
            DestinationKind::Exchange => {
                refuse_default(&request.destination)?;
                Resource::Exchange(&request.destination)
            }
        };
        actor.check(Access::Write, &self.name, destination)?;
        actor.check(Access::Read, &self.name, Resource::Exchange(&request.source))?;
        let source = self.exchange(&request.source);
        let topics = source.and_then(|source| actor.topic_permission(&self.name, &source));
        if let Some(topics) = topics {
            topics.check(Access::Read, [request.key.as_str()])?;
        }
        Ok(request)
    }

    fn existing_destination(
        &self,
        request: &BindRequest,
        actor: &Actor,
    ) -> Result<Destination, Error> {
        match request.destination_kind {
            DestinationKind::Queue => {
                let queue = self.existing_queue(&request.destination)?;
                queue.check_exclusive(actor.connection)?;
                Ok(Destination::Queue(queue))
            }
            DestinationKind::Exchange => {
                self.existing_exchange(&request.destination).map(Destination::Exchange)
            }
        }
    }

    /// Takes out every binding that leads to something that goes away.
    pub(super) fn remove_bindings_to(
        &self,
        topology: &mut Topology,
        destination: &DestinationKey,
        batch: &mut Changes,
    ) {
        for binding in topology.leading_to.remove(destination).unwrap_or_default().into_values() {
            if let Some(source) = self.exchange(&binding.source) {
                self.remove_binding(topology, &source, &binding, batch);
            }
        }
    }

    pub(super) fn remove_binding(
        &self,
        topology: &mut Topology,
        source: &Arc<Exchange>,
        binding: &Arc<Binding>,
        batch: &mut Changes,
    ) {
        let key = binding.destination.key();
        if source.unbind(key, &binding.key, &binding.arguments).is_some() {
            self.after_unbind(topology, source, binding, batch);
        }
    }

    /// Rule: an auto-delete exchange goes with the last binding from it.
    fn after_unbind(
        &self,
        topology: &mut Topology,
        source: &Arc<Exchange>,
        binding: &Arc<Binding>,
        batch: &mut Changes,
    ) {
        topology.forget(binding);
        self.note_event(topology, || Event::binding("binding.deleted", binding, &self.name));
        if is_durable(source, binding) {
            let key = DefinitionKey::Binding(binding.definition(&self.name));
            batch.push(Record::catalog(CatalogChange::Delete(key)));
        }
        if source.auto_delete && source.binding_count() == 0 && !source.is_deleted() {
            self.remove_exchange(topology, source, batch);
        }
    }
}

impl Topology {
    fn note(&mut self, binding: &Arc<Binding>) {
        let leading = self.leading_to.entry(binding.destination.key()).or_default();
        leading.insert(Arc::as_ptr(binding).addr(), Arc::clone(binding));
    }

    fn forget(&mut self, binding: &Arc<Binding>) {
        let key = binding.destination.key();
        if let Some(leading) = self.leading_to.get_mut(&key) {
            leading.remove(&Arc::as_ptr(binding).addr());
            if leading.is_empty() {
                self.leading_to.remove(&key);
            }
        }
    }
}

/// Rule: a binding survives a restart when both of its ends do.
fn is_durable(source: &Exchange, binding: &Binding) -> bool {
    source.durable && binding.destination.is_durable()
}
