//! A log that is read as if it could be changed: what recovery writes, cuts and removes goes to a
//! directory for temporary files, and the log itself stays as it is.
//!
//! Owner of the temporary directory's files. What the disk refuses to read comes as zeros, so that
//! a bad sector costs what stands on it and no more: its CRCs say so.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::store::files::{Directory, FileReader, FileWriter, Files};

/// Where reading fails, it is tried in pieces of this length: a disk's own unit.
const SECTOR: usize = 4096;

pub(super) struct Overlay {
    original: Directory,
    scratch: Directory,
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    removed: HashSet<String>,
    lengths: HashMap<String, u64>,
    heads: HashMap<String, Bytes>,
}

impl Overlay {
    pub(super) fn new(original: PathBuf, scratch: PathBuf) -> Self {
        let (original, scratch) = (Directory(original), Directory(scratch));
        Self { original, scratch, changes: Mutex::default() }
    }

    /// The file as it is on disk; what it holds may be changed in the overlay.
    pub(super) fn original(&self, name: &str) -> io::Result<Box<dyn FileReader>> {
        self.original.open(name)
    }

    /// From now on a file begins with these bytes.
    pub(super) fn mend_head(&self, name: String, head: Bytes) {
        self.changes.lock().heads.insert(name, head);
    }
}

impl Files for Overlay {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.original.list()?;
        names.retain(|name| !self.changes.lock().removed.contains(name));
        names.extend(self.scratch.list()?);
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        self.scratch.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn FileReader>> {
        match self.scratch.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let changes = self.changes.lock();
        if changes.removed.contains(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let head = changes.heads.get(name).cloned().unwrap_or_default();
        Ok(Box::new(Patient { file: self.original.open(name)?, head }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        match self.scratch.len(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let cut = self.changes.lock().lengths.get(name).copied();
        cut.map_or_else(|| self.original.len(name), Ok)
    }

    /// Only a log that is being written needs it.
    fn write_over(&self, _: &str, _: u64) -> io::Result<Box<dyn FileWriter>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As above.
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        self.changes.lock().lengths.insert(name.to_owned(), len);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.scratch.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.changes.lock().removed.insert(name.to_owned());
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn described(&self, name: &str) -> PathBuf {
        self.original.described(name)
    }
}

/// A file that is read although parts of it can't be.
struct Patient {
    file: Box<dyn FileReader>,
    /// What stands in the place of its first bytes.
    head: Bytes,
}

impl Patient {
    /// All that can be read, zeros between.
    fn in_pieces(&self, offset: u64, len: usize) -> Bytes {
        let mut bytes = BytesMut::zeroed(len);
        let mut at = offset;
        for piece in bytes.chunks_mut(SECTOR) {
            if let Ok(read) = self.file.read_at(at, piece.len()) {
                piece.copy_from_slice(&read);
            }
            at = at.saturating_add(piece.len() as u64);
        }
        bytes.freeze()
    }
}

impl FileReader for Patient {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let bytes = match self.file.read_at(offset, len) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                self.in_pieces(offset, len)
            }
            read => read?,
        };
        let covered = usize::try_from(offset).ok().and_then(|offset| self.head.get(offset..));
        let Some(head) = covered.filter(|head| !head.is_empty()) else { return Ok(bytes) };
        let mut mended = BytesMut::from(bytes);
        mended.iter_mut().zip(head).for_each(|(byte, mended)| *byte = *mended);
        Ok(mended.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with a bad sector: everything that touches it fails.
    struct BadSector(Bytes);

    impl FileReader for BadSector {
        fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
            let from = usize::try_from(offset).expect("small");
            if from < 2 * SECTOR && from + len > SECTOR {
                return Err(io::Error::other("a bad sector"));
            }
            Ok(self.0.slice(from..from + len))
        }
    }

    #[test]
    fn a_bad_sector_reads_as_zeros_and_costs_no_other_byte() {
        let whole = Bytes::from(vec![7; 3 * SECTOR]);
        let patient = Patient { file: Box::new(BadSector(whole)), head: Bytes::new() };
        let bytes = patient.read_at(0, 3 * SECTOR).expect("zeros at worst");
        let expected = [vec![7; SECTOR], vec![0; SECTOR], vec![7; SECTOR]].concat();
        assert!(bytes == expected);
    }

    #[test]
    fn a_mended_head_stands_in_the_place_of_the_damaged_one() {
        let file = Box::new(BadSector(Bytes::from(vec![7; SECTOR])));
        let patient = Patient { file, head: Bytes::from_static(&[1, 2, 3]) };
        assert_eq!(patient.read_at(0, 2).expect("there").as_ref(), [1, 2]);
        assert_eq!(patient.read_at(2, 2).expect("there").as_ref(), [3, 7]);
        assert_eq!(patient.read_at(3, 2).expect("there").as_ref(), [7, 7]);
    }
}
