//! Fanout: a message follows every binding.

use std::sync::Arc;

use super::{Binding, Destination, Router, take_out};
use crate::protocol::properties::Properties;

#[derive(Default)]
pub(super) struct Fanout {
    bindings: Vec<Arc<Binding>>,
}

impl Router for Fanout {
    fn add(&mut self, binding: &Arc<Binding>) {
        self.bindings.push(Arc::clone(binding));
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        take_out(&mut self.bindings, binding);
    }

    fn route(&self, _: &str, _: &Properties, visit: &mut dyn FnMut(&Destination)) {
        for binding in &self.bindings {
            visit(&binding.destination);
        }
    }
}
