//! The spool: unsent batches, on disk until the broker has accepted them.
//!
//! A few append-only files. Each line is one batch in the form in which it is sent. A file whose
//! lines were all delivered is removed. After a crash its lines are sent again, and the broker drops
//! duplicates by their ids. The files' names begin with a digest of broker and server, so that
//! verifiers may share a directory.

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use hallpass_core::base::{
    digest::Digest,
    ids::{IssuerUri, ServerUri},
    private_file,
    time::Timestamp,
};

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process, or another client in this process, uses it.
    #[error("the spool in `{}` is in use: give every verifier of one server a directory of its own", .0.display())]
    InUse(PathBuf),
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

/// Why a batch was not spooled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unspooled {
    #[error("the spool is full")]
    Full,
    #[error("the spool cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// The state in which an earlier process left the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It was closed.
    Clean,
    /// The process crashed, so reports that were not yet written are lost. Its last write was at this time.
    Abruptly(Timestamp),
}

/// The spool of one verifier. Its methods block on the disk.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    prefix: String,
    max_bytes: u64,
    /// Locked, and not empty while a client uses the spool.
    lock: File,
    /// The oldest first. Only the last is written to.
    files: VecDeque<Part>,
    writer: Option<File>,
    /// The offset in the oldest file of the first undelivered line.
    offset: u64,
}

#[derive(Debug)]
struct Part {
    number: u64,
    bytes: u64,
}

impl Spool {
    /// Opens the spool for reports from `server` to `issuer` in `dir`, which is created when it does not exist.
    pub(super) fn open(
        dir: &Path,
        (issuer, server): (&IssuerUri, &ServerUri),
        max_bytes: u64,
    ) -> Result<(Self, Left), SpoolError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io {
                action,
                path,
                source,
            }
        };
        private_file::create_dir(dir).map_err(failed("create", dir))?;
        let whose =
            Digest::of_parts(&[issuer.as_str().as_bytes(), &[0], server.as_str().as_bytes()])
                .to_string();
        let prefix = whose.chars().take(PREFIX_DIGITS).collect::<String>();
        let path = dir.join(format!("{prefix}.lock"));
        let lock = private_file::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
        }
        let files = parts(dir, &prefix).map_err(failed("read", dir))?;
        let spool = Self {
            dir: dir.to_owned(),
            prefix,
            max_bytes,
            lock,
            files,
            writer: None,
            offset: 0,
        };
        let left = spool.left().map_err(failed("read", &path))?;
        (&spool.lock)
            .write_all(b"in use\n")
            .map_err(failed("write", &path))?;
        Ok((spool, left))
    }

    /// The number of undelivered bytes.
    pub(super) fn waiting(&self) -> u64 {
        self.files
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.bytes))
            .saturating_sub(self.offset)
    }

    /// Appends one line, durably.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<(), Unspooled> {
        self.append_within(line, self.max_bytes)
    }

    /// Appends a short line, using the space reserved for the last report before the end.
    pub(super) fn append_last(&mut self, line: &[u8]) -> Result<(), Unspooled> {
        self.append_within(line, self.max_bytes.saturating_add(RESERVE_BYTES))
    }

    /// The oldest undelivered line, with its newline.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(part) = self.files.front() else {
                return Ok(None);
            };
            let mut file = BufReader::new(File::open(self.path(part.number))?);
            file.seek(SeekFrom::Start(self.offset))?;
            let mut line = Vec::new();
            // A longer line was never written.
            file.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
            if line.last() == Some(&b'\n') {
                return Ok(Some(line));
            }
            // The end of the file, or the incomplete end of a write that was never confirmed.
            if self.files.len() == 1 && self.writer.is_some() {
                return Ok(None);
            }
            self.remove_oldest()?;
        }
    }

    /// Marks the line that [`next`](Self::next) returned as delivered.
    pub(super) fn delivered(&mut self, line: &[u8]) -> io::Result<()> {
        self.offset = self.offset.saturating_add(length(line));
        if self
            .files
            .front()
            .is_some_and(|part| self.offset >= part.bytes)
        {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Records a clean end, and releases the spool.
    pub(super) fn leave_clean(&mut self) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.sync_all()?;
        self.lock.unlock()
    }

    fn append_within(&mut self, line: &[u8], max_bytes: u64) -> Result<(), Unspooled> {
        let on_disk = self
            .files
            .iter()
            .fold(length(line), |sum, part| sum.saturating_add(part.bytes));
        if on_disk > max_bytes {
            return Err(Unspooled::Full);
        }
        if self.writer.is_none()
            || self
                .files
                .back()
                .is_none_or(|part| part.bytes >= PART_BYTES)
        {
            self.begin_part()?;
        }
        let (Some(writer), Some(part)) = (&mut self.writer, self.files.back_mut()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        match writer.write_all(line).and_then(|()| writer.sync_data()) {
            Ok(()) => {
                part.bytes = part.bytes.saturating_add(length(line));
                Ok(())
            }
            Err(error) => {
                // The file may end with half a line, so nothing is appended to it.
                self.writer = None;
                Err(error.into())
            }
        }
    }

    fn begin_part(&mut self) -> io::Result<()> {
        let number = self
            .files
            .back()
            .map_or(1, |part| part.number.saturating_add(1));
        let writer = private_file::options()
            .append(true)
            .create_new(true)
            .open(self.path(number))?;
        private_file::sync_dir(&self.dir)?;
        self.files.push_back(Part { number, bytes: 0 });
        self.writer = Some(writer);
        Ok(())
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        if let Some(part) = self.files.front() {
            fs::remove_file(self.path(part.number))?;
            self.files.pop_front();
            self.offset = 0;
        }
        if self.files.is_empty() {
            self.writer = None;
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Left> {
        let mut content = Vec::new();
        (&self.lock).take(1).read_to_end(&mut content)?;
        if content.is_empty() {
            return Ok(Left::Clean);
        }
        let mut last = self.lock.metadata()?.modified()?;
        for part in &self.files {
            last = last.max(fs::metadata(self.path(part.number))?.modified()?);
        }
        Ok(Left::Abruptly(last.into()))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir
            .join(format!("{}-{number:012}.{EXTENSION}", self.prefix))
    }
}

/// The existing files, the oldest first.
fn parts(dir: &Path, prefix: &str) -> io::Result<VecDeque<Part>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix(prefix)?
                .strip_prefix('-')?
                .strip_suffix(EXTENSION)?
                .strip_suffix('.')
        });
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            found.push(Part {
                number,
                bytes: entry.metadata()?.len(),
            });
        }
    }
    found.sort_unstable_by_key(|part| part.number);
    Ok(found.into())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The size at which a new file is started.
