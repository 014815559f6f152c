//! Whether the disk has room: publishers are held back before it is full.
//!
//! One thread that looks the more often the nearer the limit is. What is on its way to the disk is
//! taken for written. Room is back when there is a quarter more than the limit, so that it doesn't
//! come and go.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::watch;

use super::Space;
use super::inbox::Inbox;

/// What the log grows by in a second at most: more than disks that we know take.
const RATE_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Between two looks.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Bytes that a user without privileges may still write to the file system of a directory.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// How it is after a look, and when to look again.
fn judge(before: &Space, free_bytes: u64, in_flight: u64, limit_bytes: u64) -> (Space, Duration) {
    let free_bytes = free_bytes.saturating_sub(in_flight);
    let enough = match before {
        Space::Enough => limit_bytes,
        Space::Low { .. } => limit_bytes.saturating_add(limit_bytes / 4),
    };
    let left = free_bytes.saturating_sub(limit_bytes);
    let wait = Duration::from_millis(left.saturating_mul(1000) / RATE_MAX);
    let space = match free_bytes >= enough {
        true => Space::Enough,
        false => Space::Low { free_bytes, limit_bytes },
    };
    (space, wait.clamp(LOOK_MIN, LOOK_MAX))
}

/// Looks after the room of a directory.
pub(super) struct SpaceWatch {
    pub(super) directory: PathBuf,
    pub(super) limit_bytes: u64,
    pub(super) inbox: Arc<Inbox>,
    pub(super) space: watch::Sender<Space>,
}

impl SpaceWatch {
    /// Runs until `end` is closed.
    pub(super) fn run(self, end: &Receiver<()>) {
        let mut wait = Duration::ZERO;
        while matches!(end.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            wait = self.look();
        }
    }

    fn look(&self) -> Duration {
        let free_bytes = match free_bytes(&self.directory) {
            Ok(free_bytes) => free_bytes,
            Err(error) => {
                tracing::warn!(
                    directory = %self.directory.display(),
                    %error,
                    "the free space of the data directory can't be found out: nobody is held back"
                );
                return LOOK_MAX;
            }
        };
        let before = self.space.borrow().clone();
        let in_flight = self.inbox.in_flight_bytes();
        let (space, wait) = judge(&before, free_bytes, in_flight, self.limit_bytes);
        match (&before, &space) {
            (Space::Enough, Space::Low { .. }) => tracing::warn!(
                directory = %self.directory.display(),
                free_bytes,
                limit_bytes = self.limit_bytes,
                "the disk is nearly full: publishers are held back until there is room; consume \
                 messages, remove other files, or lower store.disk_free_limit_bytes"
            ),
            (Space::Low { .. }, Space::Enough) => {
                tracing::info!(free_bytes, "there is room on the disk again: publishers go on");
            }
            _ => {}
        }
        if std::mem::discriminant(&before) != std::mem::discriminant(&space) {
            self.space.send_replace(space);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn low(space: &Space) -> bool {
        matches!(space, Space::Low { .. })
    }

    #[test]
    fn what_is_on_its_way_counts_as_written() {
        assert!(!low(&judge(&Space::Enough, LIMIT, 0, LIMIT).0));
        assert!(low(&judge(&Space::Enough, LIMIT, 1, LIMIT).0));
    }

    #[test]
    fn room_is_back_when_there_is_a_quarter_more() {
        let (before, _) = judge(&Space::Enough, LIMIT - 1, 0, LIMIT);
        assert!(low(&before));
        assert!(low(&judge(&before, LIMIT + LIMIT / 4 - 1, 0, LIMIT).0));
        assert!(!low(&judge(&before, LIMIT + LIMIT / 4, 0, LIMIT).0));
    }

    #[test]
    fn a_disk_can_not_be_filled_between_two_looks() {
        for free in [LIMIT, 10 * LIMIT, 1000 * LIMIT, 1_000_000 * LIMIT] {
            let (_, wait) = judge(&Space::Enough, free, 0, LIMIT);
            let written = u64::try_from(wait.as_millis()).expect("short") * (RATE_MAX / 1000);
            assert!(wait == LOOK_MIN || written <= free - LIMIT, "{free}: {wait:?}");
            assert!(wait <= LOOK_MAX);
        }
    }

    #[test]
    fn the_free_space_of_a_directory_is_found() {
        assert!(free_bytes(Path::new("/")).expect("it is there") > 0);
    }
}
