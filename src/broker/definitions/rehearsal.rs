//! A broker on which an import is tried: it has what the real one has, and what it stores goes
//! nowhere.

use std::sync::Arc;

use tokio::sync::watch;

use crate::broker::error::Error;
use crate::broker::{Broker, BrokerSettings};
use crate::protocol::reply::ReplyCode;
use crate::store::record::{Batch, QueueId, Seq};
use crate::store::{
    Committed, Epoch, OnCommit, OnRead, Opened, Page, Position, ReadLimit, Space, Store, StoreState,
};

/// A store that says of everything that it is on disk, and has nothing. No message ever comes
/// here, so that nobody minds that it answers at once.
struct Nowhere {
    state: watch::Sender<StoreState>,
    space: watch::Sender<Space>,
}

impl Store for Nowhere {
    fn append(&self, _: Batch, on_commit: Option<OnCommit>) {
        if let Some(on_commit) = on_commit {
            on_commit(Ok(Committed { position: Position(0), alone: false }));
        }
    }

    fn read(&self, _: QueueId, _: Seq, _: ReadLimit, on_read: OnRead) {
        on_read(Page::default());
    }

    fn read_each(&self, _: QueueId, _: Vec<Seq>, on_read: OnRead) {
        on_read(Page::default());
    }

    fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    fn space(&self) -> watch::Receiver<Space> {
        self.space.subscribe()
    }

    fn close(&self) {}
}

/// A new broker that keeps nothing.
pub(super) fn stage() -> Result<Arc<Broker>, Error> {
    let store = Nowhere {
        state: watch::Sender::new(StoreState::Open),
        space: watch::Sender::new(Space::Enough),
    };
    let opened =
        Opened { store: Arc::new(store), epoch: Epoch(1), catalog: Vec::new(), queues: Vec::new() };
    Broker::open(opened, BrokerSettings::default())
        .map_err(|error| Error::new(ReplyCode::InternalError, error.to_string()))
}
