//! Secrets in values that are shown, or kept where more people read them than may know: passwords,
//! and the addresses of webhooks, whose paths are often as good as one.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};
use url::Url;

const MASK: &str = "***";

/// What the names of secrets have in them.
const SECRET: [&str; 3] = ["password", "secret", "token"];

/// The name of the address of a webhook.
const WEBHOOK: &str = "webhook";

/// A value without what is said under the names of secrets, and without the passwords of URIs.
pub fn masked(value: Value) -> Value {
    static PASSWORD_IN_URI: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"://([^:/@\s]*):[^@/\s]*@").ok());
    match value {
        // The pattern is made for the first URI: hardly any broker has one.
        Value::String(text) if text.contains("://") => match &*PASSWORD_IN_URI {
            Some(regex) => regex.replace_all(&text, format!("://$1:{MASK}@")).into(),
            None => MASK.into(),
        },
        Value::Array(values) => values.into_iter().map(masked).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let lower = name.to_lowercase();
                let value = match value {
                    // Whether there is one.
                    Value::Bool(_) => value,
                    _ if SECRET.iter().any(|secret| lower.contains(secret)) => MASK.into(),
                    Value::String(url) if lower == WEBHOOK => masked_url(&url).into(),
                    other => masked(other),
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// Of a URL its beginning up to the host: all that may be known of it.
pub fn masked_url(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let shown = parsed.as_ref().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{}{port}/{MASK}", url.scheme(), url.host_str()?))
    });
    shown.unwrap_or_else(|| MASK.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let value = json!({
            "name": "up", "password_hash": "abc", "value": {"uri": "amqp://ann:pass@host:5672/v"},
            "list": ["amqps://a:b@c", "no secret: a@b"], "authToken": ["x"],
            "has_password": true, "rules": [{"webhook": "https://ann:pass@hooks.example.com/T0/B0"}, {"webhook": "?"}],
        });
        let expected = json!({
            "name": "up", "password_hash": "***", "value": {"uri": "amqp://ann:***@host:5672/v"},
            "list": ["amqps://a:***@c", "no secret: a@b"], "authToken": "***",
            "has_password": true, "rules": [{"webhook": "https://hooks.example.com/***"}, {"webhook": "***"}],
        });
        assert_eq!(masked(value), expected);
        assert_eq!(masked_url("http://[::1]:81/x?key=1#y"), "http://[::1]:81/***");
    }
}
