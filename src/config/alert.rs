//! Rules of alerts: tables of the file, which are neither variables nor flags.
//!
//! ```toml
//! [[alert.rule]]
//! name = "dead orders"
//! queue = '\.dead$'
//! kind = "dead_letters"
//! threshold = 1
//! ```

use serde::Serialize;
use toml::{Table, Value};

use crate::alert_rule::{AlertRule, read_rules};

/// The rules, as `[[alert.rule]]` in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Alert {
    pub rule: Vec<AlertRule>,
}

impl Alert {
    /// From the file's `alert`. The error names everything that is wrong, and what would be right.
    pub(super) fn parse(value: Value) -> Result<Self, String> {
        let mut table: Table = value.try_into().map_err(|error| format!("alert: {error}"))?;
        let list = table.remove("rule").unwrap_or_else(|| Value::Array(Vec::new()));
        if let Some(key) = table.keys().next() {
            return Err(format!("unknown key alert.{key}; did you mean alert.rule?"));
        }
        let list = serde_json::to_value(list).map_err(|error| format!("alert.rule: {error}"))?;
        let wrong = |wrong: Vec<String>| format!("alert.rule: {}", wrong.join("; "));
        Ok(Self { rule: read_rules(list).map_err(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_with_the_rules_of_a_file_is_said() {
        let parse = |text: &str| Alert::parse(toml::from_str(text).expect("TOML"));
        let rule = "[[rule]]\nname = \"r\"\nqueue = \"q\"\nkind = \"backlog\"\n";
        assert_eq!(parse(&format!("{rule}threshold = 1\n")).expect("valid").rule.len(), 1);
        let error = parse(&format!("{rule}threshold = 0\nlog = false\n")).expect_err("wrong");
        assert!(error.starts_with("alert.rule: rule 'r': threshold = 0"), "{error}");
        assert!(error.contains("; rule 'r': nobody is told"), "{error}");
        let error = parse("[[rules]]\n").expect_err("unknown");
        assert_eq!(error, "unknown key alert.rules; did you mean alert.rule?");
        assert_eq!(parse("").expect("none"), Alert::default());
    }
}
