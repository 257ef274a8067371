//! Putting a backup back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    DECISIONS_DIRECTORY, KEYS_DIRECTORY, OPERATOR_TOKEN_FILE,
    backup::{
        BackupFile, BackupManifest, Extent, Progress, RestoreError,
        manifest::{DATA, FORMAT, MANIFEST, MAX_MANIFEST_BYTES, POLICY, Place},
        progress::Meter,
        small,
    },
    ledger::{
        audit::{self, Claims, FileState, VerifyError},
        file::{DIRECTORY, segments_of},
        tree::TREE_DIRECTORY,
        views::DIRECTORY as INDEX_DIRECTORY,
    },
    policy::POLICY_ENDINGS,
    registry::directory::STEWARDS_FILE,
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
    /// The data directory: without files of a broker.
    pub data_dir: PathBuf,
    /// The policy directory: without policy, or with the policy of the backup.
    pub policy_dir: PathBuf,
    /// The configured issuer, if one is: it must be that of the backup.
    pub issuer: Option<IssuerUri>,
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
    pub fn restore(
        &self,
        to: &RestoreTo,
        report: &dyn Fn(Progress),
    ) -> Result<Vec<String>, RestoreError> {
        if let Some(configured) = to.issuer.as_ref()
            && *configured != self.manifest.issuer
        {
            return Err(RestoreError::OtherIssuer {
                backup: self.manifest.issuer.clone(),
                configured: configured.clone(),
            });
        }
        refuse_taken(&to.data_dir)?;
        self.refuse_other_policy(&to.policy_dir)?;
        let sizes = self.manifest.files.values().map(|file| file.bytes);
        // Each byte is checked, and then copied.
        let meter = Meter::new(sizes.fold(0, u64::saturating_add).saturating_mul(2), report);
        let count = |bytes| meter.add(bytes);
        let warnings = self.check(&count)?;
        self.copy(to, &count)?;
        Ok(warnings)
    }

    /// Holds every file against the manifest, and the records against each other.
    fn check(&self, read: &dyn Fn(u64)) -> Result<Vec<String>, RestoreError> {
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
            match fs::symlink_metadata(&path).and_then(|_| BackupFile::of(&path, read)) {
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

    /// A policy directory that has files must have those of the backup.
    fn refuse_other_policy(&self, directory: &Path) -> Result<(), RestoreError> {
        let mut here = BTreeMap::new();
        let names = small::names(directory, &POLICY_ENDINGS).map_err(failed("read", directory))?;
        for name in names {
            let path = directory.join(&name);
            let file = BackupFile::of(&path, &|_| ()).map_err(failed("read", &path))?;
            here.insert(name, file);
        }
        let policy = self.manifest.files.iter().filter_map(|(name, file)| {
            let name = name.strip_prefix(POLICY)?.strip_prefix('/')?;
            Some((name.to_owned(), *file))
        });
        let there: BTreeMap<String, BackupFile> = policy.collect();
        let differs = |name: &&String| here.get(*name) != there.get(*name);
        match here.keys().chain(there.keys()).find(differs) {
            Some(file) if !here.is_empty() => Err(RestoreError::OtherPolicy {
                directory: directory.to_owned(),
                file: file.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn copy(&self, to: &RestoreTo, copied: &dyn Fn(u64)) -> Result<(), RestoreError> {
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
            if copy_file(&self.path.join(name), &target, copied)? != *expected {
                return Err(RestoreError::Damaged {
                    path: self.path.clone(),
                    files: vec![format!("`{name}` changed while it was copied")],
                });
            }
        }
        let keys = to.data_dir.join(KEYS_DIRECTORY);
        let decisions = to.data_dir.join(DECISIONS_DIRECTORY).join(DIRECTORY);
        let directories = [begun.as_path(), &keys, &decisions, &to.policy_dir];
        for directory in directories.into_iter().filter(|path| path.is_dir()) {
            private_file::sync_dir(directory).map_err(failed("sync", directory))?;
        }
        let journal = to.data_dir.join(DIRECTORY);
        fs::rename(&begun, &journal).map_err(failed("put in place", &journal))?;
        for made in [&to.data_dir, &to.policy_dir] {
            for directory in [made.as_path(), private_file::parent_of(made)] {
                private_file::sync_dir(directory).map_err(failed("sync", directory))?;
            }
        }
        Ok(())
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

/// A restore goes to where no broker's files are, whole or in part.
fn refuse_taken(data_dir: &Path) -> Result<(), RestoreError> {
    let own = [
        DIRECTORY,
        BEGUN_JOURNAL,
        KEYS_DIRECTORY,
        DECISIONS_DIRECTORY,
        INDEX_DIRECTORY,
        TREE_DIRECTORY,
        STEWARDS_FILE,
        OPERATOR_TOKEN_FILE,
    ];
    let taken = own
        .iter()
        .map(|name| data_dir.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    taken.map_or(Ok(()), |path| Err(RestoreError::Taken(path)))
}

/// Copies a file to where none is; what was copied.
fn copy_file(from: &Path, to: &Path, copied: &dyn Fn(u64)) -> Result<BackupFile, RestoreError> {
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mut options = private_file::options();
    let mut target = options
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(failed("create", to))?;
    BackupFile::copied(&mut source, &mut target, copied)
        .and_then(|file| target.sync_all().map(|()| file))
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
