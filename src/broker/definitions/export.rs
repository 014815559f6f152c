//! What is there, as a definitions file. In the order of names, so that two files can be compared.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use crate::broker::Broker;
use crate::broker::auth::User;
use crate::broker::binding::Binding;
use crate::broker::exchange::Exchange;
use crate::broker::limit::LimitOf;
use crate::broker::policy::matching::PolicyKind;
use crate::broker::queue::Queue;
use crate::broker::vhost::Vhost;
use crate::protocol::json::table;
use crate::store::definition::{
    BindingDefinition, DestinationKind, ExchangeDefinition, ParameterDefinition, PolicyDefinition,
    UserDefinition, VhostDefinition,
};

/// The series of RabbitMQ whose definitions these are: its tools look at it.
const RABBITMQ_VERSION: &str = "4.3.0";

/// What stands among the parameters in a file, and has a way of its own here.
pub(super) const OPERATOR_POLICY: &str = "operator_policy";
pub(super) const VHOST_LIMITS: &str = "vhost-limits";

impl Broker {
    /// All definitions, hashes of passwords included. Exclusive queues are not among them, nor is
    /// what every vhost begins with.
    pub fn export_definitions(&self) -> Json {
        let mut vhosts = self.vhosts();
        vhosts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut file = self.parts_of(&vhosts);
        let more = [
            ("users", self.user_parts()),
            ("vhosts", vhosts.iter().map(|vhost| vhost_part(vhost)).collect()),
            ("permissions", self.of_users(|user| json!(user.permissions()))),
            ("topic_permissions", self.of_users(|user| json!(user.topic_permissions()))),
            ("global_parameters", self.global_parameter_parts()),
        ];
        file.extend(more.map(|(name, parts)| (name.to_owned(), Json::Array(parts))));
        Json::Object(file)
    }

    /// The definitions of one vhost. Their parts don't say which, so that they can go to another.
    pub fn export_vhost_definitions(&self, vhost: &Arc<Vhost>) -> Json {
        let mut file = self.parts_of(&[Arc::clone(vhost)]);
        let lists = file.values_mut().filter_map(Json::as_array_mut).flatten();
        lists.filter_map(Json::as_object_mut).for_each(|part| drop(part.remove("vhost")));
        Json::Object(file)
    }

    fn parts_of(&self, vhosts: &[Arc<Vhost>]) -> Map<String, Json> {
        let mut file = Map::new();
        for name in ["rabbit_version", "rabbitmq_version"] {
            file.insert(name.to_owned(), RABBITMQ_VERSION.into());
        }
        file.insert("product_name".to_owned(), "FerryMQ".into());
        file.insert("product_version".to_owned(), env!("CARGO_PKG_VERSION").into());
        let of_all = |parts: fn(&Vhost) -> Vec<Json>| -> Vec<Json> {
            vhosts.iter().flat_map(|vhost| parts(vhost)).collect()
        };
        let parameters = vhosts.iter().flat_map(|vhost| self.parameter_parts(vhost)).collect();
        let lists = [
            ("parameters", parameters),
            ("policies", of_all(policy_parts)),
            ("queues", of_all(queue_parts)),
            ("exchanges", of_all(exchange_parts)),
            ("bindings", of_all(binding_parts)),
        ];
        file.extend(lists.map(|(name, parts)| (name.to_owned(), Json::Array(parts))));
        file
    }

