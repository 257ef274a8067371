//! `hallpass revoke` and `hallpass revocations`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{
    access::Operator,
    error::CliError,
    output::{Output, View},
    view::{text, words},
};
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
        let (client, bearer) = self.operator.open()?;
        let mut body = self.subject.to_json();
        if self.only_token {
            body.insert("only_token".to_owned(), json!(true));
        }
        body.extend(
            self.reason
                .map(|reason| ("reason".to_owned(), json!(reason))),
        );
        let revoked = client
            .post("/v1/revocations", &Value::Object(body), &bearer)
            .await?;
        let fields = vec![
            ("revoked", subject_words(&revoked)),
            ("sequence", text(&revoked, "/sequence")),
            ("cut off", text(&revoked, "/cut_off")),
            ("task", text(&revoked, "/task_id")),
            ("reason", text(&revoked, "/reason")),
        ];
        output.show(
            &revoked,
            View::Fields(
                fields
                    .into_iter()
                    .filter(|(_, value)| value != "-")
                    .collect(),
            ),
        )
    }
}

impl Subject {
    fn to_json(&self) -> Map<String, Value> {
        let members = [
            ("revocation_id", self.revocation_id.map(|id| json!(id))),
            ("task", self.task.as_ref().map(|task| json!(task))),
            ("agent", self.agent.as_ref().map(|agent| json!(agent))),
            (
                "steward",
                self.steward.as_ref().map(|steward| json!(steward)),
            ),
            ("server", self.server.as_ref().map(|server| json!(server))),
            ("key", self.key.map(|key| json!(key))),
        ];
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// List what is revoked and still matters, newest first.
#[derive(Debug, Args)]
pub(super) struct Revocations {
    #[command(flatten)]
    operator: Operator,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

impl Revocations {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        let revocations = client
            .list("/v1/revocations", (&[], self.limit), &bearer)
            .await?;
        let row = |revoked: &Value| {
            let subject = subject_words(revoked);
            vec![
                text(revoked, "/sequence"),
                text(revoked, "/cut_off"),
                subject,
                text(revoked, "/reason"),
            ]
        };
        let columns = &["sequence", "cut off", "subject", "reason"];
        let view = View::Table {
            columns,
            rows: revocations.iter().map(row).collect(),
            empty: "nothing is revoked",
        };
        output.show(&json!({"items": revocations}), view)
    }
}

fn subject_words(revoked: &Value) -> String {
    let subject = revoked.get("subject").and_then(Value::as_object);
    let words =
        |(kind, value): (&String, &Value)| format!("{} {}", kind.replace('_', " "), words(value));
    subject
        .and_then(|subject| subject.iter().next())
        .map_or_else(|| "-".to_owned(), words)
}
