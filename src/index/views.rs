//! From records to keys: what each record adds to the views.

use std::{
    collections::HashMap,
    sync::{PoisonError, atomic::Ordering},
};

use super::{
    Index, IndexError, Verdict,
    keys::{self, View},
};
use crate::{
    base::{
        ids::{AgentId, RevocationId, StewardId, TaskId},
        time::Timestamp,
    },
    journal::{Entry, Event, Record, Subjects},
};

/// Whose a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) opened: u64,
    pub(super) agent: AgentId,
    pub(super) steward: StewardId,
}

impl Owner {
    fn to_value(&self) -> Vec<u8> {
        keys::numbered(self.opened, &format!("{}\n{}", self.agent, self.steward))
    }

    fn from_value(value: &[u8]) -> Option<Self> {
        let (opened, text) = keys::read_numbered(value)?;
        let (agent, steward) = text.split_once('\n')?;
        Some(Self { opened, agent: agent.parse().ok()?, steward: steward.parse().ok()? })
    }
}

/// A task that lives on while the records that tell of it may be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct Carried {
    /// The task.
    pub task: TaskId,
    /// Whose.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// The first blocks of its tokens.
    pub tokens: Vec<RevocationId>,
    /// Blocks that its agent reported to have been appended to them.
    pub appended: Vec<RevocationId>,
}

/// What the records of a batch added that later records of it may ask for.
#[derive(Default)]
struct Pending {
    batch: sled::Batch,
    owners: HashMap<TaskId, Owner>,
    tokens: HashMap<RevocationId, TaskId>,
}

