//! `hallpass task`: an agent asks for passes; agents and operators look at tasks.

mod open;
mod report;
mod view;

use clap::{Args, Subcommand};

pub(super) use crate::cli::task::open::{context_value, distinct};
use crate::{
    api::tasks::AgainRequest,
    cli::{
        access::{Either, LookUp},
        error::CliError,
        names::Names,
        output::{Columns, Output},
        rights::Rights,
        task::{
            open::Open,
            report::Report,
            view::{delegation, issued, opened, show},
        },
    },
};
use hallpass_core::base::ids::{AgentId, TaskId};

/// Ask for passes, as an agent; look at tasks.
#[derive(Debug, Args)]
pub(super) struct Tasks {
    #[command(flatten)]
    who: Either,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a task and get its first pass, or credentials for a stock MCP client.
    #[command(after_help = "\
Examples:
  hallpass task open --as research-bot.key --purpose \"close the Q3 books\" \\
      --server ledger --tool read_ledger --ttl 5m
  hallpass task open --as pay.key --purpose \"refund 17\" --ttl 2m --context customer_id=c-17 \\
      --server https://ledger.example/mcp --tool transfer --closed transfer \\
      --constraint 'transfer:/amount={\"max\":100}'
  hallpass task open --as bot.key --purpose sync --details rights.json --ttl 10m --json
  hallpass task open --as bot.key --purpose sync --server ledger --tool 'read_*' --ttl 1h --credentials")]
    Open(Open),
    /// Get another pass in an open task; policy is asked again.
    #[command(after_help = "Example:\n  hallpass task token TASK_ID --as research-bot.key")]
    Token {
        /// The task's id.
        task: TaskId,
        #[command(flatten)]
        rights: Rights,
    },
    /// End a task: its passes die everywhere.
    Complete {
        /// The task's id.
        task: TaskId,
    },
    /// Report to the broker what was handed on, so that it can be revoked before first use.
    Delegations {
        #[command(subcommand)]
        command: Delegations,
    },
    /// List tasks, newest first: with --as the agent's own.
    List {
        /// Only this agent's.
        #[arg(long)]
        agent: Option<AgentId>,
        /// At most this many.
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Show a task with its passes and what was handed on.
    Show {
        /// The task's id.
        task: TaskId,
    },
}

#[derive(Debug, Subcommand)]
enum Delegations {
    /// Report a narrowed pass.
    #[command(after_help = "\
Example, of a pass that `hallpass token attenuate` made:
  hallpass task delegations report TASK_ID --as research-bot.key --token NARROWED \\
      --delegate summariser")]
    Report(Report),
}

impl Tasks {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let who = &self.who;
        match self.command {
            Command::Open(open) => {
                let session = who.as_agent().await?;
                let details = open
                    .rights
                    .resolved(session.client(), LookUp::Agent(who))
                    .await?;
                let credentials = open.credentials;
                let answer = session.open_task(&open.into_request(details, who)?).await?;
                if credentials {
                    output
                        .note("the secret is shown this once; configure a stock MCP client with it and with no scope");
                }
                output.answer(&answer, opened)
            }
            Command::Token { task, rights } => {
                let session = who.as_agent().await?;
                let request = AgainRequest {
                    authorization_details: rights
                        .asked(session.client(), LookUp::Agent(who))
                        .await?,
                };
                output.answer(&session.issue_again(&task, &request).await?, issued)
            }
            Command::Complete { task } => {
                let session = who.as_agent().await?;
                let answer = session.complete_task(&task).await?;
                output.answer(&answer, |task| show(task, &Names::default()))
            }
            Command::Delegations {
                command: Delegations::Report(report),
            } => {
                let request = report.to_request()?;
                let session = who.as_agent().await?;
                let reported = session.report_delegation(&report.task, &request).await?;
                output.answer(&reported, delegation)
            }
            Command::List { agent, limit } => list(who, agent, limit, output).await,
            Command::Show { task } => {
                let session = who.open().await?;
                let answer = session.task(&task).await?;
                let names = if who.is_agent() {
                    Names::default()
                } else {
                    Names::known_to(&session, output).await
                };
                output.answer(&answer, |task| show(task, &names))
            }
        }
    }
}

async fn list(
    who: &Either,
    agent: Option<AgentId>,
    limit: usize,
    output: Output,
) -> Result<(), CliError> {
    let session = who.open().await?;
    if who.is_agent() && limit > AGENT_PAGE {
        // Every page would need an assertion of its own.
        return Err(CliError::usage(format!(
            "an agent lists at most {AGENT_PAGE} of its tasks"
        )));
    }
    let query: Vec<_> = agent
        .map(|agent| ("agent", agent.to_string()))
        .into_iter()
        .collect();
    let table = Columns {
        columns: &["task", "agent", "state", "ends", "passes", "purpose"],
        empty: "no tasks",
    };
    output.list(&session.tasks(&query, limit).await?, table, |task| {
        vec![
            task.task_id.to_string(),
            task.agent.to_string(),
            task.state.into_owned(),
            task.ends_at.to_string(),
            task.pass_count.to_string(),
            task.purpose,
        ]
    })
}

/// What one request answers at most.
const AGENT_PAGE: usize = 200;
