//! Descendants: which tasks came of the passes of which tasks, and what ends them.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::domain::{
    event::{LedgerEvent, Subject, TaskRecord},
    parent::ParentPass,
};
use hallpass_core::base::ids::{RevocationId, TaskId};

impl ParentPass {
    /// Whether `event` ends this pass, and so the task that came of it, for good: as far as this record can
    /// say. The broker knows besides whose an agent and a key became later.
    #[must_use]
    pub fn is_ended_by(&self, event: &LedgerEvent) -> bool {
        match event {
            LedgerEvent::TaskCompleted { task, .. } => self.task == *task,
            LedgerEvent::Revoked { revocation } => match &revocation.subject {
                Subject::RevocationId(id) => self.blocks.contains(id),
                Subject::Task(task) => self.task == *task,
                Subject::Agent(agent) => self.agent == *agent || self.delegates.contains(agent),
                Subject::Steward(steward) => {
                    self.steward == *steward || self.answered_for_by.contains(steward)
                }
                Subject::Key(key) => self.key == *key,
                // The child's passes die there by themselves, and live elsewhere.
                Subject::Server(_) => false,
            },
            _ => false,
        }
    }
}

/// The tasks that came of the passes of tasks, and of their blocks.
#[derive(Debug, Default)]
pub struct Descendants {
    of_task: HashMap<TaskId, BTreeSet<TaskId>>,
    of_block: HashMap<RevocationId, BTreeSet<TaskId>>,
}

impl Descendants {
    /// That of `tasks`.
    pub fn of<'t>(tasks: impl Iterator<Item = &'t TaskRecord>) -> Self {
        let mut descendants = Self::default();
        tasks.for_each(|task| descendants.add(task));
        descendants
    }

    /// Adds a task; one that came of no pass changes nothing.
    pub fn add(&mut self, task: &TaskRecord) {
        let Some(parent) = &task.parent else { return };
        self.of_task
            .entry(parent.task.clone())
            .or_default()
            .insert(task.task.clone());
        for block in &parent.blocks {
            self.of_block
                .entry(*block)
                .or_default()
                .insert(task.task.clone());
        }
    }

    /// Forgets a task; those that came of its passes stay.
    pub fn remove(&mut self, task: &TaskRecord) {
        let Some(parent) = &task.parent else { return };
        remove(&mut self.of_task, &parent.task, &task.task);
        parent
            .blocks
            .iter()
            .for_each(|block| remove(&mut self.of_block, block, &task.task));
    }

    /// The tasks that came of passes of `task`, themselves and not what came of them.
    pub fn children(&self, task: &TaskId) -> impl Iterator<Item = &TaskId> {
        self.of_task.get(task).into_iter().flatten()
    }

    /// The tasks that may have come of a pass which `event` ends: no other did.
    #[must_use]
    pub fn candidates(&self, event: &LedgerEvent) -> BTreeSet<TaskId> {
        let task = |task| self.children(task).cloned().collect();
        match event {
            LedgerEvent::TaskCompleted {
                task: completed, ..
            } => task(completed),
            LedgerEvent::Revoked { revocation } => match &revocation.subject {
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
    #[must_use]
    pub fn with_descendants(&self, tasks: BTreeSet<TaskId>) -> BTreeSet<TaskId> {
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

fn remove<K: Eq + Hash>(children: &mut HashMap<K, BTreeSet<TaskId>>, of: &K, child: &TaskId) {
    if let Some(known) = children.get_mut(of) {
        known.remove(child);
        if known.is_empty() {
            children.remove(of);
        }
    }
}
