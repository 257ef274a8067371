//! Eligibility: who may ask for anything now, and for whom. Pure: decided by the state alone.

use crate::{
    BrokerError, LiveTask, ObjectKind, State, TaskEnd,
    domain::event::{AgentRecord, KeyPurpose, Subject, TaskRecord},
    policy::Reason,
};
use hallpass_core::token::RequestedDetail;
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, StewardId, TaskId},
        time::Timestamp,
    },
    token::GrantedDetail,
};

impl State {
    /// A registered agent.
    ///
    /// # Errors
    ///
    /// When there is none with this id.
    pub(crate) fn registered(&self, agent: &AgentId) -> Result<&AgentRecord, BrokerError> {
        let missing = || BrokerError::not_found(ObjectKind::Agent, agent);
        self.agent(agent).ok_or_else(missing)
    }

    /// A task of `agent`, ended or not.
    ///
    /// # Errors
    ///
    /// When it has none with this id.
    pub(crate) fn task_of_agent(
        &self,
        agent: &AgentId,
        task: &TaskId,
    ) -> Result<&LiveTask, BrokerError> {
        let live = self.task(task).filter(|live| live.record.agent == *agent);
        live.ok_or_else(|| BrokerError::not_found(ObjectKind::OpenTask, task))
    }

    /// A task of `agent` in which it can mint at `now`.
    ///
    /// # Errors
    ///
    /// When it has none with this id, or the task has ended.
    pub(crate) fn open_task_of(
        &self,
        agent: &AgentId,
        task: &TaskId,
        now: Timestamp,
    ) -> Result<&LiveTask, BrokerError> {
        let live = self.task_of_agent(agent, task)?;
        let ended = |detail: &str| Err(BrokerError::TaskEnded(detail.to_owned()));
        match live.end {
            Some((TaskEnd::Completed, _)) => ended("the task is complete: open a new one"),
            Some((TaskEnd::Revoked, _)) => ended("the task was revoked"),
            None if live.record.ends_at <= now => ended("the task is over: open a new one"),
            None => Ok(live),
        }
    }

    /// What the agent's task was opened for; nothing when it has none with this id.
    #[must_use]
    pub fn asked_by(&self, agent: &AgentId, task: &TaskId) -> Vec<RequestedDetail> {
        let live = self.task(task).filter(|live| live.record.agent == *agent);
        live.map(|live| live.record.asked.clone())
            .unwrap_or_default()
    }

    /// Whether the agent has such a task and completed it.
    pub(crate) fn is_completed(&self, agent: &AgentId, task: &TaskId) -> bool {
        let live = self.task(task).filter(|live| live.record.agent == *agent);
        live.is_some_and(|live| matches!(live.end, Some((TaskEnd::Completed, _))))
    }

    /// Whether a task has as many passes as one may have.
    pub(crate) fn is_full(&self, task: &TaskId) -> bool {
        self.task(task)
            .is_some_and(|live| live.tokens.len() >= MAX_PASSES)
    }
}

/// Refuses an agent that may ask for nothing of itself.
pub(crate) fn refuse_ineligible_agent(
    state: &State,
    agent: &AgentRecord,
    task: &TaskRecord,
) -> Result<(), BrokerError> {
    // SECURITY: no steward answers for what a self-registered client does of itself; the person who happened to
    // consent first allowed it what they saw, for their own task.
    if agent.answered_for_by().is_none() {
        let detail = "this client acts for people who consent, and opens no tasks of its own";
        return Err(steward_mismatch(detail));
    }
    refuse_suspended_people(state, agent, &task.steward)
}

/// Refuses an agent that says that the task is for another steward than it is: without proof an agent acts for its
/// own.
pub(crate) fn refuse_other_steward(task: &TaskRecord, is_meant: bool) -> Result<(), BrokerError> {
    if is_meant {
        return Ok(());
    }
    Err(steward_mismatch(if task.verified.is_some() {
        "the subject token is another person's"
    } else {
        "without a subject token an agent acts for its registered steward only"
    }))
}

