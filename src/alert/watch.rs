//! What stands over a threshold, since when, and what has been told of it. No clock: times come in.
//!
//! Bounded by what there is: one entry for a queue and a rule that it comes under.

use std::collections::HashMap;
use std::sync::Arc;

use super::notice::{Notice, State};
use crate::alert_rule::AlertRule;
use crate::broker::queue::Queue;
use crate::store::record::{QueueId, QueueMap};

/// What is told, by which rule.
pub(super) type Told = (Arc<AlertRule>, Notice);

/// A queue that a rule has fired for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    pub vhost: String,
    pub queue: String,
    /// As it was last seen over the threshold.
    pub value: u64,
    /// Times in milliseconds since 1970: when it was first seen over it, and when it was told last.
    pub since_ms: u64,
    pub told_ms: u64,
}

/// The queues that a rule has fired for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FiringOfRule {
    pub count: usize,
    /// Not all, where there are many.
    pub queues: Vec<Firing>,
}

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

/// A rule, and the queues that stand over its threshold.
#[derive(Debug)]
struct Watched {
    rule: Arc<AlertRule>,
    standing: QueueMap<Standing>,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// In the order in which they were set.
    rules: Vec<Watched>,
    round: u64,
}

impl Watch {
    /// Other rules from now on. One that keeps its name keeps what stands; what stood by one that
    /// is gone is answered as resolved.
    pub(super) fn set_rules(&mut self, rules: &[Arc<AlertRule>], now_ms: u64) -> Vec<Told> {
        let mut before = std::mem::take(&mut self.rules);
        for rule in rules {
            let index = before.iter().position(|watched| watched.rule.name == rule.name);
            let standing = index.map(|index| before.swap_remove(index).standing);
            let standing = standing.unwrap_or_default();
            self.rules.push(Watched { rule: Arc::clone(rule), standing });
        }
        let mut ended = Vec::new();
        for Watched { rule, standing } in before {
            let told = standing.into_values().filter(|standing| standing.told_ms.is_some());
            ended.extend(told.map(|standing| resolved(&rule, &standing, now_ms)));
        }
        ended
    }

    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// A queue is over the threshold of a rule, which is counted among those that were set.
    pub(super) fn stands(&mut self, rule: usize, queue: &Queue, value: u64, now_ms: u64) {
        let properties = &queue.properties;
        let names = || (properties.vhost.to_string(), properties.name.to_string());
        self.stands_as(rule, properties.id, names, value, now_ms);
    }

    fn stands_as(
        &mut self,
        rule: usize,
        queue: QueueId,
        names: impl FnOnce() -> (String, String),
        value: u64,
        now_ms: u64,
    ) {
        let Some(watched) = self.rules.get_mut(rule) else { return };
        let standing = watched.standing.entry(queue).or_insert_with(|| {
            let (vhost, queue) = names();
            Standing { vhost, queue, since_ms: now_ms, value, told_ms: None, round: 0 }
        });
        (standing.value, standing.round) = (value, self.round);
    }

    /// Answers what is to be told. Queues that were not seen over their threshold in this round are
    /// below it, or gone.
    pub(super) fn end_round(&mut self, now_ms: u64) -> Vec<Told> {
        let mut told = Vec::new();
        let round = self.round;
        for Watched { rule, standing } in &mut self.rules {
            standing.retain(|_, standing| {
                let stands = standing.round == round;
                if stands && is_due(rule, standing, now_ms) {
                    standing.told_ms = Some(now_ms);
                    told.push((Arc::clone(rule), notice(rule, standing, State::Firing, now_ms)));
                }
                if !stands && standing.told_ms.is_some() {
                    told.push(resolved(rule, standing, now_ms));
                }
                stands
            });
        }
        told
    }

    /// What each rule has fired for, by its name: so many queues, and the first `most` of them.
    pub(super) fn firing(&self, most: usize) -> HashMap<String, FiringOfRule> {
        let of_rule = |Watched { rule, standing }: &Watched| {
            let told = standing.values().filter_map(|standing| Some((standing.told_ms?, standing)));
            let mut told: Vec<_> = told.collect();
            let count = told.len();
            if most > 0 {
                let key = |of: &Standing| (of.since_ms, of.vhost.clone(), of.queue.clone());
                told.sort_by_cached_key(|(_, standing)| key(standing));
            }
            let firing = |(told_ms, standing): (u64, &Standing)| Firing {
                vhost: standing.vhost.clone(),
                queue: standing.queue.clone(),
                value: standing.value,
                since_ms: standing.since_ms,
                told_ms,
            };
            let queues = told.into_iter().take(most).map(firing).collect();
            (rule.name.clone(), FiringOfRule { count, queues })
        };
        self.rules.iter().map(of_rule).collect()
    }
}

