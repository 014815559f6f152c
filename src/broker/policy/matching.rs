//! Policies, and which of them hold for a queue or exchange.
//!
//! Owner of the policies of a vhost. They are replaced as a whole when one changes, so that whoever
//! looks waits for nobody.

use std::cmp::Reverse;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value as Json};

use super::options::Subject;
use super::settings::Settings;
use crate::broker::error::Error;
use crate::broker::queue::arguments::QueueType;
use crate::protocol::wire::ShortStr;
use crate::store::definition::{Definition, DefinitionKey, PolicyDefinition};

/// Most policies of a vhost, and most operator policies: every declaration goes through them.
pub const POLICIES_MAX: usize = 1000;

/// Largest pattern, in bytes as it is written and as it is compiled.
const PATTERN_LEN_MAX: usize = 1024;
const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Whose policy it is. Of each kind, one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    User,
    /// Set by whoever runs the broker; it limits what users' policies may do.
    Operator,
}

impl PolicyKind {
    fn name(self) -> &'static str {
        match self {
            Self::User => "policy",
            Self::Operator => "operator policy",
        }
    }

    pub fn definition(self, policy: PolicyDefinition) -> Definition {
        match self {
            Self::User => Definition::Policy(policy),
            Self::Operator => Definition::OperatorPolicy(policy),
        }
    }

    pub fn key(self, vhost: &str, name: &str) -> DefinitionKey {
        let (vhost, name) = (vhost.to_owned(), name.to_owned());
        match self {
            Self::User => DefinitionKey::Policy { vhost, name },
            Self::Operator => DefinitionKey::OperatorPolicy { vhost, name },
        }
    }
}

/// The things that a policy is for.
#[derive(Debug, Clone, Copy)]
enum ApplyTo {
    All,
    Queues,
    Type(QueueType),
    Exchanges,
}

const APPLY_TO: [(&str, ApplyTo); 6] = [
    ("all", ApplyTo::All),
    ("queues", ApplyTo::Queues),
    ("classic_queues", ApplyTo::Type(QueueType::Classic)),
    ("quorum_queues", ApplyTo::Type(QueueType::Quorum)),
    ("streams", ApplyTo::Type(QueueType::Stream)),
    ("exchanges", ApplyTo::Exchanges),
];

impl ApplyTo {
    fn covers(self, subject: Subject) -> bool {
        match self {
            Self::All => true,
            Self::Queues => subject != Subject::Exchange,
            Self::Type(queue_type) => subject == Subject::Queue(queue_type),
            Self::Exchanges => subject == Subject::Exchange,
        }
    }
}

/// A policy that has been checked.
#[derive(Debug)]
pub struct Policy {
    pub stored: PolicyDefinition,
    pattern: Regex,
    applies_to: ApplyTo,
    settings: Settings,
}

impl Policy {
    pub fn parse(stored: PolicyDefinition, kind: PolicyKind) -> Result<Self, Error> {
        let PolicyDefinition { vhost, name, pattern, apply_to, definition, .. } = &stored;
        let refuse = |why: String| {
            let kind = kind.name();
            // RabbitMQ's words come first: clients look for them.
            Error::precondition_failed(format!(
                "Validation failed: {kind} '{name}' in vhost '{vhost}': {why}"
            ))
        };
        if name.is_empty() || name.len() > ShortStr::MAX_LEN {
            return Err(refuse(format!("the name must have 1 to {} bytes", ShortStr::MAX_LEN)));
        }
        let found = APPLY_TO.into_iter().find(|(name, _)| name == apply_to);
        let Some((_, applies_to)) = found else {
            let known = APPLY_TO.map(|(name, _)| name).join(", ");
            return Err(refuse(format!("it can't apply to '{apply_to}', only to one of {known}")));
        };
        if pattern.len() > PATTERN_LEN_MAX {
            return Err(refuse(format!("the pattern is longer than {PATTERN_LEN_MAX} bytes")));
        }
        let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_BYTES_MAX).build();
        let pattern = compiled.map_err(|error| {
            refuse(format!("the pattern '{pattern}' is not a regular expression: {error}"))
        })?;
        let for_operators = kind == PolicyKind::Operator;
        let settings = Settings::of_definition(definition, for_operators).map_err(refuse)?;
        Ok(Self { stored, pattern, applies_to, settings })
    }

    /// Whether it may hold for something of this name. One with a key that the subject doesn't
    /// take is not for it at all.
    pub fn matches(&self, subject: Subject, name: &str) -> bool {
        self.applies_to.covers(subject) && self.settings.fit(subject) && self.pattern.is_match(name)
    }

    /// The first of those that match holds: the highest priority, and of equal ones the lowest
    /// name.
    fn rank(&self) -> (Reverse<i64>, &str) {
        (Reverse(self.stored.priority), &self.stored.name)
    }
}

