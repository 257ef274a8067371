//! Appending to a journal, and closing it.

use std::{
    fmt,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

#[cfg(doc)]
use crate::ledger::file::MAX_ENTRY_BYTES;
use crate::{
    domain::event::{ChainEvent, Entry, LedgerEvent},
    ledger::{
        Receipt,
        file::{
            JournalError, Reader,
            queue::{Queue, Request},
        },
        record::Head,
    },
};
use hallpass_core::base::sync::ignoring_poison;

/// A journal that is open for appending; shared by reference.
pub struct Journal<E: ChainEvent = LedgerEvent> {
    pub(super) queue: Arc<Queue<E>>,
    pub(super) reader: Reader<E>,
    pub(super) writers: Mutex<Vec<JoinHandle<()>>>,
}

impl<E: ChainEvent> Journal<E> {
    /// Appends `entries` as adjacent records and waits until they are durable and applied.
    ///
    /// The receipt is that of the last record; the others precede it without a gap. When the
    /// returned future is dropped the entries may be recorded all the same.
    ///
    /// # Errors
    ///
    /// Refuses, with nothing written, no entry at all, an entry of more than [`MAX_ENTRY_BYTES`] and
    /// an entry that could not be read back. Any other error means that the journal stopped: what
    /// was asked is then not acknowledged, though it may turn up at the next start.
    pub async fn append(&self, entries: Vec<Entry<E>>) -> Result<Receipt, JournalError> {
        if let Some(fault) = self.reader.shared().fault() {
            return Err(fault);
        }
        let (request, answer) = Request::new(entries)?;
        if !self.queue.push(request).await {
            return Err(self.reader.shared().why_stopped());
        }
        answer
            .await
            .unwrap_or_else(|_| Err(self.reader.shared().why_stopped()))
    }

    /// Whether appends can still succeed; once `false` it stays so until the process is restarted.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.reader.shared().fault().is_none()
    }

    /// The last durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.reader.head()
    }

    /// A handle that reads durable records while the journal is being written.
    #[must_use]
    pub fn reader(&self) -> Reader<E> {
        self.reader.clone()
    }

    /// Refuses new appends, finishes those that wait, closes the file and releases the lock.
    ///
    /// # Errors
    ///
    /// When the journal had failed before; it is closed all the same.
    pub async fn close(&self) -> Result<(), JournalError> {
        let (done, closed) = oneshot::channel();
        self.queue.close(Some(done));
        // No answer means that it was closed already.
        let _ = closed.await;
        self.reader.shared().fault().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
impl<E: ChainEvent> Journal<E> {
    /// [`append`](Self::append) for a test that has no runtime.
    pub(crate) fn append_blocking(&self, entries: Vec<Entry<E>>) -> Result<Receipt, JournalError> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(self.append(entries))
    }
}

impl<E: ChainEvent> Drop for Journal<E> {
    fn drop(&mut self) {
        self.queue.close(None);
        let writers = ignoring_poison(self.writers.get_mut());
        for writer in writers
            .drain(..)
            .filter(|writer| writer.thread().id() != thread::current().id())
        {
            // The next process that opens the directory finds the lock released.
            let _ = writer.join();
        }
    }
}

impl<E: ChainEvent> fmt::Debug for Journal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("head", &self.head())
            .field("healthy", &self.is_healthy())
            .finish()
    }
}
