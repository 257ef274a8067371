//! Token revocation by the client that received the token (RFC 7009).

use std::sync::Arc;

use crate::{
    BrokerError, Caller, ServerVerifiers, State, TaskClient,
    change::{Changes, Decided, View},
    domain::{
        event::{LedgerEvent, RevocationRecord, Subject},
        state::AFTERLIFE,
    },
};
use hallpass_core::{
    base::{
        ids::{AgentId, RevocationId},
        time::Timestamp,
    },
    token::{PassClaims, VerifiedPass},
};

/// Whose pass it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassOwner {
    /// An agent.
    Agent(AgentId),
    /// A task's own client.
    TaskClient(TaskClient),
}

/// What came of a pass or refresh token that was presented to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenBack {
    /// It is revoked now: the pass by its last block, the refresh token with its task.
    Revoked(Subject),
    /// It is nothing of this broker's that lives: there was nothing to end.
    Nothing,
    /// It belongs to another client, and stays live.
    NotYours,
}

/// Revocation of passes by the clients that have them.
#[derive(Debug)]
pub struct TokenRevocations {
    pub(crate) changes: Arc<Changes>,
    pub(crate) verifiers: Arc<ServerVerifiers>,
}

impl TokenRevocations {
    /// Revokes the pass that is presented, by its last block: of a narrowed or handed on pass what was appended
    /// last, and no more than that. The task stays open.
    ///
    /// # Errors
    ///
    /// When it cannot be recorded, or a thousand narrowings in its task were revoked so before.
    pub async fn revoke_token(
        &self,
        caller: &Caller,
        owner: &PassOwner,
        token: &str,
    ) -> Result<GivenBack, BrokerError> {
        let Some(pass) = self.verifiers.genuine(token)? else {
            return Ok(GivenBack::Nothing);
        };
        if !owner.owns(pass.claims()) {
            return Ok(GivenBack::NotYours);
        }
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let Some((block, revocation)) = describe(&state, &pass, now) else {
                return Ok(Decided::nothing(GivenBack::Nothing));
            };
            // SECURITY: narrowing costs nothing, and what was revoked is sent to verifiers until the task is over.
            let task = state.task(&pass.claims().task);
            let revoked = task.map_or(0, |live| live.revoked.len());
            if revocation.appended_to.is_some() && revoked >= MAX_GIVEN_BACK {
                return Err(BrokerError::Conflict(format!(
                    "in one task at most {MAX_GIVEN_BACK} narrowings are given back: complete the task"
                )));
            }
            let revoked = GivenBack::Revoked(Subject::RevocationId(block));
            let events = vec![LedgerEvent::Revoked { revocation }];
            Ok(Decided::record(now, events, revoked))
        };
        let done = self.changes.in_turn(caller, decide).await?;
        Ok(done.value)
    }
}

/// The last block of `pass`, and its revocation; `None` when the pass is dead already.
fn describe(
    state: &State,
    pass: &VerifiedPass,
    now: Timestamp,
) -> Option<(RevocationId, RevocationRecord)> {
    let (live, issued) = state.issued(pass)?;
    let (first, last) = (issued.revocation_id, *pass.blocks().last()?);
    let is_dead = pass.valid_until() <= now
        || pass
            .blocks()
            .iter()
            .any(|block| live.revoked.contains(block) || state.is_revoked_block(block));
    let revocation = RevocationRecord {
        subject: Subject::RevocationId(last),
        cut_off: now,
        expires_at: live.record.ends_at.plus(AFTERLIFE),
        only_token: true,
        reason: None,
        task: Some(live.record.task.clone()),
        appended_to: (last != first).then_some(first),
        servers: live.servers(),
    };
    (!is_dead).then_some((last, revocation))
}

impl PassOwner {
    fn owns(&self, claims: &PassClaims) -> bool {
        match self {
            Self::Agent(agent) => claims.agent == *agent,
            Self::TaskClient(client) => claims.task == client.task,
        }
    }
}

const MAX_GIVEN_BACK: usize = 1000;
