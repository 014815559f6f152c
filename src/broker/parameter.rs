//! Parameters: settings of what works beside the broker's own rules, of a vhost each, and settings
//! of the whole broker.
//!
//! Owner of their values. A value is any JSON that its component takes.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};

use super::auth::Actor;
use super::durable::Durable;
use super::error::Error;
use super::event::Event;
use super::limit::LimitOf;
use super::{Broker, NODE_NAME};
use crate::alert_rule::read_rules;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{
    CatalogChange, Definition, DefinitionKey, GlobalParameterDefinition, ParameterDefinition,
};

/// Most parameters of all vhosts, and most global ones.
const PARAMETERS_MAX: usize = 10_000;

/// Largest value, in bytes as JSON.
const VALUE_LEN_MAX: usize = 64 * 1024;

/// What has parameters.
struct Component {
    name: &'static str,
    takes: fn(&Json) -> bool,
    /// What it takes, in words.
    value: &'static str,
}

const COMPONENTS: [Component; 3] = [
    Component { name: "federation-upstream", takes: Json::is_object, value: "an object" },
    Component { name: "federation-upstream-set", takes: Json::is_array, value: "an array" },
    Component { name: "shovel", takes: Json::is_object, value: "an object" },
];

/// What RabbitMQ keeps among its parameters and has a way of its own here.
const APART: [&str; 3] = ["operator_policy", "policy", "user-limits"];

/// Rule (RabbitMQ): all limits of a vhost are a parameter, too, of this component and name.
const VHOST_LIMITS: (&str, &str) = ("vhost-limits", "limits");

/// The global parameter that is the broker's name.
pub const CLUSTER_NAME: &str = "cluster_name";

/// The one that has rules of alerts, a list of them.
pub const ALERT_RULES: &str = "alert-rules";

/// The one with what its operator notes of it, an object.
pub const CLUSTER_TAGS: &str = "cluster_tags";

/// By vhost, component and name.
type Key = (String, String, String);

#[derive(Debug, Default)]
pub struct Parameters {
    of_vhosts: Mutex<BTreeMap<Key, Json>>,
    global: Mutex<BTreeMap<String, Json>>,
}

impl Parameters {
    /// Takes away those of a vhost; answers their keys.
    pub(super) fn forget_vhost(&self, vhost: &str) -> Vec<DefinitionKey> {
        let mut of_vhosts = self.of_vhosts.lock();
        let mut keys = Vec::new();
        of_vhosts.retain(|(owner, component, name), _| {
            let is_kept = owner != vhost;
            if !is_kept {
                let (vhost, component) = (owner.clone(), component.clone());
                keys.push(DefinitionKey::Parameter { vhost, component, name: name.clone() });
            }
            is_kept
        });
        keys
    }
}

impl Broker {
    /// Sets a parameter. Refuses, with 406, what its component can't take, and with 404 a vhost
    /// that isn't there.
    pub fn put_parameter(
        &self,
        parameter: ParameterDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        if parameter.component == VHOST_LIMITS.0 {
            return self.put_limits_parameter(&parameter, actor);
        }
        check(&parameter)?;
        let before;
        let stored = {
            let _changing = self.changing.lock();
            self.check_vhost(&parameter.vhost)?;
            let mut of_vhosts = self.parameters.of_vhosts.lock();
            before = of_vhosts.get(&key_of(&parameter)).cloned();
            put(&mut of_vhosts, key_of(&parameter), &parameter.value)?;
            self.store_change(CatalogChange::Put(Definition::Parameter(parameter.clone())))
        };
        let ParameterDefinition { vhost, component, name, value } = &parameter;
        self.events.tell(actor, || {
            let event = event("parameter.set", vhost, component, name);
            event.changed(before, Some(value.clone()))
        });
        Ok(stored)
    }

