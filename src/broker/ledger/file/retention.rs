//! Which segments are kept, by their age and length.

use std::{path::PathBuf, time::Duration};

use crate::{
    domain::event::ChainEvent,
    ledger::{
        file::{OpenError, ReadError, Reader, retire},
        record::{LinePlace, Record},
    },
};
use hallpass_core::base::time::Timestamp;

/// Which of the past is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// What is older than this may go.
    pub for_at_most: Option<Duration>,
    /// The oldest may go until all that is left has at most so many bytes.
    pub bytes: Option<u64>,
    /// What is not older than this stays in any case.
    pub for_at_least: Duration,
    /// What goes is copied there first.
    pub archive: Option<PathBuf>,
}

/// The first segment that `keep` keeps at `now`.
pub(super) fn kept_from<E: ChainEvent>(
    reader: &Reader<E>,
    keep: &Keep,
    now: Timestamp,
) -> Result<u32, ReadError> {
    let segments = reader.segments();
    let mut bytes = reader.total_bytes();
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        // A segment begins when the one before it ends.
        let begins = LinePlace {
            segment: next.number,
            offset: 0,
        };
        let age = now.since(reader.read_at(next.first, begins)?.entry.at);
        let too_old = keep.for_at_most.is_some_and(|most| age > most);
        let too_much = keep.bytes.is_some_and(|most| bytes > most);
        if age <= keep.for_at_least || !(too_old || too_much) {
            return Ok(segment.number);
        }
        bytes = bytes.saturating_sub(reader.bytes(*segment));
    }
    Ok(segments.last().map_or(0, |segment| segment.number))
}

impl<E: ChainEvent> Reader<E> {
    /// How long the journal is, as far as it is kept. Blocks on the disk.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let segments = self.segments();
        let bytes = segments.iter().map(|segment| self.bytes(*segment));
        bytes.fold(0, u64::saturating_add)
    }
}

/// Why a journal was not shortened.
#[derive(Debug, thiserror::Error)]
pub enum ShortenError<F> {
    /// A record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A segment could not be removed.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// The records were not forgotten elsewhere.
    #[error("{0}")]
    Forget(F),
}

/// Removes the oldest segments until the others have at most `bytes`; returns the last record that went. Before a
/// segment goes its records are given to `forget`, some at a time. Blocks on the disk.
///
/// # Errors
///
/// When something fails: what was not removed goes the next time.
pub(super) fn shorten<E: ChainEvent, F>(
    reader: &Reader<E>,
    bytes: u64,
    forget: &mut dyn FnMut(&[Record<E>]) -> Result<(), F>,
) -> Result<Option<u64>, ShortenError<F>> {
    let segments = reader.segments();
    let (mut total, mut went) = (reader.total_bytes(), None);
    for (oldest, next) in segments.iter().zip(segments.iter().skip(1)) {
        if total <= bytes {
            break;
        }
        total = total.saturating_sub(reader.bytes(*oldest));
        let mut forgotten = Vec::new();
        for record in reader.read_from(oldest.first, None)? {
            let record = record?;
            let is_last = record.sequence.saturating_add(1) >= next.first;
            forgotten.push(record);
            if is_last || forgotten.len() >= FORGOTTEN_AT_ONCE {
                forget(&forgotten).map_err(ShortenError::Forget)?;
                forgotten.clear();
            }
            if is_last {
                break;
            }
        }
        retire::retire(reader, next.number, None)?;
        went = Some(next.first.saturating_sub(1));
    }
    Ok(went)
}

const FORGOTTEN_AT_ONCE: usize = 1000;
