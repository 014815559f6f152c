//! The x-arguments of a queue: checked when it is declared, parsed once into [`QueueOptions`].

use crate::broker::error::Error;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// Ten years in milliseconds, RabbitMQ's bound for every time.
pub const TIME_MS_MAX: u64 = 315_360_000_000;

/// What a queue does differently because of its arguments and the policies that match it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueOptions {
    /// Where dead messages go; the empty name is the default exchange.
    pub dead_letter_exchange: Option<ShortStr>,
    /// The routing key they get instead of their own.
    pub dead_letter_routing_key: Option<ShortStr>,
    /// Messages die when they have been here so long.
    pub message_ttl_ms: Option<u64>,
    /// The queue goes when nobody has used it for so long.
    pub expires_ms: Option<u64>,
    /// Most ready messages.
    pub max_length: Option<u64>,
    /// Most bytes of bodies of ready messages.
    pub max_length_bytes: Option<u64>,
    pub overflow: Overflow,
    /// Priorities from 0 to this one; 0 is a queue without.
    pub max_priority: u8,
    pub single_active_consumer: bool,
    /// A message that came back oftener dies.
    pub delivery_limit: Option<u32>,
    /// A consumer that settles nothing for so long is cancelled.
    pub consumer_timeout_ms: Option<u64>,
    /// Messages that came back wait before they are delivered again.
    pub retry: Option<Retry>,
    /// Messages that agree in this header are out with one consumer at a time.
    pub group_header: Option<ShortStr>,
    pub deduplication: Option<Deduplication>,
}

/// What happens when a queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages die.
    #[default]
    DropHead,
    /// New messages are refused.
    RejectPublish,
    /// New messages are refused and die.
    RejectPublishDlx,
}

/// How long messages that came back wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub kind: RetryKind,
    pub min_ms: u64,
    pub max_ms: u64,
    /// The wait grows by this factor, in hundredths, each time; without it by `min_ms` each time.
    pub multiplier_percent: Option<u32>,
    /// So many hundredths of the wait are left to chance.
    pub jitter_percent: u32,
}

/// Which messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryKind {
    All,
    /// Rejected with requeue, or their consumer was lost.
    Failed,
    /// Given back with nack.
    Returned,
}

/// What is remembered of messages that came, so that they don't come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplication {
    /// The header that tells messages apart.
    pub header: ShortStr,
    /// Most messages that are remembered.
    pub size: u32,
    /// How long they are.
    pub ttl_ms: Option<u64>,
}

/// The kinds of value that an argument may have.
enum Shape {
    /// An integer of any width, from and to.
    Integer(i64, i64),
    Text,
    OneOf(&'static [&'static str]),
    Boolean,
}

