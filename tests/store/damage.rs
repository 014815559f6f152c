//! Torn tails, flipped bytes, a broken catalog, another version's files.

use std::path::{Path, PathBuf};

use ferrymq::store::{self, Note, StoreSettings};
use tempfile::TempDir;

use crate::support::*;

const BATCHES: u64 = 6;

/// A crashed directory with some batches, each of a message for two queues and one for one of them;
/// and where the log ended after each.
fn crashed_with_batches() -> (TempDir, Vec<usize>) {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(1), declare(2)]);
    let mut ends = vec![written_len(&newest(directory.path()))];
    for seq in 1..=BATCHES {
        let both = enqueue(&[(1, 2 * seq), (2, seq)], format!("both {seq}"));
        commit(&opened, vec![both, enqueue(&[(1, 2 * seq + 1)], format!("one {seq}"))]);
        ends.push(written_len(&newest(directory.path())));
    }
    (crashed(directory.path()), ends)
}

/// What is there when these batches are.
fn bodies_of(batches: impl Iterator<Item = u64> + Clone) -> [Vec<String>; 2] {
    let first = batches.clone().flat_map(|seq| [format!("both {seq}"), format!("one {seq}")]);
    [first.collect(), batches.map(|seq| format!("both {seq}")).collect()]
}

fn bodies_in(directory: &Path) -> [Vec<String>; 2] {
    let found = content(directory);
    [found.bodies(1), found.bodies(2)]
}

fn newest(directory: &Path) -> PathBuf {
    segments(directory).pop().expect("a segment")
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("readable");
    how(&mut bytes);
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn a_torn_tail_takes_its_batch_with_it_and_no_other() {
    let (left, ends) = crashed_with_batches();
    let [.., before_last, last] = ends[..] else { panic!("{ends:?}") };
    let step = (last - before_last) / 7;
    for cut in (before_last..last).step_by(step).chain([last - 1]) {
        let torn = crashed(left.path());
        change(&newest(torn.path()), |bytes| bytes.truncate(cut));
        assert_eq!(bodies_in(torn.path()), bodies_of(1..=BATCHES - 1), "cut at {cut}");
        // The tail is cut off for good: what comes after it is found, too.
        let opened = open(torn.path());
        commit(&opened, vec![enqueue(&[(1, 1 << 40)], "new")]);
        let again = crashed(torn.path());
        assert_eq!(content(again.path()).bodies(1).last().expect("messages"), "new");
    }
}

#[test]
fn zeros_at_the_tail_are_cut_off() {
    let (left, _) = crashed_with_batches();
    change(&newest(left.path()), |bytes| bytes.resize(bytes.len() + 5000, 0));
    assert_eq!(bodies_in(left.path()), bodies_of(1..=BATCHES));
}

#[test]
fn a_flipped_byte_costs_the_batch_it_is_in_and_no_other() {
    let (left, ends) = crashed_with_batches();
    for (seq, pair) in (1..).zip(ends.windows(2)) {
        for offset in [pair[0], pair[0] + 9, pair[0] + 20, pair[0] + 25] {
            let damaged = crashed(left.path());
            change(&newest(damaged.path()), |bytes| bytes[offset] ^= 0x20);
            let others = bodies_of((1..=BATCHES).filter(|other| *other != seq));
            assert_eq!(bodies_in(damaged.path()), others, "batch {seq}, offset {offset}");
        }
    }
}

#[test]
fn a_flipped_byte_in_a_message_costs_that_message_and_no_other() {
    let (left, _) = crashed_with_batches();
    // In the last batch it could be one that was never finished.
    for seq in 1..BATCHES {
        let damaged = crashed(left.path());
        let body = format!("one {seq}");
        change(&newest(damaged.path()), |bytes| {
            let found = bytes.windows(body.len()).position(|window| window == body.as_bytes());
            bytes[found.expect("it is there")] ^= 0x20;
        });
        let mut expected = bodies_of(1..=BATCHES);
        expected[0].retain(|other| *other != body);
        assert_eq!(bodies_in(damaged.path()), expected, "batch {seq}");
    }
}

/// A whole log is read where the catalog is lost: there a flipped byte in a message of the last batch
/// of a segment once cost the whole batch, and the segment with it.
#[test]
fn a_flipped_byte_at_the_end_of_an_older_segment_costs_one_message_when_the_whole_log_is_read() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(1)]);
    let three = ["first", "second", "third"].into_iter().zip(1..);
    commit(&opened, three.map(|(body, seq)| enqueue(&[(1, seq)], body)).collect());
    opened.store.close();
    drop(opened);
    let older = newest(directory.path());
    change(&older, |bytes| {
        let found = bytes.windows(6).position(|window| window == b"second");
        bytes[found.expect("it is there")] ^= 1;
    });
    let check = |left: &Path| {
        let opened = open(left);
        let found = read_all(&*opened.store, 1);
        assert!(found.values().eq(&[b"first".to_vec(), b"third".to_vec()]), "{found:?}");
        commit(&opened, vec![settle(1, 1, 1, 5), settle(1, 3, 3, 5)]);
        opened.store.close();
        assert!(left.join("log").join(older.file_name().expect("a name")).exists(), "it is kept");
    };
    let with_catalog = crashed(directory.path());
    check(with_catalog.path());
    std::fs::remove_dir_all(directory.path().join("catalog")).expect("sled's directory");
    check(directory.path());
}

