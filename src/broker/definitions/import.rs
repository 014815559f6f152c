//! Taking up a definitions file: tried first, then done.
//!
//! What is there already and is the same stays as it is, so that a file can come twice. What the
//! file doesn't name stays, too.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::document::{
    BindingPart, Document, ExchangePart, PolicyPart, QueuePart, UserPart, VhostPart,
};
use super::export::{OPERATOR_POLICY, VHOST_LIMITS};
use super::{Problems, rehearsal};
use crate::broker::auth::{Actor, HashingAlgorithm, PasswordHash, User};
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::limit::LimitOf;
use crate::broker::policy::matching::PolicyKind;
use crate::broker::vhost::{BindRequest, ExchangeDeclare, QueueDeclare, Vhost};
use crate::broker::{Broker, ConnectionId, UserChange};
use crate::protocol::json::to_table;
use crate::protocol::table::FieldTable;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{
    GlobalParameterDefinition, ParameterDefinition, PermissionDefinition, PolicyDefinition,
    TopicPermissionDefinition, VhostDefinition,
};

/// The global parameter that tells which file was taken up at the last start. It is not exported.
pub(super) const FILE_DIGEST: &str = "imported_definition_hash_value";

/// Who takes up the file of the settings.
const NAME_AT_START: &str = "definitions.file";

impl Broker {
    /// Takes up a definitions file. Refuses it, with everything that is wrong with it, before
    /// anything is changed. Blocks until it is on disk; a crash before that may leave a part of it,
    /// which importing it again makes whole.
    pub fn import_definitions(&self, document: &Document, actor: &Actor) -> Result<(), Problems> {
        self.import(document, Some(actor), false).map(|_| ())
    }

    /// The same, unless it would change nothing, which is found out and leaves no trace. Answers
    /// whether it was taken up.
    pub fn import_changed_definitions(
        &self,
        document: &Document,
        actor: &Actor,
    ) -> Result<bool, Problems> {
        self.import(document, Some(actor), true)
    }

    /// Takes up the definitions file that the broker starts with; these are its bytes. When
    /// `only_if_changed` and it was the last one, there is nothing to do. Answers whether it was
    /// taken up. Blocks until it is on disk.
    pub fn import_file(
        &self,
        document: &Document,
        bytes: &[u8],
        only_if_changed: bool,
    ) -> Result<bool, Problems> {
        let digest = Json::from(STANDARD.encode(Sha256::digest(bytes)));
        if only_if_changed && self.global_parameter(FILE_DIGEST).as_ref() == Some(&digest) {
            return Ok(false);
        }
        self.import(document, None, false)?;
        // It comes last: after a crash before it the file is taken up again.
        let digest = GlobalParameterDefinition { name: FILE_DIGEST.to_owned(), value: digest };
        let stored = self.put_global_parameter(digest, None).map_err(one_problem)?;
        stored.wait_blocking().map_err(one_problem)?;
        Ok(true)
    }

    fn import(
        &self,
        document: &Document,
        actor: Option<&Actor>,
        only_if_changed: bool,
    ) -> Result<bool, Problems> {
        let stage = rehearsal::stage().map_err(one_problem)?;
        let present = Document::read(self.export_definitions(), None)?;
        // What is here was taken once; if it isn't now, that is not this file's fault.
        let _ = Import::new(&stage, actor).run(&present);
        // What isn't durable is in no export, so of that it can't be said that it is there.
        let before = (only_if_changed && document.is_durable()).then(|| stage.export_definitions());
        let tried = Import::new(&stage, actor).run(document);
        tried.problems.check()?;
        if before.is_some_and(|before| before == stage.export_definitions()) {
            return Ok(false);
        }
        let mut done = Import::new(self, actor).run(document);
        // What each part of it has changed has been told already.
        self.events.tell(Some(&done.actor), || document.event());
        for durable in done.durables {
            if let Err(error) = durable.wait_blocking() {
                done.problems.add(error.to_string());
            }
        }
        done.problems.check()?;
        Ok(true)
    }
}

