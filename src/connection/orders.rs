//! What ends a connection from within the broker: that it stops, that an operator closes the
//! connection, or that its vhost is deleted. The client is told 320.

use std::sync::Arc;

use tokio::sync::watch;

use super::close::Failure;
use crate::broker::registry::CloseOrder;
use crate::broker::vhost::Vhost;
use crate::protocol::reply::ReplyCode;

pub(super) struct Orders {
    stop: watch::Receiver<bool>,
    close: CloseOrder,
    vhost: Arc<Vhost>,
}

impl Orders {
    /// To be made once the connection can be found: who deletes the vhost before that doesn't see
    /// it.
    pub(super) fn new(stop: watch::Receiver<bool>, close: CloseOrder, vhost: &Arc<Vhost>) -> Self {
        Self { stop, close, vhost: Arc::clone(vhost) }
    }

    /// Why the connection has to end now, if it has to.
    pub(super) fn ended(&self) -> Option<Failure> {
        let stop = *self.stop.borrow();
        let stopped =
            || stop.then(|| forced("broker forced connection closure with reason 'shutdown'"));
        let closed = self.close.borrow().as_deref().map(forced);
        let gone = || self.vhost.is_gone().then(|| forced(&self.vhost.gone_text()));
        closed.or_else(gone).or_else(stopped)
    }

    /// Waits until the connection has to end.
    pub(super) async fn end(&mut self) -> Failure {
        loop {
            if let Some(failure) = self.ended() {
                return failure;
            }
            // Where nobody is left to say so, it is over all the same.
            tokio::select! {
                Ok(()) = self.stop.changed() => {}
                Ok(()) = self.close.changed() => {}
                else => return std::future::pending().await,
            }
        }
    }
}

fn forced(text: &str) -> Failure {
    Failure::new(ReplyCode::ConnectionForced, text)
}
