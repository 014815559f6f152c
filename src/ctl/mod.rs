//! The command line of `ferrymqctl`: what an operator asks, and how the answers are printed.
//!
//! ```text
//! command line ──▶ verbs/: a table ──▶ asked.rs: its words ──▶ session.rs ──▶ the API
//!                                         └──▶ output.rs ──▶ terminal, pipe
//! ```
//!
//! Verbs, columns and exit codes are rabbitmqctl's where it has them. `store.rs` has the commands
//! that look at a data directory no broker runs on, and `json.rs` says AMQP's values in JSON.

mod action;
mod asked;
mod certificate;
mod command_line;
mod failure;
mod file;
mod json;
mod output;
mod progress;
mod session;
mod store;
mod verb;
mod verbs;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;

use self::asked::Asked;
use self::failure::Failure;
use self::output::Answer;
use self::session::Session;
use self::verb::Action;

/// Does what a command line asks, the program's name first. Exit codes: as docs/cli.md says.
pub fn run(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let matches = match command_line::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(told) => return command_line::tell(&told, &arguments),
    };
    match matches.subcommand() {
        Some(("store", matches)) => store::run(matches),
        Some(("version", _)) => command_line::version(),
        Some(("completions", matches)) => command_line::completions(matches),
        Some((name, matches)) => match answer(name, matches) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.text.is_empty() {
                    eprintln!("ferrymqctl: {failure}");
                }
                ExitCode::from(failure.code)
            }
        },
        None => command_line::help(),
    }
}

fn answer(name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let verb = verbs::all().find(|verb| verb.name == name);
    let verb = verb.ok_or_else(|| Failure::usage(format!("there is no verb {name}")))?;
    if matches!(verb.action, Action::NotHere) {
        return Err(Failure::unavailable(format!("{name} can't be done here: {}", verb.about)));
    }
    let output = command_line::output(matches);
    let session = Session::new(&command_line::place(matches)?, &command_line::login(matches)?)?;
    command_line::check_node(matches, &session)?;
    let asked = Asked { matches, session, output: &output };
    let answer = match &verb.action {
        Action::List(list) => asked.list(list)?,
        Action::Change(change) => asked.change(change)?,
        Action::Check(check) => asked.check(check)?,
        Action::Own(own) => own(&asked)?,
        Action::NotHere => Answer::Printed,
    };
    output.answer(&answer)
}
