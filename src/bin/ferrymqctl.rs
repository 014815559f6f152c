//! The management CLI. For now it answers `--help` and `--version` only.

use clap::{CommandFactory, Parser};

/// ferrymqctl manages a FerryMQ broker.
///
/// Its commands speak to the management HTTP API, which this version does not have yet.
#[derive(Debug, Parser)]
#[command(name = "ferrymqctl", version)]
struct Flags {}

fn main() -> std::io::Result<()> {
    Flags::parse();
    Flags::command().print_long_help()
}
