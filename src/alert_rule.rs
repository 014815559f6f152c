//! Rules of alerts, as the configuration file and a parameter of the broker say them: what they may
//! be, and everything that is wrong with a list of them. Imports nothing of ours, holds nothing.

use regex::Regex;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;

/// Each rule looks at every queue.
const RULES_MAX: usize = 64;

/// Of exchanges and routing keys; of a rule, too.
const NAME_LEN_MAX: usize = 255;

/// What is looked at in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Messages that are in it, ready or not: for a queue that should have none.
    DeadLetters,
    /// Messages that wait for a consumer.
    Backlog,
    /// Seconds that the oldest of those has waited.
    OldestAge,
}

impl AlertKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadLetters => "dead_letters",
            Self::Backlog => "backlog",
            Self::OldestAge => "oldest_age",
        }
    }
}

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }

    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |error| D::Error::custom(format!("'{text}' is no regular expression: {error}"));
        Self::new(&text).map_err(wrong)
    }
}

/// Where a notice goes as a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertExchange {
    pub vhost: String,
    pub name: String,
    pub routing_key: String,
}

/// One rule. What each part means stands in `docs/metrics.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertRule {
    pub name: String,
    /// `None` is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// What the names of the queues match.
    pub queue: Pattern,
    pub kind: AlertKind,
    /// From here on it stands: messages, or seconds.
    pub threshold: u64,
    /// It fires when it has stood for so long.
    pub for_seconds: u32,
    /// And again whenever so much time has passed; 0 is never.
    pub repeat_seconds: u32,
    pub log: bool,
    /// A URL, which may have secrets in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<AlertExchange>,
}

/// Reads a list of rules. Refuses it with everything that is wrong, each in a sentence that names
/// the rule.
pub fn read_rules(list: Value) -> Result<Vec<AlertRule>, Vec<String>> {
    let Value::Array(items) = list else {
        return Err(vec!["rules of alerts are a list of objects".to_owned()]);
    };
    if items.len() > RULES_MAX {
        return Err(vec![format!("there may be {RULES_MAX} rules, not {}", items.len())]);
    }
    let (mut rules, mut wrong) = (Vec::<AlertRule>::new(), Vec::new());
    for (number, item) in (1..).zip(items) {
        let Some(rule) = read_rule(number, item, &mut wrong) else { continue };
        if rules.iter().any(|other| other.name == rule.name) {
            wrong.push(format!("rule '{}' is there twice; give each a name of its own", rule.name));
        }
        rules.push(rule);
    }
    if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
}

fn read_rule(number: usize, item: Value, wrong: &mut Vec<String>) -> Option<AlertRule> {
    let of = match item.get("name").and_then(Value::as_str) {
        Some(name) => format!("rule '{name}'"),
        None => format!("rule {number}"),
    };
    let mut fields = Fields::new(of, item, wrong)?;
    let tells_others = fields.say("webhook") || fields.say("exchange");
    let name = fields.need("name");
    let vhost = fields.take("vhost");
    let queue = fields.need("queue");
    let kind = fields.need("kind");
    let threshold = fields.need("threshold");
    let for_seconds = fields.take("for_seconds").unwrap_or(0);
    let repeat_seconds = fields.take("repeat_seconds").unwrap_or(0);
    let log = fields.take("log").unwrap_or(true);
    let webhook: Option<String> = fields.take("webhook");
    let exchange = fields.take("exchange");
    if name.as_ref().is_some_and(|name: &String| !(1..=NAME_LEN_MAX).contains(&name.len())) {
        fields.wrong(format!("its name must have 1 to {NAME_LEN_MAX} bytes"));
    }
    if threshold == Some(0) {
        fields.wrong("threshold = 0 would always hold; allowed is 1 or more");
    }
    if webhook.as_ref().is_some_and(|url| !is_url(url)) {
        fields.wrong("webhook is no URL; it begins with http:// or https:// and a host");
    }
    if !log && !tells_others {
        fields.wrong("nobody is told; leave log = true, or name a webhook or an exchange");
    }
    let exchange = exchange.and_then(|exchange| fields.inner("exchange", exchange, read_exchange));
    fields.end();
    let (name, queue, kind, threshold) = (name?, queue?, kind?, threshold?);
    Some(AlertRule {
        name,
        vhost,
        queue,
        kind,
        threshold,
        for_seconds,
        repeat_seconds,
        log,
        webhook,
        exchange,
    })
}

