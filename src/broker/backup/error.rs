//! Why no backup was made, or none was restored.

use std::{io, path::PathBuf};

use crate::ledger::{audit::VerifyError, file::OpenError};
use hallpass_core::base::{ids::IssuerUri, json::JsonError};

/// Why no backup was made. What was written of it is removed again, as far as that is possible.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no journal in `{}`", .0.display())]
    NoJournal(PathBuf),
    /// The place is taken.
    #[error("`{}` exists and is not an empty directory: nothing is overwritten", .0.display())]
    Exists(PathBuf),
    /// The copy of the journal, or the journal itself, is not sound.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A key that the journal says is alive has no file.
    #[error(
        "the data directory has no file `keys/{0}.key`, and the journal says that this key is in use: a broker that is restored from this would not start"
    )]
    KeyMissing(String),
    /// The journal does not say of which broker it is, and the configuration does not either.
    #[error(
        "the journal does not say under which issuer it was written, and no `issuer` is configured"
    )]
    NoIssuer,
    /// Keys, names or policy changed each time between two looks at them.
    #[error(
        "keys, names or policy files changed {rounds} times while they were copied, so the copy belongs to no one moment: try again when less is changed"
    )]
    Moving {
        /// How often it was tried.
        rounds: usize,
    },
    /// An operation of the file system failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
}

/// Why no backup was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It has no manifest, which is written last.
    #[error(
        "`{}` has no `backup.json`, which is written last: the backup was interrupted, or this is no backup", .0.display()
    )]
    NotWhole(PathBuf),
    /// The manifest cannot be read.
    #[error("`{}` is damaged: {source}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        source: JsonError,
    },
    /// It is of a later format.
    #[error("`{}` has the format {format}, and this build reads 1: restore it with the hallpass that made it, or a later one", path.display())]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// Files are not those that were written.
    #[error("the backup `{}` is damaged, and nothing was restored", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// Each file that is not as it was written, and how.
        files: Vec<String>,
    },
    /// The chain of records is not sound.
    #[error("the journal in the backup, `{}`, does not check, and nothing was restored: {source}", path.display())]
    Journal {
        /// The directory of its segments.
        path: PathBuf,
        /// Where, and what is wrong.
        source: VerifyError,
    },
    /// The broker would become another one.
    #[error(
        "the backup is of the broker `{backup}`, and the configuration says `issuer = \"{configured}\"`: a broker keeps its issuer, so restore with `{backup}`; it can be changed at a start, when passes that are out may be refused"
    )]
    OtherIssuer {
        /// That of the backup.
        backup: IssuerUri,
        /// That of the configuration.
        configured: IssuerUri,
    },
    /// The place is taken.
    #[error("`{}` exists, and nothing is overwritten: name another data directory, or move this one away", .0.display())]
    Taken(PathBuf),
    /// There is another policy.
    #[error("the policy directory `{}` and the backup differ in `{file}`, and nothing is overwritten: name another policy directory, or move this one away, and compare the two", directory.display())]
    OtherPolicy {
        /// The policy directory.
        directory: PathBuf,
        /// The first file that differs.
        file: String,
    },
    /// An operation of the file system failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
}
