//! `hallpass completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::{error::CliError, output::Output};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hallpass completions bash > ~/.local/share/bash-completion/completions/hallpass"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`.
    pub(super) fn run(self, mut program: Command) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "hallpass", &mut script);
        Output::raw(&String::from_utf8_lossy(&script))
    }
}
