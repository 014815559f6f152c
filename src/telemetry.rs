//! What the daemon says: `tracing` to stderr, as lines for people or as JSON.
//!
//! Belongs to the process, so only the program begins it; a server that a test starts says nothing.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins logging for the process. An invalid filter is an error that says so.
pub fn begin(level: &str, json: bool) -> Result<(), String> {
    let wanted: Targets = level
        .parse()
        .map_err(|error| format!("log.level = \"{level}\" is not a level or filter: {error}"))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match json {
        true => lines.json().boxed(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(wanted).with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a defect: a task has ended")));
    Ok(())
}
