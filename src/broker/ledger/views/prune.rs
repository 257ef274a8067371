//! Forgetting: what the journal does not keep any more, the index does not know any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{
    record::Record,
    views::{
        Index, IndexError,
        indexed::Indexed,
        keys::{self, Kind},
        postings::views_of,
        values,
    },
};
use hallpass_core::base::ids::TaskId;
use hallpass_core::base::sync::MutexExt as _;

impl<E: Indexed> Index<E> {
    /// Removes the entries of records before `first`, except to whom the tasks and tokens belong that are still
    /// `live`: later records name them. Does nothing when that was done already. Blocks on the disk, and not the
    /// records that are applied meanwhile.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn prune(&self, first: u64, live: &dyn Fn(&TaskId) -> bool) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.locked();
        let cut = self.reading().chunk_of(first)?.unwrap_or(0);
        let oldest = self
            .db()
            .scan_prefix(keys::BY_SEQUENCE)
            .keys()
            .next()
            .transpose()?;
        if oldest
            .and_then(|key| keys::chunk_of(&key))
            .is_none_or(|oldest| oldest >= cut)
        {
            return Ok(());
        }
        self.keep_from(first);
        let is_dead = |task: &str| {
            task.parse::<TaskId>()
                .map(|task| !live(&task))
                .unwrap_or(true)
        };
        // The view by sequence goes last: it shows whether something is left to remove.
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
                    Kind::Chunk(chunk) => chunk < cut,
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

    /// Forgets records that the journal is about to remove, and what they alone said. Costs as much as they
    /// are many, where [`prune`](Self::prune) walks the whole index: for a chain that loses its oldest all the
    /// time, and names no task that began in it.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn forget(&self, records: &[Record<E>]) -> Result<(), IndexError> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        // A copy that is under way must not bring them back.
        let _turn = self.pruning.locked();
        let first_kept = last.sequence.saturating_add(1);
        let reading = self.reading();
        let mut batch = sled::Batch::default();
        let mut prefixes: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for Record {
            sequence, entry, ..
        } in records
        {
            entry
                .idempotency
                .iter()
                .for_each(|digest| batch.remove(keys::idempotency(digest)));
            let Some(chunk) = reading.chunk_of(*sequence)? else {
                continue;
            };
            prefixes
                .entry(chunk)
                .or_default()
                .extend(views_of(&reading.resolve(entry)?, &entry.event));
        }
        let cut = reading.chunk_of(first_kept)?.unwrap_or(0);
        for (chunk, prefixes) in prefixes {
            for prefix in prefixes {
                let listed = reading
                    .listed(&prefix, chunk)?
                    .into_iter()
                    .filter(|sequence| *sequence >= first_kept);
                let kept: Vec<u8> = listed
                    .flat_map(|sequence| values::offset(chunk, sequence))
                    .collect();
                let key = keys::in_chunk(prefix, chunk);
                if kept.is_empty() {
                    batch.remove(key)
                } else {
                    batch.insert(key, kept)
                }
            }
            if chunk < cut {
                batch.remove(keys::by_sequence(chunk));
                batch.remove(keys::by_time(chunk));
            }
        }
        self.keep_from(first_kept);
        self.db().apply_batch(batch)?;
        Ok(())
    }
}

const REMOVED_AT_ONCE: usize = 1000;