    /// Clears a parameter. Answers whether there was one.
    pub fn delete_parameter(
        &self,
        vhost: &str,
        component: &str,
        name: &str,
        actor: Option<&Actor>,
    ) -> (bool, Durable) {
        if (component, name) == VHOST_LIMITS {
            return self.delete_limits_parameter(vhost, actor);
        }
        let key = (vhost.to_owned(), component.to_owned(), name.to_owned());
        let (before, stored) = {
            let mut of_vhosts = self.parameters.of_vhosts.lock();
            let before = of_vhosts.remove(&key);
            let (vhost, component, name) = key;
            let key = DefinitionKey::Parameter { vhost, component, name };
            let stored = self.store_removal(before.as_ref(), key);
            (before, stored)
        };
        let event = || event("parameter.cleared", vhost, component, name);
        (self.tell_cleared(before, actor, event), stored)
    }

    fn put_limits_parameter(
        &self,
        parameter: &ParameterDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let ParameterDefinition { vhost, component, name, value } = parameter;
        let limits = value.as_object().filter(|_| name == VHOST_LIMITS.1).ok_or_else(|| {
            Error::precondition_failed(format!(
                "the component '{component}' has one parameter, '{}', and it is an object",
                VHOST_LIMITS.1
            ))
        })?;
        self.replace_limits(LimitOf::Vhost(vhost), limits, actor)
    }

    fn delete_limits_parameter(&self, vhost: &str, actor: Option<&Actor>) -> (bool, Durable) {
        let of = LimitOf::Vhost(vhost);
        match (self.limits(of), self.replace_limits(of, &Map::new(), actor)) {
            (Ok(before), Ok(stored)) => (!before.is_empty(), stored),
            // There is no such vhost.
            _ => (false, Durable::already()),
        }
    }

    /// All parameters, by vhost, component and name.
    pub fn parameters(&self) -> Vec<ParameterDefinition> {
        let parameter = |((vhost, component, name), value): (&Key, &Json)| ParameterDefinition {
            vhost: vhost.clone(),
            component: component.clone(),
            name: name.clone(),
            value: value.clone(),
        };
        let mut found: Vec<_> = self.parameters.of_vhosts.lock().iter().map(parameter).collect();
        for vhost in self.vhosts() {
            let limits = self.limits(LimitOf::Vhost(&vhost.name)).unwrap_or_default();
            if !limits.is_empty() {
                let value = limits.into_iter().map(|(name, most)| (name.to_owned(), most.into()));
                let (component, name) = VHOST_LIMITS;
                found.push(ParameterDefinition {
                    vhost: vhost.name.to_string(),
                    component: component.to_owned(),
                    name: name.to_owned(),
                    value: Json::Object(value.collect()),
                });
            }
        }
        found.sort_by(|a, b| {
            (&a.vhost, &a.component, &a.name).cmp(&(&b.vhost, &b.component, &b.name))
        });
        found
    }

    /// What the broker is called: what somebody has called it, or its node.
    pub fn cluster_name(&self) -> String {
        let given = self.global_parameter(CLUSTER_NAME);
        given.as_ref().and_then(Json::as_str).unwrap_or(NODE_NAME).to_owned()
    }

    /// Sets a parameter of the whole broker.
    pub fn put_global_parameter(
        &self,
        parameter: GlobalParameterDefinition,
        actor: Option<&Actor>,
    ) -> Result<Durable, Error> {
        let GlobalParameterDefinition { name, value } = &parameter;
        check_global(name, value)?;
        let before;
        let stored = {
            let mut global = self.parameters.global.lock();
            before = global.get(name).cloned();
            put(&mut global, name.clone(), value)?;
            self.store_change(CatalogChange::Put(Definition::GlobalParameter(parameter.clone())))
        };
        self.events.tell(actor, || {
            let event = Event::new("parameter.set").text("name", name);
            event.changed(before, Some(value.clone()))
        });
        Ok(stored)
    }

    /// Clears a parameter of the whole broker. Answers whether there was one.
    pub fn delete_global_parameter(&self, name: &str, actor: Option<&Actor>) -> (bool, Durable) {
        let (before, stored) = {
            let mut global = self.parameters.global.lock();
            let before = global.remove(name);
            let key = DefinitionKey::GlobalParameter(name.to_owned());
            let stored = self.store_removal(before.as_ref(), key);
            (before, stored)
        };
        let event = || Event::new("parameter.cleared").text("name", name);
        (self.tell_cleared(before, actor, event), stored)
    }

