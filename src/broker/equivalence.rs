//! Whether something declared again is what it was, in the words that clients' tests know.

use std::fmt::Display;

use super::error::Error;
use crate::protocol::table::{FieldTable, FieldValue};

/// Refuses a declared property that differs from the existing one.
pub fn same_property<T: PartialEq + Display>(
    name: &str,
    described: &str,
    received: &T,
    current: &T,
) -> Result<(), Error> {
    if received == current {
        return Ok(());
    }
    Err(Error::precondition_failed(format!(
        "inequivalent arg '{name}' for {described}: received '{received}' but current is '{current}'"
    )))
}

/// Refuses declared arguments that differ from the existing ones in one of `names`. Integers are
/// equal by value, whatever their width. Arguments with other names have no effect and are not
/// compared.
pub fn same_arguments<'a>(
    names: impl IntoIterator<Item = &'a str>,
    described: &str,
    received: &FieldTable,
    current: &FieldTable,
) -> Result<(), Error> {
    for name in names {
        let (new, old) = (received.get(name), current.get(name));
        if !same_value(new, old) {
            return Err(Error::precondition_failed(format!(
                "inequivalent arg '{name}' for {described}: received {} but current is {}",
                words(new),
                words(old)
            )));
        }
    }
    Ok(())
}

fn same_value(a: Option<&FieldValue>, b: Option<&FieldValue>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a == b,
            _ => false,
        },
        (None, None) => true,
        _ => false,
    }
}

fn words(value: Option<&FieldValue>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    format!("the value '{}' of type '{}'", value.plain_text(), value.type_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::ShortStr;

    fn table(value: Option<FieldValue>) -> FieldTable {
        value.into_iter().map(|value| (ShortStr::from_static("x-max-length"), value)).collect()
    }

    fn compare(received: Option<FieldValue>, current: Option<FieldValue>) -> Result<(), String> {
        let described = "queue 'q' in vhost '/'";
        same_arguments(["x-max-length"], described, &table(received), &table(current))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn integers_are_equal_across_widths() {
        assert_eq!(compare(Some(FieldValue::I64(5)), Some(FieldValue::U8(5))), Ok(()));
    }

    #[test]
    fn a_difference_is_told_in_the_words_clients_match_on() {
        assert_eq!(
            compare(Some(FieldValue::I64(1)), None),
            Err("PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
                 received the value '1' of type 'long' but current is none"
                .to_owned())
        );
    }

    #[test]
    fn arguments_without_effect_are_not_compared() {
        let other = FieldTable::from_iter([(ShortStr::from_static("x-mine"), FieldValue::Void)]);
        assert_eq!(
            same_arguments(["x-max-length"], "queue", &other, &FieldTable::default()),
            Ok(())
        );
    }
}
