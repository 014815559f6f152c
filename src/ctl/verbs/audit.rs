//! The audit log: who changed what.

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::encode;
use crate::ctl::verb::{Action, COLUMN, Column, Subject, Verb, columns, many, option};

pub(super) const SUBJECT: Subject = Subject {
    title: "Audit",
    verbs: &[Verb {
        name: "audit",
        about: "List the changes that were made, the newest first",
        example: "audit\naudit --kind queue -p / --by alice\naudit time user kind before after --page 2",
        words: &[
            option("by", "Only those of this user"),
            option("kind", "Only those of this kind: queue.created, or queue for all of queues"),
            option("since", "Not before, in milliseconds since 1970").number(),
            option("until", "Not after, in milliseconds since 1970").number(),
            option("page", "From 1 on").or("1").number(),
            option("page-size", "How many, at most 500").or("100").number(),
            many(COLUMN, "What to show of each [default: time user via peer kind object]"),
        ],
        action: Action::Own(audit),
    }],
};

const COLUMNS: &[Column] =
    columns!["time", "user", "via", "peer", "connection", "kind", "object", "before", "after"];

/// Of the vhost that `-p` names, or of all.
fn audit(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(COLUMNS, &["time", "user", "via", "peer", "kind", "object"])?;
    asked.banner("Listing changes ...")?;
    let mut path = "/api/audit?page={page}&page_size={page-size}".to_owned();
    for (word, name) in [("by", "user"), ("kind", "kind"), ("since", "since"), ("until", "until")] {
        if let Some(text) = asked.given(word) {
            path.push_str(&format!("&{name}={}", encode(text)));
        }
    }
    if let Some(vhost) = asked.named_vhost() {
        path.push_str(&format!("&vhost={}", encode(vhost)));
    }
    asked.items(&path, &chosen)
}
