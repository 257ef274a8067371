//! Revoking: durable first, then sent to every verifier concerned.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, Caller, Limits, LiveTask, ObjectKind, State,
    change::{Changes, Decided, Done, View, recorded},
    domain::{
        event::{KeyPurpose, KeyState, LedgerEvent, RevocationRecord, Subject},
        state::AFTERLIFE,
    },
    keys::lifecycle::Keys,
};
use hallpass_core::base::{
    ids::{KeyId, ServerUri, TaskId},
    time::Timestamp,
};

/// What is to be revoked.
#[derive(Debug, Clone)]
pub struct Revoke {
    /// What.
    pub subject: Subject,
    /// Leave the task of a pass open for renewal.
    pub only_token: bool,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// A revocation, durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// Its place in the journal and the feed: a verifier that has this sequence knows of it.
    pub sequence: u64,
    /// What was recorded.
    #[serde(flatten)]
    pub view: RevocationView,
}

/// A revocation, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RevocationView {
    /// What was revoked.
    pub subject: Subject,
    /// Passes issued up to then died.
    pub cut_off: Timestamp,
    /// Until when verifiers remember it.
    pub expires_at: Timestamp,
    /// Whether the task stayed open.
    pub only_token: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The task that it is or belongs to, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
}

/// Revoking and reinstating.
#[derive(Debug)]
pub struct Revocations {
    pub(crate) changes: Arc<Changes>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) limits: Limits,
}

impl Revocations {
    /// Revokes. When it returns, no crash can undo it, and verifiers are being sent it.
    ///
    /// A block's id need not be known: a pass may have been narrowed offline. Everything else must
    /// be registered.
    ///
    /// # Errors
    ///
    /// When there is no such subject, it is the only root key, or it cannot be recorded.
    pub async fn revoke(&self, caller: &Caller, revoke: Revoke) -> Result<Revoked, BrokerError> {
        let turn = self.changes.urgent_turn().await;
        Self::refuse_long_reason(revoke.reason.as_ref())?;
        if revoke.only_token && !matches!(revoke.subject, Subject::RevocationId(_)) {
            return Err(BrokerError::invalid(
                "only_token",
                "goes with `revocation_id` only",
            ));
        }
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let revocation = self.describe(&state, &revoke, now)?;
            let mut events = match revocation.subject {
                Subject::Key(key) => retire_at_once(&state, key)?,
                _ => Vec::new(),
            };
            events.push(LedgerEvent::Revoked {
                revocation: revocation.clone(),
            });
            Ok::<_, BrokerError>(Decided::record(now, events, revocation))
        };
        let done: Done<RevocationRecord> = turn.change(caller, decide).await?;
        let (revocation, receipt) = (done.value, recorded(done.receipt)?);
        if matches!(revocation.subject, Subject::Key(_)) {
            self.keys.follow_keys()?;
        }
        // As it was applied: it may reach more than was known when it was asked for.
        let sequence = receipt.sequence();
        let view = self
            .changes
            .state()
            .revocations
            .get(&sequence)
            .map_or_else(|| view(&revocation), view);
        Ok(Revoked { sequence, view })
    }

    /// Allows minting again for a revoked agent, steward or server. What died stays dead.
    ///
    /// # Errors
    ///
    /// When it is not revoked, or it cannot be recorded.
    pub async fn reinstate(&self, caller: &Caller, subject: Subject) -> Result<(), BrokerError> {
        let decide = |view: &View<'_>| {
            if !view.state().is_suspended(&subject) {
                return Err(BrokerError::Conflict("it is not revoked".to_owned()));
            }
            let subject = subject.clone();
            let events = vec![LedgerEvent::Reinstated { subject }];
            Ok(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(caller, decide).await?;
        Ok(())
    }

    /// Revocations that still matter, newest first, those before sequence `before`, at most `limit`.
    #[must_use]
    pub fn revocations(&self, before: Option<u64>, limit: usize) -> Vec<Revoked> {
        let state = self.changes.state();
        let older = state.revocations.range(..before.unwrap_or(u64::MAX)).rev();
        older
            .take(limit)
            .map(|(sequence, revocation)| Revoked {
                sequence: *sequence,
                view: view(revocation),
            })
            .collect()
    }

    pub(crate) fn refuse_long_reason(reason: Option<&String>) -> Result<(), BrokerError> {
        let is_too_long = |reason: &String| reason.len() > MAX_REASON_BYTES;
        if reason.is_some_and(is_too_long) {
            return Err(BrokerError::invalid(
                "reason",
                format!("at most {MAX_REASON_BYTES} bytes"),
            ));
        }
        Ok(())
    }

    pub(crate) fn describe(
        &self,
        state: &State,
        revoke: &Revoke,
        now: Timestamp,
    ) -> Result<RevocationRecord, BrokerError> {
        let mut task: Option<&LiveTask> = None;
        match &revoke.subject {
            // SECURITY: only a block that was minted here says whom a revocation concerns. Any other may
            // have been appended offline, or be an operator's; what an agent reported of it narrows nothing.
            Subject::RevocationId(id) => task = state.task_of(id),
            Subject::Task(id) => {
                task = Some(
                    state
                        .task(id)
                        .ok_or_else(|| BrokerError::not_found(ObjectKind::Task, id))?,
                )
            }
            Subject::Agent(id)
                if !state.agents.contains_key(id) && !state.removed_agents.contains(id) =>
            {
                return Err(BrokerError::not_found(ObjectKind::Agent, id));
            }
            Subject::Steward(id) if !state.stewards.contains(id) => {
                return Err(BrokerError::not_found(ObjectKind::Steward, id));
            }
            Subject::Server(id) if !state.servers.contains_key(id) => {
                return Err(BrokerError::not_found(ObjectKind::Server, id));
            }
            Subject::Key(_) | Subject::Agent(_) | Subject::Steward(_) | Subject::Server(_) => {}
        }
        let servers: BTreeSet<ServerUri> = match &revoke.subject {
            Subject::Server(server) => BTreeSet::from([server.clone()]),
            _ => task.map(LiveTask::servers).unwrap_or_default(),
        };
        let longest = now.plus(self.limits.max_pass_ttl).plus(AFTERLIFE);
        Ok(RevocationRecord {
            subject: revoke.subject.clone(),
            cut_off: now,
            // A task may be renewed in this very moment, so its end counts and not its last pass's.
            expires_at: task.map_or(longest, |task| task.record.ends_at.plus(AFTERLIFE)),
            only_token: revoke.only_token,
            reason: revoke.reason.clone(),
            task: task.map(|task| task.record.task.clone()),
            appended_to: None,
            servers,
        })
    }
}

