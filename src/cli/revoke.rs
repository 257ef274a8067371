//! `hallpass revoke` and `hallpass revocations`.

use clap::Args;

use crate::{
    api::revocations::RevokeRequest,
    cli::{
        access::Operator,
        error::CliError,
        output::{Columns, Output, View},
        view::or_dash,
    },
};
use hallpass_broker::{Revoked, domain::event};
use hallpass_core::base::ids::{AgentId, KeyId, RevocationId, TaskId};

/// Revoke: passes die at every server that follows the broker's feed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hallpass revoke REVOCATION_ID --reason \"laptop lost\"   this pass, all made of it, and its task
  hallpass revoke REVOCATION_ID --only-token             this pass; its task may have another
  hallpass revoke --agent research-bot                   all passes of an agent, and its minting
  hallpass revoke --steward alice                        likewise for every agent of a steward

`hallpass token inspect TOKEN` shows the revocation ids of a pass: revoking a later block ends what
was handed on and leaves the rest alive. `agent`, `steward` and `server reinstate` allow minting
again.")]
pub(super) struct Revoke {
    #[command(flatten)]
    operator: Operator,
    #[command(flatten)]
    subject: Subject,
    /// Leave the task of the pass open for another one.
    #[arg(long, conflicts_with_all = ["task", "agent", "steward", "server", "key"])]
    only_token: bool,
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// A block of a pass, by its revocation id.
    revocation_id: Option<RevocationId>,
    /// A task: all its passes, and renewing it.
    #[arg(long)]
    task: Option<TaskId>,
    /// An agent: all its passes, and minting until it is reinstated.
    #[arg(long)]
    agent: Option<AgentId>,
    /// A steward, by name or id: likewise for every agent of theirs.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// A server, by name or URI: likewise for every pass that names it.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// A root key, by number: all passes that it signed.
    #[arg(long, value_name = "NUMBER")]
    key: Option<KeyId>,
}

impl Revoke {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        let Subject {
            revocation_id,
            task,
            agent,
            steward,
            server,
            key,
        } = self.subject;
        let request = RevokeRequest {
            revocation_id,
            task,
            agent,
            steward,
            server,
            key,
            only_token: self.only_token,
            reason: self.reason,
        };
        output.answer(&session.revoke(&request).await?, |revoked| {
            let view = revoked.view;
            let mut fields = vec![
                ("revoked", subject_words(&view.subject)),
                ("sequence", revoked.sequence.to_string()),
                ("cut off", view.cut_off.to_string()),
            ];
            fields.extend(view.task_id.map(|task| ("task", task.to_string())));
            fields.extend(view.reason.map(|reason| ("reason", reason)));
            View::Fields(fields)
        })
    }
}

/// List what is revoked and still matters, newest first.
#[derive(Debug, Args)]
pub(super) struct Revocations {
    #[command(flatten)]
    operator: Operator,
    /// At most this many.
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

impl Revocations {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let table = Columns {
            columns: &["sequence", "cut off", "subject", "reason"],
            empty: "nothing is revoked",
        };
        let revocations = self.operator.open()?.revocations(self.limit).await?;
        output.list(&revocations, table, |Revoked { sequence, view }| {
            vec![
                sequence.to_string(),
                view.cut_off.to_string(),
                subject_words(&view.subject),
                or_dash(view.reason),
            ]
        })
    }
}

/// A block of a token goes by its id; everything else by its kind and name.
fn subject_words(subject: &event::Subject) -> String {
    match subject {
        event::Subject::RevocationId(id) => format!("revocation id {id}"),
        named => named.to_string(),
    }
}
