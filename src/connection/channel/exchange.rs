//! Class exchange.

use super::Channel;
use crate::broker::vhost::{BindRequest, ExchangeDeclare as Declare};
use crate::connection::close::Failure;
use crate::connection::peer::Peer;
use crate::protocol::generated::{
    ExchangeBind, ExchangeBindOk, ExchangeDeclare, ExchangeDeclareOk, ExchangeDelete,
    ExchangeDeleteOk, ExchangeUnbind, ExchangeUnbindOk,
};
use crate::store::definition::DestinationKind;

impl Channel {
    pub(super) async fn exchange_declare(
        &mut self,
        declare: ExchangeDeclare,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        if declare.passive {
            peer.vhost.check_exchange_exists(&declare.exchange)?;
        } else {
            let request = Declare {
                name: declare.exchange,
                kind: declare.kind.to_string(),
                durable: declare.durable,
                auto_delete: declare.auto_delete,
                internal: declare.internal,
                arguments: declare.arguments,
            };
            let durable = peer.vhost.declare_exchange(request, &peer.actor)?;
            peer.finish(durable, declare.no_wait).await?;
        }
        peer.reply(self.number, declare.no_wait, ExchangeDeclareOk);
        Ok(())
    }

    pub(super) async fn exchange_delete(
        &mut self,
        delete: &ExchangeDelete,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let (name, if_unused) = (&delete.exchange, delete.if_unused);
        let durable = peer.vhost.delete_exchange(name, if_unused, &peer.actor)?;
        peer.finish(durable, delete.no_wait).await?;
        peer.reply(self.number, delete.no_wait, ExchangeDeleteOk);
        Ok(())
    }

    pub(super) async fn exchange_bind(
        &mut self,
        bind: ExchangeBind,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let request = BindRequest {
            source: bind.source,
            destination_kind: DestinationKind::Exchange,
            destination: bind.destination,
            key: bind.routing_key,
            arguments: bind.arguments,
        };
        let durable = peer.vhost.bind(request, &peer.actor)?;
        peer.finish(durable, bind.no_wait).await?;
        peer.reply(self.number, bind.no_wait, ExchangeBindOk);
        Ok(())
    }

    pub(super) async fn exchange_unbind(
        &mut self,
        unbind: ExchangeUnbind,
        peer: &mut Peer,
    ) -> Result<(), Failure> {
        let request = BindRequest {
            source: unbind.source,
            destination_kind: DestinationKind::Exchange,
            destination: unbind.destination,
            key: unbind.routing_key,
            arguments: unbind.arguments,
        };
        let durable = peer.vhost.unbind(request, &peer.actor)?;
        peer.finish(durable, unbind.no_wait).await?;
        peer.reply(self.number, unbind.no_wait, ExchangeUnbindOk);
        Ok(())
    }
}
