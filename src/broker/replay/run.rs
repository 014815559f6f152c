//! The task of a replay: step by step through the queue, at the rate that was asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::route::arriving;
use super::{Replay, ReplayState, Selection, Skip};
use crate::broker::auth::Actor;
use crate::broker::changes::Changes;
use crate::broker::error::Error;
use crate::broker::queue::{Entry, Place, Queue};
use crate::broker::timers::now_ms;
use crate::broker::transfer::{self, Arriving};
use crate::broker::vhost::Vhost;
use crate::store::record::Seq;
use crate::store::{ReadLimit, Store};

/// Messages that are moved by one batch, at most.
const STEP_MAX: usize = 128;

/// Bytes of bodies that are read from the disk for a step.
const STEP_BYTES: u64 = 1024 * 1024;

/// A limited replay moves so many times a second.
const STEPS_PER_SECOND: u32 = 10;

/// What a step needs.
struct Around {
    replay: Arc<Replay>,
    vhost: Arc<Vhost>,
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    actor: Actor,
}

impl Replay {
    pub(in crate::broker) async fn run(
        self: Arc<Self>,
        vhost: Arc<Vhost>,
        queue: Arc<Queue>,
        store: Arc<dyn Store>,
        actor: Actor,
    ) {
        let around = Around { replay: Arc::clone(&self), vhost, queue, store, actor };
        let outcome = match &self.request.selection {
            Selection::Ready(_) => around.all().await,
            Selection::Places(places) => around.these(places).await,
        };
        let mut progress = self.progress.lock();
        progress.state = match outcome {
            Err(error) => ReplayState::Failed(error.to_string()),
            Ok(()) if self.is_cancelled() => ReplayState::Cancelled,
            Ok(()) => ReplayState::Done,
        };
        progress.ended_ms = Some(now_ms());
        tracing::info!(
            queue = %self.queue, vhost = %self.vhost, user = self.started_by,
            moved = progress.moved, state = ?progress.state, "a replay has ended"
        );
    }

    /// Messages of the next step; none when there are enough.
    fn step_len(&self) -> usize {
        let moved = self.progress.lock().moved;
        let left = self.request.count_max.map(|max| max.saturating_sub(moved));
        let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(STEP_MAX);
        let by_rate = self.request.rate_max.map(|rate| (rate / STEPS_PER_SECOND).max(1));
        let by_rate = by_rate.and_then(|step| usize::try_from(step).ok()).unwrap_or(STEP_MAX);
        left.min(by_rate).min(STEP_MAX)
    }

    fn skip(&self, why: Skip, count: usize) {
        if count > 0 {
            *self.progress.lock().skipped.entry(why).or_default() += count as u64;
        }
    }

    /// Waits until the rate allows more than `moved` messages since `begun_ms`, or it is cancelled.
    async fn rest(&self, moved: u64, begun_ms: u64) {
        let Some(rate) = self.request.rate_max else { return };
        let due_ms = begun_ms.saturating_add(moved.saturating_mul(1000) / u64::from(rate));
        let wait_ms = due_ms.saturating_sub(now_ms());
        if wait_ms > 0 && !self.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = self.ended.notified() => {}
            }
        }
    }
}

impl Around {
    /// Goes through what is ready now; what comes meanwhile is not looked at.
    async fn all(&self) -> Result<(), Error> {
        let ends = self.queue.ends();
        let end_of = |level: u8| ends.get(usize::from(level)).copied().unwrap_or(Seq(0));
        let mut next = Some(Place { level: u8::MAX, seq: Seq(0) });
        while let Some(from) = next {
            let count = self.replay.step_len();
            if count == 0 || self.replay.is_cancelled() {
                break;
            }
            let limit = ReadLimit { count, bytes: STEP_BYTES };
            let mut browsed = self.queue.browse(from, limit).await?;
            browsed.entries.retain(|entry| entry.seq < end_of(entry.level));
            self.step(browsed.entries).await?;
            next = browsed.next.and_then(|next| within(next, &end_of));
        }
        Ok(())
    }

    async fn these(&self, places: &[Place]) -> Result<(), Error> {
        let mut rest = places;
        while !rest.is_empty() {
            let count = self.replay.step_len();
            if count == 0 || self.replay.is_cancelled() {
                break;
            }
            let (asked, behind) = rest.split_at(count.min(rest.len()));
            rest = behind;
            let entries = self.queue.look_up(asked).await?;
            let gone = asked.len().saturating_sub(entries.len());
            self.replay.skip(Skip::Gone, gone);
            self.replay.progress.lock().examined += gone as u64;
            self.step(entries).await?;
        }
        Ok(())
    }

    /// Moves what of these can go, and waits until that is on disk.
    async fn step(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let Self { replay, vhost, queue, actor, .. } = self;
        let now_ms = now_ms();
        replay.progress.lock().examined += entries.len() as u64;
        let (mut wanted, mut arrivings) = (Vec::new(), Vec::new());
        for entry in entries {
            if let Selection::Ready(filter) = &replay.request.selection
                && !filter.fits(&entry.message)
            {
                continue;
            }
            match arriving(vhost, queue, &entry, &replay.request, actor, now_ms) {
                Ok(arriving) => {
                    arrivings.push((entry.place(), arriving));
                    wanted.push(entry);
                }
                Err(why) => replay.skip(why, 1),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let picked = queue.pick(&wanted).await?;
        replay.skip(Skip::Gone, wanted.len().saturating_sub(picked.len()));
        let moved = self.move_all(picked, arrivings).await?;
        replay.rest(moved, now_ms).await;
        Ok(())
    }

    /// Nothing may wait between what is picked and what is appended: it would be lost to the queue
    /// if the task ended there. Answers how many have moved.
    async fn move_all(
        &self,
        picked: Vec<Entry>,
        arrivings: Vec<(Place, Arriving)>,
    ) -> Result<u64, Error> {
        let Self { replay, queue, store, .. } = self;
        let (mut batch, mut moved) = (Changes::default(), Vec::new());
        let mut picked = picked.into_iter().peekable();
        for (place, arriving) in arrivings {
            let Some(entry) = picked.next_if(|entry| entry.place() == place) else { continue };
            if transfer::enter(queue, &entry, arriving, &mut batch) {
                moved.push(place);
            } else {
                queue.put_back_picked(place, &mut batch);
                replay.skip(Skip::Refused, 1);
            }
        }
        batch.move_leaving();
        let count = moved.len() as u64;
        if batch.is_empty() {
            queue.picked_left(&moved);
        } else {
            let (sender, receiver) = oneshot::channel();
            let source = Arc::clone(queue);
            let told = move |outcome: Result<_, _>| {
                if outcome.is_ok() {
                    source.picked_left(&moved);
                }
                // The task may have ended with the runtime.
                drop(sender.send(outcome));
            };
            batch.append(&**store, Some(Box::new(told)));
            receiver.await.map_err(|_| queue.store_failed())??;
        }
        replay.progress.lock().moved += count;
        Ok(count)
    }
}

/// A place, or where the next level begins when all of this one has been looked at.
fn within(place: Place, end_of: &impl Fn(u8) -> Seq) -> Option<Place> {
    if place.seq < end_of(place.level) {
        return Some(place);
    }
    Some(Place { level: place.level.checked_sub(1)?, seq: Seq(0) })
}
