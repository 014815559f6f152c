//! What deduplication has seen in one queue: digests of messages, oldest first, each once.
//!
//! Pure. Every digest has a number, which grows: a checkpoint writes no more than what came since
//! the last one, in pieces of so many numbers each, however many digests there are.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// Numbers in a piece of a checkpoint.
const PIECE_NUMBERS: u64 = 64;

/// A digest, and until when it holds, in milliseconds since 1970.
pub(super) type SeenDigest = (u128, u64);

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The number of each digest.
    numbers: HashMap<u128, u64>,
    /// Digests by their numbers, from `first` on. One that was seen again has a higher number
    /// since; its old place is a gap.
    entries: VecDeque<SeenDigest>,
    first: u64,
    /// The numbers that the last checkpoint has.
    saved: Range<u64>,
}

/// What a checkpoint has to write.
#[derive(Debug)]
pub(super) struct SeenChange {
    /// All numbers that count.
    pub(super) numbers: Range<u64>,
    /// Pieces to be removed.
    pub(super) gone: Range<u64>,
    /// Pieces to be written, with the digests of those of their numbers that count.
    pub(super) written: Vec<(u64, Vec<SeenDigest>)>,
}

impl Seen {
    /// Takes up what checkpoints have kept; nothing when it isn't all there.
    pub(super) fn restore(
        numbers: Range<u64>,
        pieces: impl IntoIterator<Item = (u64, Vec<SeenDigest>)>,
    ) -> Option<Self> {
        let mut seen = Self { first: numbers.start, saved: numbers.clone(), ..Self::default() };
        let wanted = pieces_of(&numbers);
        for (piece, digests) in pieces {
            // Others are of another log, whose catalog this was.
            if wanted.contains(&piece) {
                digests.into_iter().for_each(|digest| seen.push(digest));
            }
        }
        (seen.next() == numbers.end).then_some(seen)
    }

