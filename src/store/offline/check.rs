//! What is in each file of a data directory, what is wrong with it, and what each queue has lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::fold::{Fold, Seen};
use super::{Catalog, DataDirectory};
use crate::store::OpenError;
use crate::store::catalog::Kept;
use crate::store::definition::Definition;
use crate::store::files::Files;
use crate::store::index_file::IndexFile;
use crate::store::ledger::SegmentNumber;
use crate::store::record::QueueId;
use crate::store::recovery::{NoFit, from_checkpoint};
use crate::store::segment::{self, Damage, SegmentError};

/// Problems of a file that are listed; of the others there is a count.
const PROBLEMS_LISTED_MAX: usize = 1000;

/// Looks at all of a data directory.
pub fn check(directory: &Path) -> Result<Report, OpenError> {
    let (directory, kept) = DataDirectory::open(directory)?;
    let held = Held::of(&directory, &kept);
    let fold = Fold::of(&directory, kept)?;
    Ok(Report::of(&directory, &fold, &held))
}

/// All that is to be said of a data directory.
#[derive(Debug, Serialize)]
pub struct Report {
    pub directory: PathBuf,
    pub files: Vec<FileReport>,
    pub queues: Vec<QueueReport>,
}

#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Within the directory.
    pub file: String,
    pub bytes: u64,
    /// What is in it, in words.
    pub holds: String,
    /// The first of them.
    pub problems: Vec<Problem>,
    pub problems_not_listed: u64,
    /// Messages that should live and can't be read in this file, nor in another one.
    pub lost: Vec<Lost>,
}

#[derive(Debug, Serialize)]
pub struct Lost {
    pub queue: QueueName,
    pub messages: u64,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    pub offset: Option<u64>,
    pub bytes: Option<u64>,
    /// Of the message that it is, when it is just one message.
    pub queues: Vec<QueueName>,
    /// Messages may be lost by it of which nothing is known.
    pub unknown_loss: bool,
    /// In words, with what to do.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    DamagedMessage,
    DamagedPart,
    TornTail,
    UnfinishedSegment,
    DamagedHead,
    OtherFormat,
    UnreadableFile,
    MissingSegment,
    MissingIndex,
    DamagedIndex,
    MissingCatalog,
    DamagedCatalog,
    CatalogDoesNotFit,
    LostDefinition,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueName {
    pub vhost: String,
    pub name: String,
}

/// What a queue holds.
#[derive(Debug, Serialize)]
pub struct QueueReport {
    #[serde(flatten)]
    pub queue: QueueName,
    pub id: u64,
    pub messages: u64,
    /// Of their bodies.
    pub bytes: u64,
    /// Known to be lost. Where a part of the log is damaged whose index is gone, there may be more.
    pub lost: u64,
}

impl Report {
    pub(super) fn of(directory: &DataDirectory, fold: &Fold, held: &Held) -> Self {
        let reporter = Reporter { directory, fold, names: names(fold) };
        let mut files = reporter.segments();
        files.extend(reporter.missing_segments());
        files.push(reporter.catalog(held));
        files.extend(reporter.lost_definitions());
        let (directory, queues) = (directory.path.clone(), reporter.queues());
        Self { directory, files, queues }
    }

    pub fn is_whole(&self) -> bool {
        self.problems() == 0
    }

    pub fn problems(&self) -> u64 {
        let of_file = |file: &FileReport| {
            (file.problems.len() as u64).saturating_add(file.problems_not_listed)
        };
        self.files.iter().map(of_file).fold(0, u64::saturating_add)
    }

    /// A part of the log is damaged, and nothing says which messages were in it.
    pub fn may_have_lost_more(&self) -> bool {
        self.files.iter().flat_map(|file| &file.problems).any(|problem| problem.unknown_loss)
    }

