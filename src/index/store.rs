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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    CACHE_BYTES, Index, IndexError, Trouble,
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

    /// The bytes that it holds, when it has grown to a multiple of them.
    fn bloated(&self) -> Result<Option<u64>, IndexError> {
        let on_disk = self.db.size_on_disk()?;
        if on_disk <= SMALL_BYTES {
            return Ok(None);
        }
        let mut live: u64 = 0;
        for pair in self.db.iter() {
            let (key, value) = pair?;
            live = live.saturating_add(u64::try_from(key.len().saturating_add(value.len())).unwrap_or(u64::MAX));
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

impl Index {
    /// The generation that counts now. Whoever holds on to it reads it to the end, even when it was replaced.
    pub(super) fn db(&self) -> sled::Db {
        self.store.read().unwrap_or_else(PoisonError::into_inner).db.clone()
    }

    /// Gives back what sled has freed, when that is a multiple of what the index holds. `journal` tells of the records
    /// that come while it is copied. Blocks on the disk, and the records that are applied meanwhile only at its end.
    ///
    /// The copy takes room beside what is there: `has_room` is asked for so many bytes. Without room, or after a
    /// failure, it is tried again when more was forgotten, or ten thousand records later; until then it does nothing.
    ///
    /// # Errors
    ///
    /// When the index is behind or fails, or the journal cannot be read; the index then stays as it was.
    pub fn compact(&self, journal: &Reader, has_room: &dyn Fn(u64) -> bool) -> Result<(), IndexError> {
        self.whole()?;
        let _turn = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = self.applied().sequence;
        if applied < self.compact_from.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.compact_from.store(applied.saturating_add(TRIED_AGAIN_AFTER), Ordering::SeqCst);
        let old = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        match old.bloated()? {
            // A copy that took more would be as bloated.
            Some(live) if !has_room(live.saturating_mul(BLOATED)) => return Ok(()),
            Some(_) => self.copy_over(old, journal)?,
            None => {}
        }
        self.compact_from.store(u64::MAX, Ordering::SeqCst);
        Ok(())
    }

    /// What tells of records before `first` is removed now: it may be worth compacting.
    pub(super) fn keep_from(&self, first: u64) {
        self.kept_from.fetch_max(first, Ordering::SeqCst);
        self.compact_from.store(0, Ordering::SeqCst);
    }

    fn copy_over(&self, old: Store, journal: &Reader) -> Result<(), IndexError> {
        let generation = old.generation.saturating_add(1);
        let (before, next) = (path(&self.dir, old.generation), path(&self.dir, generation));
        let compacted = remove(&next).and_then(|()| self.replace(&old, generation, journal));
        drop(old);
        // What cannot be removed now goes at the next start, or before the next copy.
        let left_over = if compacted.is_ok() { before.with_extension(GONE) } else { next };
        if let Err(error) = remove(&left_over) {
            tracing::warn!(%error, "what is left over of another generation of the index stays until the next start");
        }
        compacted
    }

    fn replace(&self, old: &Store, generation: u32, journal: &Reader) -> Result<(), IndexError> {
        // What is applied from here on may be copied or not; it is applied to the copy in any case.
        let applied = self.applied();
        let next = Store::at(&self.dir, generation)?;
        old.copy_into(&next)?;
        next.db.insert(keys::APPLIED, keys::head(applied))?;
        let copy = Self::over(next.clone(), applied, &self.dir);
        copy.follow(journal, self.applied())?;
        // A process that is killed from here on leaves a copy that says how far it goes.
        next.db.flush()?;
        let held = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        copy.follow(journal, *held)?;
        // Before the copy counts here, so that it counts at the next start too; and at once, since half of a
        // generation must never count.
        let path = path(&self.dir, old.generation);
        fs::rename(&path, path.with_extension(GONE)).map_err(|source| IndexError::MoveAside { path, source })?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Applies the records up to `head`.
    fn follow(&self, journal: &Reader, head: Head) -> Result<(), IndexError> {
        let applied = self.applied();
        let place = self.place(applied.sequence)?.ok_or(IndexError::Damaged)?;
        let last = journal.read_at(applied.sequence, place)?;
        self.catch_up(journal, Some(&last), head)?;
        Ok(())
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
            compact_from: AtomicU64::new(0),
            kept_from: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }
}

fn path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(generation.to_string())
}

/// Removes the directory, if it is there.
fn remove(path: &Path) -> Result<(), IndexError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IndexError::MoveAside { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
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
const SMALL_BYTES: u64 = if cfg!(test) { 1 } else { 32 * 1024 * 1024 };

/// On the disk so many times what it holds: it is copied.
const BLOATED: u64 = 2;

/// Compacting that failed, or had no room, is tried again after so many records. An index that does not grow does
/// not need it.
const TRIED_AGAIN_AFTER: u64 = if cfg!(test) { 10 } else { 10_000 };

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
            answered_for_by: None,
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
        // What a kill would leave of it now knows how far it goes.
        let killed = tempfile::tempdir().unwrap();
        fs::create_dir(killed.path().join("2")).unwrap();
        for file in fs::read_dir(dir.path().join(super::super::DIRECTORY).join("2")).unwrap().map(Result::unwrap) {
            if file.path().is_file() {
                fs::copy(file.path(), killed.path().join("2").join(file.file_name())).unwrap();
            }
        }
        assert!(Store::open(killed.path()).unwrap().applied().unwrap().sequence >= 2500);
        append(3010..3020);
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
    fn a_copy_without_room_or_that_failed_changes_nothing_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, _) = Journal::open(dir.path(), Options::default(), |_| {}).unwrap();
        let reader = recovered.reader();
        let (index, _) = Index::open(dir.path(), &reader).unwrap();
        let index = std::sync::Arc::new(index);
        let applied_to = std::sync::Arc::clone(&index);
        let journal = recovered.start(Box::new(move |records| applied_to.apply(records).unwrap())).unwrap();
        journal.append_blocking((0..10).map(opened).collect()).unwrap();
        let files = dir.path().join(super::super::DIRECTORY);
        let there = || {
            let names = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
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
        index.compact(&reader, &|_| panic!("tried again at once")).unwrap();
        assert_eq!((asked.get(), there()), (1, names(&["1"])));

        // The old generation cannot be moved away. What an earlier copy left does not count.
        fs::create_dir_all(files.join("1.gone/full")).unwrap();
        drop(Store::at(&files, 2).unwrap().db.insert("stray", "x").unwrap());
        index.keep_from(1);
        let failed = index.compact(&reader, &|_| true).unwrap_err();
        assert!(matches!(failed, IndexError::MoveAside { .. }), "{failed}");
        assert_eq!(there(), names(&["1", "1.gone"]));
        fs::remove_dir_all(files.join("1.gone")).unwrap();
        journal.append_blocking((10..15).map(opened).collect()).unwrap();
        index.compact(&reader, &|_| panic!("tried again at once")).unwrap();
        let before = index.dump().unwrap();

        journal.append_blocking((15..20).map(opened).collect()).unwrap();
        index.compact(&reader, &|_| true).unwrap();
        assert_eq!(there(), names(&["2"]));
        let after = index.dump().unwrap();
        assert!(before.iter().filter(|(key, _)| key != keys::APPLIED).all(|pair| after.binary_search(pair).is_ok()));
        assert!(after.iter().all(|(key, _)| key != b"stray"));
        // Nothing was forgotten since.
        index.compact(&reader, &|_| panic!("tried again at once")).unwrap();
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
