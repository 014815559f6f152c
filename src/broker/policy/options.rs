//! Every option of a queue or exchange, in one table: its name as an argument and as a key of
//! policies, what values it takes, on which things, and how those that are set twice are merged.
//!
//! Whatever is checked, compared, merged or put in force goes through this table.

use super::draft::Draft;
use super::value::{Shape, TIME_MS_MAX, Value};
use crate::broker::exchange::ALTERNATE_EXCHANGE;
use crate::broker::queue::arguments::QueueType;
use crate::protocol::wire::ShortStr;

/// What has options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Queue(QueueType),
    Exchange,
}

const CLASSIC: Subject = Subject::Queue(QueueType::Classic);
const QUORUM: Subject = Subject::Queue(QueueType::Quorum);
const STREAM: Subject = Subject::Queue(QueueType::Stream);

const QUEUES: &[Subject] = &[CLASSIC, QUORUM];
const EVERYTHING: &[Subject] = &[CLASSIC, QUORUM, Subject::Exchange];
const EVERY_QUEUE: &[Subject] = &[CLASSIC, QUORUM, STREAM];
const CLASSIC_ONLY: &[Subject] = &[CLASSIC];
const QUORUM_ONLY: &[Subject] = &[QUORUM];
const STREAM_ONLY: &[Subject] = &[STREAM];

const COUNT: Shape = Shape::Integer(0, i64::MAX);
const TIME_MS: Shape = Shape::Integer(0, TIME_MS_MAX);
const POSITIVE_TIME_MS: Shape = Shape::Integer(1, TIME_MS_MAX);
const NAME: Shape = Shape::Text(0, ShortStr::MAX_LEN);
const HEADER: Shape = Shape::Text(1, ShortStr::MAX_LEN);

/// Longest prefix of a name that the broker makes.
const NAME_PREFIX_LEN_MAX: usize = 64;

pub const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";

/// How an option is merged that more than one place sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The smaller number holds; a negative one is no limit.
    Min,
    /// The argument holds against policies, an operator policy against a policy.
    Argument,
    /// A policy holds against the argument, an operator policy against both.
    Policy,
}

/// How policies set an option.
#[derive(Debug, Clone, Copy)]
pub struct PolicyKey {
    pub name: &'static str,
    /// An operator policy may, too.
    pub for_operators: bool,
    pub merge: Merge,
}

/// An option.
#[derive(Debug)]
pub struct OptionRow {
    /// Its name as an argument.
    pub argument: &'static str,
    pub shape: Shape,
    /// What takes it.
    pub subjects: &'static [Subject],
    /// What is declared again must agree in it.
    pub is_compared: bool,
    /// None is an option that only an argument sets.
    pub policy: Option<PolicyKey>,
    /// Puts a value in force on a queue.
    pub(super) apply: fn(&mut Draft, &Value),
}

impl OptionRow {
    const fn new(
        argument: &'static str,
        shape: Shape,
        subjects: &'static [Subject],
        apply: fn(&mut Draft, &Value),
    ) -> Self {
        Self { argument, shape, subjects, is_compared: true, policy: None, apply }
    }

    /// One that is accepted because clients send it, and that changes nothing here.
    const fn idle(argument: &'static str, shape: Shape, subjects: &'static [Subject]) -> Self {
        Self { is_compared: false, ..Self::new(argument, shape, subjects, |_, _| ()) }
    }

    const fn policy(self, name: &'static str, merge: Merge) -> Self {
        Self { policy: Some(PolicyKey { name, for_operators: false, merge }), ..self }
    }

    const fn any_policy(self, name: &'static str, merge: Merge) -> Self {
        Self { policy: Some(PolicyKey { name, for_operators: true, merge }), ..self }
    }

    const fn compared(self) -> Self {
        Self { is_compared: true, ..self }
    }

    pub fn takes(&self, subject: Subject) -> bool {
        self.subjects.contains(&subject)
    }
}

/// What the name of a queue begins with that the broker names. It is not kept.
pub const NAME_PREFIX: OptionRow =
    OptionRow::idle("x-name-prefix", Shape::Text(1, NAME_PREFIX_LEN_MAX), CLASSIC_ONLY);

