//! Opening a journal: take the lock, check every record, cut a torn tail, refuse everything else.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{
    Journal, files,
    line::{Chain, Damage, Flaw, Head, Line, Lines, Record},
    read::{Reader, Shared},
    writer::{self, Apply, Files, Storage},
};

/// The journal's directory inside the data directory.
pub const DIRECTORY: &str = "journal";

/// How a journal is opened and written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Names in the data directory that exist only where there was a journal: when one of them is
    /// there and the journal is not, the start is refused instead of beginning an empty one.
    pub evidence: Vec<&'static str>,
    /// How many calls of `append` may wait; further ones wait outside.
    pub queue: usize,
    /// The writer stops gathering at this many bytes for one write.
    pub batch_bytes: usize,
    /// The writer stops gathering at this many calls for one write.
    pub batch_calls: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { evidence: vec!["index"], queue: 1024, batch_bytes: 1024 * 1024, batch_calls: 1024 }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The last record; the chain up to it was checked.
    pub head: Head,
    /// Whether there was no journal and one was begun.
    pub created: bool,
    /// The torn tail, when one was cut.
    pub torn: Option<Torn>,
}

impl Recovery {
    /// What the journal should say about it; nothing after a clean stop.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.torn.iter().map(Torn::to_string).collect()
    }
}

/// A record whose writing was interrupted; it was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The segment.
    pub segment: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The file that keeps them.
    pub kept_at: PathBuf,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (segment, kept) = (name(&self.segment), name(&self.kept_at));
        write!(
            f,
            "cut {} bytes of an interrupted write from {segment} at byte {}, kept as {kept}",
            self.bytes, self.offset
        )
    }
}

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data directory `{}` is in use by another hallpass{}: stop it, or use another directory",
        directory.display(), owner.map(|owner| format!(" (process {owner})")).unwrap_or_default()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// The process that holds the lock, when it is known.
        owner: Option<u32>,
    },
    /// A record is not as it was written.
    #[error("the journal `{}` is damaged: {damage}: restore it from a copy, nothing was changed", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// The place.
        damage: Damage,
    },
    /// There was a journal and it is gone, or holds no record any more.
    #[error("the journal `{}` is missing or empty, but `{}` shows that there was one: restore it from a copy", file.display(), evidence.display())]
    Missing {
        /// The file that should be there.
        file: PathBuf,
        /// What shows that it was.
        evidence: PathBuf,
    },
    /// The directory was written by a build that knows more.
    #[error("`{}` is not of a form that this build reads: use the build that wrote it", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// A journal that was checked from its first record to its last and is not written yet: the place
/// to bring views up to date before anything new happens. Holds the lock.
#[derive(Debug)]
pub struct Recovered {
    lock: File,
    segment: File,
    reader: Reader,
    options: Options,
}

impl Journal {
    /// Opens the journal in `data_dir`, beginning one when there was none, and hands every record
    /// to `replay`, in order.
    ///
    /// # Errors
    ///
    /// Refuses a directory that another process has open, a journal with damage anywhere but in an
    /// unterminated last line, one that is missing though something shows that it existed, and one
    /// in a form that this build does not know. Nothing is changed in these cases.
    pub fn open(
        data_dir: &Path,
        options: Options,
        mut replay: impl FnMut(&Record),
    ) -> Result<(Recovered, Recovery), OpenError> {
        files::ensure_dir(data_dir)?;
        let lock = files::lock(data_dir)?;
        let found = find_or_begin(data_dir, &data_dir.join(DIRECTORY), &options)?;
        let Found { path, created, marker, marked } = found;
        let mut segment = files::open_segment(&path)?;
        let (chain, torn_bytes) = read_all(&path, &segment, &mut replay)?;
        let (head, offset) = (chain.head(), chain.next_place().offset);
        if marked && head == Head::GENESIS {
            return Err(OpenError::Missing { file: path, evidence: marker });
        }
        let torn = match torn_bytes {
            0 => None,
            bytes => {
                let next = head.sequence.saturating_add(1);
                let kept_at = files::cut_tail(&path, &mut segment, offset, next)?;
                Some(Torn { segment: path.clone(), offset, bytes, kept_at })
            }
        };
        // After a kill there may be records that no sync covered. They count from now on, so they must last.
        segment.sync_all().map_err(|error| OpenError::io("sync", &path, error))?;
        if !marked && head != Head::GENESIS {
            mark(&path)?;
        }
        let reader = Reader::new(path, Arc::new(Shared::new(head, offset)));
        Ok((Recovered { lock, segment, reader, options }, Recovery { head, created, torn }))
    }
}

