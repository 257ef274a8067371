//! Lineage: how the tasks that came of passes end with them.
//!
//! Seen from the place of a record among the others: whatever was recorded before it is reached, whoever knew of
//! it when that record was asked for.

use std::collections::BTreeSet;

use crate::{
    BrokerError, LiveTask, State, TaskEnd,
    domain::{
        eligibility::refuse_suspended,
        event::{Event, KeyPurpose, Subject, TaskRecord},
        parent::ParentPass,
        state::{AFTERLIFE, FeedNews},
    },
};
use hallpass_core::{
    base::{
        ids::{AgentId, TaskId},
        time::Timestamp,
    },
    wire::document::{RevocationEntry, Subjects},
};

impl State {
    /// `news` of `event`, which ended something, and with them of every task that ends with it.
    pub(crate) fn with_tasks_that_end(
        &mut self,
        news: FeedNews,
        event: &Event,
        at: Timestamp,
    ) -> FeedNews {
        let (mut entries, mut servers) = match news {
            FeedNews::Revocation(entries, servers) => (entries, servers),
            other => return other,
        };
        let mut meant = self.children_ended_by(event);
        meant.extend(self.left_behind(event));
        let concerns_all = servers.is_empty();
        for task in self.lineage.with_descendants(meant) {
            // One that is over has no pass that lives.
            let ends = |live: &&mut LiveTask| live.end.is_none() && live.record.ends_at > at;
            let Some(live) = self.tasks.get_mut(&task).filter(ends) else {
                continue;
            };
            live.end = Some((TaskEnd::Revoked, at));
            let expires_at = live.record.ends_at.plus(AFTERLIFE);
            entries.push(RevocationEntry {
                subject: Subjects::task(&task),
                cut_off: None,
                expires_at,
            });
            if !concerns_all {
                servers.extend(live.servers());
            }
        }
        FeedNews::Revocation(entries, servers)
    }

    /// The tasks that came of a pass which `event` ends: by what was recorded when it was exchanged, or because its
    /// agent, or a key that it went through, belongs by now to somebody who is revoked.
    fn children_ended_by(&self, event: &Event) -> BTreeSet<TaskId> {
        let mut children = self.lineage.candidates(event);
        let revoked: BTreeSet<&AgentId> = match event {
            Event::Revoked { revocation } => self
                .agents_of(&revocation.subject)
                .map(|agent| &agent.agent)
                .collect(),
            _ => BTreeSet::new(),
        };
        let is_ended = |parent: &ParentPass| {
            let mut holders = parent
                .holders
                .iter()
                .flat_map(|key| self.agents_with_key(key));
            parent.is_ended_by(event)
                || revoked.contains(&parent.agent)
                || holders.any(|agent| revoked.contains(&agent.agent))
        };
        let parent = |child: &TaskId| {
            self.tasks
                .get(child)
                .and_then(|child| child.record.parent.as_ref())
        };
        children.retain(|child| parent(child).is_some_and(is_ended));
        children
    }

    /// SECURITY: the tasks on others' behalf for whose agents a steward answered who is revoked now, when those
    /// agents were removed since or given to another steward: nothing else in their passes tells of that one.
    fn left_behind(&self, event: &Event) -> BTreeSet<TaskId> {
        let Event::Revoked { revocation } = event else {
            return BTreeSet::new();
        };
        let Subject::Steward(steward) = &revocation.subject else {
            return BTreeSet::new();
        };
        let is_still_theirs = |agent: &AgentId| {
            self.agent(agent)
                .is_some_and(|agent| agent.answered_for_by() == Some(steward))
        };
        let tasks = self.tasks.values().map(|live| &live.record);
        let answered = tasks.filter(|task| task.answered_for_by.as_ref() == Some(steward));
        answered
            .filter(|task| !is_still_theirs(&task.agent))
            .map(|task| task.task.clone())
            .collect()
    }
}

/// Refuses a task whose parent has ended.
///
/// SECURITY: the records end a child with its parent, as far as they told of the child by then. This is for the
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
