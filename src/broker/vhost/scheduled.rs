//! What waits for its time: looked at, and cancelled. An exchange delays what is published to it, a
//! queue what its consumers gave back.

use std::fmt;
use std::sync::Arc;

use serde_json::json;

use super::Vhost;
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::exchange::{Exchange, ExchangeKind};
use crate::broker::queue::{Place, Queue, Scheduled};
use crate::protocol::wire::ShortStr;

/// What holds messages back until their time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delaying {
    Exchange(ShortStr),
    Queue(ShortStr),
}

impl Delaying {
    fn name(&self) -> &ShortStr {
        match self {
            Self::Exchange(name) | Self::Queue(name) => name,
        }
    }

    /// What is told of a message that somebody takes away.
    fn cancelled(&self) -> Event {
        let key = match self {
            Self::Exchange(_) => "exchange.scheduled.cancelled",
            Self::Queue(_) => "queue.scheduled.cancelled",
        };
        Event::new(key).text("name", self.name())
    }
}

impl fmt::Display for Delaying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "exchange '{name}'"),
            Self::Queue(name) => write!(f, "queue '{name}'"),
        }
    }
}

impl Vhost {
    /// The messages that an exchange or a queue delays, in the order of their times, from a time
    /// and a place on. It takes read permission.
    pub async fn scheduled(
        &self,
        delaying: &Delaying,
        from: (u64, Place),
        max: usize,
        actor: &Actor,
    ) -> Result<Vec<Scheduled>, Error> {
        self.holder(delaying, Access::Read, actor)?.scheduled(from, max).await
    }

    /// Takes away a delayed message. Refuses with 404 one that doesn't wait any more. It takes
    /// write permission for an exchange, and read permission for a queue, as purging it does.
    pub async fn cancel_scheduled(
        &self,
        delaying: &Delaying,
        (due_ms, place): (u64, Place),
        actor: &Actor,
    ) -> Result<Durable, Error> {
        let holder = self.holder(delaying, Access::Write, actor)?;
        let mut batch = Changes::default();
        let cancelled = holder.cancel_scheduled((due_ms, place), &mut batch).await?;
        let Some(Scheduled { message: Some(message), .. }) = cancelled else {
            return Err(Error::not_found(format!(
                "no message {due_ms}:{} waits in {delaying} in vhost '{}': it may have been delivered",
                place.seq.0, self.name
            )));
        };
        self.events.tell(Some(actor), || {
            let event = delaying.cancelled().text("vhost", &self.name).number("due_in_ms", due_ms);
            let waited = json!({
                "due_in_ms": due_ms, "exchange": message.exchange(),
                "routing_key": message.routing_key(), "payload_bytes": message.body_len(),
            });
            event.text("routing_key", message.routing_key()).changed(Some(waited), None)
        });
        Ok(Durable::append(&*self.store, batch))
    }

    /// The queue in which they wait.
    fn holder(
        &self,
        delaying: &Delaying,
        access: Access,
        actor: &Actor,
    ) -> Result<Arc<Queue>, Error> {
        let name = match delaying {
            Delaying::Queue(name) => return self.readable_queue(name, actor),
            Delaying::Exchange(name) => name,
        };
        let exchange = self.existing_exchange(name)?;
        actor.check(access, &self.name, Resource::Exchange(name))?;
        exchange.own.clone().filter(|_| exchange.kind == ExchangeKind::Delayed).ok_or_else(|| {
            Error::precondition_failed(format!(
                "{} delays nothing: only exchanges of type x-delayed-message do",
                Exchange::described(name, &self.name)
            ))
        })
    }
}
