//! Fanout: a message follows every binding.

use std::sync::Arc;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::routing_keys::Routable;

#[derive(Default)]
pub(super) struct Fanout {
    bindings: BindingList,
}

impl Router for Fanout {
    fn add(&mut self, binding: &Arc<Binding>) {
        self.bindings.add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        self.bindings.remove(binding);
    }

    fn route(&self, _: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        for binding in self.bindings.iter() {
            visit(&binding.destination);
        }
    }
}
