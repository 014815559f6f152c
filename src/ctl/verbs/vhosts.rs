//! Vhosts: adding, describing, protecting, deleting, tracing.

use serde_json::{Value, json};

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, Change, List, Subject, Verb, Word, columns, many, no_body, option, required,
};

use super::node::Node;

const VHOST: Word = required("VHOST", "The vhost's name");
const DESCRIPTION: Word = option("description", "A sentence about it");
const TAGS: Word = option("tags", "Tags, separated by commas");
const QUEUE_TYPE: Word =
    option("default-queue-type", "The type of queues that are declared without one");
const ONE: &str = "/api/vhosts/{VHOST}";
const PROTECTION: &str = "/api/vhosts/{VHOST}/deletion/protection";

pub(super) const SUBJECT: Subject = Subject {
    title: "Vhosts",
    verbs: &[
        Verb {
            name: "add_vhost",
            about: "Add a vhost",
            example: "add_vhost shop\nadd_vhost shop --description 'Orders' --tags a,b",
            words: &[VHOST, DESCRIPTION, TAGS, QUEUE_TYPE],
            action: Action::Change(Change {
                banner: "Adding vhost \"{VHOST}\" ...",
                method: "PUT",
                path: ONE,
                body: metadata,
                done: "",
            }),
        },
        Verb {
            name: "delete_vhost",
            about: "Delete a vhost with all that is in it, and close its connections",
            example: "delete_vhost shop",
            words: &[VHOST],
            action: Action::Change(Change {
                banner: "Deleting vhost \"{VHOST}\" ...",
                method: "DELETE",
                path: ONE,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "update_vhost_metadata",
            about: "Change what is said of a vhost",
            example: "update_vhost_metadata shop --description 'Orders and payments'",
            words: &[VHOST, DESCRIPTION, TAGS, QUEUE_TYPE],
            action: Action::Own(|asked| {
                update(asked, "Updating metadata of vhost \"{VHOST}\" ...", ONE, &metadata(asked)?)
            }),
        },
        Verb {
            name: "set_vhost_tags",
            about: "Set a vhost's tags in place of those it has",
            example: "set_vhost_tags shop production eu",
            words: &[VHOST, many("TAG", "A tag; none takes all away")],
            action: Action::Own(|asked| {
                let banner = "Setting tags for virtual host \"{VHOST}\" to [{TAG}] ...";
                update(asked, banner, ONE, &json!({"tags": asked.each("TAG").join(",")}))
            }),
        },
        Verb {
            name: "enable_vhost_deletion_protection",
            about: "Keep a vhost from being deleted",
            example: "enable_vhost_deletion_protection shop",
            words: &[VHOST],
            action: Action::Change(Change {
                banner: "Protecting vhost \"{VHOST}\" from deletion ...",
                method: "POST",
                path: PROTECTION,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "disable_vhost_deletion_protection",
            about: "Let a vhost be deleted again",
            example: "disable_vhost_deletion_protection shop",
            words: &[VHOST],
            action: Action::Change(Change {
                banner: "Taking the protection from deletion off vhost \"{VHOST}\" ...",
                method: "DELETE",
                path: PROTECTION,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_vhosts",
            about: "List the vhosts",
            example: "list_vhosts\nlist_vhosts name tracing description",
            words: &[],
            action: Action::List(List {
                banner: "Listing vhosts ...",
                path: "/api/vhosts",
                columns: columns![
                    "name",
                    "description",
                    "tags",
                    "default_queue_type",
                    "tracing",
                    "cluster_state",
                    "protected_from_deletion",
                    "metadata",
                    "messages",
                    "messages_ready",
                    "messages_unacknowledged"
                ],
                usual: &["name"],
            }),
        },
        Verb {
            name: "restart_vhost",
            about: "Make sure that a vhost runs, which each does that is there",
            example: "restart_vhost -p shop",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Trying to restart vhost '{vhost}' ...")?;
                let path =
                    format!("/api/vhosts/{{vhost}}/start/{}", encode(&Node::name_of(asked)?));
                asked.send("POST", &path, &Sent::default())?;
                Ok(Answer::Done(asked.sentence("Vhost '{vhost}' is already running")))
            }),
        },
        Verb {
            name: "trace_on",
            about: "Copy each message of a vhost, as it comes and goes, to amq.rabbitmq.trace",
            example: "trace_on -p /",
            words: &[],
            action: Action::Own(|asked| trace(asked, true)),
        },
        Verb {
            name: "trace_off",
            about: "Stop copying a vhost's messages to amq.rabbitmq.trace",
            example: "trace_off -p /",
            words: &[],
            action: Action::Own(|asked| trace(asked, false)),
        },
    ],
};

/// What was said, and nothing of what wasn't: that stays as it is.
fn metadata(asked: &Asked<'_>) -> Result<Value, Failure> {
    let mut body = json!({});
    for (word, name) in [
        ("description", "description"),
        ("tags", "tags"),
        ("default-queue-type", "default_queue_type"),
    ] {
        if let Some(text) = asked.given(word) {
            body[name] = text.into();
        }
    }
    Ok(body)
}

/// Changes what is there: a PUT alone would add it.
fn update(asked: &Asked<'_>, banner: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
    asked.banner(banner)?;
    asked.get(path)?;
    asked.send("PUT", path, &Sent { body: Some(body), headers: &[] })?;
    Ok(Answer::Done(String::new()))
}

fn trace(asked: &Asked<'_>, is_on: bool) -> Result<Answer, Failure> {
    let (begins, done) = if is_on { ("Starting", "enabled") } else { ("Stopping", "disabled") };
    let banner = format!("{begins} tracing for vhost \"{{vhost}}\" ...");
    update(asked, &banner, "/api/vhosts/{vhost}", &json!({"tracing": is_on}))?;
    Ok(Answer::Done(format!("Trace {done} for vhost {}", asked.vhost())))
}
