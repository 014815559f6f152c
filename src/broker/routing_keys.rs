//! The keys that a message is routed by: its routing key, and what its CC and BCC headers add.
//!
//! ```text
//! basic.publish  routing key ─┐
//! header CC      array ───────┼─▶ keys, each once, to every kind of exchange
//! header BCC     array ───────┘   (and BCC is taken out of what is stored and delivered)
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use super::error::Error;
use crate::protocol::message::Message;
use crate::protocol::properties::Properties;
use crate::protocol::raw_table::{RawTable, RawValue};
use crate::protocol::table::FieldValue;
use crate::protocol::wire::ShortStr;

/// Headers that add routing keys, in the order of their keys.
pub const CC: &str = "CC";
const BCC: &str = "BCC";

/// Keys that one message may add: each is routed on its own.
const EXTRA_KEYS_MAX: usize = 1000;

/// The keys that a message's headers add to its routing key, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraKeys {
    keys: Vec<ShortStr>,
    has_blind: bool,
}

impl ExtraKeys {
    /// Looks for them in headers. Elements that are no long strings are passed over, and so are
    /// those that can't be routing keys, over 255 bytes or not UTF-8. Refuses headers of these
    /// names that are no arrays, and too many keys.
    pub fn of(properties: &Properties) -> Result<Self, Error> {
        let (mut cc, mut bcc) = (None, None);
        for (name, value) in properties.raw_headers() {
            match name {
                b"CC" => cc = cc.or(Some(value)),
                b"BCC" => bcc = bcc.or(Some(value)),
                _ => {}
            }
        }
        let mut found = Self { keys: Vec::new(), has_blind: bcc.is_some() };
        let mut known = HashSet::new();
        for (name, value) in [(CC, cc), (BCC, bcc)] {
            let Some(value) = value else { continue };
            let Some(elements) = value.as_array() else {
                return Err(unacceptable(name, properties));
            };
            for text in elements.filter_map(RawValue::as_text) {
                if let Ok(key) = ShortStr::from_bytes(text)
                    && known.insert(key.clone())
                {
                    found.keys.push(key);
                }
            }
        }
        if found.keys.len() > EXTRA_KEYS_MAX {
            return Err(Error::precondition_failed(format!(
                "invalid message: its headers CC and BCC add {} routing keys, more than \
                 {EXTRA_KEYS_MAX}; publish it several times",
                found.keys.len()
            )));
        }
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &ShortStr> {
        self.keys.iter()
    }

    /// The properties to store and deliver, where they are others than those that came: the
    /// receivers must not hear of BCC.
    pub fn without_blind(&self, properties: &Properties) -> Option<Properties> {
        if !self.has_blind {
            return None;
        }
        let mut headers = properties.headers()?;
        headers.remove(BCC);
        Some(properties.with_headers(&headers))
    }
}

/// RabbitMQ's words.
fn unacceptable(name: &str, properties: &Properties) -> Error {
    let headers = properties.headers().unwrap_or_default();
    let kind = headers.get(name).map_or("undefined", FieldValue::type_name);
    Error::precondition_failed(format!(
        "invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"
    ))
}

/// All keys of a message: there is always one.
#[derive(Debug, Clone, Copy)]
pub struct RoutingKeys<'a> {
    first: &'a str,
    extra: &'a [ShortStr],
}

impl<'a> RoutingKeys<'a> {
    pub fn new(routing_key: &'a str, extra: &'a ExtraKeys) -> Self {
        Self { first: routing_key, extra: &extra.keys }
    }

    /// The routing key alone.
    pub fn only(routing_key: &'a str) -> Self {
        Self { first: routing_key, extra: &[] }
    }

    /// The routing key of the publish.
    pub fn first(self) -> &'a str {
        self.first
    }

    /// Whether the routing key is all of them.
    pub fn is_one(self) -> bool {
        self.extra.is_empty()
    }

    /// Each once, the routing key of the publish first.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let extra = self.extra.iter().map(ShortStr::as_str);
        std::iter::once(self.first).chain(extra.filter(move |key| *key != self.first))
    }
}

