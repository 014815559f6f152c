//! How many logins there were, and how many of them were refused: in all, and by where they came
//! from.
//!
//! Owner of the counts, which begin anew with the broker.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Most sources of a protocol that are told apart; with more, the one that has been silent for
/// longest is forgotten.
const SOURCES_MAX: usize = 1000;

/// Bytes of a name that are kept: nobody has a longer one.
const NAME_LEN_MAX: usize = 255;

/// What somebody comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginProtocol {
    Amqp,
    Http,
}

impl LoginProtocol {
    pub const ALL: [Self; 2] = [Self::Amqp, Self::Http];

    /// RabbitMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amqp => "amqp091",
            Self::Http => "http",
        }
    }
}

/// The logins by one protocol.
#[derive(Debug, Default)]
pub struct Attempts {
    succeeded: AtomicU64,
    failed: AtomicU64,
    sources: Mutex<Sources>,
}

/// From where somebody tried, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub address: IpAddr,
    pub user: String,
}

/// The logins from one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    pub succeeded: u64,
    pub failed: u64,
    /// The number of the last one among all.
    last: u64,
}

#[derive(Debug, Default)]
struct Sources {
    tries: HashMap<Source, Tries>,
    count: u64,
}

impl Sources {
    fn count(&mut self, source: Source, has_succeeded: bool) {
        if self.tries.len() >= SOURCES_MAX && !self.tries.contains_key(&source) {
            let silent = self.tries.iter().min_by_key(|(_, tries)| tries.last);
            if let Some(silent) = silent.map(|(source, _)| source.clone()) {
                self.tries.remove(&silent);
            }
        }
        self.count += 1;
        let tries = self.tries.entry(source).or_default();
        tries.last = self.count;
        let counter = if has_succeeded { &mut tries.succeeded } else { &mut tries.failed };
        *counter += 1;
    }
}

impl Attempts {
    pub(in crate::broker) fn count(&self, address: IpAddr, user: &str, has_succeeded: bool) {
        let counter = if has_succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let user = user.get(..user.floor_char_boundary(NAME_LEN_MAX)).unwrap_or_default();
        let source = Source { address: address.to_canonical(), user: user.to_owned() };
        self.sources.lock().count(source, has_succeeded);
    }

    /// The logins by where they came from and as whom, in this order.
    pub fn by_source(&self) -> Vec<(Source, Tries)> {
        let sources = self.sources.lock();
        let all = sources.tries.iter().map(|(source, tries)| (source.clone(), *tries));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Begins to tell sources apart anew.
    pub fn reset_sources(&self) {
        *self.sources.lock() = Sources::default();
    }

    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.succeeded.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_sources_are_told_apart_and_the_most_silent_is_forgotten() {
        let attempts = Attempts::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        attempts.count(address, "ann", true);
        for number in 0..SOURCES_MAX {
            attempts.count(address, &format!("{number:04}"), false);
            attempts.count(address, "ann", false);
        }
        let by_source = attempts.by_source();
        assert_eq!(by_source.len(), SOURCES_MAX);
        assert_eq!(by_source[0].0.user, "0001", "the first one is forgotten");
        let (_, ann) = by_source.last().expect("there are some");
        assert_eq!((ann.succeeded, ann.failed), (1, SOURCES_MAX as u64));
        attempts.count(address, &"é".repeat(200), false);
        assert!(attempts.by_source().iter().any(|(source, _)| source.user == "é".repeat(127)));
    }
}
