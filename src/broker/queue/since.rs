//! Since when the messages of a lane have been there: known sparsely, and so cheaply.
//!
//! A note says that messages from a number on came at a time or later. There are few notes, however
//! many the messages: close to one another at first, the farther apart the longer the oldest of
//! them waits.
//!
//! Pure; owned by the lane.

use std::collections::VecDeque;

use super::lane::Lane;
use crate::store::record::Seq;

/// Notes of a lane. With more, every second one goes.
const NOTES_MAX: usize = 16;

/// Between two notes, as long as there are few.
const EVERY_MS: u64 = 100;

#[derive(Debug, Default)]
pub(super) struct Since {
    /// When the next note is due. It stands here because every message asks.
    due_ms: u64,
    /// Only where messages have come.
    notes: Option<Box<Notes>>,
}

#[derive(Debug)]
struct Notes {
    /// Numbers and times ascend.
    notes: VecDeque<(Seq, u64)>,
    every_ms: u64,
}

impl Default for Notes {
    fn default() -> Self {
        Self { notes: VecDeque::new(), every_ms: EVERY_MS }
    }
}

impl Since {
    /// Whether the last note is long enough ago.
    #[inline]
    fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.due_ms
    }

    /// A message with this number has come. Messages before `oldest` are gone.
    fn note(&mut self, seq: Seq, now_ms: u64, oldest: Seq) {
        let notes = self.notes.get_or_insert_default();
        notes.add(seq, now_ms, oldest);
        self.due_ms = now_ms.saturating_add(notes.every_ms);
    }

    /// When a message came: then or a little later. Of one that is older than all notes, the oldest
    /// of them.
    fn of(&self, seq: Seq) -> Option<u64> {
        self.notes.as_ref()?.of(seq)
    }
}

impl Notes {
    fn add(&mut self, seq: Seq, now_ms: u64, oldest: Seq) {
        if self.notes.len() == NOTES_MAX {
            self.make_room(oldest);
        }
        self.notes.push_back((seq, now_ms));
    }

    fn make_room(&mut self, oldest: Seq) {
        while self.notes.get(1).is_some_and(|(seq, _)| *seq <= oldest) {
            self.notes.pop_front();
        }
        if self.notes.len() <= NOTES_MAX / 4 {
            self.every_ms = EVERY_MS;
        } else if self.notes.len() > NOTES_MAX / 2 {
            let mut is_kept = false;
            self.notes.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.every_ms = self.every_ms.saturating_mul(2);
        }
    }

    fn of(&self, seq: Seq) -> Option<u64> {
        let later = self.notes.partition_point(|(noted, _)| *noted <= seq);
        let (_, at_ms) = self.notes.get(later.saturating_sub(1))?;
        Some(*at_ms)
    }
}

impl Lane {
    /// Messages came now, the first with this number.
    #[inline]
    pub fn came(&mut self, seq: Seq, now_ms: u64) {
        if self.since.is_due(now_ms) {
            let oldest = self.oldest().unwrap_or(seq);
            self.since.note(seq, now_ms, oldest);
        }
    }

    /// When the oldest ready message came: about then, or later.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.since.of(self.oldest()?)
    }

    /// The lowest number that may be ready.
    pub(super) fn oldest(&self) -> Option<Seq> {
        let next = self.next().map(|entry| entry.seq);
        next.or_else(|| self.beyond.as_ref()?.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_oldest_is_right_to_an_eighth_however_long_it_waits() {
        let mut since = Since::default();
        let start_ms = 1_000_000;
        // A message every 7 ms, for a day and none of them goes.
        for number in 0..86_400_000 / 7 {
            let now_ms = start_ms + number * 7;
            if since.is_due(now_ms) {
                since.note(Seq(number), now_ms, Seq(0));
            }
            if number % 99_991 == 0 {
                for seq in [0, number / 3, number / 2] {
                    let (came_ms, said_ms) =
                        (start_ms + seq * 7, since.of(Seq(seq)).expect("noted"));
                    let off_ms = came_ms - said_ms;
                    let allowed_ms = (now_ms - start_ms) / 7 + EVERY_MS;
                    assert!(said_ms <= came_ms && off_ms <= allowed_ms, "{off_ms} of {allowed_ms}");
                }
                assert_eq!(since.of(Seq(0)), Some(start_ms));
            }
        }
        assert!(since.notes.expect("noted").notes.len() <= NOTES_MAX);
    }

    #[test]
    fn what_flows_through_leaves_close_notes() {
        let mut since = Since::default();
        for number in 0..100_000 {
            if since.is_due(number * 10) {
                since.note(Seq(number), number * 10, Seq(number));
            }
        }
        let said_ms = since.of(Seq(99_999)).expect("noted");
        assert_eq!(since.notes.expect("noted").every_ms, EVERY_MS);
        assert!(999_990 - said_ms < EVERY_MS, "{said_ms}");
    }

    #[test]
    fn a_message_older_than_all_notes_counts_from_the_oldest() {
        let mut since = Since::default();
        assert_eq!(since.of(Seq(1)), None);
        since.note(Seq(5), 1000, Seq(5));
        assert_eq!(since.of(Seq(1)), Some(1000));
    }
}
