//! Making a backup.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    DECISIONS_DIRECTORY,
    backup::{
        BackupError, BackupFile, BackupManifest, Extent, Progress,
        manifest::{CONFIGURATION, DATA, FORMAT, MANIFEST},
        progress::Meter,
        small::{self, SmallFiles},
    },
    domain::{event::KeyPurpose, state::snapshot::StateAlone},
    keys::{files::KEY_ENDING, keyring::key_name, protection::is_sealed},
    ledger::{
        audit::{self, Claims, FileState},
        file::{
            DIRECTORY, Journal, JournalCopy, LOCK_FILE, Options as JournalOptions, segments_of,
        },
    },
};
use hallpass_core::base::{
    error::chain,
    ids::IssuerUri,
    private_file::{self, IfExists},
    time::Clock,
};

/// What is backed up.
#[derive(Debug, Clone)]
pub struct BackupSource {
    /// The data directory; a broker may be running on it.
    pub data_dir: PathBuf,
    /// The policy directory.
    pub policy_dir: PathBuf,
    /// The configuration file, if there is one.
    pub configuration: Option<PathBuf>,
    /// The configured issuer, for a journal that does not name one.
    pub issuer: Option<IssuerUri>,
}

impl BackupSource {
    /// How many bytes the chains of records have, as far as that can be read.
    fn chain_bytes(&self) -> u64 {
        [
            self.data_dir.clone(),
            self.data_dir.join(DECISIONS_DIRECTORY),
        ]
        .iter()
        .flat_map(|directory| segments_of(&directory.join(DIRECTORY)).unwrap_or_default())
        .filter_map(|(_, path)| Some(fs::metadata(path).ok()?.len()))
        .fold(0, u64::saturating_add)
    }
}

/// A backup that was made.
#[derive(Debug)]
pub struct BackedUp {
    /// What it holds.
    pub manifest: BackupManifest,
    /// What is odd about it, in words.
    pub warnings: Vec<String>,
}

/// Makes a backup in the directory `to`, which must not exist or be empty.
///
/// Files have mode 0600, directories 0700, and all is durable when this returns. Blocks on the disk for as long as a
/// start takes, and as copying does; `report` is called meanwhile.
///
/// # Errors
///
/// See [`BackupError`]. The copy is opened as a start would open it: a journal that is not sound makes no backup.
pub fn back_up(
    source: &BackupSource,
    to: &Path,
    clock: &dyn Clock,
    report: &dyn Fn(Progress),
) -> Result<BackedUp, BackupError> {
    if !source.data_dir.join(DIRECTORY).is_dir() {
        return Err(BackupError::NoJournal(source.data_dir.clone()));
    }
    // Each byte is copied, and then read again for its hash.
    let meter = Meter::new(source.chain_bytes().saturating_mul(2), report);
    let count = |bytes| meter.add(bytes);
    let unfinished = Unfinished::begin(to)?;
    let data = to.join(DATA);
    make_dir(&data)?;
    let mut warnings = Vec::new();
    let decisions = copy_decisions(&source.data_dir, &data, &mut warnings, &count)?;
    let mut journal = JournalCopy::new(&source.data_dir, &data)?;
    let small = settle(
        || small::read(&source.data_dir, &source.policy_dir),
        || journal.follow(&count).map_err(BackupError::from),
    )?;
    for (name, bytes) in &small {
        write(&to.join(name), bytes)?;
    }
    if let Some(configuration) = &source.configuration {
        let bytes = fs::read(configuration).map_err(failed("read", configuration))?;
        write(&to.join(CONFIGURATION), &bytes)?;
    }
    let (state, journal) = open_copy(&data, &mut warnings)?;
    refuse_missing_key(&state, &small)?;
    let issuer = match state.0.issuer().map(str::parse) {
        Some(Ok(issuer)) => issuer,
        Some(Err(_)) | None => source.issuer.clone().ok_or(BackupError::NoIssuer)?,
    };
    let mut files = BTreeMap::new();
    for path in files_below(to)? {
        let name = path.strip_prefix(to).unwrap_or(&path).display().to_string();
        let file = BackupFile::of(&path, &count).map_err(failed("read", &path))?;
        files.insert(name, file);
    }
    let sealed = |bytes: &[u8]| str::from_utf8(bytes).is_ok_and(is_sealed);
    let is_key = |name: &str| name.ends_with(KEY_ENDING);
    let manifest = BackupManifest {
        v: FORMAT,
        hallpass: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: clock.now(),
        issuer,
        journal,
        decisions,
        keys_encrypted: small
            .iter()
            .any(|(name, bytes)| is_key(name) && sealed(bytes)),
        files,
    };
    finish(to, &manifest)?;
    unfinished.keep();
    Ok(BackedUp { manifest, warnings })
}

