//! Removing the oldest segments, into an archive where there is one.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::{
    domain::event::ChainEvent,
    ledger::file::{Journal, Reader, error::OpenError, files},
};
use hallpass_core::base::private_file;

impl<E: ChainEvent> Journal<E> {
    /// Removes the segments before number `before`, oldest first, and returns the numbers of those that were.
    /// With an `archive` each is copied there and the copy made durable first. Blocks on the disk.
    ///
    /// Segments that a start could need stay: the last two, each with its snapshot, or, where none are taken,
    /// the last.
    ///
    /// # Errors
    ///
    /// When a segment could not be copied or removed, or the archive holds another file of its name. What
    /// was removed until then stays so, and the journal goes on.
    pub fn retire(&self, before: u32, archive: Option<&Path>) -> Result<Vec<u32>, OpenError> {
        retire(&self.reader, before, archive)
    }
}

/// See [`Journal::retire`].
pub(super) fn retire<E>(
    reader: &Reader<E>,
    before: u32,
    archive: Option<&Path>,
) -> Result<Vec<u32>, OpenError> {
    let _turn = reader.shared().retiring();
    let before = before.min(reader.shared().lock().restorable);
    let old = reader
        .segments()
        .into_iter()
        .map(|segment| segment.number)
        .filter(|number| *number < before);
    let mut removed = Vec::new();
    for number in old {
        let path = reader.path(number);
        if let Some(archive) = archive {
            copy(&path, archive)?;
        }
        // Readers see that it is removed before the file is.
        reader
            .shared()
            .lock()
            .segments
            .retain(|segment| segment.number != number);
        files::remove(&path)?;
        files::remove(&reader.dir().join(files::snapshot_name(number)))?;
        // INVARIANT: in order and durably, so that a loss of power leaves no gap (`a_gap_stops_the_start`).
        files::sync_dir(reader.dir())?;
        removed.push(number);
    }
    Ok(removed)
}

/// Copies the segment at `path` into `archive`, durably; a whole copy that is there already counts.
fn copy(path: &Path, archive: &Path) -> Result<(), OpenError> {
    files::ensure_dir(archive)?;
    let target = archive.join(path.file_name().unwrap_or_default());
    let begun = target.with_extension("copying");
    let failed = |error| OpenError::io("archive", &target, error);
    if target.exists() {
        // An earlier try got so far and no further.
        let same =
            fs::read(&target).and_then(|copy| fs::read(path).map(|original| copy == original));
        return if same.map_err(failed)? {
            Ok(())
        } else {
            Err(failed(io::ErrorKind::AlreadyExists.into()))
        };
    }
    let write = || {
        let mut copy = private_file::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&begun)?;
        io::copy(&mut File::open(path)?, &mut copy)?;
        copy.sync_all()?;
        fs::rename(&begun, &target)
    };
    write().map_err(failed)?;
    files::sync_dir(archive)
}
