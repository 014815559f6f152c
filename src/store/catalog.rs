//! The state in sled: definitions and each durable queue's ledger as of a position of the log.
//!
//! It lets a start skip what the log says again and again; it is never the only copy of anything.
//! One tree, keys with a prefix, values in pieces that stay far below what sled would put into
//! files that it never syncs:
//!
//! ```text
//! m                          → format version u32 | position u64 | epoch u32
//! d <digest 32> <piece u16>  → a definition as JSON
//! e <queue id> <number> <piece u16>  → digest u128 | until u64, of 64 that deduplication has seen
//! q <queue id>  <piece u16>  → delivered up to u64 | bytes i64 | settled | early | notes |
//!                              first and last number of what deduplication has seen u64 | runs
//! s <segment>   <piece u16>  → salt, length, messages, last position, damaged: u64 each
//! ```
//!
//! Rule: sled's flush is not an fsync, so that its file is synced by a descriptor of our own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};

use super::Epoch;
use super::decoding::{notes, ranges, seen_digest};
use super::definition::Definition;
use super::encoding::{put_digest, put_notes, put_ranges};
use super::files::sync_directory;
use super::ledger::{QueueLedger, Run, SegmentNumber};
use super::record::{QueueId, Ranges, Seq};
use super::seen::{Seen, SeenChange, SeenDigest};
use super::state::{Changes, SegmentFacts};
use crate::protocol::error::DecodeError;
use crate::protocol::wire::Fields;

/// Longest value.
const PIECE_LEN: usize = 2048;

const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// sled gives space back only while it flushes by itself.
const FLUSH_EVERY_MS: u64 = 500;

/// What sled is asked for each change of a checkpoint so that it lets go of what it replaced.
const ASKED_PER_CHANGE: usize = 2;

const KEY_MARK: &[u8] = b"m";
const PREFIX_DEFINITION: u8 = b'd';
const PREFIX_QUEUE: u8 = b'q';
const PREFIX_SEEN: u8 = b'e';
const PREFIX_SEGMENT: u8 = b's';

const FORMAT_VERSION: u32 = 3;

/// What has changed up to a position.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) epoch: Epoch,
    pub(super) changes: Changes,
}

/// What sled held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) position: u64,
    pub(super) epoch: u32,
    pub(super) definitions: Vec<Definition>,
    pub(super) ledgers: Vec<KeptLedger>,
    pub(super) segments: Vec<(SegmentNumber, SegmentFacts)>,
}

/// Pieces of what deduplication has seen, by queue and number.
pub(super) type SeenPieces = BTreeMap<(QueueId, u64), Vec<SeenDigest>>;

impl Kept {
    /// Puts what deduplication has seen into the ledgers. A piece that is missing is an error.
    pub(super) fn take_up_seen(&mut self, pieces: &SeenPieces) -> Result<(), String> {
        for KeptLedger { queue, ledger, seen, .. } in &mut self.ledgers {
            if seen.end == 0 {
                continue;
            }
            let of_queue = pieces.range((*queue, 0)..=(*queue, u64::MAX));
            let of_queue = of_queue.map(|((_, piece), digests)| (*piece, digests.clone()));
            let restored = Seen::restore(seen.clone(), of_queue)
                .ok_or_else(|| format!("what the queue {} has seen is incomplete", queue.0))?;
            ledger.restore_seen(restored);
        }
        Ok(())
    }
}

/// A queue's ledger in its parts.
#[derive(Debug, Clone)]
pub(super) struct KeptLedger {
    pub(super) queue: QueueId,
    /// Without its runs, its sums and what deduplication has seen.
    pub(super) ledger: QueueLedger,
    pub(super) bytes: i64,
    pub(super) early: Ranges,
    pub(super) runs: Vec<Run>,
    /// The numbers of what deduplication has seen.
    pub(super) seen: Range<u64>,
}

/// What a checkpoint writes of a queue.
#[derive(Debug)]
pub(super) struct LedgerChange {
    /// Without what deduplication has seen, which may be a million times as much.
    pub(super) ledger: QueueLedger,
    pub(super) seen: Option<SeenChange>,
}

