//! queue.declare, queue.purge and queue.delete.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::json;

use super::{Topology, Vhost, clean_name};
use crate::broker::ConnectionId;
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::changes::Changes;
use crate::broker::counters::one_more;
use crate::broker::durable::Durable;
use crate::broker::equivalence::{same_arguments, same_property};
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::policy::matching::Matching;
use crate::broker::policy::options::{DEAD_LETTER_EXCHANGE, Subject, compared};
use crate::broker::policy::value::Value;
use crate::broker::queue::arguments::{self, QUEUE_TYPE, QueueType};
use crate::broker::queue::{Consumer, Queue, QueueOptions, QueueProperties};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;
use crate::store::RecoveredQueue;
use crate::store::definition::{
    CatalogChange, Definition, DefinitionKey, DestinationKind, QueueDefinition,
};
use crate::store::record::Record;

/// A queue that is deleted, but for what is still to be said about it.
#[must_use = "its consumers have to be told"]
pub struct Deleted {
    /// Messages that were ready.
    pub message_count: usize,
    pub durable: Durable,
    consumers: Vec<Arc<Consumer>>,
}

impl Deleted {
    fn already() -> Self {
        Self { message_count: 0, durable: Durable::already(), consumers: Vec::new() }
    }

    /// Tells the queue's consumers. Rule: whoever deletes its own queue hears of the deletion
    /// first.
    pub fn tell_consumers(consumers: Vec<Arc<Consumer>>) {
        for consumer in consumers {
            Arc::clone(&consumer.lane).cancelled(&consumer);
        }
    }

    /// Parts what is waited for from whom to tell.
    pub fn into_parts(self) -> (usize, Durable, Vec<Arc<Consumer>>) {
        (self.message_count, self.durable, self.consumers)
    }
}

/// What a client declares. Without a name the broker makes one.
#[derive(Debug, Clone)]
pub struct QueueDeclare {
    pub name: ShortStr,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

impl Vhost {
    /// Declares a queue, or checks that the one that is there is what the client means.
    pub fn declare_queue(
        &self,
        request: QueueDeclare,
        actor: &Actor,
    ) -> Result<(Arc<Queue>, Durable), Error> {
        self.declare(request, actor, |name| {
            Err(Error::access_refused(format!(
                "queue name '{name}' contains reserved prefix 'amq.*'"
            )))
        })
    }

    /// The same for a queue that was declared elsewhere: its name may be one that a broker made.
    pub(in crate::broker) fn import_queue(
        &self,
        request: QueueDeclare,
        actor: &Actor,
    ) -> Result<(Arc<Queue>, Durable), Error> {
        self.declare(request, actor, |_| Ok(()))
    }

    fn declare(
        &self,
        mut request: QueueDeclare,
        actor: &Actor,
        check_reserved: fn(&str) -> Result<(), Error>,
    ) -> Result<(Arc<Queue>, Durable), Error> {
        let described = describe(&request.name, &self.name);
        let prefix = arguments::take_name_prefix(&mut request.arguments, &described)?;
        let name = match clean_name(&request.name) {
            name if name.is_empty() => generated_name(prefix.as_ref()),
            name => name,
        };
        actor.check(Access::Configure, &self.name, Resource::Queue(&name))?;
        let mut topology = self.growing_topology(Some(actor))?;
        let churn = &self.factory.around.churn;
        if let Some(current) = self.queue(&name) {
            self.check_same_queue(&current, &request, actor)?;
            current.touch();
            one_more(&churn.queues_declared);
            return Ok((current, Durable::already()));
        }
        if name.starts_with("amq.") && (!request.name.is_empty() || prefix.is_some()) {
            check_reserved(&name)?;
        }
        self.check_room_for(&name)?;
        let (properties, in_force) = self.check_new_queue(name, request, actor)?;
        let mut batch = Changes::default();
        if properties.durable {
            let definition = Definition::Queue(definition_of(&properties, false));
            batch.push(Record::catalog(CatalogChange::Put(definition)));
        }
        let queue = self.factory.make(properties, in_force, &self.me);
        if let Some(owner) = queue.properties.exclusive_to {
            topology.exclusive.entry(owner).or_default().push(Arc::clone(&queue));
        }
        let durable = Durable::append(&*self.store, batch);
        self.queues.insert(queue.name().clone(), Arc::clone(&queue));
        one_more(&churn.queues_declared);
        one_more(&churn.queues_created);
        self.note_event(&mut topology, || Event::queue("queue.created", &queue));
        Ok((queue, durable))
    }

