//! The confirms a channel owes its publisher.
//!
//! Numbers complete in any order; what all lower numbers have completed for goes out as one
//! basic.ack with `multiple`. One path for all of them, under one lock, so that none overtakes
//! another.

use crate::broker::outstanding::Outstanding;
use crate::protocol::generated::{BasicAck, BasicNack, Method};

#[derive(Debug, Default)]
pub(super) struct Confirms {
    last: u64,
    pending: Outstanding<()>,
}

impl Confirms {
    /// Opens the number of the next publish, counted from 1.
    pub(super) fn open(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.pending.insert(self.last, ());
        self.last
    }

    /// These publishes are taken care of, or (`stored` is false) may be lost. Answers what the
    /// publisher is told. `numbers` are in ascending order.
    pub(super) fn complete(&mut self, numbers: &[u64], stored: bool) -> Vec<Method> {
        for number in numbers {
            self.pending.remove(*number);
        }
        if !stored {
            let nack = |number: &u64| BasicNack { delivery_tag: *number, ..BasicNack::default() };
            return numbers.iter().map(nack).map(Method::from).collect();
        }
        let lowest_pending = self.pending.iter().next().map_or(u64::MAX, |(number, ())| number);
        let together = numbers.partition_point(|number| *number < lowest_pending);
        let (settled, alone) = numbers.split_at(together);
        let ack = |delivery_tag, multiple| Method::from(BasicAck { delivery_tag, multiple });
        let first = settled.last().map(|last| ack(*last, settled.len() > 1));
        first.into_iter().chain(alone.iter().map(|number| ack(*number, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(methods: Vec<Method>) -> Vec<(u64, bool)> {
        let tag = |method| match method {
            Method::BasicAck(ack) => (ack.delivery_tag, ack.multiple),
            other => panic!("{other:?} is not an ack"),
        };
        methods.into_iter().map(tag).collect()
    }

    #[test]
    fn a_window_is_confirmed_with_one_ack() {
        let mut confirms = Confirms::default();
        let window: Vec<u64> = (0..100).map(|_| confirms.open()).collect();
        assert_eq!(acks(confirms.complete(&window, true)), [(100, true)]);
    }

    #[test]
    fn what_a_lower_number_waits_for_is_confirmed_alone() {
        let mut confirms = Confirms::default();
        let _: Vec<u64> = (0..4).map(|_| confirms.open()).collect();
        assert_eq!(acks(confirms.complete(&[2, 4], true)), [(2, false), (4, false)]);
        assert_eq!(acks(confirms.complete(&[1], true)), [(1, false)]);
        assert_eq!(acks(confirms.complete(&[3], true)), [(3, false)]);
    }

    #[test]
    fn what_may_be_lost_is_nacked_one_by_one() {
        let mut confirms = Confirms::default();
        let _: Vec<u64> = (0..2).map(|_| confirms.open()).collect();
        let told = confirms.complete(&[1, 2], false);
        assert!(
            told.iter().all(|method| matches!(method, Method::BasicNack(nack) if !nack.multiple))
        );
        assert_eq!(told.len(), 2);
    }
}
