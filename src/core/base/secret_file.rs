//! Secret files: mode 0600 or not at all, written whole or not at all.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::base::private_file::{self, IfExists, WriteError};

/// A secret file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Others than its owner may read or write it.
    #[error("`{}` is open to others (mode {mode:03o}): run `chmod 600 {}` and replace the secret if others may have seen it", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It holds more than a file of its kind does.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be.
        max: u64,
    },
    /// The file is there already.
    #[error("`{}` exists already and is not overwritten: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// Reads a secret file of at most 64 KiB.
///
/// # Errors
///
/// Refuses a file that is longer, or that its group or others have any access to.
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
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    // One byte more tells a file that is too long from one that just fits.
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

/// Writes a secret file with mode 0600, replacing what was there; durable when it returns.
///
/// # Errors
///
/// When the operating system refuses; the old content is then still there.
pub fn write_secret(path: &Path, text: &str) -> Result<(), SecretFileError> {
    private_file::write(path, text.as_bytes(), IfExists::Replace).map_err(named(path))
}

/// Writes a secret file with mode 0600 under a name that is free; durable when it returns.
///
/// # Errors
///
/// When the name is taken, which is never overwritten, or the operating system refuses.
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