/// What exchanges look at to find a message's way.
#[derive(Debug, Clone, Copy)]
pub struct Routable<'a> {
    pub keys: RoutingKeys<'a>,
    pub properties: &'a Properties,
    pub message: &'a Arc<Message>,
}

impl<'a> Routable<'a> {
    pub fn headers(&self) -> RawTable<'a> {
        self.properties.raw_headers()
    }
}

/// A message that was stored or delivered before, on its way once more. Its BCC is forgotten.
pub struct Stored {
    message: Arc<Message>,
    properties: Properties,
    extra: ExtraKeys,
}

impl Stored {
    pub fn new(message: &Arc<Message>) -> Self {
        let properties = message.properties();
        // What is wrong with them was refused when it was published.
        let extra = ExtraKeys::of(&properties).unwrap_or_default();
        Self { message: Arc::clone(message), properties, extra }
    }

    pub fn routable(&self) -> Routable<'_> {
        let keys = RoutingKeys::new(self.message.routing_key(), &self.extra);
        Routable { keys, properties: &self.properties, message: &self.message }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::properties::BasicProperties;
    use crate::protocol::table::FieldTable;

    fn text(text: &str) -> FieldValue {
        FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn array(keys: &[&str]) -> FieldValue {
        FieldValue::Array(keys.iter().map(|key| text(key)).collect())
    }

    fn properties<const N: usize>(headers: [(&'static str, FieldValue); N]) -> Properties {
        let headers: FieldTable =
            headers.map(|(name, value)| (ShortStr::from_static(name), value)).into_iter().collect();
        let headers = Some(headers);
        Properties::from(&BasicProperties { headers, ..BasicProperties::default() })
    }

    fn keys(properties: &Properties) -> Vec<String> {
        let extra = ExtraKeys::of(properties).expect("nothing wrong with them");
        RoutingKeys::new("key", &extra).iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_key_is_there_once_the_routing_key_first_then_cc_then_bcc() {
        let properties =
            properties([("BCC", array(&["d", "b"])), ("CC", array(&["c", "key", "b", "c"]))]);
        assert_eq!(keys(&properties), ["key", "c", "b", "d"]);
    }

    #[test]
    fn without_the_headers_there_is_the_routing_key() {
        assert_eq!(keys(&Properties::default()), ["key"]);
        assert_eq!(keys(&properties([("cc", array(&["a"])), ("other", text("x"))])), ["key"]);
        assert_eq!(keys(&properties([("CC", array(&[]))])), ["key"]);
    }

    #[test]
    fn elements_that_are_no_keys_are_passed_over() {
        let long = "x".repeat(256);
        let bytes = FieldValue::LongStr(Bytes::from_static(b"\xff"));
        let odd = vec![FieldValue::I32(1), text(&long), bytes, FieldValue::Void, text("good")];
        assert_eq!(keys(&properties([("CC", FieldValue::Array(odd))])), ["key", "good"]);
    }

    #[test]
    fn a_header_that_is_no_array_is_refused_in_the_words_clients_know() {
        for (name, value, kind) in
            [("CC", text("a"), "longstr"), ("BCC", FieldValue::I32(1), "signedint")]
        {
            let error = ExtraKeys::of(&properties([(name, value)])).expect_err("no array");
            let expected =
                format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}");
            assert_eq!(error, Error::precondition_failed(expected));
        }
    }

    #[test]
    fn too_many_keys_are_refused() {
        let many = |count: usize| {
            let keys: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            array(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert!(ExtraKeys::of(&properties([("CC", many(EXTRA_KEYS_MAX))])).is_ok());
        assert!(ExtraKeys::of(&properties([("CC", many(EXTRA_KEYS_MAX + 1))])).is_err());
    }

    #[test]
    fn bcc_leaves_the_properties_and_nothing_else_does() {
        let came = properties([("CC", array(&["a"])), ("BCC", array(&["b"]))]);
        let extra = ExtraKeys::of(&came).expect("fine");
        assert_eq!(extra.without_blind(&came), Some(properties([("CC", array(&["a"]))])));
        let open = properties([("CC", array(&["a"]))]);
        assert_eq!(ExtraKeys::of(&open).expect("fine").without_blind(&open), None);
    }
}
