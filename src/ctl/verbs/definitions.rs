//! Definitions: all that is declared, saved to a file and taken from one.

use std::io::Read;

use serde_json::Value;

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::file;
use crate::ctl::output::Answer;
use crate::ctl::progress;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{Action, Subject, Verb, flag, optional, required};

pub(super) const SUBJECT: Subject = Subject {
    title: "Definitions",
    verbs: &[
        Verb {
            name: "export_definitions",
            about: "Save users, vhosts, permissions, queues, exchanges, ... as JSON",
            example: "export_definitions definitions.json\nexport_definitions - | jq .queues\nexport_definitions shop.json -p shop",
            words: &[required("FILE", "Where to; - is the standard output")],
            action: Action::Own(export),
        },
        Verb {
            name: "import_definitions",
            about: "Take definitions from a JSON file, all or none",
            example: "import_definitions definitions.json\nimport_definitions shop.json -p shop",
            words: &[
                optional("FILE", "Where from; - is the standard input").or("-"),
                flag(
                    "skip-if-unchanged",
                    "Accepted for rabbitmqctl's sake: what is the same stays as it is anyway",
                ),
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
    let source = asked.text("FILE");
    asked.banner("Importing definitions in JSON from a file at \"{FILE}\" ...")?;
    let wrong = |error| Failure::data(format!("{source} is not JSON: {error}"));
    let definitions: Value = serde_json::from_slice(&file::content(source)?).map_err(wrong)?;
    let bar = progress::bar(asked.output, "importing", None);
    bar.enable_steady_tick(progress::TICK);
    asked.send("POST", path(asked), &Sent { body: Some(&definitions), headers: &[] })?;
    bar.finish_and_clear();
    Ok(Answer::Done("Successfully imported definitions".to_owned()))
}
