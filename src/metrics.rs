//! Histograms of times: what takes how long, counted in fixed buckets. Imports nothing of ours, so
//! that every layer can count in one.
//!
//! Whoever records adds to three numbers, however many messages a time stands for; sums are made by
//! those who read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of the buckets, in microseconds, ascending. Beyond the last one is one more bucket.
pub type Bounds = &'static [u64];

/// For what takes a disk or a network: 100 µs to 10 s.
pub const LATENCY: Bounds = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// For what may wait for a consumer: 100 µs to a day.
pub const WAITING: Bounds = &[
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    86_400_000_000,
];

/// A histogram that many record into.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bounds in seconds, with the number of times that are not longer.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum_seconds: f64,
}

impl Histogram {
    pub fn new(bounds: Bounds) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_us: AtomicU64::new(0) }
    }

    pub fn record(&self, time: Duration) {
        self.record_many(time, 1);
    }

    /// The same time, taken by so many.
    pub fn record_many(&self, time: Duration, times: u64) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < time_us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
            self.sum_us.fetch_add(time_us.saturating_mul(times), Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut so_far = |more: &AtomicU64| {
            count += more.load(Ordering::Relaxed);
            count
        };
        let counts: Vec<u64> = self.counts.iter().map(&mut so_far).collect();
        let seconds = |us: u64| us as f64 / 1e6;
        let bounds = self.bounds.iter().copied().map(seconds);
        Reading {
            buckets: bounds.zip(counts).collect(),
            count,
            sum_seconds: seconds(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_every_bucket_that_it_fits_in() {
        let histogram = Histogram::new(LATENCY);
        histogram.record(Duration::from_micros(100));
        histogram.record_many(Duration::from_micros(101), 3);
        histogram.record(Duration::from_secs(11));
        let read = histogram.read();
        assert_eq!(&read.buckets[..2], [(0.0001, 1), (0.00025, 4)]);
        assert_eq!(read.buckets.last(), Some(&(10.0, 4)));
        assert_eq!(read.count, 5);
        assert!((read.sum_seconds - 11.000_403).abs() < 1e-9, "{}", read.sum_seconds);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [LATENCY, WAITING] {
            assert!(bounds.is_sorted());
        }
    }
}
