//! Rules of alerts: tables of the file, which are neither variables nor flags.
//!
//! ```toml
//! [[alert.rule]]
//! name = "dead orders"
//! queue = '\.dead$'
//! kind = "dead_letters"
//! threshold = 1
//! ```

use regex::Regex;
use serde::{Deserialize, Serialize};
use toml::Value;

/// Each rule looks at every queue.
const RULES_MAX: usize = 64;

/// The rules, as `[[alert.rule]]` in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    #[serde(default)]
    pub rule: Vec<AlertRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    DeadLetters,
    Backlog,
    OldestAge,
}

/// One rule. What each part means stands in `docs/metrics.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    pub name: String,
    /// All, if it isn't said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// A regular expression that names of queues match.
    pub queue: String,
    pub kind: AlertKind,
    /// Messages, or seconds.
    pub threshold: u64,
    #[serde(default)]
    pub for_seconds: u32,
    #[serde(default)]
    pub repeat_seconds: u32,
    #[serde(default = "yes")]
    pub log: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<AlertExchange>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertExchange {
    #[serde(default = "slash")]
    pub vhost: String,
    pub name: String,
    #[serde(default)]
    pub routing_key: String,
}

fn yes() -> bool {
    true
}

fn slash() -> String {
    "/".to_owned()
}

impl Alert {
    /// From the file's `alert`. The error names the rule, what is wrong and what would be right.
    pub(super) fn parse(value: Value) -> Result<Self, String> {
        let alert: Self = value.try_into().map_err(|error| format!("alert: {error}"))?;
        if alert.rule.len() > RULES_MAX {
            return Err(format!("alert.rule: there may be {RULES_MAX} rules, not more"));
        }
        alert.rule.iter().try_for_each(AlertRule::check)?;
        Ok(alert)
    }
}

impl AlertRule {
    fn check(&self) -> Result<(), String> {
        let wrong = |what: String| Err(format!("alert.rule '{}': {what}", self.name));
        if let Err(error) = Regex::new(&self.queue) {
            return wrong(format!("queue = '{}' is no regular expression: {error}", self.queue));
        }
        if self.threshold == 0 {
            return wrong("threshold = 0 would always hold; allowed is 1 or more".to_owned());
        }
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if self.webhook.as_ref().is_some_and(|url| !is_url(url)) {
            return wrong("webhook is no URL; it begins with http:// or https://".to_owned());
        }
        let longest = self.exchange.iter().map(|to| to.name.len().max(to.routing_key.len())).max();
        if longest.is_some_and(|len| len > usize::from(u8::MAX)) {
            return wrong("names of exchanges and routing keys have at most 255 bytes".to_owned());
        }
        if !self.log && self.webhook.is_none() && self.exchange.is_none() {
            return wrong(
                "nobody is told; leave log = true, or name a webhook or an exchange".to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rule: &str) -> Result<Alert, String> {
        let text = format!("[[rule]]\nname = \"r\"\nqueue = \"q\"\nkind = \"backlog\"\n{rule}");
        Alert::parse(toml::from_str(&text).expect("TOML"))
    }

    #[test]
    fn a_rule_tells_the_log_unless_it_says_otherwise() {
        let alert = parse("threshold = 5\nexchange = { name = \"alerts\" }\n").expect("valid");
        let rule = &alert.rule[0];
        assert!(rule.log && rule.kind == AlertKind::Backlog && rule.vhost.is_none());
        let to = rule.exchange.as_ref().expect("given");
        assert_eq!((&*to.vhost, &*to.name, &*to.routing_key), ("/", "alerts", ""));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (rule, said) in [
            ("threshold = 0\n", "alert.rule 'r': threshold = 0"),
            ("threshold = 1\nqueues = \"x\"\n", "unknown field `queues`"),
            ("threshold = 1\nwebhook = \"ftp://x\"\n", "begins with http:// or https://"),
            ("threshold = 1\nlog = false\n", "nobody is told"),
            ("", "missing field `threshold`"),
        ] {
            let error = parse(rule).expect_err(rule);
            assert!(error.contains(said), "{error}");
        }
        let text = "[[rule]]\nname = \"r\"\nqueue = \"(\"\nkind = \"backlog\"\nthreshold = 1\n";
        let error = Alert::parse(toml::from_str(text).expect("TOML")).expect_err("no pattern");
        assert!(error.contains("is no regular expression"), "{error}");
    }
}
