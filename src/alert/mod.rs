//! Alerts by rule: a queue that holds dead letters, falls behind, or has old messages is told of,
//! and told of again when it is well.
//!
//! ```text
//! rules of the file, rules of the parameter
//!   └─▶ every few seconds: queues, in steps ──▶ watch (what stands over its threshold since when)
//!                                                 └─ firing, resolved ─▶ log, exchange, webhook
//! ```
//!
//! Owner of what stands. Nobody waits for it: its lock is held for one look at one step of queues,
//! and never while a queue's is.

mod notice;
mod target;
mod watch;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use self::target::Targets;
use self::watch::Watch;
pub use self::watch::{Firing, FiringOfRule};
use crate::alert_rule::{AlertKind, AlertRule, read_rules};
use crate::broker::Broker;
use crate::broker::parameter::ALERT_RULES;
use crate::broker::queue::{Queue, QueueStatus};
use crate::broker::timers::now_ms;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(3);

/// Queues that are looked at without a pause.
const STEP: usize = 1000;

/// Where a rule was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    File,
    Parameter,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Parameter => "parameter",
        }
    }
}

/// The rules, and what they fire for.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

struct Inner {
    of_file: Vec<Arc<AlertRule>>,
    watch: Mutex<Watch>,
}

impl Alerts {
    pub fn new(of_file: &[AlertRule]) -> Self {
        let of_file = of_file.iter().cloned().map(Arc::new).collect();
        Self(Arc::new(Inner { of_file, watch: Mutex::default() }))
    }

    /// The rules of the moment, by name, and where each was said.
    pub fn rules(&self, broker: &Broker) -> Vec<(Arc<AlertRule>, Origin)> {
        self.rules_with(broker.global_parameter(ALERT_RULES))
    }

    /// Rule: one of the parameter stands in the place of one of the file that has its name.
    fn rules_with(&self, parameter: Option<Value>) -> Vec<(Arc<AlertRule>, Origin)> {
        let of_parameter = parameter.map(read_rules).transpose().unwrap_or_else(|wrong| {
            // It was checked when it was set: by another version.
            tracing::error!(wrong = wrong.join("; "), "the parameter '{ALERT_RULES}' is left out");
            None
        });
        let of_file = self.0.of_file.iter().map(|rule| (Arc::clone(rule), Origin::File));
        let of_parameter = of_parameter.into_iter().flatten().map(Arc::new);
        let of_parameter = of_parameter.map(|rule| (rule, Origin::Parameter));
        let mut by_name = HashMap::new();
        for (rule, origin) in of_file.chain(of_parameter) {
            by_name.insert(rule.name.clone(), (rule, origin));
        }
        let mut rules: Vec<_> = by_name.into_values().collect();
        rules.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        rules
    }

    /// What each rule fires for, as of the last round: so many queues, and of them the first
    /// `most` by the time since when.
    pub fn firing(&self, most: usize) -> HashMap<String, FiringOfRule> {
        self.0.watch.lock().firing(most)
    }

    /// Looks at all queues once.
    async fn round(&self, rules: &[Arc<AlertRule>], broker: &Broker, now_ms: u64) {
        self.0.watch.lock().begin_round();
        for vhost in broker.vhosts() {
            let queues = vhost.queues();
            for step in queues.chunks(STEP) {
                let mut over = Vec::new();
                step.iter().for_each(|queue| look(rules, queue, now_ms, &mut over));
                self.note(over, now_ms);
                tokio::task::yield_now().await;
            }
        }
    }

    fn note(&self, over: Vec<(usize, &Arc<Queue>, u64)>, now_ms: u64) {
        let mut watch = self.0.watch.lock();
        for (rule, queue, value) in over {
            watch.stands(rule, queue, value, now_ms);
        }
    }
}

/// Looks after the rules until it is dropped.
pub async fn run(alerts: Alerts, broker: Arc<Broker>) {
    let mut targets = Targets::default();
    let (mut rules, mut said) = (Vec::new(), None);
    loop {
        let now_ms = now_ms();
        let parameter = broker.global_parameter(ALERT_RULES);
        if said.as_ref() != Some(&parameter) {
            said = Some(parameter.clone());
            rules = alerts.rules_with(parameter).into_iter().map(|(rule, _)| rule).collect();
            let ended = alerts.0.watch.lock().set_rules(&rules, now_ms);
            targets.tell_all(&ended, &broker);
            targets.keep_to(&rules);
        }
        if !rules.is_empty() {
            alerts.round(&rules, &broker, now_ms).await;
            let notices = alerts.0.watch.lock().end_round(now_ms);
            targets.tell_all(&notices, &broker);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Sees whether a queue stands over the thresholds of the rules that it comes under.
fn look<'a>(
    rules: &[Arc<AlertRule>],
    queue: &'a Arc<Queue>,
    now_ms: u64,
    over: &mut Vec<(usize, &'a Arc<Queue>, u64)>,
) {
    let mut status = None;
    for (index, rule) in rules.iter().enumerate() {
        if applies(rule, queue) {
            let status = status.get_or_insert_with(|| queue.status());
            let value = value_of(rule.kind, status, now_ms);
            if value >= rule.threshold {
                over.push((index, queue, value));
            }
        }
    }
}

/// An exchange's own queue is nobody's.
fn applies(rule: &AlertRule, queue: &Queue) -> bool {
    let properties = &queue.properties;
    properties.own_of.is_none()
        && rule.vhost.as_ref().is_none_or(|vhost| *vhost == *properties.vhost)
        && rule.queue.is_match(&properties.name)
}

fn value_of(kind: AlertKind, status: &QueueStatus, now_ms: u64) -> u64 {
    match kind {
        AlertKind::DeadLetters => (status.ready + status.unacked) as u64,
        AlertKind::Backlog => status.ready as u64,
        AlertKind::OldestAge => {
            status.oldest_ms.map_or(0, |came_ms| now_ms.saturating_sub(came_ms) / 1000)
        }
    }
}