/// All options, in the order in which arguments are checked. `policy` names the key that only
/// policies have, `any_policy` the one that operator policies have, too.
pub const OPTIONS: &[OptionRow] = &[
    OptionRow::new("x-expires", POSITIVE_TIME_MS, QUEUES, |draft, value| {
        draft.options.expires_ms = value.limit();
    })
    .any_policy("expires", Merge::Min),
    OptionRow::new("x-message-ttl", TIME_MS, QUEUES, |draft, value| {
        draft.options.message_ttl_ms = value.limit();
    })
    .any_policy("message-ttl", Merge::Min),
    OptionRow::new(DEAD_LETTER_EXCHANGE, NAME, QUEUES, |draft, value| {
        draft.options.dead_letter_exchange = value.text().cloned();
    })
    .policy("dead-letter-exchange", Merge::Argument),
    OptionRow::new("x-dead-letter-routing-key", NAME, QUEUES, |draft, value| {
        draft.options.dead_letter_routing_key = value.text().cloned();
    })
    .policy("dead-letter-routing-key", Merge::Argument),
    OptionRow::idle(
        "x-dead-letter-strategy",
        Shape::OneOf(&["at-most-once", "at-least-once"]),
        QUORUM_ONLY,
    )
    .compared()
    .policy("dead-letter-strategy", Merge::Argument),
    OptionRow::new("x-max-length", COUNT, QUEUES, |draft, value| {
        draft.options.max_length = value.limit();
    })
    .any_policy("max-length", Merge::Min),
    OptionRow::new("x-max-length-bytes", COUNT, EVERY_QUEUE, |draft, value| {
        draft.options.max_length_bytes = value.limit();
    })
    .any_policy("max-length-bytes", Merge::Min),
    OptionRow::new(
        "x-overflow",
        Shape::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"]),
        QUEUES,
        Draft::set_overflow,
    )
    .any_policy("overflow", Merge::Argument),
    OptionRow::new("x-max-priority", Shape::Integer(0, 255), CLASSIC_ONLY, |draft, value| {
        let highest = value.limit().and_then(|highest| u8::try_from(highest).ok());
        draft.options.max_priority = highest.unwrap_or_default();
    }),
    OptionRow::new("x-single-active-consumer", Shape::Boolean, QUEUES, |draft, value| {
        draft.options.single_active_consumer = value.is_true();
    }),
    OptionRow::new("x-delivery-limit", Shape::Integer(-1, i64::MAX), QUEUES, |draft, value| {
        draft.options.delivery_limit = value.small_limit();
    })
    .any_policy("delivery-limit", Merge::Min),
    OptionRow::new("x-consumer-timeout", TIME_MS, QUEUES, |draft, value| {
        draft.options.consumer_timeout_ms = value.limit().filter(|timeout| *timeout > 0);
    })
    .policy("consumer-timeout", Merge::Min),
    OptionRow::new(
        "x-delayed-retry-type",
        Shape::OneOf(&["disabled", "all", "failed", "returned"]),
        QUEUES,
        Draft::set_retry_kind,
    )
    .any_policy("delayed-retry-type", Merge::Policy),
    OptionRow::new("x-delayed-retry-min", POSITIVE_TIME_MS, QUEUES, |draft, value| {
        draft.retry_min_ms = value.limit();
    })
    .any_policy("delayed-retry-min", Merge::Min),
    OptionRow::new("x-delayed-retry-max", POSITIVE_TIME_MS, QUEUES, |draft, value| {
        draft.retry_max_ms = value.limit();
    })
    .any_policy("delayed-retry-max", Merge::Min),
    OptionRow::new("x-delayed-retry-multiplier", Shape::Factor, QUEUES, |draft, value| {
        draft.retry_multiplier_percent = value.hundredths();
    })
    .any_policy("delayed-retry-multiplier", Merge::Argument),
    OptionRow::new("x-delayed-retry-jitter", Shape::Integer(0, 100), QUEUES, |draft, value| {
        draft.retry_jitter_percent = value.small_limit();
    })
    .any_policy("delayed-retry-jitter", Merge::Argument),
    OptionRow::new("x-message-group-header", HEADER, QUEUES, |draft, value| {
        draft.options.group_header = value.text().cloned();
    }),
    OptionRow::new("x-message-deduplication", Shape::Boolean, EVERYTHING, |draft, value| {
        draft.deduplicates = value.is_true();
    }),
    OptionRow::new("x-cache-size", Shape::Integer(1, 1_000_000), EVERYTHING, |draft, value| {
        draft.cache_size = value.small_limit();
    }),
    OptionRow::new("x-cache-ttl", POSITIVE_TIME_MS, EVERYTHING, |draft, value| {
        draft.cache_ttl_ms = value.limit();
    }),
    OptionRow::new("x-deduplication-header", HEADER, EVERYTHING, |draft, value| {
        draft.deduplication_header = value.text().cloned();
    }),
    NAME_PREFIX,
    OptionRow::idle("x-queue-mode", Shape::OneOf(&["default", "lazy"]), CLASSIC_ONLY)
        .compared()
        .policy("queue-mode", Merge::Argument),
    OptionRow::idle("x-queue-version", Shape::Integer(1, 2), CLASSIC_ONLY)
        .policy("queue-version", Merge::Argument),
    OptionRow::idle(
        "x-queue-leader-locator",
        Shape::OneOf(&["client-local", "balanced", "random", "least-leaders"]),
        EVERY_QUEUE,
    )
    .policy("queue-leader-locator", Merge::Argument),
    OptionRow::idle("x-consumer-disconnected-timeout", TIME_MS, QUORUM_ONLY)
        .policy("consumer-disconnected-timeout", Merge::Min),
    OptionRow::idle("x-quorum-initial-group-size", Shape::Integer(1, i64::MAX), QUORUM_ONLY),
    OptionRow::idle("x-quorum-target-group-size", Shape::Integer(1, i64::MAX), QUORUM_ONLY)
        .any_policy("target-group-size", Merge::Argument),
    OptionRow::idle("x-member-placement-tag", HEADER, QUORUM_ONLY),
    OptionRow::idle("x-max-in-memory-length", COUNT, QUORUM_ONLY)
        .any_policy("max-in-memory-length", Merge::Min),
    OptionRow::idle("x-max-in-memory-bytes", COUNT, QUORUM_ONLY)
        .any_policy("max-in-memory-bytes", Merge::Min),
    OptionRow::idle("x-initial-cluster-size", Shape::Integer(1, i64::MAX), STREAM_ONLY)
        .policy("initial-cluster-size", Merge::Argument),
    OptionRow::idle("x-max-age", Shape::Age, STREAM_ONLY).policy("max-age", Merge::Argument),
    OptionRow::idle("x-stream-max-segment-size-bytes", COUNT, STREAM_ONLY)
        .policy("stream-max-segment-size-bytes", Merge::Argument),
    OptionRow::idle("x-stream-filter-size-bytes", Shape::Integer(16, 255), STREAM_ONLY)
        .policy("stream-filter-size-bytes", Merge::Argument),
    OptionRow::idle(ALTERNATE_EXCHANGE, NAME, &[Subject::Exchange])
        .compared()
        .policy(ALTERNATE_EXCHANGE, Merge::Argument),
];

