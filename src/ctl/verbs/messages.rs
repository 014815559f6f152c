//! The messages in a queue: looked at without disturbing them, and replayed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::progress;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, COLUMN, Change, Column, Subject, Verb, Word, columns, flag, many, no_body, option,
    required,
};
use crate::ctl::wait;

const QUEUE: Word = required("QUEUE", "The queue's name");
const HEADER: Word =
    option("header", "Only messages with this header, as NAME=VALUE; several with commas");
const ENCODING: Word =
    option("encoding", "How payloads are shown").one_of(&["auto", "base64"]).or("auto");
const HOLDER: Word = required("NAME", "The exchange's name, or the queue's");
const OF: Word = option("of", "What holds them back").one_of(&["exchange", "queue"]).or("exchange");
const REPLAY: &str = "/api/queues/{vhost}/{QUEUE}/replay";

/// Between two looks at how far a replay is.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) const SUBJECT: Subject = Subject {
    title: "Messages",
    verbs: &[
        Verb {
            name: "peek",
            about: "Show the next messages of a queue, which stay as they are",
            example: "peek -p / orders --count 3\npeek orders --header tenant=acme --formatter json",
            words: &[
                QUEUE,
                option("count", "How many, at most 500").or("10").number(),
                option("offset", "Pass over so many").or("0").number(),
                option("from", "Begin at the message of this id"),
                option("truncate", "Show so many bytes of each payload").or("200").number(),
                ENCODING,
                HEADER,
                many(
                    COLUMN,
                    "What to show of each [default: id exchange routing_key redelivered payload_bytes payload]",
                ),
            ],
            action: Action::Own(peek),
        },
        Verb {
            name: "replay",
            about: "Move messages of a dead-letter queue back to where they came from",
            example: "replay -p / orders.dead --rate 100\nreplay orders.dead --ids 0:1099511627777\nreplay orders.dead --header tenant=acme --exchange orders",
            words: &[
                QUEUE,
                option("ids", "Only the messages of these ids, as peek shows them, with commas"),
                HEADER,
                option("count", "At most so many").number(),
                option("rate", "At most so many a second").number(),
                option("exchange", "To this exchange instead of the one of each message"),
                option("routing-key", "With this key instead of the one of each message"),
                flag("detach", "Begin, and don't wait for the end"),
            ],
            action: Action::Own(replay),
        },
        Verb {
            name: "replay_status",
            about: "Say how far the last replay of a queue is",
            example: "replay_status -p / orders.dead",
            words: &[QUEUE],
            action: Action::Own(|asked| Ok(told(&asked.get(REPLAY)?))),
        },
        Verb {
            name: "cancel_replay",
            about: "End a running replay; what has moved has moved",
            example: "cancel_replay -p / orders.dead",
            words: &[QUEUE],
            action: Action::Change(Change {
                banner: "Cancelling the replay of queue '{QUEUE}' in vhost '{vhost}' ...",
                method: "DELETE",
                path: REPLAY,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_scheduled",
            about: "List the messages that an exchange delays, or that wait to come back to a queue, the next one first",
            example: "list_scheduled -p / reminders --count 20\nlist_scheduled jobs --of queue",
            words: &[
                HOLDER,
                OF,
                option("count", "How many, at most 500").or("10").number(),
                option("from", "Begin at the message of this id"),
                option("truncate", "Show so many bytes of each payload").or("200").number(),
                ENCODING,
                many(
                    COLUMN,
                    "What to show of each [default: id due_at routing_key payload_bytes payload]",
                ),
            ],
            action: Action::Own(list_scheduled),
        },
        Verb {
            name: "cancel_scheduled",
            about: "Take away a delayed message before it is due",
            example: "cancel_scheduled -p / reminders 1764100000000:1099511627777\ncancel_scheduled jobs 1764100000000:1099511627777 --of queue",
            words: &[HOLDER, OF, required("ID", "The message's id, as list_scheduled shows it")],
            action: Action::Change(Change {
                banner: "Cancelling message {ID} of {of} '{NAME}' in vhost '{vhost}' ...",
                method: "DELETE",
                path: "/api/{of}s/{vhost}/{NAME}/scheduled/{ID}",
                body: no_body,
                done: "",
            }),
        },
    ],
};

const MESSAGE: &[Column] = columns![
    "id",
    "position",
    "exchange",
    "routing_key",
    "redelivered",
    "payload_bytes",
    "payload",
    "payload_encoding",
    "properties",
    "headers" = "properties.headers",
    "message_count",
    "due_at",
];

const MESSAGE_USUAL: &[&str] =
    &["id", "exchange", "routing_key", "redelivered", "payload_bytes", "payload"];

fn peek(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(MESSAGE, MESSAGE_USUAL)?;
    asked.banner("Peeking into queue '{QUEUE}' in vhost '{vhost}' ...")?;
    let mut path = "/api/queues/{vhost}/{QUEUE}/messages?count={count}&offset={offset}\
                    &truncate={truncate}&encoding={encoding}"
        .to_owned();
    if asked.given("from").is_some() {
        path.push_str("&from={from}");
    }
    for (name, value) in headers(asked)? {
        path.push_str(&format!("&header.{}={}", encode(name), encode(value)));
    }
    asked.items(&path, &chosen)
}

fn list_scheduled(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let usual = &["id", "due_at", "routing_key", "payload_bytes", "payload"];
    let chosen = asked.columns(MESSAGE, usual)?;
    asked.banner("Listing messages that {of} '{NAME}' in vhost '{vhost}' holds back ...")?;
    let mut path = "/api/{of}s/{vhost}/{NAME}/scheduled?count={count}\
                    &truncate={truncate}&encoding={encoding}"
        .to_owned();
    if asked.given("from").is_some() {
        path.push_str("&from={from}");
    }
    asked.items(&path, &chosen)
}

/// The headers that a message must have, by name and value.
fn headers<'a>(asked: &'a Asked<'_>) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    let pair = |text: &'a str| {
        text.split_once('=')
            .ok_or_else(|| Failure::usage(format!("--header is NAME=VALUE, not '{text}'")))
    };
    asked.each("header").into_iter().map(pair).collect()
}