impl LedgerChange {
    /// As it is read again.
    pub(super) fn kept(&self, queue: QueueId) -> KeptLedger {
        let (ledger, early, runs) =
            (self.ledger.without_messages(), self.ledger.early(), self.ledger.runs().collect());
        KeptLedger { queue, ledger, bytes: self.ledger.bytes(), early, runs, seen: self.seen() }
    }

    /// The numbers of what deduplication has seen.
    fn seen(&self) -> Range<u64> {
        self.seen.as_ref().map(|seen| seen.numbers.clone()).unwrap_or_default()
    }
}

/// Where checkpoints are kept.
pub(super) trait Catalog: Send {
    /// Writes a checkpoint, all of it or nothing, and makes it durable.
    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()>;
}

pub(super) struct SledCatalog {
    db: sled::Db,
    file: File,
}

impl SledCatalog {
    /// Opens sled's directory and reads all of it. sled may panic on a damaged one: that is an
    /// error like any other.
    pub(super) fn open(directory: &Path) -> Result<(Self, Kept), String> {
        let directory = PathBuf::from(directory);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = sled::Config::new()
                .path(&directory)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
                .map_err(|error| error.to_string())?;
            let kept = read_all(&db)?;
            let file = File::open(directory.join("db")).map_err(|error| error.to_string())?;
            sync_made(&directory).map_err(|error| error.to_string())?;
            Ok((Self { db, file }, kept))
        }));
        opened.unwrap_or_else(|_| Err("sled panicked while it opened".to_owned()))
    }

    fn apply(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (key, definition) in &checkpoint.changes.definitions {
            let prefix = [&[PREFIX_DEFINITION], key.as_slice()].concat();
            let value = definition
                .as_ref()
                .map(|definition| serde_json::to_vec(definition).unwrap_or_default());
            self.replace(&mut batch, &prefix, value.as_deref())?;
        }
        for (queue, change) in &checkpoint.changes.ledgers {
            let prefix = [&[PREFIX_QUEUE], queue.0.to_be_bytes().as_slice()].concat();
            let value = change.as_ref().map(encode_ledger);
            self.replace(&mut batch, &prefix, value.as_deref())?;
            self.replace_seen(&mut batch, *queue, change.as_ref())?;
        }
        for (number, facts) in &checkpoint.changes.segments {
            let prefix = [&[PREFIX_SEGMENT], number.to_be_bytes().as_slice()].concat();
            let value = facts.as_ref().map(encode_facts);
            self.replace(&mut batch, &prefix, value.as_deref())?;
        }
        let mut mark = BytesMut::new();
        mark.put_u32(FORMAT_VERSION);
        mark.put_u64(checkpoint.position);
        mark.put_u32(checkpoint.epoch.0);
        batch.insert(KEY_MARK, mark.as_ref());
        self.db.apply_batch(batch).map_err(io::Error::other)?;
        self.db.flush().map_err(io::Error::other)?;
        self.let_go(&checkpoint.changes)?;
        self.file.sync_data()
    }

    /// sled frees the pages that it has replaced a few at a time, whenever it is asked for
    /// something: after 10,000 changes 80 MiB of them would stay until the next ones.
    fn let_go(&self, changes: &Changes) -> io::Result<()> {
        let pieces =
            changes.ledgers.iter().filter_map(|(_, change)| change.as_ref()?.seen.as_ref());
        let pieces = pieces.map(|seen| seen.written.len()).fold(0, usize::saturating_add);
        let count = changes.definitions.len().saturating_add(changes.ledgers.len());
        let count = count.saturating_add(pieces);
        for _ in 0..count.saturating_mul(ASKED_PER_CHANGE) {
            self.db.get(KEY_MARK).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Writes what deduplication has seen since the last checkpoint, and removes what of it has
    /// gone since.
    fn replace_seen(
        &self,
        batch: &mut sled::Batch,
        queue: QueueId,
        change: Option<&LedgerChange>,
    ) -> io::Result<()> {
        let of_queue = [&[PREFIX_SEEN], queue.0.to_be_bytes().as_slice()].concat();
        let Some(change) = change else { return self.replace(batch, &of_queue, None) };
        let Some(seen) = &change.seen else { return Ok(()) };
        let of_piece = |piece: u64| [of_queue.as_slice(), &piece.to_be_bytes()].concat();
        for piece in seen.gone.clone() {
            self.replace(batch, &of_piece(piece), None)?;
        }
        for (piece, digests) in &seen.written {
            let mut value = BytesMut::new();
            digests.iter().for_each(|digest| put_digest(&mut value, *digest));
            self.replace(batch, &of_piece(*piece), Some(&value))?;
        }
        Ok(())
    }

    /// Puts the pieces of a value in the place of those that are there.
    fn replace(
        &self,
        batch: &mut sled::Batch,
        prefix: &[u8],
        value: Option<&[u8]>,
    ) -> io::Result<()> {
        for found in self.db.scan_prefix(prefix) {
            batch.remove(found.map_err(io::Error::other)?.0);
        }
        for (number, piece) in (0u16..).zip(value.unwrap_or_default().chunks(PIECE_LEN)) {
            batch.insert([prefix, &number.to_be_bytes()].concat(), piece);
        }
        Ok(())
    }
}

/// Makes durable what sled makes when it begins and doesn't sync: its configuration, its names.
fn sync_made(directory: &Path) -> io::Result<()> {
    File::open(directory.join("conf"))?.sync_all()?;
    sync_directory(directory)
}

impl Catalog for SledCatalog {
    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.apply(checkpoint)))
            .unwrap_or_else(|_| Err(io::Error::other("sled panicked while it wrote")))
    }
}

