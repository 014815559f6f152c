//! Runtime parameters, global parameters, and the cluster's name.

use serde_json::{Value, json};

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::verb::{
    Action, COLUMN, Change, Column, Subject, Verb, Word, columns, many, no_body, required,
};

const COMPONENT: Word = required("COMPONENT", "What it is for");
const NAME: Word = required("NAME", "The parameter's name");
const VALUE: Word = required("JSON", "Its value");
const ONE: &str = "/api/parameters/{COMPONENT}/{vhost}/{NAME}";
const GLOBAL: &str = "/api/global-parameters/{NAME}";

pub(super) const SUBJECT: Subject = Subject {
    title: "Parameters",
    verbs: &[
        Verb {
            name: "set_parameter",
            about: "Set a runtime parameter of a vhost",
            example: "set_parameter -p / federation-upstream there '{\"uri\":\"amqp://there\"}'",
            words: &[COMPONENT, NAME, VALUE],
            action: Action::Change(Change {
                banner: "Setting runtime parameter \"{NAME}\" for component \"{COMPONENT}\" to \"{JSON}\" in vhost \"{vhost}\" ...",
                method: "PUT",
                path: ONE,
                body: parameter,
                done: "",
            }),
        },
        Verb {
            name: "clear_parameter",
            about: "Take a runtime parameter away",
            example: "clear_parameter -p / federation-upstream there",
            words: &[COMPONENT, NAME],
            action: Action::Change(Change {
                banner: "Clearing runtime parameter \"{NAME}\" for component \"{COMPONENT}\" on vhost \"{vhost}\" ...",
                method: "DELETE",
                path: ONE,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_parameters",
            about: "List the runtime parameters of a vhost",
            example: "list_parameters -p /",
            words: &[many(COLUMN, "component, name or value [default: all of them]")],
            action: Action::Own(list_parameters),
        },
        Verb {
            name: "set_global_parameter",
            about: "Set a parameter of the whole broker",
            example: "set_global_parameter region '\"eu\"'",
            words: &[NAME, VALUE],
            action: Action::Change(Change {
                banner: "Setting global runtime parameter \"{NAME}\" to \"{JSON}\" ...",
                method: "PUT",
                path: GLOBAL,
                body: parameter,
                done: "",
            }),
        },
        Verb {
            name: "clear_global_parameter",
            about: "Take a parameter of the whole broker away",
            example: "clear_global_parameter region",
            words: &[NAME],
            action: Action::Change(Change {
                banner: "Clearing global runtime parameter \"{NAME}\" ...",
                method: "DELETE",
                path: GLOBAL,
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "list_global_parameters",
            about: "List the parameters of the whole broker",
            example: "list_global_parameters",
            words: &[many(COLUMN, "name or value [default: both]")],
            action: Action::Own(list_global_parameters),
        },
        Verb {
            name: "set_cluster_name",
            about: "Set the name by which clients and operators know the broker",
            example: "set_cluster_name orders-eu",
            words: &[NAME],
            action: Action::Change(Change {
                banner: "Setting cluster name to {NAME} ...",
                method: "PUT",
                path: "/api/cluster-name",
                body: |asked| Ok(json!({"name": asked.text("NAME")})),
                done: "",
            }),
        },
    ],
};

fn parameter(asked: &Asked<'_>) -> Result<Value, Failure> {
    Ok(json!({"value": asked.json("JSON")?}))
}

const COLUMNS: &[Column] = columns!["component", "name", "value"];

/// The API has no list of one vhost's parameters of every component.
fn list_parameters(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(COLUMNS, &["component", "name", "value"])?;
    asked.banner("Listing runtime parameters for vhost \"{vhost}\" ...")?;
    asked.get("/api/vhosts/{vhost}?columns=name")?;
    let mut fetched = chosen.clone();
    fetched.push(("vhost", "vhost"));
    asked.list_filtered("/api/parameters", &fetched, &chosen, |parameter| {
        let is_of_vhost = at(&parameter, "vhost").as_str() == Some(asked.vhost());
        is_of_vhost.then(|| with_json(asked, parameter))
    })
}

fn list_global_parameters(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(columns!["name", "value"], &["name", "value"])?;
    asked.banner("Listing global runtime parameters ...")?;
    let shown = |parameter| Some(with_json(asked, parameter));
    asked.list_filtered("/api/global-parameters", &chosen, &chosen, shown)
}

/// A value that `set_parameter` takes as it is printed: a text with its quotes.
fn with_json(asked: &Asked<'_>, mut parameter: Value) -> Value {
    if !asked.output.is_json() && !at(&parameter, "value").is_null() {
        parameter["value"] = at(&parameter, "value").to_string().into();
    }
    parameter
}
