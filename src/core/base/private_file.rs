//! Files and directories that only their owner may read: mode 0600 and 0700, written whole, durable once written.
//!
//! On systems without such modes they are not set, and the operating system's defaults protect the files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

/// The step of writing a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the file: {source}")]
#[non_exhaustive]
pub struct WriteError {
    /// The attempted action: `create`, `write`, `put in place`, `sync the directory of`.
    pub action: &'static str,
    /// The error of the operating system.
    pub source: io::Error,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        error.source
    }
}

/// What [`write()`] does when the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum IfExists {
    /// The new file takes its place.
    Replace,
    /// The write fails with [`io::ErrorKind::AlreadyExists`], and the file stays as it is.
    Refuse,
}

/// Options that create a file with access for its owner only.
#[must_use]
pub fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has file modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates `dir` and its missing parents with access for its owner only, unless `dir` exists. Not yet durable.
///
/// # Errors
///
/// When an operation fails, or `dir` exists and is not a directory.
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

/// Makes the creation, renaming and removal of files in `dir` durable.
///
/// # Errors
///
/// When the sync fails. On systems where directories cannot be synced, this does nothing.
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
/// When it exists, or an operation fails.
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

/// Writes the file at `path` atomically and durably: first to `path` with `.new`, then in place.
///
/// # Errors
///
/// When it exists and must not, or an operation fails. The previous file is then unchanged, except when the
/// directory could not be synced.
pub fn write(path: &Path, content: &[u8], if_exists: IfExists) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // A file left by an interrupted write may have any mode; a new file has the right one.
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
        match if_exists {
            IfExists::Replace => fs::rename(&temporary, path).map_err(failed("put in place")),
            IfExists::Refuse => {
                place_new(path, content, |path| fs::hard_link(&temporary, path))?;
                fs::remove_file(&temporary).map_err(failed("put in place"))
            }
        }
    };
    put().inspect_err(|_| {
        // If this fails, the next write removes it.
        let _ = fs::remove_file(&temporary);
    })?;
    sync_dir(parent_of(path)).map_err(failed("sync the directory of"))
}

/// Puts a file in place by `link`, which, unlike a rename, fails when the name is taken. On a file system without hard
/// links (FAT, many network file systems) the file is written in place: a crash may then leave a part of it.
fn place_new(
    path: &Path,
    content: &[u8],
    link: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), WriteError> {
    let Err(error) = link(path) else {
        return Ok(());
    };
    match error.kind() {
        // EPERM is the answer of Linux; others say that they do not support it.
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {}
        _ => return Err(failed("put in place")(error)),
    }
    create(path, content).inspect_err(|error| {
        if error.action == "write" {
            // It is ours, and of no use.
            let _ = fs::remove_file(path);
        }
    })
}

/// The directory that `path` is in; `.` for a bare name.
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
    fn a_file_system_without_hard_links_will_do() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let place = |content: &[u8], errno| {
            place_new(&path, content, |_| Err(io::Error::from_raw_os_error(errno)))
        };
        let (eperm, eopnotsupp, enospc) = (1, 95, 28);
        assert_eq!(place(b"one", enospc).unwrap_err().action, "put in place");
        assert!(!path.exists());
        place(b"one", eperm).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"one".to_vec(), 0o600)
        );
        // What is there is never overwritten.
        let error = place(b"two", eopnotsupp).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::remove_file(&path).unwrap();
        place(b"three", eopnotsupp).unwrap();
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