/// The options in which what is declared again must agree.
pub fn compared(subject: Subject) -> impl Iterator<Item = &'static str> {
    let rows = OPTIONS.iter().filter(move |row| row.is_compared && row.takes(subject));
    rows.map(|row| row.argument)
}

/// The option that policies call by this name.
pub fn by_policy_key(name: &str) -> Option<(&'static OptionRow, PolicyKey)> {
    OPTIONS.iter().find_map(|row| {
        let key = row.policy.filter(|key| key.name == name)?;
        Some((row, key))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_is_there_twice() {
        let arguments: HashSet<_> = OPTIONS.iter().map(|row| row.argument).collect();
        assert_eq!(arguments.len(), OPTIONS.len());
        let keys: Vec<_> = OPTIONS.iter().filter_map(|row| row.policy).collect();
        let names: HashSet<_> = keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), keys.len());
    }

    #[test]
    fn a_key_is_the_argument_without_its_prefix() {
        // As in RabbitMQ: whoever knows the argument knows the key.
        for row in OPTIONS {
            let Some(key) = row.policy else { continue };
            let plain = row.argument.trim_start_matches("x-").trim_start_matches("quorum-");
            assert_eq!(key.name, plain);
        }
    }

    #[test]
    fn only_numbers_are_merged_by_size() {
        for row in OPTIONS {
            let is_min = row.policy.is_some_and(|key| key.merge == Merge::Min);
            assert!(!is_min || matches!(row.shape, Shape::Integer(..)), "{}", row.argument);
        }
    }
}
