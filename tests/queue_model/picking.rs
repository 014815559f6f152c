//! What operators do to a queue's state: they look at it, and take messages out of the middle.

use std::cmp::Reverse;

use ferrymq::broker::queue::{Entry, Found, Place, Rest, View};
use ferrymq::store::Seq;
use proptest::prelude::*;

use crate::model::Model;
use crate::state::{Checked, Pair};
use crate::support::message;

impl Pair {
    /// What was picked has left by another way.
    pub fn settle_for_good(&mut self, index: usize) -> Checked {
        match Model::nth(&self.model.unacked, index) {
            Some(place) if self.picked.remove(&place) => {
                self.model.unacked.remove(&place);
                self.state.picked_left(place);
                Ok(())
            }
            _ => self.settle(index).map(|_| ()),
        }
    }

    pub fn pick(&mut self, index: usize) -> Checked {
        let Some(place) = Model::nth(&self.model.ready, index) else { return Ok(()) };
        let expected = self.model.ready[&place].clone();
        if expected.passed || expected.lost || expected.unread_until.is_some() {
            return Ok(());
        }
        if matches!(self.state.find(place), Found::OnDisk) {
            prop_assert!(expected.on_disk);
        }
        let (content, now_ms) = (message(expected.len), self.model.now_ms);
        let seen = self.state.read_aside(place, content, now_ms).expect("it is ready");
        let entry = self.state.pick(&seen).expect("it is ready");
        prop_assert!(expected.is(&entry), "{:?} is not {:?}", entry, expected);
        prop_assert!(self.state.pick(&seen).is_none(), "it is not there any more");
        prop_assert!(matches!(self.state.find(place), Found::Nowhere));
        self.model.ready.remove(&place);
        self.model.unacked.insert(place, expected);
        self.picked.insert(place);
        self.is_picked_from = true;
        Ok(())
    }

    /// Every ready message is seen once, in the order in which they would go out.
    pub fn view(&self, step: usize) -> Checked {
        let rank = |place: &Place| (Reverse(place.level), place.seq);
        let in_line = self.model.ready.iter().filter(|(_, message)| !message.passed);
        let mut expected: Vec<Place> =
            in_line.chain(&self.model.aside).map(|(place, _)| *place).collect();
        expected.sort_unstable_by_key(rank);
        let (mut seen, mut next) = (Vec::new(), Some(Place { level: u8::MAX, seq: Seq(0) }));
        while let Some(from) = next {
            let mut aside: Vec<&Entry> = self.aside.iter().collect();
            aside.sort_unstable_by_key(|entry| rank(&entry.place()));
            let View { entries, rest } = self.state.view(from, step, &aside);
            seen.extend(entries.iter().map(Entry::place));
            next = match rest {
                Rest::Nothing => None,
                Rest::From(place) => Some(place),
                Rest::OnDisk { level, first, last } => {
                    let range = Place { level, seq: first }..=Place { level, seq: last };
                    let lying = self.model.ready.range(range).filter(|(_, lying)| !lying.passed);
                    for (place, _) in lying {
                        prop_assert!(matches!(self.state.find(*place), Found::OnDisk));
                        seen.push(*place);
                    }
                    Some(Place { level, seq: Seq(last.0 + 1) })
                }
            };
        }
        prop_assert_eq!(seen, expected);
        Ok(())
    }
}
