//! Which messages came: each once, none missing, those of a producer in order.
//!
//! A body begins with the producer's number u32, the message's number u64 and, where there is room,
//! the time it was meant to be sent at, in nanoseconds u64; big-endian. Numbers count from 1 for
//! each producer and queue. With checksums, the CRC-32 u32 of everything else in the body follows.
//! Pure.

use std::collections::BTreeMap;

use crc32fast::Hasher;

/// Bytes of a body that say which message it is.
pub(super) const NUMBERED_LEN: usize = 12;

/// And when it was sent.
pub(super) const TIMED_LEN: usize = 20;

/// And the checksum of the rest.
pub(super) const CHECKED_LEN: usize = 24;

/// The checksum of a body, from its stamp and from what comes behind the place of the checksum: the
/// latter is the same in all messages of a producer, and so hashed once.
pub(super) fn checksum(stamp: &[u8], behind: &Hasher) -> [u8; 4] {
    let mut all = Hasher::new();
    all.update(stamp);
    all.combine(behind);
    all.finalize().to_be_bytes()
}

/// The beginning of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: u32,
    pub(super) number: u64,
    /// Nothing in a body that has no room for it.
    pub(super) nanos: Option<u64>,
}

impl Stamp {
    pub(super) fn put(&self, body: &mut [u8]) {
        if let Some((head, rest)) = body.split_first_chunk_mut::<4>() {
            *head = self.producer.to_be_bytes();
            if let Some((head, rest)) = rest.split_first_chunk_mut::<8>() {
                *head = self.number.to_be_bytes();
                if let (Some((head, _)), Some(nanos)) =
                    (rest.split_first_chunk_mut::<8>(), self.nanos)
                {
                    *head = nanos.to_be_bytes();
                }
            }
        }
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (producer, rest) = body.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let nanos = rest.first_chunk().map(|nanos| u64::from_be_bytes(*nanos));
        let (producer, number) = (u32::from_be_bytes(*producer), u64::from_be_bytes(*number));
        Some(Self { producer, number, nanos })
    }
}

/// What one consumer got of a queue: runs of numbers, by producer.
#[derive(Debug, Default)]
pub(super) struct Tally {
    runs: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Messages that came behind a later one of the same producer.
    pub(super) out_of_order: u64,
    /// Messages whose body is not what its checksum says.
    pub(super) corrupt: u64,
}

impl Tally {
    pub(super) fn count(&self) -> u64 {
        self.runs.values().flatten().map(|(first, last)| last + 1 - first).sum()
    }

    pub(super) fn add(&mut self, producer: u32, number: u64) {
        let runs = self.runs.entry(producer).or_default();
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some((_, last)) if *last >= number => {
                self.out_of_order += 1;
                runs.push((number, number));
            }
            _ => runs.push((number, number)),
        }
    }
}

/// What is wrong with a queue's messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) missing: u64,
    pub(super) twice: u64,
    pub(super) out_of_order: u64,
    pub(super) corrupt: u64,
}

impl Wrong {
    /// Compares what all consumers of a queue got with how many each producer has published to it.
    pub(super) fn of(tallies: &[Tally], published: &BTreeMap<u32, u64>) -> Self {
        let out_of_order = tallies.iter().map(|tally| tally.out_of_order).sum();
        let corrupt = tallies.iter().map(|tally| tally.corrupt).sum();
        let mut wrong = Self { out_of_order, corrupt, ..Self::default() };
        for (producer, count) in published {
            let all = tallies.iter().filter_map(|tally| tally.runs.get(producer)).flatten();
            let mut runs: Vec<(u64, u64)> = all.copied().collect();
            runs.sort_unstable();
            let mut next = 1;
            for (first, last) in runs {
                wrong.missing += first.saturating_sub(next);
                wrong.twice += next.saturating_sub(first).min(last + 1 - first);
                next = next.max(last + 1);
            }
            wrong.missing += (count + 1).saturating_sub(next);
        }
        wrong
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        numbers.iter().for_each(|number| tally.add(7, *number));
        tally
    }

    fn wrong(tallies: &[Tally], count: u64) -> (u64, u64, u64) {
        let wrong = Wrong::of(tallies, &BTreeMap::from([(7, count)]));
        (wrong.missing, wrong.twice, wrong.out_of_order)
    }

    #[test]
    fn what_came_once_and_in_order_is_right_whoever_got_it() {
        assert_eq!(wrong(&[tally(&[1, 2, 3, 4])], 4), (0, 0, 0));
        assert_eq!(wrong(&[tally(&[1, 4]), tally(&[2, 3, 5])], 5), (0, 0, 0));
        assert_eq!(wrong(&[], 0), (0, 0, 0));
    }

    #[test]
    fn what_is_missing_came_twice_or_too_late_is_counted() {
        assert_eq!(wrong(&[tally(&[1, 3])], 5), (3, 0, 0));
        assert_eq!(wrong(&[tally(&[1, 2]), tally(&[2, 3])], 3), (0, 1, 0));
        assert_eq!(wrong(&[tally(&[2, 1, 3])], 3), (0, 0, 1));
        assert_eq!(wrong(&[tally(&[1, 2, 3]), tally(&[2])], 3), (0, 1, 0));
        assert_eq!(wrong(&[], 4), (4, 0, 0));
    }

    #[test]
    fn a_checksum_is_that_of_the_stamp_and_all_behind_it() {
        let (stamp, rest) = ([7; TIMED_LEN], b"the rest of the body");
        let mut behind = Hasher::new();
        rest.chunks(3).for_each(|chunk| behind.update(chunk));
        let whole = crc32fast::hash(&[&stamp[..], rest].concat());
        assert_eq!(checksum(&stamp, &behind), whole.to_be_bytes());
    }

    #[test]
    fn a_stamp_comes_back_as_it_was_put() {
        let stamp = Stamp { producer: 3, number: 1 << 40, nanos: Some(99) };
        let mut body = [0; TIMED_LEN];
        stamp.put(&mut body);
        assert_eq!(Stamp::read(&body), Some(stamp));
        assert_eq!(Stamp::read(&body[..NUMBERED_LEN]), Some(Stamp { nanos: None, ..stamp }));
        assert_eq!(Stamp::read(&body[..11]), None);
    }
}
