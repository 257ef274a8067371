//! Questions to the index. Answers are sequence numbers and places; the records are in the journal.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use crate::ledger::{
    file::{ReadError, Reader},
    record::{LinePlace, Record},
    views::{
        Index, IndexError,
        indexed::Indexed,
        keys::{self, View},
        reading::Reading,
        values,
        window::{Filter, Order, Window},
    },
};
use hallpass_core::base::{
    digest::Digest,
    ids::{AgentId, RevocationId, StewardId, TaskId},
    time::Timestamp,
};

/// What the index knows of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSummary {
    /// The record that opened it; 0 when that is not known any more.
    pub opened: u64,
    /// Whose it is.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// Its tokens, each with its record: 0 where that is not known any more. Those first, in no order; the others in
    /// the order of their minting.
    pub tokens: Vec<(u64, RevocationId)>,
}

impl<E: Indexed> Index<E> {
    /// The sequence numbers of the records that `filter` wants, as far as `window` shows them. The last
    /// one is the next page's `after`; a page with fewer than the limit is the last.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn query(&self, filter: &Filter, window: Window) -> Result<Vec<u64>, IndexError> {
        let reading = self.whole()?;
        if filter
            .from
            .zip(filter.to)
            .is_some_and(|(from, to)| from >= to)
        {
            return Ok(Vec::new());
        }
        let views = views_of(filter);
        let walked = views.first().map_or(keys::BY_TIME, Vec::as_slice);
        let (low, high) = window.ends();
        let low = low.max(reading.kept_from);
        let chunks = (reading.chunk_of(low)?.unwrap_or(0), high);
        let mut found = Vec::new();
        for chunk in reading.chunks(walked, chunks, window.order) {
            if found.len() >= window.limit {
                break;
            }
            let (chunk, _) = chunk?;
            let mut sequences = reading.wanted(filter, &views, chunk)?;
            sequences.retain(|sequence| (low..=high).contains(sequence));
            if window.order == Order::NewestFirst {
                sequences.reverse();
            }
            found.extend(sequences);
        }
        found.truncate(window.limit);
        Ok(found)
    }

    /// Where the line of record `sequence` stands.
    ///
    /// # Errors
    ///
    /// When the index is damaged or fails.
    pub fn place(&self, sequence: u64) -> Result<Option<LinePlace>, IndexError> {
        Ok(self.reading().located(sequence)?.map(|(place, _)| place))
    }

    /// Record `sequence` of `journal`; `None` when it is not kept any more, perhaps since a moment ago. Blocks on the
    /// disk.
    ///
    /// # Errors
    ///
    /// When the index does not know a record that is kept, is damaged or fails, or the journal cannot be read.
    pub fn record(
        &self,
        journal: &Reader<E>,
        sequence: u64,
    ) -> Result<Option<Record<E>>, IndexError> {
        let Some(place) = self.place(sequence)? else {
            let kept_from = self.kept_from.load(Ordering::SeqCst).max(journal.first());
            // What was missed is no damage.
            return if sequence < kept_from {
                Ok(None)
            } else {
                self.whole().and(Err(IndexError::Damaged))
            };
        };
        match journal.read_at(sequence, place) {
            Err(ReadError::Archived { .. }) => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    /// The task that a block of a token belongs to, and the record that says so.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn token(&self, token: &RevocationId) -> Result<Option<(TaskId, u64)>, IndexError> {
        self.whole()?.find_token(token)
    }

    /// What is known of a task.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn task(&self, task: &TaskId) -> Result<Option<TaskSummary>, IndexError> {
        let reading = self.whole()?;
        let Some(owner) = reading.owner(task)? else {
            return Ok(None);
        };
        let mut tokens = Vec::new();
        for chunk in reading.chunks(&keys::tokens_of(task), (0, u64::MAX), Order::OldestFirst) {
            let (chunk, value) = chunk?;
            tokens.extend(values::read_issued(chunk, &value).ok_or(IndexError::Damaged)?);
        }
        // A token that was carried over may also have a record that is kept.
        let recorded: HashSet<RevocationId> = tokens
            .iter()
            .filter(|(record, _)| *record > 0)
            .map(|(_, id)| *id)
            .collect();
        tokens.retain(|(record, id)| *record > 0 || !recorded.contains(id));
        Ok(Some(TaskSummary {
            opened: owner.opened,
            agent: owner.agent,
            steward: owner.steward,
            tokens,
        }))
    }

    /// The last record with this idempotency digest, and its task when it has one.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn idempotency(
        &self,
        digest: &Digest,
    ) -> Result<Option<(u64, Option<TaskId>)>, IndexError> {
        let Some(value) = self.whole()?.get(&keys::idempotency(digest))? else {
            return Ok(None);
        };
        let (sequence, task) = values::read_numbered(&value).ok_or(IndexError::Damaged)?;
        let task = if task.is_empty() {
            None
        } else {
            Some(task.parse().map_err(|_| IndexError::Damaged)?)
        };
        Ok(Some((sequence, task)))
    }

    /// The index with everything that was announced. Refuses when records were missed: a part of an answer looks like
    /// the whole.
    pub(super) fn whole(&self) -> Result<Reading, IndexError> {
        let applied = self.wait_for_announced();
        if applied.is_whole {
            Ok(self.reading_with(Arc::clone(&applied.filling)))
        } else {
            Err(IndexError::Behind)
        }
    }
}