impl Recovered {
    /// Reads what is in the journal.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Starts the writer. `apply` is called on the writer's thread with the records of each
    /// durable batch before anyone gets an answer, so that whoever has one sees its effect.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self, apply: Apply) -> Result<Journal, OpenError> {
        self.start_with_storage(|segment| Box::new(segment), apply)
    }

    /// [`start`](Self::start) with another way to store what is written: for tests of faults.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with_storage(
        self,
        storage: impl FnOnce(File) -> Box<dyn Storage>,
        apply: Apply,
    ) -> Result<Journal, OpenError> {
        let path = self.reader.path().to_owned();
        let reader = self.reader.clone();
        let files = Files { lock: self.lock, storage: storage(self.segment) };
        let (queue, writers) = writer::spawn(files, self.reader, &self.options, apply)
            .map_err(|error| OpenError::io("start the writers of", &path, error))?;
        Ok(Journal { queue, reader, writers: Mutex::new(writers) })
    }
}

/// Begins a journal where there is none, or finds the one that is there.
fn find_or_begin(data_dir: &Path, dir: &Path, options: &Options) -> Result<Found, OpenError> {
    let (path, marker) = (dir.join(SEGMENT), dir.join(MARKER));
    let (begun, marked) = (path.exists(), marker.exists());
    if !begun {
        let evidence = options.evidence.iter().map(|name| data_dir.join(name));
        if let Some(evidence) = std::iter::once(marker.clone()).chain(evidence).find(|path| path.exists()) {
            return Err(OpenError::Missing { file: path, evidence });
        }
    }
    files::ensure_dir(dir)?;
    if let Some(name) = files::segments_in(dir)?.into_iter().find(|name| name != SEGMENT) {
        return Err(OpenError::Unknown { file: dir.join(name) });
    }
    if marked && fs::read(&marker).map_err(|error| OpenError::io("read", &marker, error))? != MARKER_CONTENT {
        return Err(OpenError::Unknown { file: marker });
    }
    if !begun {
        files::create(&path, b"")?;
    }
    Ok(Found { path, created: !begun, marker, marked })
}

/// The journal's files as they were found.
struct Found {
    path: PathBuf,
    created: bool,
    marker: PathBuf,
    marked: bool,
}

/// Notes beside `segment` that it holds a record: from then on an empty one is known to be a loss.
pub(super) fn mark(segment: &Path) -> Result<(), OpenError> {
    files::create(&segment.with_file_name(MARKER), MARKER_CONTENT)
}

/// Checks and replays the whole segment; returns the chain and the length of its torn tail.
fn read_all(path: &Path, segment: &File, replay: &mut impl FnMut(&Record)) -> Result<(Chain, u64), OpenError> {
    let damaged = |damage| OpenError::Damaged { file: path.to_owned(), damage };
    let failed = |error| OpenError::io("read", path, error);
    let length = segment.metadata().map_err(failed)?.len();
    let mut lines = Lines::new(BufReader::with_capacity(READ_BUFFER_BYTES, segment));
    let mut chain = Chain::genesis();
    loop {
        match lines.next_line().map_err(failed)? {
            Line::Complete(line) => replay(&chain.accept(line).map_err(damaged)?),
            Line::TooLong => return Err(damaged(chain.damage(Flaw::TooLong))),
            Line::Unterminated(tail) => {
                chain.accept_unterminated(tail).map_err(damaged)?;
                let bytes = length.saturating_sub(chain.next_place().offset);
                return Ok((chain, bytes));
            }
            Line::End => return Ok((chain, 0)),
        }
    }
}

const SEGMENT: &str = "000001.jsonl";
const MARKER: &str = "format";
const MARKER_CONTENT: &[u8] = b"hallpass journal 1\n";
const READ_BUFFER_BYTES: usize = 256 * 1024;