    fn check_room_for(&self, name: &ShortStr) -> Result<(), Error> {
        match self.queues_max.get() {
            Some(most) if self.queues.len() as u64 >= most => {
                Err(Error::precondition_failed(format!(
                    "cannot declare queue '{name}': queue limit in vhost '{}' ({most}) is reached",
                    self.name
                )))
            }
            _ => Ok(()),
        }
    }

    /// The type of a queue whose declaration names none: the vhost's default, where a queue can be
    /// that. Rule: it is kept with the arguments, so that the default can change.
    fn default_queue_type(&self, request: &mut QueueDeclare) -> QueueType {
        let default = self.metadata.read().default_queue_type.unwrap_or_default();
        let can_be_any = request.durable
            && !request.exclusive
            && !request.auto_delete
            && !request.name.is_empty();
        if default == QueueType::Classic || !can_be_any {
            return QueueType::Classic;
        }
        let name = Bytes::from_static(default.name().as_bytes());
        let argument = ShortStr::from_static(QUEUE_TYPE);
        request.arguments.insert(argument, FieldValue::LongStr(name));
        default
    }

    /// Rule: an exclusive queue is never durable, whatever was asked for.
    fn check_new_queue(
        &self,
        name: ShortStr,
        mut request: QueueDeclare,
        actor: &Actor,
    ) -> Result<(QueueProperties, (QueueOptions, Matching)), Error> {
        let QueueDeclare { durable, exclusive, auto_delete, .. } = request;
        let described = describe(&name, &self.name);
        let asked = QueueType::asked(&request.arguments, &described)?;
        let queue_type = asked.unwrap_or_else(|| self.default_queue_type(&mut request));
        if request.name.is_empty() {
            queue_type.check_server_named()?;
        }
        let declared = arguments::check(&request.arguments, queue_type, &described)?;
        queue_type.check_properties(durable, exclusive, auto_delete, &described)?;
        if let Some(exchange) = declared.get(DEAD_LETTER_EXCHANGE).and_then(Value::text) {
            actor.check(Access::Read, &self.name, Resource::Queue(&name))?;
            actor.check(Access::Write, &self.name, Resource::Exchange(exchange))?;
        }
        let in_force = self.in_force(&name, &request.arguments);
        let levels = in_force.0.max_priority;
        let properties = QueueProperties {
            id: self.factory.next_id(levels),
            name,
            vhost: self.name.clone(),
            durable: durable && !exclusive,
            auto_delete,
            exclusive_to: exclusive.then_some(actor.connection),
            arguments: request.arguments,
            levels,
            own_of: None,
        };
        Ok((properties, in_force))
    }

    fn check_same_queue(
        &self,
        current: &Arc<Queue>,
        request: &QueueDeclare,
        actor: &Actor,
    ) -> Result<(), Error> {
        current.check_exclusive(actor.connection)?;
        let properties = &current.properties;
        if request.exclusive != properties.exclusive_to.is_some() {
            // The same words as for another connection's queue: clients know no other.
            return Err(current.locked());
        }
        let described = current.described();
        let durable = request.durable && !request.exclusive;
        same_property("durable", &described, &durable, &properties.durable)?;
        same_property("auto_delete", &described, &request.auto_delete, &properties.auto_delete)?;
        let (new, old) = (&request.arguments, &properties.arguments);
        let queue_type = QueueType::of(old);
        if let Some(asked) = QueueType::asked(new, &described)? {
            same_property(QUEUE_TYPE, &described, &asked.name(), &queue_type.name())?;
        }
        same_arguments(compared(Subject::Queue(queue_type)), &described, new, old)
    }