/// Reads the small files before and after `follow` brought the journal up to date, until both readings are the same.
fn settle(
    mut read: impl FnMut() -> Result<Option<SmallFiles>, BackupError>,
    mut follow: impl FnMut() -> Result<(), BackupError>,
) -> Result<SmallFiles, BackupError> {
    let mut before = read()?;
    for _ in 0..MAX_ROUNDS {
        follow()?;
        let after = read()?;
        match (before, after) {
            (Some(before), Some(after)) if before == after => return Ok(after),
            (_, after) => before = after,
        }
    }
    Err(BackupError::Moving { rounds: MAX_ROUNDS })
}

/// Copies the chain of decisions, if there is one; how far it goes. A damaged one is copied as it is: nothing decides
/// by it, and the rest must not wait for it.
fn copy_decisions(
    from: &Path,
    to: &Path,
    warnings: &mut Vec<String>,
    copied: &dyn Fn(u64),
) -> Result<Option<Extent>, BackupError> {
    let (from, to) = (from.join(DECISIONS_DIRECTORY), to.join(DECISIONS_DIRECTORY));
    if !from.join(DIRECTORY).is_dir() {
        return Ok(None);
    }
    make_dir(&to)?;
    JournalCopy::new(&from, &to)?.follow(copied)?;
    let claims = Claims {
        file: FileState::Closed,
        ..Claims::default()
    };
    match audit::verify_file(&to.join(DIRECTORY), &claims) {
        Ok(summary) => Ok(Some(Extent {
            sequence: summary.head.sequence,
            hash: summary.head.hash,
            at: summary.last,
        })),
        Err(error) => {
            warnings.push(format!(
                "the chain of decisions does not check, and was copied as it is: {}",
                chain(&error)
            ));
            Ok(None)
        }
    }
}

/// Opens the copy of the journal as a start would: every hash is checked. What it adds up to, and how far it goes.
fn open_copy(data: &Path, warnings: &mut Vec<String>) -> Result<(StateAlone, Extent), BackupError> {
    let mut state = StateAlone::default();
    let (recovered, found) = Journal::restore(data, JournalOptions::default(), &mut state)?;
    warnings.extend(found.words());
    let head = recovered.reader().head();
    // The lock is released before its file goes.
    drop(recovered);
    let lock = data.join(LOCK_FILE);
    fs::remove_file(&lock).map_err(failed("remove", &lock))?;
    let extent = Extent {
        sequence: head.sequence,
        hash: head.hash,
        at: Some(state.0.last_at()),
    };
    Ok((state, extent))
}

/// A broker starts only with the file of every key that its journal lets live.
fn refuse_missing_key(state: &StateAlone, small: &SmallFiles) -> Result<(), BackupError> {
    for purpose in KeyPurpose::ALL {
        for (id, _) in state.0.live_keys(purpose) {
            let name = key_name(purpose, id);
            if !small.contains_key(&format!("{DATA}/keys/{name}{KEY_ENDING}")) {
                return Err(BackupError::KeyMissing(name));
            }
        }
    }
    Ok(())
}