fn one_problem(error: Error) -> Problems {
    let mut problems = Problems::default();
    problems.add(error.text);
    problems
}

/// One document on its way into one broker.
struct Import<'a> {
    broker: &'a Broker,
    /// Of the same name as who asks, and allowed everything: whoever may import may import all.
    actor: Actor,
    problems: Problems,
    durables: Vec<Durable>,
}

/// A policy where operator policies stand, among the parameters.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OperatorPolicyValue {
    pattern: String,
    #[serde(default)]
    apply_to: Option<String>,
    #[serde(default)]
    priority: i64,
    definition: Map<String, Json>,
}

impl<'a> Import<'a> {
    fn new(broker: &'a Broker, actor: Option<&Actor>) -> Self {
        let (name, connection, peer) = match actor {
            Some(actor) => (actor.user.name.clone(), ConnectionId::NONE, actor.peer),
            None => {
                let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                (NAME_AT_START.to_owned(), ConnectionId::FILE, nowhere)
            }
        };
        let user = User::new(name, PasswordHash::none(), Vec::new());
        let actor = Actor { user, connection, peer };
        Self { broker, actor, problems: Problems::default(), durables: Vec::new() }
    }

    /// Takes up all parts in the order in which they need one another.
    fn run(mut self, document: &Document) -> Self {
        self.each(&document.vhosts, Self::vhost);
        self.allow_everything();
        self.each(&document.users, Self::user);
        self.each(&document.permissions, Self::permission);
        self.each(&document.topic_permissions, Self::topic_permission);
        self.each(&document.parameters, Self::parameter);
        self.each(&document.global_parameters, Self::global_parameter);
        self.each(&document.policies, Self::policy);
        self.each(&document.exchanges, Self::exchange);
        self.each(&document.queues, Self::queue);
        self.each(&document.bindings, Self::binding);
        // Rule: what is there stays there though a limit is lower; so they come last.
        self.each(&document.parameters, Self::limits);
        self
    }

    /// Takes up parts of one kind; `take` names the part when it can't be.
    fn each<T>(&mut self, parts: &[T], take: fn(&Self, &T) -> Result<Vec<Durable>, String>) {
        for part in parts {
            match take(self, part) {
                Ok(durables) => self.durables.extend(durables),
                Err(problem) => self.problems.add(problem),
            }
        }
    }

    fn allow_everything(&self) {
        for vhost in self.broker.vhosts() {
            let all = || ".*".to_owned();
            let (configure, write, read) = (all(), all(), all());
            let (user, vhost) = (self.actor.user.name.clone(), vhost.name.to_string());
            let all = PermissionDefinition { user, vhost, configure, write, read };
            if let Err(error) = self.actor.user.set_permissions(&all) {
                tracing::error!(%error, "the permissions of an import can't be set");
            }
        }
    }

    fn vhost(&self, part: &VhostPart) -> Result<Vec<Durable>, String> {
        let before = self.broker.vhost(&part.name).map(|vhost| vhost.definition());
        let before = before.unwrap_or_default();
        let said = [&part.own, &part.metadata];
        let description = said.iter().find_map(|said| said.description.clone());
        let tags = said.iter().find_map(|said| said.tags.as_ref().map(|tags| tags.list()));
        let kind = said.iter().find_map(|said| said.default_queue_type.clone());
        let protected = said.iter().find_map(|said| said.protected_from_deletion);
        let definition = VhostDefinition {
            name: part.name.clone(),
            description: description.unwrap_or(before.description),
            tags: tags.unwrap_or(before.tags),
            default_queue_type: kind.or(before.default_queue_type),
            protected_from_deletion: protected.unwrap_or(before.protected_from_deletion),
        };
        let put = self.broker.put_vhost_with(definition, Some(&self.actor));
        named(put, || format!("vhost '{}'", part.name))
    }

