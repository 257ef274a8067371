//! Why a journal or an export of it is not found sound.

use std::io;

use crate::ledger::{
    audit::{KeptError, StatementError},
    file::{Damage, Head},
};

/// Why a file was not found sound.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not as it was written.
    #[error("the journal is damaged at {0}")]
    Damage(#[from] Damage),
    /// The export's last line is not what a broker writes.
    #[error("the seal of the export, at line {line}, is damaged: {detail}")]
    Seal {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// The seal is not believed.
    #[error("the seal of the export, at line {line}, is not believed: {source}")]
    Statement {
        /// The line, counted from 1.
        line: u64,
        /// Why not.
        source: StatementError,
    },
    /// The records are a sound chain, and not the one that was signed.
    #[error("records {from} to {to} are not those that were signed: {detail}")]
    Other {
        /// The first record of the file.
        from: u64,
        /// The last record of the file, or the one where it shows.
        to: u64,
        /// How it shows.
        detail: String,
    },
    /// A signature is asked for and the file has none.
    #[error("the file ends at line {line} without a seal: it is no export, or its end was cut")]
    Unsealed {
        /// The last line, counted from 1.
        line: u64,
    },
    /// The head of the export does not agree with the one that was kept.
    #[error("the head that the export was sealed with: {0}")]
    Kept(#[from] KeptError),
    /// The export begins after the head that was kept, so nothing in it can be held against that.
    #[error(
        "not comparable: the file begins with record {begins}, and the head that was kept is {expected}: export from \
         record {} or earlier, or ask for a consistency proof (`hallpass audit prove --since HEADFILE --json`)",
        expected.sequence.saturating_add(1)
    )]
    Begins {
        /// The known head.
        expected: Head,
        /// The first record found.
        begins: u64,
    },
    /// The sealed page ends before a head that is known, so it cannot be held against it.
    #[error(
        "not comparable: the file ends with record {ends}, and the head that was kept is {expected}: export up to \
         record {} or later, or ask for a consistency proof (`hallpass audit prove --since HEADFILE --json`)",
        expected.sequence
    )]
    Ends {
        /// The known head.
        expected: Head,
        /// The last record found.
        ends: u64,
    },
    /// A segment is missing.
    #[error("segment {found} follows on segment {after}: those between are missing")]
    Gap {
        /// The last segment before the gap.
        after: u32,
        /// The one that was found next.
        found: u32,
    },
    /// It could not be read.
    #[error("the journal cannot be read")]
    Read(#[from] io::Error),
}
