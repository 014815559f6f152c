//! Headers: a message follows the bindings whose arguments its headers carry.
//!
//! Indexed by header and value. A binding that needs all of its pairs stands under one of them, the
//! one that fewest others stand under; a binding that needs any stands under each. A message looks
//! up the headers that it carries, so that bindings which share nothing with it cost nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::list::BindingList;
use super::{Binding, Destination, Router};
use crate::broker::error::Error;
use crate::broker::routing_keys::Routable;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// What a binding asks of a header: to be there, or to have a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Wanted {
    Present,
    Value(Comparable),
}

/// A value as it is compared: by meaning, not by its width on the wire. 1 is 1 in every integer
/// type, but neither 1.0 nor "1". Strings are equal by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Comparable {
    Integer(i64),
    Float(u64),
    Text(Bytes),
    /// Everything else by its bytes on the wire.
    Encoded(Bytes),
}

impl Comparable {
    fn of(value: &FieldValue) -> Self {
        if let Some(integer) = value.as_i64() {
            return Self::Integer(integer);
        }
        match value {
            FieldValue::F32(float) => Self::Float(f64::from(*float).to_bits()),
            FieldValue::F64(float) => Self::Float(float.to_bits()),
            FieldValue::LongStr(text) | FieldValue::ByteArray(text) => Self::Text(text.clone()),
            other => {
                let mut encoded = BytesMut::new();
                FieldTable::from_iter([(ShortStr::default(), other.clone())]).encode(&mut encoded);
                Self::Encoded(encoded.freeze())
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

/// A header's name, and what is wanted of it.
type Pair = (ShortStr, Wanted);

/// A binding's arguments, parsed.
struct Condition {
    mode: Mode,
    pairs: Vec<Pair>,
}

impl Condition {
    fn parse(arguments: &FieldTable) -> Result<Self, Error> {
        let (mode, with_x) = match arguments.get("x-match") {
            None => (Mode::All, false),
            Some(value) => match value.as_str() {
                Some("all") => (Mode::All, false),
                Some("any") => (Mode::Any, false),
                Some("all-with-x") => (Mode::All, true),
                Some("any-with-x") => (Mode::Any, true),
                _ => return Err(Self::bad_mode(value)),
            },
        };
        let pairs = arguments
            .iter()
            .filter(|(name, _)| *name != "x-match" && (with_x || !name.starts_with("x-")))
            .map(|(name, value)| {
                let wanted = match value {
                    FieldValue::Void => Wanted::Present,
                    value => Wanted::Value(Comparable::of(value)),
                };
                (name.clone(), wanted)
            })
            .collect();
        Ok(Self { mode, pairs })
    }

    /// RabbitMQ's words.
    fn bad_mode(value: &FieldValue) -> Error {
        Error::precondition_failed(match value {
            FieldValue::LongStr(text) => format!(
                "Invalid x-match field value <<\"{}\">>; expected all, any, all-with-x, or \
                 any-with-x",
                String::from_utf8_lossy(text)
            ),
            other => format!(
                "Invalid x-match field type {} (value {}); expected longstr",
                other.type_name(),
                other.plain_text()
            ),
        })
    }
}

/// A binding, and what it needs beside the pair under which it stands.
struct Rule {
    binding: Arc<Binding>,
    others: Box<[Pair]>,
}

/// Mostly one: then it is where it was found, however many others there are.
type Rules = SmallVec<[Rule; 1]>;

#[derive(Default)]
pub(super) struct Headers {
    /// Where each binding stands, by header and what is wanted of it.
    index: HashMap<ShortStr, HashMap<Wanted, Rules>>,
    /// Bindings that need all of nothing.
    always: BindingList,
}

impl Headers {
    /// How many bindings stand under a pair.
    fn count(&self, (name, wanted): &Pair) -> usize {
        let rules = self.index.get(name).and_then(|by_value| by_value.get(wanted));
        rules.map_or(0, |rules| rules.len())
    }

    fn put(&mut self, (name, wanted): Pair, rule: Rule) {
        self.index.entry(name).or_default().entry(wanted).or_default().push(rule);
    }
}

impl Router for Headers {
    fn check(&self, binding: &Binding) -> Result<(), Error> {
        Condition::parse(&binding.arguments).map(|_| ())
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        let Ok(Condition { mode, mut pairs }) = Condition::parse(&binding.arguments) else {
            return;
        };
        let rule = |others| Rule { binding: Arc::clone(binding), others };
        match mode {
            Mode::Any => pairs.into_iter().for_each(|pair| self.put(pair, rule(Box::default()))),
            Mode::All => match (0..pairs.len()).min_by_key(|place| self.count(&pairs[*place])) {
                Some(rarest) => {
                    let pair = pairs.swap_remove(rarest);
                    self.put(pair, rule(pairs.into_boxed_slice()));
                }
                None => self.always.add(binding),
            },
        }
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        let Ok(condition) = Condition::parse(&binding.arguments) else { return };
        self.always.remove(binding);
        // Which of its pairs an all-binding stands under depended on what was there: look at each.
        for (name, wanted) in condition.pairs {
            let Some(by_value) = self.index.get_mut(&name) else { continue };
            if let Some(rules) = by_value.get_mut(&wanted) {
                rules.retain(|rule| !Arc::ptr_eq(&rule.binding, binding));
                if rules.is_empty() {
                    by_value.remove(&wanted);
                }
            }
            if by_value.is_empty() {
                self.index.remove(&name);
            }
        }
    }

    fn routes_by_keys_only(&self) -> bool {
        false
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        self.always.iter().for_each(|binding| visit(&binding.destination));
        let Some(table) = message.properties.headers() else { return };
        let value_of = |value| Wanted::Value(Comparable::of(value));
        let headers: HashMap<&ShortStr, Wanted> =
            table.iter().map(|(name, value)| (name, value_of(value))).collect();
        let carries = |(name, wanted): &Pair| {
            headers.get(name).is_some_and(|value| *wanted == Wanted::Present || wanted == value)
        };
        for (name, value) in &headers {
            let Some(by_value) = self.index.get(*name) else { continue };
            let rules = [&Wanted::Present, value].map(|wanted| by_value.get(wanted));
            for Rule { binding, others } in rules.into_iter().flatten().flatten() {
                if others.iter().all(carries) {
                    visit(&binding.destination);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::tests::{binding_of, routed_to};
    use crate::protocol::properties::{BasicProperties, Properties};

    fn table(pairs: &[(&'static str, FieldValue)]) -> FieldTable {
        pairs.iter().map(|(name, value)| (ShortStr::from_static(name), value.clone())).collect()
    }

    fn text(text: &'static str) -> FieldValue {
        FieldValue::LongStr(Bytes::from_static(text.as_bytes()))
    }

    fn binding(arguments: FieldTable) -> Arc<Binding> {
        binding_of("there", arguments)
    }

    fn follows(
        arguments: &[(&'static str, FieldValue)],
        headers: &[(&'static str, FieldValue)],
    ) -> bool {
        let mut router = Headers::default();
        router.add(&binding(table(arguments)));
        let headers = Some(table(headers));
        let properties = Properties::from(&BasicProperties { headers, ..Default::default() });
        !routed_to(&router, "", &properties).is_empty()
    }

    #[test]
    fn all_needs_every_pair_and_any_needs_one() {
        let both = [("x-match", text("all")), ("a", text("1")), ("b", text("2"))];
        assert!(follows(&both, &[("a", text("1")), ("b", text("2")), ("c", text("3"))]));
        assert!(!follows(&both, &[("a", text("1"))]));
        let either = [("x-match", text("any")), ("a", text("1")), ("b", text("2"))];
        assert!(follows(&either, &[("b", text("2"))]));
        assert!(!follows(&either, &[("b", text("1"))]));
    }

    #[test]
    fn without_pairs_all_follows_everything_and_any_nothing() {
        assert!(follows(&[], &[]));
        assert!(!follows(&[("x-match", text("any"))], &[("a", text("1"))]));
    }

    #[test]
    fn values_compare_by_meaning_and_void_by_presence() {
        assert!(follows(&[("a", FieldValue::I64(1))], &[("a", FieldValue::U8(1))]));
        assert!(!follows(&[("a", FieldValue::I64(1))], &[("a", FieldValue::F64(1.0))]));
        assert!(!follows(&[("a", FieldValue::I64(1))], &[("a", text("1"))]));
        assert!(follows(&[("a", FieldValue::Void)], &[("a", text("whatever"))]));
        assert!(follows(&[("a", FieldValue::Bool(true))], &[("a", FieldValue::Bool(true))]));
    }

    #[test]
    fn names_with_x_count_only_in_the_modes_that_say_so() {
        assert!(follows(&[("x-a", text("1"))], &[]));
        let with_x = [("x-match", text("all-with-x")), ("x-a", text("1"))];
        assert!(!follows(&with_x, &[]));
        assert!(follows(&with_x, &[("x-a", text("1"))]));
    }

    #[test]
    fn an_unknown_mode_is_refused() {
        for value in [text("some"), FieldValue::I32(1)] {
            let binding = binding(table(&[("x-match", value)]));
            assert!(Headers::default().check(&binding).is_err());
        }
    }

    #[test]
    fn bindings_spread_over_their_rarest_pair_and_leave_nothing_behind() {
        let mut router = Headers::default();
        let ids: Vec<Arc<Binding>> = (0..100)
            .map(|id| binding(table(&[("kind", text("order")), ("id", FieldValue::I32(id))])))
            .collect();
        ids.iter().for_each(|binding| router.add(binding));
        let mut rules = router.index.values().flat_map(HashMap::values);
        assert!(rules.all(|rules| rules.len() <= 2));
        ids.iter().for_each(|binding| router.remove(binding));
        assert!(router.index.is_empty());
    }
}
