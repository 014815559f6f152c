//! Policies and operator policies.

use serde_json::{Value, json};

use crate::ctl::action::{array, at, rows_of};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::verb::{
    Action, Change, Column, List, Subject, Verb, Word, columns, flag, no_body, option, required,
};

const NAME: Word = required("NAME", "The policy's name");
const PUT_WORDS: &[Word] = &[
    NAME,
    required("PATTERN", "Expression for the names of what it is for"),
    required("DEFINITION", "What it sets, as a JSON object"),
    option("priority", "Of several policies that fit, the one with the highest holds")
        .or("0")
        .number(),
    option("apply-to", "What it is for")
        .one_of(&["all", "queues", "classic_queues", "quorum_queues", "streams", "exchanges"])
        .or("all"),
];

const COLUMNS: &[Column] =
    columns!["vhost", "name", "pattern", "apply-to", "definition", "priority"];
const USUAL: &[&str] = &["vhost", "name", "pattern", "apply-to", "definition", "priority"];

pub(super) const SUBJECT: Subject = Subject {
    title: "Policies",
    verbs: &[
        Verb {
            name: "set_policy",
            about: "Set a policy, or change it",
            example: "set_policy -p / ttl '^orders' '{\"message-ttl\":60000}' --apply-to queues",
            words: PUT_WORDS,
            action: Action::Change(Change {
                banner: "Setting policy \"{NAME}\" for pattern \"{PATTERN}\" to \"{DEFINITION}\" with priority \"{priority}\" for vhost \"{vhost}\" ...",
                method: "PUT",
                path: "/api/policies/{vhost}/{NAME}",
                body: policy,
                done: "",
            }),
        },
        Verb {
            name: "clear_policy",
            about: "Take a policy away",
            example: "clear_policy -p / ttl",
            words: &[NAME],
            action: Action::Change(Change {
                banner: "Clearing policy \"{NAME}\" on vhost \"{vhost}\" ...",
                method: "DELETE",
                path: "/api/policies/{vhost}/{NAME}",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_policies",
            about: "List the policies of a vhost",
            example: "list_policies -p /",
            words: &[],
            action: Action::List(List {
                banner: "Listing policies for vhost \"{vhost}\" ...",
                path: "/api/policies/{vhost}",
                columns: COLUMNS,
                usual: USUAL,
            }),
        },
        Verb {
            name: "list_policies_that_match",
            about: "List the policies that fit a queue or an exchange, the one that holds first",
            example: "list_policies_that_match -p / orders",
            words: &[
                required("OBJECT", "The name of the queue or exchange"),
                flag("exchange", "It is an exchange"),
            ],
            action: Action::Own(list_policies_that_match),
        },
        Verb {
            name: "set_operator_policy",
            about: "Set an operator policy, which limits what policies and arguments set",
            example: "set_operator_policy -p / most '.*' '{\"max-length\":100000}' --apply-to queues",
            words: PUT_WORDS,
            action: Action::Change(Change {
                banner: "Setting operator policy override \"{NAME}\" for pattern \"{PATTERN}\" to \"{DEFINITION}\" with priority \"{priority}\" for vhost \"{vhost}\" ...",
                method: "PUT",
                path: "/api/operator-policies/{vhost}/{NAME}",
                body: policy,
                done: "",
            }),
        },
        Verb {
            name: "clear_operator_policy",
            about: "Take an operator policy away",
            example: "clear_operator_policy -p / most",
            words: &[NAME],
            action: Action::Change(Change {
                banner: "Clearing operator policy \"{NAME}\" on vhost \"{vhost}\" ...",
                method: "DELETE",
                path: "/api/operator-policies/{vhost}/{NAME}",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_operator_policies",
            about: "List the operator policies of a vhost",
            example: "list_operator_policies -p /",
            words: &[],
            action: Action::List(List {
                banner: "Listing operator policy overrides for vhost \"{vhost}\" ...",
                path: "/api/operator-policies/{vhost}",
                columns: COLUMNS,
                usual: USUAL,
            }),
        },
    ],
};

fn policy(asked: &Asked<'_>) -> Result<Value, Failure> {
    Ok(json!({
        "pattern": asked.text("PATTERN"), "definition": asked.json("DEFINITION")?,
        "priority": asked.number("priority")?, "apply-to": asked.text("apply-to"),
    }))
}

/// Which of them fit is for the broker to say: it names the one that holds. The others are those of
/// its vhost whose pattern and kind fit, by priority.
fn list_policies_that_match(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let is_exchange = asked.flag("exchange");
    let kind = if is_exchange { "exchanges" } else { "queues" };
    asked.banner("Listing policies that match \"{OBJECT}\" in vhost \"{vhost}\" ...")?;
    let object = asked.get(&format!("/api/{kind}/{{vhost}}/{{OBJECT}}?columns=type,name"))?;
    let policies = array(asked.get("/api/policies/{vhost}")?)?;
    let (name, queue_type) =
        (asked.text("OBJECT"), at(&object, "type").as_str().unwrap_or_default());
    let mut found: Vec<&Value> = Vec::new();
    for policy in &policies {
        let applies = match at(policy, "apply-to").as_str().unwrap_or_default() {
            "all" => true,
            "exchanges" => is_exchange,
            "queues" => !is_exchange,
            apply_to => !is_exchange && apply_to.strip_suffix("_queues") == Some(queue_type),
        };
        if applies && fits(at(policy, "pattern").as_str().unwrap_or_default(), name)? {
            found.push(policy);
        }
    }
    found.sort_by_key(|policy| std::cmp::Reverse(at(policy, "priority").as_i64()));
    let columns: Vec<Column> = COLUMNS.to_vec();
    Ok(Answer::Rows(rows_of(found.into_iter(), &columns)))
}

/// Rule: the pattern may fit anywhere in the name.
fn fits(pattern: &str, name: &str) -> Result<bool, Failure> {
    let compiled = regex::Regex::new(pattern).map_err(|error| {
        Failure::software(format!("the pattern {pattern} can't be read: {error}"))
    })?;
    Ok(compiled.is_match(name))
}
