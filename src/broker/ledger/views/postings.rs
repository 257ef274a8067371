//! From records to keys: what each record adds to the views.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{event::Entry, subjects::Subjects},
    ledger::{
        record::Record,
        views::{
            Index, IndexError,
            chunk::Chunk,
            index::Applied,
            indexed::{Indexed, Lookup},
            keys::{self, View},
            reading::Reading,
            values,
        },
    },
};
use hallpass_core::base::ids::{AgentId, RevocationId, StewardId, TaskId};
use hallpass_core::base::sync::MutexExt as _;

/// Whose a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) opened: u64,
    pub(super) agent: AgentId,
    pub(super) steward: StewardId,
}

impl Owner {
    fn to_value(&self) -> Vec<u8> {
        values::numbered(self.opened, &format!("{}\n{}", self.agent, self.steward))
    }

    fn from_value(value: &[u8]) -> Option<Self> {
        let (opened, text) = values::read_numbered(value)?;
        let (agent, steward) = text.split_once('\n')?;
        Some(Self {
            opened,
            agent: agent.parse().ok()?,
            steward: steward.parse().ok()?,
        })
    }
}

/// A live task whose records may have been removed.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl<E: Indexed> Index<E> {
    /// Whom and what `entry` is about, with the agents and stewards of its tasks.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn subjects(&self, entry: &Entry<E>) -> Result<Subjects, IndexError> {
        self.whole()?.resolve(entry)
    }

    /// Indexes tasks whose records were removed.
    pub(super) fn carry(&self, tasks: &[Carried]) -> Result<(), IndexError> {
        for Carried {
            task,
            agent,
            steward,
            tokens,
            appended,
        } in tasks
        {
            let mut batch = sled::Batch::default();
            let owner = Owner {
                opened: 0,
                agent: agent.clone(),
                steward: steward.clone(),
            };
            batch.insert(keys::owner(task), owner.to_value());
            let issued = tokens
                .iter()
                .flat_map(|token| values::issued(0, 0, token))
                .collect::<Vec<_>>();
            batch.insert(keys::in_chunk(keys::tokens_of(task), 0), issued);
            for block in tokens.iter().chain(appended) {
                batch.insert(keys::token(block), values::numbered(0, task.as_str()));
            }
            self.db().apply_batch(batch)?;
        }
        Ok(())
    }

    pub(super) fn apply_batch(&self, records: &[Record<E>]) -> Result<(), IndexError> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        let mut applied = self.applied.locked();
        // SECURITY: until all of it succeeded, not even a panic leaves anything that answers for the whole.
        if !std::mem::replace(&mut applied.is_whole, false) || !applied.is_followed_by(records) {
            return Err(IndexError::Behind);
        }
        // Moved out, so that nothing is copied unless a reader holds it.
        let nothing = Arc::new(Chunk::after(applied.head));
        let mut growing = Growing {
            read: self.reading_with(std::mem::replace(&mut applied.filling, nothing)),
        };
        let grown = growing.take(records);
        applied.filling = growing.read.filling;
        grown?;
        (applied.head, applied.is_whole) = (last.head(), true);
        Ok(())
    }
}

impl Applied {
    fn is_followed_by<E>(&self, records: &[Record<E>]) -> bool {
        let mut head = self.head;
        records.iter().all(|record| {
            let follows =
                record.sequence == head.sequence.saturating_add(1) && record.prev == head.hash;
            head = record.head();
            follows
        })
    }
}

/// The index while it grows.
struct Growing {
    read: Reading,
}

impl Growing {
    fn take<E: Indexed>(&mut self, records: &[Record<E>]) -> Result<(), IndexError> {
        for record in records {
            if self.read.filling.is_closed_to(record.place) {
                self.seal()?;
            }
            self.add(record)?;
        }
        self.read
            .db
            .insert(keys::APPLIED, values::head(self.read.filling.last()))?;
        Ok(())
    }

    /// Puts the chunk that was filled into sled and begins the next.
    fn seal(&mut self) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in self.read.filling.pairs() {
            batch.insert(key.as_slice(), value.as_slice());
        }
        let last = self.read.filling.last();
        // SECURITY: together, so that an index never has a record that it does not say it knew.
        batch.insert(keys::SEALED, values::head(last));
        batch.insert(keys::APPLIED, values::head(last));
        self.read.db.apply_batch(batch)?;
        self.read.filling = Arc::new(Chunk::after(last));
        Ok(())
    }

    fn add<E: Indexed>(&mut self, record: &Record<E>) -> Result<(), IndexError> {
        let (sequence, entry) = (record.sequence, &record.entry);
        let at = entry.event.happened_at().unwrap_or(entry.at);
        self.filling_mut().take(record, at);
        self.add_lookups(record)?;
        let subjects = self.read.resolve(entry)?;
        let filling = self.filling_mut();
        if let Some(digest) = &entry.idempotency {
            let task = subjects.tasks.first().map_or("", TaskId::as_str);
            filling.insert(keys::idempotency(digest), values::numbered(sequence, task));
        }
        for prefix in views_of(&subjects, &entry.event) {
            filling.list(prefix);
        }
        Ok(())
    }

    fn add_lookups<E: Indexed>(&mut self, record: &Record<E>) -> Result<(), IndexError> {
        let sequence = record.sequence;
        match record.entry.event.lookup() {
            Lookup::Task(task) => {
                let owner = Owner {
                    opened: sequence,
                    agent: task.agent.clone(),
                    steward: task.steward.clone(),
                };
                self.filling_mut()
                    .insert(keys::owner(&task.task), owner.to_value());
            }
            Lookup::Token(task, token) => {
                self.filling_mut().list_token(keys::tokens_of(task), token);
                self.add_token(token, sequence, task);
            }
            Lookup::Blocks(task, blocks) => {
                for block in blocks {
                    // SECURITY: an agent's report never takes over a block that is known already.
                    if self.read.find_token(block)?.is_none() {
                        self.add_token(block, sequence, task);
                    }
                }
            }
            Lookup::Nothing => {}
        }
        Ok(())
    }

    fn add_token(&mut self, token: &RevocationId, sequence: u64, task: &TaskId) {
        self.filling_mut().insert(
            keys::token(token),
            values::numbered(sequence, task.as_str()),
        );
    }

    fn filling_mut(&mut self) -> &mut Chunk {
        Arc::make_mut(&mut self.read.filling)
    }
}

