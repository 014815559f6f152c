//! Messages go out of a queue: to consumers as long as they have credit and room, to basic.get, and
//! from the disk to the memory before either.

use std::sync::Arc;

use smallvec::SmallVec;

use super::aging::STEP_MAX;
use super::groups::GroupKey;
use super::lane::Next;
use super::reading::{Ahead, Wanted};
use super::settlement::Gone;
use super::{Consumer, Entry, Inner, Queue};
use crate::broker::changes::Changes;
use crate::broker::dead_letter::Reason;
use crate::broker::delayed;
use crate::broker::error::Error;
use crate::broker::timers::now_ms;
use crate::protocol::reply::ReplyCode;
use crate::store::Page;
use crate::store::record::{Record, Seq};

/// What stands for a consumer where there is none: for basic.get and for what is picked.
pub(super) const NO_CONSUMER: u64 = 0;

/// A message that basic.get took.
#[derive(Debug)]
pub struct Got {
    pub entry: Entry,
    /// Ready messages that are left.
    pub remaining: usize,
}

/// What goes out in one step.
#[derive(Default)]
pub(super) struct Outgoing {
    deliveries: SmallVec<[(Arc<Consumer>, Vec<Entry>); 1]>,
    /// Of messages that the batch itself brings: the last one of each level that goes out.
    marks: SmallVec<[(u8, Seq); 1]>,
    /// So many of them had gone out before.
    redelivered: u64,
    pub(super) gone: Gone,
}

impl Outgoing {
    /// The batch that brings the message has to say that it may be delivered.
    fn mark(&mut self, entry: &Entry) {
        if !entry.stored {
            return;
        }
        match self.marks.iter_mut().find(|(level, _)| *level == entry.level) {
            Some((_, upto)) => *upto = entry.seq.max(*upto),
            None => self.marks.push((entry.level, entry.seq)),
        }
    }

    #[inline]
    fn add(&mut self, consumer: &Arc<Consumer>, entry: Entry) {
        self.redelivered += u64::from(entry.redelivered);
        if consumer.no_ack {
            self.gone.add(&entry);
        }
        match self.deliveries.iter_mut().rev().find(|(other, _)| other.id == consumer.id) {
            Some((_, entries)) => entries.push(entry),
            None => self.deliveries.push((Arc::clone(consumer), vec![entry])),
        }
    }
}

/// Gives the next message, with a body of `len` bytes, to whoever is next. Nothing when nobody can
/// take it.
#[inline]
fn give(inner: &mut Inner, len: u64, out: &mut Outgoing) -> Option<()> {
    let consumer = inner.consumers.pick(len)?;
    let entry = inner.state.take((!consumer.no_ack).then_some(consumer.id))?;
    if entry.stored && inner.state.is_fresh(entry.place()) {
        out.mark(&entry);
    }
    out.add(consumer, entry);
    Some(())
}

/// The same where messages have groups: to the consumer that has the message's group, or aside
/// until that one can take it.
fn give_in_group(inner: &mut Inner, out: &mut Outgoing) -> Option<()> {
    let Inner { groups: Some(groups), consumers, state, .. } = inner else { return None };
    let next = state.next()?;
    let (len, is_fresh) = (next.message.body_len(), state.is_fresh(next.place()));
    let key = groups.key_of(&next.message);
    let holder = key.and_then(|key| groups.holder(key));
    let consumer = match (holder, key) {
        (None, _) => consumers.pick(len)?,
        (Some(holder), Some(key)) if !groups.has_aside(key) => {
            match consumers.pick_this(holder, len) {
                Some(consumer) => consumer,
                None => return set_aside(inner, key, out),
            }
        }
        (Some(_), key) => return set_aside(inner, key?, out),
    };
    let entry = state.take((!consumer.no_ack).then_some(consumer.id))?;
    if is_fresh {
        out.mark(&entry);
    }
    if let Some(key) = key
        && !consumer.no_ack
    {
        groups.goes_out(key, consumer.id);
    }
    out.add(consumer, entry);
    Some(())
}

