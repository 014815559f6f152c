//! What the daemon says: `tracing` to stderr, as lines for people or as JSON.
//!
//! Belongs to the process, so only the program begins it; a server that a test starts says nothing.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins logging for the process. An invalid filter is an error that says so.
pub fn begin(level: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|error| format!("log.level = \"{level}\" is not a level or filter: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a defect: a task has ended")));
    Ok(())
}
