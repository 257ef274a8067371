//! Putting a backup back.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    DECISIONS_DIRECTORY,
    backup::{
        BackupFile, BackupManifest, Extent, RestoreError,
        manifest::{DATA, FORMAT, MANIFEST, MAX_MANIFEST_BYTES, POLICY, Place},
    },
    ledger::{
        audit::{self, Claims, FileState, VerifyError},
        file::{DIRECTORY, segments_of},
    },
};
use hallpass_core::base::{error::chain, ids::IssuerUri, json, private_file};

/// A backup whose manifest was read.
#[derive(Debug)]
pub struct Backup {
    path: PathBuf,
    manifest: BackupManifest,
}

/// Where a backup is restored to, and as which broker.
#[derive(Debug, Clone)]
pub struct RestoreTo {
    /// The data directory: absent, or empty.
    pub data_dir: PathBuf,
    /// The policy directory: absent, empty, or with the policy of the backup.
    pub policy_dir: PathBuf,
    /// The issuer that the broker there would have.
    pub issuer: IssuerUri,
}

impl Backup {
    /// Reads the manifest of the backup in `path`.
    ///
    /// # Errors
    ///
    /// When there is none, since the backup was interrupted, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, RestoreError> {
        let file = path.join(MANIFEST);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RestoreError::NotWhole(path.to_owned()));
            }
            Err(error) => return Err(failed("read", &file)(error)),
        };
        let damaged = |source| RestoreError::Manifest {
            path: file.clone(),
            source,
        };
        let document = json::parse_signed(&bytes, MAX_MANIFEST_BYTES).map_err(damaged)?;
        if let Some(format) = document.get("v").and_then(serde_json::Value::as_u64)
            && format != FORMAT
        {
            return Err(RestoreError::Newer { path: file, format });
        }
        let manifest = json::parse_signed_as(&bytes, MAX_MANIFEST_BYTES).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    /// What the backup holds.
    #[must_use]
    pub const fn manifest(&self) -> &BackupManifest {
        &self.manifest
    }

    /// Checks every file and the chains of records, and copies them to where they belong; returns what is odd, in words.
    /// The journal is put in place last: what was interrupted is refused by a start.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`]. Nothing is written before everything was checked.
    pub fn restore(&self, to: &RestoreTo) -> Result<Vec<String>, RestoreError> {
        if self.manifest.issuer != to.issuer {
            return Err(RestoreError::OtherIssuer {
                backup: self.manifest.issuer.clone(),
                configured: to.issuer.clone(),
            });
        }
        if !is_absent_or_empty(&to.data_dir)? {
            return Err(RestoreError::NotEmpty(to.data_dir.clone()));
        }
        self.refuse_other_policy(&to.policy_dir)?;
        let warnings = self.check()?;
        self.copy(to)?;
        Ok(warnings)
    }

    /// Holds every file against the manifest, and the records against each other.
    fn check(&self) -> Result<Vec<String>, RestoreError> {
        let mut damaged = Vec::new();
        for (name, expected) in &self.manifest.files {
            if Place::of(name).is_none() {
                damaged.push(format!(
                    "`{MANIFEST}` lists `{name}`, which no backup holds"
                ));
                continue;
            }
            let path = self.path.join(name);
            // SECURITY: a link could lead to a file of the machine that restores.
            match fs::symlink_metadata(&path).and_then(|_| BackupFile::of(&path)) {
                _ if path.is_symlink() => damaged.push(format!("`{name}` is a link")),
                Err(error) => damaged.push(format!("`{name}` cannot be read: {error}")),
                Ok(found) if found.bytes != expected.bytes => damaged.push(format!(
                    "`{name}` has {} bytes, and {} were written",
                    found.bytes, expected.bytes
                )),
                Ok(found) if found.sha256 != expected.sha256 => {
                    damaged.push(format!("`{name}` has other bytes than were written"));
                }
                Ok(_) => {}
            }
        }
        let journal = self.path.join(DATA).join(DIRECTORY);
        let checked = verify(&journal, Some(&self.manifest.journal));
        if damaged.is_empty() {
            let failed = |(path, source)| RestoreError::Journal { path, source };
            checked.map_err(failed)?;
        } else {
            // Where in the journal, when that is what is damaged.
            damaged.extend(checked.err().map(|(path, error)| {
                format!(
                    "the journal does not check: `{}`: {}",
                    path.display(),
                    chain(&error)
                )
            }));
            return Err(RestoreError::Damaged {
                path: self.path.clone(),
                files: damaged,
            });
        }
        let decisions = self
            .path
            .join(DATA)
            .join(DECISIONS_DIRECTORY)
            .join(DIRECTORY);
        if !decisions.is_dir() {
            return Ok(Vec::new());
        }
        let odd = verify(&decisions, self.manifest.decisions.as_ref()).err();
        let words = |(path, error): (PathBuf, VerifyError)| {
            format!(
                "the chain of decisions does not check, and is restored as it was copied: `{}`: {}",
                path.display(),
                chain(&error)
            )
        };
        Ok(odd.map(words).into_iter().collect())
    }

    fn refuse_other_policy(&self, directory: &Path) -> Result<(), RestoreError> {
        if is_absent_or_empty(directory)? {
            return Ok(());
        }
        let other = |file: String| RestoreError::OtherPolicy {
            directory: directory.to_owned(),
            file,
        };
        let mut own = Vec::new();
        for (name, expected) in &self.manifest.files {
            let Some(Place::Policy(file)) = Place::of(name) else {
                continue;
            };
            let is_same = BackupFile::of(&directory.join(&file)).is_ok_and(|it| it == *expected);
            if !is_same {
                return Err(other(file.display().to_string()));
            }
            own.push(file);
        }
        for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
            let name = PathBuf::from(entry.map_err(failed("read", directory))?.file_name());
            let ending = name.extension().and_then(|ending| ending.to_str());
            if matches!(ending, Some("toml" | "cedar")) && !own.contains(&name) {
                return Err(other(name.display().to_string()));
            }
        }
        Ok(())
    }

    fn copy(&self, to: &RestoreTo) -> Result<(), RestoreError> {
        // INVARIANT: a start that finds this directory and no journal is refused, so none begins a new one in what an
        // interrupted restore left.
        make_dir(&to.data_dir.join(DECISIONS_DIRECTORY))?;
        let begun = to.data_dir.join(BEGUN_JOURNAL);
        make_dir(&begun)?;
        make_dir(&to.policy_dir)?;
        for (name, expected) in &self.manifest.files {
            let target = match Place::of(name) {
                Some(Place::Data(path)) => match path.strip_prefix(DIRECTORY) {
                    Ok(segment) => begun.join(segment),
                    Err(_) => to.data_dir.join(path),
                },
                // Either none is there, or all of these are.
                Some(Place::Policy(path)) if to.policy_dir.join(&path).exists() => continue,
                Some(Place::Policy(path)) => to.policy_dir.join(path),
                Some(Place::Configuration) | None => continue,
            };
            make_dir(private_file::parent_of(&target))?;
            copy_file(&self.path.join(name), &target)?;
            let copied = BackupFile::of(&target).map_err(failed("read", &target))?;
            if copied != *expected {
                return Err(RestoreError::Damaged {
                    path: self.path.clone(),
                    files: vec![format!("`{name}` changed while it was copied")],
                });
            }
        }
        let keys = to.data_dir.join(crate::KEYS_DIRECTORY);
        let decisions = to.data_dir.join(DECISIONS_DIRECTORY).join(DIRECTORY);
        let directories = [begun.as_path(), &keys, &decisions, &to.policy_dir];
        for directory in directories.into_iter().filter(|path| path.is_dir()) {
            private_file::sync_dir(directory).map_err(failed("sync", directory))?;
        }
        let journal = to.data_dir.join(DIRECTORY);
        fs::rename(&begun, &journal).map_err(failed("put in place", &journal))?;
        private_file::sync_dir(&to.data_dir).map_err(failed("sync", &to.data_dir))
    }
}