/// Put back from a backup of another day, say: its positions and settles are of other messages.
#[test]
fn a_catalog_of_another_log_is_not_believed() {
    let (one, other) = (directory(), directory());
    for (directory, settled) in [(&one, 0), (&other, 4)] {
        let opened = open(directory.path());
        commit(&opened, vec![declare(1)]);
        commit_all(&opened, (1..=5).map(|seq| vec![enqueue(&[(1, seq)], "m")]).collect());
        commit_all(&opened, (1..=settled).map(|seq| vec![settle(1, seq, seq, 1)]).collect());
        if settled > 0 {
            commit(
                &opened,
                vec![declare(2), came_back(1, &[(5, Note::default())]), seen(1, 2, 3, 4)],
            );
        }
        opened.store.close();
    }
    let catalog = |directory: &TempDir| directory.path().join("catalog");
    std::fs::remove_dir_all(catalog(&one)).expect("sled's directory");
    std::fs::rename(catalog(&other), catalog(&one)).expect("sled's directory");
    for start in ["at first", "and once more"] {
        let found = content(one.path());
        assert_eq!(found.bodies(1), ["m"; 5], "{start}");
        assert_eq!(found.definitions, ["queue q1 1"], "{start}");
        assert!(found.notes.is_empty() && found.seen.is_empty(), "{start}");
    }
}

#[test]
fn a_damaged_head_costs_its_segment_but_no_epoch_and_no_file() {
    let (left, _) = crashed_with_batches();
    let epoch = open(left.path()).epoch;
    let damaged = newest(left.path());
    change(&damaged, |bytes| bytes[3] ^= 1);
    std::fs::remove_dir_all(left.path().join("catalog")).expect("sled's directory");
    let opened = open(left.path());
    assert!(opened.epoch > epoch, "{:?} after {epoch:?}", opened.epoch);
    assert_eq!(Content::of(&opened).bodies(2), bodies_of(1..=BATCHES)[1]);
    opened.store.close();
    assert!(damaged.exists(), "what can't be read is not thrown away");
}

#[test]
fn an_unfinished_segment_is_no_loss() {
    for len in [0, 5, 28] {
        let (left, _) = crashed_with_batches();
        let unfinished = left.path().join("log").join(format!("{:020}.seg", 77));
        std::fs::write(&unfinished, vec![0; len]).expect("writable");
        assert_eq!(bodies_in(left.path()), bodies_of(1..=BATCHES), "{len} bytes");
        assert!(!unfinished.exists());
    }
}

fn set_format(segment: &Path, version: u8) {
    change(segment, |bytes| {
        bytes[11] = version;
        let crc = crc32fast::hash(&bytes[..24]).to_be_bytes();
        bytes[24..28].copy_from_slice(&crc);
    });
}

