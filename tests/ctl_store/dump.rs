//! What `dump` prints of definitions and messages, and what it leaves out.

use bytes::Bytes;
use ferrymq::protocol::message::Message;
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::ShortStr;
use ferrymq::store::definition::{PermissionDefinition, UserDefinition};
use ferrymq::store::record::{Note, QueueId, Record, Seq};
use ferrymq::store::{CatalogChange, Definition};
use serde_json::{Value, json};

use crate::directories::*;
use crate::support::*;

fn awkward_message() -> Message {
    let field = |name, value| (ShortStr::from_static(name), value);
    let headers = FieldTable::from_iter([
        field("größe", FieldValue::LongStr(Bytes::from_static("🦀".as_bytes()))),
        field("raw", FieldValue::LongStr(Bytes::from_static(&[0xFF, 0xFE]))),
    ]);
    let properties = BasicProperties {
        headers: Some(headers),
        delivery_mode: Some(2),
        ..BasicProperties::default()
    };
    let (exchange, key) = (ShortStr::from_static("тема"), ShortStr::from_static("a\"b\n"));
    Message::small(&exchange, &key, &Properties::from(&properties), &[0, 0xFF], false)
}

fn dumped(arguments: &[&str]) -> Vec<Value> {
    let output = ctl(&[&["dump"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_dump_shows_definitions_without_secrets_and_messages_with_all_they_have() {
    let directory = directory();
    let opened = open(directory.path());
    let put = |definition| Record::catalog(CatalogChange::Put(definition));
    let user = Definition::User(UserDefinition {
        name: "ferris".to_owned(),
        password_hash: "c2VjcmV0".to_owned(),
        hashing_algorithm: "sha256".to_owned(),
        tags: vec!["administrator".to_owned()],
    });
    let all = || ".*".to_owned();
    let permission = Definition::Permission(PermissionDefinition {
        user: "ferris".to_owned(),
        vhost: "/".to_owned(),
        configure: all(),
        write: all(),
        read: all(),
    });
    let message = std::sync::Arc::new(awkward_message());
    let queues = [(QueueId(1), Seq(1))].into_iter().collect();
    commit(&opened, vec![vhost("/"), put(user), put(permission), declare(1), declare(2)]);
    commit(&opened, vec![Record::Enqueue { message, queues }, mark(1, 1)]);
    commit(&opened, vec![enqueue(&[(1, 2), (2, 5)], "later")]);
    opened.store.close();
    let at = text(directory.path());
    let queue = |id: u64| {
        json!({"kind": "queue", "vhost": "/", "name": format!("q{id}"), "id": id,
               "auto_delete": false, "arguments": {}, "levels": 0})
    };
    let plain = |queue: &str, seq: u64| {
        json!({"kind": "message", "vhost": "/", "queue": queue, "seq": seq, "redelivered": false,
               "exchange": "exchange", "routing_key": "key", "properties": {}, "body_bytes": 5})
    };
    let awkward = json!({
        "kind": "message", "vhost": "/", "queue": "q1", "seq": 1, "redelivered": true,
        "exchange": "тема", "routing_key": "a\"b\n", "body_bytes": 2,
        "properties": {
            "delivery_mode": 2,
            "headers": {"größe": "🦀", "raw": {"base64": "//4="}},
        },
    });
    let expected = vec![
        json!({"kind": "vhost", "name": "/", "description": "", "tags": [],
               "default_queue_type": null, "protected_from_deletion": false}),
        json!({"kind": "user", "name": "ferris", "tags": ["administrator"]}),
        json!({"kind": "permission", "user": "ferris", "vhost": "/", "configure": ".*",
               "write": ".*", "read": ".*"}),
        queue(1),
        queue(2),
        awkward.clone(),
        plain("q1", 2),
        plain("q2", 5),
    ];
    assert_eq!(dumped(&[at]), expected);
    assert_eq!(dumped(&[at, "--queue", "q2"]), [queue(2), plain("q2", 5)]);
    assert_eq!(dumped(&[at, "--vhost", "other"]), [] as [Value; 0]);
    let mut with_body = awkward;
    with_body["body"] = "AP8=".into();
    let one = dumped(&[at, "--queue", "q1", "--limit", "1", "--bodies"]);
    assert_eq!(one, [queue(1), with_body]);
}

#[test]
fn a_dump_goes_through_many_pages_in_order() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![vhost("/"), declare(1)]);
    let records = (1..=2500).map(|seq| enqueue(&[(1, seq)], "m")).collect();
    commit(&opened, records);
    opened.store.close();
    let dumped = dumped(&[text(directory.path()), "--queue", "q1"]);
    let seqs: Vec<u64> = dumped.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=2500).collect::<Vec<_>>());
}

#[test]
fn a_dump_says_levels_and_notes_and_what_an_exchange_holds_back() {
    let directory = directory();
    let opened = open(directory.path());
    commit(&opened, vec![vhost("/"), declare_with_levels(1, 2), declare_exchange(9)]);
    let note = Note { failed: 2, returned: 1, due_ms: 1_700_000_000_000 };
    commit(&opened, vec![enqueue(&[(1, 1)], "low"), enqueue(&[(3, 1)], "highest")]);
    commit(&opened, vec![enqueue(&[(9, 4)], "later"), came_back(3, &[(1, note)])]);
    opened.store.close();
    let messages = |lines: Vec<Value>| -> Vec<Value> {
        lines.into_iter().filter(|line| line["kind"] == "message").collect()
    };
    let line = |more: Value| {
        let mut line = json!({"kind": "message", "vhost": "/", "redelivered": false, "exchange":
                              "exchange", "routing_key": "key", "properties": {}});
        line.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        line
    };
    let highest = line(json!({"queue": "q1", "level": 2, "seq": 1, "body_bytes": 7, "failed": 2,
                              "returned": 1, "due_ms": 1_700_000_000_000_u64}));
    let low = line(json!({"queue": "q1", "level": 0, "seq": 1, "body_bytes": 3}));
    let held = line(json!({"held_by": "x9", "seq": 4, "body_bytes": 5}));
    let at = text(directory.path());
    assert_eq!(messages(dumped(&[at])), [held, highest.clone(), low]);
    assert_eq!(messages(dumped(&[at, "--queue", "q1", "--limit", "1"])), [highest]);
}
