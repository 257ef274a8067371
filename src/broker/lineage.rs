//! Lineage: which tasks came of which passes, and how they end together.
//!
//! Seen from the place of a record among the others: whatever was recorded before it is reached, whoever knew of
//! it when that record was asked for.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use super::{
    live_task::TaskEnd,
    state::{AFTERLIFE, FeedNews, State},
};
use crate::{
    base::{
        ids::{AgentId, RevocationId, StewardId, TaskId},
        time::Timestamp,
    },
    journal::{
        Event,
        event::{Subject, TaskRecord},
    },
    verify::document::{RevocationEntry, Subjects},
};

/// The children of tasks and of blocks.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    of_task: HashMap<TaskId, BTreeSet<TaskId>>,
    of_block: HashMap<RevocationId, BTreeSet<TaskId>>,
}

impl Lineage {
    pub(super) fn of<'t>(tasks: impl Iterator<Item = &'t TaskRecord>) -> Self {
        let mut lineage = Self::default();
        tasks.for_each(|task| lineage.add(task));
        lineage
    }

    pub(super) fn add(&mut self, task: &TaskRecord) {
        let Some(parent) = &task.parent else { return };
        self.of_task.entry(parent.task.clone()).or_default().insert(task.task.clone());
        for block in &parent.blocks {
            self.of_block.entry(*block).or_default().insert(task.task.clone());
        }
    }

    pub(super) fn remove(&mut self, task: &TaskRecord) {
        let Some(parent) = &task.parent else { return };
        remove(&mut self.of_task, &parent.task, &task.task);
        parent.blocks.iter().for_each(|block| remove(&mut self.of_block, block, &task.task));
    }

    /// The tasks that came of passes of `task`, themselves and not what came of them.
    pub(super) fn children(&self, task: &TaskId) -> impl Iterator<Item = &TaskId> {
        self.of_task.get(task).into_iter().flatten()
    }

    /// The tasks that may have come of a pass which `event` ends.
    fn candidates(&self, event: &Event) -> BTreeSet<TaskId> {
        let task = |task| self.children(task).cloned().collect();
        match event {
            Event::TaskCompleted { task: completed, .. } => task(completed),
            Event::Revoked { revocation } => match &revocation.subject {
                Subject::Task(revoked) => task(revoked),
                Subject::RevocationId(id) => self.of_block.get(id).cloned().unwrap_or_default(),
                Subject::Agent(_) | Subject::Steward(_) | Subject::Key(_) => {
                    self.of_task.values().flatten().cloned().collect()
                }
                Subject::Server(_) => BTreeSet::new(),
            },
            _ => BTreeSet::new(),
        }
    }

    /// `tasks` and whatever came of them, however far down.
    fn with_descendants(&self, tasks: BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        let mut rest: Vec<TaskId> = tasks.iter().cloned().collect();
        let mut all = tasks;
        while let Some(task) = rest.pop() {
            for child in self.children(&task) {
                if all.insert(child.clone()) {
                    rest.push(child.clone());
                }
            }
        }
        all
    }
}

impl State {
    /// `news` of `event`, which ended something, and with them of every task that ends with it.
    pub(super) fn and_children(&mut self, news: FeedNews, event: &Event, at: Timestamp) -> FeedNews {
        let (mut entries, mut servers) = match news {
            FeedNews::Revocation(entries, servers) => (entries, servers),
            other => return other,
        };
        let mut meant = self.lineage.candidates(event);
        meant.retain(|child| {
            let parent = self.tasks.get(child).and_then(|child| child.record.parent.as_ref());
            parent.is_some_and(|parent| parent.is_ended_by(event) || self.ends_answerer(event, &parent.agent))
        });
        let concerns_all = servers.is_empty();
        for child in self.lineage.with_descendants(meant) {
            let Some(live) = self.tasks.get_mut(&child).filter(|live| live.end.is_none()) else { continue };
            live.end = Some((TaskEnd::Revoked, at));
            let expires_at = live.record.ends_at.plus(AFTERLIFE);
            entries.push(RevocationEntry { subject: Subjects::task(&child), cut_off: None, expires_at });
            if !concerns_all {
                servers.extend(live.servers());
            }
        }
        FeedNews::Revocation(entries, servers)
    }
}

impl State {
    /// Whether `event` revokes the steward who answers for `agent`: its passes die, on whosever behalf they are.
    fn ends_answerer(&self, event: &Event, agent: &AgentId) -> bool {
        let Event::Revoked { revocation } = event else { return false };
        let answers = |steward: &StewardId| self.agents.get(agent).is_some_and(|record| record.steward == *steward);
        matches!(&revocation.subject, Subject::Steward(steward) if answers(steward))
    }
}

fn remove<K: Eq + Hash>(children: &mut HashMap<K, BTreeSet<TaskId>>, of: &K, child: &TaskId) {
    if let Some(known) = children.get_mut(of) {
        known.remove(child);
        if known.is_empty() {
            children.remove(of);
        }
    }
}
