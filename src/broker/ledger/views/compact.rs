//! Compacting: an index that sled has let grow to a multiple of what it holds is copied into its next generation.

use std::{fs, sync::atomic::Ordering};

use crate::ledger::{
    file::Reader,
    views::{
        Index, IndexError,
        indexed::Indexed,
        keys::{self, Kind},
        store::{GONE, Store, path, remove},
        values,
    },
};
use hallpass_core::base::sync::{MutexExt as _, RwLockExt as _};

impl<E: Indexed> Index<E> {
    /// Gives back what sled has freed, when that is a multiple of what the index holds. `journal` has the records
    /// that come while it is copied. Blocks on the disk, and the records that are applied meanwhile only at its end.
    ///
    /// The copy takes room beside what is there: `has_room` is asked for so many bytes. Without room, or after a
    /// failure, it is tried again when more was forgotten, or ten thousand records later; until then it does nothing.
    ///
    /// # Errors
    ///
    /// When the index is behind or fails, or the journal cannot be read; the index then stays as it was.
    pub fn compact(
        &self,
        journal: &Reader<E>,
        has_room: &dyn Fn(u64) -> bool,
    ) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.locked();
        let applied = self.applied().sequence;
        if applied < self.compact_from.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.compact_from
            .store(applied.saturating_add(TRIED_AGAIN_AFTER), Ordering::SeqCst);
        let old = self.store.read_locked().clone();
        match old.bloated()? {
            // A copy that took more would be as bloated.
            Some(live) if !has_room(live.saturating_mul(BLOATED)) => return Ok(()),
            Some(_) => self.copy_over(old, journal)?,
            None => {}
        }
        self.compact_from.store(u64::MAX, Ordering::SeqCst);
        Ok(())
    }

    /// The entries of records before `first` are removed now: it may be worth compacting.
    pub(super) fn keep_from(&self, first: u64) {
        self.kept_from.fetch_max(first, Ordering::SeqCst);
        self.compact_from.store(0, Ordering::SeqCst);
    }

    fn copy_over(&self, old: Store, journal: &Reader<E>) -> Result<(), IndexError> {
        let generation = old.generation.saturating_add(1);
        let (before, next) = (path(&self.dir, old.generation), path(&self.dir, generation));
        let compacted = remove(&next).and_then(|()| self.replace(&old, generation, journal));
        drop(old);
        // What cannot be removed now goes at the next start, or before the next copy.
        let left_over = if compacted.is_ok() {
            before.with_extension(GONE)
        } else {
            next
        };
        if let Err(error) = remove(&left_over) {
            tracing::warn!(%error, "what is left over of another generation of the index stays until the next start");
        }
        compacted
    }

    fn replace(&self, old: &Store, generation: u32, journal: &Reader<E>) -> Result<(), IndexError> {
        // What is sealed from here on may be copied or not; it is applied to the copy in any case.
        let sealed = old.sealed().map_err(|_| IndexError::Damaged)?;
        let next = Store::at(&self.dir, generation)?;
        old.copy_into(&next)?;
        next.db.insert(keys::SEALED, values::head(sealed))?;
        next.db.insert(keys::APPLIED, values::head(sealed))?;
        let copy = Self::over(next.clone(), sealed, &self.dir);
        copy.catch_up(journal, self.applied())?;
        // A process that is killed from here on leaves a copy that says how far it goes.
        next.db.flush()?;
        // While the lock is held nothing is applied, so little is left for then.
        copy.catch_up(journal, self.applied())?;
        let held = self.applied.locked();
        copy.catch_up(journal, held.head)?;
        // Before the copy counts here, so that it counts at the next start too; and at once, since half of a
        // generation must never count.
        let path = path(&self.dir, old.generation);
        fs::rename(&path, path.with_extension(GONE))
            .map_err(|source| IndexError::MoveAside { path, source })?;
        *self.store.write_locked() = next;
        Ok(())
    }
}

impl Store {
    /// The bytes that it holds, when it has grown to a multiple of them.
    fn bloated(&self) -> Result<Option<u64>, IndexError> {
        let on_disk = self.db.size_on_disk()?;
        if on_disk <= SMALL_BYTES {
            return Ok(None);
        }
        let mut live: u64 = 0;
        for pair in self.db.iter() {
            let (key, value) = pair?;
            live = live.saturating_add(
                u64::try_from(key.len().saturating_add(value.len())).unwrap_or(u64::MAX),
            );
        }
        Ok((on_disk > live.saturating_mul(BLOATED)).then_some(live))
    }

    /// Copies everything into `next`, in order, but for how far it goes.
    fn copy_into(&self, next: &Self) -> Result<(), IndexError> {
        let (mut batch, mut count) = (sled::Batch::default(), 0_usize);
        for pair in self.db.iter() {
            let (key, value) = pair?;
            if matches!(keys::kind(&key, &value), Some(Kind::Index)) {
                continue;
            }
            batch.insert(key, value);
            count = count.saturating_add(1);
            if count.is_multiple_of(COPIED_AT_ONCE) {
                next.db.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        next.db.apply_batch(batch)?;
        Ok(())
    }
}

/// An index of this size is not worth looking at.
const SMALL_BYTES: u64 = if cfg!(test) { 1 } else { 16 * 1024 * 1024 };

/// On the disk so many times what it holds: it is copied.
const BLOATED: u64 = 2;

/// Compacting that failed, or had no room, is tried again after so many records. An index that does not grow does
/// not need it.
const TRIED_AGAIN_AFTER: u64 = if cfg!(test) { 10 } else { 10_000 };

const COPIED_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        domain::event::{Entry, LedgerEvent, TaskRecord},
        ledger::{
            file::{Journal, Options},
            views::{
                Pair,
                fixture::{entry_of, followed},
                store::generations,
            },
        },
    };
    use hallpass_core::base::time::Timestamp;

