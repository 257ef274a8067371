//! Which of the past is kept: old segments of the journal go to the archive, or go.

use std::{path::PathBuf, time::Duration};

use crate::{
    BrokerError,
    broker::Broker,
    disk::reserve::Space,
    domain::state::KEEP_ENDED_TASKS,
    ledger::{
        file::{Place, Reader},
        views::{Index, IndexError},
    },
    trail::proofs::trail,
};
use hallpass_core::base::ids::TaskId;

/// How the journal is split, and which of its past is kept. By default all of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// A segment that is longer than this many bytes is followed by a new one; one that begins with a snapshot of more
    /// than 2 MiB only when it is four times as long as that, too.
    pub segment_bytes: u64,
    /// Segments whose last record is older than this are removed.
    pub keep_for: Option<Duration>,
    /// The oldest segments are removed until all that are left have at most so many bytes.
    pub keep_bytes: Option<u64>,
    /// What is removed is copied there first.
    pub archive_dir: Option<PathBuf>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            keep_for: None,
            keep_bytes: None,
            archive_dir: None,
        }
    }
}

impl Broker {
    /// Removes what is not to be kept any longer, from journal and index. Blocks on the disk.
    ///
    /// Only segments before the newest snapshot go, and none with a record of the last hour: tasks that ended
    /// are still asked about, and idempotency keys are still known. Tasks that live on are in the snapshot.
    ///
    /// # Errors
    ///
    /// When a segment cannot be archived or removed, or the index fails. What was not removed stays, and the
    /// next call tries again.
    pub fn retire(&self) -> Result<(), BrokerError> {
        let before = self.not_kept_before()?;
        let files = |error: crate::ledger::file::OpenError| BrokerError::Files(error.to_string());
        let removed = self
            .journal
            .retire(before, self.options.retention.archive_dir.as_deref())
            .map_err(files)?;
        if !removed.is_empty() {
            tracing::info!(segments = ?removed, "removed segments of the journal that are not kept any longer");
        }
        self.tree.forget(self.reader.first()).map_err(trail)?;
        let live = |task: &TaskId| self.state().task(task).is_some();
        self.index
            .prune(self.reader.first(), &live)
            .map_err(trail)?;
        compact(&self.index, &self.reader, &self.space).map_err(trail)
    }

    /// The first segment that is to be kept.
    fn not_kept_before(&self) -> Result<u32, BrokerError> {
        let Retention {
            keep_for,
            keep_bytes,
            ..
        } = &self.options.retention;
        // Recorded time: what a clock that jumped ahead removed would not come back with it.
        let now = self.state().last_at();
        let segments = self.reader.segments();
        let mut bytes = segments
            .iter()
            .map(|segment| self.reader.bytes(*segment))
            .sum::<u64>();
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            // A segment begins when the one before it ends.
            let begins = Place {
                segment: next.number,
                offset: 0,
            };
            let ended_at = self
                .reader
                .read_at(next.first, begins)
                .map_err(trail)?
                .entry
                .at;
            let age = now.since(ended_at);
            let too_old = keep_for.is_some_and(|keep| age > keep);
            let too_much = keep_bytes.is_some_and(|keep| bytes > keep);
            if age <= KEEP_ENDED_TASKS || !(too_old || too_much) {
                return Ok(segment.number);
            }
            bytes = bytes.saturating_sub(self.reader.bytes(*segment));
        }
        Ok(segments.last().map_or(0, |segment| segment.number))
    }
}

/// Gives back what the index over `reader`'s journal has grown by for nothing, when there is room for the copy.
pub(crate) fn compact(index: &Index, reader: &Reader, space: &Space) -> Result<(), IndexError> {
    index.compact(reader, &|bytes| {
        let has_room = space.has_room_for(bytes);
        if !has_room {
            tracing::warn!(
                bytes,
                "an index has grown to a multiple of what it holds, and a copy of it has no room"
            );
        }
        has_room
    })
}
