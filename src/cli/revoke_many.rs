//! `hallpass revoke-many`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    api::revocations::{RevokeFilter, RevokeManyRequest},
    cli::{
        access::{Operator, text_file},
        error::CliError,
        output::{Output, View},
    },
};
use hallpass_core::base::{
    ids::{AgentId, GrantId, RevocationId, TaskId},
    text::excerpt,
    time::Timestamp,
};

/// Revoke many passes and tasks at once: all of them, or nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hallpass revoke-many --from leaked.txt --reason \"log was public\"    revocation ids and task ids, one a line
  hallpass revoke-many --grant ledger-writes --dry-run                how many tasks this grant opened
  hallpass revoke-many --agent research-bot --opened-from 2026-12-01T08:00:00Z

A filter ends tasks that are open; the agent may open new ones. To end that too, `hallpass revoke --agent`.
At most 5,000 at once; the answer says when there are more.")]
pub(super) struct RevokeMany {
    #[command(flatten)]
    operator: Operator,
    #[command(flatten)]
    what: What,
    /// Count what would be revoked, and revoke nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// A file with revocation ids and task ids, one a line; `-` is the standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "steward", "server", "grant", "opened_from", "opened_before"])]
    from: Option<PathBuf>,
    /// Tasks of this agent.
    #[arg(long)]
    agent: Option<AgentId>,
    /// Tasks on behalf of this steward, by name or id.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// Tasks with a pass for this server, by name or URI.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Tasks with a right that this grant gave.
    #[arg(long)]
    grant: Option<GrantId>,
    /// Tasks opened then or later.
    #[arg(long, value_name = "TIME")]
    opened_from: Option<Timestamp>,
    /// Tasks opened before then.
    #[arg(long, value_name = "TIME")]
    opened_before: Option<Timestamp>,
}

impl RevokeMany {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let request = RevokeManyRequest {
            dry_run: self.dry_run,
            reason: self.reason,
            ..self.what.request()?
        };
        let session = self.operator.open()?;
        let is_dry = self.dry_run;
        output.answer(&session.revoke_many(&request).await?, |many| {
            let name = if is_dry { "would revoke" } else { "revoked" };
            let mut fields = vec![(name, many.revoked.to_string())];
            let sequence = many.sequence.map(|sequence| sequence.to_string());
            fields.extend(sequence.map(|sequence| ("sequence", sequence)));
            let unknown = many.unknown_revocation_ids.iter().map(ToString::to_string);
            fields.extend(unknown.map(|id| ("no pass minted here", id)));
            let unknown = many.unknown_tasks.iter().map(ToString::to_string);
            fields.extend(unknown.map(|task| ("not known", task)));
            if many.more {
                let again = "more tasks fit: run it again".to_owned();
                fields.push(("more", again));
            }
            View::Fields(fields)
        })
    }
}

impl What {
    fn request(self) -> Result<RevokeManyRequest, CliError> {
        let Self {
            from,
            agent,
            steward,
            server,
            grant,
            opened_from,
            opened_before,
        } = self;
        if let Some(from) = from {
            return listed(&from);
        }
        let filter = RevokeFilter {
            agent,
            steward,
            server,
            grant,
            opened_from,
            opened_before,
        };
        Ok(RevokeManyRequest {
            filter: Some(filter),
            ..RevokeManyRequest::default()
        })
    }
}

/// The ids in the lines of a file. Blank lines are left out.
fn listed(from: &Path) -> Result<RevokeManyRequest, CliError> {
    let (shown, text) = (from.display(), text_file(from)?);
    let mut request = RevokeManyRequest::default();
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() {
            continue;
        }
        if let Ok(task) = line.parse::<TaskId>() {
            request.tasks.push(task);
        } else if let Ok(id) = line.parse::<RevocationId>() {
            request.revocation_ids.push(id);
        } else {
            return Err(CliError::usage(format!(
                "`{shown}`, line {}: `{}` is neither a revocation id (128 hex digits) nor a task id (tsk_…)",
                at + 1,
                excerpt(line)
            )));
        }
    }
    Ok(request)
}
