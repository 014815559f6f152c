//! A data directory that no broker has open, looked at without changing it: checked, dumped, and
//! saved into a new one.
//!
//! ```text
//! DIR/lock     shared while we look, so that no broker begins meanwhile
//! DIR/catalog  copied, because sled changes what it opens
//! DIR/log      read through an overlay (`overlay.rs`), folded by recovery's own code (`fold.rs`)
//! ```
//!
//! Owner of the temporary directory that all of this writes to.

mod check;
mod dump;
mod fold;
mod overlay;
mod repair;
mod report;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use tempfile::TempDir;

pub use check::check;
pub use dump::{DumpFilter, Dumped, DumpedMessage, dump};
pub use fold::Watch;
pub use repair::{Repaired, repair};
pub use report::{FileReport, Problem, ProblemKind, QueueName, QueueReport, Report};

use self::overlay::Overlay;
use super::OpenError;
use super::catalog::{Kept, SledCatalog};
use super::index_file::IndexFile;
use super::ledger::SegmentNumber;
use super::recovery::{Found, foreign};
use super::segment::{self, Head, SegmentError};

/// What is in the place of sled's checkpoint.
enum Catalog {
    Whole,
    Missing,
    /// Why it can't be read.
    Damaged(String),
    /// Of another log: a segment has another salt than it knows.
    Foreign(SegmentNumber),
}

/// A data directory that is being looked at.
struct DataDirectory {
    path: PathBuf,
    files: Arc<Overlay>,
    found: Found,
    catalog: Catalog,
    /// Held for as long as we look.
    _lock: Option<File>,
    scratch: TempDir,
}

impl DataDirectory {
    /// Answers with it what sled holds, as far as it can be trusted.
    fn open(path: &Path) -> Result<(Self, Kept), OpenError> {
        let log = path.join("log");
        if !log.is_dir() {
            return Err(OpenError::new(format!(
                "{} is not a data directory: there is no directory {} in it; name the one that \
                 store.data_dir of the broker names",
                path.display(),
                log.display()
            )));
        }
        let lock = lock(path)?;
        let scratch = scratch()?;
        let at = |name: &str| scratch.path().join(name);
        ["log", "none"]
            .iter()
            .try_for_each(|name| std::fs::create_dir(at(name)))
            .map_err(|error| no_scratch(&error))?;
        let files = Arc::new(Overlay::new(log, at("log")));
        let mut found = Found::in_log(&*files).map_err(|error| cannot_read(path, &error))?;
        let (mut catalog, mut kept) = read_catalog(&path.join("catalog"), &at("catalog"))?;
        if let Some(number) = foreign(&found, &kept) {
            (catalog, kept) = (Catalog::Foreign(number), Kept::default());
        }
        mend_heads(&files, &mut found, &kept);
        let (path, lock) = (path.to_owned(), lock);
        Ok((Self { path, files, found, catalog, _lock: lock, scratch }, kept))
    }

    /// The log as it is, to be read with changes of its own that nothing is written of.
    fn overlay(&self) -> Overlay {
        Overlay::new(self.path.join("log"), self.scratch.path().join("none"))
    }

    /// Refuses what another version wrote, and what can't be read at all.
    fn refuse_other_formats(&self) -> Result<(), OpenError> {
        for (number, error) in &self.found.unreadable {
            if let SegmentError::OtherFormat(version) = error {
                let path = self.path.join("log").join(segment::file_name(*number));
                return Err(OpenError::new(SegmentError::other_format(&path, *version)));
            }
        }
        Ok(())
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> OpenError {
    OpenError::new(format!(
        "cannot read {}: {error}; run this as the user that the broker runs as",
        path.display()
    ))
}

fn no_scratch(error: &io::Error) -> OpenError {
    OpenError::new(format!(
        "cannot write to the directory for temporary files {}: {error}; name another one in the \
         environment variable TMPDIR",
        std::env::temp_dir().display()
    ))
}

fn scratch() -> Result<TempDir, OpenError> {
    tempfile::Builder::new().prefix("ferrymqctl-").tempdir().map_err(|error| no_scratch(&error))
}

/// A shared lock on the lock file, which is not changed by it. Without the file nobody has it.
fn lock(directory: &Path) -> Result<Option<File>, OpenError> {
    let path = directory.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(&path, &error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(format!(
            "the data directory {} is in use by a ferrymq process; stop that one, or look at a copy \
             of the directory",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(OpenError::new(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// Reads a copy of sled's directory.
fn read_catalog(catalog: &Path, copy: &Path) -> Result<(Catalog, Kept), OpenError> {
    let damaged = |why: String| (Catalog::Damaged(why), Kept::default());
    if !catalog.try_exists().is_ok_and(|exists| exists) {
        return Ok((Catalog::Missing, Kept::default()));
    }
    if !catalog.is_dir() {
        return Ok(damaged("it is not a directory".to_owned()));
    }
    if !catalog.join("db").is_file() {
        return Ok(damaged("the file db in it is missing".to_owned()));
    }
    match copy_all(catalog, copy) {
        Ok(()) => {}
        Err(CopyError::Read(error)) => return Ok(damaged(error.to_string())),
        Err(CopyError::Write(error)) => return Err(no_scratch(&error)),
    }
    Ok(match SledCatalog::open(copy) {
        Ok((_, kept)) => (Catalog::Whole, kept),
        Err(why) => damaged(why),
    })
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

fn copy_all(from: &Path, to: &Path) -> Result<(), CopyError> {
    std::fs::create_dir(to).map_err(CopyError::Write)?;
    for entry in std::fs::read_dir(from).map_err(CopyError::Read)? {
        let entry = entry.map_err(CopyError::Read)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_all(&from, &to)?;
            continue;
        }
        let mut source = File::open(&from).map_err(CopyError::Read)?;
        let mut target = File::create(&to).map_err(CopyError::Write)?;
        io::copy(&mut source, &mut target).map_err(CopyError::Write)?;
    }
    Ok(())
}

/// A damaged head hides the salt, without which nothing in a segment can be trusted. The catalog
/// and the segment's index know it, too.
fn mend_heads(files: &Overlay, found: &mut Found, kept: &Kept) {
    let facts: BTreeMap<SegmentNumber, _> = kept.segments.iter().copied().collect();
    let damaged = found.unreadable.iter().filter(|(_, e)| matches!(e, SegmentError::DamagedHead));
    for (number, _) in damaged {
        let by_index = || {
            let index = files.original(&segment::index_file_name(*number)).ok()?;
            IndexFile::segment(index).map(|(salt, _)| salt)
        };
        let Some(salt) = facts.get(number).map(|facts| facts.salt).or_else(by_index) else {
            continue;
        };
        let (epoch, mut head) = (found.last_epoch, BytesMut::new());
        segment::put_head(&mut head, epoch, salt);
        files.mend_head(segment::file_name(*number), head.freeze());
        found.heads.insert(*number, Head { epoch, salt });
    }
}
