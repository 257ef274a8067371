//! Task clients: a task that hands out credentials of its own OAuth client instead of a pass, so that any stock
//! client gets exactly the task's passes. They end with the task.

use crate::{
    BrokerError, Caller, Issuance, Issued, OneTimeSecret, OpenTask,
    change::{Decided, View},
    domain::event::{LedgerEvent, RecordedGrant, TaskRecord},
    issuing::issue::{Asked, refused},
    policy::Reason,
    registry::client_secrets::is_one_of,
};
use hallpass_core::{
    base::{
        digest::Digest,
        holder::HolderKey,
        ids::{AgentId, TaskId},
    },
    token::{GrantedDetail, Holding},
};

/// A task that was opened for a client of its own.
#[derive(Debug)]
pub struct OpenedForClient {
    /// The task; its id is the client's.
    pub task: TaskRecord,
    /// The client's secret, which is not stored.
    pub secret: OneTimeSecret,
    /// What its passes will allow, as policy is now.
    pub rights: Vec<GrantedDetail>,
    /// Which grant allowed what.
    pub decided_by: Vec<RecordedGrant>,
    /// What was asked for and left out, and why.
    pub dropped: Vec<Reason>,
}

/// The client of a task, that proved itself with its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskClient {
    /// Its task.
    pub task: TaskId,
    /// The agent that opened it.
    pub agent: AgentId,
}

impl Issuance {
    /// Opens a task for a client of its own. Policy is asked now, and again for each pass.
    ///
    /// # Errors
    ///
    /// As [`open_task`](Self::open_task).
    pub async fn open_task_for_client(
        &self,
        caller: &Caller,
        agent: &AgentId,
        request: OpenTask,
    ) -> Result<OpenedForClient, BrokerError> {
        let secret = OneTimeSecret::token("");
        let place = self.place(caller, &request.details).await?;
        let decide = |view: &View<'_>| -> Result<Decided<Result<_, BrokerError>>, BrokerError> {
            let Asked {
                mut requested,
                said,
                ..
            } = self.opened(view, agent, request.clone())?;
            let now = view.now();
            requested.task.client_secret = Some(secret.recorded(now));
            let task = requested.task.clone();
            // What the first pass would be; it is dropped, and no record mentions it.
            let run = || self.run(view, requested, said.as_deref());
            let ran = match &place {
                Some(place) => place.run(run),
                None => run(),
            };
            Ok(match ran {
                Ok(minted) => {
                    let opened = LedgerEvent::TaskOpened { task: task.clone() };
                    Decided::record(now, vec![opened], Ok((task, minted)))
                }
                Err(refusal) => refused(caller, now, refusal).map(Err),
            })
        };
        let done = self.changes.beside_others(caller, decide).await?;
        let (task, minted) = done.value?;
        Ok(OpenedForClient {
            task,
            secret,
            rights: minted.record.rights,
            decided_by: minted.record.decided_by,
            dropped: minted.granted.dropped,
        })
    }

    /// The client of `task`, when `secret` is its secret and the task has not ended.
    ///
    /// A client that is not known takes as long as one that is.
    #[must_use]
    pub fn authenticate_task_client(&self, task: &TaskId, secret: &str) -> Option<TaskClient> {
        let presented = Digest::of(secret.as_bytes());
        let now = self.changes.now();
        let state = self.changes.state();
        let live = state.task(task);
        let kept = live.and_then(|live| live.record.client_secret.as_ref());
        let is_good = is_one_of(&presented, kept);
        let live = live.filter(|live| live.end.is_none() && live.record.ends_at > now)?;
        is_good.then(|| TaskClient {
            task: task.clone(),
            agent: live.record.agent.clone(),
        })
    }

    /// Mints a pass for a task's own client; bound to `proven`, the key that it proved to hold, if it did.
    ///
    /// # Errors
    ///
    /// As [`issue_again`](Self::issue_again), and when the task is bound to another key.
    pub async fn issue_to_task_client(
        &self,
        caller: &Caller,
        client: &TaskClient,
        proven: Option<HolderKey>,
    ) -> Result<Issued, BrokerError> {
        let of = (&client.agent, &client.task);
        self.renew(caller, of, |task| match (&task.holder, &proven) {
            (Some(holding), Some(key)) if holding.key != *key => Err(BrokerError::invalid(
                "holder_key",
                "the task is bound to another key",
            )),
            (None, Some(key)) => {
                let (key, max_delegations) = (key.clone(), 0);
                task.holder = Some(Holding {
                    key,
                    max_delegations,
                });
                Ok(())
            }
            _ => Ok(()),
        })
        .await
    }
}
