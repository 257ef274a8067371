//! Giving back: whoever got a pass ends it (RFC 7009).

use crate::{
    BrokerError, TaskClient,
    broker::{Broker, Caller},
    domain::{
        event::{Event, RevocationRecord, Subject},
        state::AFTERLIFE,
    },
};
use hallpass_core::{
    base::ids::{AgentId, RevocationId},
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
    /// It is somebody else's, and as alive as before.
    NotYours,
}

impl Broker {
    /// Revokes the pass that is presented, by its last block: of a narrowed or handed on pass what was appended
    /// last, and no more than that. The task stays open.
    ///
    /// # Errors
    ///
    /// When it cannot be recorded, or a thousand narrowings in its task were given back before.
    pub async fn give_back(
        &self,
        caller: &Caller,
        owner: &PassOwner,
        token: &str,
    ) -> Result<GivenBack, BrokerError> {
        let Some(pass) = self.genuine(token)? else {
            return Ok(GivenBack::Nothing);
        };
        if !owner.owns(pass.claims()) {
            return Ok(GivenBack::NotYours);
        }
        let _changing = self.changes.lock().await;
        let Some((block, revocation)) = self.describe_given_back(&pass) else {
            return Ok(GivenBack::Nothing);
        };
        // SECURITY: narrowing costs nothing, and what was given back is told to verifiers until the task is over.
        let given_back = self
            .state()
            .task(&pass.claims().task)
            .map_or(0, |live| live.revoked.len());
        if revocation.appended_to.is_some() && given_back >= MAX_GIVEN_BACK {
            let detail = format!(
                "in one task at most {MAX_GIVEN_BACK} narrowings are given back: complete the task"
            );
            return Err(BrokerError::Conflict(detail));
        }
        self.record(
            caller,
            revocation.cut_off,
            vec![Event::Revoked { revocation }],
        )
        .await?;
        Ok(GivenBack::Revoked(Subject::RevocationId(block)))
    }

    /// The last block of `pass`, and its revocation; `None` when the pass is dead already.
    fn describe_given_back(&self, pass: &VerifiedPass) -> Option<(RevocationId, RevocationRecord)> {
        let now = self.now();
        let state = self.state();
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
