//! Files and directories that only their owner may read: mode 0600 and 0700, written whole, durable once written.
//!
//! Where there are no such modes, they are left out; what protects the files there is up to the system.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

/// A step of writing a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the file: {source}")]
#[non_exhaustive]
pub struct WriteError {
    /// What was tried: `create`, `write`, `put in place`, `sync the directory of`.
    pub action: &'static str,
    /// What the system answered.
    pub source: io::Error,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        error.source
    }
}

/// What [`write`] does when the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file is replaced or it is not")]
pub enum IfExists {
    /// The new file takes its place.
    Replace,
    /// The write fails with [`io::ErrorKind::AlreadyExists`], and the file stays as it is.
    Refuse,
}

/// Options with which a file that is created is its owner's alone.
#[must_use]
pub fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there is no mode to set"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates `dir` and its missing parents for the owner alone, unless `dir` exists. Not yet durable.
///
/// # Errors
///
/// When the system refuses, or `dir` is something other than a directory.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes durable what was created, renamed or removed in `dir`.
///
/// # Errors
///
/// When the system refuses. Where directories cannot be synced, nothing is done.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Creates the file at `path` with `content`, durably. A crash may leave a part of it.
///
/// # Errors
///
/// When it exists, or the system refuses.
pub fn create(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    let mut file = options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed("create"))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write"))?;
    sync_dir(parent_of(path)).map_err(failed("sync the directory of"))
}

/// Writes the file at `path` whole or not at all, durably: under another name first, which is `path` with `.new`.
///
/// # Errors
///
/// When it exists and must not, or the system refuses. What was there before is then still there, except when the
/// directory could not be synced.
pub fn write(path: &Path, content: &[u8], if_exists: IfExists) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // A leftover of an interrupted write may have any mode; a new file has ours.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("create")(error));
        }
        _ => {}
    }
    let put = || {
        let mut file = options()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(failed("create"))?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(failed("write"))?;
        let placed = match if_exists {
            IfExists::Replace => fs::rename(&temporary, path),
            // A link, unlike a rename, fails when the name is taken.
            IfExists::Refuse => {
                fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary))
            }
        };
        placed.map_err(failed("put in place"))
    };
    put().inspect_err(|_| {
        // The next write removes it, when it cannot be removed now.
        let _ = fs::remove_file(&temporary);
    })?;
    sync_dir(parent_of(path)).map_err(failed("sync the directory of"))
}

/// The directory that `path` is in; `.` for a name alone.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> WriteError {
    move |source| WriteError { action, source }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_created_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        create_dir(&dir).unwrap();
        create_dir(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&home.path().join("a"))), (0o700, 0o700));
        let path = dir.join("file");
        create(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = create(&path, b"two").unwrap_err();
        assert_eq!(
            (error.action, error.source.kind()),
            ("create", io::ErrorKind::AlreadyExists)
        );
        assert!(create_dir(&path).is_err(), "a file is no directory");
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        // A leftover with another mode.
        fs::write(home.path().join("file.new"), "cut off").unwrap();
        write(&path, b"one", IfExists::Refuse).unwrap();
        let error = write(&path, b"two", IfExists::Refuse).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"three", IfExists::Replace).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"three".to_vec(), 0o600)
        );
        assert!(write(&home.path().join("x/file"), b"four", IfExists::Replace).is_err());
        let names: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
    }
}
