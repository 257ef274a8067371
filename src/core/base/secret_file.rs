//! Secret files: for their owner, and readable by a group at most; written with mode 0600, atomically.
//!
//! A group may read, since that is how certificate managers and Kubernetes (`fsGroup`) hand secrets to a service. Kubernetes
//! also gives the group of a volume all rights to each file at every mount: where a file may be tightened, it is.

use std::{
    fs::{self, File, Metadata, Permissions},
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

/// Whether a mode lets users in who are neither the owner nor of the group: no secret is read from such a file.
#[must_use]
pub const fn is_for_others(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// Looks at the mode of a secret file that something else reads, as [`read_secret`] does. The file is not opened: it may be
/// a pipe, which can be opened once.
///
/// # Errors
///
/// As [`read_secret`], for its mode.
pub fn tighten_secret(path: &Path) -> Result<(), SecretFileError> {
    let metadata = fs::metadata(path).map_err(failed(path, "look at"))?;
    tighten(path, &metadata, |mode| fs::set_permissions(path, mode))
}

/// Takes rights of the group beyond reading away, where that may be done.
fn tighten(
    path: &Path,
    metadata: &Metadata,
    set_mode: impl FnOnce(Permissions) -> io::Result<()>,
) -> Result<(), SecretFileError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o037 == 0 {
        return Ok(());
    }
    // A process that does not own it may not.
    if is_for_others(mode) || set_mode(Permissions::from_mode(0o600)).is_err() {
        return Err(SecretFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> SecretFileError {
    move |source| SecretFileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
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
    let file = File::open(path).map_err(failed(path, "open"))?;
    let metadata = file.metadata().map_err(failed(path, "look at"))?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    tighten(path, &metadata, |mode| file.set_permissions(mode))?;
    let mut text = Zeroizing::new(String::new());
    // Reading one byte more detects a file that is too long.
    let read = file
        .take(max.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(failed(path, "read"))?;
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
    move |error| failed(path, error.action)(error.source)
}

const MAX_SECRET_BYTES: u64 = 64 * 1024;
