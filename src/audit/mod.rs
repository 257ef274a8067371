//! The audit trail: checking a journal from its bytes alone, and showing it to people.
//!
//! [`verify`] needs no lock, no index and no broker: a copy of the file is enough, and the live file
//! of a running broker works as well. Together with a head that was noted earlier it finds any
//! flipped bit, any record removed, swapped or inserted, and a tail that was cut.
//!
//! A journal is checked over all its segments. Where the oldest were archived the check begins with the
//! record that began the first segment that is left, and says so; [`Claims::follows`] joins it to the archive.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use crate::{
    base::time::Timestamp,
    journal::{self, Chain, Damage, Flaw, Head, Line, Lines, Record},
};

mod view;

pub use view::{AuditError, AuditEvent, Page, Trail};

/// What is known about a journal besides its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims {
    /// A head that this journal is known to have had: noted, exported or signed earlier.
    pub head: Option<Head>,
    /// The head that came before its first record: of the archived segments.
    pub follows: Option<Head>,
    /// Whether somebody may be writing to it.
    pub file: FileState,
}

/// Whether somebody may be writing to the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file is written to or it is not")]
pub enum FileState {
    /// A broker may be running: an unterminated last line is in flight.
    #[default]
    Live,
    /// An export, or the journal of a broker that stopped cleanly: every line must end.
    Closed,
}

/// What a sound journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// The first record's sequence number: 1, unless older segments were archived.
    pub begins: u64,
    /// When the first was decided.
    pub first: Option<Timestamp>,
    /// When the last was decided.
    pub last: Option<Timestamp>,
    /// The last record: worth noting somewhere else, for the next check.
    pub head: Head,
    /// Whether bytes after the last record are still being written.
    pub in_flight: bool,
}

/// Why a journal was not found sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is not as it was written.
    #[error("the journal is damaged at {0}")]
    Damage(#[from] Damage),
    /// A segment is missing.
    #[error("segment {found} follows on segment {after}: those between are missing")]
    Gap {
        /// The last segment before the gap.
        after: u32,
        /// The one that was found next.
        found: u32,
    },
    /// It could not be read.
    #[error("the journal cannot be read")]
    Read(#[from] io::Error),
}

/// Checks every record that `reader` gives, from the first to the last.
///
/// # Errors
///
/// Names the first line that is not as it was written, or the head that is missing.
pub fn verify(reader: impl BufRead, claims: &Claims) -> Result<Summary, VerifyError> {
    verify_segments([Ok((1, reader))], claims)
}

/// [`verify`] for a chain in many files: the numbers of the segments, in order, and what is in them.
///
/// # Errors
///
/// As [`verify`]; only the last segment may have a line in flight.
pub fn verify_segments<R: BufRead>(
    segments: impl IntoIterator<Item = io::Result<(u32, R)>>,
    claims: &Claims,
) -> Result<Summary, VerifyError> {
    let mut check: Option<Check<'_>> = None;
    for segment in segments {
        let (number, reader) = segment?;
        let going_on = match check.take() {
            Some(check) => check.with_next_segment(number)?,
            None => Check::new(number, claims),
        };
        check = Some(going_on.read(reader)?);
    }
    check.unwrap_or_else(|| Check::new(1, claims)).finish()
}

/// [`verify_segments`] for `path`: a segment's file, or a directory of segments.
///
/// # Errors
///
/// As [`verify_segments`].
pub fn verify_file(path: &Path, claims: &Claims) -> Result<Summary, VerifyError> {
    let open =
        |(number, path): (u32, PathBuf)| Ok((number, BufReader::with_capacity(READ_BUFFER_BYTES, File::open(path)?)));
    verify_segments(segments_of(path)?.into_iter().map(open), claims)
}

/// The segments at `path`, which is one's file or a directory of them, in order.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn segments_of(path: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    if !path.is_dir() {
        return Ok(vec![(journal::segment_number(path).unwrap_or(1), path.to_owned())]);
    }
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        segments.extend(journal::segment_number(&path).map(|number| (number, path)));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// A check that is under way.
struct Check<'a> {
    claims: &'a Claims,
    chain: Chain,
    begins: Option<u64>,
    records: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    in_flight: bool,
}

impl<'a> Check<'a> {
    const fn new(number: u32, claims: &'a Claims) -> Self {
        let chain = Chain::oldest(number);
        Self { claims, chain, begins: None, records: 0, first: None, last: None, in_flight: false }
    }

    fn with_next_segment(mut self, number: u32) -> Result<Self, VerifyError> {
        if self.in_flight {
            return Err(self.chain.damage(Flaw::Unterminated).into());
        }
        let after = self.chain.next_place().segment;
        if number != after.saturating_add(1) {
            return Err(VerifyError::Gap { after, found: number });
        }
        self.chain.begin_segment();
        Ok(self)
    }

    fn read(mut self, reader: impl BufRead) -> Result<Self, VerifyError> {
        let mut lines = Lines::new(reader);
        loop {
            match lines.next_line()? {
                Line::Complete(line) => {
                    let before = self.chain.clone();
                    let record = self.chain.accept(line)?;
                    self.take(&before, &record)?;
                }
                Line::TooLong => return Err(self.chain.damage(Flaw::TooLong).into()),
                Line::Unterminated(tail) => {
                    self.chain.accept_unterminated(tail)?;
                    if self.claims.file == FileState::Closed {
                        return Err(self.chain.damage(Flaw::Unterminated).into());
                    }
                    self.in_flight = true;
                    return Ok(self);
                }
                Line::End => return Ok(self),
            }
        }
    }

    fn take(&mut self, before: &Chain, record: &Record) -> Result<(), VerifyError> {
        if self.begins.is_none() {
            self.begins = Some(record.sequence);
            let head = Head { sequence: record.sequence.saturating_sub(1), hash: record.prev };
            if let Some(expected) = self.claims.follows.filter(|expected| *expected != head) {
                return Err(before.damage(Flaw::OtherChain { expected }).into());
            }
        }
        let is_other = |expected: &Head| expected.sequence == record.sequence && expected.hash != record.hash;
        if let Some(expected) = self.claims.head.filter(is_other) {
            return Err(before.damage(Flaw::OtherChain { expected }).into());
        }
        self.records = self.records.saturating_add(1);
        self.first = self.first.or(Some(record.entry.at));
        self.last = Some(record.entry.at);
        Ok(())
    }

    fn finish(self) -> Result<Summary, VerifyError> {
        let Self { claims, chain, records, first, last, in_flight, .. } = self;
        let (head, begins) = (chain.head(), self.begins.unwrap_or(1));
        let flaw = match claims.head {
            Some(expected) if expected.sequence > head.sequence => {
                Some(Flaw::TailCut { expected, found: head.sequence })
            }
            Some(expected) if expected.sequence == 0 && expected != Head::GENESIS => {
                Some(Flaw::OtherChain { expected })
            }
            Some(expected) if begins > 1 && expected.sequence < begins => Some(Flaw::Archived { expected, begins }),
            _ => None,
        };
        match flaw {
            Some(flaw) => Err(chain.damage(flaw).into()),
            None => Ok(Summary { records, begins, first, last, head, in_flight }),
        }
    }
}

const READ_BUFFER_BYTES: usize = 256 * 1024;