fn steward_mismatch(detail: &str) -> BrokerError {
    BrokerError::Refused(vec![Reason::new(ReasonCode::StewardMismatch, detail)])
}

/// Refuses another pass in a task that has ended, is full, came of a pass that has ended, or is for a steward whom the
/// agent left.
pub(crate) fn refuse_renewal(
    state: &State,
    agent: &AgentRecord,
    task: &TaskRecord,
    now: Timestamp,
) -> Result<(), BrokerError> {
    let _ = state.open_task_of(&agent.agent, &task.task, now)?;
    refuse_ended_parent(state, task)?;
    if state.is_full(&task.task) {
        return Err(full());
    }
    // Whether the agent may still act for the task's steward.
    if task.consented || task.verified.is_some() || agent.steward == task.steward {
        return Ok(());
    }
    let detail = "the agent has another steward since the task was opened: open a new task";
    Err(BrokerError::TaskEnded(detail.to_owned()))
}

/// A task has as many passes as one may have.
pub(crate) fn full() -> BrokerError {
    BrokerError::Conflict(format!(
        "a task has at most {MAX_PASSES} passes: open a new one"
    ))
}

/// Refuses when the agent, the steward who answers for it or `behalf` is revoked.
pub(crate) fn refuse_suspended_people(
    state: &State,
    agent: &AgentRecord,
    behalf: &StewardId,
) -> Result<(), BrokerError> {
    people(agent, behalf)
        .iter()
        .try_for_each(|subject| refuse_suspended(state, subject))
}

/// Who must not be revoked: the agent, the steward who answers for it, and the one on whose behalf it acts.
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

/// Everything that a pass concerns and that can be suspended.
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

/// Refuses a task whose parent has ended.
///
/// SECURITY: the records end a child with its parent, as far as they knew of the child by then. This is for the
/// pass that is minted while they do.
pub(crate) fn refuse_ended_parent(state: &State, task: &TaskRecord) -> Result<(), BrokerError> {
    let Some(parent) = &task.parent else {
        return Ok(());
    };
    let ended = || BrokerError::TaskEnded("the pass that it came of has ended".to_owned());
    let live: &LiveTask = state
        .task(&parent.task)
        .filter(|live| live.end.is_none())
        .ok_or_else(ended)?;
    if parent
        .blocks
        .iter()
        .any(|block| live.revoked.contains(block) || state.is_revoked_block(block))
    {
        return Err(ended());
    }
    let first = live
        .tokens
        .iter()
        .find(|token| parent.blocks.first() == Some(&token.revocation_id));
    let issued_at = first.ok_or_else(ended)?.issued_at;
    let agents = parent
        .delegates
        .iter()
        .chain([&parent.agent])
        .cloned()
        .map(Subject::Agent);
    let answers = state
        .agent(&parent.agent)
        .and_then(|agent| agent.answered_for_by());
    let stewards = parent
        .answered_for_by
        .iter()
        .chain(answers)
        .chain([&parent.steward])
        .cloned()
        .map(Subject::Steward);
    let servers = parent
        .limits
        .iter()
        .map(|limit| Subject::Server(limit.server.clone()));
    for subject in &agents.chain(stewards).chain(servers).collect::<Vec<_>>() {
        refuse_suspended(state, subject)?;
        if state
            .cut_off(subject)
            .is_some_and(|cut_off| issued_at <= cut_off)
        {
            return Err(ended());
        }
    }
    let key_is_live = state
        .live_keys(KeyPurpose::Root)
        .any(|(id, _)| id == parent.key);
    if key_is_live && !state.has_suspended_holder(&parent.holders) {
        Ok(())
    } else {
        Err(ended())
    }
}

/// A task has at most this many passes.
pub(crate) const MAX_PASSES: usize = 1000;
