//! Direct reply-to: the channel's consumer of the pseudo-queue.

use std::sync::Arc;

use super::Channel;
use crate::broker::error::Error;
use crate::broker::reply::Requester;
use crate::connection::peer::Peer;
use crate::protocol::generated::{BasicConsume, BasicConsumeOk};
use crate::protocol::wire::ShortStr;

/// A channel has at most one.
pub(super) struct ReplyConsumer {
    pub(super) tag: ShortStr,
    /// What requests of this channel carry in reply_to.
    pub(super) address: ShortStr,
}

impl Channel {
    /// basic.consume from the pseudo-queue.
    pub(super) fn consume_replies(
        &mut self,
        tag: ShortStr,
        consume: &BasicConsume,
        peer: &Peer,
    ) -> Result<(), Error> {
        if !consume.no_ack {
            return Err(Error::precondition_failed("reply consumer cannot acknowledge"));
        }
        if self.reply.is_some() {
            return Err(Error::precondition_failed("reply consumer already set"));
        }
        let requester = Arc::clone(&self.shared) as Arc<dyn Requester>;
        let address = peer.vhost.replies.add(tag.clone(), requester);
        self.reply = Some(ReplyConsumer { tag: tag.clone(), address });
        peer.reply(self.number, consume.no_wait, BasicConsumeOk { consumer_tag: tag });
        Ok(())
    }

    /// Ends it, if there is one. What comes for it later is dropped.
    pub(super) fn cancel_replies(&mut self, peer: &Peer) {
        if let Some(reply) = self.reply.take() {
            peer.vhost.replies.remove(&reply.address);
        }
    }
}