    pub fn lost(&self) -> u64 {
        self.queues.iter().map(|queue| queue.lost).fold(0, u64::saturating_add)
    }
}

/// What sled said before its content went into the fold.
pub(super) struct Held {
    position: u64,
    text: String,
    /// Why a start of the broker can't trust it.
    misfit: Option<String>,
}

impl Held {
    pub(super) fn of(directory: &DataDirectory, kept: &Kept) -> Self {
        let (position, definitions, queues) =
            (kept.position, kept.definitions.len(), kept.ledgers.len());
        let text = match position {
            0 => "no checkpoint".to_owned(),
            _ => format!(
                "checkpoint at position {position}, definitions: {definitions}, queues: {queues}"
            ),
        };
        // A start cuts the end of the log: here, in an overlay of its own.
        let files = directory.overlay();
        let fit = from_checkpoint(&files, &directory.found, kept);
        let misfit = fit.err().map(|NoFit(why)| why);
        Self { position, text, misfit }
    }
}

/// The names of queues, those included whose definition is lost.
pub(super) fn names(fold: &Fold) -> HashMap<QueueId, QueueName> {
    let state = fold.state.lock();
    let queue = |definition: &Definition| match definition {
        Definition::Queue(queue) => {
            let name = QueueName { vhost: queue.vhost.clone(), name: queue.name.clone() };
            Some((queue.id, name))
        }
        _ => None,
    };
    state.catalog.values().filter_map(queue).collect()
}

struct Reporter<'a> {
    directory: &'a DataDirectory,
    fold: &'a Fold,
    names: HashMap<QueueId, QueueName>,
}