/// The policies that hold for something.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    pub policy: Option<Arc<Policy>>,
    pub operator_policy: Option<Arc<Policy>>,
}

impl Matching {
    /// What they set together.
    pub fn settings(&self) -> Settings {
        match (&self.policy, &self.operator_policy) {
            (None, None) => Settings::default(),
            (Some(policy), None) | (None, Some(policy)) => policy.settings.clone(),
            (Some(policy), Some(operator)) => policy.settings.merged(&operator.settings),
        }
    }

    /// The same in the keys of a policy's definition, for displays.
    pub fn definition(&self) -> Map<String, Json> {
        self.settings().definition()
    }
}

/// All policies of a vhost, each kind in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    user: Vec<Arc<Policy>>,
    operator: Vec<Arc<Policy>>,
}

impl Policies {
    pub fn list(&self, kind: PolicyKind) -> &[Arc<Policy>] {
        match kind {
            PolicyKind::User => &self.user,
            PolicyKind::Operator => &self.operator,
        }
    }

    fn list_mut(&mut self, kind: PolicyKind) -> &mut Vec<Arc<Policy>> {
        match kind {
            PolicyKind::User => &mut self.user,
            PolicyKind::Operator => &mut self.operator,
        }
    }

    /// Puts a policy in the place of the one with its name, which is answered.
    pub fn put(
        &mut self,
        kind: PolicyKind,
        policy: &Arc<Policy>,
    ) -> Result<Option<Arc<Policy>>, Error> {
        let old = self.remove(kind, &policy.stored.name);
        let list = self.list_mut(kind);
        if list.len() >= POLICIES_MAX {
            return Err(Error::precondition_failed(format!(
                "vhost '{}' has {POLICIES_MAX} policies already: delete one first",
                policy.stored.vhost
            )));
        }
        let place = list.partition_point(|other| other.rank() < policy.rank());
        list.insert(place, Arc::clone(policy));
        Ok(old)
    }

    /// Takes a policy out and answers it.
    pub fn remove(&mut self, kind: PolicyKind, name: &str) -> Option<Arc<Policy>> {
        let list = self.list_mut(kind);
        let place = list.iter().position(|policy| policy.stored.name == name)?;
        Some(list.remove(place))
    }

    /// The policies that hold for something of this name.
    pub fn matching(&self, subject: Subject, name: &str) -> Matching {
        let first = |list: &[Arc<Policy>]| {
            list.iter().find(|policy| policy.matches(subject, name)).cloned()
        };
        Matching { policy: first(&self.user), operator_policy: first(&self.operator) }
    }
}

/// The policies of the moment. Looking at them takes no longer than a change takes to swap them.
#[derive(Debug, Default)]
pub struct CurrentPolicies {
    current: RwLock<Arc<Policies>>,
    /// Held over a change and its effects: one at a time.
    changing: Mutex<()>,
}

impl CurrentPolicies {
    pub fn get(&self) -> Arc<Policies> {
        Arc::clone(&self.current.read())
    }

    pub fn set(&self, policies: Policies) {
        *self.current.write() = Arc::new(policies);
    }

    /// The right to change them.
    pub fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const QUORUM: Subject = Subject::Queue(QueueType::Quorum);
    const CLASSIC: Subject = Subject::Queue(QueueType::Classic);

    fn stored(name: &str, pattern: &str, apply_to: &str, priority: i64) -> PolicyDefinition {
        let definition = json!({"max-length": 5}).as_object().cloned().unwrap_or_default();
        let (vhost, name, pattern) = ("/".to_owned(), name.to_owned(), pattern.to_owned());
        PolicyDefinition {
            vhost,
            name,
            pattern,
            apply_to: apply_to.to_owned(),
            priority,
            definition,
        }
    }

