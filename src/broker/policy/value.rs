//! The kinds of value that an option may have, read from a client's table and from JSON alike.

use serde_json::{Number, Value as Json};

use crate::broker::timers;
use crate::protocol::table::FieldValue;
use crate::protocol::wire::ShortStr;

/// The longest time, as a number of a table.
pub const TIME_MS_MAX: i64 = timers::TIME_MS_MAX.cast_signed();

/// Largest factor.
const FACTOR_MAX: f64 = 1000.0;

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// An integer of any width, from and to.
    Integer(i64, i64),
    /// A number from 1 on, which may have a fraction.
    Factor,
    /// Text of so many bytes, from and to; at most 255.
    Text(usize, usize),
    OneOf(&'static [&'static str]),
    /// A number with a unit of time: Y, M, D, h, m or s.
    Age,
    Boolean,
}

/// A value that has the shape it has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    /// In hundredths.
    Factor(u32),
    Text(ShortStr),
    Boolean(bool),
}

/// A value as somebody gave it.
struct Given<'a> {
    content: Content<'a>,
    type_name: &'static str,
}

enum Content<'a> {
    Integer(i64),
    Fraction(f64),
    Text(&'a str),
    Boolean(bool),
    Other,
}

impl Shape {
    /// Reads an argument; says why when it can't be one.
    pub fn read_field(self, value: &FieldValue) -> Result<Value, String> {
        self.read(&Given::field(value))
    }

    /// Reads a value of a policy; says why when it can't be one.
    pub fn read_json(self, value: &Json) -> Result<Value, String> {
        self.read(&Given::json(value))
    }

    fn read(self, given: &Given<'_>) -> Result<Value, String> {
        let needed = |what: &str| Err(format!("{what} is needed, not a {}", given.type_name));
        match (self, &given.content) {
            (Self::Integer(low, _), Content::Integer(number)) if *number < low => {
                Err(format!("{number} is below the minimum of {low}"))
            }
            (Self::Integer(_, high), Content::Integer(number)) if *number > high => {
                Err(format!("{number} is above the maximum of {high}"))
            }
            (Self::Integer(..), Content::Integer(number)) => Ok(Value::Integer(*number)),
            (Self::Integer(..), _) => needed("an integer"),
            (Self::Factor, Content::Integer(number)) => factor(*number as f64),
            (Self::Factor, Content::Fraction(number)) => factor(*number),
            (Self::Factor, _) => needed("a number"),
            (Self::Text(low, high), Content::Text(text)) => sized(text, low, high),
            (Self::Text(..), _) => needed("a string"),
            (Self::OneOf(choices), Content::Text(text)) if choices.contains(text) => {
                sized(text, 0, ShortStr::MAX_LEN)
            }
            (Self::OneOf(choices), _) => Err(format!("must be one of {}", choices.join(", "))),
            (Self::Age, Content::Text(text)) if is_age(text) => sized(text, 0, ShortStr::MAX_LEN),
            (Self::Age, _) => {
                Err("must be a number and one of the units Y, M, D, h, m, s, such as 7D".to_owned())
            }
            (Self::Boolean, Content::Boolean(truth)) => Ok(Value::Boolean(*truth)),
            (Self::Boolean, _) => needed("a boolean"),
        }
    }
}

fn factor(number: f64) -> Result<Value, String> {
    if !(1.0..=FACTOR_MAX).contains(&number) {
        return Err(format!("{number} is not from 1 to {FACTOR_MAX}"));
    }
    // In range, as was just checked.
    Ok(Value::Factor((number * 100.0).round() as u32))
}

fn sized(text: &str, low: usize, high: usize) -> Result<Value, String> {
    if text.len() < low {
        return Err("may not be empty".to_owned());
    }
    let short = ShortStr::try_from(text).ok().filter(|_| text.len() <= high);
    short.map(Value::Text).ok_or_else(|| format!("longer than {high} bytes"))
}

