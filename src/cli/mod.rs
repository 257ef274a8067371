//! Floor 6: the command line.
//!
//! Answers go to stdout, as JSON with `--json`; everything else goes to stderr. Exit codes: 0 done,
//! 1 failed, 2 usage, 3 refused: a no with its reasons is an answer, not a failure. Token text is
//! printed only by the commands that are there to give one.

mod access;
mod agent;
mod audit;
mod backup;
mod client;
mod completions;
mod config_file;
mod doctor;
mod error;
mod first_start;
mod help;
mod keys;
mod names;
mod operator;
mod output;
mod policy;
mod revoke;
mod revoke_many;
mod rights;
mod secret_out;
mod serve;
mod server;
mod session;
mod steward;
mod task;
mod token;
mod view;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cli::{
    error::{CliError, Exit},
    help::GLOBAL,
    output::Output,
};

/// Runs the command in `arguments`, of which the first is the program's own name.
///
/// Prints to stdout and stderr; the code is what the process should end with.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap and answers to people; it knows which stream is whose.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let output = Output::new(cli.json);
    match execute(cli.command, output) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            output.fail(&error);
            ExitCode::from(error.exit().code())
        }
    }
}

/// Just-in-time credentials for AI agents that call MCP servers.
#[derive(Debug, Parser)]
#[command(name = "hallpass", version, max_term_width = 100, after_help = FIRST_MINUTES)]
struct Cli {
    /// Answer in JSON.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::Serve),
    /// Register, change and remove agents.
    Agent(agent::Agents),
    /// Register and remove MCP servers.
    Server(server::Servers),
    /// The humans who answer for agents.
    Steward(steward::Stewards),
    /// Operators: people and verifiers that administer, audit, or verify.
    Operator(operator::Operators),
    /// Ask for passes, as an agent; look at tasks.
    Task(task::Tasks),
    /// Inspect, narrow and try passes.
    Token(token::Tokens),
    /// Revoke a pass, a task, an agent, a steward, a server or a key.
    Revoke(revoke::Revoke),
    /// Revoke many passes and tasks at once, from a list or by a filter.
    RevokeMany(revoke_many::RevokeMany),
    /// What is revoked.
    Revocations(revoke::Revocations),
    /// The broker's keys.
    Keys(keys::Keys),
    /// Write, check and try what may be given.
    Policy(policy::Policy),
    /// What happened.
    Audit(audit::Audit),
    /// Copy all that this machine's broker needs, while it runs.
    Backup(backup::BackUp),
    /// Put a backup into an empty data directory.
    Restore(backup::Restore),
    /// Look for what is wrong with this installation.
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

fn execute(command: Command, output: Output) -> Result<(), CliError> {
    let mut builder = match &command {
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build()?;
    // Boxed: the commands' futures together are larger than a stack should hold.
    runtime.block_on(Box::pin(async move {
        match command {
            Command::Serve(serve) => serve.run(output).await,
            Command::Agent(agents) => agents.run(output).await,
            Command::Server(servers) => servers.run(output).await,
            Command::Steward(stewards) => stewards.run(output).await,
            Command::Operator(operators) => operators.run(output).await,
            Command::Task(tasks) => tasks.run(output).await,
            Command::Token(tokens) => tokens.run(output).await,
            Command::Revoke(revoke) => revoke.run(output).await,
            Command::RevokeMany(many) => many.run(output).await,
            Command::Revocations(revocations) => revocations.run(output).await,
            Command::Keys(keys) => keys.run(output).await,
            Command::Policy(policy) => policy.run(output).await,
            Command::Audit(audit) => audit.run(output).await,
            Command::Backup(backup) => backup.run(output),
            Command::Restore(restore) => restore.run(output),
            Command::Doctor(doctor) => doctor.run(output).await,
            Command::Completions(completions) => completions.run(Cli::command()),
        }
    }))
}

const FIRST_MINUTES: &str = "\
First minutes:
  hallpass serve
  hallpass server add https://ledger.example/mcp --name ledger --import
  hallpass agent add research-bot --steward alice --group research --key-out research-bot.key
  hallpass policy grant --id research-reads --agents group:research --server ledger \\
      --tools 'read_*' --max-ttl 10m
  hallpass task open --as research-bot.key --purpose \"close the Q3 books\" --server ledger \\
      --tool read_ledger --ttl 5m
  hallpass token inspect TOKEN
  hallpass revoke REVOCATION_ID --reason \"laptop lost\"
  hallpass audit tail

Exit codes: 0 done, 1 failed, 2 usage, 3 refused.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_hold_together() {
        Cli::command().debug_assert();
    }
}
