//! Opening a journal: take the lock, check every record, cut a torn tail, refuse everything else.
//!
//! The chain is checked over every segment that is kept. What the records add up to begins with the newest
//! snapshot whose digest the chain holds, and only what follows is replayed.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    domain::event::{ChainEvent, LedgerEvent},
    ledger::{
        file::{
            Apply, Journal, Reader, Snapshot, SnapshotError, Storage, TakeSnapshot,
            error::OpenError,
            recover::recover,
            writer::{self, Files, Views},
        },
        record::{Head, Record},
    },
};
use hallpass_core::base::time::Timestamp;

/// The journal's directory inside the data directory.
pub const DIRECTORY: &str = "journal";

/// How a journal is opened and written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names in the data directory that exist only where there was a journal: when one of them is
    /// there and the journal is not, the start is refused instead of beginning an empty one.
    pub evidence: Vec<&'static str>,
    /// How many calls of `append` may wait; further ones wait outside.
    pub queue: usize,
    /// The writer stops gathering at this many bytes for one write.
    pub batch_bytes: usize,
    /// The writer stops gathering at this many calls for one write.
    pub batch_calls: usize,
    /// A segment that is longer than this many bytes is followed by a new one; one that begins with a snapshot of more
    /// than 2 MiB only when it is four times as long as that, too.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            evidence: vec!["index"],
            queue: 1024,
            batch_bytes: 1024 * 1024,
            batch_calls: 1024,
            segment_bytes: 16 * 1024 * 1024,
        }
    }
}

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

impl<E: ChainEvent> Journal<E> {
    /// Opens the journal in `data_dir`, beginning one when there was none, and hands every record that is
    /// kept to `replay`, in order.
    ///
    /// # Errors
    ///
    /// Refuses a directory that another process has open, a journal with damage anywhere but in an
    /// unterminated last line, one that is missing though something shows that it existed, and one
    /// in a form that this build does not know. Nothing is changed in these cases.
    pub fn open(
        data_dir: &Path,
        options: Options,
        replay: impl FnMut(&Record<E>),
    ) -> Result<(Recovered<E>, Recovery), OpenError> {
        struct All<F>(F);
        impl<E, F: FnMut(&Record<E>)> Restore<E> for All<F> {
            fn restore(&mut self, _: &Snapshot) -> Result<(), SnapshotError> {
                Err(SnapshotError::new("every record is wanted"))
            }

            fn replay(&mut self, record: &Record<E>) {
                (self.0)(record);
            }
        }
        recover(data_dir, options, &mut All(replay), false)
    }

    /// [`open`](Self::open), beginning with the newest snapshot that the chain vouches for: only the records
    /// after it are replayed. A snapshot that is missing or not as it was written is passed over for an
    /// older one, or for all records, and that is reported.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when older segments were removed and no snapshot can be used.
    pub fn restore(
        data_dir: &Path,
        options: Options,
        views: &mut dyn Restore<E>,
    ) -> Result<(Recovered<E>, Recovery), OpenError> {
        recover(data_dir, options, views, true)
    }
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

    /// Starts the writers. `apply` is called with the records of each durable batch, in order, before
    /// anyone gets an answer, so that whoever has one sees its effect.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self, apply: Apply<E>) -> Result<Journal<E>, OpenError> {
        self.start_with_storage(|segment| Box::new(segment), apply)
    }

    /// [`start`](Self::start) with another way to store what is written: for tests of faults.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with_storage(
        self,
        storage: impl FnOnce(File) -> Box<dyn Storage>,
        apply: Apply<E>,
    ) -> Result<Journal<E>, OpenError> {
        let reader = self.reader.clone();
        let files = Files {
            lock: self.lock,
            storage: storage(self.segment),
        };
        let views = Views {
            apply,
            take_snapshot: self.take_snapshot,
        };
        let (queue, writers) =
            writer::spawn(files, self.reader, (&self.options, self.last_at), views)
                .map_err(|error| OpenError::io("start the writers of", reader.dir(), error))?;
        Ok(Journal {
            queue,
            reader,
            writers: Mutex::new(writers),
        })
    }
}

impl<E> fmt::Debug for Recovered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}
