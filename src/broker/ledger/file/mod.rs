//! The journal: everything that happened, in one append-only, hash-chained log. It is the truth;
//! every other view of the broker's state is derived from it.
//!
//! One record is one line of JSON: `{"seq":N,"prev":"…",<members of the entry>,"hash":"…"}`. The
//! hash is SHA-256 over the exact bytes of the line before `,"hash":"`, and `prev` is the hash of
//! the line before, so no bit can change, and no record leave, enter or move, without it showing.
//!
//! What a caller may rely on:
//!
//! - [`Journal::append`] answers after `fdatasync` succeeded for the bytes of the call, and after the
//!   state derived from them was updated. A [`Receipt`] is the proof.
//! - After a failed write or sync nothing is acknowledged any more, by this process, ever: a sync
//!   that failed must not be tried again, since the kernel may have dropped the pages.
//! - At the next start a torn tail, which was never acknowledged, is cut, kept aside and reported.
//!   Any other damage stops the start and names its place.
//! - One process at a time: a lock on the data directory refuses the second.
//!
//! The records of one call are adjacent, and answered together. A crash in the middle of a call may
//! keep a first part of its records, without an answer.
//!
//! The chain goes on through numbered files, the segments. Each but the first begins with a record of its
//! own, [`ChainEvent::segment_begun`], which can hold the digest of a snapshot: all that the records before it add
//! up to. So a start checks every segment that is kept and replays only what follows the newest snapshot,
//! and the oldest segments can be archived or removed ([`Journal::retire`]). While a segment is begun nothing
//! is written, for as long as its snapshot takes.
//!
//! It is not an index (see [`index`](crate::ledger::views)).

use std::{
    fmt,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::{
    domain::event::{ChainEvent, Entry, LedgerEvent},
    ledger::Receipt,
};
use hallpass_core::base::sync::ignoring_poison;

mod error;
mod files;
mod handle;
mod line;
mod lines;
mod open;
mod queue;
mod read;
mod recover;
mod retention;
mod retire;
mod roll;
mod snapshot;
mod writer;

pub use crate::ledger::record::{Head, HeadError, LinePlace, Record};
pub use error::{Damage, Flaw, JournalError, MAX_ENTRY_BYTES, OpenError, ReadError};
pub use files::{LOCK_FILE, segment_name, segment_number, segments_of};
pub use handle::{FileLedger, RetireError};
pub use line::Chain;
pub use lines::{Line, Lines};
pub use open::{DIRECTORY, Options, Recovered, Recovery, Restore, Torn};
pub use read::{Reader, Records, Segment};
pub use retention::{Keep, ShortenError};
pub use snapshot::{Snapshot, SnapshotError, TakeSnapshot};
pub use writer::{Apply, Storage};

use queue::{Queue, Request};

/// A journal that is open for appending; shared by reference.
pub struct Journal<E: ChainEvent = LedgerEvent> {
    queue: Arc<Queue<E>>,
    reader: Reader<E>,
    writers: Mutex<Vec<JoinHandle<()>>>,
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
            // Whoever opens the directory next finds the lock released.
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
