//! A disk in memory that fails by script and loses what was not synced: what the store and the
//! broker are tested on.
//!
//! The store on it is the one that serves ([`super::open`]); only the files and sled are not real.
//! After [`SimulatedDisk::power_cut`] there is what a machine without power would find: synced
//! bytes for certain, the others as it happens.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::catalog::{Catalog, Checkpoint, Kept, KeptLedger, SeenPieces};
use super::definition::Definition;
use super::disk::{Ground, begin};
use super::files::{FileReader, FileWriter, Files};
use super::ledger::SegmentNumber;
use super::record::QueueId;
use super::recovery::{look, recover};
use super::state::{CatalogKey, SegmentFacts};
use super::{OpenError, Opened, Space, StoreSettings};
use crate::protocol::gather::Gather;

/// What a disk writes as a whole; short, as the segments of tests are.
const SECTOR: usize = 64;

/// What goes wrong with an operation that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails; nothing of it was done.
    Fails,
    /// It fails, but was done: its outcome is unknown.
    FailsAfterwards,
    /// The machine loses power in the middle of it: it and all that come after it fail.
    PowerCut,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Shared>);

struct Shared {
    disk: Mutex<Disk>,
    released: Condvar,
    space: watch::Sender<Space>,
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, SimulatedFile>,
    /// Removed, but the removal is not synced: a power cut may bring them back.
    removed: BTreeMap<String, SimulatedFile>,
    checkpoint: SimulatedCheckpoint,
    /// Operations that write, since the disk was made.
    operations: u64,
    /// What goes wrong with which of them.
    fault: Option<(u64, Fault)>,
    /// What goes wrong with the next write to a segment.
    append_fault: Option<Fault>,
    has_power: bool,
    held: bool,
    /// An operation waits until it is let go.
    is_waited_for: bool,
}

#[derive(Clone, Default)]
struct SimulatedFile {
    /// What was written, and what stands behind it: zeros that were reserved, or older bytes.
    bytes: Vec<u8>,
    /// Where the next write goes.
    end: usize,
    /// What is synced of it: the length, and below that all but what was written over since. That
    /// is from `over_from` to `end`, where these bytes stood.
    synced_len: usize,
    over_from: usize,
    over: Vec<u8>,
    name_synced: bool,
    /// The name that it has on disk until its own is synced, when it was renamed.
    synced_name: Option<String>,
}

/// What stands for sled.
#[derive(Clone, Default)]
struct SimulatedCheckpoint {
    position: u64,
    epoch: u32,
    definitions: BTreeMap<CatalogKey, Definition>,
    ledgers: BTreeMap<QueueId, KeptLedger>,
    seen: SeenPieces,
    segments: BTreeMap<SegmentNumber, SegmentFacts>,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    pub fn new() -> Self {
        Self::with(Disk::default())
    }

    fn with(disk: Disk) -> Self {
        let disk = Mutex::new(Disk { has_power: true, ..disk });
        let space = watch::Sender::new(Space::Enough);
        Self(Arc::new(Shared { disk, released: Condvar::new(), space }))
    }

    /// Says how much room there is.
    pub fn set_space(&self, space: Space) {
        self.0.space.send_replace(space);
    }

    /// Opens the store on it.
    pub fn open_store(&self, settings: &StoreSettings) -> Result<Opened, OpenError> {
        let files: Arc<dyn Files> = Arc::new(self.clone());
        let found = look(&*files)?;
        let kept = self.0.disk.lock().checkpoint.kept();
        let recovered = recover(&*files, &found, kept)?;
        let (catalog, space) = (Box::new(self.clone()), self.0.space.clone());
        begin(Ground { files, catalog, space, directory: None }, settings, recovered)
    }

    /// Operations that write, so far.
    pub fn operations(&self) -> u64 {
        self.0.disk.lock().operations
    }

    /// The operation that comes after so many others from now on has a fault; 0 is the next one.
    pub fn script(&self, after: u64, fault: Fault) {
        let mut disk = self.0.disk.lock();
        disk.fault = Some((disk.operations.saturating_add(after), fault));
    }

    /// The next write to a segment has a fault.
    pub fn script_next_append(&self, fault: Fault) {
        self.0.disk.lock().append_fault = Some(fault);
    }

    /// Lets operations wait until [`SimulatedDisk::release`].
    pub fn hold(&self) {
        self.0.disk.lock().held = true;
    }

    /// Whether an operation waits for [`SimulatedDisk::release`].
    pub fn is_waited_for(&self) -> bool {
        self.0.disk.lock().is_waited_for
    }

    pub fn release(&self) {
        self.0.disk.lock().held = false;
        self.0.released.notify_all();
    }