fn is_due(rule: &AlertRule, standing: &Standing, now_ms: u64) -> bool {
    let has_passed = |since_ms: u64, seconds: u32| {
        now_ms.saturating_sub(since_ms) >= u64::from(seconds).saturating_mul(1000)
    };
    match standing.told_ms {
        None => has_passed(standing.since_ms, rule.for_seconds),
        Some(told_ms) => rule.repeat_seconds > 0 && has_passed(told_ms, rule.repeat_seconds),
    }
}

fn resolved(rule: &Arc<AlertRule>, standing: &Standing, now_ms: u64) -> Told {
    (Arc::clone(rule), notice(rule, standing, State::Resolved, now_ms))
}

fn notice(rule: &AlertRule, standing: &Standing, state: State, now_ms: u64) -> Notice {
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
    use super::*;
    use crate::alert_rule::{AlertKind, Pattern};

    fn rule(name: &str, for_seconds: u32, repeat_seconds: u32) -> Arc<AlertRule> {
        Arc::new(AlertRule {
            name: name.to_owned(),
            vhost: None,
            queue: Pattern::new(".").expect("a pattern"),
            kind: AlertKind::Backlog,
            threshold: 10,
            for_seconds,
            repeat_seconds,
            log: true,
            webhook: None,
            exchange: None,
        })
    }

    /// A round at this second, in which the queue stands by these rules.
    fn round(watch: &mut Watch, second: u64, stands: &[usize]) -> Vec<Told> {
        watch.begin_round();
        for rule in stands {
            let names = || ("/".to_owned(), "q".to_owned());
            watch.stands_as(*rule, QueueId(1), names, 12, second * 1000);
        }
        watch.end_round(second * 1000)
    }

    /// What is told, round by round, of a queue that stands or doesn't.
    fn told(rule: Arc<AlertRule>, rounds: &[(u64, bool)]) -> Vec<(u64, State)> {
        let (mut watch, mut told) = (Watch::default(), Vec::new());
        watch.set_rules(&[rule], 0);
        for (second, stands) in rounds {
            let notices = round(&mut watch, *second, if *stands { &[0] } else { &[] });
            told.extend(notices.into_iter().map(|(_, notice)| (notice.at_ms / 1000, notice.state)));
        }
        told
    }

    #[test]
    fn what_stands_long_enough_fires_once_and_is_resolved_when_it_is_over() {
        let rounds = [(0, true), (5, true), (10, true), (15, true), (20, false), (25, false)];
        let expected = [(10, State::Firing), (20, State::Resolved)];
        assert_eq!(told(rule("r", 10, 0), &rounds), expected);
    }

    #[test]
    fn what_was_over_in_time_is_not_told() {
        let rounds = [(0, true), (5, true), (9, false), (10, true), (19, true)];
        assert_eq!(told(rule("r", 10, 0), &rounds), []);
    }

    #[test]
    fn what_goes_on_is_told_again_and_again_if_that_is_wanted() {
        let rounds: Vec<_> = (0..10).map(|round| (round * 10, true)).collect();
        let expected =
            [(0, State::Firing), (30, State::Firing), (60, State::Firing), (90, State::Firing)];
        assert_eq!(told(rule("r", 0, 30), &rounds), expected);
    }

    #[test]
    fn other_rules_keep_what_stands_by_their_names_and_end_what_stood_by_others() {
        let mut watch = Watch::default();
        assert_eq!(watch.set_rules(&[rule("a", 0, 0), rule("b", 0, 0)], 0), []);
        assert_eq!(round(&mut watch, 1, &[0, 1]).len(), 2);
        let ended = watch.set_rules(&[rule("c", 9, 0), rule("b", 0, 0)], 2000);
        let [(of, notice)] = &ended[..] else { panic!("one has ended: {ended:?}") };
        assert_eq!((&*of.name, notice.state, notice.at_ms), ("a", State::Resolved, 2000));
        assert_eq!(round(&mut watch, 3, &[0, 1]), []);
        let firing = watch.firing(1);
        assert_eq!((firing["b"].count, firing["c"].count), (1, 0));
        let queue = &firing["b"].queues[0];
        assert_eq!((&*queue.queue, queue.since_ms, queue.told_ms), ("q", 1000, 1000));
        let resolved = round(&mut watch, 4, &[0]);
        assert_eq!((resolved.len(), &*resolved[0].1.rule), (1, "b"));
        assert_eq!(watch.firing(1)["b"], FiringOfRule::default());
    }
}
