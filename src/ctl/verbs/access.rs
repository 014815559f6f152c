//! What users may do in vhosts: permissions and topic permissions.

use serde_json::{Value, json};

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, Change, Column, List, Subject, Verb, Word, columns, no_body, optional, required,
};

const USER: Word = required("USER", "The user's name");
const CONFIGURE: Word =
    required("CONFIGURE", "Expression for the names that it may declare and delete; '' is none");
const WRITE: Word = required("WRITE", "Expression for the names that it may publish to or bind");
const READ: Word = required("READ", "Expression for the names that it may read from");
const ONE: &str = "/api/permissions/{vhost}/{USER}";
const TOPIC: &str = "/api/topic-permissions/{vhost}/{USER}";

pub(super) const SUBJECT: Subject = Subject {
    title: "Access control",
    verbs: &[
        Verb {
            name: "set_permissions",
            about: "Set what a user may configure, write and read in a vhost",
            example: "set_permissions -p / alice '^orders' '.*' '^orders|^amq\\.'",
            words: &[USER, CONFIGURE, WRITE, READ],
            action: Action::Change(Change {
                banner: "Setting permissions for user \"{USER}\" in vhost \"{vhost}\" ...",
                method: "PUT",
                path: ONE,
                body: permissions,
                done: "",
            }),
        },
        Verb {
            name: "set_permissions_globally",
            about: "Set what a user may do in every vhost there is",
            example: "set_permissions_globally alice '.*' '.*' '.*'",
            words: &[USER, CONFIGURE, WRITE, READ],
            action: Action::Own(set_permissions_globally),
        },
        Verb {
            name: "clear_permissions",
            about: "Take a user's permissions in a vhost away",
            example: "clear_permissions -p / alice",
            words: &[USER],
            action: Action::Change(Change {
                banner: "Clearing permissions for user \"{USER}\" in vhost \"{vhost}\" ...",
                method: "DELETE",
                path: ONE,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_permissions",
            about: "List who may do what in a vhost",
            example: "list_permissions -p /",
            words: &[],
            action: Action::List(List {
                banner: "Listing permissions for vhost \"{vhost}\" ...",
                path: "/api/vhosts/{vhost}/permissions",
                columns: PERMISSION,
                usual: &["user", "configure", "write", "read"],
            }),
        },
        Verb {
            name: "list_user_permissions",
            about: "List what a user may do, by vhost",
            example: "list_user_permissions alice",
            words: &[USER],
            action: Action::List(List {
                banner: "Listing permissions for user \"{USER}\" ...",
                path: "/api/users/{USER}/permissions",
                columns: PERMISSION,
                usual: &["vhost", "configure", "write", "read"],
            }),
        },
        Verb {
            name: "set_topic_permissions",
            about: "Set which routing keys a user may publish with and bind by, at an exchange",
            example: "set_topic_permissions -p / alice amq.topic '^{username}\\.' '.*'",
            words: &[
                USER,
                required("EXCHANGE", "The exchange's name"),
                required("WRITE", "Expression for the routing keys it may publish with"),
                required("READ", "Expression for the routing keys it may bind by"),
            ],
            action: Action::Change(Change {
                banner: "Setting topic permissions on \"{EXCHANGE}\" for user \"{USER}\" in vhost \"{vhost}\" ...",
                method: "PUT",
                path: TOPIC,
                body: topic_permissions,
                done: "",
            }),
        },
        Verb {
            name: "clear_topic_permissions",
            about: "Take a user's topic permissions away, at one exchange or all of a vhost",
            example: "clear_topic_permissions -p / alice amq.topic",
            words: &[USER, optional("EXCHANGE", "Only those at this exchange")],
            action: Action::Own(clear_topic_permissions),
        },
        Verb {
            name: "list_topic_permissions",
            about: "List the topic permissions in a vhost",
            example: "list_topic_permissions -p /",
            words: &[],
            action: Action::List(List {
                banner: "Listing topic permissions for vhost \"{vhost}\" ...",
                path: "/api/vhosts/{vhost}/topic-permissions",
                columns: TOPIC_PERMISSION,
                usual: &["user", "exchange", "write", "read"],
            }),
        },
        Verb {
            name: "list_user_topic_permissions",
            about: "List a user's topic permissions, by vhost",
            example: "list_user_topic_permissions alice",
            words: &[USER],
            action: Action::List(List {
                banner: "Listing topic permissions for user \"{USER}\" ...",
                path: "/api/users/{USER}/topic-permissions",
                columns: TOPIC_PERMISSION,
                usual: &["vhost", "exchange", "write", "read"],
            }),
        },
    ],
};

const PERMISSION: &[Column] = columns!["vhost", "user", "configure", "write", "read"];

const TOPIC_PERMISSION: &[Column] = columns!["vhost", "user", "exchange", "write", "read"];

fn permissions(asked: &Asked<'_>) -> Result<Value, Failure> {
    Ok(json!({
        "configure": asked.text("CONFIGURE"), "write": asked.text("WRITE"),
        "read": asked.text("READ"),
    }))
}

fn topic_permissions(asked: &Asked<'_>) -> Result<Value, Failure> {
    Ok(json!({
        "exchange": asked.text("EXCHANGE"), "write": asked.text("WRITE"),
        "read": asked.text("READ"),
    }))
}

fn set_permissions_globally(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Setting permissions for user \"{USER}\" in all vhosts ...")?;
    let body = permissions(asked)?;
    for vhost in asked.names("/api/vhosts")? {
        let path = format!("/api/permissions/{}/{{USER}}", encode(&vhost));
        asked.send("PUT", &path, &Sent { body: Some(&body), headers: &[] })?;
    }
    Ok(Answer::Done(String::new()))
}

fn clear_topic_permissions(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let (banner, path) = if asked.given("EXCHANGE").is_some() {
        (
            "Clearing topic permissions on \"{EXCHANGE}\" for user \"{USER}\" in vhost \"{vhost}\" ...",
            format!("{TOPIC}/{{EXCHANGE}}"),
        )
    } else {
        (
            "Clearing topic permissions for user \"{USER}\" in vhost \"{vhost}\" ...",
            TOPIC.to_owned(),
        )
    };
    asked.banner(banner)?;
    asked.send("DELETE", &path, &Sent::default())?;
    Ok(Answer::Done(String::new()))
}
