//! Definitions: all that is declared, saved to a file and taken from one.

use std::io::Read;

use serde_json::Value;

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::file;
use crate::ctl::output::Answer;
use crate::ctl::progress;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{Action, Subject, Verb, Word, flag, option, optional, required};

const FORMAT: Word = option("format", "The file's format").one_of(&["json"]).or("json");

pub(super) const SUBJECT: Subject = Subject {
    title: "Definitions",
    verbs: &[
        Verb {
            name: "export_definitions",
            about: "Save users, vhosts, permissions, queues, exchanges, ... as JSON",
            example: "export_definitions definitions.json\nexport_definitions - | jq .queues\nexport_definitions shop.json -p shop",
            words: &[required("FILE", "Where to; - is the standard output").file(), FORMAT],
            action: Action::Own(export),
        },
        Verb {
            name: "import_definitions",
            about: "Take definitions from a JSON file, all or none",
            example: "import_definitions definitions.json --skip-if-unchanged\nimport_definitions shop.json -p shop",
            words: &[
                optional("FILE", "Where from; - is the standard input").or("-").file(),
                flag("skip-if-unchanged", "Store nothing if all of it is in force already"),
                FORMAT,
            ],
            action: Action::Own(import),
        },
    ],
};

/// Of the vhost that `-p` names, or of the whole broker.
fn path(asked: &Asked<'_>) -> &'static str {
    if asked.named_vhost().is_some() { "/api/definitions/{vhost}" } else { "/api/definitions" }
}

/// Written as they come. A file holds password hashes: only its owner can read it.
fn export(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let is_output = asked.text("FILE") == file::STANDARD;
    if !is_output {
        asked.banner("Exporting definitions in JSON to a file at \"{FILE}\" ...")?;
    }
    let path = path(asked);
    let answer = asked.session.open("GET", &asked.fill(path, encode), &Sent::default());
    let answer = answer.map_err(|refused| asked.explain(path, refused))?;
    let bar = progress::bar(asked.output, progress::BYTES, answer.body().content_length());
    let mut source = bar.wrap_read(answer.into_body().into_reader());
    file::save(asked.text("FILE"), &mut source as &mut dyn Read)?;
    bar.finish_and_clear();
    Ok(if is_output { Answer::Printed } else { Answer::Done(String::new()) })
}

fn import(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let (source, named) = match asked.text("FILE") {
        file::STANDARD => (file::STANDARD, "standard input"),
        path => (path, "a file at \"{FILE}\""),
    };
    asked.banner(&format!("Importing definitions in JSON from {named} ..."))?;
    let wrong = |error| {
        let named = asked.sentence(named);
        Failure::data(format!("what comes from {named} is not JSON: {error}"))
    };
    let definitions: Value = serde_json::from_slice(&file::content(source)?).map_err(wrong)?;
    let bar = progress::bar(asked.output, "importing", None);
    bar.enable_steady_tick(progress::TICK);
    let condition = if asked.flag("skip-if-unchanged") { "?skip_if_unchanged=true" } else { "" };
    let path = format!("{}{condition}", path(asked));
    let answer = asked.send("POST", &path, &Sent { body: Some(&definitions), headers: &[] })?;
    bar.finish_and_clear();
    let is_unchanged = at(&answer, "unchanged").as_bool() == Some(true);
    let done = if is_unchanged {
        "Nothing was imported: all of it is in force already"
    } else {
        "Successfully imported definitions"
    };
    Ok(Answer::Advice(done.to_owned()))
}
