//! Forgetting: what the journal does not keep any more, the index does not know any more.

use std::sync::PoisonError;

use super::{
    Index, IndexError, Trouble,
    keys::{self, Kind},
};
use crate::base::ids::TaskId;

impl Index {
    /// Removes what tells of records before `first`, except whose the tasks and tokens are that are still
    /// `live`: later records name them. Does nothing when that was done already. Blocks on the disk, and not
    /// the records that are applied meanwhile.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn prune(&self, first: u64, live: &dyn Fn(&TaskId) -> bool) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.db.scan_prefix(keys::BY_SEQUENCE).keys().next().transpose()?;
        if oldest.and_then(|key| keys::sequence_of(&key)).is_none_or(|oldest| oldest >= first) {
            return Ok(());
        }
        let is_dead = |task: &str| task.parse::<TaskId>().map(|task| !live(&task)).unwrap_or(true);
        // The view by sequence goes last: it tells whether there is something left to do.
        for by_sequence in [false, true] {
            let mut batch = sled::Batch::default();
            let mut removed: usize = 0;
            for pair in self.db.iter() {
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
                    self.db.apply_batch(std::mem::take(&mut batch))?;
                    removed = 0;
                }
            }
            self.db.apply_batch(batch)?;
        }
        Ok(())
    }

    /// Whether it has grown to a multiple of what it holds; sled does not give back all that it frees.
    pub(super) fn bloated(&self) -> Result<Option<Trouble>, IndexError> {
        let on_disk = self.db.size_on_disk()?;
        if on_disk <= SMALL_BYTES {
            return Ok(None);
        }
        let mut live: u64 = 0;
        for pair in self.db.iter() {
            let (key, value) = pair?;
            live = live.saturating_add(u64::try_from(key.len().saturating_add(value.len())).unwrap_or(u64::MAX));
        }
        Ok((on_disk > live.saturating_mul(BLOATED)).then_some(Trouble::Bloated { on_disk, live }))
    }
}

const REMOVED_AT_ONCE: usize = 1000;

/// An index of this size is not worth looking at.
const SMALL_BYTES: u64 = 64 * 1024 * 1024;

/// On the disk so many times what it holds: it is built anew.
const BLOATED: u64 = 4;