/// Sets the next message aside, if that helps another one behind it.
fn set_aside(inner: &mut Inner, key: GroupKey, out: &mut Outgoing) -> Option<()> {
    let Inner { groups: Some(groups), consumers, state, .. } = inner else { return None };
    if !consumers.has_willing() || !groups.may_set_aside() {
        return None;
    }
    let entry = state.set_aside()?;
    if state.is_fresh(entry.place()) {
        // It may be delivered when this batch is long written.
        out.mark(&entry);
    }
    groups.set_aside(key, entry);
    Some(())
}

/// What became of a message that stood aside.
enum Given {
    Out,
    TooOld(Entry),
}

/// Gives a consumer the first message that stands aside for it, if it can take it.
fn give_aside(inner: &mut Inner, id: u64, out: &mut Outgoing) -> Option<Given> {
    let Inner { groups: Some(groups), consumers, state, options, .. } = inner else { return None };
    let next = groups.next_aside(id)?;
    if next.expires_ms(options.message_ttl_ms).is_some_and(|at| at <= now_ms()) {
        let (_, entry) = groups.take_aside(id)?;
        state.hand_out_aside(&entry, None);
        return Some(Given::TooOld(entry));
    }
    let consumer = consumers.pick_this(id, next.message.body_len())?;
    let (key, entry) = groups.take_aside(id)?;
    let holder = (!consumer.no_ack).then_some(id);
    state.hand_out_aside(&entry, holder);
    if holder.is_some() {
        groups.goes_out(key, id);
    }
    out.add(consumer, entry);
    Some(Given::Out)
}

/// What [`keep_for_holder`] did.
#[derive(PartialEq, Eq)]
enum Kept {
    /// Nothing: the next message is anybody's.
    No,
    Aside,
    /// The next message is another's, and too many stand aside.
    AtHead,
}

/// Sets the next message aside if its group is a consumer's, or if others of it stand aside, so
/// that basic.get doesn't take it.
fn keep_for_holder(inner: &mut Inner) -> Kept {
    let Inner { groups: Some(groups), state, .. } = inner else { return Kept::No };
    let Some(next) = state.next() else { return Kept::No };
    let Some(key) = groups.key_of(&next.message) else { return Kept::No };
    let is_free = groups.holder(key).is_none_or(|holder| holder == NO_CONSUMER);
    if is_free && !groups.has_aside(key) {
        return Kept::No;
    }
    if !groups.may_set_aside() {
        return Kept::AtHead;
    }
    let Some(entry) = state.set_aside() else { return Kept::No };
    groups.set_aside(key, entry);
    Kept::Aside
}

/// What basic.get answers when there is no message for it.
fn nothing(inner: &mut Inner) -> Option<Got> {
    inner.counts.get_empty += 1;
    None
}

impl Queue {
    /// Gives ready messages to willing consumers, and does what has to be done now. What was
    /// enqueued since the last time is brought to the log by `batch` itself, so that its delivery
    /// mark goes with it.
    pub(super) fn deliver_ready(self: &Arc<Self>, inner: &mut Inner, batch: &mut Changes) {
        if inner.paused {
            return self.tidy(inner, STEP_MAX, batch);
        }
        let mut out = Outgoing::default();
        self.deliver_aside(inner, &mut out, batch);
        let mut left = STEP_MAX;
        while left > 0 {
            let len = match inner.state.peek() {
                Next::Ready(next) => next.message.body_len(),
                Next::Empty | Next::Paged | Next::Unreadable | Next::Unwritten => break,
                Next::Unmarked => {
                    let wanted = inner.consumers.credit();
                    if wanted > 0 && !inner.failed {
                        self.ask_marks(inner, wanted);
                    }
                    break;
                }
            };
            if inner.ages && self.next_dies(inner, &mut out.gone, batch) {
                left -= 1;
                continue;
            }
            let given = match inner.groups {
                None => give(inner, len, &mut out),
                Some(_) => give_in_group(inner, &mut out),
            };
            if given.is_none() {
                break;
            }
        }
        self.send(inner, out, batch);
        self.tidy(inner, left, batch);
    }

