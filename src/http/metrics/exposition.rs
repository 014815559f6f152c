//! Prometheus' text format, version 0.0.4: families of metrics from tables, a line for each thing.
//!
//! Written here and not by a crate, because the crates keep a registry with an object for every
//! metric of every queue, or speak OpenMetrics only, where RabbitMQ's scrapers expect this. A table
//! says how to read a number from what was read of a thing once; the labels of a thing are escaped
//! once.

use std::fmt::Write;

use crate::metrics::Reading;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bytes that a line is taken to have, to make room once.
const LINE_LEN: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric of things of a kind.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    /// `None` where a thing has no such number.
    pub(super) value: fn(&T) -> Option<f64>,
}

/// A thing: its labels, and what was read of it.
pub(super) struct Row<T> {
    pub(super) labels: Labels,
    pub(super) of: T,
}

/// `name="value",...`, escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let _ = write!(self.0, "{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        self.0.push('"');
        self
    }
}

/// A text in the making.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    fn line(&mut self, name: &str, labels: &Labels, value: f64) {
        self.0.push_str(name);
        if !labels.0.is_empty() {
            self.0.push('{');
            self.0.push_str(&labels.0);
            self.0.push('}');
        }
        self.0.push(' ');
        self.number(value);
        self.0.push('\n');
    }

    /// Most are whole, and those are cheaper to write.
    fn number(&mut self, value: f64) {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let _ = match value.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&value) {
            true => write!(self.0, "{}", value as u64),
            false => write!(self.0, "{value}"),
        };
    }

    /// A metric with one line.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, labels: &Labels, value: f64) {
        self.head(name, kind, help);
        self.line(name, labels, value);
    }

    /// Families of all these things. Those that no thing has a number of are left out.
    pub(super) fn families<T>(&mut self, prefix: &str, families: &[Family<T>], rows: &[Row<T>]) {
        for Family { name, kind, help, value } in families {
            let name = format!("{prefix}{name}");
            let mut numbers = rows.iter().filter_map(|row| Some((&row.labels, value(&row.of)?)));
            let Some((labels, number)) = numbers.next() else { continue };
            self.0.reserve(rows.len().saturating_mul(LINE_LEN));
            self.head(&name, *kind, help);
            self.line(&name, labels, number);
            numbers.for_each(|(labels, number)| self.line(&name, labels, number));
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, reading: &Reading) {
        self.head(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in &reading.buckets {
            let labels = Labels::default().with("le", &bound.to_string());
            self.line(&bucket, &labels, *count as f64);
        }
        self.line(&bucket, &Labels::default().with("le", "+Inf"), reading.count as f64);
        self.line(&format!("{name}_sum"), &Labels::default(), reading.sum_seconds);
        self.line(&format!("{name}_count"), &Labels::default(), reading.count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: &[Family<f64>] = &[
        Family { name: "a", kind: Kind::Gauge, help: "A.", value: |of| Some(*of) },
        Family { name: "b", kind: Kind::Counter, help: "B.", value: |_| None },
    ];

    #[test]
    fn a_family_has_its_head_once_and_a_line_for_each_thing() {
        let row = |name, of| Row { labels: Labels::default().with("queue", name), of };
        let mut out = Exposition::default();
        out.families("x_", FAMILIES, &[row("a\"b\\c\nd", 3.0), row("", 0.25)]);
        let expected = "# HELP x_a A.\n# TYPE x_a gauge\n\
            x_a{queue=\"a\\\"b\\\\c\\nd\"} 3\nx_a{queue=\"\"} 0.25\n";
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn a_histogram_ends_with_all_its_sum_and_its_count() {
        let reading = Reading { buckets: vec![(0.0001, 1), (10.0, 4)], count: 5, sum_seconds: 1.5 };
        let mut out = Exposition::default();
        out.histogram("h", "H.", &reading);
        let expected = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.0001\"} 1\n\
            h_bucket{le=\"10\"} 4\nh_bucket{le=\"+Inf\"} 5\nh_sum 1.5\nh_count 5\n";
        assert_eq!(out.into_text(), expected);
    }
}
