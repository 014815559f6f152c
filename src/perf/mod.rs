//! The load generator `ferrymq-perf`: measures any AMQP 0-9-1 broker, and checks every message.
//!
//! ```text
//! flags ─▶ scenarios ─▶ load ─┬─▶ producers ─▶ broker ─▶ consumers ─▶ tally: each once, in order
//!                             └─▶ report: rates, latencies, what the broker's process used
//! ```
//!
//! Blocking threads, one for each socket's direction, frames encoded once: the broker is what is
//! measured. Everything here is a client; nothing of the broker is used but the protocol's words.

mod broker;
mod connections;
mod consumer;
mod flags;
mod link;
mod load;
mod plan;
mod process;
mod producer;
mod report;
mod scenarios;
mod tally;

use std::process::ExitCode;

pub use flags::Flags;

/// Does what the command line asks. Exit codes: 0 when every message was right, 1 when one wasn't
/// or the broker could not be reached, 2 wrong usage.
pub fn run(flags: &Flags) -> ExitCode {
    match flags.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrymq-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;
