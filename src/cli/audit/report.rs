//! `hallpass audit report`: people's questions, as a table, JSON or CSV.

use std::{fmt::Display, time::Duration};

use clap::{Args, Subcommand};
use humantime::format_duration;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::cli::{
    access::Operator,
    audit::filter::{Filter, Times, given},
    error::CliError,
    output::{Columns, Output},
    session::{List, values},
};
use hallpass_broker::EntitlementRow;
use hallpass_broker::ledger::audit::{ActivityRow, LiveRow, ReachRow, RefusalRow, csv};
use hallpass_core::base::{
    ids::{AgentId, ToolName},
    time::Timestamp,
};

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
    /// What each agent could be given, tool by tool: by which grant, within which limits, what forbids it.
    Entitlements {
        /// Only this agent.
        #[arg(long)]
        agent: Option<AgentId>,
        /// Only this steward's agents, by name or id.
        #[arg(long, value_name = "NAME")]
        steward: Option<String>,
        /// Only this server, by name or URI.
        #[arg(long, value_name = "SERVER")]
        server: Option<String>,
    },
    /// Which agents answer to whom, and which passes they have now.
    Live {
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
            Question::Entitlements {
                agent,
                steward,
                server,
            } => {
                let query = given([
                    ("agent", agent.as_ref().map(ToString::to_string)),
                    ("steward", steward.clone()),
                    ("server", server.clone()),
                ]);
                let rows = session.entitlements(&query, limit).await?;
                self.show(&rows, ENTITLEMENTS, entitlement, output)
            }
            Question::Live { steward } => {
                let query = given([("steward", steward.clone())]);
                let rows = session.live(&query, limit).await?;
                self.show(&rows, LIVE, live, output)
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

/// Values in one cell; nothing where there are none.
fn joined(values: &[impl Display]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(", ")
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// A value as the API writes it: one word.
fn word(value: &impl Serialize) -> String {
    let written = serde_json::to_value(value).unwrap_or_default();
    written.as_str().unwrap_or_default().to_owned()
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

fn entitlement(row: EntitlementRow) -> Vec<String> {
    vec![
        row.steward.to_string(),
        cell(row.steward_name),
        row.agent.to_string(),
        joined(&row.groups),
        yes_or_no(row.suspended),
        row.server.to_string(),
        row.right,
        word(&row.answer),
        row.grant.to_string(),
        joined(&row.more_grants),
        format_duration(Duration::from_secs(row.max_ttl_seconds)).to_string(),
        joined(&row.limits),
        word(&row.proof),
        joined(&row.guardrails),
        joined(&row.reasons),
        row.live_passes.to_string(),
    ]
}

const ENTITLEMENTS: &[&str] = &[
    "steward",
    "steward_name",
    "agent",
    "groups",
    "suspended",
    "server",
    "right",
    "answer",
    "grant",
    "more_grants",
    "max_ttl",
    "limits",
    "proof",
    "guardrails",
    "reasons",
    "live_passes",
];

fn live(row: LiveRow) -> Vec<String> {
    vec![
        row.steward.to_string(),
        cell(row.steward_name),
        row.agent.to_string(),
        joined(&row.groups),
        yes_or_no(row.suspended),
        row.live_passes.to_string(),
        cell(row.passes_end),
        cell(row.last_issued),
        cell(row.last_used),
        joined(&row.rights),
        joined(&row.grants),
    ]
}

const LIVE: &[&str] = &[
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
