//! Lineage: which tasks came of which passes, and how they end together.
//!
//! Seen from the place of a record among the others: whatever was recorded before it is reached, whoever knew of
//! it when that record was asked for.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use super::{
    BrokerError,
    live_task::{LiveTask, TaskEnd},
    standing::refuse_suspended,
    state::{AFTERLIFE, FeedNews, State},
};
use crate::{
    base::{
        ids::{AgentId, RevocationId, StewardId, TaskId},
        time::Timestamp,
    },
    journal::{
        Event,
        event::{KeyPurpose, Subject, TaskRecord},
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
            parent.is_some_and(|parent| {
                parent.is_ended_by(event)
                    || self.ends_answerer(event, &parent.agent)
                    || self.ends_a_holder(event, &parent.holders)
            })
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
        let answers = |steward: &StewardId| {
            self.agents.get(agent).is_some_and(|record| record.answered_for_by() == Some(steward))
        };
        matches!(&revocation.subject, Subject::Steward(steward) if answers(steward))
    }
}

impl State {
    /// Whether `event` revokes somebody whose key is among `holders`, through which a pass went.
    fn ends_a_holder(&self, event: &Event, holders: &[String]) -> bool {
        let Event::Revoked { revocation } = event else { return false };
        !holders.is_empty()
            && self.holder_keys(&revocation.subject).iter().any(|key| holders.contains(&key.thumbprint()))
    }

    /// Whether a registered key among `holders` is that of somebody who is suspended.
    pub(super) fn has_suspended_holder(&self, holders: &[String]) -> bool {
        let registered = holders.iter().filter_map(|key| self.agent(self.agent_with_key(key)?));
        registered.into_iter().any(|agent| self.is_suspended_agent(agent))
    }
}

/// Refuses a task whose parent has ended.
///
/// SECURITY: the records end a child with its parent, as far as they told of the child by then. This is for the
/// pass that is minted while they do.
pub(super) fn refuse_ended_parent(state: &State, task: &TaskRecord) -> Result<(), BrokerError> {
    let Some(parent) = &task.parent else { return Ok(()) };
    let ended = || BrokerError::TaskEnded("the pass that it came of has ended".to_owned());
    let live: &LiveTask = state.task(&parent.task).filter(|live| live.end.is_none()).ok_or_else(ended)?;
    if parent.blocks.iter().any(|block| live.revoked.contains(block) || state.is_revoked_block(block)) {
        return Err(ended());
    }
    let first = live.tokens.iter().find(|token| parent.blocks.first() == Some(&token.revocation_id));
    let issued_at = first.ok_or_else(ended)?.issued_at;
    let answers = state.agent(&parent.agent).and_then(|agent| agent.answered_for_by()).cloned().map(Subject::Steward);
    let named = [Subject::Agent(parent.agent.clone()), Subject::Steward(parent.steward.clone())];
    let servers = parent.limits.iter().map(|limit| Subject::Server(limit.server.clone()));
    for subject in &answers.into_iter().chain(named).chain(servers).collect::<Vec<_>>() {
        refuse_suspended(state, subject)?;
        if state.cut_off(subject).is_some_and(|cut_off| issued_at <= cut_off) {
            return Err(ended());
        }
    }
    let key_is_live = state.live_keys(KeyPurpose::Root).any(|(id, _)| id == parent.key);
    if key_is_live && !state.has_suspended_holder(&parent.holders) { Ok(()) } else { Err(ended()) }
}

fn remove<K: Eq + Hash>(children: &mut HashMap<K, BTreeSet<TaskId>>, of: &K, child: &TaskId) {
    if let Some(known) = children.get_mut(of) {
        known.remove(child);
        if known.is_empty() {
            children.remove(of);
        }
    }
}
