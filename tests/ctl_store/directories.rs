//! Directories to be looked at, and short ways to have the built program look at them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ferrymq::store::StoreSettings;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::*;

/// Some segments, none of which is rewritten meanwhile.
pub const SEGMENTS: StoreSettings =
    StoreSettings { rewrite_after: Duration::from_secs(3600), ..SMALL_SEGMENTS };

pub const MESSAGES: u64 = 30;

pub fn body(seq: u64) -> String {
    format!("message {seq:03} {}", "x".repeat(400))
}

/// A directory with full segments, left in order: queue 1 has all but the first three of its
/// messages, every third of them is in queue 2, too; queue 9 was deleted.
pub fn left_in_order() -> TempDir {
    let directory = directory();
    let opened = open_with(directory.path(), &SEGMENTS);
    commit(&opened, vec![vhost("/"), declare(1), declare(2), declare(9)]);
    for seq in 1..=MESSAGES {
        let both: &[(u64, u64)] = if seq % 3 == 0 { &[(1, seq), (2, seq)] } else { &[(1, seq)] };
        commit(&opened, vec![enqueue(both, body(seq)), enqueue(&[(9, seq)], "gone")]);
    }
    commit(&opened, vec![settle(1, 1, 3, 3 * body(1).len() as u64), mark(1, 7)]);
    commit(&opened, delete(9));
    opened.store.close();
    assert!(segments(directory.path()).len() > 3, "several segments");
    directory
}

/// One segment, as a crash leaves it: a message a batch, and where each batch ends.
pub fn crashed_in_one_segment() -> (TempDir, Vec<usize>) {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![vhost("/"), declare(1)]);
    let end = || written_len(&segments(directory.path())[0]);
    let mut ends = vec![end()];
    for seq in 1..=5 {
        commit(&opened, vec![enqueue(&[(1, seq)], body(seq))]);
        ends.push(end());
    }
    (crashed(directory.path()), ends)
}

/// Runs it once nobody has the directory. A process that another test is about to start holds for a
/// moment all files that this one had open, and so the lock of a store that was closed meanwhile.
pub fn ctl(arguments: &[&str]) -> Output {
    let start = Instant::now();
    loop {
        let output = ctl_at_once(arguments);
        let is_in_use = String::from_utf8_lossy(&output.stderr).contains("is in use by a");
        if !is_in_use || start.elapsed() > DEADLINE {
            return output;
        }
    }
}

pub fn ctl_at_once(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymqctl"));
    command.arg("store").args(arguments).output().expect("the program runs")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Every file with its bytes.
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).expect("readable"));
        }
    }
    files
}

/// What `check` says; the directory stays as it is.
pub fn checked(directory: &Path) -> (Option<i32>, Value) {
    let before = tree(directory);
    let output = ctl(&["check", text(directory), "--json"]);
    assert!(tree(directory) == before, "check changed something");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

/// The kinds of the problems of a report, by file.
pub fn problems(report: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for file in report["files"].as_array().expect("files") {
        for problem in file["problems"].as_array().expect("problems") {
            let [file, kind] = [&file["file"], &problem["kind"]];
            let word = |value: &Value| value.as_str().expect("text").to_owned();
            problems.push((word(file), word(kind)));
        }
    }
    problems
}

pub fn kinds(report: &Value) -> Vec<String> {
    problems(report).into_iter().map(|(_, kind)| kind).collect()
}

pub fn lost(report: &Value) -> u64 {
    let queues = report["queues"].as_array().expect("queues");
    queues.iter().map(|queue| queue["lost"].as_u64().expect("a count")).sum()
}

/// What was saved of a directory, opened as a broker opens it, and the exit code. The original stays
/// as it is, and the new one is whole.
pub fn repaired(directory: &Path) -> (Option<i32>, Content) {
    let before = tree(directory);
    let parent = self::directory();
    let to = parent.path().join("new");
    let output = ctl(&["repair", text(directory), "--to", text(&to)]);
    assert!(tree(directory) == before, "repair changed the original");
    assert!(to.join("log").exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, report) = checked(&to);
    assert_eq!((code, problems(&report)), (Some(0), vec![]));
    (output.status.code(), content(&to))
}

pub fn assert_saved(directory: &Path, code: Option<i32>, content: &Content) {
    let saved = repaired(directory);
    assert_eq!(saved.0, code);
    // Not the bodies: they would fill the screen.
    assert_eq!(saved.1.definitions, content.definitions);
    let numbers = |content: &Content| -> Vec<(u64, Vec<u64>, u64)> {
        let queues = content.queues.iter();
        queues.map(|(queue, (m, mark))| (*queue, m.keys().copied().collect(), *mark)).collect()
    };
    assert_eq!(numbers(&saved.1), numbers(content));
    assert!(saved.1 == *content, "other bodies, notes or digests");
}

pub fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("readable");
    how(&mut bytes);
    std::fs::write(path, bytes).expect("writable");
}

pub fn find(bytes: &[u8], what: &str) -> usize {
    let found = bytes.windows(what.len()).position(|window| window == what.as_bytes());
    found.unwrap_or_else(|| panic!("{what:?} is not there"))
}

/// The segment with a message, and the message's place.
pub fn segment_with(directory: &Path, what: &str) -> (PathBuf, usize) {
    let has = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("readable");
        bytes.windows(what.len()).any(|window| window == what.as_bytes())
    };
    let path = segments(directory).into_iter().find(has).expect("it is somewhere");
    let offset = find(&std::fs::read(&path).expect("readable"), what);
    (path, offset)
}

pub fn without(mut content: Content, queue: u64, seqs: &[u64]) -> Content {
    let messages = &mut content.queues.get_mut(&queue).expect("a queue").0;
    messages.retain(|seq, _| !seqs.contains(seq));
    content
}