    fn user(&self, part: &UserPart) -> Result<Vec<Durable>, String> {
        let UserPart { name, password_hash, hashing_algorithm, password, tags, limits } = part;
        let wrong = |why: &str| format!("user '{name}': {why}");
        let algorithm = HashingAlgorithm::from_name(hashing_algorithm)
            .ok_or_else(|| wrong(&format!("the hashing algorithm '{hashing_algorithm}'")))?;
        let password = match (password_hash, password) {
            (Some(hash), _) => PasswordHash::parse(hash, algorithm)
                .ok_or_else(|| wrong("the password_hash is not in base64"))?,
            (None, Some(password)) => PasswordHash::of(password),
            (None, None) => return Err(wrong("it needs a password_hash or a password")),
        };
        let change = UserChange { password: Some(password), tags: Some(tags.list()) };
        let put = self.broker.put_user(name, change, Some(&self.actor));
        let mut durables = named(put, || format!("user '{name}'"))?;
        durables.extend(self.set_limits(LimitOf::User(name), limits)?);
        Ok(durables)
    }

    fn permission(&self, part: &PermissionDefinition) -> Result<Vec<Durable>, String> {
        let set = self.broker.set_permissions(part.clone(), Some(&self.actor));
        named(set, || format!("the permissions of '{}' in vhost '{}'", part.user, part.vhost))
    }

    fn topic_permission(&self, part: &TopicPermissionDefinition) -> Result<Vec<Durable>, String> {
        let set = self.broker.set_topic_permission(part.clone(), Some(&self.actor));
        let TopicPermissionDefinition { user, vhost, exchange, .. } = part;
        named(set, || {
            format!("the topic permission of '{user}' at '{exchange}' in vhost '{vhost}'")
        })
    }

    fn parameter(&self, part: &ParameterDefinition) -> Result<Vec<Durable>, String> {
        let ParameterDefinition { vhost, component, name, value } = part;
        match component.as_str() {
            VHOST_LIMITS => Ok(Vec::new()),
            OPERATOR_POLICY => {
                let described = || format!("operator policy '{name}' in vhost '{vhost}'");
                let policy: OperatorPolicyValue = serde_json::from_value(value.clone())
                    .map_err(|error| format!("{}: {error}", described()))?;
                let definition = PolicyDefinition {
                    vhost: vhost.clone(),
                    name: name.clone(),
                    pattern: policy.pattern,
                    apply_to: policy.apply_to.unwrap_or_else(|| "all".to_owned()),
                    priority: policy.priority,
                    definition: policy.definition,
                };
                self.put_policy(PolicyKind::Operator, definition, described)
            }
            _ => {
                let put = self.broker.put_parameter(part.clone(), Some(&self.actor));
                named(put, || format!("parameter '{name}' of '{component}' in vhost '{vhost}'"))
            }
        }
    }

