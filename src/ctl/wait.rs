//! Asking again until something is so.

use std::thread;
use std::time::{Duration, Instant};

use super::failure::Failure;

/// Asks every so often, at least once and until there is an answer; after `longest`, fails with
/// exit code 75 and says what was last seen.
pub(super) fn until<T>(
    what: &str,
    every: Duration,
    longest: Option<Duration>,
    mut ask: impl FnMut() -> Result<Result<T, String>, Failure>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        let seen = match ask()? {
            Ok(answer) => return Ok(answer),
            Err(seen) => seen,
        };
        let waited = begun.elapsed();
        let left = longest.map(|longest| longest.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            let seconds = waited.as_secs();
            return Err(Failure::timeout(format!("{what}: not within {seconds} s: {seen}")));
        }
        thread::sleep(left.map_or(every, |left| every.min(left)));
    }
}
