//! Revoking much at once: a list of passes and tasks, or every open task that fits a filter.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, Caller, LiveTask, Revocations, Revoke, State,
    change::{Decided, Done, View},
    domain::event::{LedgerEvent, Subject},
};
use hallpass_core::base::{
    ids::{AgentId, GrantId, RevocationId, ServerUri, StewardId, TaskId},
    time::Timestamp,
};

/// What is to be revoked at once.
#[derive(Debug, Clone)]
pub struct RevokeMany {
    /// What.
    pub what: Many,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Whether it is only counted.
    pub dry_run: bool,
}

/// Several subjects.
#[derive(Debug, Clone)]
pub enum Many {
    /// Each of these; at most [`MAX_AT_ONCE`].
    Listed {
        /// Blocks of passes. They need not be known.
        revocation_ids: BTreeSet<RevocationId>,
        /// Tasks. Those that are not known are left out.
        tasks: BTreeSet<TaskId>,
    },
    /// Every task that is open, or has a live pass, and fits; at most [`MAX_AT_ONCE`], the oldest first.
    Fitting(TaskFilter),
}

/// Which tasks: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// On behalf of this steward.
    pub steward: Option<StewardId>,
    /// With a pass for this server.
    pub server: Option<ServerUri>,
    /// With a right that this grant gave.
    pub grant: Option<GrantId>,
    /// Opened then or later.
    pub opened_from: Option<Timestamp>,
    /// Opened before then.
    pub opened_before: Option<Timestamp>,
}

/// What was revoked at once. Every record is durable, and the sequences are without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevokedMany {
    /// How many subjects were revoked, or would be.
    pub revoked: usize,
    /// The sequence of the last record: a verifier that has it knows of all of them. `None` when nothing was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Revocation ids that no pass minted here has. They are revoked all the same: a holder may have appended them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_revocation_ids: Vec<RevocationId>,
    /// Tasks that are not known, or were forgotten since their passes ended: nothing was recorded of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_tasks: Vec<TaskId>,
    /// Whether more tasks fit the filter: revoke again.
    pub more: bool,
}

impl TaskFilter {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, task: &LiveTask) -> bool {
        let record = &task.record;
        let names = |server: &ServerUri| {
            let mut rights = task.tokens.iter().flat_map(|token| &token.rights);
            rights.any(|detail| detail.server == *server)
        };
        let decided = |grant: &GrantId| {
            let mut decided = task.tokens.iter().flat_map(|token| &token.decided_by);
            decided.any(|decided| decided.grant == *grant)
        };
        self.agent.as_ref().is_none_or(|it| *it == record.agent)
            && self.steward.as_ref().is_none_or(|it| *it == record.steward)
            && self.opened_from.is_none_or(|at| at <= record.opened_at)
            && self.opened_before.is_none_or(|at| record.opened_at < at)
            && self.server.as_ref().is_none_or(names)
            && self.grant.as_ref().is_none_or(decided)
    }
}

impl Revocations {
    /// Revokes all of it in one append; returns which subjects were revoked, too. When it returns, no crash can undo any
    /// of it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Invalid`] when nothing is given, more than [`MAX_AT_ONCE`] are listed, or the reason is too long;
    /// and when it cannot be recorded, and then nothing of it is.
    pub async fn revoke_many(
        &self,
        caller: &Caller,
        many: RevokeMany,
    ) -> Result<(RevokedMany, Vec<Subject>), BrokerError> {
        refuse_bad(&many.what)?;
        Self::refuse_long_reason(many.reason.as_ref())?;
        let turn = self.changes.urgent_turn().await;
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let (subjects, answer) = chosen(&state, &many.what, now);
            if many.dry_run || subjects.is_empty() {
                return Ok(Decided::nothing((answer, Vec::new())));
            }
            let event = |subject| {
                let revoke = Revoke {
                    subject,
                    only_token: false,
                    reason: many.reason.clone(),
                };
                let revocation = self.describe(&state, &revoke, now)?;
                Ok(LedgerEvent::Revoked { revocation })
            };
            let events = subjects.iter().cloned().map(event);
            let events = events.collect::<Result<_, BrokerError>>()?;
            Ok::<_, BrokerError>(Decided::record(now, events, (answer, subjects)))
        };
        let Done { value, receipt } = turn.change(caller, decide).await?;
        let sequence = receipt.map(|receipt| receipt.sequence());
        let (answer, subjects) = value;
        Ok((RevokedMany { sequence, ..answer }, subjects))
    }
}

fn refuse_bad(what: &Many) -> Result<(), BrokerError> {
    match what {
        Many::Listed {
            revocation_ids,
            tasks,
        } => match revocation_ids.len().saturating_add(tasks.len()) {
            0 => Err(BrokerError::invalid(
                "revocation_ids",
                "give revocation ids, tasks or a filter",
            )),
            count if count > MAX_AT_ONCE => Err(BrokerError::invalid(
                "revocation_ids",
                format!("at most {MAX_AT_ONCE} subjects in one request"),
            )),
            _ => Ok(()),
        },
        Many::Fitting(filter) if filter.is_empty() => Err(BrokerError::invalid(
            "filter",
            "give at least one condition: a filter without any would end every task",
        )),
        Many::Fitting(_) => Ok(()),
    }
}

/// What is to be revoked, and the answer but for the sequence.
fn chosen(state: &State, what: &Many, now: Timestamp) -> (Vec<Subject>, RevokedMany) {
    let mut answer = RevokedMany {
        revoked: 0,
        sequence: None,
        unknown_revocation_ids: Vec::new(),
        unknown_tasks: Vec::new(),
        more: false,
    };
    let subjects: Vec<_> = match what {
        Many::Listed {
            revocation_ids,
            tasks,
        } => {
            let unknown = revocation_ids
                .iter()
                .filter(|id| state.task_of(id).is_none());
            answer.unknown_revocation_ids = unknown.copied().collect();
            let (known, unknown) = tasks
                .iter()
                .cloned()
                .partition::<Vec<_>, _>(|task| state.task(task).is_some());
            answer.unknown_tasks = unknown;
            let ids = revocation_ids.iter().copied().map(Subject::RevocationId);
            ids.chain(known.into_iter().map(Subject::Task)).collect()
        }
        Many::Fitting(filter) => {
            let is_live = |task: &&LiveTask| {
                task.end.is_none() && (task.record.ends_at > now || task.passes_end() > now)
            };
            // In the order of their ids: the oldest first.
            let fitting = state
                .tasks()
                .filter(is_live)
                .filter(|task| filter.fits(task));
            let at_most = MAX_AT_ONCE.saturating_add(1);
            let fitting = fitting.map(|task| task.record.task.clone());
            let mut tasks: Vec<_> = fitting.take(at_most).collect();
            answer.more = tasks.len() > MAX_AT_ONCE;
            tasks.truncate(MAX_AT_ONCE);
            tasks.into_iter().map(Subject::Task).collect()
        }
    };
    answer.revoked = subjects.len();
    (subjects, answer)
}

/// So many subjects are revoked in one request.
pub const MAX_AT_ONCE: usize = 5_000;
