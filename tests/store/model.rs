//! Random operations and ends against a naive model. A case that fails is printed, made as small as
//! it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ferrymq::store::record::{Note, QueueId, Record, Seq, SeqRange, Settled, ranges_of};
use ferrymq::store::{Batch, Opened};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::*;

/// What happens in a batch. Small numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Declare,
    Delete(usize),
    Enqueue {
        queues: Vec<usize>,
        len: usize,
    },
    /// From this many before the next number, so many; some of them may not be there yet.
    Settle {
        queue: usize,
        back: u64,
        count: u64,
    },
    Purge {
        queue: usize,
        back: u64,
    },
    Mark {
        queue: usize,
        back: u64,
    },
    /// From this many before the next number, so many; some of them may not be there yet.
    Return {
        queue: usize,
        back: u64,
        count: u64,
        failed: bool,
        due_ms: u64,
    },
    /// So many digests from a number on.
    See {
        queue: usize,
        first: u128,
        count: u128,
        keep: u32,
    },
    /// The message with a number that is left of so many.
    Move {
        from: usize,
        back: u64,
        to: Vec<usize>,
    },
}

#[derive(Debug, Clone)]
enum End {
    Clean,
    Crash,
    /// And sled's directory is lost.
    CrashWithoutCatalog,
    /// And sled's directory is that of the start.
    CrashWithOldCatalog,
}

fn step() -> impl Strategy<Value = Step> {
    let queues = || prop::collection::vec(0..4usize, 1..4);
    prop_oneof![
        2 => Just(Step::Declare),
        1 => (0..4usize).prop_map(Step::Delete),
        9 => (queues(), 0..1500usize).prop_map(|(queues, len)| Step::Enqueue { queues, len }),
        6 => (0..4usize, 0..20u64, 1..12u64)
            .prop_map(|(queue, back, count)| Step::Settle { queue, back, count }),
        1 => (0..4usize, 1..9u64).prop_map(|(queue, back)| Step::Purge { queue, back }),
        2 => (0..4usize, 0..9u64).prop_map(|(queue, back)| Step::Mark { queue, back }),
        4 => (0..4usize, 0..9u64, 1..9u64, any::<bool>(), 0..99u64).prop_map(
            |(queue, back, count, failed, due_ms)| {
                Step::Return { queue, back, count, failed, due_ms }
            }
        ),
        2 => (0..4usize, 0..300u128, 1..150u128, prop_oneof![1 => 0..9u32, 4 => 100..200u32])
            .prop_map(|(queue, first, count, keep)| Step::See { queue, first, count, keep }),
        2 => (0..4usize, 0..9u64, queues())
            .prop_map(|(from, back, to)| Step::Move { from, back, to }),
    ]
}

fn run() -> impl Strategy<Value = (Vec<Vec<Step>>, End)> {
    let batches = prop::collection::vec(prop::collection::vec(step(), 1..5), 1..25);
    let end = prop_oneof![
        Just(End::Clean),
        Just(End::Crash),
        Just(End::CrashWithoutCatalog),
        Just(End::CrashWithOldCatalog)
    ];
    (batches, end)
}

/// Length of the bodies of messages that are settled before they come.
const EARLY_LEN: usize = 10;

#[derive(Default)]
struct QueueModel {
    messages: BTreeMap<u64, Vec<u8>>,
    settled: BTreeSet<u64>,
    notes: BTreeMap<u64, Note>,
    seen: Vec<(u128, u64)>,
    delivered_upto: u64,
    next_seq: u64,
}

impl QueueModel {
    fn enqueue(&mut self, body: &[u8]) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        if !self.settled.contains(&seq) {
            self.messages.insert(seq, body.to_vec());
        }
        seq
    }

    /// Answers the bytes of the bodies of messages that were there.
    fn settle(&mut self, seqs: impl Iterator<Item = u64>) -> u64 {
        let gone = seqs.filter_map(|seq| {
            self.settled.insert(seq);
            self.notes.remove(&seq);
            self.messages.remove(&seq)
        });
        gone.map(|body| body.len() as u64).sum()
    }
}

impl QueueModel {
    /// Messages come back once more, those that are settled excepted.
    fn come_back(&mut self, seqs: impl Iterator<Item = u64>, failed: bool, due_ms: u64) {
        for seq in seqs.filter(|seq| !self.settled.contains(seq)) {
            let note = self.notes.entry(seq).or_default();
            note.failed += u32::from(failed);
            note.returned += u32::from(!failed);
            note.due_ms = due_ms;
        }
    }

    fn see(&mut self, digest: u128, until_ms: u64, keep: u32) {
        self.seen.retain(|(other, _)| *other != digest);
        self.seen.push((digest, until_ms));
        self.seen.drain(..self.seen.len().saturating_sub(keep as usize));
    }
}