impl Reporter<'_> {
    fn name(&self, queue: QueueId) -> QueueName {
        self.names.get(&queue).cloned().unwrap_or_else(|| QueueName {
            vhost: String::new(),
            name: format!("a deleted queue, id {}", queue.0),
        })
    }

    /// The segments, each followed by its index.
    fn segments(&self) -> Vec<FileReport> {
        let unreadable = self.directory.found.unreadable.iter().map(|(number, _)| *number);
        let numbers: BTreeSet<SegmentNumber> =
            self.directory.found.heads.keys().copied().chain(unreadable).collect();
        let both = |number| [Some(self.segment(number)), self.index(number)];
        numbers.into_iter().flat_map(both).flatten().collect()
    }

    fn segment(&self, number: SegmentNumber) -> FileReport {
        let mut report = self.file(&format!("log/{}", segment::file_name(number)));
        let bad = self.directory.found.unreadable.iter().find(|(bad, _)| *bad == number);
        if let Some((_, error)) = bad {
            report.add(self.bad_head(number, error));
        }
        let Some(seen) = self.fold.segments.get(&number) else { return report };
        report.holds = format!("batches: {}, messages: {}", seen.batches, seen.messages);
        if seen.salvaged > 0 {
            let more = format!(", messages saved from what is damaged: {}", seen.salvaged);
            report.holds.push_str(&more);
        }
        seen.damages.iter().for_each(|damage| report.add(self.damage(damage, seen)));
        if seen.good_len < seen.len {
            report.add(self.tail(number, seen));
        }
        let of_segment = (number, QueueId(0))..=(number, QueueId(u64::MAX));
        let lost = self.fold.lost.range(of_segment);
        report.lost.extend(
            lost.map(|((_, queue), messages)| Lost {
                queue: self.name(*queue),
                messages: *messages,
            }),
        );
        report
    }

    fn bad_head(&self, number: SegmentNumber, error: &SegmentError) -> Problem {
        let path = self.directory.files.described(&segment::file_name(number));
        let (kind, text) = match error {
            SegmentError::Unfinished => (
                ProblemKind::UnfinishedSegment,
                "it was created and nothing was written in it; nothing is lost, the next start of \
                 the broker removes it"
                    .to_owned(),
            ),
            SegmentError::DamagedHead if self.fold.segments.contains_key(&number) => (
                ProblemKind::DamagedHead,
                "its head is damaged: a broker reads nothing of it. Its salt is known from the \
                 catalog or its index, so that `repair` can save what is in it"
                    .to_owned(),
            ),
            SegmentError::DamagedHead => (
                ProblemKind::DamagedHead,
                "its head is damaged, and with it all of it is lost; restore the file from a backup"
                    .to_owned(),
            ),
            SegmentError::OtherFormat(version) => {
                (ProblemKind::OtherFormat, SegmentError::other_format(&path, *version))
            }
            SegmentError::Io(error) => (
                ProblemKind::UnreadableFile,
                format!("it can't be read: {error}; look at the disk and the rights of the file"),
            ),
        };
        let is_read = self.fold.segments.contains_key(&number);
        let unknown_loss =
            !is_read && matches!(kind, ProblemKind::DamagedHead | ProblemKind::UnreadableFile);
        Problem { offset: Some(0), unknown_loss, ..Problem::of_file(kind, text) }
    }

    fn damage(&self, damage: &Damage, seen: &Seen) -> Problem {
        let queues: Vec<QueueName> = damage.queues.iter().map(|queue| self.name(*queue)).collect();
        let (kind, text) = match (queues.is_empty(), seen.has_index) {
            (false, _) => (
                ProblemKind::DamagedMessage,
                "a message is damaged and can't be delivered; restore the file from a backup if it \
                 matters",
            ),
            (true, true) => (
                ProblemKind::DamagedPart,
                "a part of the log is damaged; by the index it is known which messages were in it, \
                 and `repair` saves those that are whole",
            ),
            (true, false) => (
                ProblemKind::DamagedPart,
                "a part of the log is damaged; what was in it is lost, and how much that was isn't \
                 known. Restore the file from a backup if it matters",
            ),
        };
        let (offset, bytes) = (Some(damage.offset), Some(damage.len));
        let unknown_loss = kind == ProblemKind::DamagedPart && !seen.has_index;
        Problem { kind, offset, bytes, queues, unknown_loss, text: text.to_owned() }
    }

    fn tail(&self, number: SegmentNumber, seen: &Seen) -> Problem {
        let is_last = number == self.directory.found.last_segment;
        let (kind, text) = match is_last && !seen.has_index && !seen.was_longer {
            true => (
                ProblemKind::TornTail,
                "a crash tore the end of the log; it was never confirmed, and the next start of the \
                 broker cuts it off",
            ),
            false => (
                ProblemKind::DamagedPart,
                "the end of a segment is damaged; restore the file from a backup if what was there \
                 matters",
            ),
        };
        let bytes = seen.len.saturating_sub(seen.good_len);
        let (offset, bytes) = (Some(seen.good_len), Some(bytes));
        let unknown_loss = kind == ProblemKind::DamagedPart && !seen.has_index;
        Problem { offset, bytes, unknown_loss, ..Problem::of_file(kind, text.to_owned()) }
    }

    fn index(&self, number: SegmentNumber) -> Option<FileReport> {
        let name = segment::index_file_name(number);
        let seen = self.fold.segments.get(&number)?;
        let salt = self.directory.found.heads.get(&number)?.salt;
        let mut report = self.file(&format!("log/{name}"));
        let is_last = number == self.directory.found.last_segment;
        let file = match self.directory.files.original(&name) {
            Ok(file) => file,
            // The segment that is being written has none yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => return None,
            Err(error) => {
                let text = format!("{error}; the next start of the broker makes it again");
                report.add(Problem::of_file(ProblemKind::MissingIndex, text));
                return Some(report);
            }
        };
        let mut entries = 0u64;
        let whole = IndexFile::open(file, salt, seen.len)
            .and_then(|index| index.each(|_, _, _| entries = entries.saturating_add(1)));
        report.holds = format!("places: {entries}");
        if whole.is_err() {
            let text = "it is damaged, or not of this segment; the next start of the broker makes \
                        it again";
            report.add(Problem::of_file(ProblemKind::DamagedIndex, text.to_owned()));
        }
        Some(report)
    }

    /// Segments that are not there and in which messages lived.
    fn missing_segments(&self) -> Vec<FileReport> {
        let mut missing: BTreeMap<SegmentNumber, Vec<Lost>> = BTreeMap::new();
        for ((number, queue), messages) in &self.fold.lost {
            let is_there = self.fold.segments.contains_key(number)
                || self.directory.found.unreadable.iter().any(|(bad, _)| bad == number);
            if !is_there {
                let lost = Lost { queue: self.name(*queue), messages: *messages };
                missing.entry(*number).or_default().push(lost);
            }
        }
        let report = |(number, lost)| {
            let mut report = FileReport::new(format!("log/{}", segment::file_name(number)), 0);
            let text = "it is missing, and messages lived in it; restore the file from a backup";
            report.add(Problem::of_file(ProblemKind::MissingSegment, text.to_owned()));
            FileReport { lost, ..report }
        };
        missing.into_iter().map(report).collect()
    }

    fn catalog(&self, held: &Held) -> FileReport {
        let mut report = self.file("catalog");
        let remedy =
            "nothing is lost by that, the next start of the broker rebuilds it from the log";
        let (kind, text) = match &self.directory.catalog {
            Catalog::Missing => (ProblemKind::MissingCatalog, format!("it is missing; {remedy}")),
            Catalog::Damaged(why) => {
                (ProblemKind::DamagedCatalog, format!("it can't be read: {why}; {remedy}"))
            }
            Catalog::Foreign(number) => (
                ProblemKind::CatalogDoesNotFit,
                format!(
                    "it belongs to another log: segment {number} is not the one that it knows. \
                     Restore catalog and log from the same backup, or remove the catalog: {remedy}"
                ),
            ),
            Catalog::Whole => {
                report.holds.clone_from(&held.text);
                self.misfit(held).into_iter().for_each(|problem| report.add(problem));
                return report;
            }
        };
        report.add(Problem::of_file(kind, text));
        report
    }

    /// What is wrong between the catalog and a log that is itself whole.
    fn misfit(&self, held: &Held) -> Option<Problem> {
        let kind = ProblemKind::CatalogDoesNotFit;
        if held.position > self.fold.last_position {
            let text = format!(
                "the log ends at position {}, before what was committed, {}: confirmed messages are \
                 missing. Restore log/ from a backup if they matter",
                self.fold.last_position, held.position
            );
            return Some(Problem { unknown_loss: true, ..Problem::of_file(kind, text) });
        }
        let is_damaged = |seen: &Seen| !seen.damages.is_empty() || seen.good_len < seen.len;
        let has_damage =
            self.directory.found.is_damaged() || self.fold.segments.values().any(is_damaged);
        let remedy = "Nothing is lost by that, the next start of the broker reads the whole log";
        if held.position == 0 {
            // A first run that a crash ended early leaves none. Indexes come with checkpoints.
            let has_index = |number: &SegmentNumber| {
                self.directory.files.original(&segment::index_file_name(*number)).is_ok()
            };
            let is_new = !self.fold.segments.keys().any(has_index);
            let text = format!("there is no checkpoint in it. {remedy}");
            return (!is_new).then(|| Problem::of_file(ProblemKind::DamagedCatalog, text));
        }
        let why = held.misfit.as_ref().filter(|_| !has_damage)?;
        Some(Problem::of_file(kind, format!("it doesn't fit the log: {why}. {remedy}")))
    }

    fn lost_definitions(&self) -> Option<FileReport> {
        let mut report = FileReport::new("definitions".to_owned(), 0);
        for queue in &self.fold.recovered {
            let text = format!(
                "the definition of queue {} is lost, and messages of it are there; a broker drops \
                 them, `repair` saves them",
                queue.0
            );
            let problem = Problem::of_file(ProblemKind::LostDefinition, text);
            report.add(Problem { queues: vec![self.name(*queue)], ..problem });
        }
        (!report.problems.is_empty()).then_some(report)
    }

    fn queues(&self) -> Vec<QueueReport> {
        let mut lost: HashMap<QueueId, u64> = HashMap::new();
        for ((_, queue), messages) in &self.fold.lost {
            let sum = lost.entry(*queue).or_default();
            *sum = sum.saturating_add(*messages);
        }
        let report = |queue: crate::store::RecoveredQueue| QueueReport {
            queue: self.name(queue.id),
            id: queue.id.0,
            messages: queue.count,
            bytes: queue.bytes,
            lost: lost.get(&queue.id).copied().unwrap_or(0),
        };
        let mut queues: Vec<_> = self.fold.state.lock().queues().into_iter().map(report).collect();
        queues.sort_unstable_by(|a, b| {
            (&a.queue.vhost, &a.queue.name).cmp(&(&b.queue.vhost, &b.queue.name))
        });
        queues
    }

    fn file(&self, name: &str) -> FileReport {
        let path = self.directory.path.join(name);
        FileReport::new(name.to_owned(), length(&path).unwrap_or(0))
    }
}

/// Of a file, or of all files in a directory.
fn length(path: &Path) -> io::Result<u64> {
    if !path.is_dir() {
        return Ok(std::fs::metadata(path)?.len());
    }
    let mut sum = 0u64;
    for entry in std::fs::read_dir(path)? {
        sum = sum.saturating_add(length(&entry?.path())?);
    }
    Ok(sum)
}

impl FileReport {
    fn new(file: String, bytes: u64) -> Self {
        let (holds, problems, lost) = (String::new(), Vec::new(), Vec::new());
        Self { file, bytes, holds, problems, problems_not_listed: 0, lost }
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(problem);
        } else {
            self.problems_not_listed = self.problems_not_listed.saturating_add(1);
        }
    }
}

impl Problem {
    fn of_file(kind: ProblemKind, text: String) -> Self {
        let (offset, bytes, queues) = (None, None, Vec::new());
        Self { kind, offset, bytes, queues, unknown_loss: false, text }
    }
}
