//! The journal as a [`Ledger`], and what is kept of it.

use std::{future::Future, pin::Pin};

use tokio::sync::watch;

use crate::{
    domain::event::{ChainEvent, Entry, LedgerEvent},
    ledger::{
        file::{
            Apply, Journal, JournalError, Keep, OpenError, ReadError, Recovered, ShortenError,
            retention,
        },
        record::Head,
        seam::{AppendError, Appending, Ledger, Position, ReadRecords},
    },
};
use hallpass_core::base::time::Timestamp;

/// A journal in files, which this process alone writes: no append conflicts.
#[derive(Debug)]
pub struct FileLedger<E: ChainEvent = LedgerEvent> {
    journal: Journal<E>,
    applied: watch::Sender<Position>,
}

impl<E: ChainEvent> FileLedger<E> {
    /// Starts to write `recovered`, whose records `apply` was given up to now; see [`Ledger`] for what it does.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(recovered: Recovered<E>, mut apply: Apply<E>) -> Result<Self, OpenError> {
        let applied = watch::Sender::new(Position::after(recovered.reader().head().sequence));
        let sender = applied.clone();
        let journal = recovered.start(Box::new(move |records| {
            apply(records);
            if let Some(last) = records.last() {
                sender.send_replace(Position::after(last.sequence));
            }
        }))?;
        Ok(Self { journal, applied })
    }

    /// Removes the oldest of what is not to be kept at `now`, by the time of the records; returns how many pieces of
    /// the journal went. Blocks on the disk.
    ///
    /// What a start could need stays.
    ///
    /// # Errors
    ///
    /// When something cannot be read, archived or removed. What was not removed stays, and the next call tries again.
    pub fn retire(&self, keep: &Keep, now: Timestamp) -> Result<usize, RetireError> {
        let before = retention::kept_from(&self.journal.reader(), keep, now)?;
        let removed = self.journal.retire(before, keep.archive.as_deref())?;
        Ok(removed.len())
    }

    /// Removes the oldest records, as whole pieces of the journal, until the others have at most `bytes`; returns the
    /// last that went. Before they go they are given to `forget`, some at a time. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When something fails: what was not removed goes the next time.
    pub fn shorten<F>(
        &self,
        bytes: u64,
        forget: retention::Forget<'_, E, F>,
    ) -> Result<Option<u64>, ShortenError<F>> {
        retention::shorten(&self.journal.reader(), bytes, forget)
    }
}

/// Why not everything was removed that is not to be kept.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// A record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something could not be archived or removed.
    #[error(transparent)]
    Files(#[from] OpenError),
}

impl<E: ChainEvent> Ledger<E> for FileLedger<E> {
    fn append(&self, _expected: Position, entries: Vec<Entry<E>>) -> Appending<'_> {
        Box::pin(async move {
            let appended = self.journal.append(entries).await;
            appended.map_err(AppendError::Failed)
        })
    }

    fn read_from(&self, sequence: u64) -> Result<ReadRecords<E>, ReadError> {
        Ok(Box::new(self.journal.reader().read_from(sequence, None)?))
    }

    fn head(&self) -> Head {
        self.journal.head()
    }

    fn subscribe(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    fn is_healthy(&self) -> bool {
        self.journal.is_healthy()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send + '_>> {
        Box::pin(self.journal.close())
    }
}