    /// Puts in a queue that the last run left, with its messages. Only while nobody is connected.
    pub(in crate::broker) fn restore_queue(
        &self,
        stored: QueueDefinition,
        content: Vec<(u8, RecoveredQueue)>,
    ) -> Result<(), Error> {
        let name = ShortStr::try_from(stored.name.as_str()).unwrap_or_default();
        let properties = QueueProperties {
            id: stored.id,
            name: name.clone(),
            vhost: self.name.clone(),
            durable: true,
            auto_delete: stored.auto_delete,
            exclusive_to: None,
            arguments: stored.arguments,
            levels: stored.levels,
            own_of: None,
        };
        let in_force = self.in_force(&properties.name, &properties.arguments);
        let queue = self.factory.make(properties, in_force, &self.me);
        for (level, content) in content {
            queue.restore(level, &content);
        }
        queue.restore_paused(stored.paused);
        self.queues.insert(name, queue);
        Ok(())
    }

    /// The queue of that name, or 404.
    pub fn existing_queue(&self, name: &ShortStr) -> Result<Arc<Queue>, Error> {
        self.queue(name)
            .ok_or_else(|| Error::not_found(format!("no queue '{name}' in vhost '{}'", self.name)))
    }

    /// queue.declare with passive: is it there, and may the client look? Rule: to look is to use
    /// it.
    pub fn find_queue(&self, name: &ShortStr, actor: &Actor) -> Result<Arc<Queue>, Error> {
        let name = clean_name(name);
        let resource = Resource::Queue(&name);
        actor.check(Access::Configure, &self.name, resource).or_else(|refused| {
            let other = actor.check(Access::Write, &self.name, resource);
            other.or_else(|_| actor.check(Access::Read, &self.name, resource)).map_err(|_| refused)
        })?;
        let queue = self.existing_queue(&name)?;
        queue.check_exclusive(actor.connection)?;
        queue.touch();
        Ok(queue)
    }

    /// The queue of that name for a client that reads from it.
    pub fn readable_queue(&self, name: &ShortStr, actor: &Actor) -> Result<Arc<Queue>, Error> {
        let name = clean_name(name);
        actor.check(Access::Read, &self.name, Resource::Queue(&name))?;
        let queue = self.existing_queue(&name)?;
        queue.check_exclusive(actor.connection)?;
        Ok(queue)
    }

    /// Drops the ready messages of a queue; answers how many.
    pub fn purge_queue(&self, name: &ShortStr, actor: &Actor) -> Result<(usize, Durable), Error> {
        let queue = self.readable_queue(name, actor)?;
        let mut batch = Changes::default();
        let count = queue.purge(&mut batch);
        let purged = || Event::queue("queue.purged", &queue).number("message_count", count);
        let ready = |count: usize| Some(json!({ "messages_ready": count }));
        self.events.tell(Some(actor), || purged().changed(ready(count), ready(0)));
        Ok((count, Durable::append(&*self.store, batch)))
    }

    /// Stops a queue's deliveries, or goes on with them. A durable one stays as it is over a
    /// restart.
    pub fn pause_queue(
        &self,
        name: &ShortStr,
        paused: bool,
        actor: &Actor,
    ) -> Result<Durable, Error> {
        actor.check(Access::Configure, &self.name, Resource::Queue(name))?;
        let mut topology = self.topology(Some(actor));
        let queue = self.existing_queue(name)?;
        queue.check_exclusive(actor.connection)?;
        if queue.is_paused() == paused {
            return Ok(Durable::already());
        }
        let mut batch = Changes::default();
        if queue.properties.durable {
            let definition = Definition::Queue(definition_of(&queue.properties, paused));
            batch.push(Record::catalog(CatalogChange::Put(definition)));
        }
        let durable = Durable::append(&*self.store, batch);
        queue.set_paused(paused);
        let key = if paused { "queue.paused" } else { "queue.resumed" };
        let shown = |paused: bool| Some(json!({ "paused": paused }));
        self.note_event(&mut topology, || {
            Event::queue(key, &queue).changed(shown(!paused), shown(paused))
        });
        Ok(durable)
    }

    /// Deletes a queue with its messages and bindings. One that isn't there is deleted already.
    pub fn delete_queue(
        &self,
        name: &ShortStr,
        if_unused: bool,
        if_empty: bool,
        actor: &Actor,
    ) -> Result<Deleted, Error> {
        let name = clean_name(name);
        actor.check(Access::Configure, &self.name, Resource::Queue(&name))?;
        let Some(queue) = self.queue(&name) else { return Ok(Deleted::already()) };
        queue.check_exclusive(actor.connection)?;
        self.remove_queue(&queue, if_unused, if_empty, Some(actor))
    }

