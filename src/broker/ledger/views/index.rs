//! The index itself: what it holds in memory, and which generation of it on the disk counts.

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, RwLock, atomic::AtomicU64},
};

use crate::{
    domain::event::LedgerEvent,
    ledger::{
        record::{Head, Record},
        views::{IndexError, chunk::Chunk, indexed::Indexed, store::Store},
    },
};
use hallpass_core::base::sync::{MutexExt as _, RwLockExt as _};

/// The views; shared by reference.
pub struct Index<E = LedgerEvent> {
    pub(super) events: PhantomData<fn() -> E>,
    pub(super) store: RwLock<Store>,
    pub(super) dir: PathBuf,
    pub(super) applied: Mutex<Applied>,
    /// More was applied, or nothing will be any more.
    pub(super) moved: Condvar,
    /// The last record that queries wait for.
    pub(super) announced: AtomicU64,
    pub(super) pruning: Mutex<()>,
    /// The record from which on it is worth looking whether it must be compacted.
    pub(super) compact_from: AtomicU64,
    /// Records before this one are removed from it, or are being removed now.
    pub(super) kept_from: AtomicU64,
}

/// What was applied, and what of it is not in sled yet.
pub(super) struct Applied {
    pub(super) head: Head,
    pub(super) filling: Arc<Chunk>,
    /// Whether nothing was missed; false as well while more is applied.
    pub(super) is_whole: bool,
}

/// One key of the index and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

impl<E> Index<E> {
    /// The current generation. A query that holds it reads it to the end, even when it was replaced.
    pub(super) fn db(&self) -> sled::Db {
        self.store.read_locked().db.clone()
    }

    /// The index in `store`, which holds everything up to `sealed`.
    pub(super) fn over(store: Store, sealed: Head, dir: &Path) -> Self {
        Self {
            events: PhantomData,
            store: RwLock::new(store),
            dir: dir.to_owned(),
            applied: Mutex::new(Applied::nothing_since(sealed)),
            moved: Condvar::new(),
            announced: AtomicU64::new(0),
            pruning: Mutex::new(()),
            compact_from: AtomicU64::new(0),
            kept_from: AtomicU64::new(0),
        }
    }
}

impl<E: Indexed> Index<E> {
    /// Applies records that follow on those applied so far.
    ///
    /// # Errors
    ///
    /// When sled fails or records are missing before these. The index then refuses every query
    /// until the next start, since it would answer for a part of the journal only.
    pub fn apply(&self, records: &[Record<E>]) -> Result<(), IndexError> {
        let applied = catch_panic(|| self.apply_batch(records)).unwrap_or(Err(IndexError::Damaged));
        self.moved.notify_all();
        applied
    }

    /// The last record that was applied.
    #[must_use]
    pub fn applied(&self) -> Head {
        self.applied.locked().head
    }

    /// Everything in the index, in order: equal for equal journals. Only tests compare whole indexes.
    ///
    /// # Errors
    ///
    /// When sled fails.
    #[doc(hidden)]
    pub fn dump(&self) -> Result<Vec<Pair>, IndexError> {
        let reading = self.reading();
        let mut pairs = BTreeMap::new();
        for pair in reading.db.iter() {
            let (key, value) = pair?;
            pairs.insert(key.to_vec(), value.to_vec());
        }
        pairs.extend(reading.filling.pairs().clone());
        Ok(pairs.into_iter().collect())
    }

    /// Hands what sled holds in memory to the operating system, so that the next start catches up faster.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn flush(&self) -> Result<(), IndexError> {
        self.reading().db.flush()?;
        Ok(())
    }
}

impl Applied {
    /// Everything up to `head`, all of which is in sled.
    pub(super) fn nothing_since(head: Head) -> Self {
        Self {
            head,
            filling: Arc::new(Chunk::after(head)),
            is_whole: true,
        }
    }
}

impl<E: Indexed> fmt::Debug for Index<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}

/// Runs `work`; `None` when it panicked, as sled does on some damaged files.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
