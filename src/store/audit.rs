//! The audit log: who changed what, as lines of text in files of their own, the oldest of which go
//! when there are too many bytes.
//!
//! It is beside the log of messages, no part of it: a line is noted in memory and written by a
//! thread, a moment later, with one fdatasync for all that wait. Nobody waits for it, and the
//! definitions don't depend on it. Owner of `DIR/audit/`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::files::{FileWriter, Files};
use crate::protocol::gather::Gather;

/// Of all files together, what one may have: the oldest of them goes as a whole.
const FILES_OF_SIZE: u64 = 16;

/// Each start may begin one.
const FILES_MAX: usize = 1024;

/// Bytes of lines that wait to be written; what comes beyond is not noted, and that is counted.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest line.
const LINE_LEN_MAX: usize = 64 * 1024;

/// Where lines go; a store without a directory, or with a size of 0, keeps none.
#[derive(Default)]
pub struct AuditLog {
    kept: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Held while it is written or read: taken before `waiting`.
    written: Mutex<Written>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines for which there was no room.
    lost: u64,
    ended: bool,
}

struct Written {
    files: Arc<dyn Files>,
    size_bytes_max: u64,
    /// Number and length of each, oldest first.
    present: VecDeque<(u64, u64)>,
    current: Option<Box<dyn FileWriter>>,
}

impl AuditLog {
    /// Keeps lines in a directory of their own, up to so many bytes.
    pub(super) fn open(files: Arc<dyn Files>, size_bytes_max: u64) -> io::Result<Self> {
        let mut present = Vec::new();
        for name in files.list()? {
            if let Some(number) = number_of(&name) {
                present.push((number, files.len(&name)?));
            }
        }
        present.sort_unstable();
        let written = Written { files, size_bytes_max, present: present.into(), current: None };
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            came: Condvar::new(),
            written: Mutex::new(written),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store-audit".to_owned());
        let thread = thread.spawn(move || of_thread.run())?;
        Ok(Self { kept: Some(shared), thread: Some(thread) })
    }

    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Notes a line. Never waits for the disk.
    pub fn note(&self, line: String) {
        let Some(shared) = &self.kept else { return };
        let mut waiting = shared.waiting.lock();
        let bytes = waiting.bytes.saturating_add(line.len());
        if bytes > WAITING_BYTES_MAX || line.len() > LINE_LEN_MAX {
            waiting.lost = waiting.lost.saturating_add(1);
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line);
        drop(waiting);
        shared.came.notify_one();
    }

    /// Writes what waits. Blocks.
    pub fn flush(&self) {
        if let Some(shared) = &self.kept {
            shared.write(&mut shared.written.lock());
        }
    }

    /// Shows lines, the newest first, until `each` has enough. Blocks.
    pub fn read(&self, mut each: impl FnMut(&str) -> bool) -> io::Result<()> {
        let Some(shared) = &self.kept else { return Ok(()) };
        let present = {
            let mut written = shared.written.lock();
            shared.write(&mut written);
            (Arc::clone(&written.files), written.present.clone())
        };
        let (files, present) = present;
        for (number, len) in present.iter().rev() {
            let name = name_of(*number);
            let len = usize::try_from(*len).unwrap_or(usize::MAX);
            let bytes = match files.open(&name).and_then(|file| file.read_at(0, len)) {
                Ok(bytes) => bytes,
                // It has gone since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in String::from_utf8_lossy(&bytes).lines().rev() {
                if !each(line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Some(shared) = &self.kept {
            shared.waiting.lock().ended = true;
            shared.came.notify_one();
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit log has panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let ended = {
                let mut waiting = self.waiting.lock();
                while waiting.lines.is_empty() && !waiting.ended {
                    self.came.wait(&mut waiting);
                }
                waiting.ended
            };
            self.write(&mut self.written.lock());
            if ended {
                return;
            }
        }
    }

    fn write(&self, written: &mut MutexGuard<'_, Written>) {
        let (lines, lost) = {
            let mut waiting = self.waiting.lock();
            waiting.bytes = 0;
            (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.lost))
        };
        if lost > 0 {
            tracing::error!(lost, "changes came too fast for the audit log: it doesn't have them");
        }
        if lines.is_empty() {
            return;
        }
        if let Err(error) = written.append(&lines) {
            // The next lines go to another file.
            written.current = None;
            tracing::error!(%error, lines = lines.len(), "the audit log cannot be written");
        }
    }
}

impl Written {
    fn append(&mut self, lines: &VecDeque<String>) -> io::Result<()> {
        let mut bytes = Gather::default();
        for line in lines {
            bytes.buffer().extend_from_slice(line.as_bytes());
            bytes.buffer().extend_from_slice(b"\n");
        }
        let len = bytes.len() as u64;
        let file_len_max = (self.size_bytes_max / FILES_OF_SIZE).max(1);
        if self.present.back().is_some_and(|(_, present)| *present >= file_len_max) {
            self.current = None;
        }
        if self.current.is_none() {
            let number = self.present.back().map_or(1, |(last, _)| last.saturating_add(1));
            self.current = Some(self.files.create(&name_of(number))?);
            self.files.sync_names()?;
            self.present.push_back((number, 0));
        }
        if let Some(file) = &mut self.current {
            file.append(&mut bytes)?;
            file.sync()?;
        }
        if let Some((_, present)) = self.present.back_mut() {
            *present = present.saturating_add(len);
        }
        self.make_room()
    }

    /// The file that is being written stays.
    fn make_room(&mut self) -> io::Result<()> {
        let mut bytes: u64 = self.present.iter().map(|(_, len)| *len).sum();
        while self.present.len() > 1
            && (bytes > self.size_bytes_max || self.present.len() > FILES_MAX)
            && let Some((number, len)) = self.present.pop_front()
        {
            bytes = bytes.saturating_sub(len);
            self.files.remove(&name_of(number))?;
        }
        Ok(())
    }
}

fn name_of(number: u64) -> String {
    format!("{number:020}.jsonl")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".jsonl")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::Directory;

    fn open(directory: &tempfile::TempDir, size_bytes_max: u64) -> AuditLog {
        let files = Arc::new(Directory(directory.path().to_owned()));
        AuditLog::open(files, size_bytes_max).expect("it opens")
    }

    fn read(log: &AuditLog) -> Vec<String> {
        let mut lines = Vec::new();
        log.read(|line| {
            lines.push(line.to_owned());
            true
        })
        .expect("it can be read");
        lines
    }

    #[test]
    fn lines_are_read_newest_first_and_survive() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(&directory, 1024);
        ["a", "b"].into_iter().for_each(|line| log.note(line.to_owned()));
        assert_eq!(read(&log), ["b", "a"]);
        drop(log);
        let log = open(&directory, 1024);
        log.note("c".to_owned());
        assert_eq!(read(&log), ["c", "b", "a"]);
        assert_eq!(read(&AuditLog::default()), [""; 0]);
    }

    #[test]
    fn the_oldest_lines_go_when_there_are_too_many_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(&directory, 1600);
        for number in 0..1000 {
            log.note(format!("{number:09}"));
            log.flush();
        }
        let lines = read(&log);
        assert!((140..=160).contains(&lines.len()), "{}", lines.len());
        assert_eq!(lines.first().map(String::as_str), Some("000000999"));
        drop(log);
        assert_eq!(read(&open(&directory, 1600)), lines);
    }
}
