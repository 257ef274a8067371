//! `hallpass completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::{Cli, error::CliError, output::Output};

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
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "hallpass", &mut script);
        Output::raw(&String::from_utf8_lossy(&script))
    }
}
