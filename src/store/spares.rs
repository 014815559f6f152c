//! Segments that nobody needs any more, kept to be written over by the next ones.
//!
//! Blocks that were written before are synced in half the time of new ones: nothing but the bytes
//! has to reach the disk. The upkeep puts them here, the committer takes them. Owner of their
//! files, a few, and not for long.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::files::Files;
use super::ledger::SegmentNumber;
use super::{Space, StoreSettings, segment};

const EXTENSION: &str = ".spare";

/// One to be written over while the next one is emptied.
const KEPT_MAX: usize = 2;

pub(super) struct Spares {
    files: Arc<dyn Files>,
    /// Shorter ones aren't worth their place.
    len_min: u64,
    space: watch::Receiver<Space>,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The numbers that they had as segments.
    numbers: Vec<SegmentNumber>,
    /// Since [`Spares::remove_unused`].
    was_used: bool,
}

impl Spares {
    /// Takes up those that a crash has left: to remove them takes longer than a start should. The
    /// names in the directory must have been synced before.
    pub(super) fn new(
        files: &Arc<dyn Files>,
        settings: &StoreSettings,
        space: watch::Receiver<Space>,
    ) -> Self {
        let (files, len_min) = (Arc::clone(files), settings.segment_size_bytes);
        let number = |name: &String| name.strip_suffix(EXTENSION)?.parse().ok();
        let numbers = files.list().unwrap_or_default().iter().filter_map(number).collect();
        let kept = Mutex::new(Kept { numbers, was_used: false });
        Self { files, len_min, space, kept }
    }

    /// Takes a segment that nobody needs; not when there are enough, nor when the disk has no room
    /// for it. Its new name is durable before it can be written over: no segment may come back with
    /// another's bytes.
    pub(super) fn keep(&self, number: SegmentNumber) -> io::Result<bool> {
        let segment = segment::file_name(number);
        let is_enough = self.kept.lock().numbers.len() >= KEPT_MAX;
        if is_enough || self.is_narrow() || self.files.len(&segment)? < self.len_min {
            return Ok(false);
        }
        self.files.rename(&segment, &file_name(number))?;
        self.files.sync_names()?;
        let mut kept = self.kept.lock();
        kept.numbers.push(number);
        kept.was_used = true;
        Ok(true)
    }

    /// The name of a file to be written over.
    pub(super) fn take(&self) -> Option<String> {
        let mut kept = self.kept.lock();
        kept.was_used = true;
        kept.numbers.pop().map(file_name)
    }

    /// Removes them when the disk has no room.
    pub(super) fn make_room(&self) {
        if self.is_narrow() {
            self.remove();
        }
    }

    /// Removes them when none came or went since this was called last.
    pub(super) fn remove_unused(&self) {
        if !std::mem::take(&mut self.kept.lock().was_used) {
            self.remove();
        }
    }

    pub(super) fn remove(&self) {
        let numbers = std::mem::take(&mut self.kept.lock().numbers);
        for name in numbers.into_iter().map(file_name) {
            if let Err(error) = self.files.remove(&name) {
                tracing::warn!(
                    file = %self.files.described(&name).display(),
                    %error,
                    "a file that was kept to be written over can't be removed; the next start \
                     tries again"
                );
            }
        }
    }

    fn is_narrow(&self) -> bool {
        matches!(*self.space.borrow(), Space::Low { .. })
    }
}

fn file_name(number: SegmentNumber) -> String {
    format!("{number:020}{EXTENSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::gather::Gather;
    use crate::store::simulated::SimulatedDisk;

    const SIZE: usize = 100;

    fn spares(disk: &SimulatedDisk) -> Spares {
        let settings =
            StoreSettings { segment_size_bytes: SIZE as u64, ..StoreSettings::default() };
        let files: Arc<dyn Files> = Arc::new(disk.clone());
        Spares::new(&files, &settings, watch::Sender::new(Space::Enough).subscribe())
    }

    fn keep(disk: &SimulatedDisk, spares: &Spares, number: SegmentNumber, len: usize) -> bool {
        let mut bytes = Gather::default();
        bytes.buffer().resize(len, 1);
        let mut file = disk.create(&segment::file_name(number)).expect("a new one");
        file.append(&mut bytes).expect("no fault");
        spares.keep(number).expect("no fault")
    }

    #[test]
    fn long_ones_are_kept_and_few_of_them() {
        let disk = SimulatedDisk::new();
        let spares = spares(&disk);
        assert!(!keep(&disk, &spares, 1, SIZE - 1));
        assert!(keep(&disk, &spares, 2, SIZE) && keep(&disk, &spares, 3, SIZE + 1));
        assert!(!keep(&disk, &spares, 4, SIZE), "there are enough");
        let taken = spares.take().expect("there are two");
        assert!(disk.names().contains(&taken));
        assert!(keep(&disk, &spares, 5, SIZE));
    }

    #[test]
    fn those_of_a_run_before_are_taken_up() {
        let disk = SimulatedDisk::new();
        assert!(keep(&disk, &spares(&disk), 7, SIZE));
        let taken = spares(&disk).take();
        assert_eq!(taken, Some(file_name(7)));
    }

    #[test]
    fn those_that_nobody_needed_go() {
        let disk = SimulatedDisk::new();
        let spares = spares(&disk);
        assert!(keep(&disk, &spares, 1, SIZE));
        spares.remove_unused();
        assert_eq!(disk.names().len(), 1, "it has only come");
        spares.remove_unused();
        assert!(disk.names().is_empty());
        assert_eq!(spares.take(), None);
    }
}