    /// Deletes a queue that has lost its last consumer, unless it has got another one since.
    pub fn delete_unused_queue(&self, queue: &Arc<Queue>) -> Durable {
        match self.remove_queue(queue, true, false, None) {
            Ok(deleted) => deleted.durable,
            Err(_) => Durable::already(),
        }
    }

    /// Deletes a queue that nobody has used for so long as it is kept then, and that nobody uses
    /// now.
    pub(in crate::broker) fn delete_expired_queue(&self, queue: &Arc<Queue>) {
        drop(self.delete_unused_queue(queue));
    }

    /// Deletes the exclusive queues of a connection that ends.
    pub fn delete_exclusive_queues(&self, owner: ConnectionId) {
        let owned = self.topology(None).exclusive.remove(&owner).unwrap_or_default();
        for queue in owned {
            // Exclusive queues are not durable: there is nothing to wait for. Their consumers are
            // the owner's, and it is gone.
            drop(self.remove_queue(&queue, false, false, None));
        }
    }

    fn remove_queue(
        &self,
        queue: &Arc<Queue>,
        if_unused: bool,
        if_empty: bool,
        actor: Option<&Actor>,
    ) -> Result<Deleted, Error> {
        let mut topology = self.topology(actor);
        if queue.is_deleted() {
            return Ok(Deleted::already());
        }
        let mut batch = Changes::default();
        let taken = self.take_out_queue(&mut topology, queue, if_unused, if_empty, &mut batch);
        let (message_count, consumers) = taken?;
        let durable = Durable::append(&*self.store, batch);
        Ok(Deleted { message_count, durable, consumers })
    }

    /// Takes a queue out with the bindings to it. Answers how many messages were ready, and the
    /// consumers that have to be told.
    pub(super) fn take_out_queue(
        &self,
        topology: &mut Topology,
        queue: &Arc<Queue>,
        if_unused: bool,
        if_empty: bool,
        batch: &mut Changes,
    ) -> Result<(usize, Vec<Arc<Consumer>>), Error> {
        let (message_count, consumers) = queue.delete(if_unused, if_empty)?;
        self.queues.remove(queue.name());
        self.replays.forget(queue);
        self.keep_counts_of(queue);
        topology.forget_exclusive(queue);
        let key = (DestinationKind::Queue, queue.name().clone());
        self.remove_bindings_to(topology, &key, batch);
        for consumer in &consumers {
            self.note_event(topology, || Event::consumer("consumer.deleted", consumer));
        }
        self.note_event(topology, || Event::queue("queue.deleted", queue));
        if queue.properties.durable {
            let (vhost, name) = (self.name.to_string(), queue.name().to_string());
            let key = DefinitionKey::Queue { vhost, name };
            batch.push(Record::catalog(CatalogChange::Delete(key)));
            for level in 0..=queue.properties.levels {
                batch.push(Record::DeleteQueue { queue: queue.id_of(level) });
            }
        }
        Ok((message_count, consumers))
    }
}

impl Topology {
    fn forget_exclusive(&mut self, queue: &Arc<Queue>) {
        if let Some(owner) = queue.properties.exclusive_to
            && let Some(owned) = self.exclusive.get_mut(&owner)
        {
            owned.retain(|other| !Arc::ptr_eq(other, queue));
            if owned.is_empty() {
                self.exclusive.remove(&owner);
            }
        }
    }
}

fn definition_of(properties: &QueueProperties, paused: bool) -> QueueDefinition {
    QueueDefinition {
        vhost: properties.vhost.to_string(),
        name: properties.name.to_string(),
        id: properties.id,
        auto_delete: properties.auto_delete,
        levels: properties.levels,
        paused,
        arguments: properties.arguments.clone(),
    }
}

/// `queue 'name' in vhost 'vhost'`, the way errors name it.
fn describe(name: &str, vhost: &str) -> String {
    format!("queue '{name}' in vhost '{vhost}'")
}

/// A name that nobody has: 128 random bits.
fn generated_name(prefix: Option<&ShortStr>) -> ShortStr {
    let bytes: [u8; 16] = rand::random();
    let prefix = prefix.map_or("amq.gen-", ShortStr::as_str);
    let name = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    ShortStr::try_from(name.as_str()).unwrap_or_default()
}
