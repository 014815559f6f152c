//! The options that one place sets: the arguments of a queue, or a policy's definition.

use serde_json::{Map, Value as Json};

use super::draft::Draft;
use super::options::{Merge, OPTIONS, OptionRow, Subject, by_policy_key};
use super::value::Value;
use crate::broker::queue::arguments::{QueueOptions, QueueType};
use crate::protocol::table::FieldTable;

/// Options and their values, in the order of the table.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(&'static OptionRow, Value)>);

impl Settings {
    /// What arguments set; those that the subject doesn't take, or whose value has the wrong
    /// shape, set nothing.
    pub fn of_arguments(arguments: &FieldTable, subject: Subject) -> Self {
        let rows = OPTIONS.iter().filter(|row| row.takes(subject));
        Self(
            rows.filter_map(|row| {
                let value = row.shape.read_field(arguments.get(row.argument)?).ok()?;
                Some((row, value))
            })
            .collect(),
        )
    }

    /// What a policy's definition sets; says which key can't be set so, and why.
    pub fn of_definition(
        definition: &Map<String, Json>,
        for_operators: bool,
    ) -> Result<Self, String> {
        let mut settings = Vec::with_capacity(definition.len());
        for (name, value) in definition {
            let Some((row, key)) = by_policy_key(name) else { return Err(unknown_key(name)) };
            if for_operators && !key.for_operators {
                return Err(format!("the key '{name}' is not for operator policies"));
            }
            let read = row.shape.read_json(value);
            let value = read.map_err(|why| format!("invalid value {value} of '{name}': {why}"))?;
            settings.push((row, value));
        }
        let settings = Self(settings);
        match settings.contradiction() {
            Some((argument, why)) => Err(format!("'{}': {why}", argument.trim_start_matches("x-"))),
            None => Ok(settings),
        }
    }

    pub fn get(&self, argument: &str) -> Option<&Value> {
        self.0.iter().find(|(row, _)| row.argument == argument).map(|(_, value)| value)
    }

    /// Whether the subject takes all of them.
    pub fn fit(&self, subject: Subject) -> bool {
        self.0.iter().all(|(row, _)| row.takes(subject))
    }

    /// An option that is wrong beside another one of the same place, and why.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        const TYPE: &str = "x-delayed-retry-type";
        const MIN: &str = "x-delayed-retry-min";
        const MAX: &str = "x-delayed-retry-max";
        let number = |argument| self.get(argument).and_then(Value::limit);
        let kind = self.get(TYPE).and_then(Value::text);
        if kind.is_some_and(|kind| *kind != "disabled") && number(MIN).is_none() {
            return Some((TYPE, "the least delay is needed, too".to_owned()));
        }
        match (number(MIN), number(MAX)) {
            (Some(least), Some(most)) if most < least => {
                Some((MAX, format!("{most} is less than the least delay, {least}")))
            }
            _ => None,
        }
    }

    /// A policy's settings and an operator policy's as one.
    pub fn merged(&self, operator: &Self) -> Self {
        let both = OPTIONS.iter().filter_map(|row| {
            let merge = row.policy?.merge;
            let value = match (self.get(row.argument), operator.get(row.argument)) {
                (Some(own), Some(other)) if merge == Merge::Min => smaller(own, other),
                (own, other) => other.or(own)?,
            };
            Some((row, value.clone()))
        });
        Self(both.collect())
    }

    /// What a queue with these arguments does under the settings of its policies.
    pub fn in_force(&self, policies: &Self, queue_type: QueueType) -> QueueOptions {
        let mut draft = Draft::new(queue_type);
        for row in OPTIONS {
            let merge = row.policy.map_or(Merge::Argument, |key| key.merge);
            let value = match (self.get(row.argument), policies.get(row.argument), merge) {
                (Some(own), Some(other), Merge::Min) => Some(smaller(own, other)),
                (own, other, Merge::Policy) => other.or(own),
                (own, other, _) => own.or(other),
            };
            if let Some(value) = value {
                (row.apply)(&mut draft, value);
            }
        }
        draft.finish()
    }

    /// As a policy's definition says it.
    pub fn definition(&self) -> Map<String, Json> {
        let keys = self.0.iter().filter_map(|(row, value)| Some((row.policy?.name, value)));
        keys.map(|(name, value)| (name.to_owned(), value.to_json())).collect()
    }
}

/// The smaller limit; a negative number is none.
fn smaller<'a>(a: &'a Value, b: &'a Value) -> &'a Value {
    let of = |value: &Value| value.limit().unwrap_or(u64::MAX);
    if of(b) < of(a) { b } else { a }
}

