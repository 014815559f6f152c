//! The load generator: its command line is `ferrymq::perf`.

use std::process::ExitCode;

use clap::Parser;
use ferrymq::perf::{self, Flags};

fn main() -> ExitCode {
    perf::run(&Flags::parse())
}
