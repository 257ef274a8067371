//! Why the index did not answer, or was not trusted.

use std::path::PathBuf;

use crate::ledger::{file::ReadError, record::Head};

/// Why an index was not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// sled could not open or read it.
    #[error("which could not be read: {0}")]
    Unreadable(String),
    /// It ends before the records that the journal still has.
    #[error("which ended with {applied} while the journal begins with record {first}")]
    Outrun {
        /// The last record the index knew.
        applied: Head,
        /// The first record of the journal.
        first: u64,
    },
    /// It was built from another journal.
    #[error("which knew {applied} where the journal has another")]
    OtherHistory {
        /// The last record the index knew.
        applied: Head,
    },
}

/// Why the index did not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled failed.
    #[error("the index failed: {0}: restart to rebuild it")]
    Store(#[from] sled::Error),
    /// It holds something that it never writes.
    #[error("the index is damaged: stop hallpass, delete its directory and start again")]
    Damaged,
    /// It does not know a record that is kept.
    #[error("the index does not know record {0}")]
    Unknown(u64),
    /// A batch was not applied, so it no longer answers for the whole journal.
    #[error("the index missed records: restart to bring it up to date")]
    Behind,
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The index knows records that the journal does not have. Records are indexed only once they are
    /// durable, so the journal was cut, or is an older copy: revocations that were answered may be missing.
    #[error(
        "the journal ends with {head} and its index knew {applied}: the journal was cut or is an older copy, so \
         revocations may be missing. Restore a newer one; where there is none, delete `{}`, start, and revoke again \
         what was revoked since",
        path.display()
    )]
    Ahead {
        /// The last record the index knew.
        applied: Head,
        /// The last record of the journal.
        head: Head,
        /// The index's directory.
        path: PathBuf,
    },
    /// The directory could not be moved aside or removed.
    #[error("cannot move `{}` out of the way", path.display())]
    MoveAside {
        /// The directory.
        path: PathBuf,
        /// The answer of the operating system.
        source: std::io::Error,
    },
    /// There is no thread to follow the journal on.
    #[error("cannot follow the journal: {0}")]
    NoThread(#[source] std::io::Error),
    /// It could not be opened, not even empty.
    #[error("cannot build the index: it is one {0}")]
    Unusable(Trouble),
}
