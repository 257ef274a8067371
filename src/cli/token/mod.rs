//! `hallpass token`: inspect, narrow and try passes.

mod call;
mod delegate;
mod inspect;
mod narrow;
mod prove;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::{
    error::CliError,
    output::Output,
    token::{
        delegate::Delegate, inspect::inspect, narrow::Attenuate, prove::Prove, verify::Verify,
    },
};

/// Inspect, narrow and try passes.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a token says, block by block. Works offline and verifies nothing.
    #[command(after_help = "\
Examples:
  hallpass token inspect TOKEN
  pbpaste | hallpass token inspect -")]
    Inspect {
        /// The token, or `-` to read it from stdin, which no process list shows.
        token: String,
    },
    /// Narrow a pass, offline, to hand it on. The original keeps all its power.
    #[command(after_help = "\
Examples:
  hallpass token attenuate TOKEN --ttl 1m --read-only
  hallpass token attenuate - --server https://ledger.example/mcp --tool read_ledger < pass.txt")]
    Attenuate(Attenuate),
    /// Hand a bound pass on to another agent, signed with its holder's key.
    #[command(after_help = "\
Examples:
  hallpass token delegate TOKEN --key research-bot.key --to summariser --to-key summariser.jwk \\
      --server https://ledger.example/mcp --tool read_ledger --ttl 1m
  curl https://broker.example/v1/keys.json > keys.json      # once; then without a network:
  hallpass token delegate - --key-document keys.json --key research-bot.key --to helper \\
      --to-key helper.jwk --use-only < pass.txt

Signs over nothing but a pass of the broker: its keys come from --broker, or from a file. Exit 3: not
signed by them.")]
    Delegate(Delegate),
    /// Sign a proof of possession (DPoP) for one request with a bound pass.
    #[command(after_help = "\
Example:
  hallpass token prove TOKEN --key research-bot.key --url https://ledger.example/mcp \\
      --call tool:transfer --arguments '{\"amount\":10}'")]
    Prove(Prove),
    /// Verify a pass and try a call, as the server's verifier would, without calling the server.
    #[command(after_help = "\
Examples:
  hallpass token verify TOKEN --server ledger --feed-key PIN \\
      --call tool:read_ledger --arguments '{\"year\":2026}'
  hallpass token verify TOKEN --server https://ledger.example/mcp --feed-key PIN \\
      --call resource:file:///srv/books/a

`hallpass keys show-pin` shows PIN on the broker's machine. Exit 3: refused, with every reason.")]
    Verify(Verify),
}

impl Tokens {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Inspect { token } => inspect(&token, output),
            Command::Attenuate(attenuate) => attenuate.run(output),
            Command::Delegate(delegate) => delegate.run(output).await,
            Command::Prove(prove) => prove.run(output),
            Command::Verify(verify) => verify.run(output).await,
        }
    }
}
