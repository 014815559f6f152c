//! What numbers were at some moments: a rate from the last two, and samples as far back as they are
//! kept.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::ages::Ages;

/// The numbers of a thing at one moment; their names follow from what it is.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) values: Box<[u64]>,
}

/// Samples at least `every_ms` apart, the newest last.
#[derive(Debug)]
struct Ring {
    every_ms: u64,
    samples_max: usize,
    samples: VecDeque<Sample>,
}

/// How far back samples are kept, as RabbitMQ does: the distance of samples in seconds, and how
/// many.
pub(super) const LONG: [(u64, usize); 4] = [(5, 122), (60, 62), (600, 50), (1800, 49)];

/// The same for a thing whose samples somebody asks for.
pub(super) const SHORT: [(u64, usize); 1] = [LONG[0]];

/// A sample that comes a little early is not taken for one too many.
const EARLY_MS: u64 = 500;

impl Ring {
    fn new((every_seconds, samples_max): (u64, usize)) -> Self {
        Self { every_ms: every_seconds * 1000, samples_max, samples: VecDeque::new() }
    }

    fn push(&mut self, sample: &Sample) {
        let next_ms = self.samples.back().map_or(0, |last| last.at_ms + self.every_ms);
        if sample.at_ms + EARLY_MS < next_ms {
            return;
        }
        if self.samples.len() == self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back(sample.clone());
    }

    fn reaches_ms(&self) -> u64 {
        self.every_ms * self.samples_max as u64
    }
}

/// What is known of one thing.
#[derive(Debug, Default)]
pub(super) struct Track {
    last: Option<Sample>,
    previous: Option<Sample>,
    /// From the shortest to the longest.
    rings: Vec<Ring>,
    /// The sample before which a number changed last, in milliseconds since 1970.
    changed_ms: u64,
    /// The round in which it was there.
    pub(super) round: u64,
}

impl Track {
    /// Keeps samples from now on.
    pub(super) fn keep(&mut self, rings: &[(u64, usize)]) {
        if self.rings.len() < rings.len() {
            self.rings = rings.iter().copied().map(Ring::new).collect();
        }
    }

    pub(super) fn forget_samples(&mut self) {
        self.rings = Vec::new();
    }

    pub(super) fn push(&mut self, sample: Sample) {
        self.rings.iter_mut().for_each(|ring| ring.push(&sample));
        if self.last.as_ref().is_none_or(|last| last.values != sample.values) {
            self.changed_ms = sample.at_ms;
        }
        self.previous = self.last.replace(sample);
    }

    /// Since when no number has changed, in milliseconds since 1970, if it is for longer than
    /// between two samples.
    pub(super) fn idle_since_ms(&self) -> Option<u64> {
        let last = self.last.as_ref()?;
        (last.at_ms > self.changed_ms).then_some(self.changed_ms)
    }

    /// By how much the number in a place changes in a second. Numbers that only grow, and have
    /// begun again, don't change.
    pub(super) fn rate(&self, place: usize) -> f64 {
        let (Some(last), Some(previous)) = (&self.last, &self.previous) else { return 0.0 };
        rate_between(previous, last, place)
    }

    /// `{"rate": ...}` of the number in a place, with the samples that are asked for.
    pub(super) fn details(&self, place: usize, ages: Option<Ages>) -> Value {
        let mut details = Map::from_iter([("rate".to_owned(), json!(self.rate(place)))]);
        let samples = ages.map(|ages| self.samples(ages)).unwrap_or_default();
        if let (Some(newest), Some(oldest)) = (samples.first(), samples.last()) {
            let values: Vec<u64> =
                samples.iter().map(|(_, sample)| value_of(sample, place)).collect();
            let average = values.iter().sum::<u64>() as f64 / values.len() as f64;
            let shown = samples.iter().zip(&values);
            let shown =
                shown.map(|((at_ms, _), value)| json!({"sample": value, "timestamp": at_ms}));
            details.insert("samples".to_owned(), shown.collect());
            details.insert("avg".to_owned(), json!(average));
            let rate = rate_between(oldest.1, newest.1, place);
            details.insert("avg_rate".to_owned(), json!(rate));
        }
        Value::Object(details)
    }