fn read_exchange(mut fields: Fields<'_>) -> Option<AlertExchange> {
    let vhost = fields.take("vhost").unwrap_or_else(|| "/".to_owned());
    let name = fields.need::<String>("name");
    let routing_key: String = fields.take("routing_key").unwrap_or_default();
    if name.as_ref().map_or(0, String::len).max(routing_key.len()) > NAME_LEN_MAX {
        let what = "names of exchanges and routing keys have at most";
        fields.wrong(format!("{what} {NAME_LEN_MAX} bytes"));
    }
    fields.end();
    Some(AlertExchange { vhost, name: name?, routing_key })
}

fn is_url(text: &str) -> bool {
    let url = Url::parse(text);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// What an object says, field by field, and what is wrong with it.
struct Fields<'a> {
    /// Whose fields they are.
    of: String,
    left: Map<String, Value>,
    wrong: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(of: String, value: Value, wrong: &'a mut Vec<String>) -> Option<Self> {
        let Value::Object(left) = value else {
            wrong.push(format!("{of}: an object is needed"));
            return None;
        };
        Some(Self { of, left, wrong })
    }

    fn wrong(&mut self, what: impl AsRef<str>) {
        self.wrong.push(format!("{}: {}", self.of, what.as_ref()));
    }

    fn say(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    /// `None` where nothing is said, or what can't be.
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.left.remove(name).filter(|value| !value.is_null())?;
        match serde_json::from_value(value) {
            Ok(taken) => Some(taken),
            Err(error) => {
                self.wrong(format!("{name}: {error}"));
                None
            }
        }
    }

    fn need<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        if !self.say(name) {
            self.wrong(format!("missing field `{name}`"));
        }
        self.take(name)
    }

    fn inner<T>(
        &mut self,
        name: &str,
        value: Value,
        read: impl FnOnce(Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        Fields::new(format!("{}: {name}", self.of), value, self.wrong).and_then(read)
    }

    /// What nobody has asked for can't be meant.
    fn end(mut self) {
        for name in std::mem::take(&mut self.left).keys() {
            self.wrong(format!("unknown field `{name}`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_tells_the_log_unless_it_says_otherwise() {
        let rule = json!({"name": "r", "queue": "q", "kind": "backlog", "threshold": 5,
            "exchange": {"name": "alerts"}});
        let rules = read_rules(json!([rule])).expect("valid");
        let rule = &rules[0];
        assert!(rule.log && rule.kind == AlertKind::Backlog && rule.vhost.is_none());
        let to = rule.exchange.as_ref().expect("given");
        assert_eq!((&*to.vhost, &*to.name, &*to.routing_key), ("/", "alerts", ""));
        assert_eq!(read_rules(json!(rules)).expect("its own words"), rules);
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let long = "k".repeat(256);
        let wrong = read_rules(json!([
            {"name": "a", "queue": "(", "kind": "lag", "threshold": 0, "queues": "x"},
            {"queue": "q", "kind": "backlog", "threshold": "1", "webhook": "ftp://x"},
            {"name": "c", "queue": "q", "kind": "backlog", "threshold": 1, "log": false},
            {"name": "d", "queue": "q", "kind": "backlog", "threshold": 1,
                "exchange": {"key": "", "routing_key": long}},
            {"name": "d", "queue": "q", "kind": "backlog", "threshold": 1},
            5,
        ]))
        .expect_err("wrong");
        for said in [
            "rule 'a': queue: '(' is no regular expression",
            "rule 'a': kind: unknown variant `lag`, expected one of `dead_letters`",
            "rule 'a': threshold = 0 would always hold",
            "rule 'a': unknown field `queues`",
            "rule 2: missing field `name`",
            "rule 2: threshold: invalid type: string",
            "rule 2: webhook is no URL; it begins with http:// or https://",
            "rule 'c': nobody is told",
            "rule 'd': exchange: missing field `name`",
            "rule 'd': exchange: unknown field `key`",
            "rule 'd': exchange: names of exchanges and routing keys have at most 255 bytes",
            "rule 'd' is there twice",
            "rule 6: an object is needed",
        ] {
            assert!(wrong.iter().any(|wrong| wrong.starts_with(said)), "{said}: {wrong:#?}");
        }
        assert_eq!(wrong.len(), 13, "{wrong:#?}");
        let many = read_rules(json!(vec![0; 65])).expect_err("too many");
        assert_eq!(many, ["there may be 64 rules, not 65"]);
        read_rules(json!({})).expect_err("no list");
    }
}