fn replay(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let body = replay_body(asked)?;
    asked.banner("Replaying queue '{QUEUE}' in vhost '{vhost}' ...")?;
    let begun = asked.send("POST", REPLAY, &Sent { body: Some(&body), headers: &[] })?;
    if asked.flag("detach") {
        return Ok(told(&begun));
    }
    let bar = progress::bar(asked.output, "messages", at(&begun, "total").as_u64());
    let ended = wait::until("replay", LOOK_AGAIN, None, || {
        let now = asked.get(REPLAY)?;
        bar.set_position(at(&now, "examined").as_u64().unwrap_or(0));
        let is_running = at(&now, "state").as_str() == Some("running");
        Ok(if is_running { Err(String::new()) } else { Ok(now) })
    })?;
    bar.finish_and_clear();
    match at(&ended, "state").as_str() {
        Some("done") => Ok(told(&ended)),
        _ => Err(Failure::unavailable(sentence(&ended))),
    }
}

fn replay_body(asked: &Asked<'_>) -> Result<Value, Failure> {
    let mut body = json!({});
    let (ids, headers) = (asked.each("ids"), headers(asked)?);
    if !ids.is_empty() {
        body["ids"] = json!(ids);
    }
    for (name, value) in headers {
        body["headers"][name] = value.into();
    }
    for name in ["count", "rate"] {
        if asked.given(name).is_some() {
            body[name] = asked.number(name)?.into();
        }
    }
    for (word, name) in [("exchange", "exchange"), ("routing-key", "routing_key")] {
        if let Some(text) = asked.given(word) {
            body[name] = text.into();
        }
    }
    Ok(body)
}

fn told(replay: &Value) -> Answer {
    Answer::Document { value: replay.clone(), text: sentence(replay) }
}

/// How far it is, for people.
fn sentence(replay: &Value) -> String {
    let number = |name: &str| at(replay, name).as_u64().unwrap_or(0);
    let state = at(replay, "state").as_str().unwrap_or("unknown");
    let mut text = format!("{state}: {} of {} messages moved", number("moved"), number("total"));
    for (why, count) in at(replay, "skipped").as_object().into_iter().flatten() {
        text.push_str(&format!(", {count} left where they are ({why})"));
    }
    if let Some(reason) = at(replay, "reason").as_str() {
        text.push_str(&format!(": {reason}"));
    }
    text
}