    /// Whether no power cut has come yet.
    pub fn has_power(&self) -> bool {
        self.0.disk.lock().has_power
    }

    /// Whether the operation that has a fault has been.
    pub fn fault_is_behind(&self) -> bool {
        let disk = self.0.disk.lock();
        disk.fault.is_some_and(|(at, _)| at < disk.operations)
    }

    /// The names of its files.
    pub fn names(&self) -> Vec<String> {
        self.0.disk.lock().files.keys().cloned().collect()
    }

    /// What another process finds after this one was killed: everything that was written.
    pub fn killed(&self) -> Self {
        let disk = self.0.disk.lock();
        let (files, checkpoint) = (disk.files.clone(), disk.checkpoint.clone());
        Self::with(Disk { files, checkpoint, ..Disk::default() })
    }

    /// What is found after a power cut at this moment. The seed chooses what becomes of bytes and
    /// names that were not synced.
    pub fn power_cut(&self, seed: u64) -> Self {
        let (disk, mut rng) = (self.0.disk.lock(), StdRng::seed_from_u64(seed));
        let mut left = Disk { checkpoint: disk.checkpoint.clone(), ..Disk::default() };
        for (name, file) in &disk.files {
            let is_new = file.name_synced || rng.random();
            if let Some(name) = if is_new { Some(name) } else { file.synced_name.as_ref() } {
                left.files.insert(name.clone(), file.after_power_cut(&mut rng));
            }
        }
        for (name, file) in &disk.removed {
            if rng.random() {
                let file = file.after_power_cut(&mut rng);
                left.files.entry(name.clone()).or_insert(file);
            }
        }
        drop(disk);
        Self::with(left)
    }

    /// Loses sled.
    pub fn lose_checkpoint(&self) {
        self.0.disk.lock().checkpoint = SimulatedCheckpoint::default();
    }

    /// Changes the bytes of files by their names.
    pub fn change_files(&self, mut change: impl FnMut(&str, &mut Vec<u8>)) {
        let mut disk = self.0.disk.lock();
        for (name, file) in &mut disk.files {
            change(name, &mut file.bytes);
            file.end = file.bytes.len();
            file.sync();
        }
    }

    /// Lets an operation that writes happen, or go wrong.
    fn operate(&self, operate: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        let mut disk = self.0.disk.lock();
        while disk.held {
            disk.is_waited_for = true;
            self.0.released.wait(&mut disk);
        }
        disk.is_waited_for = false;
        if !disk.has_power {
            return Err(io::Error::other("the power is cut"));
        }
        let number = disk.operations;
        disk.operations = number.saturating_add(1);
        match disk.fault.filter(|(at, _)| *at == number) {
            None => operate(&mut disk),
            Some((_, Fault::Fails)) => Err(io::Error::other("a scripted failure")),
            Some((_, Fault::FailsAfterwards)) => {
                operate(&mut disk)?;
                Err(io::Error::other("a scripted failure"))
            }
            Some((_, Fault::PowerCut)) => {
                disk.has_power = false;
                Err(io::Error::other("the power is cut"))
            }
        }
    }

    fn file(&self, name: &str) -> io::Result<parking_lot::MappedMutexGuard<'_, SimulatedFile>> {
        MutexGuard::try_map(self.0.disk.lock(), |disk| disk.files.get_mut(name))
            .map_err(|_| io::ErrorKind::NotFound.into())
    }
}

impl SimulatedFile {
    /// Bytes that were not synced are there or not: the length is cut anywhere, and each sector has
    /// them or what stood there before; zeros, where that is a length without bytes.
    fn after_power_cut(&self, rng: &mut StdRng) -> Self {
        let len = rng.random_range(self.synced_len..=self.bytes.len());
        let mut bytes = self.bytes.get(..len).unwrap_or_default().to_vec();
        let is_whole_up_to = rng.random_range(self.over_from..=self.end.max(self.over_from));
        let is_torn = rng.random();
        let over = self.over.iter().copied().chain(std::iter::repeat(0));
        let written = bytes.iter_mut().zip(0..).take(self.end).skip(self.over_from);
        let mut keeps = true;
        for ((byte, at), old) in written.zip(over) {
            if at % SECTOR == 0 {
                keeps = rng.random();
            }
            if is_torn && at >= is_whole_up_to && !keeps {
                *byte = old;
            }
        }
        Self {
            bytes,
            end: len,
            synced_len: len,
            over_from: len,
            name_synced: true,
            ..Self::default()
        }
    }

    fn sync(&mut self) {
        (self.synced_len, self.over_from) = (self.bytes.len(), self.end);
        self.over.clear();
    }

