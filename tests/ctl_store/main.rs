//! `ferrymqctl store`, the built program: directories of every kind checked, dumped and repaired,
//! and never changed.
//!
//! A program of its own: a process that is being started holds for a moment what was open in the one
//! that starts it, locks included, and the store's tests open their directories again and again.
//!
//! * here  what `check` says and what `repair` saves of a damaged directory
//! * `directories`  what is looked at, and how
//! * `dump`  what is printed of definitions and messages

#[path = "../store/support.rs"]
#[allow(dead_code, reason = "the store's tests use the rest of it")]
mod support;

mod directories;
mod dump;

use std::path::{Path, PathBuf};

use ferrymq::store::Note;
use serde_json::json;

use directories::*;
use support::*;

#[test]
fn a_whole_directory_is_whole_and_its_queues_are_counted() {
    let left = left_in_order();
    let (code, report) = checked(left.path());
    assert_eq!((code, problems(&report)), (Some(0), vec![]));
    let len = body(1).len() as u64;
    let expected = json!([
        {"vhost": "/", "name": "q1", "id": 1, "messages": 27, "bytes": 27 * len, "lost": 0},
        {"vhost": "/", "name": "q2", "id": 2, "messages": 10, "bytes": 10 * len, "lost": 0},
    ]);
    assert_eq!(report["queues"], expected);
    let said = ctl(&["check", text(left.path())]).stdout;
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(said.contains("is whole") && said.contains("\"q1\" in the vhost \"/\""), "{said}");
}

#[test]
fn a_directory_after_a_crash_is_whole() {
    let (left, _) = crashed_in_one_segment();
    let (code, report) = checked(left.path());
    assert_eq!((code, problems(&report)), (Some(0), vec![]));
    assert_saved(left.path(), Some(0), &content(crashed(left.path()).path()));
}

#[test]
fn a_whole_directory_is_saved_as_it_is_and_no_epoch_is_used_twice() {
    let left = left_in_order();
    let before = open(crashed(left.path()).path()).epoch;
    let to = directory();
    let output = ctl(&["repair", text(left.path()), "--to", text(to.path())]);
    assert_eq!(output.status.code(), Some(0), "an empty directory may be there");
    let opened = open(to.path());
    assert!(opened.epoch >= before, "{:?} after {before:?}", opened.epoch);
    assert_eq!(Content::of(&opened), content(crashed(left.path()).path()));
}

#[test]
fn a_damaged_message_is_named_with_its_queues_and_costs_no_other() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let (path, offset) = segment_with(left.path(), &body(12));
    change(&path, |bytes| bytes[offset + 30] ^= 1);
    let (code, report) = checked(left.path());
    let name = format!("log/{}", path.file_name().expect("a name").to_str().expect("UTF-8"));
    assert_eq!(code, Some(1));
    assert_eq!(problems(&report), [(name.clone(), "damaged_message".to_owned())]);
    let files = report["files"].as_array().expect("files");
    let file = files.iter().find(|file| file["file"] == name.as_str()).expect("the segment");
    let problem = &file["problems"][0];
    let both = json!([{"vhost": "/", "name": "q1"}, {"vhost": "/", "name": "q2"}]);
    assert_eq!(problem["queues"], both);
    let from = problem["offset"].as_u64().expect("an offset");
    let to = from + problem["bytes"].as_u64().expect("a length");
    assert!((from..to).contains(&(offset as u64)), "{problem}");
    assert_eq!(lost(&report), 2);
    let expected = without(without(whole, 1, &[12]), 2, &[12]);
    assert_saved(left.path(), Some(1), &expected);
}

#[test]
fn a_damaged_message_that_was_settled_is_no_loss() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let (path, offset) = segment_with(left.path(), &body(2));
    change(&path, |bytes| bytes[offset] ^= 1);
    let (code, report) = checked(left.path());
    assert_eq!((code, kinds(&report), lost(&report)), (Some(1), vec!["damaged_message".into()], 0));
    assert_saved(left.path(), Some(0), &whole);
}

