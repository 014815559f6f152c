//! What is done to queues and connections that are there.

use crate::ctl::action::{array, at};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::progress;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, Change, Subject, Verb, Word, flag, no_body, option, optional, required,
};

const QUEUE: Word = required("QUEUE", "The queue's name");
const REASON: Word = optional("REASON", "What its client is told").or("closed by an operator");
const ONE: &str = "/api/queues/{vhost}/{QUEUE}";

pub(super) const SUBJECT: Subject = Subject {
    title: "Queues and connections",
    verbs: &[
        Verb {
            name: "purge_queue",
            about: "Delete all ready messages of a queue",
            example: "purge_queue -p / orders",
            words: &[QUEUE],
            action: Action::Change(Change {
                banner: "Purging queue '{QUEUE}' in vhost '{vhost}' ...",
                method: "DELETE",
                path: "/api/queues/{vhost}/{QUEUE}/contents",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "delete_queue",
            about: "Delete a queue with its messages",
            example: "delete_queue -p / orders --if-empty",
            words: &[
                QUEUE,
                flag("if-empty", "Only if it has no messages"),
                flag("if-unused", "Only if it has no consumers"),
            ],
            action: Action::Own(delete_queue),
        },
        Verb {
            name: "pause_queue",
            about: "Stop a queue's deliveries; what is published still comes in",
            example: "pause_queue -p / orders",
            words: &[QUEUE],
            action: Action::Change(Change {
                banner: "Pausing queue '{QUEUE}' in vhost '{vhost}' ...",
                method: "PUT",
                path: "/api/queues/{vhost}/{QUEUE}/pause",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "resume_queue",
            about: "Have a paused queue deliver again",
            example: "resume_queue -p / orders",
            words: &[QUEUE],
            action: Action::Change(Change {
                banner: "Resuming queue '{QUEUE}' in vhost '{vhost}' ...",
                method: "PUT",
                path: "/api/queues/{vhost}/{QUEUE}/resume",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "close_connection",
            about: "Close a connection; list_connections has the names as pid",
            example: "close_connection '127.0.0.1:40404 -> 127.0.0.1:5672' 'going down'",
            words: &[required("CONNECTION", "The connection's name"), REASON],
            action: Action::Own(close_connection),
        },
        Verb {
            name: "close_all_connections",
            about: "Close the connections of a vhost, or all of them",
            example: "close_all_connections -p / 'going down'\nclose_all_connections --global 'going down'",
            words: &[
                REASON,
                flag("global", "Those of every vhost"),
                option("limit", "Close at most so many").number(),
                option("per-connection-delay", "Milliseconds between one and the next")
                    .or("0")
                    .number(),
            ],
            action: Action::Own(close_all_connections),
        },
        Verb {
            name: "close_all_user_connections",
            about: "Close the connections of a user",
            example: "close_all_user_connections alice 'going down'",
            words: &[required("USER", "The user's name"), REASON],
            action: Action::Own(close_all_user_connections),
        },
    ],
};

fn delete_queue(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let conditions = [("if-empty", " if queue is empty"), ("if-unused", " if queue is unused")];
    let conditions: Vec<_> = conditions.iter().filter(|(name, _)| asked.flag(name)).collect();
    let told: Vec<&str> = conditions.iter().map(|(_, told)| *told).collect();
    let told = told.join(" and");
    asked.banner(&format!("Deleting queue '{{QUEUE}}' on vhost '{{vhost}}'{told} ..."))?;
    let query: Vec<String> = conditions.iter().map(|(name, _)| format!("{name}=true")).collect();
    let path = format!("{ONE}?{}", query.join("&"));
    asked.send("DELETE", &path, &Sent::default())?;
    Ok(Answer::Done("Queue was successfully deleted".to_owned()))
}

fn close(asked: &Asked<'_>, path: &str) -> Result<(), Failure> {
    let reason = asked.text("REASON");
    asked.send("DELETE", path, &Sent { body: None, headers: &[("X-Reason", reason)] })?;
    Ok(())
}

fn close_connection(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Closing connection {CONNECTION}, reason: {REASON} ...")?;
    close(asked, "/api/connections/{CONNECTION}")?;
    Ok(Answer::Done(String::new()))
}

fn close_all_user_connections(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Closing connections of user {USER}, reason: {REASON} ...")?;
    close(asked, "/api/connections/username/{USER}")?;
    Ok(Answer::Done(String::new()))
}

/// One after the other, so that it can be slow and stop at a limit. One that has gone by itself is
/// no failure.
fn close_all_connections(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let path = if asked.flag("global") {
        asked.banner("Closing all connections to the broker, reason: {REASON} ...")?;
        "/api/connections"
    } else {
        asked.banner("Closing all connections in vhost {vhost}, reason: {REASON} ...")?;
        "/api/vhosts/{vhost}/connections"
    };
    let limit = match asked.given("limit") {
        Some(_) => usize::try_from(asked.number("limit")?).unwrap_or(0),
        None => usize::MAX,
    };
    let delay = u64::try_from(asked.number("per-connection-delay")?).unwrap_or(0);
    let found = array(asked.get(&format!("{path}?columns=name"))?)?;
    let found: Vec<&str> =
        found.iter().filter_map(|one| at(one, "name").as_str()).take(limit).collect();
    let bar = progress::bar(asked.output, "connections", u64::try_from(found.len()).ok());
    for (number, name) in found.iter().enumerate() {
        if number > 0 && delay > 0 {
            std::thread::sleep(std::time::Duration::from_millis(delay));
        }
        let sent = Sent { body: None, headers: &[("X-Reason", asked.text("REASON"))] };
        let path = format!("/api/connections/{}", encode(name));
        match asked.session.send("DELETE", &path, &sent) {
            Err(refused) if refused.status != 404 => return Err(refused.into()),
            _ => bar.inc(1),
        }
    }
    bar.finish_and_clear();
    Ok(Answer::Done(format!("Closed {} connections", found.len())))
}
