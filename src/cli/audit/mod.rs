//! `hallpass audit`: what happened, proofs of it, and whether the record of it is whole.

mod calls;
mod check;
mod filter;
mod prove;
mod report;
mod tail;

use clap::{Args, Subcommand};

use crate::cli::{error::CliError, output::Output};

/// What happened.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the newest events, oldest first; with -f go on as they happen.
    #[command(after_help = "\
Examples:
  hallpass audit tail
  hallpass audit tail -f --agent research-bot
  hallpass audit tail -n 1000 --from 2026-11-22T00:00:00Z --json | jq -r .type")]
    Tail(tail::Tail),
    /// Show the newest calls that verifiers decided, oldest first, with task, steward and grant.
    #[command(after_help = "\
Examples:
  hallpass audit calls --task tsk_0191…
  hallpass audit calls --steward alice --decision refused --from 2026-11-22T00:00:00Z
  hallpass audit calls --decision lost --json")]
    Calls(calls::Calls),
    /// Show the signed head: the last record and the root of the tree over all of them.
    #[command(after_help = "\
Example:
  hallpass audit head --json > head-2026-11-22.json

Keep it where the operators of the broker cannot change it. A later export that does not begin with the
records of this head is found out: hallpass audit verify EXPORT --key KEY --head head-2026-11-22.json")]
    Head(prove::Head),
    /// Prove that one record is in the journal, or that nothing was changed since a head.
    #[command(after_help = "\
Examples:
  hallpass audit prove --sequence 17 --json > record-17.json
  hallpass audit prove --since head-2026-11-22.json --json > since.json
  hallpass audit verify record-17.json --key KEY")]
    Prove(prove::Prove),
    /// Write the exact lines of the journal to a file, sealed with a signature.
    #[command(after_help = "\
Examples:
  hallpass audit export 2026-11-22.jsonl
  hallpass audit export page.jsonl --first 1000 --last 1999
  hallpass audit verify 2026-11-22.jsonl --key KEY")]
    Export(prove::Export),
    /// Answer a question: what an agent did, who could reach a tool, what was refused, who could get what.
    #[command(after_help = "\
Examples:
  hallpass audit report activity --agent research-bot --steward alice --from 2026-11-01T00:00:00Z
  hallpass audit report reach --server ledger --tool transfer --at 2026-11-20T12:00:00Z
  hallpass audit report refusals --from 2026-11-01T00:00:00Z --csv > refusals.csv
  hallpass audit report entitlements --csv > entitlements.csv
  hallpass audit report live --steward alice --json")]
    Report(report::Report),
    /// Check a journal, an export, a head or a proof, offline. A running broker may go on writing meanwhile.
    #[command(after_help = "\
Examples:
  hallpass audit verify
  hallpass audit verify 2026-11-22.jsonl --key 7Qx…
  hallpass audit verify 2026-11-22.jsonl --key keys.json --head head-2026-11-21.json
  hallpass audit verify /backup/journal --closed --head 1042:9f86d081…
  hallpass audit verify --follows 9310:5e884898…

With --key a signature is asked for: an export and a proof need nothing else to be checked. Without a
signature a sound journal shows that no part of it was changed; who can write the file can write
another sound one. --head finds that, and a tail that was cut. A journal whose oldest segments were
archived is checked from the first that is left; --follows the head of the archived ones, which this
prints for them, shows that nothing is missing between.")]
    Verify(check::Verify),
}

impl Audit {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Tail(tail) => tail.run(output).await,
            Command::Calls(calls) => calls.run(output).await,
            Command::Head(head) => head.run(output).await,
            Command::Prove(prove) => prove.run(output).await,
            Command::Export(export) => export.run(output).await,
            Command::Report(report) => report.run(output).await,
            Command::Verify(verify) => verify.run(output),
        }
    }
}
