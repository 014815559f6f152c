//! AMQP's values and the store's definitions in JSON, as far as JSON goes. What it has no value for
//! is an object that names its kind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;
use crate::store::definition::{Definition, DestinationKind, PolicyDefinition};
use crate::store::offline::DumpedMessage;

/// A definition, without what is secret in it.
pub(super) fn definition(definition: &Definition) -> Value {
    match definition {
        Definition::Vhost(vhost) => json!({
            "kind": "vhost", "name": vhost.name, "description": vhost.description,
            "tags": vhost.tags, "default_queue_type": vhost.default_queue_type,
        }),
        Definition::User(user) => json!({"kind": "user", "name": user.name, "tags": user.tags}),
        Definition::Permission(permission) => json!({
            "kind": "permission", "user": permission.user, "vhost": permission.vhost,
            "configure": permission.configure, "write": permission.write, "read": permission.read,
        }),
        Definition::Exchange(exchange) => json!({
            "kind": "exchange", "vhost": exchange.vhost, "name": exchange.name,
            "type": exchange.kind, "auto_delete": exchange.auto_delete,
            "internal": exchange.internal, "arguments": table(&exchange.arguments),
            "id": exchange.queue.map(|queue| queue.0),
        }),
        Definition::Queue(queue) => json!({
            "kind": "queue", "vhost": queue.vhost, "name": queue.name, "id": queue.id.0,
            "auto_delete": queue.auto_delete, "arguments": table(&queue.arguments),
            "levels": queue.levels,
        }),
        Definition::Binding(binding) => json!({
            "kind": "binding", "vhost": binding.vhost, "source": binding.source,
            "destination_type": match binding.destination_kind {
                DestinationKind::Queue => "queue",
                DestinationKind::Exchange => "exchange",
            },
            "destination": binding.destination, "routing_key": binding.binding_key,
            "arguments": table(&binding.arguments),
        }),
        Definition::Policy(found) => policy("policy", found),
        Definition::OperatorPolicy(found) => policy("operator_policy", found),
        // Addresses with passwords may be in the values.
        Definition::Parameter(parameter) => json!({
            "kind": "parameter", "vhost": parameter.vhost, "component": parameter.component,
            "name": parameter.name,
        }),
        Definition::GlobalParameter(parameter) => {
            json!({"kind": "global_parameter", "name": parameter.name})
        }
        Definition::VhostLimit(limit) => json!({
            "kind": "vhost_limit", "vhost": limit.owner, "name": limit.name, "value": limit.most,
        }),
        Definition::UserLimit(limit) => json!({
            "kind": "user_limit", "user": limit.owner, "name": limit.name, "value": limit.most,
        }),
    }
}

fn policy(kind: &str, policy: &PolicyDefinition) -> Value {
    json!({
        "kind": kind, "vhost": policy.vhost, "name": policy.name, "pattern": policy.pattern,
        "apply_to": policy.apply_to, "priority": policy.priority,
        "definition": policy.definition,
    })
}

pub(super) fn message(dumped: &DumpedMessage<'_>, with_body: bool) -> Value {
    let DumpedMessage { owner, level, seq, redelivered, note, message } = *dumped;
    let mut line = json!({
        "kind": "message", "seq": seq.0, "redelivered": redelivered,
        "exchange": message.exchange(), "routing_key": message.routing_key(),
        "properties": properties(&message.properties()), "body_bytes": message.body_len(),
    });
    let owner: Vec<(&str, Value)> = match owner {
        Definition::Exchange(exchange) => {
            vec![
                ("vhost", exchange.vhost.as_str().into()),
                ("held_by", exchange.name.as_str().into()),
            ]
        }
        Definition::Queue(queue) => {
            let level = (queue.levels > 0).then(|| ("level", level.into()));
            let name =
                [("vhost", queue.vhost.as_str().into()), ("queue", queue.name.as_str().into())];
            name.into_iter().chain(level).collect()
        }
        // Nothing else has messages.
        _ => Vec::new(),
    };
    let notes = [
        ("failed", u64::from(note.failed)),
        ("returned", u64::from(note.returned)),
        ("due_ms", note.due_ms),
    ];
    let notes = notes.into_iter().filter(|(_, value)| *value > 0);
    let body = with_body.then(|| ("body", STANDARD.encode(message.to_body().to_bytes()).into()));
    if let Some(line) = line.as_object_mut() {
        let more = owner.into_iter().chain(notes.map(|(name, value)| (name, value.into())));
        line.extend(more.chain(body).map(|(name, value)| (name.to_owned(), value)));
    }
    line
}

/// The properties that are there. A text that is none, as some clients put a UUID's bytes into
/// correlation_id, keeps all of them from being decoded: then those that rules read are said, and
/// all of them as they travel.
fn properties(properties: &Properties) -> Value {
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
fn table(fields: &FieldTable) -> Value {
    let mut out = Map::new();
    for (name, field) in fields.iter() {
        out.entry(name.as_str()).or_insert_with(|| value(field));
    }
    Value::Object(out)
}

fn value(field: &FieldValue) -> Value {
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
    fn the_value_of_a_parameter_is_not_shown() {
        let parameter = crate::store::definition::ParameterDefinition {
            vhost: "/".to_owned(),
            component: "shovel".to_owned(),
            name: "s".to_owned(),
            value: json!({"src-uri": "amqp://user:secret@there"}),
        };
        let shown = definition(&Definition::Parameter(parameter)).to_string();
        assert!(shown.contains("\"shovel\"") && !shown.contains("secret"), "{shown}");
    }
}
