//! Alerts: their rules, and the queues that they fire for.

use serde_json::{Value, json};

use crate::ctl::action::{array, rows_of};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::verb::{Action, COLUMN, Column, Subject, Verb, columns, many};

pub(super) const SUBJECT: Subject = Subject {
    title: "Alerts",
    verbs: &[Verb {
        name: "list_alerts",
        about: "List the rules of alerts, and the queues that each fires for",
        example: "list_alerts\nlist_alerts rule queue value since_ms webhook",
        words: &[many(
            COLUMN,
            "What to show of each [default: rule kind threshold vhost queue value since_ms]",
        )],
        action: Action::Own(list_alerts),
    }],
};

const COLUMNS: &[Column] = columns![
    "rule" = "rule.name",
    "kind" = "rule.kind",
    "threshold" = "rule.threshold",
    "pattern" = "rule.queue",
    "for_seconds" = "rule.for_seconds",
    "repeat_seconds" = "rule.repeat_seconds",
    "log" = "rule.log",
    "webhook" = "rule.webhook",
    "exchange" = "rule.exchange",
    "origin" = "rule.origin",
    "firing_count" = "rule.firing_count",
    "vhost" = "firing.vhost",
    "queue" = "firing.queue",
    "value" = "firing.value",
    "since_ms" = "firing.since_ms",
    "told_ms" = "firing.told_ms",
];

/// A row for each queue that a rule fires for, and one for a rule that fires for none.
fn list_alerts(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let usual = ["rule", "kind", "threshold", "vhost", "queue", "value", "since_ms"];
    let chosen = asked.columns(COLUMNS, &usual)?;
    asked.banner("Listing alerts ...")?;
    let mut rows = Vec::new();
    for mut rule in array(asked.get("/api/alerts")?)? {
        let mut firing = array(rule.get_mut("firing").map(Value::take).unwrap_or_default())?;
        if firing.is_empty() {
            firing.push(Value::Null);
        }
        rows.extend(firing.into_iter().map(|firing| json!({"rule": rule, "firing": firing})));
    }
    Ok(Answer::Rows(rows_of(rows.iter(), &chosen)))
}