fn encode_ledger(change: &LedgerChange) -> Vec<u8> {
    let (ledger, seen) = (&change.ledger, change.seen());
    let mut out = BytesMut::new();
    out.put_u64(ledger.delivered_upto().0);
    out.put_i64(ledger.bytes());
    put_ranges(&mut out, &ledger.settled());
    put_ranges(&mut out, &ledger.early());
    put_notes(&mut out, ledger.notes().iter());
    out.put_u64(seen.start);
    out.put_u64(seen.end);
    for Run { first, last, segment } in ledger.runs() {
        out.put_u64(first.0);
        out.put_u64(last.0);
        out.put_u64(segment);
    }
    out.to_vec()
}

fn decode_ledger(queue: QueueId, value: Vec<u8>) -> Result<KeptLedger, DecodeError> {
    let bytes = Bytes::from(value);
    let mut fields = Fields::new(&bytes);
    let delivered_upto = fields.longlong().map(Seq)?;
    let live_bytes = fields.longlong()?.cast_signed();
    let (settled, early) = (ranges(&mut fields)?, ranges(&mut fields)?);
    let mut ledger = QueueLedger::restore(&settled, delivered_upto);
    notes(&mut fields)?.into_iter().for_each(|(seq, note)| ledger.note(seq, note));
    let seen = fields.longlong()?..fields.longlong()?;
    let mut runs = Vec::new();
    while !fields.is_empty() {
        let (first, last) = (Seq(fields.longlong()?), Seq(fields.longlong()?));
        runs.push(Run { first, last, segment: fields.longlong()? });
    }
    Ok(KeptLedger { queue, ledger, bytes: live_bytes, early, runs, seen })
}

fn decode_digests(value: Vec<u8>) -> Result<Vec<SeenDigest>, DecodeError> {
    let bytes = Bytes::from(value);
    let mut fields = Fields::new(&bytes);
    let mut digests = Vec::new();
    while !fields.is_empty() {
        digests.push(seen_digest(&mut fields)?);
    }
    Ok(digests)
}

