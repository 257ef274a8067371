//! Opening the index: brings it up to the journal's head, or moves it aside and builds it anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::ledger::{
    file::{ReadError, Reader},
    record::{Head, Record},
    views::{
        IndexError, Trouble,
        index::{Applied, Index, catch_panic},
        indexed::Indexed,
        postings::Carried,
        store::Store,
    },
};
use hallpass_core::base::sync::MutexExt as _;

/// The index's directory inside the data directory.
pub const DIRECTORY: &str = "index";

/// What opening the index found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// How many records of the journal it did not know.
    pub caught_up: u64,
    /// Why it was built anew, and where the old directory is kept.
    pub rebuilt: Option<(Trouble, PathBuf)>,
}

impl Recovery {
    /// What the journal should say about it; nothing when the index was sound.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let words = |(trouble, kept): &(Trouble, PathBuf)| {
            let kept = kept.is_dir().then(|| {
                format!(
                    "; kept as {}",
                    kept.file_name().unwrap_or_default().display()
                )
            });
            format!("rebuilt the index, {trouble}{}", kept.unwrap_or_default())
        };
        self.rebuilt.iter().map(words).collect()
    }
}

impl<E: Indexed> Index<E> {
    /// Opens the index in `data_dir` and brings it up to `journal`'s head; builds it anew when it
    /// is missing, unreadable or of another history. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read or was cut, or when not even an empty index can be opened.
    pub fn open(data_dir: &Path, journal: &Reader<E>) -> Result<(Self, Recovery), IndexError> {
        Self::open_with(data_dir, journal, &Vec::new)
    }

