//! Topic: a message follows the bindings whose pattern fits its routing key, word by word.
//!
//! Words are separated by dots; `*` fits one word, `#` any number of them. An empty key is one
//! empty word. The patterns are a trie, so that a message's cost follows the words of its key and
//! the patterns that fit it, not the patterns that don't:
//!
//! ```text
//!   root ─ "stock" ─ "*" ─ "nyse" ●        ● bindings end here
//!        └ "#" ●
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::routing_keys::Routable;

/// A node's place in [`Topic::nodes`]; the root has the first.
type NodeIndex = usize;

const ROOT: NodeIndex = 0;

#[derive(Default)]
struct Node {
    words: HashMap<Box<str>, NodeIndex>,
    star: Option<NodeIndex>,
    hash: Option<NodeIndex>,
    bindings: BindingList,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.bindings.is_empty()
            && self.words.is_empty()
            && self.star.is_none()
            && self.hash.is_none()
    }

    fn child(&self, word: &str) -> Option<NodeIndex> {
        match word {
            "*" => self.star,
            "#" => self.hash,
            word => self.words.get(word).copied(),
        }
    }
}

pub(super) struct Topic {
    nodes: Vec<Node>,
    free: Vec<NodeIndex>,
}

impl Default for Topic {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

/// The words of a pattern. `#.#` fits what `#` fits, so that repeats are dropped.
fn pattern_words(key: &str) -> Vec<&str> {
    let mut words: Vec<&str> = key.split('.').collect();
    words.dedup_by(|next, previous| *next == "#" && *previous == "#");
    words
}

impl Topic {
    fn child_or_new(&mut self, parent: NodeIndex, word: &str) -> NodeIndex {
        if let Some(child) = self.nodes[parent].child(word) {
            return child;
        }
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        let node = &mut self.nodes[parent];
        match word {
            "*" => node.star = Some(child),
            "#" => node.hash = Some(child),
            word => {
                node.words.insert(word.into(), child);
            }
        }
        child
    }

    fn forget_child(&mut self, parent: NodeIndex, word: &str) {
        let node = &mut self.nodes[parent];
        match word {
            "*" => node.star = None,
            "#" => node.hash = None,
            word => {
                node.words.remove(word);
            }
        }
    }
}

impl Router for Topic {
    fn add(&mut self, binding: &Arc<Binding>) {
        let words = pattern_words(&binding.key);
        let end = words.iter().fold(ROOT, |node, word| self.child_or_new(node, word));
        self.nodes[end].bindings.add(binding);
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        let words = pattern_words(&binding.key);
        let mut path = vec![ROOT];
        let mut end = ROOT;
        for word in &words {
            let Some(child) = self.nodes[end].child(word) else { return };
            path.push(child);
            end = child;
        }
        self.nodes[end].bindings.remove(binding);
        while let Some(node) = path.pop() {
            let Some(parent) = path.last() else { break };
            if !self.nodes[node].is_empty() {
                break;
            }
            self.forget_child(*parent, words[path.len() - 1]);
            self.nodes[node] = Node::default();
            self.free.push(node);
        }
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        for key in message.keys.iter() {
            let words: SmallVec<[&str; 16]> = key.split('.').collect();
            let mut walk = Walk { nodes: &self.nodes, words: &words, seen: HashSet::new(), visit };
            walk.at(ROOT, 0, false);
        }
    }
}

/// One message's way through the trie.
struct Walk<'a> {
    nodes: &'a [Node],
    words: &'a [&'a str],
    /// Places reached below a second `#`: without them, patterns with many `#` would be walked
    /// again and again over the same words.
    seen: HashSet<(NodeIndex, usize)>,
    visit: &'a mut dyn FnMut(&Destination),
}

impl Walk<'_> {
    /// Follows the patterns that go on at `node` with the words from `position` on.
    fn at(&mut self, node: NodeIndex, position: usize, below_hash: bool) {
        let nodes = self.nodes;
        let here = &nodes[node];
        match self.words.get(position) {
            None => here.bindings.iter().for_each(|binding| (self.visit)(&binding.destination)),
            Some(word) => {
                if let Some(child) = here.words.get(*word) {
                    self.at(*child, position + 1, below_hash);
                }
                if let Some(child) = here.star {
                    self.at(child, position + 1, below_hash);
                }
            }
        }
        if let Some(child) = here.hash {
            self.skip_words(child, position, below_hash);
        }
    }

    /// `node` is at the end of a `#`, which takes none, some or all of the words from `position`
    /// on.
    fn skip_words(&mut self, node: NodeIndex, position: usize, below_hash: bool) {
        let nodes = self.nodes;
        if nodes[node].words.is_empty() && nodes[node].star.is_none() {
            // Nothing goes on after the `#`: it takes all words.
            self.at(node, self.words.len(), true);
            return;
        }
        for next in position..=self.words.len() {
            if below_hash && !self.seen.insert((node, next)) {
                break;
            }
            self.at(node, next, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::exchange::tests::{binding_of, routed_to};
    use crate::protocol::properties::Properties;
    use crate::protocol::table::FieldTable;

    fn fits(pattern: &[&str], words: &[&str]) -> bool {
        match (pattern.split_first(), words.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=words.len()).any(|skip| fits(rest, &words[skip..])),
            (Some((&"*", rest)), Some((_, words))) => fits(rest, words),
            (Some((word, rest)), Some((first, words))) => word == first && fits(rest, words),
            _ => false,
        }
    }

    fn binding(key: &str) -> Arc<Binding> {
        binding_of(key, FieldTable::default())
    }

    fn routed(topic: &Topic, key: &str) -> Vec<String> {
        let mut found = routed_to(topic, key, &Properties::default());
        found.sort();
        found.dedup();
        found
    }

    fn pattern() -> impl Strategy<Value = String> {
        let word = prop_oneof![Just("a"), Just("b"), Just(""), Just("*"), Just("#")];
        prop::collection::vec(word, 1..6).prop_map(|words| words.join("."))
    }

    fn key() -> impl Strategy<Value = String> {
        let word = prop_oneof![Just("a"), Just("b"), Just(""), Just("c")];
        prop::collection::vec(word, 1..7).prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn routes_as_the_definition_says_and_forgets_what_was_removed(
            patterns in prop::collection::btree_set(pattern(), 1..12),
            removed in 0..12usize,
            keys in prop::collection::vec(key(), 1..8),
        ) {
            let mut topic = Topic::default();
            let bindings: Vec<_> = patterns.iter().map(|pattern| binding(pattern)).collect();
            bindings.iter().for_each(|binding| topic.add(binding));
            bindings.iter().take(removed).for_each(|binding| topic.remove(binding));
            for key in keys {
                let words: Vec<&str> = key.split('.').collect();
                let expected: Vec<String> = patterns
                    .iter()
                    .skip(removed)
                    .filter(|pattern| fits(&pattern.split('.').collect::<Vec<_>>(), &words))
                    .cloned()
                    .collect();
                prop_assert_eq!(routed(&topic, &key), expected);
            }
            bindings.iter().skip(removed).for_each(|binding| topic.remove(binding));
            prop_assert!(topic.nodes[ROOT].is_empty());
            prop_assert_eq!(topic.free.len() + 1, topic.nodes.len());
        }
    }

    #[test]
    fn many_hashes_cost_no_more_than_words_times_nodes() {
        let mut topic = Topic::default();
        topic.add(&binding(&vec!["#.a"; 40].join(".")));
        let key = vec!["a"; 120].join(".");
        assert_eq!(routed(&topic, &key).len(), 1);
    }
}