/// The key is revoked now. Were it the one that signs, a pending one takes over without waiting until
/// every verifier has heard of it: better refused for a moment than signed with a key that leaked.
fn retire_at_once(state: &State, key: KeyId) -> Result<Vec<LedgerEvent>, BrokerError> {
    let purpose = KeyPurpose::Root;
    let changed = |key, public, state| LedgerEvent::KeyChanged {
        purpose,
        key,
        public,
        state,
        link: None,
    };
    let mut live = state.live_keys(purpose);
    let (_, entry) = live
        .find(|(id, _)| *id == key)
        .ok_or_else(|| BrokerError::no_such(ObjectKind::Key(purpose, key)))?;
    let mut events = Vec::new();
    if entry.state == KeyState::Active {
        let next = state
            .live_keys(purpose)
            .find(|(_, entry)| entry.state == KeyState::Pending);
        let (id, next) = next.ok_or_else(|| {
            let first = "make another first with `hallpass keys rotate root`; it will sign at once";
            BrokerError::Conflict(format!("root key {key} is the one that signs: {first}"))
        })?;
        events.push(changed(id, next.public, KeyState::Active));
    }
    events.push(changed(key, entry.public, KeyState::Revoked));
    Ok(events)
}

fn view(revocation: &RevocationRecord) -> RevocationView {
    RevocationView {
        subject: revocation.subject.clone(),
        cut_off: revocation.cut_off,
        expires_at: revocation.expires_at,
        only_token: revocation.only_token,
        reason: revocation.reason.clone(),
        task_id: revocation.task.clone(),
    }
}

const MAX_REASON_BYTES: usize = 500;
