//! The load generator. For now it answers `--help` and `--version` only.

use clap::{CommandFactory, Parser};

/// ferrymq-perf measures AMQP 0-9-1 brokers.
///
/// Its scenarios are not in this version yet.
#[derive(Debug, Parser)]
#[command(name = "ferrymq-perf", version)]
struct Flags {}

fn main() -> std::io::Result<()> {
    Flags::parse();
    Flags::command().print_long_help()
}
