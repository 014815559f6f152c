//! Replays of dead-letter queues: begun, looked at, cancelled.

use std::sync::Arc;

use super::Vhost;
use crate::broker::auth::Actor;
use crate::broker::error::Error;
use crate::broker::event::Event;
use crate::broker::replay::{Replay, ReplayRequest};
use crate::protocol::wire::ShortStr;

impl Vhost {
    /// Begins to send a queue's messages back to where they came from. Whoever asks has to be
    /// allowed to read the queue; where a message goes is asked for each. Refuses with 405 while
    /// another replay of the queue runs. To be called in the runtime.
    pub fn start_replay(
        &self,
        name: &ShortStr,
        request: ReplayRequest,
        actor: &Actor,
    ) -> Result<Arc<Replay>, Error> {
        let queue = self.readable_queue(name, actor)?;
        let vhost = self
            .me
            .upgrade()
            .ok_or_else(|| Error::not_allowed(format!("vhost '{}' is being deleted", self.name)))?;
        let replay = self.replays.begin(&queue, request, actor)?;
        let started = || Event::queue("queue.replay.started", &queue);
        self.events.tell(Some(actor), || started().changed(None, Some(replay.account())));
        let (store, running) = (Arc::clone(&self.store), Arc::clone(&replay));
        tokio::spawn(running.run(vhost, queue, store, actor.clone()));
        Ok(replay)
    }

    /// The last replay of a queue since the broker started, running or not.
    pub fn replay(&self, name: &ShortStr, actor: &Actor) -> Result<Arc<Replay>, Error> {
        let queue = self.readable_queue(name, actor)?;
        self.replays
            .get(&queue)
            .ok_or_else(|| Error::not_found(format!("{} has not been replayed", queue.described())))
    }

    /// Has a replay end after what it is just moving. Refuses with 404 where none runs.
    pub fn cancel_replay(&self, name: &ShortStr, actor: &Actor) -> Result<(), Error> {
        let queue = self.readable_queue(name, actor)?;
        let running = self.replays.get(&queue).filter(|replay| replay.is_running());
        let replay = running.ok_or_else(|| {
            Error::not_found(format!("no replay of {} is running", queue.described()))
        })?;
        let before = replay.account();
        replay.cancel();
        let cancelled = || Event::queue("queue.replay.cancelled", &queue);
        self.events.tell(Some(actor), || cancelled().changed(Some(before), None));
        Ok(())
    }
}