    /// Gives consumers what was set aside for them, unless it has grown too old meanwhile.
    fn deliver_aside(self: &Arc<Self>, inner: &mut Inner, out: &mut Outgoing, batch: &mut Changes) {
        let waited_for = inner.groups.as_ref().map(|groups| groups.waited_for());
        for id in waited_for.into_iter().flatten() {
            while let Some(given) = give_aside(inner, id, out) {
                if let Given::TooOld(entry) = given {
                    self.dies(inner, entry, Reason::Expired, &mut out.gone, batch);
                }
            }
        }
    }

    fn send(&self, inner: &mut Inner, out: Outgoing, batch: &mut Changes) {
        let Outgoing { deliveries, marks, redelivered, gone } = out;
        inner.counts.redeliver += redelivered;
        for (level, upto) in marks {
            inner.state.mark_with_batch(level, upto);
            batch.push(Record::DeliverMark { queue: self.id_of(level), upto });
        }
        self.note_settled(&inner.state, gone, batch);
        for (consumer, entries) in deliveries {
            inner.counts.delivered(consumer.no_ack, entries.len());
            if let Some(time) = inner.went_out(&entries) {
                self.around.timings.in_queue.record(time);
            }
            Arc::clone(&consumer.lane).deliver(&consumer, entries);
        }
    }

