//! What opening a journal finds, and a journal that was checked and is not written yet.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    domain::event::{ChainEvent, LedgerEvent},
    ledger::{
        file::{Options, Reader, Snapshot, SnapshotError, TakeSnapshot},
        record::{Head, Record},
    },
};
use hallpass_core::base::time::Timestamp;

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The last record; the chain up to it was checked.
    pub head: Head,
    /// Whether there was no journal and one was begun.
    pub created: bool,
    /// The torn tail, when one was cut.
    pub torn: Option<Torn>,
    /// The last segment, when it had no record and was removed: it had just been begun, or has lost what it held.
    pub unbegun: Option<u32>,
    /// The first record that was replayed; those before it were in the snapshot.
    pub replayed_from: u64,
    /// Snapshots that could not be used, and why.
    pub unusable: Vec<String>,
}

impl Recovery {
    /// What the journal should say about it; nothing after a clean stop.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let unbegun = self
            .unbegun
            .map(|number| format!("removed segment {number}, which held no record"));
        self.torn
            .iter()
            .map(Torn::to_string)
            .chain(unbegun)
            .chain(self.unusable.iter().cloned())
            .collect()
    }
}

/// A record whose writing was interrupted; it was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The file that keeps them.
    pub kept_at: PathBuf,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let (segment, kept) = (name(&self.segment), name(&self.kept_at));
        write!(
            f,
            "cut {} bytes of an interrupted write from {segment} at byte {}, kept as {kept}",
            self.bytes, self.offset
        )
    }
}

/// What a journal is replayed into.
pub trait Restore<E = LedgerEvent> {
    /// Becomes what `snapshot` says, whatever it was before.
    ///
    /// # Errors
    ///
    /// When the snapshot does not have the form that this build knows; nothing has changed then.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// Takes the next record into account.
    fn replay(&mut self, record: &Record<E>);
}

/// A journal that was checked from its first record to its last and is not written yet: the place
/// to bring views up to date before anything new happens. Holds the lock.
pub struct Recovered<E = LedgerEvent> {
    pub(super) lock: File,
    pub(super) segment: File,
    pub(super) reader: Reader<E>,
    pub(super) options: Options,
    pub(super) last_at: Timestamp,
    pub(super) take_snapshot: Option<TakeSnapshot>,
}

impl<E: ChainEvent> Recovered<E> {
    /// Reads what is in the journal.
    #[must_use]
    pub fn reader(&self) -> Reader<E> {
        self.reader.clone()
    }

    /// Begins each new segment with a snapshot, so that a start can begin there and older segments can go.
    #[must_use]
    pub fn with_snapshots(mut self, take: TakeSnapshot) -> Self {
        self.take_snapshot = Some(take);
        self
    }
}

impl<E> fmt::Debug for Recovered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}
