//! The command line of `ferrymqctl`: what an operator asks, and how the answers are printed.
//!
//! `store.rs` has the commands that look at a data directory no broker runs on; `json.rs` says
//! AMQP's values in JSON. What they ask for is the store's business.

mod json;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;

const ABOUT: &str = "ferrymqctl manages a FerryMQ broker.\n\n\
    This version has the commands for a data directory of a broker that doesn't run. Those that \
    speak to a running broker need the management HTTP API, which is not there yet.";

/// Does what a command line asks, the program's name first. Exit codes: 0 in order, 2 wrong usage;
/// others as the commands' help says.
pub fn run(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let matches = command().try_get_matches_from(arguments).unwrap_or_else(|usage| usage.exit());
    match matches.subcommand() {
        Some(("store", matches)) => store::run(matches),
        // clap lets nothing else through.
        _ => ExitCode::from(2),
    }
}

fn command() -> Command {
    Command::new("ferrymqctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(store::command())
}
