//! Reading durable records while the journal is being written.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{
    line::{Chain, Damage, Flaw, Head, Line, Lines, Place, Record},
    writer::JournalError,
};

/// Reads a journal; cheap to clone, and independent of the writer.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// What stands there is not the record that should.
    #[error("the journal `{}` is damaged: {damage}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The place.
        damage: Damage,
    },
}

impl Reader {
    pub(super) const fn new(path: PathBuf, shared: Arc<Shared>) -> Self {
        Self { path, shared }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The last durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.durable().0
    }

    /// Reads record `sequence`, whose line stands at `place`. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When another record or none stands there.
    pub fn read_at(&self, sequence: u64, place: Place) -> Result<Record, ReadError> {
        let missing = Chain::from_middle(sequence, place).damage(Flaw::NotARecord);
        self.records_at(sequence, place)?
            .next()
            .unwrap_or_else(|| Err(ReadError::Damaged { path: self.path.clone(), damage: missing }))
    }

    /// The durable records from `sequence` on, up to the head at the time of this call. Knowing
    /// where the first stands saves reading those before it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened. The iterator ends with the first record that is not right.
    pub fn read_from(&self, sequence: u64, place: Option<Place>) -> Result<Records, ReadError> {
        if let Some(place) = place {
            return self.records_at(sequence, place);
        }
        let mut records = self.records_at(1, Chain::genesis().next_place())?;
        records.first = sequence;
        Ok(records)
    }

    fn records_at(&self, sequence: u64, place: Place) -> Result<Records, ReadError> {
        let (_, end) = self.shared.durable();
        let failed = |source| ReadError::Io { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
        // SECURITY: bytes past the durable end may vanish in a crash; nobody may act on them.
        let durable = file.take(end.saturating_sub(place.offset));
        let lines = Lines::new(BufReader::new(durable));
        Ok(Records {
            path: self.path.clone(),
            lines,
            chain: Chain::from_middle(sequence, place),
            first: sequence,
            done: false,
        })
    }
}

/// The records of a journal, in order, each checked against the one before.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    lines: Lines<BufReader<io::Take<File>>>,
    chain: Chain,
    first: u64,
    done: bool,
}

impl Records {
    /// The exact bytes of the record that came last, without their newline.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        self.lines.last_line()
    }
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let record = match self.lines.next_line() {
                Ok(Line::Complete(line)) => self.chain.accept(line),
                Ok(Line::TooLong) => Err(self.chain.damage(Flaw::TooLong)),
                Ok(Line::Unterminated(_)) => Err(self.chain.damage(Flaw::Unterminated)),
                Ok(Line::End) => break,
                Err(source) => {
                    self.done = true;
                    return Some(Err(ReadError::Io { path: self.path.clone(), source }));
                }
            };
            match record {
                Ok(record) if record.sequence < self.first => {}
                Ok(record) => return Some(Ok(record)),
                Err(damage) => {
                    self.done = true;
                    return Some(Err(ReadError::Damaged { path: self.path.clone(), damage }));
                }
            }
        }
        self.done = true;
        None
    }
}

/// What the writer tells everyone else.
#[derive(Debug)]
pub(super) struct Shared {
    durable: Mutex<(Head, u64)>,
    fault: OnceLock<JournalError>,
}

impl Shared {
    pub(super) const fn new(head: Head, bytes: u64) -> Self {
        Self { durable: Mutex::new((head, bytes)), fault: OnceLock::new() }
    }

    /// The last durable record, and where the bytes end that are durable.
    pub(super) fn durable(&self) -> (Head, u64) {
        *self.lock()
    }

    pub(super) fn set_durable(&self, head: Head, bytes: u64) {
        *self.lock() = (head, bytes);
    }

    /// Why nothing is acknowledged any more, once that is so.
    pub(super) fn fault(&self) -> Option<JournalError> {
        self.fault.get().cloned()
    }

    /// Stops the journal for good; the first fault is the one that is told.
    pub(super) fn fail(&self, reason: String) -> JournalError {
        self.fault.get_or_init(|| JournalError::Failed { reason: reason.into() }).clone()
    }

    /// Why the writer does not answer.
    pub(super) fn why_stopped(&self) -> JournalError {
        self.fault().unwrap_or(JournalError::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, (Head, u64)> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