    /// Answers whether there was anything.
    fn tell_cleared(
        &self,
        before: Option<Json>,
        actor: Option<&Actor>,
        event: impl FnOnce() -> Event,
    ) -> bool {
        let was_there = before.is_some();
        if was_there {
            self.events.tell(actor, || event().changed(before, None));
        }
        was_there
    }

    /// The value of a parameter of the whole broker.
    pub fn global_parameter(&self, name: &str) -> Option<Json> {
        self.parameters.global.lock().get(name).cloned()
    }

    /// All parameters of the whole broker, by name.
    pub fn global_parameters(&self) -> Vec<GlobalParameterDefinition> {
        let global = self.parameters.global.lock();
        let parameter = |(name, value): (&String, &Json)| GlobalParameterDefinition {
            name: name.clone(),
            value: value.clone(),
        };
        global.iter().map(parameter).collect()
    }

    pub(super) fn restore_parameter(&self, stored: ParameterDefinition) {
        self.parameters.of_vhosts.lock().insert(key_of(&stored), stored.value);
    }

    pub(super) fn restore_global_parameter(&self, stored: GlobalParameterDefinition) {
        self.parameters.global.lock().insert(stored.name, stored.value);
    }

    fn store_removal(&self, removed: Option<&Json>, key: DefinitionKey) -> Durable {
        match removed {
            Some(_) => self.store_change(CatalogChange::Delete(key)),
            None => Durable::already(),
        }
    }
}

fn event(key: &'static str, vhost: &str, component: &str, name: &str) -> Event {
    Event::new(key).text("name", name).text("component", component).text("vhost", vhost)
}

fn key_of(parameter: &ParameterDefinition) -> Key {
    let ParameterDefinition { vhost, component, name, .. } = parameter;
    (vhost.clone(), component.clone(), name.clone())
}

fn check(parameter: &ParameterDefinition) -> Result<(), Error> {
    let ParameterDefinition { component, name, value, .. } = parameter;
    if APART.contains(&component.as_str()) {
        return Err(Error::precondition_failed(format!(
            "'{component}' is not set as a parameter: policies and limits are set as such"
        )));
    }
    let Some(found) = COMPONENTS.iter().find(|known| known.name == component) else {
        let known = COMPONENTS.map(|known| known.name).join(", ");
        return Err(Error::precondition_failed(format!(
            "there is no component '{component}' with parameters, only {known}"
        )));
    };
    let described = format!("parameter '{name}' of component '{component}'");
    check_size(&described, name, value)?;
    if !(found.takes)(value) {
        return Err(Error::precondition_failed(format!(
            "{described}: the value must be {}",
            found.value
        )));
    }
    Ok(())
}

/// Most of them mean something to those only who set them.
fn check_global(name: &str, value: &Json) -> Result<(), Error> {
    let described = format!("global parameter '{name}'");
    check_size(&described, name, value)?;
    if name == ALERT_RULES {
        read_rules(value.clone()).map_err(|wrong| {
            Error::precondition_failed(format!("{described}: {}", wrong.join("; ")))
        })?;
    }
    Ok(())
}

fn check_size(described: &str, name: &str, value: &Json) -> Result<(), Error> {
    if name.is_empty() || name.len() > ShortStr::MAX_LEN {
        return Err(Error::precondition_failed(format!(
            "{described}: the name must have 1 to {} bytes",
            ShortStr::MAX_LEN
        )));
    }
    if value.to_string().len() > VALUE_LEN_MAX {
        return Err(Error::precondition_failed(format!(
            "{described}: the value is longer than {VALUE_LEN_MAX} bytes"
        )));
    }
    Ok(())
}

fn put<K: Ord>(parameters: &mut BTreeMap<K, Json>, key: K, value: &Json) -> Result<(), Error> {
    if parameters.len() >= PARAMETERS_MAX && !parameters.contains_key(&key) {
        return Err(Error::precondition_failed(format!(
            "there are {PARAMETERS_MAX} parameters already: delete one first"
        )));
    }
    parameters.insert(key, value.clone());
    Ok(())
}
