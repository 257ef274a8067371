//! Secret files: for their owner, and readable by a group at most; written with mode 0600, atomically.
//!
//! A group may read, since that is how certificate managers and Kubernetes (`fsGroup`) hand secrets to a service. Kubernetes
//! also gives the group of a volume all rights to each file at every mount: where a file may be tightened, it is.

use std::{
    fs::{File, Permissions},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::base::private_file::{self, IfExists, WriteError};

/// Why a secret file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Users other than its owner may read or write it.
    #[error("`{}` is accessible to other users (mode {mode:03o}): run `chmod 600 {}`, and replace the secret if it may have been read", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It is longer than a file of its kind may be.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// The file exists already.
    #[error("`{}` exists already and is not overwritten: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// An operation of the file system failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Whether users other than the owner and readers of the group have access to a file of this mode.
#[must_use]
pub const fn is_open(mode: u32) -> bool {
    mode & 0o037 != 0
}

/// Looks at a secret file as reading it does, and reads nothing.
///
/// # Errors
///
/// As [`read_secret`], for its mode.
pub fn tighten_secret(path: &Path) -> Result<(), SecretFileError> {
    let file = File::open(path).map_err(|source| SecretFileError::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    tighten(&file, path)
}

/// Takes rights of the group beyond reading away, where that may be done.
fn tighten(file: &File, path: &Path) -> Result<(), SecretFileError> {
    let metadata = file.metadata().map_err(|source| SecretFileError::Io {
        action: "look at",
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if !is_open(mode) {
        return Ok(());
    }
    let is_for_others = mode & 0o007 != 0;
    // Who does not own it may not.
    if is_for_others || file.set_permissions(Permissions::from_mode(0o600)).is_err() {
        return Err(SecretFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Reads a secret file of at most 64 KiB.
///
/// # Errors
///
/// Refuses a file that is longer, that others have any access to, or that its group may write and whose mode may not be
/// changed.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    read_secret_at_most(path, MAX_SECRET_BYTES)
}

/// Reads a secret file of at most `max` bytes.
///
/// # Errors
///
/// As [`read_secret`].
pub fn read_secret_at_most(path: &Path, max: u64) -> Result<Zeroizing<String>, SecretFileError> {
    let failed = |action| {
        move |source| SecretFileError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = File::open(path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("look at"))?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    tighten(&file, path)?;
    let mut text = Zeroizing::new(String::new());
    // Reading one byte more detects a file that is too long.
    let read = file
        .take(max.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(failed("read"))?;
    if u64::try_from(read).is_ok_and(|read| read > max) {
        return Err(SecretFileError::TooLong {
            path: path.to_owned(),
            max,
        });
    }
    Ok(text)
}

/// Writes a secret file with mode 0600, replacing an existing one; durable when it returns.
///
/// # Errors
///
/// When an operation fails; the old content is then unchanged.
pub fn write_secret(path: &Path, text: &str) -> Result<(), SecretFileError> {
    private_file::write(path, text.as_bytes(), IfExists::Replace).map_err(named(path))
}

/// Writes a secret file with mode 0600, unless the name is taken; durable when it returns.
///
/// # Errors
///
/// When the file exists, which is never overwritten, or an operation fails.
pub fn create_secret(path: &Path, text: &str) -> Result<(), SecretFileError> {
    private_file::write(path, text.as_bytes(), IfExists::Refuse).map_err(|error| {
        if error.source.kind() == io::ErrorKind::AlreadyExists {
            return SecretFileError::Exists(path.to_owned());
        }
        named(path)(error)
    })
}

fn named(path: &Path) -> impl Fn(WriteError) -> SecretFileError {
    move |error| SecretFileError::Io {
        action: error.action,
        path: path.to_owned(),
        source: error.source,
    }
}

const MAX_SECRET_BYTES: u64 = 64 * 1024;