fn encode_facts(facts: &SegmentFacts) -> Vec<u8> {
    let SegmentFacts { salt, len, total, last_position, is_damaged } = *facts;
    let numbers = [salt, len, total, last_position, u64::from(is_damaged)];
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

fn decode_facts(value: Vec<u8>) -> Result<SegmentFacts, DecodeError> {
    let bytes = Bytes::from(value);
    let mut fields = Fields::new(&bytes);
    let mut next = || fields.longlong();
    Ok(SegmentFacts {
        salt: next()?,
        len: next()?,
        total: next()?,
        last_position: next()?,
        is_damaged: next()? != 0,
    })
}

fn read_all(db: &sled::Db) -> Result<Kept, String> {
    let (mut kept, mut seen) = (Kept::default(), SeenPieces::new());
    let mut value: Vec<u8> = Vec::new();
    let mut previous: Option<Vec<u8>> = None;
    for found in db.iter() {
        let (key, piece) = found.map_err(|error| error.to_string())?;
        if key == KEY_MARK {
            read_mark(&mut kept, &piece)?;
            continue;
        }
        let (prefix, _) = key.split_last_chunk::<2>().ok_or("a key is too short")?;
        if previous.as_deref().is_some_and(|previous| previous != prefix) {
            let value = std::mem::take(&mut value);
            read_value(&mut kept, &mut seen, previous.as_deref(), value)?;
        }
        previous = Some(prefix.to_vec());
        value.extend_from_slice(&piece);
    }
    read_value(&mut kept, &mut seen, previous.as_deref(), value)?;
    kept.take_up_seen(&seen)?;
    Ok(kept)
}

fn read_mark(kept: &mut Kept, mark: &[u8]) -> Result<(), String> {
    let bytes = Bytes::copy_from_slice(mark);
    let mut fields = Fields::new(&bytes);
    let version = fields.long().map_err(|error| error.text)?;
    if version != FORMAT_VERSION {
        return Err(format!("it has format version {version}, not {FORMAT_VERSION}"));
    }
    kept.position = fields.longlong().map_err(|error| error.text)?;
    kept.epoch = fields.long().map_err(|error| error.text)?;
    Ok(())
}

fn read_value(
    kept: &mut Kept,
    seen: &mut SeenPieces,
    prefix: Option<&[u8]>,
    value: Vec<u8>,
) -> Result<(), String> {
    match prefix.and_then(<[u8]>::split_first) {
        None => Ok(()),
        Some((&PREFIX_DEFINITION, _)) => {
            let definition = serde_json::from_slice(&value).map_err(|error| error.to_string())?;
            kept.definitions.push(definition);
            Ok(())
        }
        Some((&PREFIX_QUEUE, id)) => {
            let ledger = decode_ledger(QueueId(number_of(id)?), value);
            kept.ledgers.push(ledger.map_err(|error| error.text)?);
            Ok(())
        }
        Some((&PREFIX_SEEN, id)) => {
            let (queue, piece) = id.split_first_chunk::<8>().ok_or("a key is too short")?;
            let digests = decode_digests(value).map_err(|error| error.text)?;
            let queue = QueueId(u64::from_be_bytes(*queue));
            seen.insert((queue, number_of(piece)?), digests);
            Ok(())
        }
        Some((&PREFIX_SEGMENT, id)) => {
            let facts = decode_facts(value).map_err(|error| error.text)?;
            kept.segments.push((number_of(id)?, facts));
            Ok(())
        }
        Some((other, _)) => Err(format!("unknown prefix {other}")),
    }
}

fn number_of(key: &[u8]) -> Result<u64, String> {
    let key: [u8; 8] = key.try_into().map_err(|_| "a key has a wrong length")?;
    Ok(u64::from_be_bytes(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_another_format_is_not_believed() {
        for version in [FORMAT_VERSION - 1, FORMAT_VERSION + 1] {
            let directory = tempfile::tempdir().expect("a directory for temporary files");
            let db = sled::open(directory.path()).expect("an empty directory");
            let mark = [&version.to_be_bytes()[..], &[0; 12]].concat();
            db.insert(KEY_MARK, mark).expect("it works");
            drop(db);
            let why = SledCatalog::open(directory.path()).err().expect("it is another format");
            assert!(why.contains(&format!("format version {version}, not")), "{why}");
        }
    }
}
