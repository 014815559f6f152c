//! What happens in a queue because it is time, or because there is too much: messages die of age or
//! make room for others, delayed ones become ready, an unused queue goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::arguments::Overflow;
use super::reading::Ahead;
use super::schedule::Due;
use super::settlement::Gone;
use super::{Entry, Inner, Place, Queue, QueueOptions};
use crate::broker::changes::{Changes, Leaving};
use crate::broker::dead_letter::Reason;
use crate::broker::timers::now_ms;
use crate::broker::transfer::Why;
use crate::store::record::Seq;
use crate::store::{Page, READ_EACH_MAX};

/// Most messages that go or become ready in one step; the queue is not held for longer.
pub(super) const STEP_MAX: usize = 1024;

impl Queue {
    /// Whether the next message was too old and is gone. One that has just come has its chance.
    pub(super) fn next_dies(
        self: &Arc<Self>,
        inner: &mut Inner,
        gone: &mut Gone,
        batch: &mut Changes,
    ) -> bool {
        if !inner.ages {
            return false;
        }
        let Some(next) = inner.state.next() else { return false };
        let (place, expires_ms) = (next.place(), next.expires_ms(inner.options.message_ttl_ms));
        if inner.state.is_fresh(place) || expires_ms.is_none_or(|at| at > now_ms()) {
            return false;
        }
        let Some(entry) = inner.state.take_from(place.level) else { return false };
        inner.lose_track();
        self.dies(inner, entry, Reason::Expired, gone, batch);
        true
    }

    /// Does what no consumer is needed for, as far as `left` allows, and sees to what has to be
    /// done later.
    pub(super) fn tidy(self: &Arc<Self>, inner: &mut Inner, mut left: usize, batch: &mut Changes) {
        inner.state.end_run();
        let mut gone = Gone::default();
        inner.ages &= !inner.state.is_empty();
        if inner.ages {
            self.drop_old(inner, &mut left, &mut gone, batch);
        }
        self.drop_head(inner, &mut left, &mut gone, batch);
        self.note_settled(&inner.state, gone, batch);
        let QueueOptions { max_length, max_length_bytes, .. } = *inner.options;
        if !inner.consumers.is_empty() || self.properties.own_of.is_some() {
            self.ask_read(inner, Ahead::Batch);
        } else if inner.ages || max_length.is_some() || max_length_bytes.is_some() {
            // Somebody has to see how old the next one is, or has to drop it.
            self.ask_read(inner, Ahead::Next);
        }
        self.tell_memory(inner);
        match left {
            0 => self.wake_at(inner, now_ms()),
            _ => self.set_alarm(inner),
        }
    }

    fn drop_old(
        self: &Arc<Self>,
        inner: &mut Inner,
        left: &mut usize,
        gone: &mut Gone,
        batch: &mut Changes,
    ) {
        let (now_ms, ttl_ms) = (now_ms(), inner.options.message_ttl_ms);
        let is_old = |entry: &Entry| entry.expires_ms(ttl_ms).is_some_and(|at| at <= now_ms);
        let old_level = |inner: &Inner| {
            let front = inner.state.fronts().find(|front| is_old(front))?;
            Some(front.level)
        };
        while *left > 0
            && let Some(level) = old_level(inner)
            && let Some(entry) = inner.state.take_from(level)
        {
            self.dies(inner, entry, Reason::Expired, gone, batch);
            *left -= 1;
        }
    }

    /// Rule: only ready messages count; the oldest goes first, of the lowest priority that has any.
    fn drop_head(
        self: &Arc<Self>,
        inner: &mut Inner,
        left: &mut usize,
        gone: &mut Gone,
        batch: &mut Changes,
    ) {
        let (length, bytes) = (inner.options.max_length, inner.options.max_length_bytes);
        if (length.is_none() && bytes.is_none()) || inner.options.overflow != Overflow::DropHead {
            return;
        }
        let is_over = |inner: &Inner| {
            length.is_some_and(|max| inner.state.ready_count() as u64 > max)
                || bytes.is_some_and(|max| inner.state.ready_bytes() > max)
        };
        while *left > 0
            && is_over(inner)
            && let Some(entry) = inner.state.take_lowest()
        {
            self.dies(inner, entry, Reason::MaxLen, gone, batch);
            *left -= 1;
        }
    }

