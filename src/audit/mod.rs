//! The audit trail: checking a journal from its bytes alone, and showing it to people.
//!
//! [`verify`] needs no lock, no index and no broker: a copy of the file is enough, and the live file
//! of a running broker works as well. Together with a head that was noted earlier it finds any
//! flipped bit, any record removed, swapped or inserted, and a tail that was cut.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::{
    base::time::Timestamp,
    journal::{Chain, Damage, Flaw, Head, Line, Lines},
};

mod view;

pub use view::{AuditError, AuditEvent, Page, Trail};

/// What is known about a journal besides its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims {
    /// A head that this journal is known to have had: noted, exported or signed earlier.
    pub head: Option<Head>,
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
    let mut lines = Lines::new(reader);
    let mut chain = Chain::genesis();
    let (mut first, mut last) = (None, None);
    let mut in_flight = false;
    loop {
        match lines.next_line()? {
            Line::Complete(line) => {
                let before = chain.clone();
                let record = chain.accept(line)?;
                if let Some(expected) = claims.head
                    && expected.sequence == record.sequence
                    && expected.hash != record.hash
                {
                    return Err(before.damage(Flaw::OtherChain { expected }).into());
                }
                first = first.or(Some(record.entry.at));
                last = Some(record.entry.at);
            }
            Line::TooLong => return Err(chain.damage(Flaw::TooLong).into()),
            Line::Unterminated(tail) => {
                chain.accept_unterminated(tail)?;
                if claims.file == FileState::Closed {
                    return Err(chain.damage(Flaw::Unterminated).into());
                }
                in_flight = true;
                break;
            }
            Line::End => break,
        }
    }
    let head = chain.head();
    match claims.head {
        Some(expected) if expected.sequence > head.sequence => {
            Err(chain.damage(Flaw::TailCut { expected, found: head.sequence }).into())
        }
        Some(expected) if expected.sequence == 0 && expected != Head::GENESIS => {
            Err(chain.damage(Flaw::OtherChain { expected }).into())
        }
        _ => Ok(Summary { records: head.sequence, first, last, head, in_flight }),
    }
}

/// [`verify`] for the file at `path`.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_file(path: &Path, claims: &Claims) -> Result<Summary, VerifyError> {
    verify(BufReader::with_capacity(READ_BUFFER_BYTES, File::open(path)?), claims)
}

const READ_BUFFER_BYTES: usize = 256 * 1024;
