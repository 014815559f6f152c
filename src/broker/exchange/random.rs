//! Random: a message follows one binding, drawn anew for each.

use std::sync::Arc;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::error::Error;
use crate::broker::routing_keys::Routable;
use crate::protocol::table::FieldValue;

/// `x-random`: the binding key is ignored; whoever is bound twice is drawn twice as often.
#[derive(Default)]
pub(super) struct Random {
    bindings: BindingList,
}

impl Router for Random {
    fn routes_by_keys_only(&self) -> bool {
        false
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        self.bindings.add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        self.bindings.remove(binding);
    }

    fn route(&self, _: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        let drawn = match self.bindings.len() {
            0 => None,
            1 => self.bindings.get(0),
            many => self.bindings.get(rand::random_range(0..many)),
        };
        drawn.into_iter().for_each(|binding| visit(&binding.destination));
    }
}

/// `x-local-random`: the same, and only what can be answered at once is bound, without a key. On
/// one node every queue is local.
#[derive(Default)]
pub(super) struct LocalRandom(Random);

impl Router for LocalRandom {
    /// RabbitMQ's words.
    fn check(&self, binding: &Binding) -> Result<(), Error> {
        if !binding.key.is_empty() {
            return Err(Error::precondition_failed(format!(
                "Non empty binding '{}' key not permitted",
                binding.key
            )));
        }
        let Destination::Queue(queue) = &binding.destination else {
            return Err(Error::precondition_failed("Destination not found"));
        };
        match queue.properties.arguments.get("x-queue-type").and_then(FieldValue::as_str) {
            Some("quorum") => Err(Error::precondition_failed(
                "Queue type rabbit_quorum_queue not valid for this exchange type",
            )),
            _ => Ok(()),
        }
    }

    fn routes_by_keys_only(&self) -> bool {
        self.0.routes_by_keys_only()
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        self.0.add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        self.0.remove(binding);
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        self.0.route(message, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::tests::{binding_of, routed_to};
    use crate::protocol::properties::Properties;
    use crate::protocol::table::FieldTable;

    #[test]
    fn every_binding_is_drawn_and_one_at_a_time() {
        let mut router = Random::default();
        let bindings = ["a", "b", "c"].map(|name| binding_of(name, FieldTable::default()));
        assert!(routed_to(&router, "key", &Properties::default()).is_empty());
        bindings.iter().for_each(|binding| router.add(binding));
        let mut drawn = [0; 3];
        // That one of three isn't drawn in 200 attempts happens once in 10^34 runs.
        for _ in 0..200 {
            match routed_to(&router, "key", &Properties::default()).as_slice() {
                [one] => {
                    let place = bindings.iter().position(|binding| *one == *binding.key);
                    drawn[place.expect("one of them")] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(drawn.iter().all(|times| *times > 0), "{drawn:?}");
        bindings.iter().for_each(|binding| router.remove(binding));
        assert!(routed_to(&router, "key", &Properties::default()).is_empty());
    }
}
