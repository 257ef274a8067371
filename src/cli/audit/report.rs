//! `hallpass audit report`: people's questions, as a table, JSON or CSV.

use std::fmt::Display;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{
    access::Operator,
    audit::filter::{Filter, Times, given},
    error::CliError,
    output::{Columns, Output},
    session::{List, values},
};
use hallpass_broker::ledger::audit::{AccessRow, ActivityRow, ReachRow, RefusalRow, csv};
use hallpass_core::base::{ids::ToolName, time::Timestamp};

/// A question.
#[derive(Debug, Args)]
pub(super) struct Report {
    #[command(flatten)]
    operator: Operator,
    /// Answer in CSV. What a spreadsheet would take for a formula gets a ' before it: a cell, or what follows
    /// a ; in one, that begins with = + - @ or a tab.
    #[arg(long, global = true, conflicts_with = "json")]
    csv: bool,
    /// At most this many lines.
    #[arg(short = 'n', long = "lines", global = true, default_value_t = 1000)]
    lines: usize,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// What did an agent do: every right with its grant, every refusal, hand-over and revocation.
    Activity {
        #[command(flatten)]
        filter: Filter,
    },
    /// Who could call a tool: the passes that were alive then.
    Reach {
        /// The server, by name or URI.
        #[arg(long, value_name = "SERVER")]
        server: String,
        /// The tool, by its exact name.
        #[arg(long)]
        tool: ToolName,
        /// When; else now.
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// What was refused, by reason and agent.
    Refusals {
        #[command(flatten)]
        times: Times,
    },
    /// Which agents answer to whom, and what they can do now: for a review of access.
    Access {
        /// Only this steward's agents, by name or id.
        #[arg(long, value_name = "NAME")]
        steward: Option<String>,
    },
}

impl Report {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        // One more than wanted shows whether there is more.
        let limit = self.lines.saturating_add(1);
        match &self.question {
            Question::Activity { filter } => {
                let mut query = filter.query();
                query.push(("order", "oldest".to_owned()));
                let rows = session.activity(&query, limit).await?;
                self.show(&rows, ACTIVITY, activity, output)
            }
            Question::Reach { server, tool, at } => {
                let query = given([
                    ("server", Some(server.clone())),
                    ("tool", Some(tool.to_string())),
                    ("at", at.map(|at| at.to_string())),
                ]);
                let rows = session.reach(&query, limit).await?;
                self.show(&rows, REACH, reach, output)
            }
            Question::Refusals { times } => {
                let rows = session.refusals(&times.query(), limit).await?;
                self.show(&rows, REFUSALS, refusal, output)
            }
            Question::Access { steward } => {
                let query = given([("steward", steward.clone())]);
                let rows = session.access(&query, limit).await?;
                self.show(&rows, ACCESS, access, output)
            }
        }
    }

    fn show<T: DeserializeOwned>(
        &self,
        rows: &List<T>,
        columns: &'static [&'static str],
        cells: impl Fn(T) -> Vec<String>,
        output: Output,
    ) -> Result<(), CliError> {
        let more = rows.len() > self.lines;
        let rows = rows.get(..self.lines).unwrap_or(rows);
        if self.csv {
            let header = columns.iter().map(|column| (*column).to_owned()).collect();
            let lines = rows.iter().map(|row| row.read().map(&cells));
            let lines = lines.collect::<Result<Vec<_>, _>>()?;
            Output::raw(&csv(std::iter::once(header).chain(lines)))?;
        } else {
            let empty = "nothing of the kind";
            let view = output.rows(rows, Columns { columns, empty }, cells)?;
            output.show(&Value::Array(values(rows)), view)?;
        }
        if more {
            output.note(&format!(
                "there is more than {} lines: ask for more with -n",
                self.lines
            ));
        }
        Ok(())
    }
}

/// A cell; nothing where the row says nothing.
fn cell(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A cell with a list; nothing where the list is empty.
fn joined(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(", ")
}

fn activity(row: ActivityRow) -> Vec<String> {
    vec![
        row.at.to_string(),
        row.seq.to_string(),
        row.event,
        row.actor,
        cell(row.agent),
        cell(row.steward),
        cell(row.task),
        cell(row.server),
        cell(row.right),
        cell(row.grant),
        cell(row.delegate),
        row.detail,
        cell(row.token),
    ]
}

const ACTIVITY: &[&str] = &[
    "at", "seq", "event", "actor", "agent", "steward", "task", "server", "right", "grant",
    "delegate", "detail", "token",
];

fn reach(row: ReachRow) -> Vec<String> {
    vec![
        cell(row.agent),
        cell(row.steward),
        row.task.to_string(),
        cell(row.grant),
        row.issued_at.to_string(),
        row.expires_at.to_string(),
        row.delegates.join(", "),
        row.token.to_string(),
    ]
}

const REACH: &[&str] = &[
    "agent",
    "steward",
    "task",
    "grant",
    "issued_at",
    "expires_at",
    "delegates",
    "token",
];

fn refusal(row: RefusalRow) -> Vec<String> {
    vec![
        row.code.to_string(),
        row.agent.to_string(),
        row.count.to_string(),
        row.first.to_string(),
        row.last.to_string(),
        row.detail,
    ]
}

const REFUSALS: &[&str] = &["code", "agent", "count", "first", "last", "detail"];

fn access(row: AccessRow) -> Vec<String> {
    let suspended = if row.suspended { "yes" } else { "no" };
    vec![
        row.steward.to_string(),
        cell(row.steward_name),
        row.agent.to_string(),
        joined(&row.groups),
        suspended.to_owned(),
        row.live_passes.to_string(),
        cell(row.passes_end),
        cell(row.last_issued),
        cell(row.last_used),
        joined(&row.rights),
        joined(&row.grants),
    ]
}

const ACCESS: &[&str] = &[
    "steward",
    "steward_name",
    "agent",
    "groups",
    "suspended",
    "live_passes",
    "passes_end",
    "last_issued",
    "last_used",
    "rights",
    "grants",
];
