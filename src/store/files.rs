//! The files of the log as the store uses them: made, appended to, synced, read in parts, removed.
//!
//! A trait, so that the same store runs on a simulated disk that loses what was not synced
//! (`simulated.rs`). Names are those in one directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::protocol::gather::Gather;

/// Most that is reserved at a time.
pub(super) const RESERVE_MAX: usize = 256 * 1024;

/// A file that is being written.
pub(super) trait FileWriter: Send {
    /// Writes bytes at the end, over what stands behind it; they are durable after
    /// [`FileWriter::sync`].
    fn append(&mut self, bytes: &mut Gather) -> io::Result<()>;

    fn sync(&mut self) -> io::Result<()>;

    /// Writes zeros behind the end, which stays where it is: what is appended next overwrites them
    /// and so changes no length, which makes a sync of it cheaper.
    fn reserve(&mut self, len: usize) -> io::Result<()>;

    /// Takes back what stands behind the end, durably.
    fn trim(&mut self) -> io::Result<()>;
}

/// A file that is read in parts.
pub(super) trait FileReader: Send {
    /// Exactly so many bytes; fewer are an error.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;
}

/// A directory.
pub(super) trait Files: Send + Sync + 'static {
    /// The names in it, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file; one that is there is an error. Its name is durable after
    /// [`Files::sync_names`].
    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>>;

    fn open(&self, name: &str) -> io::Result<Box<dyn FileReader>>;

    fn len(&self, name: &str) -> io::Result<u64>;

    /// Opens a file that is there, to be written from an offset on over what it holds.
    fn write_over(&self, name: &str, from: u64) -> io::Result<Box<dyn FileWriter>>;

    /// Gives a file a name that no other has. It has the one or the other until
    /// [`Files::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Cuts a file to this length, durably.
    fn cut(&self, name: &str, len: u64) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    fn sync_names(&self) -> io::Result<()>;

    /// What to call a file in a message to an operator.
    fn described(&self, name: &str) -> PathBuf;
}

/// A directory of the operating system.
pub(super) struct Directory(pub(super) PathBuf);

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.0.join(name))?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn FileReader>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.0.join(name))?.len())
    }

    fn write_over(&self, name: &str, from: u64) -> io::Result<Box<dyn FileWriter>> {
        let mut file = OpenOptions::new().write(true).open(self.0.join(name))?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.0.join(name))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_directory(&self.0)
    }

    fn described(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Zeros to be reserved.
static ZEROS: [u8; RESERVE_MAX] = [0; RESERVE_MAX];

impl FileWriter for File {
    fn append(&mut self, bytes: &mut Gather) -> io::Result<()> {
        bytes.write_to(self)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&mut self, len: usize) -> io::Result<()> {
        // The place where it is written next is the end.
        let end = self.stream_position()?;
        self.write_all_at(ZEROS.get(..len).unwrap_or(&ZEROS), end)
    }

    fn trim(&mut self) -> io::Result<()> {
        let end = self.stream_position()?;
        self.set_len(end)?;
        self.sync_all()
    }
}

impl FileReader for File {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        // Into memory as it comes: to clear it first costs more than the read.
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let offset = offset.saturating_add(bytes.len() as u64);
            match rustix::io::pread(self, spare_capacity(&mut bytes), offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(len);
        Ok(bytes.into())
    }
}
