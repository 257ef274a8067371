//! Lineage: how the tasks that came of passes end with them.
//!
//! Seen from the place of a record among the others: whatever was recorded before it is reached, even if not known
//! it when that record was asked for.

use std::collections::BTreeSet;

use crate::{
    LiveTask, State, TaskEnd,
    domain::{
        event::{LedgerEvent, Subject},
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
        event: &LedgerEvent,
        at: Timestamp,
    ) -> FeedNews {
        let (mut entries, mut servers) = match news {
            FeedNews::Revocation(entries, servers) => (entries, servers),
            other => return other,
        };
        let mut meant = self.children_ended_by(event);
        meant.extend(self.left_behind(event));
        let concerns_all = servers.is_empty();
        for task in self.descendants.with_descendants(meant) {
            // One that is over has no pass that lives.
            let ends = |live: &&mut LiveTask| live.end.is_none() && live.record.ends_at > at;
            let Some(live) = self.tasks.get_mut(&task).filter(ends) else {
                continue;
            };
            live.end = Some((TaskEnd::Revoked, at));
            self.leaving.insert((live.over_at(), task.clone()));
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
    /// agent, or a key that it went through, belongs by now to a revoked agent or steward.
    fn children_ended_by(&self, event: &LedgerEvent) -> BTreeSet<TaskId> {
        let mut children = self.descendants.candidates(event);
        let revoked: BTreeSet<&AgentId> = match event {
            LedgerEvent::Revoked { revocation } => self
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
    /// agents were removed since or given to another steward: nothing else in their passes names that one.
    fn left_behind(&self, event: &LedgerEvent) -> BTreeSet<TaskId> {
        let LedgerEvent::Revoked { revocation } = event else {
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