/// The arguments that have a meaning: only these are checked and compared. Any other is kept and
/// shown, as clients expect.
const KNOWN: &[(&str, Shape)] = &[
    ("x-dead-letter-exchange", Shape::Text),
    ("x-dead-letter-routing-key", Shape::Text),
    ("x-delivery-limit", Shape::Integer(-1, i64::MAX)),
    ("x-expires", Shape::Integer(1, TIME_MS_MAX as i64)),
    ("x-max-length", Shape::Integer(0, i64::MAX)),
    ("x-max-length-bytes", Shape::Integer(0, i64::MAX)),
    ("x-max-priority", Shape::Integer(0, 255)),
    ("x-message-ttl", Shape::Integer(0, TIME_MS_MAX as i64)),
    ("x-overflow", Shape::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"])),
    ("x-queue-mode", Shape::OneOf(&["default", "lazy"])),
    ("x-queue-type", Shape::OneOf(&["classic", "quorum"])),
    ("x-queue-version", Shape::Integer(1, 2)),
    ("x-single-active-consumer", Shape::Boolean),
];

/// The arguments in which a queue declared again must agree. The queue type is not among them:
/// there is one kind of queue, whatever it is called.
pub const COMPARED: &[&str] = &[
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-delivery-limit",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
];

/// Checks the arguments of the queue `described`.
pub fn parse(arguments: &FieldTable, described: &str) -> Result<QueueOptions, Error> {
    for (name, shape) in KNOWN {
        if let Some(value) = arguments.get(name)
            && let Some(why) = shape.refuses(value)
        {
            return Err(Error::precondition_failed(format!(
                "invalid arg '{name}' for {described}: {why}"
            )));
        }
    }
    let options = QueueOptions {
        dead_letter_exchange: short_text(arguments, "x-dead-letter-exchange", described)?,
        dead_letter_routing_key: short_text(arguments, "x-dead-letter-routing-key", described)?,
        ..QueueOptions::default()
    };
    if options.dead_letter_routing_key.is_some() && options.dead_letter_exchange.is_none() {
        return Err(Error::precondition_failed(format!(
            "invalid arg 'x-dead-letter-routing-key' for {described}: routing_key_but_no_dlx_defined"
        )));
    }
    Ok(options)
}

impl Shape {
    fn refuses(&self, value: &FieldValue) -> Option<String> {
        match self {
            Self::Integer(low, high) => match value.as_i64() {
                None => Some(format!("an integer is needed, not a {}", value.type_name())),
                Some(number) if number < *low => {
                    Some(format!("{number} is below the minimum of {low}"))
                }
                Some(number) if number > *high => {
                    Some(format!("{number} is above the maximum of {high}"))
                }
                Some(_) => None,
            },
            Self::Text if value.as_str().is_none() => {
                Some(format!("a string is needed, not a {}", value.type_name()))
            }
            Self::Text => None,
            Self::OneOf(choices) => match value.as_str() {
                Some(text) if choices.contains(&text) => None,
                _ => Some(format!("must be one of {}", choices.join(", "))),
            },
            Self::Boolean if value.as_bool().is_none() => {
                Some(format!("a boolean is needed, not a {}", value.type_name()))
            }
            Self::Boolean => None,
        }
    }
}

fn short_text(
    arguments: &FieldTable,
    name: &str,
    described: &str,
) -> Result<Option<ShortStr>, Error> {
    let Some(text) = arguments.get(name).and_then(FieldValue::as_str) else { return Ok(None) };
    ShortStr::try_from(text).map(Some).map_err(|_| {
        Error::precondition_failed(format!(
            "invalid arg '{name}' for {described}: longer than {} bytes",
            ShortStr::MAX_LEN
        ))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn declare(name: &'static str, value: FieldValue) -> Result<QueueOptions, String> {
        let arguments = FieldTable::from_iter([(ShortStr::from_static(name), value)]);
        parse(&arguments, "queue 'q' in vhost '/'").map_err(|error| error.text)
    }

    fn text(text: &'static str) -> FieldValue {
        FieldValue::LongStr(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_integer_argument_refuses_text_and_names_itself() {
        assert_eq!(
            declare("x-max-length", text("7")),
            Err("invalid arg 'x-max-length' for queue 'q' in vhost '/': an integer is needed, not a \
                 longstr"
                .to_owned())
        );
    }

    #[test]
    fn expires_may_not_be_zero_but_a_ttl_may() {
        assert!(declare("x-expires", FieldValue::I32(0)).is_err());
        assert!(declare("x-message-ttl", FieldValue::I32(0)).is_ok());
    }

    #[test]
    fn a_dead_letter_routing_key_needs_an_exchange() {
        let refused = declare("x-dead-letter-routing-key", text("k"));
        assert!(refused.is_err_and(|text| text.ends_with("routing_key_but_no_dlx_defined")));
    }

    #[test]
    fn the_empty_dead_letter_exchange_is_the_default_one() {
        let options = declare("x-dead-letter-exchange", text("")).expect("valid");
        assert_eq!(options.dead_letter_exchange, Some(ShortStr::default()));
    }
}
