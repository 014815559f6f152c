//! The rest of an operation that is done in memory and not yet on disk.

use tokio::sync::oneshot;

use super::changes::Changes;
use super::error::Error;
use crate::protocol::reply::ReplyCode;
use crate::store::{AppendError, Committed, Store};

/// Resolves when what was changed is on disk. A reply to a client waits for it.
#[must_use = "the reply must wait for it"]
pub struct Durable(Option<oneshot::Receiver<Result<Committed, AppendError>>>);

impl Durable {
    /// Nothing has to be written.
    pub fn already() -> Self {
        Self(None)
    }

    /// Appends a batch; an empty one needs no writing.
    pub fn append(store: &dyn Store, mut batch: Changes) -> Self {
        batch.move_leaving();
        if batch.is_empty() {
            return Self::already();
        }
        let (sender, receiver) = oneshot::channel();
        let tell = move |outcome| {
            // Nobody may be waiting any more: then nobody is told.
            let _ = sender.send(outcome);
        };
        batch.append(store, Some(Box::new(tell)));
        Self(Some(receiver))
    }

    pub async fn wait(self) -> Result<(), Error> {
        let Some(receiver) = self.0 else { return Ok(()) };
        match receiver.await {
            Ok(outcome) => outcome.map(|_| ()).map_err(Error::from),
            Err(_) => Err(Self::unanswered()),
        }
    }

    /// The same for a caller outside of the runtime.
    pub fn wait_blocking(self) -> Result<(), Error> {
        let Some(receiver) = self.0 else { return Ok(()) };
        match receiver.blocking_recv() {
            Ok(outcome) => outcome.map(|_| ()).map_err(Error::from),
            Err(_) => Err(Self::unanswered()),
        }
    }

    fn unanswered() -> Error {
        Error::new(ReplyCode::InternalError, "the store ended without an answer")
    }
}
