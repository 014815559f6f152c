//! Policies: setting and clearing them, and putting in force what they say.
//!
//! A change swaps the policies under the topology's lock, so that every queue and exchange either
//! is declared under the new ones or is there to be found; then it goes through them without that
//! lock. Publishers wait for neither.

use std::sync::Arc;

use serde_json::json;

use super::Vhost;
use crate::broker::auth::Actor;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::exchange::{ALTERNATE_EXCHANGE, Exchange};
use crate::broker::policy::matching::{Matching, Policies, Policy, PolicyKind};
use crate::broker::policy::options::Subject;
use crate::broker::policy::settings::Settings;
use crate::broker::policy::value::Value;
use crate::broker::queue::QueueOptions;
use crate::broker::queue::arguments::QueueType;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{CatalogChange, PolicyDefinition};
use crate::store::record::Record;

impl Vhost {
    /// Sets a policy, in the place of the one with its name. In force when this returns, which
    /// takes as long as going through all queues. Refuses, with 406, a pattern, key or value that
    /// can't be.
    pub fn put_policy(
        &self,
        kind: PolicyKind,
        definition: PolicyDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let stored = PolicyDefinition { vhost: self.name.to_string(), ..definition };
        let policy = Arc::new(Policy::parse(stored.clone(), kind)?);
        let change = CatalogChange::Put(kind.definition(stored.clone()));
        let mut before = None;
        let put = |policies: &mut Policies| -> Result<_, Error> {
            self.check_not_gone()?;
            let old = policies.put(kind, &policy)?;
            before = old.as_ref().map(|old| json!(old.stored));
            Ok(old.into_iter().chain([policy]).collect())
        };
        let durable = self.change_policies(change, put)?;
        self.events.tell(actor, || {
            self.policy_event("policy.set", kind, &stored.name)
                .text("pattern", &stored.pattern)
                .text("apply_to", &stored.apply_to)
                .number("priority", stored.priority)
                .changed(before, Some(json!(stored)))
        });
        Ok(durable)
    }

    /// Clears a policy. Answers whether there was one.
    pub fn delete_policy(
        &self,
        kind: PolicyKind,
        name: &str,
        actor: Option<&Actor>,
    ) -> (bool, Durable) {
        let change = CatalogChange::Delete(kind.key(&self.name, name));
        let mut before = None;
        let removed = |policies: &mut Policies| {
            let old = policies.remove(kind, name).ok_or(())?;
            before = Some(json!(old.stored));
            Ok(vec![old])
        };
        match self.change_policies(change, removed) {
            Ok(durable) => {
                let event = || self.policy_event("policy.cleared", kind, name);
                self.events.tell(actor, || event().changed(before, None));
                (true, durable)
            }
            Err(()) => (false, Durable::already()),
        }
    }

    fn policy_event(&self, key: &'static str, kind: PolicyKind, name: &str) -> Event {
        let is_operators = kind == PolicyKind::Operator;
        let event = Event::new(key).text("name", name).text("vhost", &self.name);
        event.flag("is_operator_policy", is_operators)
    }

    /// Policies of a kind, in the order in which they are tried.
    pub fn policies(&self, kind: PolicyKind) -> Vec<Arc<Policy>> {
        self.policies.get().list(kind).to_vec()
    }

    /// The policies that hold for an exchange.
    pub fn policies_of_exchange(&self, exchange: &Exchange) -> Matching {
        self.policies.get().matching(Subject::Exchange, &exchange.name)
    }

    /// Takes up a policy that the last run left, before the queues and exchanges are.
    pub(in crate::broker) fn restore_policy(
        &self,
        kind: PolicyKind,
        stored: PolicyDefinition,
    ) -> Result<(), Error> {
        let policy = Arc::new(Policy::parse(stored, kind)?);
        let mut policies = Policies::clone(&self.policies.get());
        policies.put(kind, &policy)?;
        self.policies.set(policies);
        // The predeclared exchanges are there already.
        self.enforce(&[policy]);
        Ok(())
    }

    /// Changes the policies and puts in force what follows; `change` answers the policies that
    /// came and went.
    fn change_policies<E>(
        &self,
        change: CatalogChange,
        apply: impl FnOnce(&mut Policies) -> Result<Vec<Arc<Policy>>, E>,
    ) -> Result<Durable, E> {
        let _changing = self.policies.change();
        let mut policies = Policies::clone(&self.policies.get());
        let changed = apply(&mut policies)?;
        {
            let _topology = self.topology(None);
            self.policies.set(policies);
        }
        let durable = Durable::append(&*self.store, Record::catalog(change).into());
        self.enforce(&changed);
        Ok(durable)
    }

    /// Gives what one of the policies matches, or matched, the options that it has now.
    fn enforce(&self, changed: &[Arc<Policy>]) {
        let is_touched =
            |subject, name: &ShortStr| changed.iter().any(|policy| policy.matches(subject, name));
        for queue in self.queues() {
            if is_touched(Subject::Queue(queue.queue_type()), queue.name()) {
                let arguments = &queue.properties.arguments;
                let (options, policies) = self.in_force(queue.name(), arguments);
                queue.set_policies(policies);
                if *queue.options() != options {
                    queue.set_options(options);
                }
            }
        }
        let mut is_rerouted = false;
        for exchange in self.exchanges() {
            if is_touched(Subject::Exchange, &exchange.name) {
                exchange.set_alternate(self.alternate(&exchange.name, &exchange.arguments));
                is_rerouted = true;
            }
        }
        if is_rerouted {
            // What publishers have found by the old alternates is stale.
            drop(self.topology(None));
        }
    }

    /// What is in force on a queue with this name and these arguments, and the policies that are
    /// in it.
    pub(super) fn in_force(&self, name: &str, arguments: &FieldTable) -> (QueueOptions, Matching) {
        let queue_type = QueueType::of(arguments);
        let subject = Subject::Queue(queue_type);
        let policies = self.policies.get().matching(subject, name);
        let declared = Settings::of_arguments(arguments, subject);
        (declared.in_force(&policies.settings(), queue_type), policies)
    }

    /// The alternate of an exchange with this name and these arguments.
    pub(super) fn alternate(&self, name: &str, arguments: &FieldTable) -> Option<ShortStr> {
        let declared = Settings::of_arguments(arguments, Subject::Exchange);
        let policies = self.policies.get().matching(Subject::Exchange, name).settings();
        let value = declared.get(ALTERNATE_EXCHANGE).or(policies.get(ALTERNATE_EXCHANGE));
        value.and_then(Value::text).cloned()
    }
}