impl BackupManifest {
    /// The names of the policy's files.
    pub fn policy_files(&self) -> impl Iterator<Item = &str> {
        let own = |name: &String| name.starts_with(POLICY);
        self.files
            .keys()
            .filter(move |name| own(name))
            .map(String::as_str)
    }
}

/// Checks a chain of records; the file that is not sound, and why.
fn verify(directory: &Path, extent: Option<&Extent>) -> Result<(), (PathBuf, VerifyError)> {
    let claims = Claims {
        head: extent.map(Extent::head),
        file: FileState::Closed,
        ..Claims::default()
    };
    let Err(error) = audit::verify_file(directory, &claims) else {
        return Ok(());
    };
    let place = match &error {
        VerifyError::Damage(damage) => segments_of(directory)
            .unwrap_or_default()
            .into_iter()
            .find(|(number, _)| *number == damage.segment)
            .map(|(_, path)| path),
        _ => None,
    };
    Err((place.unwrap_or_else(|| directory.to_owned()), error))
}

fn is_absent_or_empty(directory: &Path) -> Result<bool, RestoreError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(failed("read", directory)(error)),
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<(), RestoreError> {
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mut options = private_file::options();
    let mut target = options
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(failed("create", to))?;
    io::copy(&mut source, &mut target)
        .and_then(|_| target.sync_all())
        .map_err(failed("write", to))
}

fn make_dir(path: &Path) -> Result<(), RestoreError> {
    private_file::create_dir(path).map_err(failed("create", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io {
        action,
        path,
        source,
    }
}

/// Where the journal is until all else is in place.
const BEGUN_JOURNAL: &str = "journal.restoring";