#[derive(Default)]
struct Model {
    queues: BTreeMap<u64, QueueModel>,
    next_queue: u64,
    bodies: u32,
}

impl Model {
    /// New ids and numbers begin with the epoch, as the broker has it.
    fn begin(&mut self, opened: &Opened) {
        self.next_queue = u64::from(opened.epoch.0) << 32;
        for queue in self.queues.values_mut() {
            queue.next_seq = first_seq(opened);
        }
    }

    fn body(&mut self, len: usize) -> Vec<u8> {
        self.bodies += 1;
        format!("{:len$}", self.bodies).into_bytes()
    }

    fn choose(&self, number: usize) -> Option<u64> {
        self.queues.keys().nth(number % self.queues.len().max(1)).copied()
    }

    fn places(&mut self, numbers: &[usize], body: &[u8]) -> Vec<(u64, u64)> {
        let ids = self.chosen(numbers);
        let enqueue = |id| Some((id, self.queues.get_mut(&id)?.enqueue(body)));
        ids.into_iter().filter_map(enqueue).collect()
    }

    fn chosen(&self, numbers: &[usize]) -> BTreeSet<u64> {
        numbers.iter().filter_map(|number| self.choose(*number)).collect()
    }

    /// Whether a message to these queues is settled in one of them before it comes. Then it has the
    /// length that was said of it.
    fn is_early(&self, numbers: &[usize]) -> bool {
        let is_settled = |queue: &QueueModel| queue.settled.contains(&queue.next_seq);
        self.chosen(numbers).iter().any(|id| self.queues.get(id).is_some_and(is_settled))
    }

    /// Takes a step, and says it in records.
    fn take(&mut self, step: &Step, opened: &Opened) -> Batch {
        match step {
            Step::Declare if self.queues.len() < 4 => {
                let id = self.next_queue;
                self.next_queue += 1;
                let queue = QueueModel { next_seq: first_seq(opened), ..QueueModel::default() };
                self.queues.insert(id, queue);
                vec![declare(id)]
            }
            Step::Declare => Batch::new(),
            Step::Enqueue { queues, len } => {
                let len = if self.is_early(queues) { EARLY_LEN } else { *len };
                let body = self.body(len);
                vec![enqueue(&self.places(queues, &body), body)]
            }
            Step::Delete(number)
            | Step::Settle { queue: number, .. }
            | Step::Purge { queue: number, .. }
            | Step::Mark { queue: number, .. }
            | Step::Return { queue: number, .. }
            | Step::See { queue: number, .. }
            | Step::Move { from: number, .. } => match self.choose(*number) {
                Some(id) => self.take_in(id, step),
                None => Batch::new(),
            },
        }
    }

    fn take_in(&mut self, id: u64, step: &Step) -> Batch {
        let Some(queue) = self.queues.get_mut(&id) else { return Batch::new() };
        match step {
            Step::Settle { back, count, .. } => {
                let first = queue.next_seq - back;
                let new = (first..first + count).filter(|seq| !queue.settled.contains(seq));
                let seqs: Vec<Seq> = new.map(Seq).collect();
                let early = seqs.iter().filter(|seq| seq.0 >= queue.next_seq).count();
                let bytes = queue.settle(first..first + count) + (early * EARLY_LEN) as u64;
                let first_left = queue.messages.keys().next().copied().unwrap_or(queue.next_seq);
                let through = Seq(first_left.min(queue.next_seq) - 1);
                let settled = Settled { seqs: ranges_of(&seqs), bytes, through };
                vec![Record::Settle { queue: QueueId(id), settled }]
            }
            Step::Purge { back, .. } => {
                let upto = queue.next_seq - back;
                let below: Vec<u64> = queue.messages.range(..=upto).map(|(seq, _)| *seq).collect();
                let bytes = queue.settle(below.into_iter().chain(upto.saturating_sub(100)..=upto));
                queue.notes.retain(|seq, _| *seq > upto);
                let ranges = [SeqRange { first: Seq(0), last: Seq(upto) }].into_iter().collect();
                vec![Record::Purge { queue: QueueId(id), ranges, bytes }]
            }
            Step::Mark { back, .. } => {
                let upto = queue.next_seq - back;
                queue.delivered_upto = queue.delivered_upto.max(upto);
                vec![mark(id, upto)]
            }
            Step::Return { back, count, failed, due_ms, .. } => {
                let first = queue.next_seq - back;
                let before = queue.notes.clone();
                queue.come_back(first..first + count, *failed, *due_ms);
                let mut notes: Vec<(u64, Note)> = queue
                    .notes
                    .range(first..first + count)
                    .map(|(seq, note)| (*seq, *note))
                    .collect();
                // What was said before, and what is said of one that is settled, changes nothing.
                let older = notes.iter().filter_map(|(seq, _)| Some((*seq, *before.get(seq)?)));
                notes.extend(older.collect::<Vec<_>>());
                notes.extend(queue.settled.last().map(|seq| (*seq, Note::default())));
                vec![came_back(id, &notes)]
            }
            Step::See { first, count, keep, .. } => {
                let digests = (*first..*first + *count).map(|digest| (digest, self.bodies.into()));
                let see = |(digest, until_ms)| {
                    queue.see(digest, until_ms, *keep);
                    seen(id, digest, until_ms, *keep)
                };
                digests.map(see).collect()
            }
            Step::Move { back, to, .. } => {
                let nth = queue.messages.len().checked_sub(1 + *back as usize);
                let Some((seq, body)) = nth.and_then(|nth| queue.messages.iter().nth(nth)) else {
                    return Batch::new();
                };
                let (seq, body) = (*seq, body.clone());
                if self.is_early(to) && body.len() != EARLY_LEN {
                    return Batch::new();
                }
                self.queues.get_mut(&id).expect("it is there").settle(seq..=seq);
                let to = self.places(to, &body);
                vec![Record::Move {
                    from: (QueueId(id), Seq(seq)),
                    message: message(body),
                    to: to.into_iter().map(|(queue, seq)| (QueueId(queue), Seq(seq))).collect(),
                }]
            }
            _ => {
                self.queues.remove(&id);
                delete(id)
            }
        }
    }

