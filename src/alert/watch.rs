//! What stands over a threshold, since when, and what has been told of it. No clock: times come in.
//!
//! Bounded by what there is: one entry for a queue and a rule that it comes under.

use std::collections::HashMap;

use super::notice::{Notice, State};
use super::rule::Rule;
use crate::broker::queue::Queue;
use crate::store::record::QueueId;

/// By rule and queue.
type Key = (usize, QueueId);

#[derive(Debug)]
struct Standing {
    vhost: String,
    queue: String,
    since_ms: u64,
    value: u64,
    /// When it was told last; not yet, if never.
    told_ms: Option<u64>,
    round: u64,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    standing: HashMap<Key, Standing>,
    round: u64,
}

impl Watch {
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// A queue is over a rule's threshold.
    pub(super) fn stands(&mut self, rule: usize, queue: &Queue, value: u64, now_ms: u64) {
        let properties = &queue.properties;
        let names = || (properties.vhost.to_string(), properties.name.to_string());
        self.stands_as((rule, properties.id), names, value, now_ms);
    }

    fn stands_as(
        &mut self,
        key: Key,
        names: impl FnOnce() -> (String, String),
        value: u64,
        now_ms: u64,
    ) {
        let standing = self.standing.entry(key).or_insert_with(|| {
            let (vhost, queue) = names();
            Standing { vhost, queue, since_ms: now_ms, value, told_ms: None, round: 0 }
        });
        (standing.value, standing.round) = (value, self.round);
    }

    /// Answers what is to be told, with the rule of each. Queues that were not seen over their
    /// threshold in this round are below it, or gone.
    pub(super) fn end_round(&mut self, rules: &[Rule], now_ms: u64) -> Vec<(usize, Notice)> {
        let mut told = Vec::new();
        let round = self.round;
        self.standing.retain(|(index, _), standing| {
            let Some(rule) = rules.get(*index) else { return false };
            let stands = standing.round == round;
            if stands && is_due(rule, standing, now_ms) {
                standing.told_ms = Some(now_ms);
                told.push((*index, notice(rule, standing, State::Firing, now_ms)));
            }
            if !stands && standing.told_ms.is_some() {
                told.push((*index, notice(rule, standing, State::Resolved, now_ms)));
            }
            stands
        });
        told
    }
}

fn is_due(rule: &Rule, standing: &Standing, now_ms: u64) -> bool {
    match standing.told_ms {
        None => now_ms.saturating_sub(standing.since_ms) >= rule.for_ms,
        Some(told_ms) => rule.repeat_ms > 0 && now_ms.saturating_sub(told_ms) >= rule.repeat_ms,
    }
}

fn notice(rule: &Rule, standing: &Standing, state: State, now_ms: u64) -> Notice {
    Notice {
        state,
        rule: rule.name.clone(),
        kind: rule.kind.name(),
        vhost: standing.vhost.clone(),
        queue: standing.queue.clone(),
        value: standing.value,
        threshold: rule.threshold,
        since_ms: standing.since_ms,
        at_ms: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::alert::rule::Kind;

    fn rule(for_ms: u64, repeat_ms: u64) -> Vec<Rule> {
        vec![Rule {
            name: "r".to_owned(),
            vhost: None,
            queue: Regex::new(".").expect("a pattern"),
            kind: Kind::Backlog,
            threshold: 10,
            for_ms,
            repeat_ms,
            to_log: true,
            to_exchange: None,
            to_webhook: None,
        }]
    }

    /// What is told, round by round, of a queue that stands or doesn't.
    fn told(rules: &[Rule], rounds: &[(u64, bool)]) -> Vec<(u64, State)> {
        let (mut watch, mut told) = (Watch::default(), Vec::new());
        for (now_ms, stands) in rounds {
            watch.begin_round();
            if *stands {
                let names = || ("/".to_owned(), "q".to_owned());
                watch.stands_as((0, QueueId(1)), names, 12, *now_ms);
            }
            let notices = watch.end_round(rules, *now_ms);
            told.extend(notices.into_iter().map(|(_, notice)| (notice.at_ms, notice.state)));
        }
        told
    }

    #[test]
    fn what_stands_long_enough_fires_once_and_is_resolved_when_it_is_over() {
        let rounds = [(0, true), (5, true), (10, true), (15, true), (20, false), (25, false)];
        let expected = [(10, State::Firing), (20, State::Resolved)];
        assert_eq!(told(&rule(10, 0), &rounds), expected);
    }

    #[test]
    fn what_was_over_in_time_is_not_told() {
        let rounds = [(0, true), (5, true), (9, false), (10, true), (19, true)];
        assert_eq!(told(&rule(10, 0), &rounds), []);
    }

    #[test]
    fn what_goes_on_is_told_again_and_again_if_that_is_wanted() {
        let rounds: Vec<_> = (0..10).map(|round| (round * 10, true)).collect();
        let expected =
            [(0, State::Firing), (30, State::Firing), (60, State::Firing), (90, State::Firing)];
        assert_eq!(told(&rule(0, 30), &rounds), expected);
    }
}
