//! Modulus hash: a message follows one binding, the one whose place among them is the hash of its
//! keys modulo their number.
//!
//! The order is that of the destinations' names, so that it is the same after a restart. A change
//! of the bindings moves nearly every key; a consistent hash moves few.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::stable_hash::StableHash;
use super::{Binding, Destination, Router};
use crate::broker::routing_keys::Routable;
use crate::protocol::wire::ShortStr;

/// Exchanges before queues, by name; those of one destination by key, and then in any order.
type Place = (bool, ShortStr, ShortStr, usize);

fn place_of(binding: &Arc<Binding>) -> Place {
    let (is_queue, name) = match &binding.destination {
        Destination::Exchange(exchange) => (false, exchange.name.clone()),
        Destination::Queue(queue) => (true, queue.name().clone()),
    };
    (is_queue, name, binding.key.clone(), Arc::as_ptr(binding).addr())
}

/// The binding key is ignored; whoever is bound twice has two places.
#[derive(Default)]
pub(super) struct ModulusHash {
    ordered: BTreeMap<Place, Arc<Binding>>,
    /// The same in a row: made by the first message after a change.
    row: OnceLock<Vec<Arc<Binding>>>,
}

impl Router for ModulusHash {
    fn add(&mut self, binding: &Arc<Binding>) {
        self.ordered.insert(place_of(binding), Arc::clone(binding));
        self.row = OnceLock::new();
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        self.ordered.remove(&place_of(binding));
        self.row = OnceLock::new();
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        let row = self.row.get_or_init(|| self.ordered.values().cloned().collect());
        // A byte that UTF-8 doesn't have stands between the keys.
        let hash = message
            .keys
            .iter()
            .fold(StableHash::new(), |hash, key| hash.with(key.as_bytes()).with(&[0xff]));
        let place = hash.value(0).checked_rem(row.len() as u64);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(binding) = place.and_then(|place| row.get(place)) {
            visit(&binding.destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::tests::{binding_of, routed_to};
    use crate::protocol::properties::Properties;
    use crate::protocol::table::FieldTable;

    fn router<'a>(names: impl IntoIterator<Item = &'a str>) -> ModulusHash {
        let mut router = ModulusHash::default();
        names.into_iter().for_each(|name| router.add(&binding_of(name, FieldTable::default())));
        router
    }

    #[test]
    fn a_key_goes_to_one_destination_in_whatever_order_they_were_bound() {
        let (one, other) = (router(["a", "b", "c"]), router(["c", "a", "b"]));
        let mut found = std::collections::BTreeSet::new();
        for key in 0..100 {
            let to = routed_to(&one, &key.to_string(), &Properties::default());
            assert_eq!(to.len(), 1);
            assert_eq!(to, routed_to(&other, &key.to_string(), &Properties::default()));
            found.extend(to);
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn what_is_unbound_gets_nothing_more() {
        let mut router = router(["a"]);
        let other = binding_of("b", FieldTable::default());
        router.add(&other);
        let _ = routed_to(&router, "key", &Properties::default());
        router.remove(&other);
        for key in 0..20 {
            assert_eq!(routed_to(&router, &key.to_string(), &Properties::default()), ["a"]);
        }
        assert!(routed_to(&ModulusHash::default(), "key", &Properties::default()).is_empty());
    }
}
