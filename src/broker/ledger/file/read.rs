//! Reading durable records while the journal is being written.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use crate::{
    domain::event::{ChainEvent, LedgerEvent},
    ledger::{
        file::{
            Chain, Line, Lines,
            error::{Flaw, JournalError, ReadError},
            files,
        },
        record::{Head, LinePlace, Record},
    },
};
use hallpass_core::base::sync::MutexExt as _;

/// Reads a journal; cheap to clone, and independent of the writers.
pub struct Reader<E = LedgerEvent> {
    dir: PathBuf,
    shared: Arc<Shared>,
    events: PhantomData<fn() -> E>,
}

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            shared: Arc::clone(&self.shared),
            events: PhantomData,
        }
    }
}

impl<E> fmt::Debug for Reader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// A segment that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its number, counted from 1.
    pub number: u32,
    /// Its first record's sequence number.
    pub first: u64,
}

impl<E> Reader<E> {
    pub(super) const fn new(dir: PathBuf, shared: Arc<Shared>) -> Self {
        Self {
            dir,
            shared,
            events: PhantomData,
        }
    }

    /// The file of segment `number`.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(files::segment_name(number))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The last durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.lock().head
    }

    /// The segments that are kept, oldest first. A segment ends where the next begins.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.shared.lock().segments.clone()
    }

    /// How long a segment is; 0 when it is not kept any more. Blocks on the disk.
    #[must_use]
    pub fn bytes(&self, segment: Segment) -> u64 {
        std::fs::metadata(self.path(segment.number)).map_or(0, |file| file.len())
    }

    /// The first record that is kept; 1 unless older segments were removed.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.lock().first()
    }
}

impl<E: ChainEvent> Reader<E> {
    /// Reads record `sequence`, whose line stands at `place`. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When another record or none stands there, or its segment is not kept any more.
    pub fn read_at(&self, sequence: u64, place: LinePlace) -> Result<Record<E>, ReadError> {
        let mut records = self.records_at(sequence, place)?;
        let missing = records.chain.damage(Flaw::NotARecord);
        let path = self.path(place.segment);
        records.next().unwrap_or_else(|| {
            Err(ReadError::Damaged {
                path,
                damage: missing,
            })
        })
    }

    /// The durable records from `sequence` on, or from the first that is kept, up to the head at the time of
    /// this call. Knowing where the first stands saves reading those before it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened. The iterator ends with the first record that is not right, or that
    /// is removed meanwhile.
    pub fn read_from(
        &self,
        sequence: u64,
        place: Option<LinePlace>,
    ) -> Result<Records<E>, ReadError> {
        if let Some(place) = place {
            return self.records_at(sequence, place);
        }
        let segments = self.segments();
        let within = segments
            .iter()
            .rev()
            .find(|segment| segment.first <= sequence);
        let begin = within.or(segments.first()).copied().unwrap_or(Segment {
            number: 1,
            first: 1,
        });
        let mut records = self.records_at(
            begin.first,
            LinePlace {
                segment: begin.number,
                offset: 0,
            },
        )?;
        records.first = sequence;
        Ok(records)
    }

    fn records_at(&self, sequence: u64, place: LinePlace) -> Result<Records<E>, ReadError> {
        let (end, segment) = {
            let durable = self.shared.lock();
            (
                durable.end,
                durable
                    .segments
                    .iter()
                    .find(|segment| segment.number == place.segment)
                    .copied(),
            )
        };
        let archived = || ReadError::Archived {
            sequence,
            first: self.first(),
        };
        let first = match segment {
            Some(segment) => segment.first,
            None if place.segment <= end.segment => return Err(archived()),
            // There is nothing, which is reported as damage.
            None => sequence,
        };
        let chain = Chain::from_middle(sequence, place, first);
        let lines = self.open(place, end, sequence)?;
        Ok(Records {
            reader: self.clone(),
            end,
            lines,
            chain,
            first: sequence,
            done: false,
        })
    }

    fn open(
        &self,
        place: LinePlace,
        end: LinePlace,
        sequence: u64,
    ) -> Result<Lines<BufReader<io::Take<File>>>, ReadError> {
        let path = self.path(place.segment);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.keeps(place.segment) => {
                return Err(ReadError::Archived {
                    sequence,
                    first: self.first(),
                });
            }
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        file.seek(SeekFrom::Start(place.offset))
            .map_err(|source| ReadError::Io { path, source })?;
        // SECURITY: bytes past the durable end may vanish in a crash; nothing may depend on them.
        let length = if place.segment < end.segment {
            u64::MAX
        } else {
            end.offset
        };
        Ok(Lines::new(BufReader::new(
            file.take(length.saturating_sub(place.offset)),
        )))
    }