    /// Tells the timers when the queue has something to do next.
    pub(super) fn set_alarm(self: &Arc<Self>, inner: &mut Inner) {
        let ttl_ms = inner.options.message_ttl_ms;
        let expiry = match inner.ages {
            true => inner.state.fronts().filter_map(|front| front.expires_ms(ttl_ms)).min(),
            false => None,
        };
        let unused = match (inner.options.expires_ms, inner.consumers.is_empty()) {
            (Some(expires_ms), true) => Some(inner.used_ms.saturating_add(expires_ms)),
            _ => None,
        };
        let due = inner.state.next_due_ms();
        if let Some(next_ms) = expiry.into_iter().chain(unused).chain(due).min() {
            self.wake_at(inner, next_ms);
        }
    }

    fn wake_at(self: &Arc<Self>, inner: &mut Inner, time_ms: u64) {
        if inner.alarm_ms.is_none_or(|before_ms| time_ms < before_ms) && !inner.deleted {
            self.around.timers.set(self, inner.alarm_ms, time_ms);
            inner.alarm_ms = Some(time_ms);
        }
    }

    /// It is the time that the queue has told to the timers, or later.
    pub fn on_time(self: &Arc<Self>, now_ms: u64) {
        let mut batch = Changes::default();
        let is_unused = {
            let mut inner = self.inner.lock();
            inner.alarm_ms = None;
            self.release(&mut inner, now_ms, &mut batch);
            self.deliver_ready(&mut inner, &mut batch);
            let expires_ms = inner.options.expires_ms.filter(|_| inner.consumers.is_empty());
            expires_ms.is_some_and(|ms| inner.used_ms.saturating_add(ms) <= now_ms)
        };
        self.append(batch);
        if is_unused && let Some(vhost) = self.vhost() {
            vhost.delete_expired_queue(self);
        }
    }

    /// Delayed messages whose time has come become ready, or leave for where they are due.
    fn release(self: &Arc<Self>, inner: &mut Inner, now_ms: u64, batch: &mut Changes) {
        let mut to_read: Vec<(u8, Vec<Seq>)> = Vec::new();
        for _ in 0..STEP_MAX.min(READ_EACH_MAX) {
            match inner.state.take_due(now_ms) {
                None => break,
                Some(Due::Here(entry)) => self.is_due(inner, entry, batch),
                Some(Due::OnDisk(place)) => {
                    match to_read.iter_mut().find(|(level, _)| *level == place.level) {
                        Some((_, seqs)) => seqs.push(place.seq),
                        None => to_read.push((place.level, vec![place.seq])),
                    }
                }
            }
        }
        for (level, asked) in to_read {
            let mut seqs = asked.clone();
            seqs.sort_unstable();
            let (queue, round) = (Arc::downgrade(self), inner.state.due_round());
            let on_read = move |page| {
                if let Some(queue) = queue.upgrade() {
                    queue.on_due_read(level, round, &asked, page);
                }
            };
            self.around.store.read_each(self.id_of(level), seqs, Box::new(on_read));
        }
    }

    fn is_due(self: &Arc<Self>, inner: &mut Inner, entry: Entry, batch: &mut Changes) {
        match self.properties.own_of {
            None => inner.state.put_back(entry),
            Some(_) => batch.leaves(Leaving { queue: Arc::clone(self), entry, why: Why::Due }),
        }
    }

    /// What was asked for has been read; it goes on in the order in which it was asked for, which
    /// is that of its times.
    fn on_due_read(self: &Arc<Self>, level: u8, round: u32, asked: &[Seq], page: Page) {
        let mut read: HashMap<Seq, _> = page.messages.into_iter().collect();
        let mut batch = Changes::default();
        let mut lost = asked.len();
        {
            let mut inner = self.inner.lock();
            if inner.deleted || inner.state.due_round() != round {
                return;
            }
            for seq in asked {
                let Some(message) = read.remove(seq) else { continue };
                let entry = inner.state.due_was_read(Place { level, seq: *seq }, message);
                self.is_due(&mut inner, entry, &mut batch);
                lost -= 1;
            }
            inner.state.due_were_lost(lost);
            self.deliver_ready(&mut inner, &mut batch);
        }
        if lost > 0 {
            self.report_unreadable(lost as u64);
        }
        self.append(batch);
    }
}
