//! Pause and resume: an operator stops what a queue delivers, not what comes into it.
//!
//! Consumers stay and get nothing, basic.get finds nothing; what dies of age or makes room still
//! leaves. Whether a durable queue is paused is kept with its definition, by the vhost.

use std::sync::Arc;

use super::Queue;
use crate::broker::changes::Changes;

impl Queue {
    pub fn is_paused(&self) -> bool {
        self.inner.lock().paused
    }

    /// Takes up what the last run left. Nothing moves yet: what is dead may have to go to queues
    /// that are not there.
    pub(in crate::broker) fn restore_paused(&self, paused: bool) {
        self.inner.lock().paused = paused;
    }

    /// Stops deliveries, or goes on with them. What is on its way to a consumer gets there.
    pub(in crate::broker) fn set_paused(self: &Arc<Self>, paused: bool) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.paused = paused;
            self.deliver_ready(&mut inner, &mut batch);
        }
        // basic.get may be waiting for a message that it doesn't get now.
        self.came_nearer.notify_waiters();
        self.append(batch);
    }
}
