//! Which of the past is kept: old segments of the journal go to the archive, or go.

use crate::{
    BrokerError, Retention,
    broker::Broker,
    disk::compact::compact,
    domain::state::KEEP_ENDED_TASKS,
    error::{files, trail},
    ledger::file::{Keep, RetireError},
};
use hallpass_core::base::ids::TaskId;

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
