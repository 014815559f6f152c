//! The store's definitions and messages in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::protocol::json::{properties, table};
use crate::store::definition::{Definition, DestinationKind, PolicyDefinition};
use crate::store::offline::DumpedMessage;

/// A definition, without what is secret in it.
pub(super) fn definition(definition: &Definition) -> Value {
    match definition {
        Definition::Vhost(vhost) => json!({
            "kind": "vhost", "name": vhost.name, "description": vhost.description,
            "tags": vhost.tags, "default_queue_type": vhost.default_queue_type,
            "protected_from_deletion": vhost.protected_from_deletion,
        }),
        Definition::User(user) => json!({"kind": "user", "name": user.name, "tags": user.tags}),
        Definition::Permission(permission) => json!({
            "kind": "permission", "user": permission.user, "vhost": permission.vhost,
            "configure": permission.configure, "write": permission.write, "read": permission.read,
        }),
        Definition::TopicPermission(permission) => json!({
            "kind": "topic_permission", "user": permission.user, "vhost": permission.vhost,
            "exchange": permission.exchange, "write": permission.write, "read": permission.read,
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

#[cfg(test)]
mod tests {
    use super::*;

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
