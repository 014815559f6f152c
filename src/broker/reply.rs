//! Direct reply-to: a reply goes from its publisher straight to the channel that waits for it, past
//! queues and the log.
//!
//! A channel that consumes from the pseudo-queue gets an address that nobody can guess, and its
//! requests carry it in reply_to. What is published to the default exchange with that address as
//! routing key is a reply. Each vhost owns the addresses of its channels.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;

use super::error::Error;
use crate::protocol::message::Message;
use crate::protocol::wire::ShortStr;

/// What a client consumes from and names in reply_to. Nothing is kept in it.
pub const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

/// The way to a channel that waits for replies, implemented where the sockets are. Must not wait.
pub trait Requester: Send + Sync {
    /// Takes a reply; drops it when the client reads too slowly.
    fn reply(self: Arc<Self>, consumer_tag: &ShortStr, message: &Arc<Message>);
}

struct Waiting {
    consumer_tag: ShortStr,
    requester: Arc<dyn Requester>,
}

/// Who waits for replies, by address.
#[derive(Default)]
pub struct Replies(DashMap<ShortStr, Waiting>);

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("waiting", &self.0.len()).finish()
    }
}

impl Replies {
    /// Has a channel wait for replies; answers its address, which is never used again.
    pub fn add(&self, consumer_tag: ShortStr, requester: Arc<dyn Requester>) -> ShortStr {
        let token: [u8; 24] = rand::random();
        let address = format!("{PSEUDO_QUEUE}.{}", URL_SAFE_NO_PAD.encode(token));
        let address = ShortStr::try_from(address.as_str()).unwrap_or_default();
        self.0.insert(address.clone(), Waiting { consumer_tag, requester });
        address
    }

    pub fn remove(&self, address: &ShortStr) {
        self.0.remove(address.as_bytes());
    }

    /// Whether a name can be declared as if it were a queue: the pseudo-queue always, an address as
    /// long as somebody waits there.
    pub fn is_there(&self, name: &str) -> bool {
        name == PSEUDO_QUEUE || self.0.contains_key(name.as_bytes())
    }

    /// Brings a message that found no queue to whoever waits for it. Answers whether it is a reply.
    /// Rule: a reply is never unroutable, though nobody may wait for it any more.
    pub fn deliver(&self, message: &Arc<Message>) -> bool {
        let address = message.routing_key();
        if !message.exchange().is_empty() || !is_address(address) {
            return false;
        }
        if let Some(waiting) = self.0.get(address.as_bytes()) {
            Arc::clone(&waiting.requester).reply(&waiting.consumer_tag, message);
        }
        true
    }
}

/// What somebody is told who asks for a direct reply and doesn't wait for any.
pub fn no_requester() -> Error {
    Error::precondition_failed("fast reply consumer does not exist")
}

/// Whether a queue's name is the pseudo-queue's or an address of replies.
pub fn is_reply_queue(name: &str) -> bool {
    name == PSEUDO_QUEUE || is_address(name)
}

fn is_address(name: &str) -> bool {
    name.strip_prefix(PSEUDO_QUEUE).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pseudo_queue_and_addresses_are_reply_queues() {
        for name in ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.x"] {
            assert!(is_reply_queue(name), "{name}");
        }
        for name in ["", "amq.rabbitmq.reply", "amq.rabbitmq.reply-tox", "x"] {
            assert!(!is_reply_queue(name), "{name}");
        }
    }
}
