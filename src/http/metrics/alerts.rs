//! Metrics of alerts.

use super::exposition::{Exposition, Family, Kind, Labels, Row};
use crate::alert::Alerts;

const FIRING: &[Family<usize>] = &[Family {
    name: "alerts_firing",
    kind: Kind::Gauge,
    help: "Queues that the rule of an alert fires for.",
    value: |count| Some(*count as f64),
}];

/// Nothing where there are no rules.
pub(super) fn put(out: &mut Exposition, prefix: &str, alerts: &Alerts) {
    let firing = alerts.firing(0).into_iter();
    let row = |(rule, count): (String, usize)| Row {
        labels: Labels::default().with("rule", &rule),
        of: count,
    };
    let mut rules: Vec<_> = firing.map(|(rule, firing)| (rule, firing.count)).collect();
    rules.sort_unstable();
    out.families(prefix, FIRING, &rules.into_iter().map(row).collect::<Vec<_>>());
}
