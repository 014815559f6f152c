//! Recent history: a message follows every binding, and whoever is bound gets the last ones first.
//!
//! Owner of the last messages. They are in memory only: a restart leaves none. A message is
//! remembered in the same step in which its way is found, so that a destination that is being bound
//! meanwhile gets it once, from here or by its binding.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::error::Error;
use crate::broker::routing_keys::Routable;
use crate::protocol::message::Message;
use crate::protocol::raw_table::RawValue;
use crate::protocol::table::FieldTable;

/// Argument of the exchange: how many messages it remembers.
pub(super) const HISTORY_LENGTH: &str = "x-recent-history-length";

/// Header of a message that is not to be remembered, when it is true.
const NO_STORE: &str = "x-recent-history-no-store";

const LENGTH_DEFAULT: usize = 20;
const LENGTH_MAX: usize = 10_000;

/// Bytes of messages that one exchange remembers. Beyond it the oldest are forgotten early, and a
/// message that is larger alone is not remembered at all.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Default)]
struct Recent {
    /// The oldest first.
    messages: VecDeque<Arc<Message>>,
    bytes: u64,
}

impl Recent {
    fn push(&mut self, message: &Arc<Message>, length: usize) {
        self.bytes += cost_of(message);
        self.messages.push_back(Arc::clone(message));
        while self.messages.len() > length || self.bytes > BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= cost_of(&oldest);
        }
    }
}

fn cost_of(message: &Message) -> u64 {
    let chunks: usize = message.chunks().iter().map(bytes::Bytes::len).sum();
    (message.packed().len() + chunks) as u64
}

pub(super) struct RecentHistory {
    bindings: BindingList,
    length: usize,
    recent: Mutex<Recent>,
}

impl RecentHistory {
    pub(super) fn new(arguments: &FieldTable) -> Result<Self, Error> {
        let length = match arguments.get(HISTORY_LENGTH) {
            None => LENGTH_DEFAULT,
            Some(value) => match value.as_i64().map(usize::try_from) {
                Some(Ok(length @ 1..=LENGTH_MAX)) => length,
                Some(Ok(longer)) if longer > LENGTH_MAX => {
                    return Err(Error::precondition_failed(format!(
                        "Invalid argument {}, '{HISTORY_LENGTH}' must not be greater than \
                         {LENGTH_MAX}",
                        value.plain_text()
                    )));
                }
                // RabbitMQ's words.
                _ => {
                    return Err(Error::precondition_failed(format!(
                        "Invalid argument {}, '{HISTORY_LENGTH}' must be a positive integer",
                        value.plain_text()
                    )));
                }
            },
        };
        Ok(Self { bindings: BindingList::default(), length, recent: Mutex::default() })
    }
}

impl Router for RecentHistory {
    /// Every message has to come by.
    fn routes_by_keys_only(&self) -> bool {
        false
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        self.bindings.add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        self.bindings.remove(binding);
    }

    fn recent(&self) -> Vec<Arc<Message>> {
        self.recent.lock().messages.iter().cloned().collect()
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        if message.headers().get(NO_STORE).and_then(RawValue::as_bool) != Some(true) {
            self.recent.lock().push(message.message, self.length);
        }
        self.bindings.iter().for_each(|binding| visit(&binding.destination));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::tests::route;
    use crate::protocol::properties::{BasicProperties, Properties};
    use crate::protocol::table::FieldValue;
    use crate::protocol::wire::ShortStr;

    fn arguments(value: FieldValue) -> FieldTable {
        FieldTable::from_iter([(ShortStr::from_static(HISTORY_LENGTH), value)])
    }

    fn remembered(router: &RecentHistory) -> Vec<String> {
        router.recent().iter().map(|message| message.routing_key().to_owned()).collect()
    }

    #[test]
    fn the_last_messages_are_remembered_the_oldest_first() {
        let router = RecentHistory::new(&arguments(FieldValue::U8(3))).expect("fine");
        for key in ["a", "b", "c", "d"] {
            route(&router, key, &Properties::default(), b"", &mut |_| {});
        }
        assert_eq!(remembered(&router), ["b", "c", "d"]);
        let router = RecentHistory::new(&FieldTable::default()).expect("fine");
        for _ in 0..LENGTH_DEFAULT + 5 {
            route(&router, "", &Properties::default(), b"", &mut |_| {});
        }
        assert_eq!(remembered(&router).len(), LENGTH_DEFAULT);
    }

    #[test]
    fn a_message_that_says_so_is_not_remembered() {
        let router = RecentHistory::new(&FieldTable::default()).expect("fine");
        let with = |value| {
            let headers = Some(FieldTable::from_iter([(ShortStr::from_static(NO_STORE), value)]));
            Properties::from(&BasicProperties { headers, ..BasicProperties::default() })
        };
        for (key, value) in [
            ("true", FieldValue::Bool(true)),
            ("false", FieldValue::Bool(false)),
            ("text", FieldValue::LongStr("true".into())),
        ] {
            route(&router, key, &with(value), b"", &mut |_| {});
        }
        assert_eq!(remembered(&router), ["false", "text"]);
    }

    #[test]
    fn what_is_remembered_has_a_limit_in_bytes() {
        let router =
            RecentHistory::new(&arguments(FieldValue::I64(LENGTH_MAX as i64))).expect("fine");
        let third = vec![0; BYTES_MAX as usize / 3];
        for key in ["a", "b", "c"] {
            route(&router, key, &Properties::default(), &third, &mut |_| {});
        }
        assert_eq!(remembered(&router), ["b", "c"]);
        let all = vec![0; BYTES_MAX as usize];
        route(&router, "large", &Properties::default(), &all, &mut |_| {});
        assert!(remembered(&router).is_empty());
        assert_eq!(router.recent.lock().bytes, 0);
    }

    #[test]
    fn a_length_is_a_positive_integer_within_a_limit() {
        for (value, text) in [
            (
                FieldValue::I32(0),
                "Invalid argument 0, 'x-recent-history-length' must be a positive",
            ),
            (FieldValue::I64(-1), "Invalid argument -1, 'x-recent-history-length' must be a pos"),
            (FieldValue::LongStr("3".into()), "Invalid argument 3, 'x-recent-history-length' must"),
            (FieldValue::I32(10_001), "Invalid argument 10001, 'x-recent-history-length' must not"),
        ] {
            let error = RecentHistory::new(&arguments(value)).map(|_| ()).expect_err("refused");
            assert!(error.text.starts_with(text), "{error}");
        }
    }
}
