//! Writes that fail, the end, one process at a time.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use ferrymq::store::{self, AppendError, StoreSettings, StoreState};

use crate::support::*;

/// Where the child of the test of failing writes keeps its data.
const CHILD_DIRECTORY: &str = "FERRYMQ_TEST_DIRECTORY";

/// Messages that fit for certain.
const CERTAIN: u64 = 20;

#[test]
fn a_directory_belongs_to_one_store_at_a_time() {
    let directory = directory();
    let opened = open(directory.path());
    let Err(error) = store::open(directory.path(), &StoreSettings::default()) else {
        panic!("opened twice")
    };
    let text = error.to_string();
    let path = directory.path().to_str().expect("text");
    for words in [path, "in use by another ferrymq process", "stop that one"] {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    opened.store.close();
    open(directory.path());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_name_and_a_remedy() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("writable");
    let Err(error) = store::open(&file.join("data"), &StoreSettings::default()) else {
        panic!("opened")
    };
    let text = error.to_string();
    assert!(text.contains(file.to_str().expect("text")) && text.contains("--data-dir"), "{text}");
}

#[test]
fn after_the_end_appends_are_answered_closed() {
    let directory = directory();
    let opened = open(directory.path());
    let waiting = append(&opened, vec![vhost("/")]);
    opened.store.close();
    assert!(waiting.recv_timeout(DEADLINE).expect("an answer").is_ok(), "what came before is done");
    assert_eq!(*opened.store.state().borrow(), StoreState::Closed);
    for _ in 0..3 {
        let answer = append(&opened, vec![vhost("late")]).recv_timeout(DEADLINE);
        assert!(matches!(answer, Ok(Err(AppendError::Closed(_)))), "{answer:?}");
    }
    opened.store.close();
    drop(opened);
    assert_eq!(content(directory.path()).definitions, ["vhost /"]);
}

#[test]
fn answers_come_in_order_on_one_thread_that_is_not_the_callers() {
    let directory = directory();
    let opened = open(directory.path());
    let answers: Arc<Mutex<Vec<(u64, ThreadId)>>> = Arc::default();
    let (done, all_done) = channel::<()>();
    for number in 0..500 {
        let (answers, done) = (Arc::clone(&answers), done.clone());
        // Those that only settle wait a little, and none may overtake them.
        let batch = if number % 3 == 0 { vec![settle(1, 1, 1, 0)] } else { vec![vhost("/")] };
        let answer = move |outcome: Result<_, _>| {
            assert!(outcome.is_ok());
            answers.lock().expect("nobody panics").push((number, std::thread::current().id()));
            drop(done);
        };
        opened.store.append(batch, Some(Box::new(answer)));
    }
    drop(done);
    assert_eq!(all_done.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    let answers = answers.lock().expect("nobody panics");
    assert!(answers.iter().map(|(number, _)| *number).eq(0..500), "{answers:?}");
    let thread = answers[0].1;
    assert!(answers.iter().all(|(_, other)| *other == thread));
    assert_ne!(thread, std::thread::current().id());
}

#[test]
fn what_nobody_waits_for_is_committed_soon() {
    let directory = directory();
    let opened = open(directory.path());
    let before = len_of_log(directory.path());
    opened.store.append(vec![mark(1, 1)], None);
    wait_until("it is written", || len_of_log(directory.path()) > before);
}

fn len_of_log(directory: &Path) -> usize {
    segments(directory).iter().map(|segment| written_len(segment)).sum()
}

#[test]
fn a_panic_in_a_callback_harms_nobody_else() {
    let directory = directory();
    let opened = open(directory.path());
    opened.store.append(vec![vhost("a")], Some(Box::new(|_| panic!("on purpose"))));
    commit(&opened, vec![vhost("b")]);
    opened.store.close();
    assert_eq!(*opened.store.state().borrow(), StoreState::Closed);
    drop(opened);
    assert_eq!(content(directory.path()).definitions, ["vhost a", "vhost b"]);
}

#[test]
fn a_callback_may_hold_the_last_reference_to_the_store() {
    let directory = directory();
    let opened = open(directory.path());
    let store = Arc::clone(&opened.store);
    let (sender, dropped) = channel::<()>();
    let last = move |_: Result<_, _>| {
        wait_until("it is the last", || Arc::strong_count(&store) == 1);
        drop(store);
        drop(sender);
    };
    opened.store.append(vec![vhost("/")], Some(Box::new(last)));
    drop(opened);
    assert_eq!(dropped.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    wait_until("the directory is free again", || {
        store::open(directory.path(), &StoreSettings::default()).is_ok()
    });
    assert_eq!(content(directory.path()).definitions, ["vhost /"]);
}

/// The limit of a process on the length of its files stands in for a full disk. A process of its
/// own is needed for that: this binary again, with one test.
#[test]
fn a_failed_write_is_final_and_loses_nothing_that_was_confirmed() {
    let directory = directory();
    let binary = std::env::current_exe().expect("a path");
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""])
        .arg(binary)
        .args(["--exact", "failure::fills_the_disk", "--ignored", "--nocapture"])
        .env(CHILD_DIRECTORY, directory.path())
        .status()
        .expect("a shell");
    assert!(status.success());
    let confirmed = std::fs::read_to_string(directory.path().join("confirmed")).expect("a note");
    let confirmed: usize = confirmed.parse().expect("a number");
    let found = content(directory.path()).bodies(1).len();
    assert!(found >= confirmed, "{found} of {confirmed} confirmed");
}

#[test]
#[ignore = "is run by a_failed_write_is_final_and_loses_nothing_that_was_confirmed"]
fn fills_the_disk() {
    let directory = std::env::var_os(CHILD_DIRECTORY).expect("run by the other test");
    let opened = open(directory.as_ref());
    commit(&opened, vec![declare(1)]);
    let large = |seq| vec![enqueue(&[(1, seq)], vec![b'x'; 100_000])];
    commit_all(&opened, (1..=CERTAIN).map(large).collect());
    // Much more than fits, so that there is something behind the batch that fails.
    let answers: Vec<_> = (CERTAIN + 1..=800).map(|seq| append(&opened, large(seq))).collect();
    let outcomes: Vec<_> =
        answers.iter().map(|answer| answer.recv_timeout(DEADLINE).expect("an answer")).collect();
    let confirmed = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    let after = outcomes.iter().skip(confirmed);
    assert!(after.clone().all(Result::is_err), "nothing is confirmed after a failure");
    assert!(matches!(after.clone().next(), Some(Err(AppendError::Unknown(_)))));
    assert!(after.is_sorted_by_key(|outcome| matches!(outcome, Err(AppendError::Closed(_)))));
    assert!(matches!(&*opened.store.state().borrow(), StoreState::Failed(_)));
    let late = append(&opened, vec![settle(1, 1, 1, 0)]);
    assert!(matches!(late.recv_timeout(DEADLINE), Ok(Err(AppendError::Closed(_)))));
    opened.store.close();
    assert!(
        matches!(&*opened.store.state().borrow(), StoreState::Failed(_)),
        "a failure stays one"
    );
    let note = std::path::Path::new(&directory).join("confirmed");
    std::fs::write(note, (CERTAIN + confirmed as u64).to_string()).expect("short enough");
}
