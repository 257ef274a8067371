//! The `hallpass` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hallpass::cli::run(std::env::args_os())
}
