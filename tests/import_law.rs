//! Who may import whom, and the other rules that a program can hold people to.
//!
//! The law is one table. Each rule is proved to be able to fail on a snippet that breaks it.

use std::path::{Path, PathBuf};

/// A module (by the beginning of its path under src/) and the modules of ours that it may use.
const LAW: &[(&str, &[&str])] = &[
    ("protocol/", &["protocol"]),
    ("store/", &["store", "protocol", "metrics"]),
    ("broker/", &["broker", "store", "protocol", "metrics", "alert_rule"]),
    ("connection/", &["connection", "broker", "store", "protocol"]),
    ("http/", &["http", "alert", "broker", "store", "protocol", "host", "metrics"]),
    ("ctl/", &["ctl", "store", "protocol"]),
    ("perf/", &["perf", "protocol"]),
    ("alert/", &["alert", "alert_rule", "broker", "store", "protocol"]),
    ("alert_rule.rs", &[]),
    ("listener.rs", &[]),
    (
        "server.rs",
        &["alert", "broker", "config", "connection", "host", "http", "listener", "store"],
    ),
    ("config/", &["config", "alert_rule"]),
    ("host.rs", &[]),
    ("metrics.rs", &[]),
    ("telemetry.rs", &[]),
    ("lib.rs", &[]),
    ("bin/", &[]),
];

/// Words that only these places may use.
const RESERVED: &[(&str, &[&str])] = &[
    ("sled::", &["store/catalog.rs"]),
    ("std::fs", &["store/", "config/file.rs", "host.rs", "perf/process.rs", "ctl/file.rs"]),
    ("tokio::fs", &[]),
    ("tokio::net", &["listener.rs", "server.rs", "connection/", "http/"]),
    (
        "Instant::now",
        &[
            "http/metrics/lag.rs",
            "connection/",
            "bin/ferrymq.rs",
            "store/committer.rs",
            "store/upkeep.rs",
            "perf/",
            "ctl/wait.rs",
        ],
    ),
    ("SystemTime::now", &["broker/timers.rs"]),
    ("protocol::frame", &["protocol/", "connection/", "perf/"]),
    ("protocol::generated", &["protocol/", "connection/", "perf/"]),
];

/// Places that do without these words, so that they stay pure.
const PURE: &[(&str, &[&str])] = &[
    ("protocol/", &["tokio::", "Instant", "SystemTime", "Mutex", "RwLock"]),
    (
        "broker/queue/state.rs",
        &[
            "tokio::",
            "Instant",
            "SystemTime",
            "Mutex",
            "RwLock",
            "parking_lot",
            "dashmap",
            ".await",
        ],
    ),
];

/// Words that no source file has: work left over, buffers without a limit, hosts of registries.
const BANNED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    "unbounded_channel",
    "unbounded(",
    "mpsc::channel;",
    "mpsc::{channel",
    "mpsc::channel()",
    "crates.io",
    "pypi.org",
    "npmjs",
];

/// Imports of several roots at once, and ways around `crate::`, which the law couldn't read.
const UNREADABLE: &[&str] = &["crate::{", "std::{", "tokio::{", "super::super"];

const FILE_LINES_MAX: usize = 500;
const LINE_LEN_MAX: usize = 100;

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("src/ can be read") {
            let path = entry.expect("src/ can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    assert!(paths.len() > 50, "the sources were not found");
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source can be read");
            let name = path.strip_prefix(&root).expect("under src/");
            (name.to_str().expect("UTF-8").to_owned(), text)
        })
        .collect()
}

/// The part of a file that is built into the programs.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn breaks_law(name: &str, text: &str) -> Vec<String> {
    let law = LAW.iter().find(|(module, _)| name.starts_with(module));
    let Some((_, allowed)) = law else { return vec![format!("{name} has no place in the law")] };
    let mut broken = Vec::new();
    for line in code_lines(text) {
        for used in line.split("crate::").skip(1) {
            let module: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !allowed.contains(&module.as_str()) {
                broken.push(format!("{name} may not use crate::{module}"));
            }
        }
        if let Some(word) = UNREADABLE.iter().find(|word| line.contains(**word)) {
            broken.push(format!("{name} has {word}: one root a line, by its own name"));
        }
    }
    // In a module right under the root, the parent is the root.
    let is_under_root = name.ends_with("/mod.rs") && name.matches('/').count() == 1;
    let is_root_file = !name.contains('/');
    if (is_under_root || is_root_file)
        && code_lines(without_tests(text)).any(|line| line.contains("super::"))
    {
        broken.push(format!("{name} may not go around crate:: by super::"));
    }
    broken
}

fn breaks_purity(name: &str, text: &str) -> Vec<String> {
    let text = without_tests(text);
    PURE.iter()
        .filter(|(place, _)| name.starts_with(place))
        .flat_map(|(_, words)| words.iter())
        .filter(|word| code_lines(text).any(|line| line.contains(**word)))
        .map(|word| format!("{name} may not use {word}"))
        .collect()
}