#[test]
fn a_newer_format_is_refused_in_words_and_left_alone() {
    let (left, _) = crashed_with_batches();
    let newest = newest(left.path());
    set_format(&newest, 5);
    let before = std::fs::read(&newest).expect("readable");
    let Err(error) = store::open(left.path(), &StoreSettings::default()) else { panic!("opened") };
    let text = error.to_string();
    for words in [newest.to_str().expect("text"), "format version 5", "newer", "start"] {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    assert!(std::fs::read(&newest).expect("readable") == before);
}

/// It says nothing that this one doesn't know.
#[test]
fn the_format_before_this_one_is_read() {
    let (left, _) = crashed_with_batches();
    set_format(&newest(left.path()), 2);
    assert_eq!(bodies_in(left.path()), bodies_of(1..=BATCHES));
}

/// `format-3` was written by FerryMQ before formats 4 of the log and 3 of indexes: a durable queue with
/// three messages, and a stop.
#[test]
fn what_format_3_wrote_is_read() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/format-3");
    for without_catalog in [false, true] {
        let copy = crashed(&written);
        if without_catalog {
            std::fs::remove_dir_all(copy.path().join("catalog")).expect("sled's directory");
        }
        let opened = open(copy.path());
        let [queue] = &opened.queues[..] else { panic!("{:?}", opened.queues) };
        let found = read_all(&*opened.store, queue.id.0);
        let expected = [1, 2, 3].map(|number| format!("order {number}").into_bytes());
        assert!(found.values().eq(&expected), "{found:?}, without catalog: {without_catalog}");
        commit(&opened, vec![enqueue(&[(queue.id.0, 1 << 50)], "new")]);
        assert_eq!(read_all(&*opened.store, queue.id.0).len(), 4);
        opened.store.close();
    }
}

#[test]
fn a_damaged_catalog_loses_nothing() {
    let (left, _) = crashed_with_batches();
    let opened = open(left.path());
    commit(&opened, vec![declare(3), settle(1, 2, 3, 11)]);
    commit(&opened, delete(2));
    opened.store.close();
    drop(opened);
    let whole = content(left.path());
    assert_eq!(whole.definitions, ["queue q1 1", "queue q3 3"]);
    assert_eq!(whole.bodies(1), bodies_of(2..=BATCHES)[0]);

    let check = |what: &str, damage: &dyn Fn(&Path)| {
        let damaged = crashed(left.path());
        damage(&damaged.path().join("catalog"));
        assert_eq!(content(damaged.path()), whole, "{what}");
        assert_eq!(content(damaged.path()), whole, "{what}, the next time");
    };
    let file_len = written_len(&left.path().join("catalog").join("db"));
    check("gone", &|catalog| std::fs::remove_dir_all(catalog).expect("it was there"));
    check("without its file", &|catalog| {
        std::fs::remove_file(catalog.join("db")).expect("it was there");
    });
    check("without its configuration", &|catalog| {
        std::fs::remove_file(catalog.join("conf")).expect("it was there");
    });
    for part in 0..4 {
        check(&format!("cut at {part} quarters"), &|catalog| {
            change(&catalog.join("db"), |bytes| bytes.truncate(file_len * part / 4));
        });
        check(&format!("bytes flipped, {part}"), &|catalog| {
            change(&catalog.join("db"), |bytes| {
                bytes.iter_mut().skip(part * 97).step_by(401).for_each(|byte| *byte ^= 0x55);
            });
        });
    }
    check("all of it other bytes", &|catalog| {
        change(&catalog.join("db"), |bytes| bytes.fill(0xAA));
    });
    check("a file in its place", &|catalog| {
        std::fs::remove_dir_all(catalog).expect("it was there");
        std::fs::write(catalog, "not a directory").expect("writable");
    });
}

#[test]
fn what_the_catalog_knows_survives_damage_in_the_log() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![declare(1), declare(2), enqueue(&[(1, 1)], "a"), enqueue(&[(1, 2)], "b")]);
    let changes =
        [vec![settle(1, 1, 1, 1)], vec![mark(1, 2)], delete(2), vec![declare(3), vhost("/")]];
    let mut starts = Vec::new();
    for change in changes {
        starts.push(written_len(&newest(directory.path())));
        commit(&opened, change);
    }
    opened.store.close();
    drop(opened);
    // Another opening would say it all again in the log: each is of a copy.
    let whole = content(crashed(directory.path()).path());
    assert_eq!((whole.bodies(1), whole.queues[&1].1), (vec!["b".to_owned()], 2));
    for start in starts {
        let damaged = crashed(directory.path());
        change(&segments(damaged.path())[0], |bytes| bytes[start] ^= 1);
        assert_eq!(content(damaged.path()), whole, "at {start}");
    }
}
