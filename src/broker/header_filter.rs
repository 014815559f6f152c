//! Chooses messages by what their headers say.

use crate::protocol::message::Message;
use crate::protocol::raw_table::RawValue;

/// Names of headers and what they have to say: texts as they are, numbers in decimal, `true` or
/// `false`. All of them have to fit.
#[derive(Debug, Clone, Default)]
pub struct HeaderFilter(pub Vec<(String, String)>);

impl HeaderFilter {
    pub fn fits(&self, message: &Message) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let properties = message.properties();
        let headers = properties.raw_headers();
        self.0.iter().all(|(name, wanted)| headers.get(name).is_some_and(|is| says(is, wanted)))
    }
}

fn says(value: RawValue<'_>, wanted: &str) -> bool {
    if let Some(text) = value.as_text() {
        return text == wanted.as_bytes();
    }
    if let Some(number) = value.as_i64() {
        return wanted.parse() == Ok(number);
    }
    value.as_bool().is_some_and(|flag| wanted.parse() == Ok(flag))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::properties::{BasicProperties, Properties};
    use crate::protocol::table::{FieldTable, FieldValue};
    use crate::protocol::wire::ShortStr;

    #[test]
    fn a_header_is_compared_by_what_it_says_whatever_its_type() {
        let field = |name, value| (ShortStr::from_static(name), value);
        let headers = FieldTable::from_iter([
            field("customer", FieldValue::LongStr(Bytes::from_static(b"acme"))),
            field("attempt", FieldValue::U8(3)),
            field("urgent", FieldValue::Bool(true)),
        ]);
        let properties = BasicProperties { headers: Some(headers), ..BasicProperties::default() };
        let name = ShortStr::default();
        let message = Message::small(&name, &name, &Properties::from(&properties), b"", false);
        let fits = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            HeaderFilter(pairs.collect()).fits(&message)
        };
        assert!(fits(&[]) && fits(&[("customer", "acme"), ("attempt", "3"), ("urgent", "true")]));
        for other in [("customer", "acm"), ("attempt", "4"), ("urgent", "false"), ("none", "")] {
            assert!(!fits(&[other]), "{other:?}");
        }
    }
}