/// Names the key that was probably meant.
fn unknown_key(name: &str) -> String {
    let known = OPTIONS.iter().filter_map(|row| row.policy).map(|key| key.name);
    let likeness = |key: &&str| (strsim::jaro_winkler(name, key) * 1000.0) as u32;
    let nearest = known.max_by_key(likeness).unwrap_or_default();
    format!("the key '{name}' is not recognised; the nearest is '{nearest}'")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::broker::queue::arguments::{Overflow, Retry, RetryKind};

    fn definition(json: Json) -> Settings {
        let Json::Object(map) = json else { panic!("an object") };
        Settings::of_definition(&map, false).expect("valid")
    }

    fn refused(json: Json, for_operators: bool) -> String {
        let Json::Object(map) = json else { panic!("an object") };
        Settings::of_definition(&map, for_operators).expect_err("invalid")
    }

    /// What a classic queue does with its own settings and those of policies.
    fn in_force(own: Json, policy: Json, operator: Json) -> QueueOptions {
        let policies = definition(policy).merged(&definition(operator));
        definition(own).in_force(&policies, QueueType::Classic)
    }

    #[test]
    fn of_limits_the_smallest_holds() {
        let options = in_force(
            json!({"max-length": 30, "message-ttl": 5}),
            json!({"max-length": 20, "expires": 8}),
            json!({"max-length": 25, "expires": 7}),
        );
        assert_eq!(options.max_length, Some(20));
        assert_eq!(options.message_ttl_ms, Some(5));
        assert_eq!(options.expires_ms, Some(7));
    }

    #[test]
    fn no_delivery_limit_gives_way_to_any() {
        let limit = |own: i64, policy: i64| {
            let (own, policy) = (json!({"delivery-limit": own}), json!({"delivery-limit": policy}));
            in_force(own, policy, json!({})).delivery_limit
        };
        assert_eq!(limit(-1, 10), Some(10));
        assert_eq!(limit(10, -1), Some(10));
        assert_eq!(limit(7, 10), Some(7));
        assert_eq!(limit(-1, -1), None);
    }

    #[test]
    fn an_argument_holds_against_policies_and_an_operator_against_a_policy() {
        let overflow = |own, policy, operator| in_force(own, policy, operator).overflow;
        let reject = || json!({"overflow": "reject-publish"});
        let drop = || json!({"overflow": "drop-head"});
        assert_eq!(overflow(reject(), drop(), drop()), Overflow::RejectPublish);
        assert_eq!(overflow(json!({}), drop(), reject()), Overflow::RejectPublish);
        assert_eq!(overflow(json!({}), reject(), json!({})), Overflow::RejectPublish);
    }

    #[test]
    fn the_kind_of_retry_is_the_policys() {
        let own = json!({"delayed-retry-type": "all", "delayed-retry-min": 10});
        let policy = json!({
            "delayed-retry-type": "failed",
            "delayed-retry-min": 5,
            "delayed-retry-max": 7,
            "delayed-retry-multiplier": 1.5,
        });
        let expected = Retry {
            kind: RetryKind::Failed,
            min_ms: 5,
            max_ms: 7,
            multiplier_percent: Some(150),
            jitter_percent: 0,
        };
        assert_eq!(in_force(own.clone(), policy, json!({})).retry, Some(expected));
        let off = json!({"delayed-retry-type": "disabled"});
        assert_eq!(in_force(own, off, json!({})).retry, None);
    }

    #[test]
    fn a_refused_key_names_itself_its_value_and_the_reason() {
        let cases = [
            (
                json!({"max-lenght": 5}),
                "the key 'max-lenght' is not recognised; the nearest is 'max-length'",
            ),
            (
                json!({"max-length": "5"}),
                "invalid value \"5\" of 'max-length': an integer is needed, not a string",
            ),
            (
                json!({"delayed-retry-type": "all"}),
                "'delayed-retry-type': the least delay is needed, too",
            ),
            (
                json!({"delayed-retry-min": 5, "delayed-retry-max": 4}),
                "'delayed-retry-max': 4 is less than the least delay, 5",
            ),
        ];
        for (map, expected) in cases {
            assert_eq!(refused(map, false), expected);
        }
        let text = "the key 'dead-letter-exchange' is not for operator policies";
        assert_eq!(refused(json!({"dead-letter-exchange": "x"}), true), text);
        // What only arguments set is not a key.
        assert!(
            refused(json!({"max-priority": 5}), false)
                .starts_with("the key 'max-priority' is not recognised")
        );
    }

    #[test]
    fn settings_fit_what_takes_all_of_them() {
        let quorum = Subject::Queue(QueueType::Quorum);
        let classic = Subject::Queue(QueueType::Classic);
        let both = definition(json!({"max-length": 5}));
        assert!(both.fit(quorum) && both.fit(classic) && !both.fit(Subject::Exchange));
        let lazy = definition(json!({"max-length": 5, "queue-mode": "lazy"}));
        assert!(!lazy.fit(quorum) && lazy.fit(classic));
        assert!(definition(json!({"alternate-exchange": "x"})).fit(Subject::Exchange));
    }

    #[test]
    fn stored_arguments_that_would_be_refused_today_set_nothing() {
        use crate::protocol::table::FieldValue;
        use crate::protocol::wire::ShortStr;

        let arguments = FieldTable::from_iter([
            (ShortStr::from_static("x-max-priority"), FieldValue::I8(5)),
            (ShortStr::from_static("x-max-length"), FieldValue::I8(-1)),
            (ShortStr::from_static("x-expires"), FieldValue::I8(7)),
        ]);
        let settings = Settings::of_arguments(&arguments, Subject::Queue(QueueType::Quorum));
        assert_eq!(Json::Object(settings.definition()), json!({"expires": 7}));
    }

    #[test]
    fn a_merged_definition_is_shown_as_keys() {
        let merged = definition(json!({"max-length": 9, "dead-letter-exchange": "dlx"}))
            .merged(&definition(json!({"max-length": 5})));
        let shown = Json::Object(merged.definition());
        assert_eq!(shown, json!({"max-length": 5, "dead-letter-exchange": "dlx"}));
    }
}
