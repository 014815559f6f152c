//! Where in a segment the messages of each queue are.
//!
//! The index of the active segment is in memory; when the segment is full it is written beside it
//! (`index_file.rs`) and read from there in small parts, so that a long queue costs no memory. It
//! says nothing that the segment doesn't: one that is missing or damaged is made again.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::record::{QueueId, QueueMap, Seq};

/// Entries that stand together, in memory and in the file.
pub(super) const BLOCK_ENTRIES: usize = 256;

/// A message's bytes in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) body_len: u32,
}

impl Place {
    /// Nothing when it lies beyond what a segment may have.
    pub(super) fn new(offset: u64, len: u64, body_len: u64) -> Option<Self> {
        let [offset, len, body_len] = [offset, len, body_len].map(u32::try_from);
        Some(Self { offset: offset.ok()?, len: len.ok()?, body_len: body_len.ok()? })
    }

    pub(super) fn end(self) -> i64 {
        i64::from(self.offset).saturating_add(i64::from(self.len))
    }
}

/// Where the message with a sequence number is. The number is in two halves: a third of the memory
/// of a long index would be padding otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    seq: [u32; 2],
    pub(super) place: Place,
}

impl Entry {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    pub(super) fn new(seq: Seq, place: Place) -> Self {
        Self { seq: [(seq.0 >> 32) as u32, seq.0 as u32], place }
    }

    pub(super) fn seq(&self) -> Seq {
        let [high, low] = self.seq;
        Seq(u64::from(high) << 32 | u64::from(low))
    }
}

/// One queue's entries, in parts of bounded length: a long list never moves.
#[derive(Debug, Default)]
struct Entries {
    /// Few messages of a queue are in one segment where there are many queues: the first block
    /// stands here itself.
    blocks: SmallVec<[Vec<Entry>; 1]>,
    /// They are by ascending number, as they nearly always come.
    sorted: bool,
}

impl Entries {
    fn last(&self) -> Option<&Entry> {
        self.blocks.last()?.last()
    }

    fn push(&mut self, entry: Entry) {
        match self.last() {
            None => self.sorted = true,
            Some(last) if last.seq() >= entry.seq() => self.sorted = false,
            Some(_) => {}
        }
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES => block.push(entry),
            _ => self.blocks.push(vec![entry]),
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            let mut all: Vec<Entry> = self.blocks.drain(..).flatten().collect();
            all.sort_by_key(Entry::seq);
            // A message that was carried twice is in the log twice: either is as good.
            all.dedup_by_key(|entry| entry.seq());
            self.blocks = all.chunks(BLOCK_ENTRIES).map(<[Entry]>::to_vec).collect();
            self.sorted = true;
        }
    }

    /// Entries with numbers from `first` to `last`, at most `max`.
    fn range(&self, first: Seq, last: Seq, max: usize) -> Vec<Entry> {
        let before = |block: &Vec<Entry>| block.last().is_some_and(|entry| entry.seq() < first);
        let start = self.blocks.partition_point(before);
        let blocks = self.blocks.get(start..).unwrap_or_default().iter().flatten();
        let from_first = blocks.skip_while(|entry| entry.seq() < first);
        from_first.take_while(|entry| entry.seq() <= last).take(max).copied().collect()
    }
}

/// A segment's index in memory.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    queues: QueueMap<Entries>,
}

impl SegmentIndex {
    pub(super) fn add(&mut self, queue: QueueId, seq: Seq, place: Place) {
        self.queues.entry(queue).or_default().push(Entry::new(seq, place));
    }

    /// Brings a queue's entries into order, as [`SegmentIndex::range`] needs them.
    pub(super) fn sort_queue(&mut self, queue: QueueId) {
        if let Some(entries) = self.queues.get_mut(&queue) {
            entries.sort();
        }
    }

    /// Brings all entries into order.
    pub(super) fn sort(&mut self) {
        self.queues.values_mut().for_each(Entries::sort);
    }

    /// Entries of a queue with numbers from `first` to `last`, at most `max`.
    pub(super) fn range(&self, queue: QueueId, first: Seq, last: Seq, max: usize) -> Vec<Entry> {
        self.queues.get(&queue).map_or_else(Vec::new, |entries| entries.range(first, last, max))
    }

    /// All entries, in no order of the queues.
    pub(super) fn each(&self, mut each: impl FnMut(QueueId, Seq, Place)) {
        for (queue, entries) in &self.queues {
            entries
                .blocks
                .iter()
                .flatten()
                .for_each(|entry| each(*queue, entry.seq(), entry.place));
        }
    }

    /// The entries of each queue, which are in order: by queue, in blocks.
    pub(super) fn blocks(&self) -> BTreeMap<QueueId, &[Vec<Entry>]> {
        self.queues.iter().map(|(queue, entries)| (*queue, entries.blocks.as_slice())).collect()
    }
}
