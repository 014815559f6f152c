//! The x-arguments of a queue: checked when it is declared. What each one may be is in the table of
//! [`options`](crate::broker::policy::options); together with policies they become
//! [`QueueOptions`].

use crate::broker::error::Error;
use crate::broker::policy::options::{
    DEAD_LETTER_EXCHANGE, NAME_PREFIX, OPTIONS, OptionRow, Subject,
};
use crate::broker::policy::settings::Settings;
use crate::protocol::reply::ReplyCode;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// The argument that names the type.
pub const QUEUE_TYPE: &str = "x-queue-type";

/// What kind of queue it is: what it promises and which arguments it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueueType {
    #[default]
    Classic,
    Quorum,
    Stream,
}

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

impl QueueType {
    pub const ALL: [Self; 3] = [Self::Classic, Self::Quorum, Self::Stream];

    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue_type| queue_type.name() == name)
    }

    /// The type of a queue that was declared with these arguments.
    pub fn of(arguments: &FieldTable) -> Self {
        let name = arguments.get(QUEUE_TYPE).and_then(FieldValue::as_str);
        name.and_then(Self::parse).unwrap_or_default()
    }

    /// The type that somebody asks for; nothing when the default will do.
    pub fn asked(arguments: &FieldTable, described: &str) -> Result<Option<Self>, Error> {
        let Some(value) = arguments.get(QUEUE_TYPE) else { return Ok(None) };
        let why = match value.as_str() {
            Some("" | "undefined") => return Ok(None),
            Some(name) => match Self::parse(name) {
                Some(Self::Stream) => return Err(not_implemented(described)),
                Some(queue_type) => return Ok(Some(queue_type)),
                None => format!("there is no type '{name}', only classic and quorum"),
            },
            None => format!("a string is needed, not a {}", value.type_name()),
        };
        Err(invalid(QUEUE_TYPE, described, &why))
    }

    /// The name by which RabbitMQ's error texts and metrics call it.
    pub fn module(self) -> String {
        format!("rabbit_{}_queue", self.name())
    }

    /// Rule: a quorum queue is durable, everybody's, and there until it is deleted.
    pub fn check_properties(
        self,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        described: &str,
    ) -> Result<(), Error> {
        if self == Self::Classic {
            return Ok(());
        }
        let refused = [
            (auto_delete, "auto-delete"),
            (exclusive, "exclusive-owner"),
            (!durable, "non-durable"),
        ];
        match refused.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, property)) => Err(Error::precondition_failed(format!(
                "invalid property '{property}' for {described}"
            ))),
            None => Ok(()),
        }
    }

    /// Rule: only classic queues are named by the broker.
    pub fn check_server_named(self) -> Result<(), Error> {
        if self == Self::Classic {
            return Ok(());
        }
        Err(Error::precondition_failed(format!(
            "Cannot declare a server-named queue for type {}",
            self.module()
        )))
    }
}

/// Checks the arguments of the queue `described`. Those without a meaning are kept and shown, as
/// clients expect.
pub fn check(
    arguments: &FieldTable,
    queue_type: QueueType,
    described: &str,
) -> Result<Settings, Error> {
    let subject = Subject::Queue(queue_type);
    check_values(arguments, subject, described)?;
    let of_others = |row: &&OptionRow| !row.takes(subject) && !row.takes(Subject::Exchange);
    if let Some((row, _)) = given(arguments).find(|(row, _)| of_others(row)) {
        return Err(Error::precondition_failed(format!(
            "invalid arg '{}' for {described} of queue type {}",
            row.argument,
            queue_type.module()
        )));
    }
    let settings = Settings::of_arguments(arguments, subject);
    if let Some((argument, why)) = settings.contradiction() {
        return Err(invalid(argument, described, &why));
    }
    if settings.get("x-dead-letter-routing-key").is_some()
        && settings.get(DEAD_LETTER_EXCHANGE).is_none()
    {
        let why = "routing_key_but_no_dlx_defined";
        return Err(invalid("x-dead-letter-routing-key", described, why));
    }
    Ok(settings)
}

