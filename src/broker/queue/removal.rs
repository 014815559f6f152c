//! A queue is emptied, or goes.

use std::sync::Arc;

use super::state::{Purged, State};
use super::{Consumer, Queue};
use crate::broker::changes::Changes;
use crate::broker::error::Error;
use crate::store::Epoch;
use crate::store::record::Record;

impl Queue {
    /// Drops the ready and the delayed messages. Answers how many; `batch` gets what the log has to
    /// know.
    pub fn purge(&self, batch: &mut Changes) -> usize {
        let mut inner = self.inner.lock();
        inner.put_back_aside();
        inner.lose_track();
        let (count, levels) = inner.state.purge();
        self.tell_memory(&mut inner);
        if self.properties.durable {
            for Purged { level, ranges, bytes } in levels {
                batch.push(Record::Purge { queue: self.id_of(level), ranges, bytes });
            }
        }
        count
    }

    /// Marks the queue as gone, if the conditions hold, and answers the number of ready messages
    /// that go with it and its consumers, who have to be told.
    pub fn delete(
        &self,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<(usize, Vec<Arc<Consumer>>), Error> {
        let mut inner = self.inner.lock();
        if if_unused && !inner.consumers.is_empty() {
            return Err(Error::precondition_failed(format!("{} in use", self.described())));
        }
        if if_empty && inner.state.ready_count() > 0 {
            return Err(Error::precondition_failed(format!("{} not empty", self.described())));
        }
        inner.deleted = true;
        let count = inner.state.ready_count();
        inner.state = State::new(Epoch(0));
        inner.groups = None;
        self.tell_memory(&mut inner);
        Ok((count, inner.consumers.drain()))
    }

    pub fn is_deleted(&self) -> bool {
        self.inner.lock().deleted
    }
}
