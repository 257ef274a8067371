//! Forgetting: what the journal does not keep any more, the index does not know any more.

use std::sync::PoisonError;

use super::{
    Index, IndexError,
    keys::{self, Kind},
};
use crate::base::ids::TaskId;

impl Index {
    /// Removes what tells of records before `first`, except whose the tasks and tokens are that are still
    /// `live`: later records name them. Does nothing when that was done already. Blocks on the disk, and not the
    /// records that are applied meanwhile.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn prune(&self, first: u64, live: &dyn Fn(&TaskId) -> bool) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.db().scan_prefix(keys::BY_SEQUENCE).keys().next().transpose()?;
        if oldest.and_then(|key| keys::sequence_of(&key)).is_none_or(|oldest| oldest >= first) {
            return Ok(());
        }
        self.keep_from(first);
        let is_dead = |task: &str| task.parse::<TaskId>().map(|task| !live(&task)).unwrap_or(true);
        // The view by sequence goes last: it tells whether there is something left to do.
        for by_sequence in [false, true] {
            let mut batch = sled::Batch::default();
            let mut removed: usize = 0;
            for pair in self.db().iter() {
                let (key, value) = pair?;
                if key.starts_with(keys::BY_SEQUENCE) != by_sequence {
                    continue;
                }
                let is_gone = match keys::kind(&key, &value).ok_or(IndexError::Damaged)? {
                    Kind::Index => false,
                    Kind::Record(sequence) => sequence < first,
                    Kind::Task(task, sequence) => sequence < first && is_dead(task),
                };
                if is_gone {
                    batch.remove(key);
                    removed = removed.saturating_add(1);
                }
                if removed >= REMOVED_AT_ONCE {
                    self.db().apply_batch(std::mem::take(&mut batch))?;
                    removed = 0;
                }
            }
            self.db().apply_batch(batch)?;
        }
        Ok(())
    }
}

const REMOVED_AT_ONCE: usize = 1000;
