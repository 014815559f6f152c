//! AMQP's values in JSON and back, as far as JSON goes. What it has no value for is an object that
//! names its kind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::properties::{BasicProperties, Properties};
use super::table::{FieldTable, FieldValue};
use super::wire::ShortStr;

/// The properties that are there. A text that is none, as some clients put a UUID's bytes into
/// correlation_id, keeps all of them from being decoded: then those that rules read are said, and
/// all of them as they travel.
pub fn properties(properties: &Properties) -> Value {
    let mut out = Map::new();
    let decoded = properties.decode().unwrap_or_else(|_| {
        out.insert("undecoded".to_owned(), base64(properties.as_bytes()));
        BasicProperties {
            headers: properties.headers(),
            delivery_mode: properties.delivery_mode(),
            priority: properties.priority(),
            expiration: properties.expiration(),
            user_id: properties.user_id(),
            ..BasicProperties::default()
        }
    });
    let text = |text: Option<ShortStr>| text.map(|text| Value::from(text.as_str()));
    let all = [
        ("content_type", text(decoded.content_type)),
        ("content_encoding", text(decoded.content_encoding)),
        ("headers", decoded.headers.as_ref().map(table)),
        ("delivery_mode", decoded.delivery_mode.map(Value::from)),
        ("priority", decoded.priority.map(Value::from)),
        ("correlation_id", text(decoded.correlation_id)),
        ("reply_to", text(decoded.reply_to)),
        ("expiration", text(decoded.expiration)),
        ("message_id", text(decoded.message_id)),
        ("timestamp", decoded.timestamp.map(Value::from)),
        ("type", text(decoded.kind)),
        ("user_id", text(decoded.user_id)),
        ("app_id", text(decoded.app_id)),
        ("cluster_id", text(decoded.reserved)),
    ];
    out.extend(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Value::Object(out)
}

/// Of a repeated name the first one counts.
pub fn table(fields: &FieldTable) -> Value {
    let mut out = Map::new();
    for (name, field) in fields.iter() {
        out.entry(name.as_str()).or_insert_with(|| value(field));
    }
    Value::Object(out)
}

pub fn value(field: &FieldValue) -> Value {
    match field {
        FieldValue::Bool(value) => (*value).into(),
        FieldValue::I8(value) => (*value).into(),
        FieldValue::U8(value) => (*value).into(),
        FieldValue::I16(value) => (*value).into(),
        FieldValue::U16(value) => (*value).into(),
        FieldValue::I32(value) => (*value).into(),
        FieldValue::U32(value) => (*value).into(),
        FieldValue::I64(value) | FieldValue::LongLong(value) => (*value).into(),
        FieldValue::F32(value) => float(f64::from(*value)),
        FieldValue::F64(value) => float(*value),
        FieldValue::Decimal { scale, value } => json!({"decimal": format!("{value}e-{scale}")}),
        FieldValue::LongStr(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => base64(bytes),
        },
        FieldValue::ByteArray(bytes) => base64(bytes),
        FieldValue::Array(values) => values.iter().map(value).collect(),
        FieldValue::Timestamp(seconds) => json!({"timestamp": seconds}),
        FieldValue::Table(fields) => table(fields),
        FieldValue::Void => Value::Null,
    }
}

/// JSON has no infinity, and no "not a number".
fn float(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => number.into(),
        None => json!({"float": value.to_string()}),
    }
}

fn base64(bytes: &Bytes) -> Value {
    json!({"base64": STANDARD.encode(bytes)})
}

/// Properties with the fields of a JSON object. The error names the property and what it has to be.
pub fn to_properties(object: &Map<String, Value>) -> Result<BasicProperties, String> {
    let mut out = BasicProperties::default();
    for (name, value) in object {
        let text = || short_text(name, value).map(Some);
        let octet = || {
            let octet = value.as_u64().and_then(|number| u8::try_from(number).ok());
            octet.map(Some).ok_or_else(|| wrong(name, "a number from 0 to 255", value))
        };
        match name.as_str() {
            "content_type" => out.content_type = text()?,
            "content_encoding" => out.content_encoding = text()?,
            "headers" => {
                let headers = value.as_object().ok_or_else(|| wrong(name, "an object", value))?;
                let table = to_table(headers).map_err(|why| format!("the headers: {why}"))?;
                out.headers = Some(table);
            }
            "delivery_mode" => out.delivery_mode = octet()?,
            "priority" => out.priority = octet()?,
            "correlation_id" => out.correlation_id = text()?,
            "reply_to" => out.reply_to = text()?,
            "expiration" => out.expiration = text()?,
            "message_id" => out.message_id = text()?,
            "timestamp" => {
                let seconds = value.as_u64();
                let seconds = seconds.ok_or_else(|| wrong(name, "a number of seconds", value))?;
                out.timestamp = Some(seconds);
            }
            "type" => out.kind = text()?,
            "user_id" => out.user_id = text()?,
            "app_id" => out.app_id = text()?,
            "cluster_id" => out.reserved = text()?,
            _ => return Err(format!("there is no property '{name}'")),
        }
    }
    Ok(out)
}

fn short_text(name: &str, value: &Value) -> Result<ShortStr, String> {
    let text = value.as_str().ok_or_else(|| wrong(name, "a text", value))?;
    ShortStr::try_from(text).map_err(|_| wrong(name, "a text of at most 255 bytes", value))
}

