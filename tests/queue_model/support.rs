//! Messages and what a last run leaves, for the models and the stories.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use ferrymq::protocol::message::{Body, Message};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::{QueueId, RecoveredQueue, Seq};

/// Bodies are shorter than this.
pub const LEN_MAX: u64 = 5;

/// A message with a body of so many bytes.
pub fn message(len: u64) -> Arc<Message> {
    static MADE: LazyLock<Vec<Arc<Message>>> = LazyLock::new(|| (0..LEN_MAX).map(make).collect());
    Arc::clone(&MADE[usize::try_from(len).expect("a length")])
}

fn make(len: u64) -> Arc<Message> {
    let body = vec![0; usize::try_from(len).expect("a length")];
    let (nowhere, body) = (ShortStr::default(), Body::from(Bytes::from(body)));
    Arc::new(Message::new(&nowhere, &nowhere, &Properties::default(), body, false))
}

/// Messages that a last run left, some of them delivered by it, all with one byte.
pub fn left(count: u64, delivered: u64) -> RecoveredQueue {
    RecoveredQueue {
        id: QueueId(1),
        first: Seq(1),
        last: Seq(count),
        count,
        bytes: count,
        delivered_upto: Seq(delivered),
        notes: Vec::new(),
        seen: Vec::new(),
    }
}