    /// Takes one message for basic.get. Waits for the delivery mark where one is needed. A paused
    /// queue has none to give.
    pub async fn get(
        self: &Arc<Self>,
        no_ack: bool,
        batch: &mut Changes,
    ) -> Result<Option<Got>, Error> {
        if self.options().single_active_consumer {
            return Err(Error::resource_locked(format!(
                "cannot obtain access to locked {}. basic.get operations are not supported by quorum \
                 queues with single active consumer",
                self.described()
            )));
        }
        loop {
            let mut came_nearer = std::pin::pin!(self.came_nearer.notified());
            came_nearer.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                inner.used_ms = now_ms();
                if inner.paused {
                    return Ok(None);
                }
                let mut gone = Gone::default();
                let dead =
                    (0..STEP_MAX).take_while(|_| self.next_dies(&mut inner, &mut gone, batch));
                let is_done = dead.count() < STEP_MAX;
                self.note_settled(&inner.state, gone, batch);
                if !is_done {
                    continue;
                }
                match inner.state.peek() {
                    Next::Empty => return Ok(nothing(&mut inner)),
                    Next::Ready(_) => match keep_for_holder(&mut inner) {
                        Kept::No => return Ok(self.take_one(&mut inner, no_ack, batch)),
                        Kept::Aside => continue,
                        Kept::AtHead => return Ok(nothing(&mut inner)),
                    },
                    Next::Unmarked | Next::Unwritten if inner.failed => {
                        return Err(self.store_failed());
                    }
                    Next::Unwritten => {}
                    Next::Unreadable => return Err(self.store_failed()),
                    Next::Unmarked => self.ask_marks(&mut inner, 1),
                    Next::Paged => self.ask_read(&mut inner, Ahead::Batch),
                }
            }
            came_nearer.await;
        }
    }

    fn take_one(
        self: &Arc<Self>,
        inner: &mut Inner,
        no_ack: bool,
        batch: &mut Changes,
    ) -> Option<Got> {
        let entry = inner.state.take((!no_ack).then_some(NO_CONSUMER))?;
        inner.counts.got(no_ack, entry.redelivered);
        if let Some(time) = inner.went_out(std::slice::from_ref(&entry)) {
            self.around.timings.in_queue.record(time);
        }
        if let Some(groups) = &mut inner.groups
            && let Some(key) = groups.key_of(&entry.message)
            && !no_ack
        {
            groups.goes_out(key, NO_CONSUMER);
        }
        if no_ack {
            let mut gone = Gone::default();
            gone.add(&entry);
            self.note_settled(&inner.state, gone, batch);
        }
        self.tidy(inner, STEP_MAX, batch);
        Some(Got { entry, remaining: inner.state.ready_count() })
    }

    pub(in crate::broker) fn store_failed(&self) -> Error {
        Error::new(
            ReplyCode::InternalError,
            format!("{} cannot be read: its store has failed", self.described()),
        )
    }

    /// Has delivery marks written and delivers on once they are on disk.
    fn ask_marks(self: &Arc<Self>, inner: &mut Inner, wanted: u64) {
        let marks = inner.state.ask_marks(wanted);
        if marks.is_empty() {
            return;
        }
        let queue = Arc::downgrade(self);
        let record =
            |(level, upto): &_| Record::DeliverMark { queue: self.id_of(*level), upto: *upto };
        let records = marks.iter().map(record).collect();
        let answered = move |outcome: Result<_, _>| {
            if let Some(queue) = queue.upgrade() {
                queue.on_marks_answered(&marks, outcome.is_ok());
            }
        };
        self.around.store.append(records, Some(Box::new(answered)));
    }

    fn on_marks_answered(self: &Arc<Self>, marks: &[(u8, Seq)], written: bool) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.failed |= !written;
            for (level, _) in marks {
                inner.state.mark_answered(*level, written);
            }
            self.deliver_ready(&mut inner, &mut batch);
        }
        self.came_nearer.notify_waiters();
        self.append(batch);
    }

    /// What these messages waited for is on disk, or will never be. With `marked` that is their
    /// delivery mark, too.
    pub(in crate::broker) fn on_written(
        self: &Arc<Self>,
        level: u8,
        seqs: &[Seq],
        marked: bool,
        written: bool,
    ) {
        let mut batch = Changes::default();
        {
            let mut inner = self.inner.lock();
            inner.failed |= !written;
            if written {
                inner.state.release(level, seqs);
                if let Some(last) = seqs.iter().max().filter(|_| marked) {
                    inner.state.mark_with_batch(level, *last);
                }
                self.deliver_ready(&mut inner, &mut batch);
            }
        }
        self.came_nearer.notify_waiters();
        self.append(batch);
    }

    /// Has messages read back where a head runs dry, and delivers on once they are there.
    pub(super) fn ask_read(self: &Arc<Self>, inner: &mut Inner, ahead: Ahead) {
        for wanted in inner.state.ask_read(ahead) {
            let queue = Arc::downgrade(self);
            let on_read = move |page| {
                if let Some(queue) = queue.upgrade() {
                    queue.on_read(wanted, page);
                }
            };
            let (id, Wanted { from, limit, .. }) = (self.id_of(wanted.level), wanted);
            self.around.store.read(id, from, limit, Box::new(on_read));
        }
    }

    fn on_read(self: &Arc<Self>, wanted: Wanted, page: Page) {
        let mut batch = Changes::default();
        let lost = {
            let mut inner = self.inner.lock();
            inner.ages |= page.messages.iter().any(|(_, message)| message.is_timed());
            let is_own = self.properties.own_of.is_some();
            let due_ms = |entry: &Entry| is_own.then(|| delayed::due_ms(&entry.message));
            let lost = inner.state.read(wanted, page, now_ms(), due_ms);
            self.deliver_ready(&mut inner, &mut batch);
            lost
        };
        if lost > 0 {
            self.report_unreadable(lost);
        }
        self.came_nearer.notify_waiters();
        self.append(batch);
    }

    pub(super) fn report_unreadable(&self, messages: u64) {
        tracing::error!(
            queue = %self.name(),
            vhost = %self.properties.vhost,
            messages,
            "messages of a queue can't be read: it goes on without them"
        );
    }

    /// New messages are on disk: those of a long queue leave the memory.
    pub(in crate::broker) fn on_disk(&self, level: u8, first: Seq, last: Seq) {
        self.inner.lock().state.on_disk(level, first, last, now_ms());
    }
}