fn wrong(name: &str, needed: &str, value: &Value) -> String {
    format!("the property '{name}' has to be {needed}, not {value}")
}

/// How deep objects and lists may stand in one another, as in tables on the wire.
const DEPTH_MAX: u32 = 32;

/// A table with the fields of a JSON object. The error names what can't be a field.
pub fn to_table(object: &Map<String, Value>) -> Result<FieldTable, String> {
    to_table_in(object, DEPTH_MAX)
}

fn to_table_in(object: &Map<String, Value>, depth: u32) -> Result<FieldTable, String> {
    let field = |(name, value): (&String, &Value)| {
        let short = ShortStr::try_from(name.as_str())
            .map_err(|_| format!("the name '{name}' is longer than 255 bytes"))?;
        Ok((short, to_value_in(value, depth)?))
    };
    object.iter().map(field).collect()
}

/// Whole numbers are 64 bits long, others doubles, as RabbitMQ has it.
fn to_value_in(value: &Value, depth: u32) -> Result<FieldValue, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("more than {DEPTH_MAX} objects or lists stand in one another"));
    };
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => FieldValue::I64(whole),
            (None, Some(float)) => FieldValue::F64(float),
            (None, None) => return Err(format!("the number {number} is too large")),
        },
        Value::String(text) => FieldValue::LongStr(Bytes::copy_from_slice(text.as_bytes())),
        Value::Array(values) => {
            let values = values.iter().map(|value| to_value_in(value, depth));
            FieldValue::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(object) => FieldValue::Table(to_table_in(object, depth)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_has_no_value_for_names_its_kind() {
        let field = |name, value| (ShortStr::from_static(name), value);
        let inside = FieldTable::from_iter([field("ключ", FieldValue::Void)]);
        let fields = FieldTable::from_iter([
            field("text", FieldValue::LongStr(Bytes::from_static("grüße 🦀".as_bytes()))),
            field("bytes", FieldValue::LongStr(Bytes::from_static(&[0xFF, 0]))),
            field("when", FieldValue::Timestamp(1_700_000_000)),
            field("price", FieldValue::Decimal { scale: 2, value: 1999 }),
            field("none", FieldValue::F64(f64::NAN)),
            field("half", FieldValue::F32(0.5)),
            field("low", FieldValue::I64(i64::MIN)),
            field("list", FieldValue::Array(vec![FieldValue::Bool(true), FieldValue::U8(7)])),
            field("table", FieldValue::Table(inside)),
            field("text", FieldValue::Void),
        ]);
        let expected = json!({
            "text": "grüße 🦀", "bytes": {"base64": "/wA="}, "when": {"timestamp": 1_700_000_000},
            "price": {"decimal": "1999e-2"}, "none": {"float": "NaN"}, "half": 0.5,
            "low": i64::MIN, "list": [true, 7], "table": {"ключ": null},
        });
        assert_eq!(table(&fields), expected);
    }

    /// One property that is no text must not hide the others.
    #[test]
    fn properties_with_bytes_that_are_no_text_are_said_as_far_as_they_go() {
        let bytes = Bytes::from_static(b"\x05\x00\x02\xff\xfe\x0510000");
        let said = properties(&Properties::parse(bytes).expect("carried, not read"));
        let expected = json!({
            "undecoded": {"base64": "BQAC//4FMTAwMDA="}, "expiration": "10000",
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn a_table_from_json_has_the_types_that_clients_expect() {
        let object = json!({
            "x-max-length": 10, "x-ratio": 0.5, "x-flag": true, "x-text": "grüße",
            "x-list": [1, null], "x-table": {"a": -1},
        });
        let made = to_table(object.as_object().expect("an object")).expect("it can be");
        assert_eq!(made.get("x-max-length"), Some(&FieldValue::I64(10)));
        assert_eq!(made.get("x-ratio"), Some(&FieldValue::F64(0.5)));
        assert_eq!(table(&made), object);
        let mut deep = json!(1);
        (0..40).for_each(|_| deep = json!([deep]));
        let refused = to_table(json!({"deep": deep}).as_object().expect("an object"));
        assert!(refused.expect_err("too deep").contains("32"));
        let long = json!({"n".repeat(256): 1});
        assert!(to_table(long.as_object().expect("an object")).expect_err("long").contains("255"));
    }

    #[test]
    fn properties_from_json_are_said_in_json_as_they_were() {
        let object = json!({
            "content_type": "text/plain", "content_encoding": "utf-8", "headers": {"a": [1, "b"]},
            "delivery_mode": 2, "priority": 255, "correlation_id": "c", "reply_to": "r",
            "expiration": "60000", "message_id": "m", "timestamp": 123, "type": "t",
            "user_id": "guest", "app_id": "a", "cluster_id": "x",
        });
        let made = to_properties(object.as_object().expect("an object")).expect("all can be");
        assert_eq!(properties(&Properties::from(&made)), object);
        for (wrong, why) in [
            (json!({"priority": 256}), "'priority' has to be a number from 0 to 255, not 256"),
            (json!({"expiration": 5}), "'expiration' has to be a text, not 5"),
            (json!({"app_id": "a".repeat(256)}), "of at most 255 bytes"),
            (json!({"headers": []}), "'headers' has to be an object"),
            (json!({"delivery-mode": 2}), "no property 'delivery-mode'"),
        ] {
            let refused = to_properties(wrong.as_object().expect("an object"));
            let refused = refused.expect_err("it can't be");
            assert!(refused.contains(why), "{refused}");
        }
    }
}