    /// Messages with these digests were seen, the oldest first. Of all digests only the newest
    /// `keep` stay.
    pub(super) fn see(&mut self, digests: &[SeenDigest], keep: u32) {
        digests.iter().for_each(|digest| self.push(*digest));
        while self.numbers.len() > keep as usize {
            self.drop_first();
        }
        // So a gap is never the first, and few stand between the others.
        while self.entries.front().is_some_and(|(digest, _)| !self.is_at(*digest, self.first)) {
            self.drop_first();
        }
        let gaps = self.entries.len().saturating_sub(self.numbers.len());
        if gaps > self.numbers.len().saturating_add(PIECE_NUMBERS as usize) {
            let digests: Vec<SeenDigest> = self.iter().collect();
            self.first = self.next();
            self.entries.clear();
            digests.into_iter().for_each(|digest| self.push(digest));
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = SeenDigest> {
        let numbered = (self.first..).zip(&self.entries);
        numbered.filter(|(number, (digest, _))| self.is_at(*digest, *number)).map(|(_, seen)| *seen)
    }

    /// What has changed since this was asked last.
    pub(super) fn take_change(&mut self) -> SeenChange {
        let numbers = self.first..self.next();
        let saved = std::mem::replace(&mut self.saved, numbers.clone());
        let (pieces, saved_pieces) = (pieces_of(&numbers), pieces_of(&saved));
        let gone = saved_pieces.start..saved_pieces.end.min(pieces.start);
        let is_changed = |piece: &u64| {
            // The first one has lost a part, or this one has got more.
            (*piece == pieces.start && numbers.start != saved.start)
                || numbers_of(*piece).end.min(numbers.end) > saved.end
        };
        let written = pieces.clone().filter(is_changed).map(|piece| (piece, self.piece(piece)));
        let written = written.collect();
        SeenChange { numbers, gone, written }
    }

    fn piece(&self, piece: u64) -> Vec<SeenDigest> {
        let index = |number: u64| {
            let index = number.saturating_sub(self.first);
            usize::try_from(index).unwrap_or(usize::MAX).min(self.entries.len())
        };
        let Range { start, end } = numbers_of(piece);
        self.entries.range(index(start)..index(end)).copied().collect()
    }

    fn next(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    fn is_at(&self, digest: u128, number: u64) -> bool {
        self.numbers.get(&digest) == Some(&number)
    }

    fn push(&mut self, (digest, until_ms): SeenDigest) {
        self.numbers.insert(digest, self.next());
        self.entries.push_back((digest, until_ms));
    }

    fn drop_first(&mut self) {
        let Some((digest, _)) = self.entries.pop_front() else { return };
        if self.is_at(digest, self.first) {
            self.numbers.remove(&digest);
        }
        self.first = self.first.saturating_add(1);
    }
}

fn numbers_of(piece: u64) -> Range<u64> {
    let start = piece.saturating_mul(PIECE_NUMBERS);
    start..start.saturating_add(PIECE_NUMBERS)
}

/// The pieces that these numbers are in.
fn pieces_of(numbers: &Range<u64>) -> Range<u64> {
    let first = numbers.start / PIECE_NUMBERS;
    match numbers.is_empty() {
        true => first..first,
        false => first..numbers.end.div_ceil(PIECE_NUMBERS),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is seen is at the end, once; the oldest go.
    fn see(model: &mut Vec<SeenDigest>, seen: SeenDigest, keep: usize) {
        model.retain(|(digest, _)| *digest != seen.0);
        model.push(seen);
        model.drain(..model.len().saturating_sub(keep));
    }

    fn write(kept: &mut BTreeMap<u64, Vec<SeenDigest>>, change: SeenChange) -> Range<u64> {
        kept.retain(|piece, _| !change.gone.contains(piece));
        kept.extend(change.written);
        change.numbers
    }

    proptest! {
        #[test]
        fn the_newest_are_kept_in_order_and_so_are_those_of_each_checkpoint(
            steps in prop::collection::vec(
                (0..200u128, any::<u64>(), prop_oneof![1 => 0..5u32, 9 => 90..150u32], 0..30u8),
                0..600,
            )
        ) {
            let (mut seen, mut model) = (Seen::default(), Vec::new());
            let mut kept = BTreeMap::new();
            for (digest, until_ms, keep, then) in steps {
                seen.see(&[(digest, until_ms)], keep);
                see(&mut model, (digest, until_ms), keep as usize);
                if then == 0 {
                    let numbers = write(&mut kept, seen.take_change());
                    let pieces = kept.clone().into_iter();
                    seen = Seen::restore(numbers, pieces).expect("all is there");
                } else if then < 4 {
                    write(&mut kept, seen.take_change());
                }
                prop_assert_eq!(seen.numbers.len(), model.len());
                prop_assert!(seen.iter().eq(model.iter().copied()));
            }
        }
    }

    #[test]
    fn a_checkpoint_writes_what_came_since_the_last_one() {
        let mut seen = Seen::default();
        (0..100_000).for_each(|digest| seen.see(&[(digest, 1)], 50_000));
        assert!(seen.take_change().written.len() as u64 >= 50_000 / PIECE_NUMBERS);
        (0..100).for_each(|digest| seen.see(&[(200_000 + digest, 1)], 50_000));
        let change = seen.take_change();
        assert!(change.written.len() <= 4 && !change.gone.is_empty(), "{:?}", change.gone);
        let change = seen.take_change();
        assert!(change.written.is_empty() && change.gone.is_empty());
    }

    #[test]
    fn one_that_is_seen_again_and_again_takes_no_more_room() {
        let mut seen = Seen::default();
        seen.see(&[(1, 1)], 10);
        (0..10_000).for_each(|until| seen.see(&[(2, until)], 10));
        assert!(seen.iter().eq([(1, 1), (2, 9999)]));
        assert!(seen.entries.len() < 100);
    }

    #[test]
    fn a_checkpoint_that_lacks_a_piece_is_not_believed() {
        let mut seen = Seen::default();
        (0..200).for_each(|digest| seen.see(&[(digest, 1)], 200));
        let change = seen.take_change();
        let without_one = change.written.into_iter().skip(1);
        assert!(Seen::restore(change.numbers, without_one).is_none());
    }
}
