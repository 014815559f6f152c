//! The confirms a channel owes its publisher.
//!
//! Publishes are numbered from 1, and stand here as ranges of numbers: what one read brought is
//! mostly one. They complete in any order; what all lower numbers have completed for goes out as
//! one basic.ack with `multiple`. One path for all of them, under one lock, so that none overtakes
//! another.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::protocol::generated::{BasicAck, BasicNack, Method};

/// Numbers of publishes, in ascending order and apart from one another.
pub(crate) type Numbers = Vec<RangeInclusive<u64>>;

/// Adds a number that is higher than all that are in.
pub(crate) fn add(numbers: &mut Numbers, number: u64) {
    match numbers.last_mut() {
        Some(range) if range.end().checked_add(1) == Some(number) => {
            *range = *range.start()..=number;
        }
        _ => numbers.push(number..=number),
    }
}

/// How many numbers are in a range.
fn count_of(range: &RangeInclusive<u64>) -> u64 {
    range.end().abs_diff(*range.start()).saturating_add(1)
}

/// How many numbers they are.
pub(crate) fn count(numbers: &Numbers) -> u64 {
    numbers.iter().map(count_of).fold(0, u64::saturating_add)
}

/// Publishes that are not confirmed yet and wait for the disk, in ascending order.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    pending: VecDeque<RangeInclusive<u64>>,
    /// So many were confirmed so far.
    pub(super) confirmed: u64,
}

impl Confirms {
    /// These wait for the disk. They are higher than those that wait already.
    pub(super) fn wait_for(&mut self, numbers: &Numbers) {
        self.pending.extend(numbers.iter().cloned());
    }

    /// How many publishes wait.
    pub(super) fn pending_count(&self) -> u64 {
        self.pending.iter().map(count_of).sum()
    }

    /// These are taken care of, or (`stored` is false) may be lost. Answers what the publisher is
    /// told. Those that wait are as they were given to [`Confirms::wait_for`].
    pub(super) fn complete(&mut self, numbers: &Numbers, stored: bool) -> Vec<Method> {
        for range in numbers {
            // Mostly the first: the log commits in order.
            if let Some(index) = self.pending.iter().position(|pending| pending == range) {
                self.pending.remove(index);
            }
        }
        if !stored {
            let nack = |number| BasicNack { delivery_tag: number, ..BasicNack::default() };
            return numbers.iter().cloned().flatten().map(nack).map(Method::from).collect();
        }
        let lowest_pending = self.pending.front().map_or(u64::MAX, |range| *range.start());
        let (mut together, mut alone) = (None, Vec::new());
        for range in numbers {
            if *range.end() < lowest_pending {
                let first = together.map_or(*range.start(), |(first, _)| first);
                together = Some((first, *range.end()));
            } else {
                alone.extend(range.clone());
            }
        }
        let ack = |delivery_tag, multiple| Method::from(BasicAck { delivery_tag, multiple });
        let first = together.map(|(first, last)| ack(last, first < last));
        first.into_iter().chain(alone.into_iter().map(|number| ack(number, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &[u64]) -> Numbers {
        let mut numbers = Numbers::new();
        list.iter().for_each(|number| add(&mut numbers, *number));
        numbers
    }

    fn acks(methods: Vec<Method>) -> Vec<(u64, bool)> {
        let tag = |method| match method {
            Method::BasicAck(ack) => (ack.delivery_tag, ack.multiple),
            other => panic!("{other:?} is not an ack"),
        };
        methods.into_iter().map(tag).collect()
    }

    #[test]
    fn numbers_that_follow_one_another_are_one_range() {
        assert_eq!(numbers(&[1, 2, 3, 7, 9, 10]), [1..=3, 7..=7, 9..=10]);
    }

    #[test]
    fn a_window_is_confirmed_with_one_ack() {
        let mut confirms = Confirms::default();
        let window = vec![1..=100];
        confirms.wait_for(&window);
        assert_eq!(acks(confirms.complete(&window, true)), [(100, true)]);
    }

    #[test]
    fn what_a_lower_number_waits_for_is_confirmed_alone() {
        let mut confirms = Confirms::default();
        let (first, second) = (numbers(&[1]), numbers(&[3]));
        confirms.wait_for(&first);
        confirms.wait_for(&second);
        assert_eq!(acks(confirms.complete(&numbers(&[2, 4]), true)), [(2, false), (4, false)]);
        assert_eq!(acks(confirms.complete(&first, true)), [(1, false)]);
        assert_eq!(acks(confirms.complete(&second, true)), [(3, false)]);
    }

    #[test]
    fn gaps_between_those_that_are_done_are_no_reason_for_two_acks() {
        let mut confirms = Confirms::default();
        assert_eq!(acks(confirms.complete(&numbers(&[1, 2, 5, 6]), true)), [(6, true)]);
    }

    #[test]
    fn what_may_be_lost_is_nacked_one_by_one() {
        let mut confirms = Confirms::default();
        let both = numbers(&[1, 2]);
        confirms.wait_for(&both);
        let told = confirms.complete(&both, false);
        assert!(
            told.iter().all(|method| matches!(method, Method::BasicNack(nack) if !nack.multiple))
        );
        assert_eq!(told.len(), 2);
    }
}
