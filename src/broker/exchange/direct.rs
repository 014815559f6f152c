//! Direct: a message follows the bindings whose key is its routing key.

use std::collections::HashMap;
use std::sync::Arc;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::routing_keys::Routable;
use crate::protocol::wire::ShortStr;

#[derive(Default)]
pub(super) struct Direct {
    by_key: HashMap<ShortStr, BindingList>,
}

impl Router for Direct {
    fn add(&mut self, binding: &Arc<Binding>) {
        self.by_key.entry(binding.key.clone()).or_default().add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        if let Some(bindings) = self.by_key.get_mut(&binding.key) {
            bindings.remove(binding);
            if bindings.is_empty() {
                self.by_key.remove(&binding.key);
            }
        }
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        for key in message.keys.iter() {
            for binding in self.by_key.get(key.as_bytes()).into_iter().flat_map(BindingList::iter) {
                visit(&binding.destination);
            }
        }
    }
}
