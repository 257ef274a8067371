//! Which of the past is kept: old segments of the journal go to the archive, or go.

use std::{path::PathBuf, time::Duration};

use crate::{
    BrokerError,
    broker::Broker,
    disk::reserve::DiskReserve,
    domain::state::KEEP_ENDED_TASKS,
    error::{files, trail},
    ledger::{
        file::{Keep, RetireError},
        views::{IndexError, Indexed, Views},
    },
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
    /// Only what is before the newest snapshot goes, and nothing of the last hour: tasks that ended
    /// are still asked about, and idempotency keys are still known. Tasks that live on are in the snapshot.
    ///
    /// # Errors
    ///
    /// When something cannot be archived or removed, or the index fails. What was not removed stays, and the
    /// next call tries again.
    pub fn retire(&self) -> Result<(), BrokerError> {
        let Retention {
            keep_for,
            keep_bytes,
            archive_dir,
            ..
        } = self.options.retention.clone();
        let keep = Keep {
            for_at_most: keep_for,
            bytes: keep_bytes,
            for_at_least: KEEP_ENDED_TASKS,
            archive: archive_dir,
        };
        // Recorded time: what a clock that jumped ahead removed would not come back with it.
        let now = self.state().last_at();
        let removed = self
            .journal
            .retire(&keep, now)
            .map_err(|error| match error {
                RetireError::Read(error) => trail(error),
                RetireError::Files(error) => files(error),
            })?;
        if removed > 0 {
            tracing::info!(
                segments = removed,
                "removed segments of the journal that are not kept any longer"
            );
        }
        self.history
            .tree
            .forget(self.views.first())
            .map_err(trail)?;
        let live = |task: &TaskId| self.state().task(task).is_some();
        self.views.prune(&live).map_err(trail)?;
        compact(&self.views, self.changes.reserve()).map_err(trail)
    }
}

/// Gives back what an index has grown by for nothing, when there is room for the copy.
pub(crate) fn compact<E: Indexed>(
    views: &Views<E>,
    reserve: &DiskReserve,
) -> Result<(), IndexError> {
    views.compact(&|bytes| {
        let has_room = reserve.has_room_for(bytes);
        if !has_room {
            tracing::warn!(
                bytes,
                "an index has grown to a multiple of what it holds, and a copy of it has no room"
            );
        }
        has_room
    })
}
