//! A set of levels, 0 to 255, whose highest and lowest are found at once however many there are.

const WORD_BITS: u8 = 64;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Levels {
    words: [u64; 4],
    /// Asked for at every message, and seldom another.
    highest: Option<u8>,
}

impl Levels {
    #[inline]
    pub(super) fn set(&mut self, level: u8, is_in: bool) {
        let bit = 1 << (level % WORD_BITS);
        let word = &mut self.words[usize::from(level / WORD_BITS)];
        if (*word & bit != 0) != is_in {
            *word ^= bit;
            self.highest = self.find_highest();
        }
    }

    fn find_highest(&self) -> Option<u8> {
        let (index, word) = self.words().rev().find(|(_, word)| *word != 0)?;
        Some(index * WORD_BITS + (WORD_BITS - 1 - leading(word)))
    }

    #[inline]
    pub(super) fn highest(&self) -> Option<u8> {
        self.highest
    }

    pub(super) fn lowest(&self) -> Option<u8> {
        self.iter().next()
    }

    /// From low to high.
    pub(super) fn iter(&self) -> impl Iterator<Item = u8> + use<> {
        self.words().flat_map(|(index, word)| {
            let rest = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            let bit = move |word: u64| index * WORD_BITS + trailing(word);
            rest.take_while(|word| *word != 0).map(bit)
        })
    }

    fn words(&self) -> impl DoubleEndedIterator<Item = (u8, u64)> + use<> {
        (0..4u8).map({
            let words = self.words;
            move |index| (index, words[usize::from(index)])
        })
    }
}

/// Both are below 64, for words that are not zero.
fn leading(word: u64) -> u8 {
    u8::try_from(word.leading_zeros()).unwrap_or(0)
}

fn trailing(word: u64) -> u8 {
    u8::try_from(word.trailing_zeros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_was_set(
            steps in prop::collection::vec((any::<u8>(), any::<bool>()), 0..200)
        ) {
            let (mut levels, mut model) = (Levels::default(), BTreeSet::new());
            for (level, is_in) in steps {
                levels.set(level, is_in);
                if is_in { model.insert(level) } else { model.remove(&level) };
                prop_assert_eq!(levels.highest(), model.last().copied());
                prop_assert_eq!(levels.lowest(), model.first().copied());
                prop_assert!(levels.iter().eq(model.iter().copied()));
            }
        }
    }
}