    fn refused(stored: PolicyDefinition) -> String {
        Policy::parse(stored, PolicyKind::User).expect_err("invalid").text
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said_by_its_name() {
        let text = refused(stored("p", "(", "all", 0));
        assert!(
            text.starts_with(
                "Validation failed: policy 'p' in vhost '/': the pattern '(' is not a"
            ),
            "{text}"
        );
        let text = refused(stored("p", "", "users", 0));
        assert!(text.contains("can't apply to 'users', only to one of all, queues"), "{text}");
        let text = refused(stored("p", &"x".repeat(PATTERN_LEN_MAX + 1), "all", 0));
        assert!(text.ends_with("the pattern is longer than 1024 bytes"), "{text}");
        // Short, but not when it is compiled.
        assert!(refused(stored("p", r"(\w{1000}){1000}", "all", 0)).contains("size limit"));
        assert!(refused(stored("", "", "all", 0)).contains("the name must have 1 to 255 bytes"));
    }

    #[test]
    fn a_vhost_takes_so_many_policies_and_no_more() {
        let mut policies = Policies::default();
        let policy = |name: &str| {
            let policy = Policy::parse(stored(name, "", "all", 0), PolicyKind::User);
            Arc::new(policy.expect("valid"))
        };
        for number in 0..POLICIES_MAX {
            let put = policies.put(PolicyKind::User, &policy(&number.to_string()));
            assert!(put.is_ok_and(|old| old.is_none()));
        }
        assert!(policies.put(PolicyKind::User, &policy("one more")).is_err());
        assert!(policies.put(PolicyKind::User, &policy("7")).is_ok_and(|old| old.is_some()));
    }

    /// What a policy says, as the model knows it.
    #[derive(Debug, Clone)]
    struct Plain {
        name: String,
        part: String,
        apply_to: &'static str,
        priority: i64,
        key: &'static str,
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let apply_to = prop::sample::select(APPLY_TO.map(|(name, _)| name).to_vec());
        let key = prop::sample::select(vec!["max-length", "queue-mode", "dead-letter-strategy"]);
        ("[a-d]", "[xy]{0,2}", apply_to, -1i64..2, key).prop_map(
            |(name, part, apply_to, priority, key)| Plain { name, part, apply_to, priority, key },
        )
    }

    impl Plain {
        fn policy(&self) -> Arc<Policy> {
            let mut stored = stored(&self.name, &self.part, self.apply_to, self.priority);
            let value = match self.key {
                "max-length" => json!(1),
                "queue-mode" => json!("lazy"),
                _ => json!("at-least-once"),
            };
            stored.definition = Map::from_iter([(self.key.to_owned(), value)]);
            Arc::new(Policy::parse(stored, PolicyKind::User).expect("valid"))
        }

        fn holds_for(&self, subject: Subject, name: &str) -> bool {
            let is_for = match subject {
                CLASSIC => ["all", "queues", "classic_queues"].contains(&self.apply_to),
                QUORUM => ["all", "queues", "quorum_queues"].contains(&self.apply_to),
                _ => false,
            };
            let takes = match self.key {
                "max-length" => true,
                "queue-mode" => subject == CLASSIC,
                _ => subject == QUORUM,
            };
            is_for && takes && name.contains(&self.part)
        }
    }

    proptest! {
        #[test]
        fn the_one_that_holds_is_the_models(
            changes in prop::collection::vec((plain(), prop::bool::weighted(0.8)), 0..20),
            name in "[xyz]{0,4}",
            is_quorum: bool,
        ) {
            let mut policies = Policies::default();
            let mut model: Vec<Plain> = Vec::new();
            for (plain, is_put) in changes {
                model.retain(|other| other.name != plain.name);
                if is_put {
                    policies.put(PolicyKind::User, &plain.policy()).expect("there is room");
                    model.push(plain);
                } else {
                    policies.remove(PolicyKind::User, &plain.name);
                }
            }
            let subject = if is_quorum { QUORUM } else { CLASSIC };
            model.retain(|plain| plain.holds_for(subject, &name));
            model.sort_by(|a, b| b.priority.cmp(&a.priority).then(a.name.cmp(&b.name)));
            let expected = model.first().map(|plain| plain.name.clone());
            let found = policies.matching(subject, &name).policy;
            prop_assert_eq!(found.map(|policy| policy.stored.name.clone()), expected);
        }
    }
}