fn given(arguments: &FieldTable) -> impl Iterator<Item = (&'static OptionRow, &FieldValue)> {
    OPTIONS.iter().filter_map(|row| Some((row, arguments.get(row.argument)?)))
}

/// Checks the values of the arguments that the subject takes.
pub fn check_values(
    arguments: &FieldTable,
    subject: Subject,
    described: &str,
) -> Result<(), Error> {
    for (row, value) in given(arguments).filter(|(row, _)| row.takes(subject)) {
        if let Err(why) = row.shape.read_field(value) {
            return Err(invalid(row.argument, described, &why));
        }
    }
    Ok(())
}

/// Takes out what a name that the broker makes begins with.
pub fn take_name_prefix(
    arguments: &mut FieldTable,
    described: &str,
) -> Result<Option<ShortStr>, Error> {
    let Some(value) = arguments.remove(NAME_PREFIX.argument) else { return Ok(None) };
    let read = NAME_PREFIX.shape.read_field(&value);
    let prefix = read.map_err(|why| invalid(NAME_PREFIX.argument, described, &why))?;
    Ok(prefix.text().cloned())
}

fn invalid(argument: &str, described: &str, why: &str) -> Error {
    Error::precondition_failed(format!("invalid arg '{argument}' for {described}: {why}"))
}

fn not_implemented(described: &str) -> Error {
    Error::new(
        ReplyCode::NotImplemented,
        format!("{described}: there are no queues of type stream; use classic or quorum"),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn declare_as(
        queue_type: QueueType,
        name: &'static str,
        value: FieldValue,
    ) -> Result<QueueOptions, String> {
        let arguments = FieldTable::from_iter([(ShortStr::from_static(name), value)]);
        let settings = check(&arguments, queue_type, "queue 'q' in vhost '/'");
        let settings = settings.map_err(|error| error.text)?;
        Ok(settings.in_force(&Settings::default(), queue_type))
    }

    fn declare(name: &'static str, value: FieldValue) -> Result<QueueOptions, String> {
        declare_as(QueueType::Classic, name, value)
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

    #[test]
    fn an_argument_of_another_type_is_refused_and_an_unknown_one_is_not() {
        let refused = declare_as(QueueType::Quorum, "x-max-priority", FieldValue::I8(5));
        let expected = "invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type \
                        rabbit_quorum_queue";
        assert_eq!(refused, Err(expected.to_owned()));
        assert!(declare("x-max-age", text("7D")).is_err());
        assert!(declare("x-anything", FieldValue::Void).is_ok());
    }

    #[test]
    fn only_quorum_queues_have_a_delivery_limit_of_their_own() {
        let limit = |queue_type, value| {
            let name = "x-delivery-limit";
            declare_as(queue_type, name, FieldValue::I32(value))
                .map(|options| options.delivery_limit)
        };
        let plain = |queue_type| {
            let options = declare_as(queue_type, "x-anything", FieldValue::Void);
            options.map(|options| options.delivery_limit)
        };
        assert_eq!(plain(QueueType::Classic), Ok(None));
        assert_eq!(plain(QueueType::Quorum), Ok(Some(20)));
        assert_eq!(limit(QueueType::Quorum, 5), Ok(Some(5)));
        assert_eq!(limit(QueueType::Quorum, -1), Ok(None));
        assert_eq!(limit(QueueType::Classic, 3), Ok(Some(3)));
    }

    #[test]
    fn a_quorum_queue_drops_its_head_instead_of_refusing_with_a_dead_letter() {
        let overflow = |queue_type| {
            let options = declare_as(queue_type, "x-overflow", text("reject-publish-dlx"));
            options.map(|options| options.overflow)
        };
        assert_eq!(overflow(QueueType::Classic), Ok(Overflow::RejectPublishDlx));
        assert_eq!(overflow(QueueType::Quorum), Ok(Overflow::DropHead));
    }
}