    fn limits(&self, part: &ParameterDefinition) -> Result<Vec<Durable>, String> {
        match (part.component.as_str(), &part.value) {
            (VHOST_LIMITS, Json::Object(limits)) => {
                self.set_limits(LimitOf::Vhost(&part.vhost), limits)
            }
            (VHOST_LIMITS, _) => {
                Err(format!("the limits of vhost '{}' are not a JSON object", part.vhost))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn set_limits(
        &self,
        of: LimitOf<'_>,
        limits: &Map<String, Json>,
    ) -> Result<Vec<Durable>, String> {
        let set = |(name, most): (&String, &Json)| {
            let most = most.as_i64().ok_or_else(|| format!("{of}: '{name}' is not a number"))?;
            let set = self.broker.set_limit(of, name, most, Some(&self.actor));
            set.map_err(|error| format!("{of}: {}", error.text))
        };
        limits.iter().map(set).collect()
    }

    fn global_parameter(&self, part: &GlobalParameterDefinition) -> Result<Vec<Durable>, String> {
        let put = self.broker.put_global_parameter(part.clone(), Some(&self.actor));
        named(put, || format!("global parameter '{}'", part.name))
    }

    fn policy(&self, part: &PolicyPart) -> Result<Vec<Durable>, String> {
        let definition = PolicyDefinition {
            vhost: part.vhost.clone(),
            name: part.name.clone(),
            pattern: part.pattern.clone(),
            apply_to: part.apply_to.clone(),
            priority: part.priority,
            definition: part.definition.clone(),
        };
        let described = || format!("policy '{}' in vhost '{}'", part.name, part.vhost);
        self.put_policy(PolicyKind::User, definition, described)
    }

    fn put_policy(
        &self,
        kind: PolicyKind,
        definition: PolicyDefinition,
        described: impl Fn() -> String,
    ) -> Result<Vec<Durable>, String> {
        let vhost = self.existing_vhost(&definition.vhost, &described)?;
        named(vhost.put_policy(kind, definition, Some(&self.actor)), described)
    }

    fn exchange(&self, part: &ExchangePart) -> Result<Vec<Durable>, String> {
        let described = || format!("exchange '{}' in vhost '{}'", part.name, part.vhost);
        let vhost = self.existing_vhost(&part.vhost, described)?;
        let request = ExchangeDeclare {
            name: short(&part.name, described)?,
            kind: part.kind.clone(),
            durable: part.durable,
            auto_delete: part.auto_delete,
            internal: part.internal,
            arguments: arguments(&part.arguments, described)?,
        };
        if request.name.is_empty() {
            return Ok(Vec::new());
        }
        named(vhost.declare_exchange(request, &self.actor), described)
    }

    fn queue(&self, part: &QueuePart) -> Result<Vec<Durable>, String> {
        let described = || format!("queue '{}' in vhost '{}'", part.name, part.vhost);
        let vhost = self.existing_vhost(&part.vhost, described)?;
        let request = QueueDeclare {
            name: short(&part.name, described)?,
            durable: part.durable,
            exclusive: false,
            auto_delete: part.auto_delete,
            arguments: arguments(&part.arguments, described)?,
        };
        let declared = vhost.import_queue(request, &self.actor);
        named(declared.map(|(_, durable)| durable), described)
    }

    fn binding(&self, part: &BindingPart) -> Result<Vec<Durable>, String> {
        let BindingPart { vhost, source, destination, .. } = part;
        let described = || format!("binding from '{source}' to '{destination}' in vhost '{vhost}'");
        let vhost = self.existing_vhost(vhost, described)?;
        if source.is_empty() {
            // Every queue is bound to the default exchange.
            return Ok(Vec::new());
        }
        let request = BindRequest {
            source: short(source, described)?,
            destination_kind: part.destination_type,
            destination: short(destination, described)?,
            key: short(&part.routing_key, described)?,
            arguments: arguments(&part.arguments, described)?,
        };
        named(vhost.bind(request, &self.actor), described)
    }

    fn existing_vhost(
        &self,
        name: &str,
        described: impl Fn() -> String,
    ) -> Result<Arc<Vhost>, String> {
        let missing = || format!("{}: there is no vhost '{name}'", described());
        self.broker.vhost(name).ok_or_else(missing)
    }
}

fn named(
    outcome: Result<Durable, Error>,
    described: impl Fn() -> String,
) -> Result<Vec<Durable>, String> {
    outcome.map(|durable| vec![durable]).map_err(|error| {
        let what = described();
        match error.text.contains(&what) {
            true => error.text,
            false => format!("{what}: {}", error.text),
        }
    })
}

fn short(name: &str, described: impl Fn() -> String) -> Result<ShortStr, String> {
    ShortStr::try_from(name).map_err(|_| format!("{}: longer than 255 bytes", described()))
}

fn arguments(
    arguments: &Map<String, Json>,
    described: impl Fn() -> String,
) -> Result<FieldTable, String> {
    to_table(arguments).map_err(|why| format!("{}: {why}", described()))
}