impl Reading {
    /// The records of `chunk` that are listed in all of `views` and were decided when `filter` says, in order. None when it
    /// was removed since the walk found it.
    ///
    /// A clock may be set back, so the order of times is not the order of records, and every chunk is asked for its span.
    fn wanted(
        &self,
        filter: &Filter,
        views: &[Vec<u8>],
        chunk: u64,
    ) -> Result<Vec<u64>, IndexError> {
        let (from, to) = (filter.from, filter.to);
        let is_timed = from.is_some() || to.is_some();
        if is_timed {
            let Some(span) = self.get(&keys::by_time(chunk))? else {
                return Ok(Vec::new());
            };
            let (first, last) = values::read_span(&span).ok_or(IndexError::Damaged)?;
            if from.is_some_and(|from| last < from) || to.is_some_and(|to| first >= to) {
                return Ok(Vec::new());
            }
        }
        let mut wanted: Option<Vec<u64>> = None;
        if is_timed || views.is_empty() {
            let is_in_time =
                |at: Timestamp| from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to);
            let records = (chunk..).zip(self.records_of(chunk)?.unwrap_or_default());
            wanted = Some(
                records
                    .filter(|(_, (_, at))| is_in_time(*at))
                    .map(|(sequence, _)| sequence)
                    .collect(),
            );
        }
        for view in views {
            let mut listed = self.listed(view, chunk)?;
            if let Some(wanted) = wanted {
                listed.retain(|sequence| wanted.binary_search(sequence).is_ok());
            }
            wanted = Some(listed);
        }
        Ok(wanted.unwrap_or_default())
    }
}

/// The views that `filter` names, the narrowest first.
fn views_of(filter: &Filter) -> Vec<Vec<u8>> {
    let task = filter
        .task
        .as_ref()
        .map(|id| View::Task.prefix(id.as_str()));
    let agent = filter
        .agent
        .as_ref()
        .map(|id| View::Agent.prefix(id.as_str()));
    let steward = filter
        .steward
        .as_ref()
        .map(|id| View::Steward.prefix(id.as_str()));
    let server = filter
        .server
        .as_ref()
        .map(|id| View::Server.prefix(id.as_str()));
    let verdict = filter
        .verdict
        .map(|verdict| View::Verdict.prefix(verdict.as_str()));
    [task, agent, steward, server, verdict]
        .into_iter()
        .flatten()
        .collect()
}
