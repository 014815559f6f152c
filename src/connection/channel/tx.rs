//! Class tx: publishes and settlements that take effect together.
//!
//! Until the commit a transaction's publishes are with the channel only, and what it settles is out
//! of the ledger but still out in its queues. The commit goes to the log as one batch: after a
//! crash all of it holds or none.

use std::sync::Arc;

use super::ledger::Held;
use super::settlement::{Settlement, settle};
use super::{Channel, Mode};
use crate::broker::changes::Changes;
use crate::broker::durable::Durable;
use crate::broker::error::Error;
use crate::broker::exchange::Exchange;
use crate::broker::publish::{Fate, PublishBatch};
use crate::broker::routing_keys::{ExtraKeys, Routable, RoutingKeys};
use crate::connection::close::Failure;
use crate::connection::peer::Peer;
use crate::protocol::generated::{TxCommitOk, TxRollbackOk, TxSelectOk};
use crate::protocol::message::Message;
use crate::protocol::reply::ReplyCode;

/// Bytes of bodies and properties that a transaction may hold back, so that it can't fill the
/// memory.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Operations in one transaction, for the same reason.
const OPERATIONS_MAX: usize = 1_000_000;

/// A publish that waits for the commit.
pub(super) struct HeldBack {
    pub(super) exchange: Arc<Exchange>,
    pub(super) message: Arc<Message>,
    /// With those of BCC, which the message no longer says.
    pub(super) extra_keys: ExtraKeys,
    pub(super) mandatory: bool,
}

#[derive(Default)]
pub(super) struct Transaction {
    publishes: Vec<HeldBack>,
    bytes: u64,
    settled: Vec<(Settlement, Vec<(u64, Held)>)>,
}

impl Transaction {
    pub(super) fn publish(&mut self, publish: HeldBack) -> Result<(), Failure> {
        let HeldBack { message, extra_keys, .. } = &publish;
        let properties = message.properties_bytes().len() as u64;
        let keys = extra_keys.iter().map(|key| key.len() as u64).sum();
        let bytes = message.body_len().saturating_add(properties).saturating_add(keys);
        self.bytes = self.bytes.saturating_add(bytes);
        self.publishes.push(publish);
        self.check_limits()
    }

    pub(super) fn settle(
        &mut self,
        settlement: Settlement,
        held: Vec<(u64, Held)>,
    ) -> Result<(), Failure> {
        self.settled.push((settlement, held));
        self.check_limits()
    }

    pub(super) fn publish_count(&self) -> u64 {
        self.publishes.len() as u64
    }

    pub(super) fn settled_count(&self) -> u64 {
        self.settled.iter().map(|(_, held)| held.len() as u64).sum()
    }

    fn check_limits(&self) -> Result<(), Failure> {
        let operations = self.publishes.len().saturating_add(self.settled.len());
        if self.bytes <= BYTES_MAX && operations <= OPERATIONS_MAX {
            return Ok(());
        }
        Err(Failure::new(
            ReplyCode::PreconditionFailed,
            format!(
                "a transaction holds at most {BYTES_MAX} bytes and {OPERATIONS_MAX} operations; \
                 commit more often"
            ),
        ))
    }

    /// Everything that the transaction has settled so far, undone.
    pub(super) fn take_settled(&mut self) -> Vec<(u64, Held)> {
        self.settled.drain(..).flat_map(|(_, held)| held).collect()
    }
}

fn not_transactional() -> Failure {
    Error::precondition_failed("channel is not transactional").into()
}

impl Channel {
    pub(super) fn tx_select(&mut self, peer: &Peer) -> Result<(), Failure> {
        match self.mode {
            Mode::Confirm => {
                return Err(
                    Error::precondition_failed("cannot switch from confirm to tx mode").into()
                );
            }
            Mode::Plain => self.mode = Mode::Transaction(Transaction::default()),
            Mode::Transaction(_) => {}
        }
        peer.outbox.put_method(self.number, TxSelectOk);
        Ok(())
    }

    pub(super) async fn tx_commit(&mut self, peer: &mut Peer) -> Result<(), Failure> {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return Err(not_transactional());
        };
        let transaction = std::mem::take(transaction);
        let (batch, is_whole) = self.apply(transaction, peer);
        Durable::append(&**peer.broker.store(), batch).wait().await?;
        if !is_whole {
            // A queue was full and has refused what it was to get.
            return Err(Error::precondition_failed("partial tx completion").into());
        }
        peer.outbox.put_method(self.number, TxCommitOk);
        Ok(())
    }

    /// Brings a transaction into the queues; answers what has to be on disk before the commit is,
    /// and whether the queues have taken all of it.
    fn apply(&self, transaction: Transaction, peer: &mut Peer) -> (Changes, bool) {
        let mut publishes = PublishBatch::default();
        let mut is_whole = true;
        for HeldBack { exchange, message, extra_keys, mandatory } in transaction.publishes {
            let counted = self.shared.sent.publishes.to(&exchange.name);
            peer.count_publish(&self.shared, &counted);
            let properties = message.properties();
            let fate = publishes.publish(&exchange, message, &properties, |message| {
                let keys = RoutingKeys::new(message.routing_key(), &extra_keys);
                let routable = Routable { keys, properties: &properties, message };
                let route = peer.vhost.route(&exchange, &routable).queues;
                if peer.is_tracing {
                    peer.tracer.published(self.number, message, &route);
                }
                route
            });
            match fate {
                Fate::Taken { .. } | Fate::Known => {}
                Fate::Unrouted(message) => {
                    peer.publish_without_queue(&self.shared, message, mandatory);
                }
                Fate::Refused => is_whole = false,
            }
        }
        for (settlement, held) in transaction.settled {
            settle(held, settlement, publishes.records());
        }
        (publishes.take(), is_whole)
    }

    pub(super) fn tx_rollback(&mut self, peer: &Peer) -> Result<(), Failure> {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return Err(not_transactional());
        };
        let mut undone = std::mem::take(transaction);
        self.shared.restore(undone.take_settled());
        peer.outbox.put_method(self.number, TxRollbackOk);
        Ok(())
    }
}
