//! What the log remembers of a queue's messages beside them: how often each came back, and when it
//! may be delivered again.
//!
//! Pure. A note lives as long as its message isn't settled; it may come before the message does.

use std::collections::BTreeMap;

use super::record::{Note, Seq};

/// Notes by the numbers of their messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes(BTreeMap<u64, Note>);

impl Notes {
    /// Notes something of a message. Notes may come in any order: counts never go down, and the
    /// time is that of the note that counts more.
    pub(super) fn add(&mut self, seq: Seq, note: Note) {
        let known = self.0.entry(seq.0).or_default();
        let newer = (*known).later(note);
        *known = Note {
            failed: known.failed.max(note.failed),
            returned: known.returned.max(note.returned),
            due_ms: newer.due_ms,
        };
    }

    /// Messages are settled.
    pub(super) fn forget(&mut self, first: u64, last: u64) {
        while let Some((seq, _)) = self.0.range(first..=last).next() {
            let seq = *seq;
            self.0.remove(&seq);
        }
    }

    pub(super) fn of(&self, seq: Seq) -> Note {
        self.0.get(&seq.0).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Seq, Note)> {
        self.0.iter().map(|(seq, note)| (Seq(*seq), *note))
    }
}

impl Note {
    /// The later of two notes of one message. Each of its returns raises a count; of two that count
    /// the same, the one that holds it back longer.
    fn later(self, other: Self) -> Self {
        let order = |note: &Self| (note.failed.saturating_add(note.returned), note.due_ms);
        if order(&other) > order(&self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(failed: u32, returned: u32, due_ms: u64) -> Note {
        Note { failed, returned, due_ms }
    }

    #[test]
    fn counts_never_go_down_and_the_time_is_that_of_the_later_note() {
        let mut notes = Notes::default();
        notes.add(Seq(1), note(1, 2, 50));
        notes.add(Seq(1), note(1, 1, 90));
        assert!(notes.iter().eq([(Seq(1), note(1, 2, 50))]));
        notes.add(Seq(1), note(2, 2, 0));
        assert!(notes.iter().eq([(Seq(1), note(2, 2, 0))]), "it is not held back any more");
    }

    #[test]
    fn what_is_settled_is_forgotten_and_nothing_beside_it() {
        let mut notes = Notes::default();
        (1..=9).for_each(|seq| notes.add(Seq(seq), note(1, 0, 0)));
        notes.forget(3, 7);
        assert!(notes.iter().map(|(seq, _)| seq.0).eq([1, 2, 8, 9]));
        notes.forget(0, u64::MAX);
        assert_eq!(notes, Notes::default());
    }

    proptest! {
        #[test]
        fn the_notes_of_a_message_lead_to_the_same_in_any_order(
            steps in prop::collection::vec((any::<bool>(), 0..100u64), 1..8),
            order in any::<prop::sample::Index>(),
        ) {
            let mut last = Note::default();
            let mut history: Vec<Note> = steps.into_iter().map(|(failed, due_ms)| {
                let (failed, returned) = (u32::from(failed), u32::from(!failed));
                last = note(last.failed + failed, last.returned + returned, due_ms);
                last
            }).collect();
            let middle = order.index(history.len());
            history.rotate_left(middle);
            let mut notes = Notes::default();
            history.into_iter().for_each(|note| notes.add(Seq(7), note));
            prop_assert!(notes.iter().eq([(Seq(7), last)]));
        }
    }
}