    fn content(&self) -> Content {
        let definition = |id| format!("queue q{id} {id}");
        let mut definitions: Vec<String> = self.queues.keys().map(definition).collect();
        definitions.sort_unstable();
        let queues = self.queues.iter();
        let queues =
            queues.map(|(id, queue)| (*id, (queue.messages.clone(), queue.delivered_upto)));
        let queues = queues.collect();
        let of_queue = |(id, queue): (&u64, &QueueModel)| {
            let id = *id;
            queue.notes.clone().into_iter().map(move |(seq, note)| ((id, seq), note))
        };
        let notes = self.queues.iter().flat_map(of_queue).collect();
        let with_seen = self.queues.iter().filter(|(_, queue)| !queue.seen.is_empty());
        let seen = with_seen.map(|(id, queue)| (*id, queue.seen.clone())).collect();
        Content { definitions, queues, notes, seen }
    }
}

/// Without what is said of messages that aren't there. A note that was written before its message
/// came stays when that came and went in one window, until a settle says that all up to it are gone;
/// a mark goes when all that it is for are gone.
fn living(mut content: Content) -> Content {
    let queues = &content.queues;
    let lives = |(queue, seq): &(u64, u64)| queues[queue].0.contains_key(seq);
    content.notes.retain(|place, _| lives(place));
    for (messages, delivered_upto) in content.queues.values_mut() {
        let delivered = messages.range(..=*delivered_upto).next_back();
        *delivered_upto = delivered.map_or(0, |(seq, _)| *seq);
    }
    content
}

fn first_seq(opened: &Opened) -> u64 {
    // Some way into the epoch, so that steps back stay inside of it.
    (u64::from(opened.epoch.0) << 40) + 1000
}

fn end(opened: Opened, directory: TempDir, old: &TempDir, end: &End) -> TempDir {
    if matches!(end, End::Clean) {
        opened.store.close();
        return directory;
    }
    let left = crashed(directory.path());
    let catalog = |directory: &Path| directory.join("catalog");
    if !matches!(end, End::Crash) {
        std::fs::remove_dir_all(catalog(left.path())).expect("sled's directory");
    }
    if matches!(end, End::CrashWithOldCatalog) {
        std::fs::rename(catalog(old.path()), catalog(left.path())).expect("sled's directory");
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_content_is_that_of_the_model_after_every_end(
        runs in prop::collection::vec(run(), 1..5)
    ) {
        let mut model = Model::default();
        let mut directory = directory();
        for (batches, how) in runs {
            let opened = open_with(directory.path(), &SMALL_SEGMENTS);
            prop_assert_eq!(living(Content::of(&opened)), living(model.content()));
            let old = crashed(directory.path());
            model.begin(&opened);
            for steps in batches {
                let batch = steps.iter().flat_map(|step| model.take(step, &opened)).collect();
                commit(&opened, batch);
            }
            directory = end(opened, directory, &old, &how);
        }
        prop_assert_eq!(living(content(directory.path())), living(model.content()));
    }
}