/// A broker passes over the whole batch when it reads the whole log.
#[test]
fn messages_in_a_damaged_batch_are_saved_by_the_index() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let (path, _) = segment_with(left.path(), &body(12));
    let bytes = std::fs::read(&path).expect("readable");
    // The queue's id in front of the message is in the payload's checksum.
    change(&path, |all| all[find(&bytes, &body(12)) - 40] ^= 1);
    for sled in [true, false] {
        if !sled {
            std::fs::remove_dir_all(left.path().join("catalog")).expect("it was there");
        }
        let (code, report) = checked(left.path());
        assert_eq!((code, lost(&report)), (Some(1), 0), "{report:#}");
        assert_eq!(kinds(&report)[0], "damaged_part");
        let (code, saved) = repaired(left.path());
        assert_eq!(code, Some(0));
        assert_eq!((saved.bodies(1), saved.bodies(2)), (whole.bodies(1), whole.bodies(2)));
        assert_eq!(saved.queues[&1].1, if sled { 12.max(whole.queues[&1].1) } else { 12 });
    }
}

#[test]
fn what_a_damaged_batch_had_is_known_from_the_catalog_or_said_to_be_unknown() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let (path, offset) = segment_with(left.path(), &body(12));
    change(&path, |bytes| bytes[offset - 40] ^= 1);
    std::fs::remove_file(path.with_extension("idx")).expect("it was there");
    let (_, report) = checked(left.path());
    assert_eq!(kinds(&report), ["damaged_part", "missing_index"]);
    assert_eq!(lost(&report), 2);
    assert_saved(left.path(), Some(1), &without(without(whole, 1, &[12]), 2, &[12]));
    std::fs::remove_dir_all(left.path().join("catalog")).expect("it was there");
    let (_, report) = checked(left.path());
    assert_eq!(lost(&report), 0);
    let said = ctl(&["check", text(left.path())]).stdout;
    assert!(String::from_utf8_lossy(&said).contains("there may be more"));
}

/// The salt, without which nothing in a segment is trusted, stands in its head and elsewhere, too.
#[test]
fn a_segment_with_a_damaged_head_is_read_when_its_salt_is_known() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let (path, _) = segment_with(left.path(), &body(12));
    change(&path, |bytes| bytes[18] ^= 1);
    let (code, report) = checked(left.path());
    assert_eq!((code, kinds(&report), lost(&report)), (Some(1), vec!["damaged_head".into()], 0));
    assert_saved(left.path(), Some(0), &whole);
    let by_index = crashed(left.path());
    std::fs::remove_dir_all(by_index.path().join("catalog")).expect("it was there");
    assert_saved(by_index.path(), Some(0), &whole);
    let by_sled = crashed(left.path());
    let index = path.with_extension("idx");
    let index = by_sled.path().join("log").join(index.file_name().expect("a name"));
    std::fs::remove_file(&index).expect("it was there");
    assert_saved(by_sled.path(), Some(0), &whole);
    std::fs::remove_dir_all(by_sled.path().join("catalog")).expect("it was there");
    let (code, saved) = repaired(by_sled.path());
    assert_eq!(code, Some(1));
    assert!(saved.bodies(1).len() < whole.bodies(1).len() && !saved.bodies(1).is_empty());
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let (left, ends) = crashed_in_one_segment();
    let segment = &segments(left.path())[0];
    change(segment, |bytes| bytes.copy_within(ends[4]..ends[4] + 50, ends[5]));
    let (code, report) = checked(left.path());
    assert_eq!((code, kinds(&report), lost(&report)), (Some(1), vec!["torn_tail".into()], 0));
    let (code, saved) = repaired(left.path());
    assert_eq!((code, saved.bodies(1)), (Some(0), (1..=5).map(body).collect()));
}

#[test]
fn a_segment_that_was_never_begun_is_said_and_costs_nothing() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    std::fs::write(left.path().join("log").join(format!("{:020}.seg", 77)), [0; 5]).expect("room");
    let (code, report) = checked(left.path());
    assert_eq!((code, kinds(&report)), (Some(1), vec!["unfinished_segment".into()]));
    assert_saved(left.path(), Some(0), &whole);
}

