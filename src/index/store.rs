//! Where sled keeps the index: in a directory of its own for each generation.
//!
//! sled 0.34 does not give back what it frees. So an index that has grown to a multiple of what it holds is copied
//! into the next generation, and the one before is removed. At a start the lowest generation counts: a higher one
//! beside it is a copy that was not finished.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

use super::{
    CACHE_BYTES, Failure, Index, IndexError, Trouble,
    keys::{self, Kind},
};
use crate::journal::{Head, Reader};

/// One generation.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: sled::Db,
    generation: u32,
}

impl Store {
    /// Opens the generation in `dir` that counts, or the first; removes what a copy left that was not finished.
    pub(super) fn open(dir: &Path) -> Result<Self, Trouble> {
        let unreadable = |error: io::Error| Trouble::Unreadable(error.to_string());
        let mut found = generations(dir).map_err(unreadable)?;
        found.sort_unstable();
        let mut found = found.into_iter();
        let generation = found.next().unwrap_or(1);
        for unfinished in found {
            fs::remove_dir_all(path(dir, unfinished)).map_err(unreadable)?;
        }
        Self::at(dir, generation).map_err(|error| Trouble::Unreadable(error.to_string()))
    }

    fn at(dir: &Path, generation: u32) -> Result<Self, sled::Error> {
        let config = sled::Config::new().path(path(dir, generation)).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        Ok(Self { db: config.open()?, generation })
    }

    /// The last record that was applied to it; genesis when it is empty.
    pub(super) fn applied(&self) -> Result<Head, Trouble> {
        let unreadable = |what: &str| Trouble::Unreadable(what.to_owned());
        match self.db.get(keys::APPLIED).map_err(|error| Trouble::Unreadable(error.to_string()))? {
            Some(value) => keys::read_head(&value).ok_or_else(|| unreadable("it has another form")),
            None if self.db.is_empty() => Ok(Head::GENESIS),
            None => Err(unreadable("it does not say how far it goes")),
        }
    }

    /// Whether it has grown to a multiple of what it holds.
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

impl Index {
    /// The generation that counts now. Whoever holds on to it reads it to the end, even when it was replaced.
    pub(super) fn db(&self) -> sled::Db {
        self.store.read().unwrap_or_else(PoisonError::into_inner).db.clone()
    }

    /// Gives back what sled has freed, when that is a multiple of what the index holds. `journal` tells of the records
    /// that come while it is copied. Blocks on the disk, and the records that are applied meanwhile only at its end.
    ///
    /// # Errors
    ///
    /// When the index is behind or fails, or the journal cannot be read; the index then stays as it was.
    pub fn compact(&self, journal: &Reader) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        if old.bloated()?.is_none() { Ok(()) } else { self.copy_over(old, journal) }
    }

    fn copy_over(&self, old: Store, journal: &Reader) -> Result<(), IndexError> {
        let generation = old.generation.saturating_add(1);
        let compacted = self.replace(&old, generation, journal);
        let left_over = if compacted.is_ok() { old.generation } else { generation };
        drop(old);
        let path = path(&self.dir, left_over);
        // At once: half of a generation must never count.
        let gone = path.with_extension(GONE);
        let removed = fs::rename(&path, &gone).and_then(|()| fs::remove_dir_all(&gone));
        compacted.and(removed.map_err(|source| IndexError::MoveAside { path, source }))
    }

    fn replace(&self, old: &Store, generation: u32, journal: &Reader) -> Result<(), IndexError> {
        // What is applied from here on may be copied or not; it is applied to the copy in any case.
        let applied = self.applied();
        let next = Store::at(&self.dir, generation)?;
        old.copy_into(&next)?;
        next.db.insert(keys::APPLIED, keys::head(applied))?;
        let copy = Self::over(next.clone(), applied, &self.dir);
        copy.follow(journal, self.applied())?;
        let held = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        copy.follow(journal, *held)?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Applies the records up to `head`.
    fn follow(&self, journal: &Reader, head: Head) -> Result<(), IndexError> {
        let applied = self.applied();
        let place = self.place(applied.sequence)?.ok_or(IndexError::Damaged)?;
        let last = journal.read_at(applied.sequence, place)?;
        match self.catch_up(journal, Some(&last), head) {
            Ok(_) => Ok(()),
            Err(Failure::Journal(error)) => Err(error),
            Err(Failure::Index(_)) => Err(IndexError::Damaged),
        }
    }

    /// The index in `store`, to which everything up to `applied` was applied.
    pub(super) fn over(store: Store, applied: Head, dir: &Path) -> Self {
        Self {
            store: RwLock::new(store),
            dir: dir.to_owned(),
            applied: Mutex::new(applied),
            moved: Condvar::new(),
            announced: AtomicU64::new(0),
            pruning: Mutex::new(()),
            broken: AtomicBool::new(false),
        }
    }
}

fn path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(generation.to_string())
}

