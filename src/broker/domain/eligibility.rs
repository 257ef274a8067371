//! Standing: who may ask for anything now, and for whom.

use crate::{
    BrokerError, State,
    broker::Broker,
    domain::{
        event::{AgentRecord, Subject, TaskRecord},
        lineage::refuse_ended_parent,
    },
    policy::Reason,
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{StewardId, TaskId},
    },
    token::GrantedDetail,
};

impl Broker {
    /// Refuses an agent that may ask for nothing now, and one that says that the task is for another steward
    /// than it is: without proof an agent acts for its own.
    pub(crate) fn refuse_without_standing(
        &self,
        agent: &AgentRecord,
        task: &TaskRecord,
        said: Option<&str>,
    ) -> Result<(), BrokerError> {
        // SECURITY: nobody answers for what a client that people brought does of itself; whoever happened
        // to consent first allowed it what they saw, for their own task.
        if agent.answered_for_by().is_none() {
            let detail = "this client acts for people who consent, and opens no tasks of its own";
            return Err(BrokerError::Refused(vec![Reason::new(
                ReasonCode::StewardMismatch,
                detail,
            )]));
        }
        self.refuse_suspended_people(agent, &task.steward)?;
        let is_meant = |said| {
            self.directory()
                .find(said, |steward| *steward == task.steward)
                .is_some()
        };
        match said {
            Some(said) if !is_meant(said) => {
                let detail =
                    "without a subject token an agent acts for its registered steward only";
                let detail = if task.verified.is_some() {
                    "the subject token is another person's"
                } else {
                    detail
                };
                let code = ReasonCode::StewardMismatch;
                Err(BrokerError::Refused(vec![Reason::new(code, detail)]))
            }
            _ => Ok(()),
        }
    }

    /// Refuses another pass in a task that has ended, is full, came of a pass that has ended, or is for a steward whom the agent left.
    pub(crate) fn refuse_renewal(
        &self,
        agent: &AgentRecord,
        task: &TaskRecord,
    ) -> Result<(), BrokerError> {
        self.refuse_ended_task(&agent.agent, &task.task)?;
        refuse_ended_parent(&self.state(), task)?;
        if self.state().is_full(&task.task) {
            return Err(BrokerError::Conflict(format!(
                "a task has at most {MAX_PASSES} passes: open a new one"
            )));
        }
        if acts_for(agent, task) {
            return Ok(());
        }
        let detail = "the agent has another steward since the task was opened: open a new task";
        Err(BrokerError::TaskEnded(detail.to_owned()))
    }

    /// Refuses when the agent, who answers for it or `behalf` is revoked.
    pub(crate) fn refuse_suspended_people(
        &self,
        agent: &AgentRecord,
        behalf: &StewardId,
    ) -> Result<(), BrokerError> {
        let state = self.state();
        people(agent, behalf)
            .iter()
            .try_for_each(|subject| refuse_suspended(&state, subject))
    }
}

impl State {
    /// Whether a task has as many passes as one may have.
    pub(crate) fn is_full(&self, task: &TaskId) -> bool {
        self.task(task)
            .is_some_and(|live| live.tokens.len() >= MAX_PASSES)
    }
}

/// Whether the agent may still act for the task's steward.
fn acts_for(agent: &AgentRecord, task: &TaskRecord) -> bool {
    task.consented || task.verified.is_some() || agent.steward == task.steward
}

/// Who must be in good standing: the agent, who answers for it, and on whose behalf it acts.
pub(crate) fn people(agent: &AgentRecord, behalf: &StewardId) -> Vec<Subject> {
    let stewards = agent
        .answered_for_by()
        .into_iter()
        .chain([behalf])
        .map(|steward| Subject::Steward(steward.clone()));
    [Subject::Agent(agent.agent.clone())]
        .into_iter()
        .chain(stewards)
        .collect()
}

/// Whoever a pass concerns and can be suspended.
pub(crate) fn subjects(
    agent: &AgentRecord,
    task: &TaskRecord,
    rights: &[GrantedDetail],
) -> impl Iterator<Item = Subject> {
    people(agent, &task.steward).into_iter().chain(
        rights
            .iter()
            .map(|detail| Subject::Server(detail.server.clone())),
    )
}

/// Refuses what was revoked and not reinstated.
pub(crate) fn refuse_suspended(state: &State, subject: &Subject) -> Result<(), BrokerError> {
    if !state.is_suspended(subject) {
        return Ok(());
    }
    let who = match subject {
        Subject::Agent(agent) => format!("agent `{agent}`"),
        Subject::Steward(_) => "the steward, or who answers for the agent,".to_owned(),
        Subject::Server(server) => format!("server `{server}`"),
        _ => "it".to_owned(),
    };
    Err(BrokerError::Suspended(format!(
        "{who} was revoked and not reinstated"
    )))
}

const MAX_PASSES: usize = 1000;
