//! What lives in a data directory, handed out piece by piece: the definitions, then the messages of
//! each queue in their order. What is in memory at a time is bounded as a broker's reading is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::DataDirectory;
use super::fold::{Fold, Watch};
use crate::protocol::message::Message;
use crate::store::definition::Definition;
use crate::store::files::Files;
use crate::store::reader::{LogReader, ReadRequests, Wanted};
use crate::store::record::{Note, QueueId, Seq};
use crate::store::{OpenError, Page, ReadLimit};

/// What is read at a time.
const READ_AT_ONCE: ReadLimit = ReadLimit { count: 1000, bytes: 4 * 1024 * 1024 };

/// Which of it is wanted; what is not said doesn't restrict.
#[derive(Debug, Clone, Default)]
pub struct DumpFilter {
    pub vhost: Option<String>,
    pub queue: Option<String>,
    /// Messages of each queue.
    pub limit: Option<u64>,
}

/// A piece of what is there.
#[derive(Debug)]
pub enum Dumped<'a> {
    Definition(&'a Definition),
    Message(DumpedMessage<'a>),
}

/// A message that lives.
#[derive(Debug)]
pub struct DumpedMessage<'a> {
    /// The queue that it is in, or the exchange that holds it back.
    pub owner: &'a Definition,
    /// Of the queue's priorities.
    pub level: u64,
    pub seq: Seq,
    pub redelivered: bool,
    pub note: Note,
    pub message: &'a Message,
}

/// Hands out what lives. An error of `each` ends it and is answered; otherwise, whether all could
/// be read that should be there.
pub fn dump(
    directory: &Path,
    filter: &DumpFilter,
    watch: &mut Watch<'_>,
    each: &mut dyn FnMut(Dumped<'_>) -> io::Result<()>,
) -> Result<io::Result<bool>, OpenError> {
    let (directory, kept) = DataDirectory::open(directory)?;
    directory.refuse_other_formats()?;
    let fold = Fold::of(&directory, kept, watch)?;
    let mut definitions: Vec<Definition> = fold.state.lock().catalog.values().cloned().collect();
    definitions.retain(|definition| filter.wants(definition));
    definitions.sort_by_cached_key(order);
    if let Some(name) = filter.queue.as_ref().filter(|_| definitions.is_empty()) {
        let vhost = filter.vhost.as_ref().map(|vhost| format!(" in the vhost {vhost}"));
        return Err(OpenError::new(format!(
            "there is no queue {name}{}; `ferrymqctl store check` lists them all",
            vhost.unwrap_or_default()
        )));
    }
    let dumped = definitions
        .iter()
        .try_for_each(|definition| each(Dumped::Definition(definition)))
        .and_then(|()| messages(&directory, &fold, &definitions, filter.limit, each));
    Ok(dumped.map(|()| fold.lost.is_empty() && fold.recovered.is_empty()))
}

impl DumpFilter {
    fn wants(&self, definition: &Definition) -> bool {
        let vhost = match definition {
            Definition::Queue(queue) => {
                if self.queue.as_ref().is_some_and(|name| *name != queue.name) {
                    return false;
                }
                &queue.vhost
            }
            _ if self.queue.is_some() => return false,
            Definition::User(_) | Definition::UserLimit(_) | Definition::GlobalParameter(_) => {
                return self.vhost.is_none();
            }
            Definition::Vhost(vhost) => &vhost.name,
            Definition::Permission(permission) => &permission.vhost,
            Definition::TopicPermission(permission) => &permission.vhost,
            Definition::Exchange(exchange) => &exchange.vhost,
            Definition::Binding(binding) => &binding.vhost,
            Definition::Policy(policy) | Definition::OperatorPolicy(policy) => &policy.vhost,
            Definition::Parameter(parameter) => &parameter.vhost,
            Definition::VhostLimit(limit) => &limit.owner,
        };
        self.vhost.as_ref().is_none_or(|wanted| wanted == vhost)
    }
}

/// Those that others need come first; of a kind, by their names.
fn order(definition: &Definition) -> (u8, String) {
    let kind = match definition {
        Definition::Vhost(_) => 0,
        Definition::User(_) => 1,
        Definition::Permission(_) => 2,
        Definition::TopicPermission(_) => 3,
        Definition::Exchange(_) => 4,
        Definition::Queue(_) => 5,
        Definition::Binding(_) => 6,
        Definition::Policy(_) => 7,
        Definition::OperatorPolicy(_) => 8,
        Definition::Parameter(_) => 9,
        Definition::GlobalParameter(_) => 10,
        Definition::VhostLimit(_) => 11,
        Definition::UserLimit(_) => 12,
    };
    (kind, serde_json::to_string(&definition.key()).unwrap_or_default())
}

/// Reads as a broker does: with its reading thread, batch by batch. Of a queue the highest level
/// comes first, as its consumers get it.
fn messages(
    directory: &DataDirectory,
    fold: &Fold,
    owners: &[Definition],
    limit: Option<u64>,
    each: &mut dyn FnMut(Dumped<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let files: Arc<dyn Files> = Arc::<super::overlay::Overlay>::clone(&directory.files);
    let (reads, reader) = LogReader::new(files, Arc::clone(&fold.state), Arc::default());
    let reading = std::thread::Builder::new().name("store-read".to_owned());
    let reading = reading.spawn(move || reader.run())?;
    let dumped = owners.iter().try_for_each(|owner| {
        let mut left = limit.unwrap_or(u64::MAX);
        let queues: Vec<(u64, QueueId)> = (0..).zip(owner.queue_ids()).collect();
        queues.into_iter().rev().try_for_each(|(level, queue)| {
            each_of(fold, &reads, queue, &mut left, |seq, redelivered, note, message| {
                each(Dumped::Message(DumpedMessage {
                    owner,
                    level,
                    seq,
                    redelivered,
                    note,
                    message,
                }))
            })
        })
    });
    drop(reads);
    // It ends when nobody can ask any more.
    let _ = reading.join();
    dumped
}

/// Hands out the messages under one id, no more than are left to be.
fn each_of(
    fold: &Fold,
    reads: &ReadRequests,
    queue: QueueId,
    left: &mut u64,
    mut each: impl FnMut(Seq, bool, Note, &Message) -> io::Result<()>,
) -> io::Result<()> {
    let (delivered_upto, notes) = match fold.state.lock().ledgers.get(&queue) {
        Some(ledger) => (ledger.delivered_upto(), ledger.notes().clone()),
        None => return Ok(()),
    };
    let mut from = Some(Seq(0));
    while let Some(next) = from.filter(|_| *left > 0) {
        let page = read(reads, queue, next)?;
        for (seq, message) in &page.messages {
            if *left == 0 {
                break;
            }
            each(*seq, *seq <= delivered_upto, notes.of(*seq), message)?;
            *left = left.saturating_sub(1);
        }
        from = page.through.0.checked_add(1).map(Seq);
    }
    Ok(())
}

fn read(reads: &ReadRequests, queue: QueueId, from: Seq) -> io::Result<Page> {
    let (sender, page) = sync_channel(1);
    let wanted = Wanted::From(from, READ_AT_ONCE);
    reads.ask(queue, wanted, Box::new(move |page| drop(sender.send(page))));
    let failed = || io::Error::other(format!("messages of queue {} can't be read back", queue.0));
    // A page that ends before it begins is the answer to a failure.
    page.recv().ok().filter(|page| page.through >= from && page.through > Seq(0)).ok_or_else(failed)
}