    fn opened(number: usize) -> Entry {
        let at = Timestamp::from_unix_seconds(1_795_000_000);
        let task = TaskRecord {
            task: format!("tsk_{number:032x}").parse().unwrap(),
            agent: "invoice-bot".parse().unwrap(),
            steward: format!("stw_{:032x}", 2).parse().unwrap(),
            answered_for_by: None,
            purpose: "pay".to_owned(),
            opened_at: at,
            ends_at: at,
            context: [].into(),
            asked: Vec::new(),
            fixed_rights: false,
            allow_partial: false,
            holder: None,
            client_secret: None,
            parent: None,
            verified: None,
            consented: false,
        };
        entry_of(LedgerEvent::TaskOpened { task })
    }

    /// Whether `after` has everything of `before`, to whose last chunk more may have come.
    fn holds_all(after: &[Pair], before: &[Pair]) -> bool {
        let found = |key: &Vec<u8>| {
            after
                .binary_search_by_key(&key, |(key, _)| key)
                .ok()
                .map(|at| &after[at].1)
        };
        let mut before = before.iter().filter(|(key, _)| !key.starts_with(b"!"));
        before.all(|(key, value)| found(key).is_some_and(|found| found.starts_with(value)))
    }

    fn generations_in(dir: &Path) -> Vec<u32> {
        generations(&dir.join(super::super::DIRECTORY)).unwrap()
    }

    #[test]
    fn a_copy_holds_the_same_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, index, reader) = followed(dir.path());
        let append = |numbers: std::ops::Range<usize>| {
            for first in numbers.step_by(10) {
                journal
                    .append_blocking((first..first + 10).map(opened).collect())
                    .unwrap();
            }
        };
        append(0..2500);
        let before = index.dump().unwrap();
        let old = index.store.read().unwrap().clone();
        std::thread::scope(|scope| {
            scope.spawn(|| append(2500..3000));
            index.copy_over(old, &reader).unwrap();
        });
        append(3000..3010);
        assert_eq!(generations_in(dir.path()), [2]);
        // What a kill would leave of it now knows how far it goes.
        let killed = tempfile::tempdir().unwrap();
        fs::create_dir(killed.path().join("2")).unwrap();
        for file in fs::read_dir(dir.path().join(super::super::DIRECTORY).join("2"))
            .unwrap()
            .map(Result::unwrap)
        {
            if file.path().is_file() {
                fs::copy(file.path(), killed.path().join("2").join(file.file_name())).unwrap();
            }
        }
        assert!(
            Store::open(killed.path())
                .unwrap()
                .applied()
                .unwrap()
                .sequence
                >= 2500
        );
        append(3010..3020);
        let after = index.dump().unwrap();
        assert!(holds_all(&after, &before));
        drop(index);
        drop(journal);
        let kept = dir.path().join("kept");
        fs::rename(dir.path().join(super::super::DIRECTORY), &kept).unwrap();
        let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
        let (anew, _) = Index::open(dir.path(), &recovered.reader()).unwrap();
        assert_eq!(anew.dump().unwrap(), after);
    }

    #[test]
    fn a_copy_without_room_or_that_failed_changes_nothing_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, index, reader) = followed(dir.path());
        journal
            .append_blocking((0..40).map(opened).collect())
            .unwrap();
        let files = dir.path().join(super::super::DIRECTORY);
        let there = || {
            let names = fs::read_dir(&files)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        // sled keeps what it frees.
        let bloat = || {
            let db = index.db();
            for byte in 0..64 {
                db.insert("junk", vec![byte; 64 * 1024]).unwrap();
                db.flush().unwrap();
            }
            db.remove("junk").unwrap();
            db.flush().unwrap();
        };
        bloat();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();

        let asked = std::cell::Cell::new(0);
        let no_room = |bytes| {
            asked.set(asked.get() + 1);
            assert!(bytes > 100, "{bytes}");
            false
        };
        index.compact(&reader, &no_room).unwrap();
        index
            .compact(&reader, &|_| panic!("tried again at once"))
            .unwrap();
        assert_eq!((asked.get(), there()), (1, names(&["1"])));

        // The old generation cannot be moved away. What an earlier copy left does not count.
        fs::create_dir_all(files.join("1.gone/full")).unwrap();
        drop(
            Store::at(&files, 2)
                .unwrap()
                .db
                .insert("stray", "x")
                .unwrap(),
        );
        index.keep_from(1);
        let failed = index.compact(&reader, &|_| true).unwrap_err();
        assert!(matches!(failed, IndexError::MoveAside { .. }), "{failed}");
        assert_eq!(there(), names(&["1", "1.gone"]));
        fs::remove_dir_all(files.join("1.gone")).unwrap();
        journal
            .append_blocking((40..45).map(opened).collect())
            .unwrap();
        index
            .compact(&reader, &|_| panic!("tried again at once"))
            .unwrap();
        let before = index.dump().unwrap();

        journal
            .append_blocking((45..50).map(opened).collect())
            .unwrap();
        index.compact(&reader, &|_| true).unwrap();
        assert_eq!(there(), names(&["2"]));
        let after = index.dump().unwrap();
        assert!(holds_all(&after, &before));
        assert!(after.iter().all(|(key, _)| key != b"stray"));
        // Nothing was forgotten since.
        index
            .compact(&reader, &|_| panic!("tried again at once"))
            .unwrap();
    }
}
