//! What is said of a data directory: for a person who reads it, and for programs, as JSON.

use std::path::PathBuf;

use serde::Serialize;

/// Problems of a file that are listed; of the others there is a count.
const PROBLEMS_LISTED_MAX: usize = 1000;

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

impl Lost {
    /// Sums up by queue what comes in the order of ids, of which a queue's levels are neighbours.
    pub(super) fn of(messages: impl Iterator<Item = (QueueName, u64)>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (queue, messages) in messages {
            match all.last_mut().filter(|lost| lost.queue == queue) {
                Some(lost) => lost.messages = lost.messages.saturating_add(messages),
                None => all.push(Self { queue, messages }),
            }
        }
        all
    }
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
    /// It is an exchange that keeps messages itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_exchange: bool,
}

/// What a queue holds, in all its levels, or an exchange.
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

impl FileReport {
    pub(super) fn new(file: String, bytes: u64) -> Self {
        let (holds, problems, lost) = (String::new(), Vec::new(), Vec::new());
        Self { file, bytes, holds, problems, problems_not_listed: 0, lost }
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(problem);
        } else {
            self.problems_not_listed = self.problems_not_listed.saturating_add(1);
        }
    }
}

impl Problem {
    pub(super) fn of_file(kind: ProblemKind, text: String) -> Self {
        let (offset, bytes, queues) = (None, None, Vec::new());
        Self { kind, offset, bytes, queues, unknown_loss: false, text }
    }
}