impl Index {
    /// Whom and what `entry` is about, with the agents and stewards of its tasks.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn subjects(&self, entry: &Entry) -> Result<Subjects, IndexError> {
        self.whole()?;
        self.resolve(entry, &Pending::default())
    }

    /// Takes note of tasks that no record tells of any more.
    pub(super) fn carry(&self, tasks: &[Carried]) -> Result<(), IndexError> {
        for Carried { task, agent, steward, tokens, appended } in tasks {
            let mut batch = sled::Batch::default();
            let owner = Owner { opened: 0, agent: agent.clone(), steward: steward.clone() };
            batch.insert(keys::owner(task), owner.to_value());
            for token in tokens {
                batch.insert(keys::token_of(task, token), &0_u64.to_be_bytes());
            }
            for block in tokens.iter().chain(appended) {
                batch.insert(keys::token(block), keys::numbered(0, task.as_str()));
            }
            self.db().apply_batch(batch)?;
        }
        Ok(())
    }

    pub(super) fn apply_batch(&self, records: &[Record]) -> Result<(), IndexError> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let mut head = *applied;
        let mut pending = Pending::default();
        for record in records {
            if self.broken.load(Ordering::SeqCst)
                || record.sequence != head.sequence.saturating_add(1)
                || record.prev != head.hash
            {
                return Err(IndexError::Behind);
            }
            self.add(record, &mut pending)?;
            head = record.head();
        }
        pending.batch.insert(keys::APPLIED, keys::head(last.head()));
        self.db().apply_batch(pending.batch)?;
        *applied = head;
        Ok(())
    }

    /// Forgets records that the journal is about to remove, and what they alone said. Costs as much as they
    /// are many, where [`prune`](Self::prune) walks the whole index: for a chain that loses its oldest all the
    /// time, and names no task that began in it.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn forget(&self, records: &[Record]) -> Result<(), IndexError> {
        // A copy that is under way must not bring them back.
        let _turn = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        records.last().iter().for_each(|last| self.keep_from(last.sequence.saturating_add(1)));
        let mut batch = sled::Batch::default();
        for Record { sequence, entry, .. } in records {
            batch.remove(keys::by_sequence(*sequence));
            batch.remove(keys::by_time(decided_at(entry), *sequence));
            entry.idempotency.iter().for_each(|digest| batch.remove(keys::idempotency(digest)));
            for prefix in views_of(&self.resolve(entry, &Pending::default())?, &entry.event) {
                batch.remove(keys::with_sequence(prefix, *sequence));
            }
        }
        self.db().apply_batch(batch)?;
        Ok(())
    }

    fn add(&self, record: &Record, pending: &mut Pending) -> Result<(), IndexError> {
        let (sequence, entry) = (record.sequence, &record.entry);
        let at = decided_at(entry);
        pending.batch.insert(keys::by_sequence(sequence), keys::located(record.place, at));
        pending.batch.insert(keys::by_time(at, sequence), &[]);
        self.add_lookups(record, pending)?;
        let subjects = self.resolve(entry, pending)?;
        if let Some(digest) = &entry.idempotency {
            let task = subjects.tasks.first().map_or("", TaskId::as_str);
            pending.batch.insert(keys::idempotency(digest), keys::numbered(sequence, task));
        }
        for prefix in views_of(&subjects, &entry.event) {
            pending.batch.insert(keys::with_sequence(prefix, sequence), &[]);
        }
        Ok(())
    }

    fn add_lookups(&self, record: &Record, pending: &mut Pending) -> Result<(), IndexError> {
        let sequence = record.sequence;
        match &record.entry.event {
            Event::TaskOpened { task } => {
                let owner = Owner { opened: sequence, agent: task.agent.clone(), steward: task.steward.clone() };
                pending.batch.insert(keys::owner(&task.task), owner.to_value());
                pending.owners.insert(task.task.clone(), owner);
            }
            Event::TokenIssued { task, token } => {
                pending.batch.insert(keys::token_of(task, &token.revocation_id), &sequence.to_be_bytes());
                pending.add_token(&token.revocation_id, sequence, task);
            }
            Event::DelegationReported { task, blocks, .. } => {
                for block in blocks {
                    // SECURITY: an agent's report never takes over a block that is known already.
                    if self.task_of(block, pending)?.is_none() {
                        pending.add_token(block, sequence, task);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn resolve(&self, entry: &Entry, pending: &Pending) -> Result<Subjects, IndexError> {
        let mut subjects = Subjects::of(entry);
        if subjects.tasks.is_empty() {
            for token in &subjects.tokens {
                subjects.tasks.extend(self.task_of(token, pending)?);
            }
        }
        for task in &subjects.tasks {
            let owner = match pending.owners.get(task) {
                Some(owner) => Some(owner.clone()),
                None => self.owner(task)?,
            };
            if let Some(owner) = owner {
                subjects.agents.insert(owner.agent);
                subjects.stewards.insert(owner.steward);
            }
        }
        Ok(subjects)
    }

    pub(super) fn owner(&self, task: &TaskId) -> Result<Option<Owner>, IndexError> {
        let value = self.db().get(keys::owner(task))?;
        value.map(|value| Owner::from_value(&value).ok_or(IndexError::Damaged)).transpose()
    }

    fn task_of(&self, token: &RevocationId, pending: &Pending) -> Result<Option<TaskId>, IndexError> {
        match pending.tokens.get(token) {
            Some(task) => Ok(Some(task.clone())),
            None => Ok(self.find_token(token)?.map(|(task, _)| task)),
        }
    }

    pub(super) fn find_token(&self, token: &RevocationId) -> Result<Option<(TaskId, u64)>, IndexError> {
        let Some(value) = self.db().get(keys::token(token))? else { return Ok(None) };
        let (sequence, task) = keys::read_numbered(&value).ok_or(IndexError::Damaged)?;
        Ok(Some((task.parse().map_err(|_| IndexError::Damaged)?, sequence)))
    }
}

/// The beginnings of the keys under which a record is found.
fn views_of(subjects: &Subjects, event: &Event) -> Vec<Vec<u8>> {
    let agents = subjects.agents.iter().map(|id| View::Agent.prefix(id.as_str()));
    let stewards = subjects.stewards.iter().map(|id| View::Steward.prefix(id.as_str()));
    let tasks = subjects.tasks.iter().chain(&subjects.parents).map(|id| View::Task.prefix(id.as_str()));
    let servers = subjects.servers.iter().map(|id| View::Server.prefix(id.as_str()));
    let verdict = Verdict::of(event).map(|verdict| View::Verdict.prefix(verdict.as_str()));
    agents.chain(stewards).chain(tasks).chain(servers).chain(verdict).collect()
}

/// When it happened: reports come later than the calls that they tell of.
const fn decided_at(entry: &Entry) -> Timestamp {
    match &entry.event {
        Event::CallDecided { call, .. } => call.at,
        Event::ReportsLost { lost } => lost.from,
        _ => entry.at,
    }
}

impl Pending {
    fn add_token(&mut self, token: &RevocationId, sequence: u64, task: &TaskId) {
        self.batch.insert(keys::token(token), keys::numbered(sequence, task.as_str()));
        self.tokens.insert(*token, task.clone());
    }
}
