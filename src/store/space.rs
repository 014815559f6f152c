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

/// Between two looks while publishers are held back: how late they may go on. It may take days.
const LOOK_LOW: Duration = Duration::from_millis(100);

/// Bytes that a user without privileges may still write to the file system of a directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
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
    if free_bytes < enough {
        return (Space::Low { free_bytes, limit_bytes }, LOOK_LOW);
    }
    let left = free_bytes.saturating_sub(limit_bytes);
    let wait = Duration::from_millis(left.saturating_mul(1000) / RATE_MAX);
    (Space::Enough, wait.clamp(LOOK_MIN, LOOK_MAX))
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
        let (mut wait, mut was_found) = (Duration::ZERO, true);
        while matches!(end.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            let looked = self.look();
            // Said once: what was known last stands until the space is found out again.
            if was_found && let Err(error) = &looked {
                tracing::warn!(
                    directory = %self.directory.display(),
                    %error,
                    "the free space of the data directory can't be found out: publishers are neither \
                     held back nor let go; mend the file system, or set \
                     store.disk_free_limit_bytes to 0"
                );
            }
            was_found = looked.is_ok();
            wait = looked.unwrap_or(LOOK_MAX);
        }
    }

    /// Measures and tells; answers when to look again.
    fn look(&self) -> io::Result<Duration> {
        // Before the disk: what is written in between counts twice, and not never.
        let in_flight = self.inbox.in_flight_bytes();
        let free_bytes = free_bytes(&self.directory)?;
        let before = self.space.borrow().clone();
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
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    use super::*;

    const LIMIT: u64 = 1_000_000;
    const DEADLINE: Duration = Duration::from_secs(10);

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
    fn while_room_is_low_a_look_is_rare_enough_to_go_on_for_days() {
        assert_eq!(judge(&Space::Enough, LIMIT - 1, 0, LIMIT).1, LOOK_LOW);
    }

    /// A limit that no disk has stands for a disk that is full.
    #[test]
    fn the_thread_tells_ends_with_its_owner_and_survives_a_directory_that_is_gone() {
        for (directory, limit_bytes, is_low) in
            [("/", u64::MAX, true), ("/", 1, false), ("/proc/no/such/directory", u64::MAX, false)]
        {
            let (sender, end) = sync_channel(1);
            let space = watch::Sender::new(Space::Enough);
            let told = space.subscribe();
            let inbox = Arc::new(Inbox::new(LIMIT));
            let watch = SpaceWatch { directory: directory.into(), limit_bytes, inbox, space };
            let thread = std::thread::spawn(move || watch.run(&end));
            let start = Instant::now();
            while is_low && !low(&told.borrow()) {
                assert!(start.elapsed() < DEADLINE, "{directory} with {limit_bytes}");
                std::thread::yield_now();
            }
            drop(sender);
            thread.join().expect("no panic");
            assert_eq!(low(&told.borrow()), is_low, "{directory} with {limit_bytes}");
        }
    }

    #[test]
    fn the_free_space_of_a_directory_is_found() {
        assert!(free_bytes(Path::new("/")).expect("it is there") > 0);
    }
}