    /// Writes at the end, over what stands behind it.
    fn write(&mut self, bytes: &mut Gather) -> io::Result<()> {
        let mut written = Vec::new();
        bytes.write_to(&mut written)?;
        let mut behind = self.bytes.split_off(self.end).into_iter();
        self.over.extend(behind.by_ref().take(written.len()));
        self.bytes.extend_from_slice(&written);
        self.end = self.bytes.len();
        self.bytes.extend(behind);
        Ok(())
    }
}

impl Files for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.disk.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        self.operate(|disk| {
            if disk.files.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.files.insert(name.to_owned(), SimulatedFile::default());
            Ok(())
        })?;
        Ok(Box::new(Handle { disk: self.clone(), name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn FileReader>> {
        drop(self.file(name)?);
        Ok(Box::new(Handle { disk: self.clone(), name: name.to_owned() }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.bytes.len() as u64)
    }

    fn write_over(&self, name: &str, from: u64) -> io::Result<Box<dyn FileWriter>> {
        let mut file = self.file(name)?;
        file.end = usize::try_from(from).unwrap_or(usize::MAX).min(file.bytes.len());
        file.over_from = file.end;
        Ok(Box::new(Handle { disk: self.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(|disk| {
            let mut file = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            if std::mem::take(&mut file.name_synced) {
                file.synced_name = Some(from.to_owned());
            }
            disk.files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        self.operate(|disk| {
            let file = disk.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            file.end = file.bytes.len();
            file.sync();
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(|disk| {
            let file = disk.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
            if let Some(name) =
                file.synced_name.clone().or(file.name_synced.then(|| name.to_owned()))
            {
                disk.removed.insert(name, file);
            }
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.operate(|disk| {
            for file in disk.files.values_mut() {
                (file.name_synced, file.synced_name) = (true, None);
            }
            disk.removed.clear();
            Ok(())
        })
    }

    fn described(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

/// An open file.
struct Handle {
    disk: SimulatedDisk,
    name: String,
}

impl FileWriter for Handle {
    fn append(&mut self, bytes: &mut Gather) -> io::Result<()> {
        if self.name.ends_with(".seg") {
            let mut disk = self.disk.0.disk.lock();
            if let Some(fault) = disk.append_fault.take() {
                disk.fault = Some((disk.operations, fault));
            }
        }
        self.disk.operate(|disk| {
            let file = disk.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            file.write(bytes)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.operate(|disk| {
            disk.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?.sync();
            Ok(())
        })
    }

    fn reserve(&mut self, len: usize) -> io::Result<()> {
        self.disk.operate(|disk| {
            let file = disk.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            let len = file.end.saturating_add(len).max(file.bytes.len());
            file.bytes.resize(len, 0);
            Ok(())
        })
    }

    fn trim(&mut self) -> io::Result<()> {
        self.disk.operate(|disk| {
            let file = disk.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.truncate(file.end);
            file.sync();
            Ok(())
        })
    }
}

impl FileReader for Handle {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let file = self.disk.file(&self.name)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = file.bytes.get(start..start.saturating_add(len));
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Catalog for SimulatedDisk {
    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.operate(|disk| {
            disk.checkpoint.apply(checkpoint);
            Ok(())
        })
    }
}

impl SimulatedCheckpoint {
    fn kept(&self) -> Kept {
        let mut kept = Kept {
            position: self.position,
            epoch: self.epoch,
            definitions: self.definitions.values().cloned().collect(),
            ledgers: self.ledgers.values().cloned().collect(),
            segments: self.segments.iter().map(|(number, facts)| (*number, *facts)).collect(),
        };
        match kept.take_up_seen(&self.seen) {
            Ok(()) => kept,
            // As sled's directory is put aside.
            Err(_) => Kept::default(),
        }
    }

    fn apply(&mut self, checkpoint: &Checkpoint) {
        (self.position, self.epoch) = (checkpoint.position, checkpoint.epoch.0);
        for (key, definition) in &checkpoint.changes.definitions {
            put(&mut self.definitions, *key, definition.clone());
        }
        for (queue, change) in &checkpoint.changes.ledgers {
            put(&mut self.ledgers, *queue, change.as_ref().map(|change| change.kept(*queue)));
            let seen = change.as_ref().map(|change| change.seen.as_ref());
            self.seen.retain(|(of, piece), _| {
                let is_gone = match seen {
                    Some(seen) => seen.is_some_and(|seen| seen.gone.contains(piece)),
                    None => true,
                };
                of != queue || !is_gone
            });
            let written = seen.flatten().into_iter().flat_map(|seen| seen.written.iter().cloned());
            self.seen.extend(written.map(|(piece, digests)| ((*queue, piece), digests)));
        }
        for (number, facts) in &checkpoint.changes.segments {
            put(&mut self.segments, *number, *facts);
        }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
