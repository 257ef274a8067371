//! `hallpass audit report`: people's questions, as a table, JSON or CSV.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    access::Operator,
    audit::filter::{Filter, Times, given},
    error::CliError,
    output::{Output, View},
    view::text,
};
use hallpass_broker::ledger::audit::csv;
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
    /// At most so many lines of the answer.
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

/// Where an answer comes from and what it looks like.
struct Form {
    path: &'static str,
    columns: &'static [&'static str],
}

impl Report {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        let (form, query) = self.question.asks();
        let rows = client
            .list(form.path, (&query, self.lines.saturating_add(1)), &bearer)
            .await?;
        let more = rows.len() > self.lines;
        let rows = rows.get(..self.lines).unwrap_or(&rows);
        let cells = |row: &Value| {
            form.columns
                .iter()
                .map(|column| cell(row, column))
                .collect::<Vec<_>>()
        };
        if self.csv {
            let header = form
                .columns
                .iter()
                .map(|column| (*column).to_owned())
                .collect();
            Output::raw(&csv(std::iter::once(header).chain(rows.iter().map(cells))))?;
        } else {
            let document = Value::Array(rows.to_vec());
            let empty = "nothing of the kind";
            output.show(
                &document,
                View::Table {
                    columns: form.columns,
                    rows: rows.iter().map(cells).collect(),
                    empty,
                },
            )?;
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

impl Question {
    fn asks(&self) -> (Form, Vec<(&'static str, String)>) {
        match self {
            Self::Activity { filter } => {
                let mut query = filter.query();
                query.push(("order", "oldest".to_owned()));
                (ACTIVITY, query)
            }
            Self::Reach { server, tool, at } => {
                let at = at.map(|at| at.to_string());
                (
                    REACH,
                    given([
                        ("server", Some(server.clone())),
                        ("tool", Some(tool.to_string())),
                        ("at", at),
                    ]),
                )
            }
            Self::Refusals { times } => (REFUSALS, times.query()),
            Self::Access { steward } => (ACCESS, given([("steward", steward.clone())])),
        }
    }
}

/// What a row says under `column`; nothing where it says nothing.
fn cell(row: &Value, column: &str) -> String {
    if row.get(column).is_none_or(Value::is_null) {
        String::new()
    } else {
        text(row, &format!("/{column}"))
    }
}

const ACTIVITY: Form = Form {
    path: "/v1/audit/reports/activity",
    columns: &[
        "at", "seq", "event", "actor", "agent", "steward", "task", "server", "right", "grant",
        "delegate", "detail", "token",
    ],
};

const REACH: Form = Form {
    path: "/v1/audit/reports/reach",
    columns: &[
        "agent",
        "steward",
        "task",
        "grant",
        "issued_at",
        "expires_at",
        "delegates",
        "token",
    ],
};

const REFUSALS: Form = Form {
    path: "/v1/audit/reports/refusals",
    columns: &["code", "agent", "count", "first", "last", "detail"],
};

const ACCESS: Form = Form {
    path: "/v1/audit/reports/access",
    columns: &[
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
    ],
};
