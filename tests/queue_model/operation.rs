//! What can happen to a queue's state. Large numbers choose among what there is.

use proptest::prelude::*;

use crate::support::LEN_MAX;

/// The levels that are used; there are others between them.
pub const LEVELS: [u8; 3] = [0, 1, 4];

#[derive(Debug, Clone)]
pub enum Operation {
    /// At one of the levels; in a queue that delays its messages, for a time from now.
    Enqueue {
        level: usize,
        stored: bool,
        len: u64,
        wait_ms: u64,
    },
    EndRun,
    Take {
        no_ack: bool,
    },
    /// The oldest of a level goes: it is too old.
    TakeFrom(usize),
    /// The oldest of the lowest level goes: there are too many.
    TakeLowest,
    /// The next is kept for a consumer that can't take it yet, as those of its group are.
    SetAside,
    HandOutAside {
        index: usize,
        no_ack: bool,
    },
    PutBackAside(usize),
    Settle(usize),
    /// What came back is ready again at once.
    PutBack(usize),
    /// Somebody takes a ready message out of wherever it stands.
    Pick(usize),
    /// Somebody looks at all ready messages, so many at a time.
    View(usize),
    /// What came back waits.
    Delay {
        index: usize,
        failed: bool,
        wait_ms: u64,
    },
    Purge,
    AskMarks(u64),
    AnswerMark {
        level: usize,
        written: bool,
    },
    /// So many more of a level's messages are on disk.
    OnDisk {
        level: usize,
        count: u64,
    },
    /// What is wanted is asked for, and found as it is then.
    AskRead,
    /// What was found comes.
    AnswerRead(usize),
    /// What the head of a level may cost, in messages.
    HeadMax(u64),
    /// Time goes by.
    Pass(u64),
    /// What is due is taken.
    TakeDue,
    /// What was due and on disk comes, or can't be read.
    AnswerDue {
        lost: bool,
    },
}

pub fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let level = || 0..LEVELS.len();
    prop_oneof![
        8 => (level(), any::<bool>(), 0..LEN_MAX, waits()).prop_map(
            |(level, stored, len, wait_ms)| Enqueue { level, stored, len, wait_ms }
        ),
        4 => Just(EndRun),
        6 => any::<bool>().prop_map(|no_ack| Take { no_ack }),
        1 => level().prop_map(TakeFrom),
        1 => Just(TakeLowest),
        2 => Just(SetAside),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(index, no_ack)| HandOutAside { index, no_ack }),
        1 => any::<usize>().prop_map(PutBackAside),
        3 => any::<usize>().prop_map(Settle),
        2 => any::<usize>().prop_map(PutBack),
        3 => any::<usize>().prop_map(Pick),
        1 => (1..9usize).prop_map(View),
        3 => (any::<usize>(), any::<bool>(), waits())
            .prop_map(|(index, failed, wait_ms)| Delay { index, failed, wait_ms }),
        1 => Just(Purge),
        3 => (0..4u64).prop_map(AskMarks),
        3 => (level(), any::<bool>()).prop_map(|(level, written)| AnswerMark { level, written }),
        3 => (level(), 0..9u64).prop_map(|(level, count)| OnDisk { level, count }),
        4 => Just(AskRead),
        4 => level().prop_map(AnswerRead),
        1 => (0..6u64).prop_map(HeadMax),
        2 => (0..3000u64).prop_map(Pass),
        3 => Just(TakeDue),
        3 => any::<u8>().prop_map(|chance| AnswerDue { lost: chance < 16 }),
    ]
}

/// Times that a message waits, in milliseconds: none, so short that it stays in memory, longer, and
/// for ever.
fn waits() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 4 => 0..2_000u64, 4 => 2_000..20_000u64, 1 => Just(u64::MAX)]
}

/// A message that a last run left.
#[derive(Debug, Clone)]
pub struct Left {
    pub len: u64,
    pub failed: u32,
    pub returned: u32,
    /// It waits until then; 0: it doesn't.
    pub due_ms: u64,
    /// It was counted, and can't be read.
    pub lost: bool,
}

/// What a last run left of a level.
#[derive(Debug, Clone)]
pub struct LeftLevel {
    pub messages: Vec<Left>,
    /// Messages from the first that may have been delivered.
    pub delivered: usize,
}

/// What a queue is before the first operation.
#[derive(Debug, Clone)]
pub struct Start {
    /// What comes into the queue waits there, and leaves it when it is due.
    pub delays: bool,
    pub levels: Vec<LeftLevel>,
}

/// A queue that delays what comes into it, or one that doesn't.
pub fn start(delays: bool) -> impl Strategy<Value = Start> {
    let due = prop_oneof![2 => Just(0), 2 => 1..20_000u64];
    let left = (0..LEN_MAX, 0..3u32, 0..3u32, due, any::<u8>());
    let left = left.prop_map(|(len, failed, returned, due_ms, chance)| Left {
        len,
        failed,
        returned,
        due_ms,
        lost: chance < 16,
    });
    let messages = prop_oneof![
        1 => Just(Vec::new()).boxed(),
        1 => prop::collection::vec(left, 0..12).boxed(),
    ];
    let level = (messages, 0..13usize).prop_map(|(messages, delivered)| LeftLevel {
        delivered: delivered.min(messages.len()),
        messages,
    });
    prop::collection::vec(level, LEVELS.len()).prop_map(move |levels| Start { delays, levels })
}