fn is_age(text: &str) -> bool {
    let number = text.strip_suffix(['Y', 'M', 'D', 'h', 'm', 's']);
    number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number > 0)
}

impl<'a> Given<'a> {
    fn field(value: &'a FieldValue) -> Self {
        let content = match (value, value.as_i64()) {
            (_, Some(number)) => Content::Integer(number),
            (FieldValue::F32(number), _) => Content::Fraction(f64::from(*number)),
            (FieldValue::F64(number), _) => Content::Fraction(*number),
            (FieldValue::Decimal { scale, value }, _) => {
                Content::Fraction(f64::from(*value) / 10f64.powi(i32::from(*scale)))
            }
            (FieldValue::Bool(truth), _) => Content::Boolean(*truth),
            _ => value.as_str().map_or(Content::Other, Content::Text),
        };
        Self { content, type_name: value.type_name() }
    }

    fn json(value: &'a Json) -> Self {
        let (content, type_name) = match value {
            Json::Null => (Content::Other, "null"),
            Json::Bool(truth) => (Content::Boolean(*truth), "boolean"),
            Json::Number(number) => match number.as_i64() {
                Some(number) => (Content::Integer(number), "number"),
                None => (Content::Fraction(number.as_f64().unwrap_or(f64::NAN)), "fraction"),
            },
            Json::String(text) => (Content::Text(text), "string"),
            Json::Array(_) => (Content::Other, "array"),
            Json::Object(_) => (Content::Other, "object"),
        };
        Self { content, type_name }
    }
}

impl Value {
    /// A number; a negative one is no limit, and so nothing.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The same where more than 32 bits are not needed.
    pub fn small_limit(&self) -> Option<u32> {
        self.limit().map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub fn hundredths(&self) -> Option<u32> {
        match self {
            Self::Factor(hundredths) => Some(*hundredths),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&ShortStr> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_true(&self) -> bool {
        *self == Self::Boolean(true)
    }

    /// As an operator reads it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Integer(number) => Json::from(*number),
            Self::Factor(hundredths) if hundredths % 100 == 0 => Json::from(hundredths / 100),
            Self::Factor(hundredths) => Number::from_f64(f64::from(*hundredths) / 100.0).into(),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Boolean(truth) => Json::from(*truth),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_factor_is_a_number_of_any_kind_from_one_on() {
        let decimal = FieldValue::Decimal { scale: 1, value: 15 };
        for (value, hundredths) in
            [(FieldValue::I8(2), 200), (FieldValue::F32(1.5), 150), (decimal, 150)]
        {
            assert_eq!(Shape::Factor.read_field(&value), Ok(Value::Factor(hundredths)));
        }
        for value in [json!(0.99), json!("2"), json!(1001), json!(null)] {
            assert!(Shape::Factor.read_json(&value).is_err(), "{value}");
        }
        assert!(Shape::Factor.read_field(&FieldValue::F64(f64::NAN)).is_err());
    }

    #[test]
    fn a_number_with_a_fraction_is_no_integer() {
        let refused = Shape::Integer(0, 9).read_json(&json!(1.5));
        assert_eq!(refused, Err("an integer is needed, not a fraction".to_owned()));
    }

    #[test]
    fn an_age_has_a_unit() {
        for (text, is_one) in [("7D", true), ("0s", false), ("7", false), ("D", false), ("", false)]
        {
            assert_eq!(Shape::Age.read_json(&json!(text)).is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_what_was_read() {
        for value in [json!(5), json!("drop-head"), json!(true)] {
            let shape = match &value {
                Json::Number(_) => Shape::Integer(0, 9),
                Json::String(_) => Shape::Text(1, 9),
                _ => Shape::Boolean,
            };
            assert_eq!(shape.read_json(&value).map(|value| value.to_json()), Ok(value));
        }
        assert_eq!(Shape::Factor.read_json(&json!(1.25)).map(|f| f.to_json()), Ok(json!(1.25)));
    }
}