    /// [`open`](Self::open) for a journal whose older segments may be gone: `carried` are the tasks that live on,
    /// which an index that is built anew could not know from the records that are left.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        data_dir: &Path,
        journal: &Reader<E>,
        carried: &dyn Fn() -> Vec<Carried>,
    ) -> Result<(Self, Recovery), IndexError> {
        let dir = data_dir.join(DIRECTORY);
        let trouble = match Self::open_current(&dir, journal, carried) {
            Ok((index, caught_up)) => {
                return Ok((
                    index,
                    Recovery {
                        caught_up,
                        rebuilt: None,
                    },
                ));
            }
            Err(Failure::Journal(error)) => return Err(error),
            Err(Failure::Index(trouble)) => trouble,
        };
        let kept = move_aside(data_dir, &dir)?;
        match Self::open_current(&dir, journal, carried) {
            Ok((index, caught_up)) => Ok((
                index,
                Recovery {
                    caught_up,
                    rebuilt: Some((trouble, kept)),
                },
            )),
            Err(Failure::Journal(error)) => Err(error),
            Err(Failure::Index(trouble)) => Err(IndexError::Unusable(trouble)),
        }
    }

    /// Opens what is in `dir` and brings it up to date; returns how many records it did not know.
    fn open_current(
        dir: &Path,
        journal: &Reader<E>,
        carried: &dyn Fn() -> Vec<Carried>,
    ) -> Result<(Self, u64), Failure> {
        let open = || {
            let (index, known) = Self::open_sound(dir, journal)?;
            let before = journal.first().saturating_sub(1);
            if known == Head::GENESIS && before > 0 {
                index.carry(&carried())?;
            }
            index.catch_up(journal, journal.head())?;
            Ok((
                index,
                journal
                    .head()
                    .sequence
                    .saturating_sub(known.sequence.max(before)),
            ))
        };
        catch_panic(open)
            .unwrap_or_else(|| Err(Trouble::Unreadable("reading it panicked".to_owned()).into()))
    }

    /// Opens what is in `dir` and compares it with the journal; returns the last record that it knew.
    fn open_sound(dir: &Path, journal: &Reader<E>) -> Result<(Self, Head), Failure> {
        let store = Store::open(dir)?;
        let (sealed, known) = (store.sealed()?, store.applied()?);
        let index = Self::over(store, sealed, dir);
        let head = journal.head();
        if known.sequence > head.sequence {
            // SECURITY: what is missing was answered; an index that is built anew would forget that it was.
            return Err(Failure::Journal(IndexError::Ahead {
                applied: known,
                head,
                path: dir.to_owned(),
            }));
        }
        let first = journal.first();
        index.keep_from(first);
        // What a crash kept of an index ends with what it sealed. What follows on that is read from the journal.
        let has_outrun = if sealed == Head::GENESIS {
            known.sequence < first
        } else {
            sealed.sequence.saturating_add(1) < first
        };
        if known != Head::GENESIS && has_outrun {
            return Err(Trouble::Outrun {
                applied: known,
                first,
            }
            .into());
        }
        // Of its own records the last that it sealed and the last that it knew are compared.
        if sealed.sequence >= first {
            let place = index.reading().located(sealed.sequence)?;
            let (place, _) = place.ok_or_else(|| {
                Trouble::Unreadable("it does not know its last record".to_owned())
            })?;
            if !journal
                .read_at(sealed.sequence, place)
                .is_ok_and(|record| record.head() == sealed)
            {
                return Err(Trouble::OtherHistory { applied: sealed }.into());
            }
        }
        if known.sequence > sealed.sequence {
            let records = index.records_after(journal, sealed)?;
            let mut records = records
                .skip_while(|record| record.as_ref().is_ok_and(|r| r.sequence < known.sequence));
            let found = records.next().transpose().map_err(IndexError::Journal)?;
            if found.is_none_or(|record| record.head() != known) {
                return Err(Trouble::OtherHistory { applied: known }.into());
            }
        }
        Ok((index, known))
    }

    /// Applies what follows in the journal, up to `head`.
    pub(super) fn catch_up(&self, journal: &Reader<E>, head: Head) -> Result<(), IndexError> {
        let applied = self.applied();
        if applied.sequence >= head.sequence {
            return Ok(());
        }
        let mut batch: Vec<Record<E>> = Vec::new();
        for record in self.records_after(journal, applied)? {
            let record = record?;
            if record.sequence > head.sequence {
                break;
            }
            if batch.is_empty() && self.applied().sequence == 0 {
                self.begin_after(Head {
                    sequence: record.sequence.saturating_sub(1),
                    hash: record.prev,
                });
            }
            batch.push(record);
            if batch.len() >= CATCH_UP_RECORDS {
                self.apply(&batch)?;
                batch.clear();
            }
        }
        self.apply(&batch)
    }

    /// The journal begins after `head`.
    fn begin_after(&self, head: Head) {
        *self.applied.locked() = Applied::nothing_since(head);
    }

    /// The records of the journal that follow on `head`; from its first on when that is not known.
    fn records_after(
        &self,
        journal: &Reader<E>,
        head: Head,
    ) -> Result<impl Iterator<Item = Result<Record<E>, ReadError>> + use<E>, IndexError> {
        let known = if head.sequence >= journal.first() {
            self.reading().located(head.sequence)?
        } else {
            None
        };
        let records = journal.read_from(head.sequence.max(1), known.map(|(place, _)| place))?;
        Ok(records.skip_while(move |record| {
            record
                .as_ref()
                .is_ok_and(|record| record.sequence <= head.sequence)
        }))
    }
}

/// Which of the two is at fault.
enum Failure {
    Journal(IndexError),
    Index(Trouble),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Index(trouble)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        match error {
            error @ IndexError::Journal(_) => Self::Journal(error),
            other => Self::Index(Trouble::Unreadable(other.to_string())),
        }
    }
}

fn move_aside(data_dir: &Path, dir: &Path) -> Result<PathBuf, IndexError> {
    let failed = |source| IndexError::MoveAside {
        path: dir.to_owned(),
        source,
    };
    let kept = (1..u32::MAX)
        .map(|n| data_dir.join(format!("{DIRECTORY}.broken-{n}")))
        .find(|path| !path.exists());
    let kept = kept.ok_or_else(|| failed(std::io::ErrorKind::AlreadyExists.into()))?;
    fs::rename(dir, &kept).map_err(failed)?;
    Ok(kept)
}

const CATCH_UP_RECORDS: usize = 1000;
