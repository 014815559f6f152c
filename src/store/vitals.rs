//! How the store is: what it has written, how long the disk took, and what it takes there.
//!
//! Counted by the committing thread, once a window, and by the reading one, once a batch; read by
//! those who ask.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::files::Files;
use crate::metrics::{Histogram, LATENCY};

/// Counted since the store was opened.
#[derive(Debug)]
pub struct Vitals {
    /// How long each fsync of the log took.
    pub sync: Histogram,
    /// Windows and bytes that were written to the log.
    pub writes: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Batches of messages that were read back, each from one file, and their bytes.
    pub reads: AtomicU64,
    pub read_bytes: AtomicU64,
}

impl Default for Vitals {
    fn default() -> Self {
        let [writes, written_bytes, reads, read_bytes] = Default::default();
        Self { sync: Histogram::new(LATENCY), writes, written_bytes, reads, read_bytes }
    }
}

/// What the store takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of all files of the data directory.
    pub size_bytes: u64,
    /// What waits to be written.
    pub in_flight_bytes: u64,
}

/// What the files in a directory and in those below it take. One that goes meanwhile takes nothing.
pub(super) fn size_of_directory(directory: &Path) -> io::Result<u64> {
    let (mut bytes, mut waiting) = (0_u64, vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

/// The same of the log alone, on a disk that isn't the system's.
pub(super) fn size_of_files(files: &dyn Files) -> io::Result<u64> {
    let lens = files.list()?.into_iter().filter_map(|name| files.len(&name).ok());
    Ok(lens.fold(0, u64::saturating_add))
}
