//! The audit log's entries: what an operator or a client changed, when, from where, and how it was
//! before and after.
//!
//! An entry is made of the event that tells of the change (`event.rs`), so that what is told and
//! what is kept are the same. Secrets in it are masked. The store keeps the lines.

use std::io;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConnectionId;
use super::auth::Actor;
use super::registry::Registry;
use super::secrets::masked;
use super::timers::now_ms;
use crate::store::audit::AuditLog;

/// Refused logins that are kept of each minute: whoever guesses passwords can't have the log forget
/// everything else by that.
const REFUSALS_PER_MINUTE: u32 = 10;

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Milliseconds since 1970.
    pub time: u64,
    /// Such as `queue.created`.
    pub kind: String,
    /// Who did it; nobody where the broker did, or who it was is not known.
    pub user: Option<String>,
    /// `amqp`, `http`, `file` (the definitions file of the start) or `broker`.
    pub via: String,
    /// `HOST:PORT`.
    pub peer: Option<String>,
    /// The name of the AMQP connection.
    pub connection: Option<String>,
    /// What it is about.
    pub object: Value,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// Which entries somebody wants.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub since_ms: Option<u64>,
    pub until_ms: Option<u64>,
    pub user: Option<String>,
    /// `queue.created`, or `queue` for all of queues.
    pub kind: Option<String>,
    pub vhost: Option<String>,
}

impl AuditFilter {
    fn fits(&self, entry: &AuditEntry) -> bool {
        let is_kind = |kind: &String| {
            let rest = entry.kind.strip_prefix(kind.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_in = |vhost: &String| {
            let named = if entry.kind.starts_with("vhost.") { "name" } else { "vhost" };
            entry.object.get(named).and_then(Value::as_str) == Some(vhost)
        };
        self.since_ms.is_none_or(|since_ms| entry.time >= since_ms)
            && self.until_ms.is_none_or(|until_ms| entry.time <= until_ms)
            && self.user.as_ref().is_none_or(|user| entry.user.as_ref() == Some(user))
            && self.kind.as_ref().is_none_or(is_kind)
            && self.vhost.as_ref().is_none_or(is_in)
    }
}

/// Makes entries and finds them again.
#[derive(Default)]
pub struct Audit {
    log: AuditLog,
    /// A minute, and the refused logins in it.
    refusals: Mutex<(u64, u32)>,
}

impl Audit {
    pub fn new(log: AuditLog) -> Self {
        Self { log, refusals: Mutex::default() }
    }

    pub fn is_kept(&self) -> bool {
        self.log.is_kept()
    }

    /// Writes what waits for it. Blocks.
    pub fn flush(&self) {
        self.log.flush();
    }

    pub(super) fn note(&self, mut entry: AuditEntry, actor: Option<&Actor>, registry: &Registry) {
        entry.time = now_ms();
        if entry.kind == "user.authentication.failure" && !self.may_note_refusal(entry.time) {
            return;
        }
        if let Some(actor) = actor {
            entry.user = Some(actor.user.name.clone());
            let is_from_file = actor.connection == ConnectionId::FILE;
            entry.peer = (!is_from_file).then(|| actor.peer.to_string());
            entry.connection = registry.get(actor.connection).map(|info| info.name());
            let via = match actor.connection {
                ConnectionId::NONE => "http",
                ConnectionId::FILE => "file",
                _ => "amqp",
            };
            entry.via = via.to_owned();
        }
        entry.object = masked(entry.object);
        entry.before = entry.before.map(masked);
        entry.after = entry.after.map(masked);
        match serde_json::to_string(&entry) {
            Ok(line) => self.log.note(line),
            Err(error) => {
                tracing::error!(%error, "an entry of the audit log cannot be put into JSON")
            }
        }
    }

    fn may_note_refusal(&self, time_ms: u64) -> bool {
        let (minute, mut refusals) = (time_ms / 60_000, self.refusals.lock());
        if refusals.0 != minute {
            *refusals = (minute, 0);
        }
        refusals.1 = refusals.1.saturating_add(1);
        refusals.1 <= REFUSALS_PER_MINUTE
    }

    /// Entries that fit, the newest first: so many behind the first `offset`, and how many there
    /// are in all. Blocks.
    pub fn find(
        &self,
        filter: &AuditFilter,
        offset: usize,
        count: usize,
    ) -> io::Result<(Vec<AuditEntry>, usize)> {
        let (mut found, mut total) = (Vec::new(), 0usize);
        self.log.read(|line| {
            // A crash may have cut the last line of a file.
            let entry = serde_json::from_str::<AuditEntry>(line).ok();
            if let Some(entry) = entry.filter(|entry| filter.fits(entry)) {
                if total >= offset && found.len() < count {
                    found.push(entry);
                }
                total += 1;
            }
            true
        })?;
        Ok((found, total))
    }
}
