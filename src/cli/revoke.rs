//! `hallpass revoke` and `hallpass revocations`.

use std::str::FromStr;

use clap::Args;

use crate::{
    api::revocations::RevokeRequest,
    cli::{
        access::{Operator, token_argument},
        error::CliError,
        output::{Columns, Output, View},
        view::or_dash,
    },
};
use hallpass_broker::{Revoked, domain::event};
use hallpass_core::{
    base::ids::{AgentId, IdError, KeyId, RevocationId, RevocationIdPrefix, TaskId},
    token::UnverifiedPass,
};

/// Revoke: passes die at every server that follows the broker's feed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hallpass revoke REVOCATION_ID --reason \"laptop lost\"   this pass, all made of it, and its task
  hallpass revoke REVOCATION_ID --only-token             this pass; its task may have another
  hallpass revoke 7cc3a1f09b2e                           by the first digits of the id, at least 12
  hallpass revoke --token - < leaked.txt                 what a token says, so that no id need be typed
  hallpass revoke --agent research-bot                   all passes of an agent, and its minting
  hallpass revoke --steward alice                        likewise for every agent of a steward

`hallpass token inspect TOKEN` shows the revocation ids of a pass: revoking a later block ends what
was handed on and leaves the rest alive. `--token` revokes the last block of the token, as OAuth
clients do: that very token, and what was made of it. `agent`, `steward` and `server reinstate` allow minting
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
    /// A block of a pass, by its revocation id or, of a pass of this broker, at least 12 of its first digits.
    revocation_id: Option<Id>,
    /// A token, or `-` to read it from stdin: by its last block.
    #[arg(long)]
    token: Option<String>,
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
        let Subject {
            revocation_id,
            token,
            task,
            agent,
            steward,
            server,
            key,
        } = self.subject;
        let blocks = token.map(|given| blocks(&given)).transpose()?;
        let presented = blocks.as_deref().and_then(<[_]>::last).copied();
        let (revocation_id, revocation_id_prefix) = match revocation_id {
            Some(Id::Prefix(prefix)) => (None, Some(prefix)),
            Some(Id::Whole(id)) => (Some(id), None),
            None => (presented, None),
        };
        let session = self.operator.open()?;
        let request = RevokeRequest {
            revocation_id,
            revocation_id_prefix,
            task,
            agent,
            steward,
            server,
            key,
            only_token: self.only_token,
            reason: self.reason,
        };
        let answer = session.revoke(&request).await?;
        match blocks.as_deref() {
            // That its last block is not known here is what narrowing means.
            Some([first, _, ..]) => output.note(&format!(
                "the token was narrowed or handed on: that is ended, and the pass {first} it was made of lives on"
            )),
            _ if answer.read().is_ok_and(|revoked| revoked.view.known == Some(false)) => {
                output.note(UNKNOWN);
            }
            _ => {}
        }
        output.answer(&answer, |revoked| {
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

/// A revocation id, or how it begins.
#[derive(Debug, Clone)]
enum Id {
    Whole(RevocationId),
    Prefix(RevocationIdPrefix),
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let whole = text.parse().map(Self::Whole);
        whole.or_else(|_| text.parse().map(Self::Prefix))
    }
}

/// The revocation ids of a token's blocks. Nothing is verified: revoking what is not known ends nothing.
fn blocks(given: &str) -> Result<Vec<RevocationId>, CliError> {
    let token = token_argument(given)?;
    let pass = UnverifiedPass::parse(&token)
        .map_err(|error| CliError::usage(format!("not a hallpass token: {error}")))?;
    let blocks = pass.dangerous_unverified_summary().blocks;
    Ok(blocks.iter().map(|block| block.revocation_id).collect())
}

/// A block of a token goes by its id; everything else by its kind and name.
fn subject_words(subject: &event::Subject) -> String {
    match subject {
        event::Subject::RevocationId(id) => format!("revocation id {id}"),
        named => named.to_string(),
    }
}

const UNKNOWN: &str = "warning: no pass that was minted here has this revocation id. Unless a holder appended that block, or it is of an \
                       operator's token, nothing was ended: compare the id with `hallpass token inspect`";
