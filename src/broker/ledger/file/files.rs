//! The files and directories of the journal: private to the owner, and durable once created.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::ledger::file::error::OpenError;
use hallpass_core::base::private_file;

/// The file in the data directory whose lock keeps a second broker out.
pub const LOCK_FILE: &str = "lock";

/// Creates `dir` for the owner alone unless it exists, durably.
pub(super) fn ensure_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    private_file::create_dir(dir).map_err(|error| OpenError::io("create", dir, error))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Makes the creation, renaming or removal of what is in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    private_file::sync_dir(dir).map_err(|error| OpenError::io("sync", dir, error))
}

/// Creates `path` with `content` for the owner alone, durably; fails when it exists.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), OpenError> {
    private_file::create(path, content).map_err(|error| OpenError::io("create", path, error.into()))
}

/// Takes the lock on `data_dir`; it is held as long as the file is.
pub(super) fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |error| OpenError::io("lock", &path, error);
    let mut options = private_file::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Who holds it is a help only; the refusal stands without it.
            let _ = file.take(20).read_to_string(&mut owner);
            let owner = owner.trim().parse::<u32>().ok();
            return Err(OpenError::Locked {
                directory: data_dir.to_owned(),
                owner,
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    };
    note(&mut file).map_err(failed)?;
    Ok(file)
}

/// Opens a segment for reading and for writing at its end.
pub(super) fn open_segment(path: &Path) -> Result<File, OpenError> {
    let open = OpenOptions::new().read(true).append(true).open(path);
    open.map_err(|error| OpenError::io("open", path, error))
}

/// Copies what follows `offset` in `segment` to a file of its own and cuts it off, both durably.
pub(super) fn cut_tail(
    segment: &Path,
    file: &mut File,
    offset: u64,
    sequence: u64,
) -> Result<PathBuf, OpenError> {
    let dir = segment.parent().unwrap_or(Path::new("."));
    let aside = (1..u32::MAX)
        .map(|n| dir.join(format!("torn-{sequence}-{n}")))
        .find(|path| !path.exists());
    let aside = aside.ok_or_else(|| {
        OpenError::io(
            "keep the torn tail of",
            segment,
            io::ErrorKind::AlreadyExists.into(),
        )
    })?;
    let mut copy = || {
        let mut kept = private_file::options()
            .write(true)
            .create_new(true)
            .open(&aside)?;
        file.seek(SeekFrom::Start(offset))?;
        io::copy(file, &mut kept)?;
        kept.sync_all()
    };
    copy().map_err(|error| OpenError::io("create", &aside, error))?;
    sync_dir(dir)?;
    file.set_len(offset)
        .and_then(|()| file.sync_all())
        .map_err(|error| OpenError::io("cut", segment, error))?;
    Ok(aside)
}

/// The numbers of the segments in `dir`, in order; an error names a file that only looks like one.
pub(super) fn segments_in(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let failed = |error| OpenError::io("read", dir, error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            let number = segment_number(&path).ok_or(OpenError::Unknown { file: path })?;
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The file name of segment `number`.
#[must_use]
pub fn segment_name(number: u32) -> String {
    format!("{number:06}.jsonl")
}

/// The number of the segment that `path` is the file of.
#[must_use]
pub fn segment_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

/// The file name of the snapshot that was taken for segment `number`.
pub(super) fn snapshot_name(number: u32) -> String {
    format!("{number:06}.snapshot")
}

/// Removes `path` if it is there; not yet durably.
pub(super) fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// The segments at `path`, which is one's file, an export, or a directory of segments, in order.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn segments_of(path: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    if !path.is_dir() {
        return Ok(vec![(segment_number(path).unwrap_or(1), path.to_owned())]);
    }
    let mut segments = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        segments.extend(segment_number(&path).map(|number| (number, path)));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Notes in the journal's directory that it holds a record: from then on an empty one is known to be a loss.
pub(super) fn mark(dir: &Path) -> Result<(), OpenError> {
    create(&dir.join(MARKER), MARKER_CONTENT)
}

pub(super) const MARKER: &str = "format";
pub(super) const MARKER_CONTENT: &[u8] = b"hallpass journal 1\n";
