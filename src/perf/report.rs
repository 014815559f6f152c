//! What a load has found out, for people and for programs.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::tally::Wrong;

/// Time, and what the broker's process has used meanwhile.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Used {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_mib_before: Option<f64>,
    pub(super) resident_mib: Option<f64>,
    /// What the data directory takes.
    pub(super) disk_mib: Option<f64>,
}

/// A load, or its part that fills or drains.
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) used: Used,
    pub(super) published: u64,
    pub(super) consumed: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) confirm_latency: Histogram<u64>,
    pub(super) wrong: Wrong,
    /// By queue and producer, what was published.
    pub(super) counts: Vec<BTreeMap<u32, u64>>,
}

const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

impl Phase {
    /// Messages by which the broker's time is divided: published, or consumed where none were.
    fn messages(&self) -> u64 {
        if self.published > 0 { self.published } else { self.consumed }
    }

    fn cpu_per_million(&self) -> Option<f64> {
        let seconds = self.used.cpu_seconds?;
        (self.messages() > 0).then(|| seconds / self.messages() as f64 * 1e6)
    }

    pub(super) fn print(&self, scenario: &str) {
        let rate = |count: u64| count as f64 / self.used.seconds;
        let name = format!("{scenario} {}", self.name);
        let mut line = format!(
            "{:<8} {:>10.0} published/s {:>10.0} consumed/s",
            name.trim(),
            rate(self.published),
            rate(self.consumed)
        );
        if let Some(cpu) = self.cpu_per_million() {
            line += &format!("  {cpu:.2} CPU s per million");
        }
        if let Some(mib) = self.used.resident_mib {
            line += &format!("  {mib:.0} MiB");
        }
        if let Some(mib) = self.used.disk_mib {
            line += &format!("  {mib:.0} MiB of disk");
        }
        println!("{line}");
        for (what, latency) in [("delivered", &self.latency), ("confirmed", &self.confirm_latency)]
        {
            if !latency.is_empty() {
                let at = |(name, percentile): &(&str, f64)| {
                    format!("{name} {}", latency.value_at_percentile(*percentile))
                };
                let all: Vec<String> = PERCENTILES.iter().map(at).collect();
                println!("         {what} after {} microseconds", all.join(", "));
            }
        }
        if !self.wrong.is_nothing() {
            println!("         WRONG: {}", self.wrong_in_words());
        }
    }

    pub(super) fn wrong_in_words(&self) -> String {
        let Wrong { missing, twice, out_of_order, corrupt } = &self.wrong;
        format!(
            "{missing} messages missing, {twice} came twice, {out_of_order} out of order, {corrupt} \
             with another body than was sent"
        )
    }

    pub(super) fn json(&self, scenario: &str) -> Value {
        let latency = |latency: &Histogram<u64>| {
            let at = |(name, percentile): &(&str, f64)| {
                ((*name).to_owned(), json!(latency.value_at_percentile(*percentile)))
            };
            match latency.is_empty() {
                true => Value::Null,
                false => Value::Object(PERCENTILES.iter().map(at).collect()),
            }
        };
        json!({
            "scenario": scenario,
            "phase": self.name,
            "seconds": self.used.seconds,
            "published": self.published,
            "consumed": self.consumed,
            "published_per_second": self.published as f64 / self.used.seconds,
            "consumed_per_second": self.consumed as f64 / self.used.seconds,
            "cpu_seconds_per_million": self.cpu_per_million(),
            "resident_mib_before": self.used.resident_mib_before,
            "resident_mib": self.used.resident_mib,
            "disk_mib": self.used.disk_mib,
            "delivery_latency_us": latency(&self.latency),
            "confirm_latency_us": latency(&self.confirm_latency),
            "missing": self.wrong.missing,
            "twice": self.wrong.twice,
            "out_of_order": self.wrong.out_of_order,
            "corrupt": self.wrong.corrupt,
        })
    }
}
