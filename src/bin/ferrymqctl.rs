//! The management CLI; its commands are in `src/ctl/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferrymq::ctl::run(std::env::args_os())
}
