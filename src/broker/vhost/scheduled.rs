//! What an exchange delays: looked at, and cancelled.

use std::sync::Arc;

use serde_json::json;

use super::Vhost;
use crate::broker::auth::{Access, Actor, Resource};
use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::exchange::{Exchange, ExchangeKind};
use crate::broker::queue::{Queue, Scheduled};
use crate::protocol::wire::ShortStr;
use crate::store::record::Seq;

impl Vhost {
    /// The messages that an exchange delays, in the order of their times, from a time and a number
    /// on. It takes read permission for the exchange.
    pub async fn scheduled(
        &self,
        exchange: &ShortStr,
        from: (u64, Seq),
        max: usize,
        actor: &Actor,
    ) -> Result<Vec<Scheduled>, Error> {
        self.delaying(exchange, Access::Read, actor)?.scheduled(from, max).await
    }

    /// Takes away a message that an exchange delays. Refuses with 404 one that doesn't wait any
    /// more. It takes write permission for the exchange.
    pub async fn cancel_scheduled(
        &self,
        exchange: &ShortStr,
        due_ms: u64,
        seq: Seq,
        actor: &Actor,
    ) -> Result<Durable, Error> {
        let own = self.delaying(exchange, Access::Write, actor)?;
        let mut batch = Changes::default();
        let cancelled = own.cancel_scheduled(due_ms, seq, &mut batch).await?;
        let Some(Scheduled { message: Some(message), .. }) = cancelled else {
            return Err(Error::not_found(format!(
                "no message {due_ms}:{} waits in {}: it may have been delivered",
                seq.0,
                Exchange::described(exchange, &self.name)
            )));
        };
        self.events.tell(Some(actor), || {
            let event = Event::new("exchange.scheduled.cancelled").text("name", exchange);
            let event = event.text("vhost", &self.name).number("due_in_ms", due_ms);
            let waited = json!({
                "due_in_ms": due_ms, "exchange": message.exchange(),
                "routing_key": message.routing_key(), "payload_bytes": message.body_len(),
            });
            event.text("routing_key", message.routing_key()).changed(Some(waited), None)
        });
        Ok(Durable::append(&*self.store, batch))
    }

    fn delaying(
        &self,
        name: &ShortStr,
        access: Access,
        actor: &Actor,
    ) -> Result<Arc<Queue>, Error> {
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
