//! The seam between the broker and where its records are kept.
//!
//! Several brokers may share one ledger. Each has a handle of its own, a state of its own that is folded from the
//! records, and appends what it decided by that state. The contract below makes such a decision safe: it is recorded
//! only if no other broker recorded anything that the decision did not know of.

use std::{fmt, future::Future, pin::Pin};

use tokio::sync::watch;

use crate::{
    domain::event::{Entry, LedgerEvent},
    ledger::{
        file::{JournalError, ReadError},
        receipt::Receipt,
        record::{Head, Record},
    },
};

/// Up to which record a state has seen everything, by every appender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position(u64);

impl Position {
    /// After record `sequence`; 0 is before the first.
    #[must_use]
    pub const fn after(sequence: u64) -> Self {
        Self(sequence)
    }

    /// The last record that was seen.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0
    }
}

/// An append under way.
pub type Appending<'l> = Pin<Box<dyn Future<Output = Result<Receipt, AppendError>> + Send + 'l>>;

/// Records as they are read, in order.
pub type ReadRecords<E = LedgerEvent> =
    Box<dyn Iterator<Item = Result<Record<E>, ReadError>> + Send>;

/// One broker's handle to the records, its own and those of the brokers that share them.
///
/// # Contract
///
/// *Applying.* A handle is opened with one function that applies records to its broker's state. The handle calls it
/// with every record, in order, exactly once, by every appender, and with durable records only. A broker's own
/// records are applied before its append is answered, so the caller that has the answer sees its effect.
///
/// *Conflicts.* `expected` is the [`Position`] of the state that the caller decided by. `append` answers
/// [`AppendError::Conflict`], with nothing written, when a record with a greater sequence number than `expected` was
/// appended *through another handle*. Before it answers so, the handle has applied that record and all before it:
/// the caller decides again by the state as it is then, and appends with the position of that state.
///
/// Appends through the same handle never conflict with one another. They may be under way at the same time, and a
/// ledger may make them durable together: 256 mints of one broker take one sync. So a broker orders its own
/// decisions among themselves (see [`Changes`](crate::Changes)), and the ledger orders them against those of others.
///
/// *Durability.* A [`Receipt`] is returned after the records of the call are durable, adjacent, and applied. Any other
/// error than a conflict means that the records may be there or not, and that the handle is of no more use.
///
/// The journal's files have one writing process, which a lock ensures: [`file::FileLedger`](crate::ledger::file::FileLedger)
/// never answers `Conflict`.
pub trait Ledger<E = LedgerEvent>: fmt::Debug + Send + Sync {
    /// Appends `entries` as adjacent records, unless another handle appended after `expected`.
    ///
    /// When the returned future is dropped the entries may be recorded all the same.
    fn append(&self, expected: Position, entries: Vec<Entry<E>>) -> Appending<'_>;

    /// The durable records from `sequence` on, or from the first that is kept, up to the head at the time of this
    /// call. Blocks.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn read_from(&self, sequence: u64) -> Result<ReadRecords<E>, ReadError>;

    /// The last durable record.
    fn head(&self) -> Head;

    /// The position of the state, from now on: it changes once records were applied.
    fn subscribe(&self) -> watch::Receiver<Position>;

    /// Whether appends can still succeed; once `false` it stays so until the process is restarted.
    fn is_healthy(&self) -> bool;

    /// Finishes what is being appended; nothing is appended any more.
    fn close(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send + '_>>;
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another broker appended first. Nothing was written, and what it appended has been applied to the state.
    #[error("another broker appended first")]
    Conflict,
    /// The ledger cannot be written.
    #[error(transparent)]
    Failed(#[from] JournalError),
}
