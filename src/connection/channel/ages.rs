//! How old deliveries are, by their tags, without noting a time for each.
//!
//! Now and then it is noted which tag was the last, and when: so every tag is older than the first
//! note that covers it. Owned by the channel's ledger.

use std::collections::VecDeque;
use std::time::Duration;

/// Notes go where an age stays known but for this part of it. So their number grows with the
/// logarithm of the oldest age: at most so many for each time that it doubles, and one.
const PARTS: u32 = 64;

/// As long as there are fewer notes, none goes.
const NOTES_KEPT: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Ages {
    /// Ascending in both.
    notes: VecDeque<Note>,
    /// How many there were when they were thinned out last.
    thinned: usize,
}

/// Tags up to `last` were given before `at`.
#[derive(Debug)]
struct Note {
    last: u64,
    at: Duration,
}

impl Ages {
    /// Tags up to `last` are given by now. What is below `oldest` won't be asked for any more.
    pub(super) fn note(&mut self, oldest: u64, last: u64, now: Duration) {
        while self.notes.front().is_some_and(|note| note.last < oldest) {
            self.notes.pop_front();
        }
        let noted = self.notes.back().map_or(0, |note| note.last);
        if oldest <= last && noted < last {
            self.notes.push_back(Note { last, at: now });
        }
        if self.notes.len() > NOTES_KEPT.max(self.thinned.saturating_mul(2)) {
            self.thin_out(now);
        }
    }

    /// What a note covers that goes is covered by the next one, as if it had been given later.
    fn thin_out(&mut self, now: Duration) {
        let mut kept: VecDeque<Note> = VecDeque::new();
        for note in std::mem::take(&mut self.notes) {
            let tolerance = now.saturating_sub(note.at).checked_div(PARTS).unwrap_or_default();
            let is_close = |before: &Note| note.at.saturating_sub(before.at) <= tolerance;
            while kept.iter().nth_back(1).is_some_and(is_close) {
                kept.pop_back();
            }
            kept.push_back(note);
        }
        self.thinned = kept.len();
        self.notes = kept;
    }

    /// How long ago a tag was given, at least; nothing when it came after the last note.
    pub(super) fn age(&self, tag: u64, now: Duration) -> Option<Duration> {
        let covers = self.notes.partition_point(|note| note.last < tag);
        Some(now.saturating_sub(self.notes.get(covers)?.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_tag_is_as_old_as_the_first_note_that_covers_it() {
        let mut ages = Ages::default();
        ages.note(1, 10, seconds(100));
        ages.note(1, 10, seconds(101));
        ages.note(1, 20, seconds(102));
        assert_eq!(ages.age(1, seconds(105)), Some(seconds(5)));
        assert_eq!(ages.age(10, seconds(105)), Some(seconds(5)));
        assert_eq!(ages.age(11, seconds(105)), Some(seconds(3)));
        assert_eq!(ages.age(21, seconds(105)), None);
    }

    #[test]
    fn many_notes_become_fewer_and_never_make_a_tag_older_than_it_is() {
        const LAST: u64 = 100_000;
        let mut ages = Ages::default();
        for time in 1..=LAST {
            ages.note(1, time, seconds(time));
            assert!(ages.notes.len() < 2000, "{}", ages.notes.len());
        }
        for tag in 1..=LAST {
            let (known, age) = (ages.age(tag, seconds(LAST)).expect("noted"), seconds(LAST - tag));
            assert!(known <= age && age - known <= age / PARTS, "{known:?} of {age:?}");
        }
    }

    #[test]
    fn what_is_settled_leaves_no_notes() {
        let mut ages = Ages::default();
        (1..100).for_each(|time| ages.note(1, time, seconds(time)));
        ages.note(u64::MAX, 100, seconds(100));
        assert!(ages.notes.is_empty());
    }
}