#[test]
fn the_end_of_a_log_that_was_committed_is_no_torn_tail() {
    let left = left_in_order();
    let newest = segments(left.path()).pop().expect("a segment");
    change(&newest, |bytes| bytes.truncate(bytes.len() - 10));
    let (code, report) = checked(left.path());
    assert_eq!(code, Some(1));
    assert_eq!(kinds(&report), ["damaged_part", "damaged_index", "catalog_does_not_fit"]);
}

#[test]
fn a_missing_and_a_damaged_index_are_said_and_cost_nothing() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let indexes: Vec<PathBuf> =
        segments(left.path()).iter().map(|segment| segment.with_extension("idx")).collect();
    std::fs::remove_file(&indexes[0]).expect("it was there");
    change(&indexes[1], |bytes| bytes[50] ^= 1);
    let (code, report) = checked(left.path());
    assert_eq!(
        (code, kinds(&report)),
        (Some(1), vec!["missing_index".into(), "damaged_index".into()])
    );
    assert_saved(left.path(), Some(0), &whole);
}

#[test]
fn sled_gone_cut_garbage_or_of_another_log_costs_nothing() {
    let left = left_in_order();
    let whole = content(crashed(left.path()).path());
    let check = |kind: &str, damage: &dyn Fn(&Path)| {
        let damaged = crashed(left.path());
        damage(&damaged.path().join("catalog"));
        let (code, report) = checked(damaged.path());
        let expected = vec![("catalog".to_owned(), kind.to_owned())];
        assert_eq!((code, problems(&report), lost(&report)), (Some(1), expected, 0), "{report:#}");
        assert_saved(damaged.path(), Some(0), &whole);
    };
    check("missing_catalog", &|catalog| std::fs::remove_dir_all(catalog).expect("there"));
    check("damaged_catalog", &|catalog| std::fs::remove_file(catalog.join("db")).expect("there"));
    check("damaged_catalog", &|catalog| change(&catalog.join("db"), |bytes| bytes.fill(0xAA)));
    check("damaged_catalog", &|catalog| change(&catalog.join("db"), Vec::clear));
    let other = left_in_order();
    check("catalog_does_not_fit", &|catalog| {
        for name in ["db", "conf"] {
            let other = other.path().join("catalog").join(name);
            std::fs::copy(other, catalog.join(name)).expect("there");
        }
    });
}

#[test]
fn a_log_that_ends_before_what_was_committed_is_said() {
    let left = left_in_order();
    let newest = segments(left.path()).pop().expect("a segment");
    std::fs::remove_file(&newest).expect("it was there");
    let (code, report) = checked(left.path());
    assert_eq!(code, Some(1));
    assert!(kinds(&report).contains(&"catalog_does_not_fit".to_owned()), "{report:#}");
    assert_eq!(repaired(left.path()).0, Some(1));
}

#[test]
fn another_version_s_files_are_named_and_not_read() {
    let left = left_in_order();
    let path = segments(left.path()).pop().expect("a segment");
    change(&path, |bytes| {
        bytes[11] = 99;
        let crc = crc32fast::hash(&bytes[..24]).to_be_bytes();
        bytes[24..28].copy_from_slice(&crc);
    });
    let (code, report) = checked(left.path());
    assert_eq!((code, &kinds(&report)[0]), (Some(1), &"other_format".to_owned()));
    let parent = directory();
    let to = parent.path().join("new");
    for arguments in [vec!["dump"], vec!["repair", "--to", text(&to)]] {
        let output = ctl(&[&arguments[..], &[text(left.path())]].concat());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(text(&path)) && said.contains("99, which is newer"), "{said}");
    }
    assert!(!to.exists());
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let left = crashed(left_in_order().path());
    let opened = open(left.path());
    let to = directory();
    for arguments in [vec!["check"], vec!["dump"], vec!["repair", "--to", text(to.path())]] {
        let output = ctl_at_once(&[&arguments[..], &[text(left.path())]].concat());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("is in use by a ferrymq process; stop that one"), "{said}");
    }
    opened.store.close();
    assert_eq!(ctl(&["check", text(left.path())]).status.code(), Some(0));
    std::fs::remove_file(left.path().join("lock")).expect("it was there");
    assert_eq!(checked(left.path()).0, Some(0), "a copy has no lock file");
}