const PART_BYTES: u64 = 4 * 1024 * 1024;

/// The space reserved for the last report before the end, which says how much was lost.
const RESERVE_BYTES: u64 = 4 * 1024;

/// Longer than any batch.
const MAX_LINE_BYTES: u64 = 2 * 1024 * 1024;

const PREFIX_DIGITS: usize = 16;
const EXTENSION: &str = "jsonl";

#[cfg(test)]
mod tests {
    use super::*;

    fn open_with(dir: &Path, server: &str, max_bytes: u64) -> Result<(Spool, Left), SpoolError> {
        Spool::open(
            dir,
            (
                &"https://broker.example".parse().unwrap(),
                &server.parse().unwrap(),
            ),
            max_bytes,
        )
    }

    fn open(dir: &Path) -> (Spool, Left) {
        open_with(dir, "https://ledger.example/mcp", 1_000_000).unwrap()
    }

    fn drained(spool: &mut Spool) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = spool.next().unwrap() {
            spool.delivered(&line).unwrap();
            lines.push(String::from_utf8(line).unwrap());
        }
        lines
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let all = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().unwrap() == EXTENSION)
            .collect()
    }

    #[test]
    fn what_was_spooled_is_there_after_a_restart_and_what_was_delivered_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("spool");
        let (mut spool, left) = open(&dir);
        assert_eq!((left, spool.next().unwrap()), (Left::Clean, None));
        spool.append(b"one\n").unwrap();
        spool.append(b"two\n").unwrap();
        assert_eq!(spool.next().unwrap().unwrap(), b"one\n");
        assert_eq!(spool.next().unwrap().unwrap(), b"one\n");
        spool.delivered(b"one\n").unwrap();
        assert_eq!(spool.waiting(), 4);
        spool.leave_clean().unwrap();
        let (mut spool, left) = open(&dir);
        assert_eq!(left, Left::Clean);
        spool.append(b"three\n").unwrap();
        // What was delivered of a file that is still there comes again: the broker knows it by its ids.
        assert_eq!(drained(&mut spool), ["one\n", "two\n", "three\n"]);
        assert_eq!((spool.waiting(), files(&dir).len()), (0, 0));
        spool.append(b"four\n").unwrap();
        assert_eq!(drained(&mut spool), ["four\n"]);
    }

    #[test]
    fn a_torn_end_is_skipped_and_nothing_is_written_behind_it() {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(home.path());
        spool.append(b"one\n").unwrap();
        drop(spool);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&files(home.path())[0])
            .unwrap();
        file.write_all(b"tw").unwrap();
        let (mut spool, left) = open(home.path());
        assert!(matches!(left, Left::Abruptly(at) if at > Timestamp::EPOCH));
        spool.append(b"three\n").unwrap();
        assert_eq!(drained(&mut spool), ["one\n", "three\n"]);
        assert_eq!(files(home.path()).len(), 0);
    }

    #[test]
    fn a_full_spool_takes_nothing_but_the_last_word_until_there_is_room() {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open_with(home.path(), "https://ledger.example/mcp", 8).unwrap();
        spool.append(b"1234567\n").unwrap();
        assert!(matches!(spool.append(b"\n"), Err(Unspooled::Full)));
        spool.append_last(b"lost\n").unwrap();
        assert!(matches!(
            spool.append_last(&vec![b'x'; 5000]),
            Err(Unspooled::Full)
        ));
        assert_eq!(drained(&mut spool), ["1234567\n", "lost\n"]);
        spool.append(b"again\n").unwrap();
    }

    #[test]
    fn one_directory_serves_many_and_one_spool_serves_one() {
        let home = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(home.path());
        assert!(matches!(
            open_with(home.path(), "https://ledger.example/mcp", 9),
            Err(SpoolError::InUse(_))
        ));
        let (mut payroll, left) = open_with(home.path(), "https://payroll.example/mcp", 9).unwrap();
        assert_eq!(left, Left::Clean);
        ledger.append(b"ledger\n").unwrap();
        assert_eq!(
            (drained(&mut payroll).len(), drained(&mut ledger).len()),
            (0, 1)
        );
    }

    #[test]
    #[cfg(unix)]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("spool");
        let (mut spool, _) = open(&dir);
        spool.append(b"one\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&files(&dir)[0])), (0o700, 0o600));
    }
}
