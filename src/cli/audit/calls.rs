//! `hallpass audit calls`: what verifiers decided, call by call.

use clap::Args;
use serde_json::Value;

use crate::cli::{
    access::Operator,
    audit::filter::{Filter, given},
    error::CliError,
    output::{Output, View},
    view::{items, text},
};

#[derive(Debug, Args)]
pub(super) struct Calls {
    #[command(flatten)]
    operator: Operator,
    /// How many, the newest.
    #[arg(short = 'n', long = "lines", default_value_t = 20)]
    lines: usize,
    #[command(flatten)]
    filter: Filter,
    /// Only this verdict: `lost` shows the gaps.
    #[arg(long, value_parser = ["allowed", "refused", "lost"])]
    decision: Option<String>,
}

impl Calls {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        let mut query = self.filter.query();
        query.extend(given([("decision", self.decision)]));
        let mut calls = client
            .list("/v1/decisions", (&query, self.lines), &bearer)
            .await?;
        calls.reverse();
        let rows = calls.iter().map(row).collect();
        let columns = &[
            "at", "server", "call", "decision", "agent", "steward", "task", "purpose", "grant",
            "note",
        ];
        let view = View::Table {
            columns,
            rows,
            empty: "no calls were reported that fit",
        };
        output.show(&Value::Array(calls), view)
    }
}

fn row(call: &Value) -> Vec<String> {
    let of = |pointer: &str| text(call, pointer);
    let named = if call.get("call").is_some() {
        format!("{} {}", of("/call/kind"), of("/call/name"))
    } else {
        of("/call")
    };
    let steward = if call.get("steward_name").is_some() {
        of("/steward_name")
    } else {
        of("/steward")
    };
    let (task, purpose) = (of("/task"), of("/purpose"));
    vec![
        of("/at"),
        of("/server"),
        named,
        of("/decision"),
        of("/agent"),
        steward,
        task,
        purpose,
        of("/grant"),
        note(call),
    ]
}

/// What is out of the ordinary: reasons, delegates, what the broker's records do not bear out, a gap.
fn note(call: &Value) -> String {
    let mut notes = Vec::new();
    if !items(call, "/reasons").is_empty() {
        notes.push(text(call, "/reasons"));
    }
    let delegates: Vec<_> = items(call, "/delegates")
        .iter()
        .map(|hop| text(hop, "/agent"))
        .collect();
    if !delegates.is_empty() {
        notes.push(format!("through {}", delegates.join(", ")));
    }
    if call.get("attributed") == Some(&Value::Bool(false)) {
        notes.push(format!("NOT attributed: {}", text(call, "/attribution")));
    }
    if call.get("lost").is_some() {
        let count = call
            .pointer("/lost/count")
            .map_or_else(|| "an unknown number of".to_owned(), ToString::to_string);
        notes.push(format!(
            "{count} reports lost till {}",
            text(call, "/lost/to")
        ));
    }
    if notes.is_empty() {
        "-".to_owned()
    } else {
        notes.join("; ")
    }
}
