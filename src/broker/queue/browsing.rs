//! Ready messages are looked at without being delivered, and single ones are taken out, for
//! operators.
//!
//! What is on disk only is read in small batches, and nothing of it stays in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::pick::{Found, Rest, Scheduled, View};
use super::settlement::{Gone, put_back};
use super::{Entry, Place, Queue};
use crate::broker::changes::Changes;
use crate::broker::error::Error;
use crate::broker::timers::now_ms;
use crate::store::record::{Record, Seq};
use crate::store::{OnRead, Page, ReadLimit};

/// Some of a queue's ready messages, in the order in which they would go out.
#[derive(Debug, Default)]
pub struct Browsed {
    pub entries: Vec<Entry>,
    /// Where to go on; nothing at the end.
    pub next: Option<Place>,
}

impl Queue {
    /// The next ready messages from a place on, at most so many; there may be none of them and more
    /// behind. Nothing is delivered, marked or kept.
    pub async fn browse(&self, from: Place, limit: ReadLimit) -> Result<Browsed, Error> {
        let View { entries, rest } = {
            let inner = self.inner.lock();
            let aside = inner.groups.as_ref().map(|groups| groups.aside_from(from));
            inner.state.view(from, limit.count, &aside.unwrap_or_default())
        };
        let (level, first, last) = match rest {
            Rest::Nothing => return Ok(Browsed { entries, next: None }),
            Rest::From(next) => return Ok(Browsed { entries, next: Some(next) }),
            Rest::OnDisk { level, first, .. } if !entries.is_empty() => {
                return Ok(Browsed { entries, next: Some(Place { level, seq: first }) });
            }
            Rest::OnDisk { level, first, last } => (level, first, last),
        };
        let id = self.id_of(level);
        let page = self.ask(|on_read| self.around.store.read(id, first, limit, on_read)).await?;
        let through = page.through.min(last);
        if through < first {
            return Err(self.store_failed());
        }
        let mut entries = self.still_ready(level, page);
        entries.retain(|entry| entry.seq <= last);
        Ok(Browsed { entries, next: Some(Place { level, seq: Seq(through.0 + 1) }) })
    }

    /// These messages, as far as they are ready, in the order in which they would go out. No more
    /// than
    /// [`READ_EACH_MAX`](crate::store::READ_EACH_MAX).
    pub async fn look_up(&self, places: &[Place]) -> Result<Vec<Entry>, Error> {
        let (mut entries, mut on_disk) = (Vec::new(), Vec::<(u8, Vec<Seq>)>::new());
        {
            let inner = self.inner.lock();
            for place in places {
                match inner.state.find(*place) {
                    Found::Here(entry) => entries.push(entry),
                    Found::Nowhere => {}
                    Found::OnDisk => match on_disk.last_mut() {
                        Some((level, seqs)) if *level == place.level => seqs.push(place.seq),
                        _ => on_disk.push((place.level, vec![place.seq])),
                    },
                }
            }
        }
        for (level, mut seqs) in on_disk {
            seqs.sort_unstable();
            seqs.dedup();
            let id = self.id_of(level);
            let read = |on_read| self.around.store.read_each(id, seqs, on_read);
            entries.extend(self.still_ready(level, self.ask(read).await?));
        }
        entries.sort_unstable_by_key(|entry| (Reverse(entry.level), entry.seq));
        Ok(entries)
    }

    /// Delayed messages in the order of their times, from a time and a place on, at most so many
    /// and no more than [`READ_EACH_MAX`](crate::store::READ_EACH_MAX).
    pub async fn scheduled(&self, from: (u64, Place), max: usize) -> Result<Vec<Scheduled>, Error> {
        let mut found = self.inner.lock().state.scheduled(from, max);
        let mut on_disk = BTreeMap::<u8, Vec<Seq>>::new();
        for Scheduled { place, .. } in found.iter().filter(|one| one.message.is_none()) {
            on_disk.entry(place.level).or_default().push(place.seq);
        }
        for (level, mut seqs) in on_disk {
            seqs.sort_unstable();
            let id = self.id_of(level);
            let read = |on_read| self.around.store.read_each(id, seqs, on_read);
            let mut read: HashMap<Seq, _> = self.ask(read).await?.messages.into_iter().collect();
            for one in found.iter_mut().filter(|one| one.place.level == level) {
                one.message = one.message.take().or_else(|| read.remove(&one.place.seq));
            }
        }
        // One that could not be read has gone meanwhile.
        found.retain(|one| one.message.is_some());
        Ok(found)
    }