impl Reading {
    pub(super) fn resolve<E: Indexed>(&self, entry: &Entry<E>) -> Result<Subjects, IndexError> {
        let mut subjects = Subjects::of(entry);
        if subjects.tasks.is_empty() {
            for token in &subjects.tokens {
                subjects
                    .tasks
                    .extend(self.find_token(token)?.map(|(task, _)| task));
            }
        }
        for task in &subjects.tasks {
            if let Some(owner) = self.owner(task)? {
                subjects.agents.insert(owner.agent);
                subjects.stewards.insert(owner.steward);
            }
        }
        Ok(subjects)
    }

    pub(super) fn owner(&self, task: &TaskId) -> Result<Option<Owner>, IndexError> {
        let value = self.get(&keys::owner(task))?;
        value
            .map(|value| Owner::from_value(&value).ok_or(IndexError::Damaged))
            .transpose()
    }

    pub(super) fn find_token(
        &self,
        token: &RevocationId,
    ) -> Result<Option<(TaskId, u64)>, IndexError> {
        let Some(value) = self.get(&keys::token(token))? else {
            return Ok(None);
        };
        let (sequence, task) = values::read_numbered(&value).ok_or(IndexError::Damaged)?;
        Ok(Some((
            task.parse().map_err(|_| IndexError::Damaged)?,
            sequence,
        )))
    }
}

/// The beginnings of the keys under which a record is found.
pub(super) fn views_of<E: Indexed>(subjects: &Subjects, event: &E) -> BTreeSet<Vec<u8>> {
    let agents = subjects
        .agents
        .iter()
        .map(|id| View::Agent.prefix(id.as_str()));
    let stewards = subjects
        .stewards
        .iter()
        .map(|id| View::Steward.prefix(id.as_str()));
    let tasks = subjects
        .tasks
        .iter()
        .chain(&subjects.parents)
        .map(|id| View::Task.prefix(id.as_str()));
    let servers = subjects
        .servers
        .iter()
        .map(|id| View::Server.prefix(id.as_str()));
    let verdict = event
        .verdict()
        .map(|verdict| View::Verdict.prefix(verdict.as_str()));
    agents
        .chain(stewards)
        .chain(tasks)
        .chain(servers)
        .chain(verdict)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::LedgerEvent;
    use crate::ledger::{
        file::{Journal, Options},
        views::{
            Filter, Order, Window,
            fixture::{entry, entry_of},
        },
    };

    #[test]
    fn after_a_failure_nothing_answers_for_the_whole_and_what_was_known_is_still_found() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
        let reader = recovered.reader();
        let (index, _) = Index::open(dir.path(), &reader).unwrap();
        let journal = recovered.start(Box::new(|_| {})).unwrap();
        let block = RevocationId::from_bytes([7; 64]);
        let task = format!("tsk_{:032x}", 1).parse().unwrap();
        let reported = LedgerEvent::DelegationReported {
            task,
            blocks: vec![block],
            delegate: None,
            registered: None,
        };
        let entries = (0..20).map(entry).chain([entry_of(reported), entry(20)]);
        journal.append_blocking(entries.collect()).unwrap();
        let records: Vec<Record> = reader
            .read_from(1, None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        index.apply(&records[..20]).unwrap();
        index.db().insert(keys::token(&block), b"x").unwrap();

        assert!(matches!(
            index.apply(&records[20..]),
            Err(IndexError::Damaged)
        ));
        assert!(matches!(
            index.apply(&records[20..]),
            Err(IndexError::Behind)
        ));
        let window = Window {
            order: Order::OldestFirst,
            after: None,
            limit: 100,
        };
        assert!(matches!(
            index.query(&Filter::default(), window),
            Err(IndexError::Behind)
        ));
        for record in &records[..20] {
            assert_eq!(index.place(record.sequence).unwrap(), Some(record.place));
        }
        // Not damage, for which the index would have to be deleted.
        assert!(matches!(index.record(&reader, 22), Err(IndexError::Behind)));
    }
}