#[test]
fn what_cannot_be_done_is_said_with_its_remedy() {
    let (left, full) = (left_in_order(), directory());
    std::fs::write(full.path().join("mine"), "").expect("writable");
    let inside = left.path().join("new");
    let (at, nowhere) = (text(left.path()), text(&full.path().join("nowhere")).to_owned());
    let cases: [(&[&str], &str); 7] = [
        (&["check", &nowhere], "is not a data directory"),
        (&["check", text(full.path())], "is not a data directory"),
        (&["repair", at, "--to", text(full.path())], "it is not empty; name a directory that"),
        (&["repair", at, "--to", text(&inside)], "which stays as it is"),
        (&["repair", at], "--to <NEW>"),
        (&["dump", at, "--queue", "nobody's"], "there is no queue nobody's"),
        (&["dump", at, "--limit", "many"], "invalid value 'many' for '--limit <N>'"),
    ];
    for (arguments, words) in cases {
        let output = ctl(arguments);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

#[test]
fn every_command_explains_itself() {
    for command in ["check", "dump", "repair"] {
        let output = ctl(&[command, "--help"]);
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0));
        for words in ["Examples:", "Exit codes:", "Limits:", "ferrymqctl store"] {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
    }
}

/// Without sled and with the declaration damaged nothing knows the queue's name.
#[test]
fn messages_of_a_queue_whose_definition_is_lost_are_saved_under_its_number() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(2)]);
    commit(&opened, vec![declare(7)]);
    commit_all(
        &opened,
        (1..=3).map(|seq| vec![enqueue(&[(7, seq), (2, seq)], body(seq))]).collect(),
    );
    let left = crashed(directory.path());
    std::fs::remove_dir_all(left.path().join("catalog")).expect("it was there");
    change(&segments(left.path())[0], |bytes| {
        let offset = find(bytes, "\"q7\"");
        bytes[offset + 1] ^= 1;
    });
    let (code, report) = checked(left.path());
    let expected = ["damaged_part", "missing_catalog", "lost_definition"];
    assert_eq!((code, kinds(&report)), (Some(1), expected.map(str::to_owned).to_vec()));
    let (_, saved) = repaired(left.path());
    assert_eq!(saved.definitions, ["queue q2 2", "queue recovered.7 7", "vhost /"]);
    assert_eq!(saved.bodies(7), saved.bodies(2));
    assert_eq!(saved.bodies(7).len(), 3);
}

/// Levels of a queue are one queue to whoever looks at it, and what an exchange holds back is its own.
#[test]
fn levels_notes_and_what_was_seen_are_counted_and_saved() {
    let directory = directory();
    let opened = open_with(directory.path(), &SEGMENTS);
    commit(&opened, vec![vhost("/"), declare_with_levels(1, 2), declare_exchange(9)]);
    let note = Note { failed: 2, returned: 1, due_ms: 7 };
    for seq in 1..=MESSAGES {
        commit(&opened, vec![enqueue(&[(1, seq), (3, seq), (9, seq)], body(seq))]);
        commit(&opened, vec![came_back(3, &[(seq, note)]), seen(9, seq.into(), seq, 20)]);
    }
    opened.store.close();
    drop(opened);
    let (code, report) = checked(directory.path());
    assert_eq!((code, problems(&report)), (Some(0), vec![]));
    let bytes = MESSAGES * body(1).len() as u64;
    let expected = json!([
        {"vhost": "/", "name": "q1", "id": 1, "messages": 2 * MESSAGES, "bytes": 2 * bytes, "lost": 0},
        {"vhost": "/", "name": "x9", "is_exchange": true, "id": 9, "messages": MESSAGES,
         "bytes": bytes, "lost": 0},
    ]);
    assert_eq!(report["queues"], expected);
    let whole = content(crashed(directory.path()).path());
    assert_eq!((whole.notes.len() as u64, whole.seen[&9].len()), (MESSAGES, 20));
    assert_saved(directory.path(), Some(0), &whole);
    std::fs::remove_dir_all(directory.path().join("catalog")).expect("it was there");
    let said = ctl(&["check", text(directory.path())]).stdout;
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(said.contains("exchange \"x9\" in the vhost"), "{said}");
    assert_saved(directory.path(), Some(0), &whole);
}