fn breaks_reservation(name: &str, text: &str) -> Vec<String> {
    let text = without_tests(text);
    RESERVED
        .iter()
        .filter(|(word, places)| {
            !places.iter().any(|place| name.starts_with(place))
                && code_lines(text).any(|line| line.contains(word))
        })
        .map(|(word, _)| format!("{name} may not use {word}"))
        .collect()
}

fn breaks_house_rules(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push(format!("{name} doesn't say what it is for"));
    }
    let is_generated = text.starts_with("//! GENERATED");
    if text.lines().count() > FILE_LINES_MAX && !is_generated {
        broken.push(format!("{name} has more than {FILE_LINES_MAX} lines"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        // What rustfmt leaves long is a sentence in quotes.
        let is_long = line.chars().count() > LINE_LEN_MAX && !line.contains('"');
        if is_long && !is_generated {
            broken.push(format!("{name}:{number} is longer than {LINE_LEN_MAX}"));
        }
        if BANNED.iter().any(|word| line.contains(word)) {
            broken.push(format!("{name}:{number} has a banned word"));
        }
    }
    broken
}

fn check(rule: impl Fn(&str, &str) -> Vec<String>) {
    let broken: Vec<String> = sources().iter().flat_map(|(name, text)| rule(name, text)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn modules_import_only_what_the_law_allows() {
    check(breaks_law);
    let forbidden = [
        ("protocol/x.rs", "use crate::broker::Broker;"),
        ("store/x.rs", "use crate::broker::queue::Queue;"),
        ("broker/x.rs", "    crate::connection::serve();"),
        ("http/x.rs", "use crate::connection::ConnectionSettings;"),
        ("config/x.rs", "use crate::server::Server;"),
        ("ctl/x.rs", "use crate::connection::serve;"),
        ("connection/x.rs", "use crate::{http, server};"),
        ("broker/x.rs", "use super::super::connection;"),
        ("broker/mod.rs", "use super::connection;"),
        ("listener.rs", "use super::connection;"),
        ("nowhere.rs", ""),
    ];
    for (name, text) in forbidden {
        assert!(!breaks_law(name, text).is_empty(), "{name}: {text}");
    }
}

#[test]
fn pure_places_know_no_clock_no_lock_and_no_task() {
    check(breaks_purity);
    let forbidden = [
        ("protocol/x.rs", "use tokio::net::TcpStream;"),
        ("protocol/x.rs", "let now = SystemTime::now();"),
        ("broker/queue/state.rs", "use parking_lot::Mutex;"),
        ("broker/queue/state.rs", "done.await;"),
    ];
    for (name, text) in forbidden {
        assert!(!breaks_purity(name, text).is_empty(), "{name}: {text}");
    }
}

#[test]
fn reserved_words_stay_in_their_places() {
    check(breaks_reservation);
    let forbidden = [
        ("store/disk.rs", "sled::open()"),
        ("broker/x.rs", "std::fs::read()"),
        ("http/x.rs", "std::fs::read_to_string(proc)"),
        ("broker/x.rs", "tokio::net::TcpStream"),
        ("broker/queue/state.rs", "Instant::now()"),
        ("broker/x.rs", "use crate::protocol::frame::Frame;"),
    ];
    for (name, text) in forbidden {
        assert!(!breaks_reservation(name, text).is_empty(), "{name}: {text}");
    }
}

#[test]
fn files_keep_the_house_rules() {
    check(breaks_house_rules);
    let long = "//! x\n".to_owned() + &"x\n".repeat(FILE_LINES_MAX);
    let wide = "//! x\n".to_owned() + &"x".repeat(LINE_LEN_MAX + 1);
    for text in ["use std::fmt;", &long, &wide] {
        assert!(!breaks_house_rules("x.rs", text).is_empty());
    }
    for word in BANNED {
        assert!(!breaks_house_rules("x.rs", &format!("//! x\n// {word}")).is_empty(), "{word}");
    }
    assert!(breaks_house_rules("x.rs", "//! x\nuse std::fmt;").is_empty());
}

/// The places that ARCHITECTURE.md names in its tables, as `file` · `function`, and those that
/// don't exist.
fn places_missing_in(architecture: &str, sources: &[(String, String)]) -> (usize, Vec<String>) {
    let (mut named, mut missing) = (0, Vec::new());
    for row in architecture.lines().filter(|line| line.starts_with('|') && line.contains(" · ")) {
        let mut file: Option<&(String, String)> = None;
        for word in row.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") && !word.contains('*') {
                file = sources.iter().find(|(name, _)| name == word);
                named += 1;
                if file.is_none() {
                    missing.push(word.to_owned());
                }
            } else if let Some((name, text)) = file {
                let function = word.rsplit("::").next().unwrap_or(word);
                named += 1;
                if !text.contains(&format!("fn {function}")) {
                    missing.push(format!("{name} · {word}"));
                }
            }
        }
    }
    (named, missing)
}

#[test]
fn the_paths_in_the_architecture_are_the_code_s() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let (named, missing) = places_missing_in(&text, &sources());
    assert!(named > 40, "{named} places");
    assert!(missing.is_empty(), "{missing:#?}");
    let stale = "| x | `server.rs` · `no_such_function` | y |\n| x | `no_such.rs` · `f` | y |";
    assert_eq!(places_missing_in(stale, &sources()).1.len(), 2);
}