    fn keeps(&self, number: u32) -> bool {
        self.shared
            .lock()
            .segments
            .iter()
            .any(|segment| segment.number == number)
    }
}

/// The records of a journal, in order, each checked against the one before.
#[derive(Debug)]
pub struct Records<E = LedgerEvent> {
    reader: Reader<E>,
    end: LinePlace,
    lines: Lines<BufReader<io::Take<File>>>,
    chain: Chain<E>,
    first: u64,
    done: bool,
}

impl<E: ChainEvent> Records<E> {
    /// The exact bytes of the record that came last, without their newline.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        self.lines.last_line()
    }

    fn read_on(&mut self) -> Result<Option<Record<E>>, ReadError> {
        loop {
            let path = self.reader.path(self.chain.next_place().segment);
            let record = match self.lines.next_line() {
                Ok(Line::Complete(line)) => self.chain.accept(line),
                Ok(Line::TooLong) => Err(self.chain.damage(Flaw::TooLong)),
                Ok(Line::Unterminated(_)) => Err(self.chain.damage(Flaw::Unterminated)),
                Ok(Line::End) if self.chain.next_place().segment < self.end.segment => {
                    self.chain.begin_segment();
                    let sequence = self.chain.head().sequence.saturating_add(1);
                    self.lines = self
                        .reader
                        .open(self.chain.next_place(), self.end, sequence)?;
                    continue;
                }
                Ok(Line::End) => return Ok(None),
                Err(source) => return Err(ReadError::Io { path, source }),
            };
            let record = record.map_err(|damage| ReadError::Damaged { path, damage })?;
            if record.sequence >= self.first {
                return Ok(Some(record));
            }
        }
    }
}

impl<E: ChainEvent> Iterator for Records<E> {
    type Item = Result<Record<E>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read_on().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// What the writers share with readers.
#[derive(Debug)]
pub(super) struct Shared {
    durable: Mutex<Durable>,
    fault: OnceLock<JournalError>,
    retiring: Mutex<()>,
}

/// What would survive a loss of power.
#[derive(Debug, Clone)]
pub(super) struct Durable {
    /// The last record.
    pub(super) head: Head,
    /// Where its line ends.
    pub(super) end: LinePlace,
    /// The segments that are kept, oldest first.
    pub(super) segments: Vec<Segment>,
    /// The segment that a start could begin with even if the newest snapshot were lost: those before it may go.
    pub(super) restorable: u32,
}

impl Durable {
    /// The first record that is kept.
    pub(super) fn first(&self) -> u64 {
        self.segments.first().map_or(1, |segment| segment.first)
    }
}

impl Shared {
    pub(super) const fn new(durable: Durable) -> Self {
        Self {
            durable: Mutex::new(durable),
            fault: OnceLock::new(),
            retiring: Mutex::new(()),
        }
    }

    pub(super) fn durable(&self) -> Durable {
        self.lock().clone()
    }

    pub(super) fn set_durable(&self, head: Head, end: LinePlace) {
        let mut durable = self.lock();
        (durable.head, durable.end) = (head, end);
    }

    /// Goes on with the segment that begins with `head`.
    pub(super) fn begin_segment(&self, head: Head, end: LinePlace, restorable: u32) {
        let mut durable = self.lock();
        (durable.head, durable.end, durable.restorable) = (head, end, restorable);
        durable.segments.push(Segment {
            number: end.segment,
            first: head.sequence,
        });
    }

    /// The turn to remove segments.
    pub(super) fn retiring(&self) -> MutexGuard<'_, ()> {
        self.retiring.locked()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Durable> {
        self.durable.locked()
    }

    /// Why nothing is acknowledged any more, once that is so.
    pub(super) fn fault(&self) -> Option<JournalError> {
        self.fault.get().cloned()
    }

    /// Stops the journal for good; the first fault is the one that is reported.
    pub(super) fn fail(&self, reason: String) -> JournalError {
        self.fault
            .get_or_init(|| JournalError::Failed {
                reason: reason.into(),
            })
            .clone()
    }

    /// Why the writer does not answer.
    pub(super) fn why_stopped(&self) -> JournalError {
        self.fault().unwrap_or(JournalError::Closed)
    }
}