    /// The samples of the times that are asked for, the newest first.
    fn samples(&self, ages: Ages) -> Vec<(u64, &Sample)> {
        let fitting = self.rings.iter().find(|ring| ring.reaches_ms() >= ages.age_ms());
        let Some(ring) = fitting.or(self.rings.last()) else { return Vec::new() };
        let Some(newest) = ring.samples.back() else { return Vec::new() };
        let at = |time_ms: u64| {
            let count = ring.samples.partition_point(|sample| sample.at_ms <= time_ms);
            Some((time_ms, ring.samples.get(count.checked_sub(1)?)?))
        };
        ages.times_before(newest.at_ms).map_while(at).collect()
    }
}

fn value_of(sample: &Sample, place: usize) -> u64 {
    sample.values.get(place).copied().unwrap_or(0)
}

fn rate_between(from: &Sample, to: &Sample, place: usize) -> f64 {
    let ms = to.at_ms.saturating_sub(from.at_ms);
    if ms == 0 {
        return 0.0;
    }
    let (from, to) = (value_of(from, place), value_of(to, place));
    let change = if to >= from { (to - from) as f64 } else { -((from - to) as f64) };
    change * 1000.0 / ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thing whose one number is sampled every 5 s.
    fn tracked(values: &[u64]) -> Track {
        let mut track = Track::default();
        track.keep(&SHORT);
        for (at_ms, value) in (1_000_000..).step_by(5_000).zip(values) {
            track.push(Sample { at_ms, values: Box::new([*value]) });
        }
        track
    }

    fn ages(age: u64, incr: u64) -> Option<Ages> {
        let (age, incr) = (age.to_string(), incr.to_string());
        Ages::of("lengths", Some(&age), Some(&incr)).expect("they can be")
    }

    #[test]
    fn a_rate_is_that_of_the_last_two_samples() {
        assert_eq!(tracked(&[0, 100, 150]).details(0, None), json!({"rate": 10.0}));
        assert_eq!(tracked(&[100, 50]).details(0, None), json!({"rate": -10.0}));
        assert_eq!(tracked(&[100]).details(0, None), json!({"rate": 0.0}));
    }

    #[test]
    fn a_thing_is_idle_since_its_numbers_have_not_changed() {
        assert_eq!(tracked(&[1]).idle_since_ms(), None);
        assert_eq!(tracked(&[1, 2]).idle_since_ms(), None);
        assert_eq!(tracked(&[1, 2, 2, 2]).idle_since_ms(), Some(1_005_000));
    }

    #[test]
    fn samples_are_those_of_the_times_asked_for_the_newest_first() {
        let details = tracked(&[0, 10, 20, 30, 40]).details(0, ages(10, 5));
        let samples = json!([
            {"sample": 40, "timestamp": 1_020_000}, {"sample": 30, "timestamp": 1_015_000},
            {"sample": 20, "timestamp": 1_010_000},
        ]);
        assert_eq!(details["samples"], samples);
        assert_eq!((&details["avg"], &details["avg_rate"]), (&json!(30.0), &json!(2.0)));
        // None is older than the first.
        let all = tracked(&[1, 2, 3]).details(0, ages(3600, 10));
        assert_eq!(all["samples"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn no_more_samples_are_kept_than_there_may_be() {
        let track = tracked(&vec![7; 1_000]);
        assert_eq!(track.rings[0].samples.len(), SHORT[0].1);
        let mut long = Track::default();
        long.keep(&LONG);
        for second in (0..200_000).step_by(5) {
            long.push(Sample { at_ms: second * 1000, values: Box::new([second]) });
        }
        let kept: Vec<usize> = long.rings.iter().map(|ring| ring.samples.len()).collect();
        assert_eq!(kept, LONG.map(|(_, most)| most));
        let day = long.details(0, ages(86_400, 1_800));
        assert_eq!(day["samples"].as_array().map(Vec::len), Some(49));
        assert_eq!(day["avg_rate"], json!(1.0));
    }
}