    /// Takes a delayed message out for good. Answers whether it still waited.
    pub(in crate::broker) async fn cancel_scheduled(
        &self,
        wanted: (u64, Place),
        batch: &mut Changes,
    ) -> Result<Option<Scheduled>, Error> {
        let found = self.scheduled(wanted, 1).await?.pop();
        let Some(found) = found.filter(|one| (one.due_ms, one.place) == wanted) else {
            return Ok(None);
        };
        let Some(message) = found.message.clone() else { return Ok(None) };
        let mut inner = self.inner.lock();
        let Some(entry) = inner.state.cancel(&found, message) else { return Ok(None) };
        let mut gone = Gone::default();
        gone.add(&entry);
        self.note_settled(&inner.state, gone, batch);
        Ok(Some(found))
    }

    async fn ask(&self, read: impl FnOnce(OnRead)) -> Result<Page, Error> {
        let (sender, receiver) = oneshot::channel();
        // Whoever asked may have gone.
        read(Box::new(move |page| drop(sender.send(page))));
        receiver.await.map_err(|_| self.store_failed())
    }

    fn still_ready(&self, level: u8, page: Page) -> Vec<Entry> {
        let (inner, now_ms) = (self.inner.lock(), now_ms());
        let entry = |(seq, message)| inner.state.read_aside(Place { level, seq }, message, now_ms);
        page.messages.into_iter().filter_map(entry).collect()
    }

    /// Where the next messages will come to stand, by level.
    pub(in crate::broker) fn ends(&self) -> Vec<Seq> {
        self.inner.lock().state.ends()
    }

    /// Takes these messages out of their places, as far as they are still there; they are unacked
    /// until [`Queue::picked_left`] or [`Queue::put_back_picked`]. Waits for what is on its way to
    /// the log.
    pub(in crate::broker) async fn pick(
        self: &Arc<Self>,
        wanted: &[Entry],
    ) -> Result<Vec<Entry>, Error> {
        loop {
            let mut came_nearer = std::pin::pin!(self.came_nearer.notified());
            came_nearer.as_mut().enable();
            let mut batch = Changes::default();
            {
                let mut inner = self.inner.lock();
                if inner.failed {
                    return Err(self.store_failed());
                }
                if !wanted.iter().any(|entry| inner.state.is_held(entry.place())) {
                    inner.put_back_aside();
                    inner.lose_track();
                    let picked = wanted.iter().filter_map(|entry| inner.state.pick(entry));
                    let picked = picked.collect();
                    self.deliver_ready(&mut inner, &mut batch);
                    drop(inner);
                    self.append(batch);
                    return Ok(picked);
                }
            }
            came_nearer.await;
        }
    }

    /// Messages that were picked have left, and the log says so.
    pub(in crate::broker) fn picked_left(self: &Arc<Self>, places: &[Place]) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            places.iter().for_each(|place| inner.state.picked_left(*place));
            self.deliver_ready(&mut inner, &mut batch);
        }
        self.append(batch);
    }

    /// A message that was picked goes back to its place. The log hears that it may be delivered
    /// from now on: there it stands before those of which nobody asks that.
    pub(in crate::broker) fn put_back_picked(self: &Arc<Self>, place: Place, batch: &mut Changes) {
        let mut inner = self.inner.lock();
        let Some((entry, _)) = inner.state.settle(place) else { return };
        if entry.stored {
            inner.state.hold(place);
            batch.push(Record::DeliverMark { queue: self.id_of(place.level), upto: place.seq });
            batch.holds(self, place, true);
        }
        put_back(&mut inner, entry);
        self.deliver_ready(&mut inner, batch);
    }
}
