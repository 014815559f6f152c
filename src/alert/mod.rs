//! Alerts by rule: a queue that holds dead letters, falls behind, or has old messages is told of,
//! and told of again when it is well.
//!
//! ```text
//! every few seconds: queues, in steps ──▶ watch (what stands over its threshold since when)
//!                                              └─ firing, resolved ─▶ log, exchange, webhook
//! ```
//!
//! Owner of what stands; runs only where there are rules. Nobody waits for it.

mod notice;
pub mod rule;
mod target;
mod watch;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use self::rule::Rule;
use self::target::Targets;
use self::watch::Watch;
use crate::broker::Broker;
use crate::broker::queue::Queue;
use crate::broker::timers::now_ms;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(3);

/// Queues that are looked at without a pause.
const STEP: usize = 1000;

/// Looks after the rules until it is dropped.
pub async fn run(rules: Vec<Rule>, broker: Arc<Broker>) {
    let targets = Targets::new(&rules);
    let mut watch = Watch::default();
    loop {
        let now_ms = now_ms();
        watch.begin_round();
        for vhost in broker.vhosts() {
            let queues = vhost.queues();
            for step in queues.chunks(STEP) {
                step.iter().for_each(|queue| look(&rules, queue, now_ms, &mut watch));
                tokio::task::yield_now().await;
            }
        }
        for (index, notice) in watch.end_round(&rules, now_ms) {
            if let Some(rule) = rules.get(index) {
                targets.tell(rule, &notice, &broker);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Sees whether a queue stands over the thresholds of the rules that it comes under.
fn look(rules: &[Rule], queue: &Queue, now_ms: u64, watch: &mut Watch) {
    let mut status = None;
    for (index, rule) in rules.iter().enumerate() {
        if rule.applies_to(queue) {
            let status = status.get_or_insert_with(|| queue.status());
            let value = rule.kind.value_of(status, now_ms);
            if value >= rule.threshold {
                watch.stands(index, queue, value, now_ms);
            }
        }
    }
}
