//! `hallpass audit calls`: what verifiers decided, call by call.

use clap::Args;
use serde_json::Value;

use crate::cli::{
    access::Operator,
    audit::filter::{Filter, given},
    error::CliError,
    output::{Columns, Output},
    session::values,
    view::{listed, or_dash},
};
use hallpass_broker::CallView;

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
        let mut query = self.filter.query();
        query.extend(given([("decision", self.decision)]));
        let mut calls = self.operator.open()?.calls(&query, self.lines).await?;
        calls.reverse();
        let table = Columns {
            columns: &[
                "at", "server", "call", "decision", "agent", "steward", "task", "purpose", "grant",
                "note",
            ],
            empty: "no calls were reported that fit",
        };
        let view = output.rows(&calls, table, |call| row(&call))?;
        output.show(&Value::Array(values(&calls)), view)
    }
}

fn row(call: &CallView) -> Vec<String> {
    let named = call.call.as_ref();
    let whose = call.whose.as_ref();
    let steward = whose.map(|whose| {
        let name = whose.steward_name.clone();
        name.unwrap_or_else(|| whose.steward.to_string())
    });
    vec![
        call.at.to_string(),
        call.server.to_string(),
        or_dash(named.map(|call| format!("{} {}", call.kind, call.name.as_str()))),
        call.decision.to_string(),
        or_dash(whose.map(|whose| &whose.agent)),
        or_dash(steward),
        or_dash(whose.map(|whose| &whose.task)),
        or_dash(whose.and_then(|whose| whose.purpose.as_ref())),
        or_dash(whose.and_then(|whose| whose.grant.as_ref())),
        note(call),
    ]
}

/// What is out of the ordinary: reasons, delegates, what the broker's records do not bear out, a gap.
fn note(call: &CallView) -> String {
    let mut notes = Vec::new();
    if !call.reasons.is_empty() {
        notes.push(listed(&call.reasons));
    }
    if let Some(whose) = &call.whose {
        if !whose.delegates.is_empty() {
            let agents = whose.delegates.iter().map(|hop| &hop.agent);
            notes.push(format!("through {}", listed(agents)));
        }
        if !whose.attributed {
            notes.push(format!("NOT attributed: {}", whose.attribution.as_str()));
        }
    }
    if let Some(lost) = &call.lost {
        let count = lost.count.map(|count| count.to_string());
        let count = count.unwrap_or_else(|| "an unknown number of".to_owned());
        notes.push(format!("{count} reports lost till {}", lost.to));
    }
    if notes.is_empty() {
        "-".to_owned()
    } else {
        notes.join("; ")
    }
}