    fn users_by_name(&self) -> Vec<Arc<User>> {
        let mut users = self.users();
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// What each user has, a list for each.
    fn of_users(&self, list: impl Fn(&User) -> Json) -> Vec<Json> {
        let lists = self.users_by_name().into_iter().map(|user| list(&user));
        lists
            .filter_map(|list| if let Json::Array(parts) = list { Some(parts) } else { None })
            .flatten()
            .collect()
    }

    fn user_parts(&self) -> Vec<Json> {
        let part = |user: &UserDefinition| {
            let limits: Map<String, Json> = self
                .limits(LimitOf::User(&user.name))
                .unwrap_or_default()
                .into_iter()
                .map(|(name, most)| (name.to_owned(), most.into()))
                .collect();
            json!({
                "name": user.name, "password_hash": user.password_hash,
                "hashing_algorithm": user.hashing_algorithm, "tags": user.tags, "limits": limits,
            })
        };
        self.users_by_name().iter().map(|user| part(&user.definition())).collect()
    }

    fn global_parameter_parts(&self) -> Vec<Json> {
        let parameters = self.global_parameters();
        let parameters = parameters.iter().filter(|found| found.name != super::import::FILE_DIGEST);
        parameters.map(|parameter| json!(parameter)).collect()
    }

    /// Parameters, and what is one in a file: operator policies and the limits of the vhost.
    fn parameter_parts(&self, vhost: &Vhost) -> Vec<Json> {
        let part = |component: &str, name: &str, value: Json| {
            let (component, name) = (component.to_owned(), name.to_owned());
            json!(ParameterDefinition { vhost: vhost.name.to_string(), component, name, value })
        };
        let policies = definitions(vhost, PolicyKind::Operator);
        let policies = policies.iter().map(|policy| {
            let value = json!({
                "pattern": policy.pattern, "apply-to": policy.apply_to,
                "definition": policy.definition, "priority": policy.priority,
            });
            part(OPERATOR_POLICY, &policy.name, value)
        });
        let limits = self.limits(LimitOf::Vhost(&vhost.name)).unwrap_or_default();
        let limits: Map<String, Json> =
            limits.into_iter().map(|(name, most)| (name.to_owned(), most.into())).collect();
        let limits = (!limits.is_empty()).then(|| part(VHOST_LIMITS, "limits", limits.into()));
        let parameters = self.parameters().into_iter();
        let own = parameters.filter(|found| found.vhost == *vhost.name).map(|found| json!(found));
        own.chain(policies).chain(limits).collect()
    }
}

fn vhost_part(vhost: &Vhost) -> Json {
    let VhostDefinition { name, description, tags, default_queue_type, protected_from_deletion } =
        vhost.definition();
    let mut metadata = json!({"description": description, "tags": tags});
    if let (Some(kind), Json::Object(metadata)) = (default_queue_type, &mut metadata) {
        metadata.insert("default_queue_type".to_owned(), kind.into());
    }
    if let (true, Json::Object(metadata)) = (protected_from_deletion, &mut metadata) {
        metadata.insert("protected_from_deletion".to_owned(), true.into());
    }
    let mut part = metadata.clone();
    if let Json::Object(part) = &mut part {
        part.insert("name".to_owned(), name.into());
        part.insert("metadata".to_owned(), metadata);
    }
    part
}

/// Policies of a kind, by name.
fn definitions(vhost: &Vhost, kind: PolicyKind) -> Vec<PolicyDefinition> {
    let policies = vhost.policies(kind);
    let mut found: Vec<_> = policies.iter().map(|policy| policy.stored.clone()).collect();
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found
}

fn policy_parts(vhost: &Vhost) -> Vec<Json> {
    let part = |policy: PolicyDefinition| {
        json!({
            "vhost": policy.vhost, "name": policy.name, "pattern": policy.pattern,
            "apply-to": policy.apply_to, "definition": policy.definition,
            "priority": policy.priority,
        })
    };
    definitions(vhost, PolicyKind::User).into_iter().map(part).collect()
}

fn queue_parts(vhost: &Vhost) -> Vec<Json> {
    let mut queues = vhost.queues();
    queues.retain(|queue| queue.properties.exclusive_to.is_none());
    queues.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    let part = |queue: &Arc<Queue>| {
        let properties = &queue.properties;
        json!({
            "vhost": properties.vhost.as_str(), "name": properties.name.as_str(),
            "durable": properties.durable, "auto_delete": properties.auto_delete,
            "arguments": table(&properties.arguments),
        })
    };
    queues.iter().map(part).collect()
}

/// By name; the predeclared ones left out.
fn exchanges(vhost: &Vhost) -> Vec<Arc<Exchange>> {
    let mut exchanges = vhost.exchanges();
    exchanges.retain(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with("amq."));
    exchanges.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    exchanges
}

fn exchange_parts(vhost: &Vhost) -> Vec<Json> {
    let part = |exchange: &Arc<Exchange>| {
        let ExchangeDefinition { vhost, name, kind, auto_delete, internal, arguments, .. } =
            exchange.definition(&vhost.name);
        json!({
            "vhost": vhost, "name": name, "type": kind, "durable": exchange.durable,
            "auto_delete": auto_delete, "internal": internal, "arguments": table(&arguments),
        })
    };
    exchanges(vhost).iter().map(part).collect()
}

fn binding_parts(vhost: &Vhost) -> Vec<Json> {
    let of_exclusive_queue = |binding: &Binding| {
        let (kind, name) = binding.destination.key();
        kind == DestinationKind::Queue
            && vhost.queue(&name).is_none_or(|queue| queue.properties.exclusive_to.is_some())
    };
    let bindings = vhost.exchanges().into_iter().filter(|exchange| !exchange.name.is_empty());
    let bindings = bindings.flat_map(|exchange| exchange.bindings());
    let bindings = bindings.filter(|binding| !of_exclusive_queue(binding));
    let mut found: Vec<BindingDefinition> =
        bindings.map(|binding| binding.definition(&vhost.name)).collect();
    let key = |found: &BindingDefinition| {
        let BindingDefinition { source, destination_kind, destination, binding_key, .. } = found;
        (source.clone(), *destination_kind, destination.clone(), binding_key.clone())
    };
    found.sort_by_cached_key(key);
    let part = |found: BindingDefinition| {
        json!({
            "vhost": found.vhost, "source": found.source, "destination": found.destination,
            "destination_type": found.destination_kind, "routing_key": found.binding_key,
            "arguments": table(&found.arguments),
        })
    };
    found.into_iter().map(part).collect()
}