/// The generations that have a directory in `dir`; none when there is no such directory.
fn generations(dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == GONE) {
            fs::remove_dir_all(entry.path())?;
            continue;
        }
        let name = entry.file_name();
        match name.to_str().and_then(|name| name.parse().ok()) {
            Some(generation) => found.push(generation),
            None => return Err(io::Error::other(format!("it holds `{}`, which is none of its files", name.display()))),
        }
    }
    Ok(found)
}

/// What the directory of a generation ends in that is being removed.
const GONE: &str = "gone";

/// An index of this size is not worth looking at.
const SMALL_BYTES: u64 = 32 * 1024 * 1024;

/// On the disk so many times what it holds: it is built anew.
const BLOATED: u64 = 3;

const COPIED_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::time::Timestamp,
        journal::{Actor, Entry, Event, Journal, Options, event::TaskRecord},
    };

    fn opened(number: usize) -> Entry {
        let at = Timestamp::from_unix_seconds(1_795_000_000);
        let task = TaskRecord {
            task: format!("tsk_{number:032x}").parse().unwrap(),
            agent: "invoice-bot".parse().unwrap(),
            steward: format!("stw_{:032x}", 2).parse().unwrap(),
            purpose: "pay".to_owned(),
            opened_at: at,
            ends_at: at,
            context: [].into(),
            asked: Vec::new(),
            allow_partial: false,
            holder: None,
            client_secret: None,
            parent: None,
            verified: None,
            consented: false,
        };
        let event = Event::TaskOpened { task };
        Entry { at, actor: Actor::Broker, request: None, trace: None, idempotency: None, event }
    }

    fn generations_in(dir: &Path) -> Vec<u32> {
        generations(&dir.join(super::super::DIRECTORY)).unwrap()
    }

    #[test]
    fn a_copy_holds_the_same_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, _) = Journal::open(dir.path(), Options::default(), |_| {}).unwrap();
        let reader = recovered.reader();
        let (index, _) = Index::open(dir.path(), &reader).unwrap();
        let index = std::sync::Arc::new(index);
        let applied_to = std::sync::Arc::clone(&index);
        let journal = recovered.start(Box::new(move |records| applied_to.apply(records).unwrap())).unwrap();
        let append = |numbers: std::ops::Range<usize>| {
            for first in numbers.step_by(10) {
                journal.append_blocking((first..first + 10).map(opened).collect()).unwrap();
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
        let after = index.dump().unwrap();
        assert!(before.iter().filter(|(key, _)| key != keys::APPLIED).all(|pair| after.binary_search(pair).is_ok()));
        drop(index);
        drop(journal);
        let kept = dir.path().join("kept");
        fs::rename(dir.path().join(super::super::DIRECTORY), &kept).unwrap();
        let (recovered, _) = Journal::open(dir.path(), Options::default(), |_| {}).unwrap();
        let (anew, _) = Index::open(dir.path(), &recovered.reader()).unwrap();
        assert_eq!(anew.dump().unwrap(), after);
    }

    #[test]
    fn a_copy_that_was_not_finished_is_removed_and_the_one_before_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, _) = Journal::open(dir.path(), Options::default(), |_| {}).unwrap();
        drop(Index::open(dir.path(), &recovered.reader()).unwrap());
        drop(Store::at(&dir.path().join(super::super::DIRECTORY), 2).unwrap());
        assert_eq!(generations_in(dir.path()).len(), 2);
        let (_, recovery) = Index::open(dir.path(), &recovered.reader()).unwrap();
        assert_eq!(recovery.rebuilt, None);
        assert_eq!(generations_in(dir.path()), [1]);
    }
}
