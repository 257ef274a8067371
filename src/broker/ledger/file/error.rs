//! What can go wrong with the journal's files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::ledger::record::Head;

/// An entry that is longer than this as JSON is refused.
pub const MAX_ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The journal cannot be written any more; the process has to be restarted.
    #[error("the journal stopped: {reason}: restart hallpass once the cause is gone")]
    Failed {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// There was nothing to append.
    #[error("there is no entry to append")]
    Empty,
    /// An entry is too long.
    #[error(
        "an entry of {bytes} bytes is longer than the {MAX_ENTRY_BYTES} that a record may have"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// An entry could be written and never read again.
    #[error("an entry could not be read back: {detail}")]
    Unreadable {
        /// What is wrong with it.
        detail: Arc<str>,
    },
}

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
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
    /// Older segments were removed, and no snapshot stands for them.
    #[error("nothing can be restored from `{}`: older segments are not kept and {detail}: put the snapshot or the segments back from a copy", dir.display())]
    Snapshot {
        /// The journal's directory.
        dir: PathBuf,
        /// What is wrong with the snapshots.
        detail: String,
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
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// What stands there is not the record that should.
    #[error("the journal `{}` is damaged: {damage}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The place.
        damage: Damage,
    },
    /// Its segment is not kept any more.
    #[error("record {sequence} was archived: this journal begins with record {first}")]
    Archived {
        /// The record.
        sequence: u64,
        /// The first record that is kept.
        first: u64,
    },
}

/// A place where the bytes are not those that were written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {offset}: {flaw}")]
pub struct Damage {
    /// The segment.
    pub segment: u32,
    /// The line in it, counted from 1.
    pub line: u64,
    /// The offset of the line's first byte.
    pub offset: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The line does not end as a record does.
    #[error("not a record: it does not end with a hash")]
    NotARecord,
    /// The bytes do not have the hash that stands at their end.
    #[error("the record's hash does not match its bytes")]
    Hash,
    /// The hash matches and the content is not one that this build can read.
    #[error("the record cannot be read: {0}")]
    Content(String),
    /// A record is missing, doubled or out of order.
    #[error("expected record {expected}, found record {found}")]
    Sequence {
        /// The number that had to follow.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// The record follows on a record other than the one before it.
    #[error(
        "the record does not continue the chain: its `prev` is not the hash of the record before it"
    )]
    Prev,
    /// Longer than any record.
    #[error("longer than any record can be")]
    TooLong,
    /// The last line has no end, in a place where it must have one.
    #[error("the last line does not end with a newline")]
    Unterminated,
    /// The chain ends before the head that it is known to have had.
    #[error("the chain ends with record {found}, but it is known to have had {expected}")]
    TailCut {
        /// The known head.
        expected: Head,
        /// The last record found.
        found: u64,
    },
    /// The chain begins after the head that it is known to have had.
    #[error(
        "the chain begins with record {begins}, so whether it had {expected} is in the segments that were archived"
    )]
    Archived {
        /// The known head.
        expected: Head,
        /// The first record found.
        begins: u64,
    },
    /// The chain holds another record where a known head was.
    #[error("the chain is another one: it is known to have had {expected}")]
    OtherChain {
        /// The known head.
        expected: Head,
    },
}
