//! What is in each file of a data directory, what is wrong with it, and what each queue has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::fold::{Fold, Seen, Watch};
use super::report::{FileReport, Lost, Problem, ProblemKind, QueueName, QueueReport, Report};
use super::{Catalog, DataDirectory};
use crate::store::OpenError;
use crate::store::catalog::Kept;
use crate::store::definition::Definition;
use crate::store::files::Files;
use crate::store::index_file::IndexFile;
use crate::store::ledger::SegmentNumber;
use crate::store::record::{QueueId, QueueMap};
use crate::store::recovery::{NoFit, from_checkpoint};
use crate::store::scan::Damage;
use crate::store::segment::{self, SegmentError};

/// Looks at all of a data directory.
pub fn check(directory: &Path, watch: &mut Watch<'_>) -> Result<Report, OpenError> {
    let (directory, kept) = DataDirectory::open(directory)?;
    let held = Held::of(&directory, &kept);
    let fold = Fold::of(&directory, kept, watch)?;
    Ok(report(&directory, &fold, &held))
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

/// Says all that is to be said of a directory that was folded.
pub(super) fn report(directory: &DataDirectory, fold: &Fold, held: &Held) -> Report {
    let reporter = Reporter { directory, fold, owners: owners(fold) };
    let mut files = reporter.segments();
    files.extend(reporter.missing_segments());
    files.push(reporter.catalog(held));
    files.extend(reporter.lost_definitions());
    Report { directory: directory.path.clone(), files, queues: reporter.queues() }
}

/// Whose an id is.
struct Owner {
    /// The first of its ids.
    id: QueueId,
    name: QueueName,
}

/// The queues and exchanges by all their ids, those included whose definition is lost.
fn owners(fold: &Fold) -> QueueMap<Owner> {
    let (state, mut owners) = (fold.state.lock(), QueueMap::default());
    for definition in state.catalog.values() {
        let (vhost, name, is_exchange) = match definition {
            Definition::Queue(queue) => (&queue.vhost, &queue.name, false),
            Definition::Exchange(exchange) => (&exchange.vhost, &exchange.name, true),
            _ => continue,
        };
        let Some(id) = definition.queue_ids().next() else { continue };
        let name = QueueName { vhost: vhost.clone(), name: name.clone(), is_exchange };
        let owner = |queue| (queue, Owner { id, name: name.clone() });
        owners.extend(definition.queue_ids().map(owner));
    }
    owners
}

struct Reporter<'a> {
    directory: &'a DataDirectory,
    fold: &'a Fold,
    owners: QueueMap<Owner>,
}

impl Reporter<'_> {
    fn name(&self, queue: QueueId) -> QueueName {
        let name = self.owners.get(&queue).map(|owner| owner.name.clone());
        name.unwrap_or_else(|| QueueName {
            vhost: String::new(),
            name: format!("a deleted queue, id {}", queue.0),
            is_exchange: false,
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
        report.lost = Lost::of(lost.map(|((_, queue), messages)| (self.name(*queue), *messages)));
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
        let mut missing: BTreeMap<SegmentNumber, Vec<(QueueName, u64)>> = BTreeMap::new();
        for ((number, queue), messages) in &self.fold.lost {
            let is_there = self.fold.segments.contains_key(number)
                || self.directory.found.unreadable.iter().any(|(bad, _)| bad == number);
            if !is_there {
                let lost = (self.name(*queue), *messages);
                missing.entry(*number).or_default().push(lost);
            }
        }
        let report = |(number, lost): (SegmentNumber, Vec<(QueueName, u64)>)| {
            let mut report = FileReport::new(format!("log/{}", segment::file_name(number)), 0);
            let text = "it is missing, and messages lived in it; restore the file from a backup";
            report.add(Problem::of_file(ProblemKind::MissingSegment, text.to_owned()));
            FileReport { lost: Lost::of(lost.into_iter()), ..report }
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
        let mut reports: BTreeMap<QueueId, QueueReport> = BTreeMap::new();
        for queue in self.fold.state.lock().queues() {
            let report = self.report_of(&mut reports, queue.id);
            report.messages = report.messages.saturating_add(queue.count);
            report.bytes = report.bytes.saturating_add(queue.bytes);
        }
        for ((_, queue), messages) in &self.fold.lost {
            let report = self.report_of(&mut reports, *queue);
            report.lost = report.lost.saturating_add(*messages);
        }
        let mut queues: Vec<QueueReport> = reports.into_values().collect();
        queues
            .sort_by(|a, b| (&a.queue.vhost, &a.queue.name).cmp(&(&b.queue.vhost, &b.queue.name)));
        queues
    }

    /// The report of whoever has this id.
    fn report_of<'a>(
        &self,
        reports: &'a mut BTreeMap<QueueId, QueueReport>,
        queue: QueueId,
    ) -> &'a mut QueueReport {
        let id = self.owners.get(&queue).map_or(queue, |owner| owner.id);
        reports.entry(id).or_insert_with(|| QueueReport {
            queue: self.name(id),
            id: id.0,
            messages: 0,
            bytes: 0,
            lost: 0,
        })
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
