//! Where sled keeps the index: in a directory of its own for each generation.
//!
//! sled 0.34 does not give back what it frees. So an index that has grown to a multiple of what it holds is copied
//! into the next generation, and the one before is removed. At a start the lowest generation counts: a higher one
//! beside it is a copy that was not finished.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ledger::{
    record::Head,
    views::{IndexError, Trouble, keys, values},
};

/// One generation.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: sled::Db,
    pub(super) generation: u32,
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

    pub(super) fn at(dir: &Path, generation: u32) -> Result<Self, sled::Error> {
        let config = sled::Config::new()
            .path(path(dir, generation))
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        Ok(Self {
            db: config.open()?,
            generation,
        })
    }

    /// The last record that was applied to it; genesis when it is empty.
    pub(super) fn applied(&self) -> Result<Head, Trouble> {
        match self.head(keys::APPLIED)? {
            None if !self.db.is_empty() => Err(Trouble::Unreadable(
                "it does not say how far it goes".to_owned(),
            )),
            head => Ok(head.unwrap_or(Head::GENESIS)),
        }
    }

    /// The last record of the last chunk in it; genesis when there is none.
    pub(super) fn sealed(&self) -> Result<Head, Trouble> {
        Ok(self.head(keys::SEALED)?.unwrap_or(Head::GENESIS))
    }

    fn head(&self, key: &[u8]) -> Result<Option<Head>, Trouble> {
        let unreadable = |what: &str| Trouble::Unreadable(what.to_owned());
        let value = self
            .db
            .get(key)
            .map_err(|error| unreadable(&error.to_string()))?;
        value
            .map(|value| values::read_head(&value).ok_or_else(|| unreadable("it has another form")))
            .transpose()
    }
}

pub(super) fn path(dir: &Path, generation: u32) -> PathBuf {
    dir.join(generation.to_string())
}

/// Removes the directory, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), IndexError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IndexError::MoveAside {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The generations that have a directory in `dir`; none when there is no such directory.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == GONE)
        {
            fs::remove_dir_all(entry.path())?;
            continue;
        }
        let name = entry.file_name();
        match name.to_str().and_then(|name| name.parse().ok()) {
            Some(generation) => found.push(generation),
            None => {
                return Err(io::Error::other(format!(
                    "it holds `{}`, which is none of its files",
                    name.display()
                )));
            }
        }
    }
    Ok(found)
}

/// What sled may cache of one generation, in bytes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// What the directory of a generation ends in that is being removed.
pub(super) const GONE: &str = "gone";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::file::{Journal, Options};
    use crate::ledger::views::Index;

    #[test]
    fn a_copy_that_was_not_finished_is_removed_and_the_one_before_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
        drop(Index::open(dir.path(), &recovered.reader()).unwrap());
        let files = dir.path().join(super::super::DIRECTORY);
        drop(Store::at(&files, 2).unwrap());
        assert_eq!(generations(&files).unwrap().len(), 2);
        let (_, recovery) = Index::open(dir.path(), &recovered.reader()).unwrap();
        assert_eq!(recovery.rebuilt, None);
        assert_eq!(generations(&files).unwrap(), [1]);
    }
}