fn finish(to: &Path, manifest: &BackupManifest) -> Result<(), BackupError> {
    let path = to.join(MANIFEST);
    let text = serde_json::to_string_pretty(manifest).map_err(|error| BackupError::Io {
        action: "write",
        path: path.clone(),
        source: error.into(),
    })?;
    for directory in directories_below(to)? {
        private_file::sync_dir(&directory).map_err(failed("sync", &directory))?;
    }
    // Last, and whole or not at all: with it, all else is there.
    private_file::write(&path, format!("{text}\n").as_bytes(), IfExists::Refuse)
        .map_err(|error| failed(error.action, &path)(error.source))?;
    let parent = private_file::parent_of(to);
    private_file::sync_dir(parent).map_err(failed("sync", parent))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    make_dir(private_file::parent_of(path))?;
    private_file::create(path, bytes).map_err(|error| failed(error.action, path)(error.source))
}

fn make_dir(path: &Path) -> Result<(), BackupError> {
    private_file::create_dir(path).map_err(failed("create", path))
}

/// Every file below `directory`.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut files = Vec::new();
    for directory in directories_below(directory)? {
        for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
            let path = entry.map_err(failed("read", &directory))?.path();
            if !path.is_dir() {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// `directory` and every directory below it.
fn directories_below(directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while let Some(directory) = found.get(at).cloned() {
        for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
            let path = entry.map_err(failed("read", &directory))?.path();
            if path.is_dir() {
                found.push(path);
            }
        }
        at = at.saturating_add(1);
    }
    Ok(found)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io {
        action,
        path,
        source,
    }
}

/// A backup that is removed again unless it is finished: it holds keys.
struct Unfinished {
    path: PathBuf,
    /// Whether the directory itself was made.
    made: bool,
    is_finished: bool,
}

impl Unfinished {
    fn begin(path: &Path) -> Result<Self, BackupError> {
        let made = match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) if error.kind() != io::ErrorKind::NotADirectory => {
                return Err(failed("read", path)(error));
            }
            Ok(false) | Err(_) => return Err(BackupError::Exists(path.to_owned())),
        };
        make_dir(path)?;
        Ok(Self {
            path: path.to_owned(),
            made,
            is_finished: false,
        })
    }

    fn keep(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // Whatever cannot be removed is no backup either: it has no manifest.
        if self.made {
            let _ = fs::remove_dir_all(&self.path);
        } else if let Ok(entries) = fs::read_dir(&self.path) {
            for entry in entries.flatten() {
                let path = entry.path();
                let _ = if path.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                };
            }
        }
    }
}

/// So often keys, names and policy may change within the time of one look.
const MAX_ROUNDS: usize = 100;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use zeroize::Zeroizing;

    use super::*;

    fn files(content: &str) -> SmallFiles {
        let bytes = Zeroizing::new(content.as_bytes().to_vec());
        SmallFiles::from([("data/stewards.json".to_owned(), bytes)])
    }

    #[test]
    fn the_journal_is_followed_between_two_readings_that_are_the_same() {
        // What is read, one reading after the other; one vanished file.
        let readings = ["a", "b", "", "c", "c", "d"];
        let (read, followed) = (Cell::new(0), RefCell::new(Vec::new()));
        let settled = settle(
            || {
                let content = readings[read.get()];
                read.set(read.get() + 1);
                Ok((!content.is_empty()).then(|| files(content)))
            },
            || {
                followed.borrow_mut().push(read.get());
                Ok(())
            },
        );
        assert_eq!(settled.unwrap(), files("c"));
        assert_eq!(*followed.borrow(), [1, 2, 3, 4]);
    }

    #[test]
    fn what_never_stands_still_is_no_backup() {
        let reading = Cell::new(0);
        let read = || {
            reading.set(reading.get() + 1);
            Ok(Some(files(&reading.get().to_string())))
        };
        let settled = settle(read, || Ok(()));
        assert!(matches!(settled, Err(BackupError::Moving { .. })));
    }
}
