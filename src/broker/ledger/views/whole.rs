//! Views and the records that they find: what the broker asks about the past, without knowing where a record stands.

use std::{fmt, sync::Arc};

use crate::{
    domain::{
        event::{Entry, LedgerEvent},
        subjects::Subjects,
    },
    ledger::{
        file::{ReadError, Reader, Records},
        record::{Head, Record},
        views::{Filter, Index, IndexError, Indexed, TaskSummary, Window},
    },
};
use hallpass_core::base::{
    digest::Digest,
    ids::{RevocationId, TaskId},
};

/// The views of one chain, with its records. Cheap to clone. Everything blocks on the disk.
///
/// Records are named by their sequence numbers, which every ledger has; where a record stands is between the views
/// and the ledger.
pub struct Views<E = LedgerEvent> {
    index: Arc<Index<E>>,
    records: Reader<E>,
}

impl<E> Clone for Views<E> {
    fn clone(&self) -> Self {
        Self {
            index: Arc::clone(&self.index),
            records: self.records.clone(),
        }
    }
}

impl<E: Indexed> Views<E> {
    /// What `index` finds among `records`.
    #[must_use]
    pub const fn new(index: Arc<Index<E>>, records: Reader<E>) -> Self {
        Self { index, records }
    }

    /// The last durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.records.head()
    }

    /// The first record that is kept; 1 unless older ones were removed.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.records.first()
    }

    /// The records that `filter` wants, as far as `window` shows them: see [`Index::query`].
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn query(&self, filter: &Filter, window: Window) -> Result<Vec<u64>, IndexError> {
        self.index.query(filter, window)
    }

    /// One page of the records that `filter` wants.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn page(&self, filter: &Filter, window: Window) -> Result<FoundPage, IndexError> {
        // One more than wanted shows whether there is a next page.
        let limit = window.limit.saturating_add(1);
        let mut found = self.index.query(filter, Window { limit, ..window })?;
        let more = found.len() > window.limit;
        found.truncate(window.limit);
        let next = found.last().copied().filter(|_| more);
        Ok(FoundPage { found, next })
    }

    /// Record `sequence`; `None` when it is not kept any more.
    ///
    /// # Errors
    ///
    /// When the index does not know a record that is kept, is damaged or fails, or the record cannot be read.
    pub fn record(&self, sequence: u64) -> Result<Option<Record<E>>, IndexError> {
        self.index.record(&self.records, sequence)
    }

    /// The records from `sequence` on, which must be kept, up to the head at the time of this call.
    ///
    /// # Errors
    ///
    /// When the index does not know it or fails, or it cannot be read.
    pub fn records_from(&self, sequence: u64) -> Result<Records<E>, IndexError> {
        let first = self.first();
        if sequence < first {
            return Err(ReadError::Archived { sequence, first }.into());
        }
        let place = self.index.place(sequence)?;
        let place = place.ok_or(IndexError::Unknown(sequence))?;
        Ok(self.records.read_from(sequence, Some(place))?)
    }

    /// Whom and what `entry` is about, with the agents and stewards of its tasks.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn subjects(&self, entry: &Entry<E>) -> Result<Subjects, IndexError> {
        self.index.subjects(entry)
    }

    /// What is known of a task.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn task(&self, task: &TaskId) -> Result<Option<TaskSummary>, IndexError> {
        self.index.task(task)
    }

    /// The task that a block of a token belongs to, and the record that said so.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn token(&self, token: &RevocationId) -> Result<Option<(TaskId, u64)>, IndexError> {
        self.index.token(token)
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
        self.index.idempotency(digest)
    }

    /// Removes what the index says of records that are not kept any more: see [`Index::prune`].
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn prune(&self, live: &dyn Fn(&TaskId) -> bool) -> Result<(), IndexError> {
        self.index.prune(self.first(), live)
    }

    /// Gives back what the index has grown by for nothing: see [`Index::compact`].
    ///
    /// # Errors
    ///
    /// As [`Index::compact`].
    pub fn compact(&self, has_room: &dyn Fn(u64) -> bool) -> Result<(), IndexError> {
        self.index.compact(&self.records, has_room)
    }

    /// Hands what the index holds in memory to the operating system.
    ///
    /// # Errors
    ///
    /// When the index fails.
    pub fn flush(&self) -> Result<(), IndexError> {
        self.index.flush()
    }

    /// The index itself: for comparing it with another.
    #[must_use]
    pub fn index(&self) -> &Index<E> {
        &self.index
    }
}

/// One page of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPage {
    /// The sequence numbers, in the order that was asked for.
    pub found: Vec<u64>,
    /// The `after` of the next page; `None` when this is the last.
    pub next: Option<u64>,
}

impl<E: Indexed> fmt::Debug for Views<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
