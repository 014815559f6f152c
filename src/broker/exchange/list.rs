//! Bindings that a message follows together, in no order.
//!
//! Following them walks a dense list. Taking one out searches a short list and knows the place in a
//! long one, so that unbinding one of 100,000 queues costs what unbinding the only one does.

use std::collections::HashMap;
use std::sync::Arc;

use super::Binding;

/// A longer list knows where each of its bindings stands.
const SEARCHED_MAX: usize = 64;

#[derive(Default)]
pub(super) struct BindingList {
    list: Vec<Arc<Binding>>,
    /// Places in the list by the bindings' addresses.
    #[expect(clippy::box_collection, reason = "nearly none of very many lists has them")]
    places: Option<Box<HashMap<usize, usize>>>,
}

fn address(binding: &Arc<Binding>) -> usize {
    Arc::as_ptr(binding).addr()
}

impl BindingList {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// One of them, by a number below their count.
    pub(super) fn get(&self, number: usize) -> Option<&Arc<Binding>> {
        self.list.get(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.list.iter()
    }

    /// Adds a binding that isn't there.
    pub(super) fn add(&mut self, binding: &Arc<Binding>) {
        self.list.push(Arc::clone(binding));
        match &mut self.places {
            Some(places) => drop(places.insert(address(binding), self.list.len() - 1)),
            None if self.list.len() > SEARCHED_MAX => {
                let addresses = self.list.iter().map(address);
                let places = addresses.enumerate().map(|(place, address)| (address, place));
                self.places = Some(Box::new(places.collect()));
            }
            None => {}
        }
    }

    /// Takes a binding out, if it is there.
    pub(super) fn remove(&mut self, binding: &Arc<Binding>) {
        let place = match &mut self.places {
            Some(places) => places.remove(&address(binding)),
            None => self.list.iter().position(|other| Arc::ptr_eq(other, binding)),
        };
        let Some(place) = place else { return };
        self.list.swap_remove(place);
        if self.list.len() <= SEARCHED_MAX / 2 {
            self.places = None;
        }
        if let (Some(places), Some(moved)) = (&mut self.places, self.list.get(place)) {
            places.insert(address(moved), place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::broker::exchange::tests::binding_of;
    use crate::protocol::table::FieldTable;

    proptest! {
        #[test]
        fn holds_what_was_added_and_not_removed(
            steps in prop::collection::vec(0..200usize, 0..900)
        ) {
            let all: Vec<Arc<Binding>> =
                (0..200).map(|_| binding_of("x", FieldTable::default())).collect();
            let (mut list, mut model) = (BindingList::default(), BTreeSet::new());
            for step in steps {
                // Also one that isn't there.
                list.remove(&all[step]);
                if !model.remove(&address(&all[step])) {
                    list.add(&all[step]);
                    model.insert(address(&all[step]));
                }
            }
            prop_assert_eq!(list.is_empty(), model.is_empty());
            prop_assert_eq!(list.iter().map(address).collect::<BTreeSet<_>>(), model);
            prop_assert_eq!(list.iter().count(), list.list.len());
        }
    }
}
